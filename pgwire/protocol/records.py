"""Records: from tuples of Python values to what COPY takes (manual: "COPY", "File Formats").

`BinaryRecords` is for the binary format, `TextRecords` for text. Whatever can be is sent in binary;
a value that only PostgreSQL itself can read, because it is a `str` in a column of numbers, say,
raises `NeedsText` there, and is a record for the other one.

`encode(records, pieces)` appends for each record as many pieces as `pieces_each` says, so that
their number tells how many records there were, when an error ends it too. What is usual is done
by generated code, a loop over the records without a call for each; `plain` is the specification.
For int4, text and timestamptz its source reads (in longer lines, and with `_n` for each column):

    def encode(records, pieces, slow, is_full):
        for record in records:
            if record.__class__ is tuple or record.__class__ is list:
                try:
                    value_0, value_1, value_2, = record
                    if (value_0.__class__ is int and value_1.__class__ is str
                        and value_2 is not None):
                        text_1 = value_1.encode()
                        length_1 = len(text_1)
                        value_2, = encode_2(value_2)
                        if 0 not in text_1 and length_1 < 30000000:
                            pieces += (pack_0(3, 4, value_0, length_1), text_1, pack_1(8, value_2))
                            if length_1 < 4000:
                                continue
                            if is_full(length_1):
                                return
                            continue
                    else:  # there is a NULL, or a value of another class
                        data = join((count,
                            null if value_0 is None else one_0(4, value_0)
                            if value_0.__class__ is int else field_0(value_0), …))
                        if len(data) < 4000:
                            pieces += (data, b"", b"")
                            continue
                except (StructError, OverflowError, ValueError, TypeError, DataError, NeedsText):
                    pass
            pieces += slow(record)
            if is_full():
                return
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache, partial
from itertools import islice
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes.codec import PACKED_FROM, Literal, NeedsText, encoded, part_literal
from pgwire.pgtypes.generating import OTHER, TEXT
from pgwire.pgtypes.packing import TESTS, packed_kind
from pgwire.pgtypes.temporal import EPOCHS
from pgwire.protocol.binding import LONGEST, can_generate, terms_of
from pgwire.protocol.frontend import pack_int32, pack_uint16
from pgwire.protocol.sources import CHUNK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import CodeType

    from pgwire.pgtypes import Codec

# Beside the kinds of `binding`: timestamps, whose numbers are made without a call of Python.
MOMENT = "q<moment"

_HEADER = b"PGCOPY\n\xff\r\n\0" + pack_int32(0) + pack_int32(0)
_TRAILER = b"\xff\xff"
_NULL = pack_int32(-1)
# The server takes no more for one value.
MOST = 0x3FFF_FFFF
# Longer values are counted, so that many of them are noticed in time (`is_full`).
_LONG = 4000
_TESTS = TESTS | {MOMENT: "value_{n}.__class__ is datetime"}
_STEPS = {
    TEXT: ("text_{n} = value_{n}.encode()", "length_{n} = len(text_{n})"),
    OTHER: ("text_{n} = encode_{n}(value_{n})", "length_{n} = len(text_{n})"),
    "i<": ("value_{n}, = encode_{n}(value_{n})",),
    "q<": ("value_{n}, = encode_{n}(value_{n})",),
    MOMENT: (
        "since = value_{n} - epoch_{n}",
        "value_{n} = (since.days * 86400 + since.seconds) * 1000000 + since.microseconds",
    ),
}
_CHECKS = {
    TEXT: f"0 not in text_{{n}} and length_{{n}} < {LONGEST}",
    OTHER: f"text_{{n}}.__class__ is bytes and length_{{n}} < {LONGEST}",
}
# What one value is by itself, for records with NULLs; `{size}` stands for that of a number.
_OWN = {code: f"one_{{n}}({{size}}, value_{{n}}) if {_TESTS[code]}" for code in PACKED_FROM}
_OWN |= {
    code: "one_{n}({size}, *encode_{n}(value_{n})) if value_{n}.__class__ is not str"
    for code in ("i<", "q<", MOMENT)
}
_OWN |= {
    TEXT: "sized(len(text)) + text if value_{n}.__class__ is str"
    " and 0 not in (text := value_{n}.encode())",
    OTHER: "sized(len(text)) + text if value_{n}.__class__ is not str"
    " and (text := encode_{n}(value_{n})).__class__ is bytes",
}


class _Records:
    """What both formats have in common. `columns` are their names and codecs."""

    header = trailer = b""
    pieces_each = 1

    def __init__(self, columns: Sequence[tuple[str, Codec]]) -> None:
        self.columns = columns
        self.unfit: list[Any] = []  # the record that could not be encoded, but as text
        self._slow_size = 0
        self._was_full = False

    def encode_some(self, records: Iterator[Any], count: int, pieces: list[bytes]) -> bool:
        """Append what at most so many records are; whether there were no more of them."""
        before = len(pieces)
        self._was_full = False
        self.encode(islice(records, count), pieces)
        return len(pieces) - before < count * self.pieces_each and not self._was_full

    def encode(self, records: Iterable[Any], pieces: list[bytes]) -> None:
        """Append what these records are; it ends early where they are long (`is_full`)."""
        for record in records:
            pieces += self.slow(record)
            if self.is_full():
                return

    def slow(self, record: Any) -> tuple[bytes, ...]:
        """The pieces of a record that is not as usual."""
        try:
            data = self.plain(record)
        except NeedsText:
            self.unfit = [record]
            raise
        self._slow_size += len(data)
        return (data, *(b"",) * (self.pieces_each - 1))

    def is_full(self, size: int = 0) -> bool:
        """Whether, with `size` bytes more, it is so much that it should be sent at once."""
        self._slow_size += size
        if self._slow_size < CHUNK:
            return False
        self._slow_size = 0
        self._was_full = True
        return True

    def plain(self, record: Any) -> bytes:
        """One record; the specification. Raises `DataError` where a value does not fit."""
        raise AssertionError

    def checked(self, record: Any) -> Sequence[Any]:
        """The record as values that can be counted, as many as there are columns."""
        if not isinstance(record, list | tuple):
            unordered = hasattr(record, "keys") or isinstance(record, set | frozenset)
            if unordered or isinstance(record, str | bytes | bytearray | memoryview):
                raise _no_record(record)
            try:
                record = tuple(record)
            except TypeError:
                raise _no_record(record) from None
        if len(record) != len(self.columns):
            count = len(self.columns)
            raise ProgrammingError(
                f"{len(record)} value{'s' * (len(record) != 1)} for {count} "
                f"column{'s' * (count != 1)}: {', '.join(name for name, _ in self.columns)}"
            )
        return record  # type: ignore[no-any-return]


class BinaryRecords(_Records):
    """COPY's binary format: a count, then length and value of each column."""

    header, trailer = _HEADER, _TRAILER

    def __init__(self, columns: Sequence[tuple[str, Codec]]) -> None:
        super().__init__(columns)
        self._count = pack_uint16(len(columns))
        self._fields = [(name, codec, *_shortcut(codec)) for name, codec in columns]
        generated = _generated(tuple([codec for _, codec in columns]))
        if generated is not None:
            encode, self.pieces_each = generated
            encode = partial(encode, slow=self.slow, is_full=self.is_full)
            self.encode = encode  # type: ignore[method-assign]

    def plain(self, record: Any) -> bytes:
        parts = [self._count]
        for value, (name, codec, kind, pack) in zip(
            self.checked(record), self._fields, strict=True
        ):
            try:
                parts += _field_parts(codec, kind, pack, value)
            except DataError as error:
                raise _misfit(name, codec, error) from error.__cause__
        return b"".join(parts)


