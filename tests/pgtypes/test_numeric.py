"""numeric: exact, with its display scale, whatever the decimal context."""

from __future__ import annotations

import decimal
import struct
from decimal import Decimal
from typing import Any

import numpy
import pytest
from hypothesis import example, given, strategies as st

from tests.pgtypes.helpers import CODECS, decode, exactly, reason, refused, round_trip

NUMERIC = CODECS["numeric"]


class Indexed:
    def __index__(self) -> int:
        return 5


class LoudFloat(float):
    """As NumPy's float64 is: a float whose repr() is not a number."""

    def __repr__(self) -> str:
        return "LoudFloat(1.5)"


class Price(Decimal):
    def __str__(self, *_arguments: object) -> str:
        return "1.50 EUR"

    __format__ = __str__


def numeric(weight: int, sign: int, scale: int, *groups: int, count: int | None = None) -> bytes:
    count = len(groups) if count is None else count
    return struct.pack(f">HhHH{len(groups)}H", count, weight, sign, scale, *groups)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
@example(Decimal("1.50"))
@example(Decimal("0.000050"))
@example(Decimal("-0.0001"))
@example(Decimal("10000.0000"))
@example(Decimal("1E-16383"))
@example(Decimal("9" * 131072 + "." + "9" * 16383))
def test_value_and_display_scale_survive(value: Decimal) -> None:
    back = round_trip(NUMERIC, value)
    assert back == value
    if isinstance(exponent := value.as_tuple().exponent, int) and exponent <= 0:
        assert back.as_tuple().exponent == exponent
    assert exactly(NUMERIC.decode_text(f"{back:f}")) == exactly(back)


@given(st.integers(-(10**60), 10**60))
def test_integers_are_taken(value: int) -> None:
    assert exactly(round_trip(NUMERIC, value)) == exactly(Decimal(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_taken_as_they_are_printed(value: float) -> None:
    assert round_trip(NUMERIC, value) == Decimal(repr(value))


def test_exponents_are_written_out() -> None:
    assert exactly(round_trip(NUMERIC, Decimal("12E+5"))) == exactly(Decimal("1200000"))
    assert exactly(round_trip(NUMERIC, Decimal("0E+999999"))) == exactly(Decimal("0"))
    assert exactly(round_trip(NUMERIC, Decimal("-0.00"))) == exactly(Decimal("0.00"))


@pytest.mark.parametrize("special", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinities_round_trip(special: str) -> None:
    value = Decimal(special)
    assert exactly(round_trip(NUMERIC, value)) == exactly(value)
    assert exactly(round_trip(NUMERIC, float(special))) == exactly(value)
    assert exactly(NUMERIC.decode_text(special)) == exactly(value)


def test_other_kinds_of_numbers() -> None:
    assert round_trip(NUMERIC, Indexed()) == 5
    assert round_trip(NUMERIC, LoudFloat(1.5)) == Decimal("1.5")
    assert exactly(round_trip(NUMERIC, Price("1.50"))) == exactly(Decimal("1.50"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "expected Decimal, int or float, got bool; pass int(value)"),
        ("1", "expected Decimal, int or float, got str"),
        (1j, "expected Decimal, int or float, got complex"),
        (Decimal("sNaN"), "numeric has no signalling NaN"),
        (Decimal("1E+131072"), "at most 131072 digits before and 16383 after"),
        (Decimal("1E-16384"), "at most 131072 digits before and 16383 after"),
        (Decimal("0." + "0" * 16384), "at most 131072 digits before and 16383 after"),
        (Decimal("1." + "0" * 16384), "at most 131072 digits before and 16383 after"),
        (Decimal("1E+999999999"), "at most 131072 digits before and 16383 after"),
        (10**131073, "at most 131072 digits before and 16383 after"),
        (1 << 10_000_000, "at most 131072 digits before and 16383 after"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_misfits_are_refused(value: Any, expected: str) -> None:
    assert expected in refused(NUMERIC, value)


@pytest.mark.slow
def test_the_largest_integer_is_taken_and_one_more_is_not() -> None:
    assert round_trip(NUMERIC, 10**131072 - 1) == Decimal("9" * 131072)
    assert "at most 131072 digits before" in refused(NUMERIC, 10**131072)


def test_the_callers_decimal_context_has_no_say() -> None:
    text = "123456789.987654321000"
    with decimal.localcontext(decimal.Context(prec=3, Emax=5, Emin=-5)) as context:
        for signal in context.traps:
            context.traps[signal] = True
        value = NUMERIC.decode_text(text)
        back = round_trip(NUMERIC, value)
        taken = round_trip(NUMERIC, 123456789), round_trip(NUMERIC, 0.1)
        refused(NUMERIC, Decimal("1E+131072"))
    assert exactly(value) == exactly(back) == exactly(Decimal(text))
    assert taken == (Decimal(123456789), Decimal("0.1"))
    with decimal.localcontext() as context:
        context.traps[decimal.InvalidOperation] = False
        assert "not a valid numeric" in reason(NUMERIC.decode_text, "nonsense")


def test_many_digits_take_no_longer_than_linear_time_allows() -> None:
    """100,000 digits: quadratic ways through int would raise, as Python limits them."""
    text = "7" * 100_000 + "." + "3" * 16_000
    value = NUMERIC.decode_text(text)
    assert f"{round_trip(NUMERIC, value):f}" == text


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1_0", "nan", "sNaN", "NaN1", "inf", "1,5", "1e9999999999999999999", "\udc80"],
)
def test_other_texts_are_refused(text: str) -> None:
    assert "not a valid numeric" in reason(NUMERIC.decode_text, text)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (numeric(0, 0, 0), "0"),
        (numeric(-7, 0, 3), "0.000"),
        (numeric(1, 0, 0, 1), "10000"),
        (numeric(1, 0x4000, 2, 1), "-10000.00"),
        (numeric(-2, 0, 8, 12), "1.2E-7"),
        (numeric(-2, 0, 7, 120), "0.0000012"),
        (numeric(-32768, 0, 2, 0), "0.00"),
        (numeric(0, 0xC000, 9), "NaN"),
    ],
)
def test_unusual_but_valid_binary_values(data: bytes, expected: str) -> None:
    assert decode(NUMERIC, data) == Decimal(expected) or expected == "NaN"
    assert str(decode(NUMERIC, data)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        numeric(0, 0, 0)[:7],
        numeric(0, 0, 0, 1)[:9],
        numeric(0, 0, 0, 1, count=2),
        numeric(0, 0, 0, 1, 1, count=1),
        numeric(0, 0x8000, 0, 1),
        numeric(0, 0xC000, 0, 1),
        numeric(0, 0, 16384, 1),
        numeric(0, 0, 0, 10000),
        numeric(0, 0, 1, 1, 1200),
        numeric(-2, 0, 6, 12),
    ],
    ids=bytes.hex,
)
def test_malformed_binary_values_are_refused(data: bytes) -> None:
    assert "not a valid numeric" in reason(decode, NUMERIC, data)


def test_numpy_s_floats_are_taken_as_they_are_printed() -> None:
    for kind in (numpy.float16, numpy.float32, numpy.float64):
        assert exactly(round_trip(CODECS["numeric"], kind(0.1))) == exactly(Decimal("0.1"))
    assert exactly(round_trip(CODECS["numeric"], numpy.float32("inf"))) == exactly(Decimal("inf"))
