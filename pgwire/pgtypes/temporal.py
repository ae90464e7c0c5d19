"""date, time, timetz, timestamp and timestamptz: Python's own types where these suffice.

Knows the binary formats, and what Python's types can hold. Must not know text (isodates
does), nor interval, nor which time zone the session has: an instant does not depend on it.

Both formats are first turned into PostgreSQL's own numbers, and these into Python's values,
so that the formats cannot disagree. What Python cannot hold comes back as `str`, the ISO
literal that PostgreSQL prints (timestamptz in UTC): "infinity", "0044-03-15 BC",
"10000-01-01 00:00:00+00", time "24:00:00". Sent as a parameter it is the same value again.

Python calls both kinds of datetime and of time by one name. PostgreSQL has a type for each,
and converting between them needs a time zone that nobody named, so neither is taken for the
other. The manual: "Date/Time Types".
"""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import isodates, oids
from pgwire.pgtypes.codec import Codec, Converted, malformed, misfit, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH = datetime(2000, 1, 1)
_EPOCH_UTC = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_ORDINAL = date.max.toordinal()
_DAY = isodates.DAY
_ZONE_LIMIT = 16 * 3600  # seconds; PostgreSQL's offsets are below it
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta.resolution

# PostgreSQL's calendar: 4714-11-24 BC to 5874897-12-31, timestamps to the end of 294276.
_FIRST_DAY, _LAST_DAY, _LAST_TIMESTAMP_DAY = -2_451_545, 2_145_031_948, 106_751_982
_INFINITE_DATES = {number: text for text, number in isodates.INFINITE_DATES.items()}
_INFINITE_TIMESTAMPS = {number: text for text, number in isodates.INFINITE_TIMESTAMPS.items()}


def _codec(
    name: str,
    oid: int,
    array_oid: int,
    layout: str,
    value_of: Callable[..., Any],
    numbers_of: Callable[[Any], tuple[int, ...]],
    parse: Callable[[str], tuple[int, ...]],
    text_of: Callable[..., str],
    *docs: str,
    steps: tuple[Any, ...] = (),
) -> Codec:
    """The codec of a type whose binary format is the numbers that all three functions share.

    `steps` are an origin and a step, where the value is so many steps from there.
    """
    fixed = struct.Struct(layout)
    size, unpack, pack = fixed.size, fixed.unpack_from, fixed.pack

    def decode(buffer: bytes, start: int, end: int) -> Any:
        if end - start != size:
            raise wrong_length(name, end - start)
        return value_of(*unpack(buffer, start))

    def decode_text(text: str) -> Any:
        try:
            return value_of(*parse(text))
        except ValueError:
            raise DataError(
                f"the server's value is not a valid {name} in ISO format; set DateStyle to ISO"
            ) from None

    def encode(value: Any) -> bytes:
        try:
            return pack(*numbers_of(value))
        except (ValueError, struct.error):  # pandas.NaT is a datetime, but has no numbers
            raise misfit(name, value) from None

    def literal(value: Any) -> str:
        return text_of(*unpack(encode(value), 0))

    gives, takes = docs
    code = layout.removeprefix(">")
    return Codec(
        name,
        oid,
        array_oid,
        decode,
        decode_text,
        encode,
        literal,
        converted=Converted(code, decode, value_of, *steps) if len(code) == 1 else None,
        number=(code, numbers_of) if len(code) == 1 else None,
        gives=gives,
        takes=takes,
    )


# PostgreSQL's numbers to Python's values


def _date_of(days: int) -> date | str:
    ordinal = days + isodates.EPOCH_ORDINAL
    if 1 <= ordinal <= _MAX_ORDINAL:
        return date.fromordinal(ordinal)
    if days in _INFINITE_DATES:
        return _INFINITE_DATES[days]
    if not _FIRST_DAY <= days <= _LAST_DAY:
        raise malformed("date")
    return isodates.date_text(days)


def _clock_of(microseconds: int, zone: tzinfo | None = None) -> time | None:
    """The time of day; None at 24:00:00, which Python's time does not reach."""
    if microseconds == _DAY:
        return None
    if not 0 <= microseconds < _DAY:
        raise malformed("time of day")
    minutes, rest = divmod(microseconds, 60_000_000)
    return time(*divmod(minutes, 60), *divmod(rest, 1_000_000), zone)


def _time_of(microseconds: int) -> time | str:
    return _clock_of(microseconds) or "24:00:00"


def _timetz_of(microseconds: int, seconds_west: int) -> time | str:
    if not -_ZONE_LIMIT < seconds_west < _ZONE_LIMIT:
        raise malformed("timetz")
    value = _clock_of(microseconds, timezone(timedelta(seconds=-seconds_west)))
    return value or f"24:00:00{isodates.zone_text(seconds_west)}"


def _timestamp_of(microseconds: int) -> datetime | str:
    try:
        return _EPOCH + _MICROSECOND * microseconds
    except OverflowError:
        return _timestamp_literal(microseconds, "timestamp")


def _instants_in(zone: tzinfo) -> Callable[[int], datetime | str]:
    """The function that makes datetimes in this time zone."""

    def instant_of(microseconds: int) -> datetime | str:
        try:
            value = _EPOCH_UTC + _MICROSECOND * microseconds
            return value if zone is UTC else value.astimezone(zone)
        except (OverflowError, ValueError):  # near the ends an offset may lead out of the range
            return _timestamp_literal(microseconds, "timestamptz", "+00")

    return instant_of