def _field(codec: Codec, kind: type | None, pack: Any, value: Any) -> bytes:
    """Length and value of one column."""
    return b"".join(_field_parts(codec, kind, pack, value))


def _field_parts(codec: Codec, kind: type | None, pack: Any, value: Any) -> tuple[bytes, ...]:
    """The same, to be joined."""
    if value is None:
        return (_NULL,)
    if value.__class__ is kind:
        try:
            return (pack(value),)
        except (StructError, OverflowError):
            pass  # out of range: the codec has the words for it
    data = encoded(codec, value)
    if isinstance(data, Literal):
        raise NeedsText
    if len(data) > MOST:
        raise DataError(f"{len(data):,} bytes are more than one value may have ({MOST:,})")
    return pack_int32(len(data)), data


class TextRecords(_Records):
    """COPY's text format: a line for each record, with tabs between its values."""

    def plain(self, record: Any) -> bytes:
        texts = []
        for value, (name, codec) in zip(self.checked(record), self.columns, strict=True):
            if value is None:
                texts.append("\\N")
                continue
            try:
                text = part_literal(codec, value)
                text.encode()
            except UnicodeEncodeError as error:
                reason = f"str with a lone surrogate at index {error.start}"
                raise _misfit(name, codec, reason) from None
            except DataError as error:
                raise _misfit(name, codec, error) from error.__cause__
            texts.append(_SPECIAL.sub(_escaped, text))
        return ("\t".join(texts) + "\n").encode()


_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPES[found[0]]


