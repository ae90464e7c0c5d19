"""Dates and times between PostgreSQL's numbers and its text in DateStyle ISO.

Knows PostgreSQL's calendar: days and microseconds counted from 2000-01-01, offsets in
seconds west of Greenwich, all of it integers of any size. Must not know the binary format,
nor which of these numbers Python's own types can hold.

The Gregorian calendar repeats every 400 years of 146,097 days; shifting by whole cycles
lets Python's `date` do the sums for any year. Year 0 is 1 BC.

The functions `parse_…` raise ValueError for what is no such text: another DateStyle, a day
that does not exist. Nothing is guessed. The manual: "Date/Time Output".
"""

from __future__ import annotations

import re
from datetime import date

DAY = 86_400_000_000  # microseconds
INFINITE_DATES = {"infinity": 2**31 - 1, "-infinity": -(2**31)}
INFINITE_TIMESTAMPS = {"infinity": 2**63 - 1, "-infinity": -(2**63)}

EPOCH_ORDINAL = date(2000, 1, 1).toordinal()
_CYCLE_DAYS, _CYCLE_YEARS = 146_097, 400

_DATE = r"(\d{4,7})-(\d\d)-(\d\d)"
_TIME = r"([01]\d|2[0-4]):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?"
_ZONE = r"([+-])(\d\d)(?::([0-5]\d)(?::([0-5]\d))?)?"
_match_date = re.compile(f"{_DATE}( BC)?", re.ASCII).fullmatch
_match_time = re.compile(_TIME, re.ASCII).fullmatch
_match_timetz = re.compile(_TIME + _ZONE, re.ASCII).fullmatch
_match_timestamp = re.compile(f"{_DATE} (?!24){_TIME}( BC)?", re.ASCII).fullmatch
_match_timestamptz = re.compile(f"{_DATE} (?!24){_TIME}{_ZONE}( BC)?", re.ASCII).fullmatch


def parse_date(text: str) -> tuple[int]:
    """Days from 2000-01-01."""
    if text in INFINITE_DATES:
        return (INFINITE_DATES[text],)
    return (_days(*_fields(_match_date(text))),)


def parse_time(text: str) -> tuple[int]:
    """Microseconds from midnight, up to and including 24:00:00."""
    return (clock_microseconds(*_fields(_match_time(text))),)


def parse_timetz(text: str) -> tuple[int, int]:
    """Microseconds from midnight, and seconds west of Greenwich."""
    fields = _fields(_match_timetz(text))
    return clock_microseconds(*fields[:4]), _seconds_west(*fields[4:])


def parse_timestamp(text: str) -> tuple[int]:
    """Microseconds from 2000-01-01."""
    if text in INFINITE_TIMESTAMPS:
        return (INFINITE_TIMESTAMPS[text],)
    year, month, day, *clock, era = _fields(_match_timestamp(text))
    return (_days(year, month, day, era) * DAY + clock_microseconds(*clock),)


def parse_timestamptz(text: str) -> tuple[int]:
    """Microseconds from 2000-01-01 in UTC."""
    if text in INFINITE_TIMESTAMPS:
        return (INFINITE_TIMESTAMPS[text],)
    year, month, day, *rest, era = _fields(_match_timestamptz(text))
    clock = clock_microseconds(*rest[:4]) + _seconds_west(*rest[4:]) * 1_000_000
    return (_days(year, month, day, era) * DAY + clock,)


def date_text(days: int) -> str:
    """The ISO literal of the day: 10000-01-01, 0044-03-15 BC."""
    return "".join(_date_and_era(days))


def timestamp_text(microseconds: int, zone: str = "") -> str:
    """The ISO literal of the timestamp: 10000-01-01 00:00:00+00, 0044-03-15 12:00:00 BC."""
    days, clock = divmod(microseconds, DAY)
    day, era = _date_and_era(days)
    return f"{day} {clock_text(clock)}{zone}{era}"


def zone_text(seconds_west: int) -> str:
    """The offset as PostgreSQL prints it: +05, -03:30, +00:53:28."""
    minutes, second = divmod(abs(seconds_west), 60)
    text = f"{'-' if seconds_west > 0 else '+'}{minutes // 60:02d}"
    if minutes % 60 or second:
        text += f":{minutes % 60:02d}"
    return f"{text}:{second:02d}" if second else text


def clock_text(microseconds: int) -> str:
    """HH:MM:SS, with as many decimal places as needed; not negative, hours without a bound."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


def clock_microseconds(hour: str, minute: str, second: str, fraction: str) -> int:
    """The microseconds of a clock's fields; `fraction` are the decimal places of seconds."""
    seconds = int(hour) * 3600 + int(minute) * 60 + int(second)
    return seconds * 1_000_000 + int(fraction.ljust(6, "0"))


def _fields(match: re.Match[str] | None) -> tuple[str, ...]:
    if match is None:
        raise ValueError("not in ISO format")
    return match.groups("")


def _days(year: str, month: str, day: str, era: str) -> int:
    if int(year) == 0:
        raise ValueError("there is no year 0")
    cycles, in_cycle = divmod(1 - int(year) if era else int(year), _CYCLE_YEARS)
    # In the second cycle, as Python has no year 0 either.
    ordinal = date(in_cycle + _CYCLE_YEARS, int(month), int(day)).toordinal()
    return ordinal + (cycles - 1) * _CYCLE_DAYS - EPOCH_ORDINAL


def _seconds_west(sign: str, hours: str, minutes: str, seconds: str) -> int:
    total = int(hours) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return total if sign == "-" else -total


def _date_and_era(days: int) -> tuple[str, str]:
    """The date without its era, and " BC" or nothing."""
    cycles, day_in_cycle = divmod(days + EPOCH_ORDINAL - 1, _CYCLE_DAYS)
    day = date.fromordinal(day_in_cycle + 1)
    year = day.year + cycles * _CYCLE_YEARS
    shown_year, era = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown_year:04d}-{day.month:02d}-{day.day:02d}", era