def _timestamp_literal(microseconds: int, name: str, zone: str = "") -> str:
    if microseconds in _INFINITE_TIMESTAMPS:
        return _INFINITE_TIMESTAMPS[microseconds]
    if not _FIRST_DAY <= microseconds // _DAY <= _LAST_TIMESTAMP_DAY:
        raise malformed(name)
    return isodates.timestamp_text(microseconds, zone)


# Python's values to PostgreSQL's numbers


def _date_number(value: Any) -> tuple[int]:
    if isinstance(value, datetime):
        raise misfit("date", value, "pass .date()")
    if not isinstance(value, date):
        raise misfit("date", value)
    return (value.toordinal() - isodates.EPOCH_ORDINAL,)


def _clock(value: time) -> int:
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    return seconds * 1_000_000 + value.microsecond


def _time_number(value: Any) -> tuple[int]:
    if not isinstance(value, time):
        hint = "pass .time()" if isinstance(value, datetime) else ""
        raise misfit("time without tzinfo", value, hint)
    if value.tzinfo is not None:
        raise misfit("time without tzinfo", value, "one with tzinfo is for timetz")
    return (_clock(value),)


def _timetz_numbers(value: Any) -> tuple[int, int]:
    if not isinstance(value, time):
        hint = "pass .timetz()" if isinstance(value, datetime) else ""
        raise misfit("time with tzinfo", value, hint)
    if value.tzinfo is None:
        raise misfit("time with tzinfo", value, "one without is for time")
    offset = value.utcoffset()
    if offset is None:
        raise misfit("time with a fixed offset", value, "this tzinfo's depends on the date")
    seconds, rest = divmod(offset, _SECOND)
    if rest or not -_ZONE_LIMIT < seconds < _ZONE_LIMIT:
        raise misfit("time with an offset of whole seconds below 16 hours", value)
    return _clock(value), -seconds


def _microseconds(since: timedelta) -> int:
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def _timestamp_number(value: Any) -> tuple[int]:
    if not isinstance(value, datetime):
        hint = "pass datetime.combine(value, time())" if isinstance(value, date) else ""
        raise misfit("datetime without tzinfo", value, hint)
    try:
        return (_microseconds(value - _EPOCH),)
    except TypeError:
        hint = "one with tzinfo is for timestamptz"
        raise misfit("datetime without tzinfo", value, hint) from None


def _timestamptz_number(value: Any) -> tuple[int]:
    if not isinstance(value, datetime):
        hint = "pass datetime.combine(value, time(), tzinfo)" if isinstance(value, date) else ""
        raise misfit("datetime with tzinfo", value, hint)
    try:
        return (_microseconds(value - _EPOCH_UTC),)
    except TypeError:
        raise misfit("datetime with tzinfo", value, "one without is for timestamp") from None


# Numbers of microseconds since a moment: for who counts them in code of his own.
EPOCHS: dict[Any, datetime] = {_timestamp_number: _EPOCH, _timestamptz_number: _EPOCH_UTC}


def _timetz_text(microseconds: int, seconds_west: int) -> str:
    return isodates.clock_text(microseconds) + isodates.zone_text(seconds_west)


def _instant_text(microseconds: int) -> str:
    return isodates.timestamp_text(microseconds, "+00")


_DATE = _codec(
    "date",
    oids.DATE,
    oids.DATE_ARRAY,
    ">i",
    _date_of,
    _date_number,
    isodates.parse_date,
    isodates.date_text,
    "`datetime.date`, or `str` beyond Python's range",
    "`date`, but not `datetime`",
)
_TIME = _codec(
    "time",
    oids.TIME,
    oids.TIME_ARRAY,
    ">q",
    _time_of,
    _time_number,
    isodates.parse_time,
    isodates.clock_text,
    '`datetime.time`, or `str` for "24:00:00"',
    "`time` without tzinfo",
)
_TIMETZ = _codec(
    "timetz",
    oids.TIMETZ,
    oids.TIMETZ_ARRAY,
    ">qi",
    _timetz_of,
    _timetz_numbers,
    isodates.parse_timetz,
    _timetz_text,
    "`datetime.time` with a fixed offset, or `str`",
    "`time` with an offset of whole seconds, below 16 hours",
)
_TIMESTAMP = _codec(
    "timestamp",
    oids.TIMESTAMP,
    oids.TIMESTAMP_ARRAY,
    ">q",
    _timestamp_of,
    _timestamp_number,
    isodates.parse_timestamp,
    isodates.timestamp_text,
    "`datetime.datetime` without tzinfo, or `str`",
    "`datetime` without tzinfo",
    steps=(_EPOCH, _MICROSECOND),
)


def codecs(zone: tzinfo) -> tuple[Codec, ...]:
    """The codecs of this module; timestamptz gives datetimes in this time zone."""
    timestamptz = _codec(
        "timestamptz",
        oids.TIMESTAMPTZ,
        oids.TIMESTAMPTZ_ARRAY,
        ">q",
        _instants_in(zone),
        _timestamptz_number,
        isodates.parse_timestamptz,
        _instant_text,
        "`datetime.datetime` in UTC (or the session's time zone), or `str`",
        "`datetime` with tzinfo",
        steps=(_EPOCH_UTC, _MICROSECOND) if zone is UTC else (),
    )
    return _DATE, _TIME, _TIMETZ, _TIMESTAMP, timestamptz
