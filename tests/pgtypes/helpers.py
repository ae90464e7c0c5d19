"""What the tests of the codecs share: codecs by name, equality that sees everything, types."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Array, Codec, Literal, TypeRegistry, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.catalog import Catalog, TypeInfo
from pgwire.pgtypes.codec import encoded
from pgwire.pgtypes.composites import Field, composite_codec
from pgwire.pgtypes.enums import enum_codec
from pgwire.pgtypes.ranges import Range
from pgwire.pgtypes.registration import RegistersTypes, Registration, Registrations
from pgwire.pgtypes.text import literal_codec

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRY = TypeRegistry()
OIDS = {name: oid for name, oid in vars(oids).items() if isinstance(oid, int)}
OIDS |= {name: oid for name, (oid, _) in oids.REST.items()}
OIDS |= {f"{name}[]": oid for name, (_, oid) in oids.REST.items() if oid}
CODECS = {codec.name: codec for codec in map(REGISTRY.codec, OIDS.values())}


def decode(codec: Codec, data: bytes) -> Any:
    """The value, read from the middle of a larger buffer."""
    return codec.decode(b"\xff" + data + b"\xff\xff", 1, 1 + len(data))


def encode(codec: Codec, value: Any) -> bytes:
    """The value in binary."""
    data = codec.encode(value)
    assert type(data) is bytes
    return data


def round_trip(codec: Codec, value: Any) -> Any:
    """What comes back of a value that is sent, in binary where that can be."""
    sent = encoded(codec, value)
    return codec.decode_text(sent) if isinstance(sent, Literal) else decode(codec, sent)


def exactly(value: Any) -> str:
    """A text that differs wherever values do: 1 and 1.0 and True, 0.0 and -0.0, 1.5 and 1.50."""
    return f"{type(value).__name__} {value!r}"


def refused(codec: Codec, value: Any) -> str:
    """The reason why the value is refused as a parameter."""
    return reason(codec.encode, value)


def reason(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return str(caught.value)


# A database with types of its own

MOOD = TypeInfo(70_000, "public", "mood", "e", 70_001, labels=("sad", "ok"))
MOODS = TypeInfo(70_001, "public", "_mood", "a", part=70_000)
OTHER_MOOD = MOOD._replace(oid=70_002, schema="other", array_oid=0)
ADDRESS = TypeInfo(
    70_010, "public", "address", "c", 70_011,
    attribute_names=("street", "mood", "numbers"), attribute_types=(25, 70_000, oids.INT4_ARRAY),
)  # fmt: skip
POSITIVE = TypeInfo(70_020, "public", "positive", "d", part=oids.INT4)
BOXES = TypeInfo(70_030, "public", "box3d", "b", 70_031)
BOXES_ARRAY = TypeInfo(70_031, "public", "_box3d", "a", part=70_030)
INFOS = (MOOD, MOODS, OTHER_MOOD, ADDRESS, POSITIVE, BOXES, BOXES_ARRAY)
RECORD, INT4RANGE = oids.REST["record"][0], oids.REST["int4range"][0]


class Layer(RegistersTypes):
    """A registry with a layer of its own."""

    def __init__(self, below: Registrations | None = None) -> None:
        self.registrations = Registrations(below)
        catalog = Catalog()
        catalog.learn(INFOS)
        self.registry = TypeRegistry(catalog=catalog, registrations=self.registrations)

    def _register(self, name: str, registration: Registration) -> None:
        self.registrations.add(name, registration)

    def __getitem__(self, oid: int) -> Codec:
        return self.registry.codec(oid)


# Types made of types, and values of them


Typed = tuple[Codec, "st.SearchStrategy[Any]"]
_hostile = st.text('{}(),"\\ \n;NUL') | st.sampled_from(["NULL", "null", "", "{}", "()", "\\", '"'])
_texts = _hostile | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_SCALARS: dict[str, Any] = {
    "int4": st.integers(-(2**31), 2**31 - 1),
    "text": _texts,
    "bool": st.booleans(),
    "float8": st.floats(allow_nan=False),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, places=3),
    "bytea": st.binary(max_size=5),
    "date": st.dates() | st.sampled_from(["infinity", "-infinity", "0044-03-15 BC"]),
    "jsonb": st.dictionaries(_texts, st.none() | st.integers(-9, 9) | _texts, max_size=2),
    "uuid": st.uuids(),
    "pg_lsn": st.just("16/B374D848"),
    "int2vector": st.lists(st.integers(-9, 9), max_size=3),
    "numrange": st.builds(Range, st.none() | st.integers(-9, 0), st.none() | st.integers(1, 9)),
}
_KINDS = ["scalar", "odd", "enum", "array", "row", "domain", "domain over an array"]
_SHAPES = [(), (1,), (3,), (2, 2), (1, 3, 1), (1, 1, 1, 1, 1, 2)]


@st.composite
def types(draw: st.DrawFn, depth: int = 3) -> Typed:
    """The codec of a type, and the strategy of its values other than None."""
    oid = 90_000 + draw(st.integers(0, 10**6))
    kind = draw(st.sampled_from(_KINDS))
    if kind == "odd":
        return literal_codec("odd", oid, oid + 1, draw(st.sampled_from(",;|"))), _texts
    if kind == "enum":
        return enum_codec("enum", oid, oid + 1, ["a", 'b"', "c\\"]), st.sampled_from(["a", 'b"'])
    if kind == "scalar" or depth == 0:
        name = draw(st.sampled_from(sorted(_SCALARS)))
        return CODECS[name], _SCALARS[name]
    if kind == "row":
        parts = draw(st.lists(types(depth=depth - 1), min_size=1, max_size=3))
        fields = [Field(f"f{number}", codec) for number, (codec, _) in enumerate(parts)]
        values = st.tuples(*[st.none() | value for _, value in parts])
        return composite_codec("row", oid, oid + 1, fields), values
    codec, value = draw(types(depth=depth - 1))
    if kind == "domain":
        return replace(codec, name="domain", oid=oid, array_oid=oid + 1), value
    array = array_codec(replace(codec, array_oid=oid))
    # Where an element is a list itself, or None comes first, there is no telling its depth.
    shapes = [shape for shape in _SHAPES if not codec.depth or len(shape) < 2]
    arrays = st.sampled_from(shapes).flatmap(partial(_boxes, st.none() | value))
    if kind == "array":
        return array, arrays
    return replace(array, name="domain", oid=oid, array_oid=oid + 1), arrays


def _boxes(items: st.SearchStrategy[Any], shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Arrays of this shape, some of which do not begin at 1."""
    if not shape:
        return st.just([])
    lists = items
    for length in reversed(shape):
        lists = st.lists(lists, min_size=length, max_size=length)
    bounds = st.tuples(*[st.integers(-3, 3)] * len(shape))
    return lists | st.builds(Array, lists, bounds)
