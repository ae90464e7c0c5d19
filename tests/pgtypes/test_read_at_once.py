"""Values that are read in a quicker way where they are as usual: the same as in the other."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import TypeRegistry, arrays, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.codec import unpacking
from pgwire.pgtypes.ranges import range_codec
from pgwire.pgtypes.text import decode_utf8

if TYPE_CHECKING:
    from pgwire.pgtypes import Codec

REGISTRY = TypeRegistry()
TEXT, TEXTS = REGISTRY.codec(25), REGISTRY.codec(1009)
# The same types with functions that nobody knows.
PLAIN_TEXTS = array_codec(replace(TEXT, decode=lambda *where: decode_utf8(*where)))
PLAIN_JSON = TypeRegistry(json_loads=lambda text: json.loads(text))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
characters = st.characters(min_codepoint=1, codec="utf-8")
few = st.lists(st.text(characters, max_size=5) | st.none(), max_size=5)
# Above 32 elements there is another way.
texts = few | st.tuples(few, st.integers(30, 36)).map(lambda some: some[0] + ["x"] * some[1])


def array_of(value: list[Any]) -> bytes:
    data = TEXTS.encode(value)
    assert isinstance(data, bytes)
    return data


def outcome(decode: Any, data: bytes, before: bytes, behind: bytes) -> str:
    try:
        value = decode(before + data + behind, len(before), len(before) + len(data))
    except DataError as error:
        return f"{error}, because of {error.__cause__!r}"
    return repr(value)


@st.composite
def damaged(draw: st.DrawFn, values: st.SearchStrategy[bytes]) -> bytes:
    data = bytearray(draw(values))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


@given(damaged(texts.map(array_of)), st.binary(max_size=9), st.binary(max_size=9))
def test_arrays_of_text(data: bytes, before: bytes, behind: bytes) -> None:
    found = outcome(TEXTS.decode, data, before, behind)
    assert found == outcome(PLAIN_TEXTS.decode, data, before, behind)


@pytest.mark.parametrize("value", [["a", ""], [["a"], ["b"]], [None, "a"], [], ["é" * 200]])
def test_arrays_of_text_of_any_shape(value: list[Any]) -> None:
    data = array_of(value)
    for cut in range(len(data) + 1):
        found = outcome(TEXTS.decode, data[:cut], b"", b"")
        assert found == outcome(PLAIN_TEXTS.decode, data[:cut], b"", b"")
    assert TEXTS.decode(data, 0, len(data)) == value


# int4, float8, bool, timestamptz, uuid, text; json, whose elements are read one by one.
ELEMENTS = [23, 701, 16, 1184, 2950, 25, 114]
FEW, MANY = st.integers(0, 6), st.sampled_from([31, 32, 33, 70])


def plainly(element: Codec) -> Codec:
    """The codec of arrays that knows no lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "quick_lists", lambda _element, _bound, plain, _read: plain)
        patch.setattr(arrays, "fixed_reader", lambda _element: None)
        return array_codec(element)


@st.composite
def lists(draw: st.DrawFn, element: Codec) -> bytes:
    """Arrays, most of them of one dimension, of whatever bytes and NULLs."""
    bounds = st.sampled_from([1, 1, 1, 0, -1, 2**31 - 1])
    dimensions = draw(st.sampled_from([1, 1, 1, 0, 2]))
    counts = [draw(FEW | MANY) for _ in range(dimensions)]
    steps = unpacking(element)
    width = struct.calcsize(f">{steps.code}") if steps else None
    value = st.binary(min_size=width or 0, max_size=5 if width is None else width)
    usual = [draw(value) for _ in range(3)]
    nulls = draw(st.sampled_from([0, 0, 1]))
    data = struct.pack(">iiI", dimensions, nulls, element.oid)
    data += b"".join(struct.pack(">ii", count, draw(bounds)) for count in counts)
    for number in range(prod(counts) if dimensions else 0):
        some = None if nulls and draw(st.booleans()) else usual[number % 3]
        data += struct.pack(">i", -1 if some is None else len(some)) + (some or b"")
    return data


