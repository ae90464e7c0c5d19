"""Generated code for rows inside of rows: what reads, and what writes, the fields of one layout.

A layout is the types of all fields. Neighbouring fields of fixed width are unpacked in one call
with the types and lengths in front of them, and compared with what those must be. Nothing is
decoded before the whole is known to be of the layout: whatever is not is left to others, from the
beginning, so that a value inside of ten others is decoded once and not a thousand times. The plain
decoder and encoder, in `composites`, are the specification. Only numbers and struct codes get into
a source.

For int4, text and timestamptz the sources read (in longer lines):

    def decode(buffer, start, end):
        try:
            prefix_0, value_0, type_1, length_1, = run_0(buffer, start)
            at_1 = stop_1 = start + 24
            if length_1 > 0:
                stop_1 += length_1
            prefix_2, value_2, = run_1(buffer, stop_1)
        except StructError:
            return others(buffer, start, end)
        if (prefix_0 == is_0 and type_1 == is_1 and length_1 >= -1 and prefix_2 == is_2
                and stop_1 + 16 == end):
            value_1 = None
            if length_1 >= 0:
                try:
                    value_1 = buffer[at_1:stop_1].decode()
                except UnicodeDecodeError:
                    decode_1(buffer, at_1, stop_1)  # has the words for it
            try:
                value_2 = origin_2 + step_2 * value_2
            except OverflowError:
                value_2 = convert_2(value_2)
            return make((value_0, value_1, value_2, ))
        return others(buffer, start, end)

    def encode(values):
        value_0, value_1, value_2, = values
        if value_0.__class__ is int and value_1.__class__ is str and value_2 is not None:
            try:
                text_1 = value_1.encode()
                value_2, = number_2(value_2)
                if 0 not in text_1:
                    return b"".join((pack_0(is_0, value_0, is_1, len(text_1)), text_1,
                        pack_1(is_2, value_2)))
            except (StructError, OverflowError, ValueError, DataError):
                pass
        return plain(values)

With NULLs in fields of fixed width it is the same decoder, but of fields that are all told apart by
their lengths.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import DataError
from pgwire.pgtypes.codec import unpacking
from pgwire.pgtypes.generating import (
    OTHER,
    TEXT,
    conversion_of,
    indented,
    kind_of,
    struct_code,
    width,
)
from pgwire.pgtypes.packing import TESTS, packed_kind
from pgwire.pgtypes.text import decode_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from pgwire.pgtypes.codec import Codec

    Decoder = Callable[[bytes, int, int], Any]
    Encoder = Callable[[Sequence[Any]], bytes]

# To compile a source takes as long as so many values, read plainly.
WORTH = 100
# There is no source for more fields than these.
MOST_FIELDS = 100

_count = struct.Struct(">i")
_type = struct.Struct(">I")


# ---------------------------------------------------------------- reading


class _Layout(NamedTuple):
    type_oids: Sequence[int]
    codecs: Sequence[Codec]
    row: type | None


_DECODE = """\
def decode(buffer, start, end):
    try:
{unpack}    except StructError:
        return others(buffer, start, end)
    if {checks} and {stop} == end:
{values}        return {made}
    return others(buffer, start, end)
"""
_RUN = """\
{names}, = run_{number}(buffer, {stop})
"""
_LENGTH = """\
at_{n} = stop_{n} = {stop} + {width}
if length_{n} > 0:
    stop_{n} += length_{n}
"""
_VALUES = {
    TEXT: """\
value_{n} = None
if length_{n} >= 0:
    try:
        value_{n} = buffer[at_{n}:stop_{n}].decode()
    except UnicodeDecodeError:
        decode_{n}(buffer, at_{n}, stop_{n})
""",
    OTHER: """\
value_{n} = None
if length_{n} >= 0:
    value_{n} = decode_{n}(buffer, at_{n}, stop_{n})
