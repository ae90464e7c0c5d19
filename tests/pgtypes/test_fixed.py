"""bool, integers, oid and floats."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused, round_trip

INTEGERS = {
    "int2": (-(2**15), 2**15 - 1),
    "int4": (-(2**31), 2**31 - 1),
    "int8": (-(2**63), 2**63 - 1),
    "oid": (0, 2**32 - 1),
}
FIXED = ("bool", "int2", "int4", "int8", "oid", "float4", "float8")


class Level(IntEnum):
    HIGH = 3


class Indexed:
    """As NumPy's integers are: no int, but an index."""

    def __index__(self) -> int:
        return 5


class Real:
    """As NumPy's float32 is: no float, but easily made one."""

    def __float__(self) -> float:
        return 0.5


def numpy_bool(*, value: bool, name: str = "bool_") -> Any:
    kind = type(name, (), {"__module__": "numpy", "__bool__": lambda _self: value})
    return kind()


@pytest.mark.parametrize("name", FIXED)
def test_struct_code_describes_the_binary_format(name: str) -> None:
    codec = CODECS[name]
    assert codec.struct_code is not None
    data = encode(codec, True if name == "bool" else 1)
    assert struct.unpack(">" + codec.struct_code, data) == (1,)


@pytest.mark.parametrize("name", FIXED)
@given(data=st.binary(max_size=12))
def test_only_the_exact_length_is_decoded(name: str, data: bytes) -> None:
    codec = CODECS[name]
    assert codec.struct_code is not None
    if len(data) == struct.calcsize(">" + codec.struct_code):
        expected = struct.unpack(">" + codec.struct_code, data)[0]
        assert exactly(decode(codec, data)) == exactly(expected)
    else:
        assert f"it has {len(data)} bytes" in reason(decode, codec, data)