@pytest.mark.parametrize("oid", ELEMENTS)
@given(st.data(), st.binary(max_size=9), st.binary(max_size=9))
def test_lists(oid: int, draw: st.DataObject, before: bytes, behind: bytes) -> None:
    """Twice, as what reads short ones is kept."""
    element = REGISTRY.codec(oid)
    quick, plain = array_codec(element), plainly(element)
    for data in draw.draw(st.lists(damaged(lists(element)) | lists(element), min_size=1)) * 2:
        found = outcome(quick.decode, data, before, behind)
        assert found == outcome(plain.decode, data, before, behind)


@pytest.mark.parametrize("oid", [23, 1184])
@given(st.data(), st.binary(max_size=9), st.binary(max_size=9))
def test_ranges(oid: int, draw: st.DataObject, before: bytes, behind: bytes) -> None:
    element = REGISTRY.codec(oid)
    steps = unpacking(element)
    assert steps is not None
    width = struct.calcsize(f">{steps.code}")
    plain = replace(element, decode=lambda *where: element.decode(*where))
    plain = replace(plain, struct_code=None, converted=None)
    quick, slow = range_codec("r", 1, 0, element), range_codec("r", 1, 0, plain)
    side = st.binary(min_size=width, max_size=width).map(struct.pack(">i", width).__add__)
    flags = st.integers(0, 31).map(lambda number: bytes((number,)))
    data = draw.draw(damaged(st.tuples(flags, st.just(b"") | side, side).map(b"".join)))
    found = outcome(quick.decode, data, before, behind)
    assert found == outcome(slow.decode, data, before, behind)


@pytest.mark.parametrize("value", [[1, 2, 3], [1, None, 3], [None], [], list(range(40)), [7] * 32])
def test_lists_of_numbers(value: list[Any]) -> None:
    codec = array_codec(REGISTRY.codec(23))
    data = codec.encode(value)
    assert isinstance(data, bytes)
    plain = plainly(REGISTRY.codec(23))
    for _ in range(2):
        assert codec.decode(data, 0, len(data)) == value
        for cut in range(len(data) + 1):
            assert outcome(codec.decode, data[:cut], b"", b"") == outcome(
                plain.decode, data[:cut], b"", b""
            )


@pytest.mark.parametrize("name", ["int2vector", "oidvector"])
@given(st.lists(st.integers(0, 2**15 - 1), max_size=40))
def test_vectors(name: str, value: list[int]) -> None:
    codec = REGISTRY.codec(oids.REST[name][0])
    head = struct.pack(">iiIii", 1, 0, 21 if name == "int2vector" else 26, len(value), 0)
    code = "h" if name == "int2vector" else "I"
    data = head + b"".join(
        struct.pack(f">i{code}", struct.calcsize(f">{code}"), item) for item in value
    )
    for _ in range(2):
        found = codec.decode(b"x" + data + b"y", 1, 1 + len(data))
        assert (type(found), found) == (list, value)


@pytest.mark.parametrize("oid", [114, 3802])
@given(
    damaged(json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode())),
    st.sampled_from([b"", b" ", b"\n\t", b"\xef\xbb\xbf"]),
    st.sampled_from([b"", b" ", b"]"]),
)
def test_json(oid: int, text: bytes, front: bytes, back: bytes) -> None:
    data = b"\x01" * (oid == 3802) + front + text + back
    found = outcome(REGISTRY.codec(oid).decode, data, b"[", b"]")
    assert found == outcome(PLAIN_JSON.codec(oid).decode, data, b"[", b"]")


@pytest.mark.parametrize("oid", [114, 3802])
@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "NaN", "", "{", '"\\ud800"', "nul"])
def test_json_at_its_limits(oid: int, text: str) -> None:
    data = b"\x01" * (oid == 3802) + text.encode()
    found = outcome(REGISTRY.codec(oid).decode, data, b"", b"")
    assert found == outcome(PLAIN_JSON.codec(oid).decode, data, b"", b"")
