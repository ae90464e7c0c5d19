"""The ISO text of dates and times, against an independent walk through the calendar."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from pgwire.pgtypes import isodates

FIRST_DAY, LAST_DAY = -2_451_545, 2_145_031_948
FIRST_TIMESTAMP, LAST_TIMESTAMP = -211_813_488_000_000_000, 9_223_371_331_199_999_999


def walked(days: int) -> str:
    """The date by the formula of Julian day numbers (Fliegel and Van Flandern, integers only)."""
    a = days + 2_451_545 + 32_044
    b, a = divmod(4 * a + 3, 146_097)
    c, rest = divmod(4 * (a // 4) + 3, 1461)
    m, day = divmod(5 * (rest // 4) + 2, 153)
    year = 100 * b + c - 4800 + m // 10
    month, day = m + 3 - 12 * (m // 10), day // 5 + 1
    return (
        f"{year:04d}-{month:02d}-{day:02d}"
        if year > 0
        else (f"{1 - year:04d}-{month:02d}-{day:02d} BC")
    )


@given(st.integers(FIRST_DAY, LAST_DAY))
@example(FIRST_DAY)
@example(LAST_DAY)
@example(-730_120)
@example(-730_119)
def test_days_are_those_of_the_proleptic_gregorian_calendar(days: int) -> None:
    text = isodates.date_text(days)
    assert text == walked(days)
    assert isodates.parse_date(text) == (days,)


@given(st.integers(FIRST_TIMESTAMP, LAST_TIMESTAMP))
@example(FIRST_TIMESTAMP)
@example(LAST_TIMESTAMP)
@example(-1)
def test_timestamps_are_read_as_written(microseconds: int) -> None:
    assert isodates.parse_timestamp(isodates.timestamp_text(microseconds)) == (microseconds,)


@given(
    st.integers(FIRST_TIMESTAMP, LAST_TIMESTAMP),
    st.integers(-16 * 3600 + 1, 16 * 3600 - 1),
)
@example(0, 0)
@example(0, -19800)
@example(0, 1)
def test_offsets_are_read_as_written(microseconds: int, west: int) -> None:
    local = microseconds - west * 1_000_000
    text = isodates.timestamp_text(local, isodates.zone_text(west))
    assert isodates.parse_timestamptz(text) == (microseconds,)


@given(st.integers(0, isodates.DAY), st.integers(-16 * 3600 + 1, 16 * 3600 - 1))
@example(isodates.DAY, 0)
def test_clocks_are_read_as_written(microseconds: int, west: int) -> None:
    text = isodates.clock_text(microseconds)
    assert isodates.parse_time(text) == (microseconds,)
    assert isodates.parse_timetz(text + isodates.zone_text(west)) == (microseconds, west)


@pytest.mark.parametrize(
    ("seconds_west", "text"),
    [(0, "+00"), (-3600, "+01"), (-19800, "+05:30"), (12615, "-03:30:15"), (-3208, "+00:53:28")],
)
def test_offsets_look_like_the_servers(seconds_west: int, text: str) -> None:
    assert isodates.zone_text(seconds_west) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15/03/2024",
        "03-15-2024",
        "15.03.2024",
        "Fri Mar 15 12:00:00 2024",
        "2024-02-30",
        "2024-00-01",
        "2024-13-01",
        "0000-01-01",
        "0000-01-01 BC",
        "0002-02-29 BC",
        "99999999-01-01",
        "2024-3-15",
        "20240315",
        "2024-W11-5",
        "\u0662\u0660\u0662\u0664-03-15",
        " 2024-03-15",
        "2024-03-15 AD",
        "Infinity",
    ],
)
def test_what_is_not_an_iso_date_is_no_date(text: str) -> None:
    with pytest.raises(ValueError):
        isodates.parse_date(text)
    with pytest.raises(ValueError):
        isodates.parse_timestamp(text + " 12:00:00")
    with pytest.raises(ValueError):
        isodates.parse_timestamptz(text + " 12:00:00+00")


@pytest.mark.parametrize(
    "text",
    ["", "12:00", "1:00:00", "25:00:00", "12:60:00", "12:00:60", "12:00:00.", "12:00:00.1234567"],
)
def test_what_is_not_an_iso_time_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        isodates.parse_time(text)
    with pytest.raises(ValueError):
        isodates.parse_timetz(text + "+00")
    with pytest.raises(ValueError):
        isodates.parse_timestamp("2024-03-15 " + text)


def test_24_hours_are_for_times_only() -> None:
    assert isodates.parse_time("24:00:00") == (isodates.DAY,)
    with pytest.raises(ValueError):
        isodates.parse_timestamp("2024-03-15 24:00:00")
    with pytest.raises(ValueError):
        isodates.parse_timestamptz("2024-03-15 24:00:00+00")


@pytest.mark.parametrize("zone", ["", "Z", "UTC", "+1", "+01:60", "+01:00:60", "+0100", "CET"])
def test_offsets_are_numbers(zone: str) -> None:
    with pytest.raises(ValueError):
        isodates.parse_timetz("12:00:00" + zone)
    with pytest.raises(ValueError):
        isodates.parse_timestamptz("2024-03-15 12:00:00" + zone)
