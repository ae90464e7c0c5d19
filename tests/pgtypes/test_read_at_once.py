"""Values that are read in a quicker way where they are as usual: the same as in the other."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.text import decode_utf8

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
