"""The codecs: whatever is read can be sent, and is the same value then, in both formats.

One target for each family of types. Its first byte chooses type and format, the others are the
value as the server sends it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from functools import partial
from math import prod
from struct import unpack_from
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgwire.errors import DataError
from pgwire.pgtypes import Codec, Interval, Json, Literal, TypeRegistry, oids
from pgwire.pgtypes.array_text import parsed_text
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.catalog import Catalog
from pgwire.pgtypes.codec import encoded, part_literal
from pgwire.pgtypes.extensions import EXTENSIONS
from pgwire.pgtypes.families import RANGES
from pgwire.pgtypes.ranges import multirange_codec, range_codec
from tests.fuzz.feed import Feed
from tests.pgtypes.helpers import ADDRESS, INFOS, MOOD, OIDS, POSITIVE, exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CATALOG = Catalog()
_CATALOG.learn(INFOS)
REGISTRY = TypeRegistry(catalog=_CATALOG)
_NAMES = OIDS | {info.name: info.oid for info in INFOS}
_TEXT = REGISTRY.codec(oids.TEXT)
_TEXT_RANGE = range_codec("textrange", 80_000, 80_001, _TEXT)
_MADE = {
    "textrange": _TEXT_RANGE,
    "textmultirange": multirange_codec("textmultirange", 80_002, 0, _TEXT_RANGE),
    "textrange[]": array_codec(_TEXT_RANGE),
    **{name: make(81_000, 81_001) for name, make in EXTENSIONS.items()},
}
_MADE |= {f"{name}[]": array_codec(_MADE[name]) for name in ("hstore", "vector", "sparsevec")}
_MADE |= {f"{info.name}[]": array_codec(REGISTRY.codec(info.oid)) for info in (MOOD, ADDRESS)}


def codec_of(name: str) -> Codec:
    """By pg_type's name, an extension's, or that of an element and "[]"."""
    if name in _MADE:
        return _MADE[name]
    if name.endswith("[]") and name not in _NAMES:
        return REGISTRY.codec(REGISTRY.codec(_NAMES[name[:-2]]).array_oid)
    return REGISTRY.codec(_NAMES[name])


_SYSTEM = (
    "tid xid cid xid8 pg_lsn txid_snapshot pg_snapshot regclass regtype money aclitem tsvector"
)
_RANGES = "int4 int8 num ts tstz date"
# The order is that of the numbers in the corpus: new types go to the end.
FAMILIES: dict[str, tuple[Codec, ...]] = {
    family: tuple(map(codec_of, names.split()))
    for family, names in {
        "fixed": "BOOL INT2 INT4 INT8 OID FLOAT4 FLOAT8",
        "text": "TEXT VARCHAR BPCHAR NAME CHAR UNKNOWN VOID refcursor cstring xml jsonpath citext "
        f"{MOOD.name}",
        "bytes": "BYTEA bit varbit UUID macaddr macaddr8 geometry geography",
        "numeric": "NUMERIC",
        "datetime": "DATE TIME TIMETZ TIMESTAMP TIMESTAMPTZ",
        "interval": "INTERVAL",
        "json": "JSON JSONB",
        "geometric": "point line lseg box path polygon circle",
        "network": "inet cidr",
        "system": _SYSTEM,
        "hstore": "hstore",
        "vector": "vector halfvec sparsevec",
        "array": "INT4[] TEXT[] NUMERIC[] TIMESTAMPTZ[] JSONB[] BYTEA[] box[] inet[] int4range[] "
        f"regclass[] {MOOD.name}[] {ADDRESS.name}[] int2vector oidvector int2vector[] hstore[] "
        "vector[] sparsevec[] anyarray polygon[] FLOAT8[] path[]",
        "record": f"record {ADDRESS.name} record[] {POSITIVE.name}",
        "range": " ".join(f"{name}range {name}multirange" for name in _RANGES.split())
        + " textrange textmultirange int4multirange[] textrange[]",
    }.items()
}


def _plainly(codec: Codec) -> Codec:
    """The same type, of whose decoder nobody knows what it does: no two values are read at once."""
    decode = codec.decode
    return replace(
        codec, decode=lambda *where: decode(*where), struct_code=None, converted=None, number=None
    )


def _twins() -> dict[str, Codec]:
    """Arrays and ranges that do with each of their parts what its codec does, by name."""
    twins: dict[str, Codec] = {}
    for info in RANGES.values():
        part = RANGES.get(info.part)
        plain = _plainly(REGISTRY.codec(info.part)) if part is None else twins[part.name]
        make = range_codec if part is None else multirange_codec
        twins[info.name] = make(info.name, info.oid, info.array_oid, plain)
    known = {*_NAMES.values(), *(info.oid for info in INFOS)}
    elements = {codec.array_oid: codec for codec in map(REGISTRY.codec, known)}
    for codec in (*FAMILIES["array"], *FAMILIES["range"]):
        name = codec.name.removesuffix("[]")
        if name != codec.name:
            element = _MADE.get(name) or elements[codec.oid]
            twins[codec.name] = array_codec(twins.get(name) or _plainly(element))
    return twins


_TWINS = _twins()


def parse(codecs: tuple[Codec, ...], data: bytes) -> None:
    feed = Feed(data)
    codec = feed.choose(codecs)
    if feed.below(2):
        _read_text(codec, feed.long())
    else:
        _read_binary(codec, feed.rest())


def _read_text(codec: Codec, data: bytes) -> None:
    text = data.decode(errors="replace")
    try:
        value = codec.decode_text(text)
    except DataError as error:
        _check_error(error)
        return
    _check_sent(codec, value)


def _read_binary(codec: Codec, data: bytes) -> None:
    inside = b"\xff\0\xff" + data + b"\0\0\0\1\xff"
    value = _read(codec, inside, 3, 3 + len(data))
    assert _shown(_read(codec, data, 0, len(data))) == _shown(value)
    if twin := _TWINS.get(codec.name):
        assert _shown(_read(twin, inside, 3, 3 + len(data))) == _shown(value)
    if isinstance(value, _Refused):
        return
    if codec.name in _REFERENCES:
        assert _shown(_REFERENCES[codec.name](data)) == _shown(value)
    _check_sent(codec, value)


class _Refused(str):
    """Why a value was refused."""


def _read(codec: Codec, buffer: bytes, start: int, end: int) -> Any:
    try:
        return codec.decode(buffer, start, end)
    except DataError as error:
        _check_error(error)
        return _Refused(error)


def _check_error(error: DataError) -> None:
    assert len(str(error)) < 500


def _shown(value: Any) -> str:
    """A text that differs wherever values do; but numeric has no zero below zero."""
    return _MINUS_ZERO.sub("Decimal('0", exactly(value))


_MINUS_ZERO = re.compile(r"Decimal\('-0(?=(?:\.0*)?(?:E[+-][0-9]+)?'\))")


# Of these there are no parameters, or only as text that says more than the value.
_ONE_WAY = frozenset({"record", "record[]", "anyarray", "void"})


def _check_sent(codec: Codec, value: Any) -> None:
    """A value that came is taken as a parameter, and means itself, in binary and as a literal."""
    if codec.name in _ONE_WAY or value is None or _has_nul(value):
        return
    if codec.is_json:
        # Python's reader takes NaN for JSON, and reads numbers as infinities.
        value = _sent_json(value)
        if value is None:
            return
    elif codec.name == "jsonb[]":
        return  # a list inside may be an element, or a dimension
    data = encoded(codec, value)
    if twin := _TWINS.get(codec.name):
        assert encoded(twin, value) == data
    if isinstance(data, Literal):
        again = codec.decode_text(str.__str__(data))
    else:
        again = codec.decode(b"?" + data + b"?", 1, 1 + len(data))
    from_literal = codec.decode_text(part_literal(codec, value))
    if codec.is_json:
        value = value.value
    assert _shown(again) == _shown(value)
    assert _shown(from_literal) == _shown(value)


def _sent_json(value: Any) -> Json | None:
    try:
        REGISTRY.codec(oids.JSON).encode(Json(value))
    except DataError:
        return None
    return Json(value)


def _has_nul(value: Any) -> bool:
    """No server has text with NUL in it, and none can be sent."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, (*value.keys(), *value.values())))
    if isinstance(value, list | tuple):
        return any(map(_has_nul, value))
    return isinstance(value, _WITH_SIDES) and (_has_nul(value.lower) or _has_nul(value.upper))


