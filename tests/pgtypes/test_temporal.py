"""date, time, timetz, timestamp, timestamptz: Python's values, and beyond them."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, strategies as st

from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.codec import encoded
from tests.pgtypes.helpers import CODECS, decode, exactly, reason, refused, round_trip

DATE, TIME, TIMETZ = CODECS["date"], CODECS["time"], CODECS["timetz"]
TIMESTAMP, TIMESTAMPTZ = CODECS["timestamp"], CODECS["timestamptz"]
DATE_STYLE = "in ISO format; set DateStyle to ISO"

offsets = st.integers(-16 * 3600 + 1, 16 * 3600 - 1).map(
    lambda seconds: timezone(timedelta(seconds=seconds))
)


class Unsure(tzinfo):
    """As ZoneInfo is for a time without a date: a tzinfo without an offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _moment: datetime | None) -> str:
        return "somewhere"

    def dst(self, _moment: datetime | None) -> timedelta | None:
        return None


class NotATime(datetime):
    """As pandas.NaT is: a datetime whose numbers are none."""

    def __sub__(self, _other: object) -> Any:
        class Nothing:
            days = seconds = microseconds = float("nan")

        return Nothing()


@given(st.dates())
@example(date.min)
@example(date.max)
def test_dates_round_trip(value: date) -> None:
    assert exactly(round_trip(DATE, value)) == exactly(value)
    assert exactly(DATE.decode_text(value.isoformat())) == exactly(value)


@given(st.times())
@example(time.max)
def test_times_round_trip(value: time) -> None:
    assert exactly(round_trip(TIME, value)) == exactly(value.replace(fold=0))
    assert exactly(TIME.decode_text(value.isoformat())) == exactly(value.replace(fold=0))


@given(st.times(timezones=offsets))
def test_times_with_an_offset_round_trip(value: time) -> None:
    value = value.replace(fold=0)
    assert exactly(round_trip(TIMETZ, value)) == exactly(value)
    assert exactly(TIMETZ.decode_text(value.isoformat())) == exactly(value)


@given(st.datetimes())
@example(datetime.min)
@example(datetime.max)
def test_timestamps_round_trip(value: datetime) -> None:
    value = value.replace(fold=0)
    assert exactly(round_trip(TIMESTAMP, value)) == exactly(value)
    assert exactly(TIMESTAMP.decode_text(value.isoformat(" "))) == exactly(value)


@given(st.datetimes(timezones=offsets))
@example(datetime.min.replace(tzinfo=UTC))
@example(datetime.max.replace(tzinfo=UTC))
def test_instants_come_back_in_utc(value: datetime) -> None:
    back = round_trip(TIMESTAMPTZ, value)
    if isinstance(back, datetime):
        assert back == value
        assert back.tzinfo is UTC
    else:  # the offset leads out of Python's years
        assert back[:4] in ("0001", "1000")
    assert exactly(TIMESTAMPTZ.decode_text(value.isoformat(" "))) == exactly(back)


@given(st.integers(-(2**31), 2**31 - 1))
@example(2**31 - 1)
def test_every_date_of_the_server_round_trips(days: int) -> None:
    data = struct.pack(">i", days)
    if -2_451_545 <= days <= 2_145_031_948 or abs(days + 0.5) > 2**31 - 1:
        value = decode(DATE, data)
        assert exactly(DATE.decode_text(str(value))) == exactly(value)
        assert encoded(DATE, value) == (value if isinstance(value, str) else data)
        assert isinstance(value, str) or DATE.literal(value) == str(value)
    else:
        assert "not a valid date" in reason(decode, DATE, data)


@given(st.integers(-(2**63), 2**63 - 1))
@example(2**63 - 1)
@example(-(2**63))
@example(9_223_371_331_199_999_999)
@example(9_223_371_331_200_000_000)
@example(-211_813_488_000_000_000)
@example(-211_813_488_000_000_001)
def test_every_timestamp_of_the_server_round_trips(microseconds: int) -> None:
    data = struct.pack(">q", microseconds)
    valid = -211_813_488_000_000_000 <= microseconds < 9_223_371_331_200_000_000
    for codec in (TIMESTAMP, TIMESTAMPTZ):
        if valid or microseconds in (2**63 - 1, -(2**63)):
            value = decode(codec, data)
            assert exactly(codec.decode_text(str(value))) == exactly(value)
            assert encoded(codec, value) == (value if isinstance(value, str) else data)
            assert isinstance(value, str) or codec.decode_text(codec.literal(value)) == value
        else:
            assert f"not a valid {codec.name}" in reason(decode, codec, data)


def test_midnight_at_the_end_of_the_day_is_a_str() -> None:
    for codec, text in ((TIME, "24:00:00"), (TIMETZ, "24:00:00+05:30")):
        assert exactly(codec.decode_text(text)) == exactly(text)
        assert exactly(round_trip(codec, text)) == exactly(text)


@pytest.mark.parametrize("microseconds", [-1, 86_400_000_001, 2**63 - 1])
def test_times_outside_the_day_are_refused(microseconds: int) -> None:
    data = struct.pack(">q", microseconds)
    assert "not a valid time" in reason(decode, TIME, data)
    assert "not a valid time" in reason(decode, TIMETZ, data + bytes(4))


@pytest.mark.parametrize("seconds", [57600, -57600, 2**31 - 1, -(2**31)])
def test_offsets_of_16_hours_and_more_are_refused(seconds: int) -> None:
    assert "not a valid timetz" in reason(decode, TIMETZ, struct.pack(">qi", 0, seconds))