@pytest.mark.parametrize("name", INTEGERS)
@given(data=st.data())
def test_integers_in_range_round_trip(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    value = data.draw(st.integers(*INTEGERS[name]))
    assert round_trip(codec, value) == value
    assert codec.decode_text(str(value)) == value


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("beyond", [1, 2**64, 10**5000], ids=["1", "2**64", "10**5000"])
def test_integers_out_of_range_are_refused_with_the_range(name: str, beyond: int) -> None:
    low, high = INTEGERS[name]
    for value in (low - beyond, high + beyond):
        assert refused(CODECS[name], value).startswith(f"expected int from {low} to {high}, got ")
    if beyond == 1:
        assert refused(CODECS[name], high + 1).endswith(f"got int {high + 1}")
        assert "int4" in reason(CODECS["int4"].decode_text, str(2**31))


@pytest.mark.parametrize("name", INTEGERS)
def test_whatever_is_an_index_is_an_integer(name: str) -> None:
    codec = CODECS[name]
    assert round_trip(codec, Level.HIGH) == 3
    assert round_trip(codec, Indexed()) == 5


@pytest.mark.parametrize("name", INTEGERS)
def test_bool_float_and_text_are_no_integers(name: str) -> None:
    codec = CODECS[name]
    assert refused(codec, True) == "expected int, got bool; pass int(value)"
    assert refused(codec, 1.0) == "expected int, got float 1.0"
    assert refused(codec, "1") == "expected int, got str"


@pytest.mark.parametrize(
    "text", ["", " 1", "1_0", "+1", "01", "-0", "1.0", "x", "\u0661", "9" * 5000]
)
def test_integer_text_has_one_form_only(text: str) -> None:
    assert "not a valid int8" in reason(CODECS["int8"].decode_text, text)


def test_bool_is_bool_only() -> None:
    codec = CODECS["bool"]
    assert round_trip(codec, True) is True
    assert round_trip(codec, False) is False
    assert refused(codec, 1) == "expected bool, got int 1; pass bool(value)"
    assert refused(codec, "t") == "expected bool, got str"


@pytest.mark.parametrize("name", ["bool_", "bool"])
def test_the_bools_of_numpy_are_known_by_name(name: str) -> None:
    codec = CODECS["bool"]
    assert round_trip(codec, numpy_bool(value=True, name=name)) is True
    assert round_trip(codec, numpy_bool(value=False, name=name)) is False
    assert refused(codec, numpy_bool(value=True, name="int8")) == "expected bool, got int8"


@pytest.mark.parametrize("text", ["", "true", "T", "tt"])
def test_bool_text_is_t_or_f(text: str) -> None:
    assert "not a valid bool" in reason(CODECS["bool"].decode_text, text)


@given(st.floats())
@example(-0.0)
@example(math.nan)
def test_float8_round_trips_exactly(value: float) -> None:
    assert exactly(round_trip(CODECS["float8"], value)) == exactly(value)


@given(st.floats(width=32))
@example(-0.0)
def test_float4_round_trips_exactly(value: float) -> None:
    assert exactly(round_trip(CODECS["float4"], value)) == exactly(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float8_text_is_read_exactly(value: float) -> None:
    assert exactly(CODECS["float8"].decode_text(repr(value))) == exactly(value)


def nearest_float4(text: str) -> float:
    """The float4 nearest to the text, ties to even, by exact arithmetic."""
    exact = Fraction(text)
    bits: int = struct.unpack(">i", struct.pack(">f", float(text)))[0]
    magnitude = bits & 0x7FFFFFFF
    near = [b for b in range(magnitude - 1, magnitude + 2) if 0 <= b < 0x7F800000]
    values = {b: Fraction(struct.unpack(">f", struct.pack(">i", b))[0]) for b in near}
    best = min(near, key=lambda b: (abs(values[b] - abs(exact)), b & 1))
    result: float = struct.unpack(">f", struct.pack(">I", best | (0x80000000 & bits)))[0]
    return result


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-3, 3))
def test_float4_text_is_rounded_once(value: float, step: int) -> None:
    """Texts close to the middle of two float4s are where rounding twice goes wrong."""
    bits: int = struct.unpack(">i", struct.pack(">f", abs(value)))[0]
    after = struct.unpack(">f", struct.pack(">i", min(bits + 1, 0x7F7FFFFF)))[0]
    middle = (abs(value) + after) / 2
    digits = f"{Decimal(middle):.60e}"
    mantissa, exponent = digits.split("e")
    text = f"{Decimal(mantissa) + step * Decimal(10) ** -25}e{int(exponent):+03d}"
    assert exactly(CODECS["float4"].decode_text(text)) == exactly(nearest_float4(text))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (Real(), 0.5),
        (Indexed(), 5.0),
        (Decimal("-Infinity"), -math.inf),
    ],
)
def test_floats_take_every_real_number(value: Any, expected: float) -> None:
    assert exactly(round_trip(CODECS["float8"], value)) == exactly(expected)
    assert exactly(round_trip(CODECS["float4"], value)) == exactly(expected)


@pytest.mark.parametrize("name", ["float4", "float8"])
def test_bool_and_text_are_no_floats(name: str) -> None:
    codec = CODECS[name]
    assert refused(codec, True) == "expected float, got bool"
    for value in ("1.5", b"1.5", 1j):
        assert refused(codec, value) == f"expected float, got {type(value).__name__}"


@pytest.mark.parametrize(
    "value", [10**400, Decimal("1e400"), Decimal("sNaN"), Fraction(10**400)], ids=repr
)
def test_what_no_float_can_hold_is_refused(value: Any) -> None:
    for name in ("float4", "float8"):
        assert "within float8's range" in refused(CODECS[name], value)


def test_float4_refuses_what_only_float8_can_hold() -> None:
    assert (
        refused(CODECS["float4"], 1e39) == "expected float within float4's range, got float 1e+39"
    )


@pytest.mark.parametrize("name", ["float4", "float8"])
@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "1_0", " 1", "1e5", "0x1", "\u0661", "1e+99999"]
)
def test_float_text_is_what_the_server_prints(name: str, text: str) -> None:
    assert f"not a valid {name}" in reason(CODECS[name].decode_text, text)


@pytest.mark.parametrize("text", ["Infinity", "-Infinity", "NaN"])
def test_infinities_and_nan_are_read(text: str) -> None:
    for name in ("float4", "float8"):
        assert exactly(CODECS[name].decode_text(text)) == exactly(float(text))


def test_float4_text_beyond_float4_is_refused() -> None:
    assert "not a valid float4" in reason(CODECS["float4"].decode_text, "1e+39")
