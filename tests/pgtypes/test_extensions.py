"""The table of extension types, citext, and PostGIS's geometries."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.codec import Codec, Literal, encoded
from pgwire.pgtypes.extensions import EXTENSIONS
from tests.pgtypes.helpers import CODECS, decode, encode, reason, refused

CITEXT = EXTENSIONS["citext"](70_000, 70_001)
SPATIAL = {name: EXTENSIONS[name](70_002, 70_003) for name in ("geometry", "geography")}
each = pytest.mark.parametrize("codec", SPATIAL.values(), ids=SPATIAL)
# SRID=4326;POINT(1 2), in little and in big endian.
POINTS = (
    struct.pack("<BIIdd", 1, 0x20000001, 4326, 1, 2),
    struct.pack(">BIIdd", 0, 0x20000001, 4326, 1, 2),
)
EMPTY_POLYGON = bytes.fromhex("01 03000000 00000000")


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_codec_has_the_oids_of_its_database(name: str) -> None:
    codec = EXTENSIONS[name](12, 34)
    assert (codec.name, codec.oid, codec.array_oid) == (name, 12, 34)
    assert codec.has_binary
    assert codec.binary_results
    assert codec.gives
    assert codec.takes


@pytest.mark.parametrize("name", ["ltree", "lquery", "ltxtquery", "box2d", "box3d", "raster"])
def test_what_is_only_text_needs_no_codec(name: str) -> None:
    assert name not in EXTENSIONS


def test_citext_is_text() -> None:
    text = CODECS["text"]
    assert CITEXT.takes_str
    for function in ("decode", "decode_text", "encode", "literal"):
        assert getattr(CITEXT, function) is getattr(text, function)


@each
@pytest.mark.parametrize("data", [*POINTS, EMPTY_POLYGON])
def test_both_formats_give_the_ewkb(codec: Codec, data: bytes) -> None:
    assert decode(codec, data) == codec.decode_text(data.hex().upper()) == data
    assert encode(codec, data) == data
    assert codec.literal(data) == data.hex().upper()
    assert type(decode(codec, data)) is bytes


@each
@pytest.mark.parametrize(
    "value", [bytearray(POINTS[0]), memoryview(POINTS[0]), memoryview(POINTS[0][::-1])[::-1]]
)
def test_any_bytes_are_taken(codec: Codec, value: Any) -> None:
    assert encode(codec, value) == POINTS[0]
    assert type(encode(codec, value)) is bytes
    assert codec.literal(value) == POINTS[0].hex().upper()


@each
def test_a_str_is_a_literal(codec: Codec) -> None:
    value = encoded(codec, "POINT(1 2)")
    assert type(value) is Literal
    assert value == "POINT(1 2)"


@each
@pytest.mark.parametrize("value", [5, [1, 2], (1.5, 2.5), {"type": "Point"}])
def test_others_are_refused(codec: Codec, value: Any) -> None:
    assert "expected bytes, bytearray or memoryview of EWKB, or str, got" in refused(codec, value)
    assert reason(codec.literal, value) == refused(codec, value)


@each
@pytest.mark.parametrize("data", [b"", b"\1", EMPTY_POLYGON[:-1], b"\2" + EMPTY_POLYGON[1:]])
def test_malformed_bytes_are_refused(codec: Codec, data: bytes) -> None:
    assert reason(decode, codec, data) == f"the server's value is not a valid {codec.name}"
    assert reason(codec.decode_text, data.hex().upper()) == reason(decode, codec, data)


@each
@pytest.mark.parametrize(
    "text",
    [
        "",
        "POINT(1 2)",
        EMPTY_POLYGON.hex() + "ab",
        EMPTY_POLYGON.hex().upper() + "A",
        EMPTY_POLYGON.hex().upper() + "\n",
        EMPTY_POLYGON.hex(" "),
        "\N{ARABIC-INDIC DIGIT ONE}" * 18,
    ],
)
def test_malformed_text_is_refused(codec: Codec, text: str) -> None:
    assert reason(codec.decode_text, text) == f"the server's value is not a valid {codec.name}"


@each
@given(data=st.binary() | st.binary(min_size=8).map(lambda rest: b"\1" + rest))
def test_any_bytes_give_a_value_or_a_data_error(codec: Codec, data: bytes) -> None:
    try:
        assert decode(codec, data) == data
    except DataError:
        assert "not a valid" in reason(codec.decode_text, data.hex().upper())
    else:
        assert codec.decode_text(data.hex().upper()) == data


@each
@given(st.text() | st.text("01AFaf"))
def test_any_text_gives_a_value_or_a_data_error(codec: Codec, text: str) -> None:
    try:
        value = codec.decode_text(text)
    except DataError:
        return
    assert codec.literal(value) == text
