"""bit and varbit: as many bits as there were, however many.

The vectors are those of PostgreSQL 18.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.bits import CODECS
from tests.pgtypes.helpers import decode, reason, refused

CASES = pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)


def packed(bits: str) -> bytes:
    """The binary format, spelt out: eight bits at a time."""
    groups = [bits[i : i + 8].ljust(8, "0") for i in range(0, len(bits), 8)]
    return len(bits).to_bytes(4, "big") + bytes(int(group, 2) for group in groups)


@CASES
@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("00000000", ""),
        ("0000000180", "1"),
        ("0000000100", "0"),
        ("00000004a0", "1010"),
        ("00000008aa", "10101010"),
        ("00000009aa80", "101010101"),
        ("000000100000", "0000000000000000"),
    ],
)
def test_both_formats_give_the_bits(codec: Any, data: str, text: str) -> None:
    assert decode(codec, bytes.fromhex(data)) == codec.decode_text(text) == text
    assert packed(text).hex() == data


@CASES
@given(bits=st.text("01", max_size=100))
def test_bits_keep_their_number_and_order(codec: Any, bits: str) -> None:
    assert decode(codec, packed(bits)) == codec.decode_text(bits) == bits


@CASES
def test_long_strings_are_read_in_linear_time(codec: Any) -> None:
    # 0.1 s; what is quadratic would not end.
    bits = "01101110" * 2_500_000
    data = len(bits).to_bytes(4, "big") + b"\x6e" * 2_500_000
    assert decode(codec, data) == codec.decode_text(bits) == bits


@CASES
def test_a_parameter_is_a_literal(codec: Any) -> None:
    assert not codec.takes_str
    for value in (None, 1.5, b"\1", True, "1"):
        name = type(value).__name__
        assert refused(codec, value).startswith(f"expected str of 0s and 1s, got {name}")
        assert reason(codec.literal, value) == refused(codec, value)
    assert refused(codec, 5) == (
        'expected str of 0s and 1s, got int 5; for eight bits pass format(value, "08b")'
    )
    assert ";" not in refused(codec, True)


@CASES
@pytest.mark.parametrize("data", ["", "00", "000000"])
def test_the_number_of_bits_comes_first(codec: Any, data: str) -> None:
    assert f"it has {len(data) // 2} bytes" in reason(decode, codec, bytes.fromhex(data))


@CASES
@pytest.mark.parametrize(
    "data",
    [
        "00000001",  # a byte is missing
        "0000000000",  # one too many
        "0000000801ff",
        "0000000901",
        "fffffff9",  # -7 bits
        "ffffffff",
        "ffffffff00",
        "0000000140",  # bits in the padding
        "0000000181",
        "00000009ff7f",
    ],
)
def test_malformed_bytes_are_refused(codec: Any, data: str) -> None:
    expected = f"the server's value is not a valid {codec.name}"
    assert reason(decode, codec, bytes.fromhex(data)) == expected


@CASES
@pytest.mark.parametrize("text", [" ", "2", "10 ", "1\n", "0b1", "-1", "1_0", "B1", "\u0661"])
def test_malformed_text_is_refused(codec: Any, text: str) -> None:
    expected = f"the server's value is not a valid {codec.name}"
    assert reason(codec.decode_text, text) == expected


@CASES
@given(
    data=st.binary(max_size=12)
    | st.builds(lambda n, rest: n.to_bytes(4, "big") + rest, st.integers(0, 33), st.binary())
)
def test_any_bytes_are_bits_or_a_data_error(codec: Any, data: bytes) -> None:
    with suppress(DataError):
        assert packed(decode(codec, data)) == data


@CASES
@given(text=st.text(max_size=10) | st.text("01 2", max_size=10))
def test_any_text_is_bits_or_a_data_error(codec: Any, text: str) -> None:
    with suppress(DataError):
        assert decode(codec, packed(codec.decode_text(text))) == text
