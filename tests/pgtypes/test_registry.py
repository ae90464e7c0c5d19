"""All codecs by OID; and what holds for every single one of them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Codec, TypeRegistry, oids
from tests.pgtypes.helpers import CODECS, OIDS

ALL = [*CODECS.values(), TypeRegistry().codec(12345)]
each_codec = pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)


def test_every_constant_has_its_codec() -> None:
    assert len(CODECS) == len(OIDS)
    for name, oid in OIDS.items():
        codec = TypeRegistry().codec(oid)
        assert codec.oid == oid
        element = name.removesuffix("_ARRAY").lower()
        assert codec.name == (f"_{element}" if name.endswith("_ARRAY") else element)


def test_codecs_of_arrays_belong_to_their_elements() -> None:
    arrays = {codec.array_oid for codec in ALL} - {0}
    assert arrays == {oid for name, oid in OIDS.items() if name.endswith("_ARRAY")}


def test_a_codec_is_made_once() -> None:
    registry = TypeRegistry()
    assert registry.codec(oids.INT4_ARRAY) is registry.codec(oids.INT4_ARRAY)
    assert registry.codec(oids.INT4) is TypeRegistry().codec(oids.INT4)


def test_unknown_types_leave_nothing_behind() -> None:
    registry = TypeRegistry()
    assert registry.codec(99999) is not registry.codec(99999)


def test_which_types_are_asked_for_in_text() -> None:
    assert {codec.name for codec in ALL if not codec.binary_results} == {"numeric", "type 12345"}


def test_which_types_take_text_as_a_value() -> None:
    assert {codec.name for codec in ALL if codec.takes_str} == {
        "text", "varchar", "bpchar", "name", "unknown", "char", "json", "jsonb",
    }  # fmt: skip


@each_codec
@given(data=st.binary(max_size=64), prefix=st.binary(max_size=3))
def test_no_bytes_raise_anything_but_a_data_error(codec: Codec, data: bytes, prefix: bytes) -> None:
    buffer = prefix + data + b"\xff"
    with contextlib.suppress(DataError):
        codec.decode(buffer, len(prefix), len(prefix) + len(data))


@each_codec
@given(text=st.text() | st.text('{}[]:=,"\\NUL0123456789-+.: eTZBCP'))
def test_no_text_raises_anything_but_a_data_error(codec: Codec, text: str) -> None:
    with contextlib.suppress(DataError):
        codec.decode_text(text)


@each_codec
@given(data=st.data())
def test_damaged_arrays_raise_nothing_but_data_errors(codec: Codec, data: st.DataObject) -> None:
    """A valid header keeps the damage from being found at once."""
    if not codec.array_oid:
        return
    header = (
        b"\0\0\0\1\0\0\0\0" + codec.oid.to_bytes(4) + b"\0\0\0" + data.draw(st.binary(max_size=1))
    )
    buffer = header + b"\0\0\0\1" + data.draw(st.binary(max_size=40))
    with contextlib.suppress(DataError):
        TypeRegistry().codec(codec.array_oid).decode(buffer, 0, len(buffer))


@each_codec
def test_no_value_raises_anything_but_a_data_error(codec: Codec) -> None:
    values: list[Any] = [5, 2**70, 1.5, float("nan"), b"x", [1], [[None]], {"a": 1}, {1}, True, 1j]
    for value in [*values, object(), type, ...]:
        with contextlib.suppress(DataError):
            codec.encode(value)