_WITH_SIDES = type(_TEXT_RANGE.decode_text("empty"))


# ---------------------------------------------------------------- plain references


def _numeric(data: bytes) -> Decimal:
    count, weight, sign, scale = unpack_from(">HhHH", data)
    special = {0xC000: "NaN", 0xD000: "Infinity", 0xF000: "-Infinity"}
    if sign in special:
        return Decimal(special[sign])
    exact = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
    total = Decimal(0)
    for number, digit in enumerate(unpack_from(f">{count}H", data, 8)):
        part = Decimal(digit).scaleb(4 * (weight - number), exact)
        total = exact.add(total, part)
    total = exact.quantize(total, Decimal(1).scaleb(-scale, exact))
    return exact.minus(total) if sign and total else total


def _interval(data: bytes) -> Interval:
    microseconds, days, months = unpack_from(">qii", data)
    return Interval(months, days, microseconds)


def _array_of(element: Callable[[bytes], Any], data: bytes) -> Any:
    count, _, _ = unpack_from(">iiI", data)
    lengths = [unpack_from(">ii", data, 12 + 8 * n) for n in range(count)]
    at = 12 + 8 * count
    items: list[Any] = []
    while at < len(data):
        (length,) = unpack_from(">i", data, at)
        at += 4
        items.append(None if length < 0 else element(data[at : at + length]))
        at += max(length, 0)
    for length, _ in reversed(lengths[1:]):
        items = [items[n : n + length] for n in range(0, len(items), length)]
    return items if all(low == 1 for _, low in lengths) else _Bounded(items, lengths)


