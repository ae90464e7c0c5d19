"""Interval, and its text in the styles that cannot be mistaken."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Interval
from tests.pgtypes.helpers import CODECS, decode, exactly, reason, refused, round_trip

CODEC = CODECS["interval"]
INFINITY = Interval(2**31 - 1, 2**31 - 1, 2**63 - 1)
MINUS_INFINITY = Interval(-(2**31), -(2**31), -(2**63))
HOUR = 3_600_000_000

int32, int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
intervals = st.builds(Interval, int32, int32, int64)


@given(intervals)
@example(INFINITY)
@example(MINUS_INFINITY)
def test_intervals_round_trip_in_binary_and_as_their_str(value: Interval) -> None:
    assert exactly(round_trip(CODEC, value)) == exactly(value)
    assert exactly(CODEC.decode_text(str(value))) == exactly(value)


@given(intervals)
def test_iso_8601_is_read(value: Interval) -> None:
    """PostgreSQL gives each field its own sign."""
    sign = "-" if value.microseconds < 0 else ""
    seconds, fraction = divmod(abs(value.microseconds), 1_000_000)
    years = int(value.months / 12)
    text = (
        f"P{years}Y{value.months - 12 * years}M{value.days}D"
        f"T{sign}{seconds // 3600}H{sign}{seconds // 60 % 60}M{sign}{seconds % 60}.{fraction:06d}S"
    )
    assert exactly(CODEC.decode_text(text)) == exactly(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PT0S", Interval()),
        ("P1Y2M3DT4H5M6.789S", Interval(14, 3, 4 * HOUR + 306_789_000)),
        ("P-1Y-2M3DT-4H-5M-6.7S", Interval(-14, 3, -4 * HOUR - 306_700_000)),
        ("P1M", Interval(1)),
        ("PT-4H", Interval(0, 0, -4 * HOUR)),
        ("PT-1M", Interval(0, 0, -60_000_000)),
        ("PT-0.5S", Interval(0, 0, -500_000)),
        ("PT1H-1M0.5S", Interval(0, 0, HOUR - 60_000_000 + 500_000)),
        ("00:00:00", Interval()),
        ("1 day", Interval(0, 1)),
        ("-1 days", Interval(0, -1)),
        ("1 mon -1 days +100:00:00", Interval(1, -1, 100 * HOUR)),
        ("-00:00:00.5", Interval(0, 0, -500_000)),
    ],
)
def test_texts_of_the_server(text: str, value: Interval) -> None:
    assert exactly(CODEC.decode_text(text)) == exactly(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "P",
        "PT",
        "P1DT",
        "@ 1 year 2 mons",
        "1-2",
        "+1-2 -3 +4:05:06",
        "3 4:05:06",
        "4:05:06",
        "0",
        "1 year ",
        "1 year2 mons",
        "1 day 1 year",
        "00:60:00",
        "1 hour",
        "Infinity",
        "\u0661 day",
        "9" * 5000 + " days",
    ],
)
def test_text_in_another_interval_style_is_refused(text: str) -> None:
    assert "set IntervalStyle to postgres or iso_8601" in reason(CODEC.decode_text, text)


@pytest.mark.parametrize(
    "text", ["2147483648 days", "178956970 years 8 mons", "2562047788:00:54.775808", "P2147483648M"]
)
def test_text_beyond_the_range_is_refused(text: str) -> None:
    assert "not a valid interval" in reason(CODEC.decode_text, text)


@pytest.mark.parametrize("length", [0, 8, 15, 17])
def test_only_the_exact_length_is_decoded(length: int) -> None:
    assert f"it has {length} bytes" in reason(decode, CODEC, bytes(length))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Interval(), "00:00:00"),
        (Interval(14, 3, 4 * HOUR + 306_789_000), "1 year 2 mons 3 days 04:05:06.789"),
        (Interval(-14, 3, -4 * HOUR), "-1 years -2 mons +3 days -04:00:00"),
        (Interval(1, -1, HOUR), "1 mon -1 days +01:00:00"),
        (Interval(-11), "-11 mons"),
        (INFINITY, "infinity"),
        (MINUS_INFINITY, "-infinity"),
    ],
)
def test_str_is_the_servers_own_literal(value: Interval, text: str) -> None:
    assert str(value) == text


@given(st.timedeltas())
@example(timedelta.min)
@example(timedelta.max)
def test_timedeltas_are_taken_and_given_back(value: timedelta) -> None:
    interval = Interval.from_timedelta(value)
    assert interval.to_timedelta() == value
    assert exactly(round_trip(CODEC, value)) == exactly(interval)


def test_months_have_no_fixed_length() -> None:
    with pytest.raises(DataError, match="months has no fixed length: 1 mon"):
        Interval(1).to_timedelta()


def test_timedelta_ends_before_interval_does() -> None:
    with pytest.raises(DataError, match="beyond timedelta's range"):
        Interval(0, 2**31 - 1, 0).to_timedelta()


def test_an_interval_is_an_immutable_value_without_an_order() -> None:
    value = Interval(1, 2, 3)
    assert value == Interval(months=1, days=2, microseconds=3) != Interval(1, 2, 4)
    assert value != (1, 2, 3)  # type: ignore[comparison-overlap]
    assert hash(value) == hash(Interval(1, 2, 3))
    assert pickle.loads(pickle.dumps(value)) == value
    assert repr(value) == "Interval(months=1, days=2, microseconds=3)"
    with pytest.raises(FrozenInstanceError):
        value.days = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        value < Interval()  # type: ignore[operator]  # noqa: B015


@pytest.mark.parametrize(
    "value",
    [Interval(2**31), Interval(0, -(2**31) - 1), Interval(0, 0, 2**63), Interval("1")],  # type: ignore[arg-type]
)
def test_intervals_beyond_the_range_are_refused(value: Any) -> None:
    assert "32-bit months, 32-bit days and 64-bit microseconds" in refused(CODEC, value)


def test_other_values_are_refused() -> None:
    assert refused(CODEC, 5) == "expected Interval or timedelta, got int 5"
    assert refused(CODEC, (1, 2, 3)) == "expected Interval or timedelta, got tuple"
