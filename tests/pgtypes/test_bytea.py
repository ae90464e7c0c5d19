"""bytea: any object that holds bytes, and both text formats."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given, strategies as st

from tests.pgtypes.helpers import CODECS, decode, exactly, reason, refused, round_trip

BYTEA = CODECS["bytea"]


class Bytes(bytes):
    pass


def escaped(data: bytes) -> str:
    """The text format of `bytea_output = escape`, as the manual describes it."""
    return "".join(
        "\\\\" if byte == 0x5C else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in data
    )


@given(st.binary())
def test_bytes_round_trip_in_every_format(value: bytes) -> None:
    assert exactly(round_trip(BYTEA, value)) == exactly(value)
    assert exactly(BYTEA.decode_text("\\x" + value.hex())) == exactly(value)
    assert exactly(BYTEA.decode_text(escaped(value))) == exactly(value)


def test_the_escape_format_of_a_hex_lookalike() -> None:
    assert BYTEA.decode_text(escaped(b"\\x41")) == b"\\x41"


def test_everything_that_holds_bytes_is_taken() -> None:
    assert exactly(BYTEA.encode(Bytes(b"ab"))) == exactly(b"ab")
    assert exactly(BYTEA.encode(bytearray(b"ab"))) == exactly(b"ab")
    assert BYTEA.encode(memoryview(b"abcdef")[::2]) == b"ace"
    numbers = array("i", [1, 2])
    assert BYTEA.encode(memoryview(numbers)) == numbers.tobytes()


@pytest.mark.parametrize("value", [5, [1, 2], object()])
def test_nothing_else_is_bytes(value: object) -> None:
    assert refused(BYTEA, value).startswith("expected bytes, bytearray or memoryview, got ")


def test_a_number_is_no_length() -> None:
    assert "bytea" in BYTEA.name
    assert decode(BYTEA, b"") == b""


@pytest.mark.parametrize(
    "text",
    ["\\x0", "\\x0g", "\\x00 01", "\\", "a\\", "\\9", "\\400", "\\08", "é", "\udc80", "\\xé"],
)
def test_malformed_text_is_refused(text: str) -> None:
    assert "not a valid bytea" in reason(BYTEA.decode_text, text)