class _Bounded(list[Any]):
    """Shows itself as an `Array` does."""

    def __init__(self, items: Iterable[Any], lengths: list[tuple[int, int]]) -> None:
        super().__init__(items)
        self._bounds = tuple(low for _, low in lengths)

    def __repr__(self) -> str:
        return f"Array({list(self)!r}, {self._bounds!r})"


_Bounded.__name__ = "Array"


_REFERENCES: dict[str, Callable[[bytes], Any]] = {
    "numeric": _numeric,
    "interval": _interval,
    "uuid": lambda data: UUID(bytes=data),
    "bytea": bytes,
    "bit": lambda data: "".join(f"{byte:08b}" for byte in data[4:])[: unpack_from(">i", data)[0]],
    "int4[]": partial(_array_of, lambda item: unpack_from(">i", item)[0]),
    "text[]": partial(_array_of, bytes.decode),
}


def braces(data: bytes) -> None:
    """An array's text: a list without quotes is read as any other is, which bounds in front do."""
    feed = Feed(data)
    delimiter = feed.choose(",;")
    text = feed.long().decode(errors="replace")
    try:
        dimensions, bounds, items = parsed_text(text, delimiter)
    except DataError:
        return
    assert len(dimensions) == len(bounds)
    assert len(items) == (prod(dimensions) if dimensions else 0)
    if text.startswith("{") and len(dimensions) == 1:
        assert parsed_text(f"[1:{len(items)}]={text}", delimiter) == (dimensions, [1], items)


TARGETS: dict[str, Callable[[bytes], None]] = {
    f"value_{family}": partial(parse, codecs) for family, codecs in FAMILIES.items()
}
TARGETS["array_text"] = braces