@pytest.mark.parametrize(
    "codec", [DATE, TIME, TIMETZ, TIMESTAMP, TIMESTAMPTZ], ids=lambda c: c.name
)
@pytest.mark.parametrize("length", [0, 3, 5, 7, 9, 11, 13])
def test_only_the_exact_length_is_decoded(codec: Any, length: int) -> None:
    assert f"it has {length} bytes" in reason(decode, codec, bytes(length))


@pytest.mark.parametrize("codec", [DATE, TIMESTAMP, TIMESTAMPTZ], ids=lambda c: c.name)
@pytest.mark.parametrize("text", ["15/03/2024", "Fri 15 Mar 12:00:00 2024", "2024-02-30", ""])
def test_text_in_another_date_style_is_refused(codec: Any, text: str) -> None:
    assert DATE_STYLE in reason(codec.decode_text, text)


def test_dates_beyond_the_servers_calendar_are_refused() -> None:
    assert "not a valid date" in reason(DATE.decode_text, "5874898-01-01")
    assert "not a valid timestamp" in reason(TIMESTAMP.decode_text, "294277-01-01 00:00:00")
    assert "not a valid timetz" in reason(TIMETZ.decode_text, "00:00:00+16")


@pytest.mark.parametrize(
    ("zone", "moment", "shown"),
    [
        (ZoneInfo("Europe/Berlin"), "2024-03-15 11:00:00+00", "2024-03-15 12:00:00+01:00"),
        (ZoneInfo("Europe/Berlin"), "2024-10-27 01:30:00+00", "2024-10-27 02:30:00+01:00"),
        (timezone(timedelta(hours=-5)), "2024-03-15 11:00:00+00", "2024-03-15 06:00:00-05:00"),
    ],
)
def test_instants_come_back_in_the_registrys_time_zone(
    zone: tzinfo, moment: str, shown: str
) -> None:
    codec = TypeRegistry(timezone=zone).codec(oids.TIMESTAMPTZ)
    value = codec.decode_text(moment)
    assert str(value) == shown
    assert value.tzinfo is zone
    assert round_trip(codec, value).isoformat() == value.isoformat()


def test_an_instant_that_the_time_zone_leads_out_of_range_is_a_str_in_utc() -> None:
    for hours, moment in ((1, "9999-12-31 23:30:00+00"), (-1, "0001-01-01 00:30:00+00")):
        zone = timezone(timedelta(hours=hours))
        codec = TypeRegistry(timezone=zone).codec(oids.TIMESTAMPTZ)
        assert exactly(codec.decode_text(moment)) == exactly(moment)
        assert exactly(TIMESTAMPTZ.decode_text(moment)) != exactly(moment)


def test_the_repeated_hour_is_told_apart() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2024, 10, 27, 2, 30, tzinfo=berlin)
    second = first.replace(fold=1)
    assert str(round_trip(TIMESTAMPTZ, first)) == "2024-10-27 00:30:00+00:00"
    assert str(round_trip(TIMESTAMPTZ, second)) == "2024-10-27 01:30:00+00:00"


NAIVE, AWARE = datetime(2024, 3, 15, 12), datetime(2024, 3, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("date", NAIVE, "expected date, got datetime 2024-03-15 12:00:00; pass .date()"),
        ("date", 5, "expected date, got int 5"),
        ("time", NAIVE, "expected time without tzinfo, got datetime 2024-03-15 12:00:00; pass .ti"),
        ("time", AWARE.timetz(), "got time 12:00:00+00:00; one with tzinfo is for timetz"),
        ("time", 5, "expected time without tzinfo, got int 5"),
        ("timetz", AWARE, "; pass .timetz()"),
        ("timetz", NAIVE.time(), "got time 12:00:00; one without is for time"),
        ("timetz", time(12, tzinfo=ZoneInfo("Europe/Berlin")), "tzinfo's depends on the date"),
        ("timetz", 5, "expected time with tzinfo, got int 5"),
        ("timetz", time(tzinfo=timezone(timedelta(hours=16))), "whole seconds below 16 hours"),
        ("timetz", time(tzinfo=timezone(timedelta(microseconds=1))), "whole seconds below 16"),
        ("timestamp", AWARE, "expected datetime without tzinfo, got datetime 2024-03-15 12:00:00+"),
        ("timestamp", AWARE, "; one with tzinfo is for timestamptz"),
        ("timestamp", NAIVE.date(), "2024-03-15; pass datetime.combine(value, time())"),
        ("timestamptz", NAIVE.date(), "2024-03-15; pass datetime.combine(value, time(), tzinfo)"),
        ("timestamp", NotATime(1, 1, 1), "expected timestamp, got NotATime"),
        ("timestamptz", NAIVE, "datetime with tzinfo, got datetime 2024-03-15 12:00:00; one wi"),
        ("timestamptz", NAIVE, "; one without is for timestamp"),
        ("timestamptz", AWARE.replace(tzinfo=Unsure()), "expected datetime with tzinfo, got dat"),
        ("timestamptz", 5, "expected datetime with tzinfo, got int 5"),
        ("timestamptz", NotATime(1, 1, 1), "expected timestamptz, got NotATime"),
    ],
)
def test_misfits_are_refused_with_a_hint(name: str, value: Any, expected: str) -> None:
    assert expected in refused(CODECS[name], value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("date", date(987, 6, 5), "0987-06-05"),
        ("time", time(1, 2, 3, 40), "01:02:03.00004"),
        ("timetz", time(1, 2, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), "01:02:00-05:30"),
        ("timestamp", datetime(987, 6, 5, 4), "0987-06-05 04:00:00"),
        (
            "timestamptz",
            datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            "2023-12-31 22:00:00+00",
        ),
    ],
)
def test_inside_of_a_text_it_is_what_the_server_prints(name: str, value: Any, text: str) -> None:
    assert CODECS[name].literal(value) == text
    assert CODECS[name].decode_text(text) == value