def _shortcut(codec: Codec) -> tuple[type | None, Any]:
    """The class of values that are packed as they are, and what packs one behind its length."""
    kind = PACKED_FROM.get(codec.struct_code or "")
    if kind is None:
        return None, None
    packer = Struct(f"!i{codec.struct_code}")
    return kind, partial(packer.pack, packer.size - 4)


def _misfit(name: str, codec: Codec, reason: object) -> DataError:
    error = DataError(f"column {name!r} ({codec.name}): {reason}")
    error.record_column = name
    return error


def _no_record(record: Any) -> ProgrammingError:
    return ProgrammingError(
        "a record must be a sequence of values in the order of the columns, "
        f"not {type(record).__name__}"
    )


def encode_source(kinds: Sequence[str]) -> tuple[str, list[str]]:
    """The source for columns of these kinds (see `binding`), and the struct codes of its packs."""
    terms, codes = terms_of(kinds, ("H", [str(len(kinds))]), ("", []))
    steps = [step.format(n=n) for n, kind in enumerate(kinds) for step in _STEPS.get(kind, ())]
    tests = " and ".join(_TESTS[kind].format(n=n) for n, kind in enumerate(kinds))
    checks = [_CHECKS[kind].format(n=n) for n, kind in enumerate(kinds) if kind in _CHECKS]
    values = "".join(f"value_{n}, " for n in range(len(kinds)))
    parts = [_own(n, kind) for n, kind in enumerate(kinds)]
    padding = ', b""' * (len(terms) - 1)
    lengths = [f"length_{n}" for n, kind in enumerate(kinds) if kind in _CHECKS]
    short = _SHORT.format(
        tests=" and ".join([f"{length} < {_LONG}" for length in lengths]), size=" + ".join(lengths)
    )
    return _SOURCE.format(
        values=values,
        tests=tests,
        steps="".join(f"\n{' ' * 20}{step}" for step in steps),
        checks=" and ".join(checks) or "True",
        short=short if lengths else "",
        terms=", ".join(terms),
        parts=", ".join(parts),
        padding=padding,
    ), codes


_SHORT = """
                        if {tests}:
                            continue
                        if is_full({size}):
                            return"""
_SOURCE = f"""\
def encode(records, pieces, slow, is_full):
    for record in records:
        if record.__class__ is tuple or record.__class__ is list:
            try:
                {{values}}= record
                if {{tests}}:{{steps}}
                    if {{checks}}:
                        pieces += ({{terms}},){{short}}
                        continue
                else:
                    data = join((count, {{parts}}))
                    if len(data) < {_LONG}:
                        pieces += (data{{padding}},)
                        continue
            except (StructError, OverflowError, ValueError, TypeError, DataError, NeedsText):
                pass
        pieces += slow(record)
        if is_full():
            return
"""


def _own(n: int, kind: str) -> str:
    own = _OWN[kind].format(n=n, size=_size(kind))
    return f"null if value_{n} is None else {own} else field_{n}(value_{n})"


def _size(kind: str) -> int:
    return 0 if kind in _CHECKS else Struct("!" + kind[0]).size


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...]) -> tuple[CodeType, list[str]]:
    source, codes = encode_source(kinds)
    return compile(source, f"<records of {', '.join(kinds)}>", "exec"), codes


@lru_cache(maxsize=128)
def _generated(codecs: tuple[Codec, ...]) -> tuple[Any, int] | None:
    """What encodes records of these types, and how many pieces it makes of each; None if nothing.

    Made once, as it takes as long as a hundred records.
    """
    kinds = [packed_kind(codec) for codec in codecs]
    if not can_generate([kind for kind, _ in kinds]):
        return None
    kinds = [
        (MOMENT if kind == "q<" and function in EPOCHS else kind, function)
        for kind, function in kinds
    ]
    names: dict[str, Any] = {"StructError": StructError, "DataError": DataError}
    names |= {
        "datetime": datetime,
        "NeedsText": NeedsText,
        "join": b"".join,
        "null": _NULL,
        "sized": pack_int32,
    }
    names["count"] = pack_uint16(len(codecs))
    for n, (codec, (kind, function)) in enumerate(zip(codecs, kinds, strict=True)):
        names[f"encode_{n}"] = function
        if kind == MOMENT:
            names[f"epoch_{n}"] = EPOCHS[function]
        names[f"field_{n}"] = partial(_field, codec, *_shortcut(codec))
        if kind not in _CHECKS:
            names[f"one_{n}"] = Struct(f"!i{kind[0]}").pack
    code, packs = _compiled(tuple(kind for kind, _ in kinds))
    names |= {f"pack_{n}": Struct(f"!{pack}").pack for n, pack in enumerate(packs)}
    exec(code, names)
    return names["encode"], len(packs) + sum(kind in _CHECKS for kind, _ in kinds)