""",
}


def decoder(
    type_oids: Sequence[int], codecs: Sequence[Codec], row: type | None, plain: Decoder
) -> Decoder:
    """What reads rows with fields of these types, as `row` or as tuples; others `plain` reads."""
    if not 0 < len(codecs) <= MOST_FIELDS:
        return plain
    layout = _Layout(type_oids, codecs, row)
    kinds = tuple(map(_kind, codecs))
    names: dict[str, Any] = {}

    def make_others() -> Decoder:
        variable = tuple([kind if kind == TEXT else OTHER for kind in kinds])
        return _generated(layout, variable, {"others": plain})

    def make() -> Decoder:
        _put_when_worth(names, "others", plain, make_others)
        return _generated(layout, kinds, names)

    own: dict[str, Any] = {}
    _put_when_worth(own, "decode", plain, make)

    def decode(buffer: bytes, start: int, end: int) -> Any:
        return own["decode"](buffer, start, end)

    return decode


def _put_when_worth(
    names: dict[str, Any], name: str, plain: Callable[..., Any], make: Callable[[], Any]
) -> None:
    """Have under this name what does as `plain` does, and what `make` makes once it is worth it."""
    left = WORTH

    def count(*args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            names[name] = make()
        return plain(*args)

    names[name] = count


def _kind(codec: Codec) -> str:
    if codec.decode is decode_utf8:
        return TEXT
    steps = unpacking(codec)
    return OTHER if steps is None else kind_of(steps)


def _code(kind: str) -> str:
    """What unpacks a value, if all of them have one width."""
    return "" if kind in (TEXT, OTHER) else struct_code(kind)


def decode_source(kinds: Sequence[str], is_tuple: bool) -> tuple[str, list[str]]:
    """The source for fields of these kinds, and the struct codes of its runs."""
    unpack, values, checks = "", "", list[str]()
    runs: list[str] = []
    codes, names, stop = "", list[str](), "start"
    for n, kind in enumerate(kinds):
        code = _code(kind)
        if code:
            codes += f"{8 if n else 12}s{code}"
            names += [f"prefix_{n}", f"value_{n}"]
            checks.append(f"prefix_{n} == is_{n}")
            values += conversion_of(n, kind)
            continue
        codes += "Ii" if n else "iIi"
        names += [*(() if n else ("count",)), f"type_{n}", f"length_{n}"]
        checks += [*(() if n else (f"count == {len(kinds)}",)), f"type_{n} == is_{n}"]
        checks.append(f"length_{n} >= -1")
        values += _VALUES[kind].format(n=n)
        unpack += _RUN.format(names=", ".join(names), number=len(runs), stop=stop)
        unpack += _LENGTH.format(n=n, stop=stop, width=width(codes))
        runs.append(codes)
        codes, names, stop = "", [], f"stop_{n}"
    if codes:
        unpack += _RUN.format(names=", ".join(names), number=len(runs), stop=stop)
        stop += f" + {width(codes)}"
        runs.append(codes)
    made = f"({''.join(f'value_{n}, ' for n in range(len(kinds)))})"
    return _DECODE.format(
        unpack=indented(unpack, 2),
        checks=" and ".join(checks),
        stop=stop,
        values=indented(values, 2),
        made=made if is_tuple else f"row({made})",
    ), runs


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...], is_tuple: bool) -> tuple[CodeType, list[str]]:
    source, runs = decode_source(kinds, is_tuple)
    return compile(source, f"<fields of {', '.join(kinds)}>", "exec"), runs


def _generated(layout: _Layout, kinds: tuple[str, ...], names: dict[str, Any]) -> Decoder:
    type_oids, codecs, row = layout
    source, runs = _compiled(kinds, row is None)
    names |= {"StructError": struct.error, "row": row}
    for number, codes in enumerate(runs):
        names[f"run_{number}"] = struct.Struct(f">{codes}").unpack_from
    for n, (type_oid, kind, codec) in enumerate(zip(type_oids, kinds, codecs, strict=True)):
        names[f"decode_{n}"], names[f"is_{n}"] = codec.decode, type_oid
        if code := _code(kind):
            prefix = _type.pack(type_oid) + _count.pack(width(code))
            names[f"is_{n}"] = prefix if n else _count.pack(len(codecs)) + prefix
        if (steps := unpacking(codec)) is not None:
            names[f"convert_{n}"] = steps.convert
            names[f"origin_{n}"], names[f"step_{n}"] = steps.origin, steps.step
    exec(source, names)
    made: Decoder = names["decode"]
    return made


# ---------------------------------------------------------------- writing

_ENCODE = """\
def encode(values):
    {values}= values
    if {tests}:
        try:
{steps}            if {checks}:
                return b"".join(({terms}, ))
        except (StructError, OverflowError, ValueError, DataError):
            pass
    return plain(values)
"""
_STEPS = {
    TEXT: """\
text_{n} = value_{n}.encode()
""",
    OTHER: """\
text_{n} = encode_{n}(value_{n})
""",
    "<": """\
value_{n}, = encode_{n}(value_{n})
""",
}
_CHECKS = {TEXT: "0 not in text_{n}", OTHER: "text_{n}.__class__ is bytes"}


def encoder(codecs: Sequence[Codec], plain: Encoder) -> Encoder:
    """What writes the fields of a row, as many as there are types; what is unusual `plain` does.

    Where a field may have fields itself, all is left to `plain`: what failed would be tried twice,
    and so within each of these tries.
    """
    if not 0 < len(codecs) <= MOST_FIELDS or any(codec.is_open for codec in codecs):
        return plain
    kinds = [packed_kind(codec) for codec in codecs]
    if not all(kind in TESTS for kind, _ in kinds):
        return plain
    own: dict[str, Any] = {}
    _put_when_worth(own, "encode", plain, lambda: _generated_encoder(codecs, kinds, plain))
    return lambda values: own["encode"](values)


def encode_source(kinds: Sequence[str]) -> tuple[str, list[str]]:
    """The source for fields of these kinds, and the struct codes of its packs."""
    steps, checks = "", list[str]()
    packs: list[str] = []
    terms: list[str] = []
    codes, arguments = "", list[str]()
    for n, kind in enumerate(kinds):
        steps += _STEPS.get(kind, _STEPS["<"] if kind[-1] == "<" else "").format(n=n)
        if kind in _CHECKS:
            checks.append(_CHECKS[kind].format(n=n))
            codes += f"{4 if n else 8}si"
            arguments += [f"is_{n}", f"len(text_{n})"]
            terms += [f"pack_{len(packs)}({', '.join(arguments)})", f"text_{n}"]
            packs.append(codes)
            codes, arguments = "", []
        else:
            codes += f"{8 if n else 12}s{kind[0]}"
            arguments += [f"is_{n}", f"value_{n}"]
    if codes:
        terms.append(f"pack_{len(packs)}({', '.join(arguments)})")
        packs.append(codes)
    return _ENCODE.format(
        values="".join(f"value_{n}, " for n in range(len(kinds))),
        tests=" and ".join(TESTS[kind].format(n=n) for n, kind in enumerate(kinds)),
        steps=indented(steps, 3),
        checks=" and ".join(checks) or "True",
        terms=", ".join(terms),
    ), packs


@lru_cache(maxsize=512)
def _compiled_encoder(kinds: tuple[str, ...]) -> tuple[CodeType, list[str]]:
    source, packs = encode_source(kinds)
    return compile(source, f"<fields to be sent of {', '.join(kinds)}>", "exec"), packs


def _generated_encoder(
    codecs: Sequence[Codec],
    kinds: Sequence[tuple[str, Callable[[Any], Any] | None]],
    plain: Encoder,
) -> Encoder:
    source, packs = _compiled_encoder(tuple([kind for kind, _ in kinds]))
    names: dict[str, Any] = {"StructError": struct.error, "DataError": DataError, "plain": plain}
    for number, codes in enumerate(packs):
        names[f"pack_{number}"] = struct.Struct(f">{codes}").pack
    for n, (codec, (kind, function)) in enumerate(zip(codecs, kinds, strict=True)):
        names[f"encode_{n}"] = function
        prefix = _type.pack(codec.oid)
        if kind not in _CHECKS:
            prefix += _count.pack(struct.calcsize(f">{kind[0]}"))
        names[f"is_{n}"] = prefix if n else _count.pack(len(codecs)) + prefix
    exec(source, names)
    made: Encoder = names["encode"]
    return made
