"""interval: months, days and microseconds, kept apart as PostgreSQL keeps them.

Knows interval's formats: binary, and the text of IntervalStyle "postgres" and "iso_8601".
Must not know any other type.

A month has no length in days and a day none in hours (daylight saving), so `timedelta`
cannot hold an interval; `Interval` can. PostgreSQL 17's infinite intervals are those with
every field at its end; older servers know such values as ordinary, if odd, intervals.
The manual: "Date/Time Types", "Interval Output".
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length
from pgwire.pgtypes.isodates import clock_microseconds, clock_text

_layout = struct.Struct(">qii")  # microseconds, days, months

_match_postgres = re.compile(
    r"(?!$)(?:([+-]?\d{1,9}) years?(?: |$))?(?:([+-]?\d{1,10}) mons?(?: |$))?"
    r"(?:([+-]?\d{1,10}) days?(?: |$))?"
    r"(?:([+-]?)(\d{2,10}):([0-5]\d):([0-5]\d)(?:\.(\d{1,6}))?)?(?<! )",
    re.ASCII,
).fullmatch
_match_iso_8601 = re.compile(
    r"P(?!$)(?:(-?\d{1,9})Y)?(?:(-?\d{1,10})M)?(?:(-?\d{1,10})D)?"
    r"(?:T(?!$)(?:(-?\d{1,10})H)?(?:(-?\d{1,2})M)?(?:(-?)(\d{1,2})(?:\.(\d{1,6}))?S)?)?",
    re.ASCII,
).fullmatch


@dataclass(frozen=True, slots=True)
class Interval:
    """PostgreSQL's interval: `months`, `days` and `microseconds`, each an int of its own sign.

    Two are equal when all three fields are; there is no order between them, as a month may
    be longer or shorter than 30 days. `str()` is PostgreSQL's own literal (IntervalStyle
    "postgres"), as in "1 year 2 mons -3 days +04:05:06.789". What PostgreSQL can hold is
    32 bits of months, 32 of days and 64 of microseconds; sending more is a `DataError`.
    """

    months: int = 0
    days: int = 0
    microseconds: int = 0

    @classmethod
    def from_timedelta(cls, value: timedelta) -> Interval:
        """The interval of a timedelta's days, and of its seconds and microseconds."""
        return cls(0, value.days, value.seconds * 1_000_000 + value.microseconds)

    def to_timedelta(self) -> timedelta:
        """The timedelta that counts each day as 24 hours.

        Raises `DataError` where there are months, which have no fixed length, and where
        timedelta's range of 999,999,999 days is exceeded.
        """
        if self.months:
            raise DataError(f"an interval with months has no fixed length: {self}")
        try:
            return timedelta(days=self.days, microseconds=self.microseconds)
        except OverflowError:
            raise DataError(f"the interval is beyond timedelta's range: {self}") from None

    def __str__(self) -> str:
        if self == _INFINITY:
            return "infinity"
        if self == _MINUS_INFINITY:
            return "-infinity"
        fields = []
        after_negative = False
        years, months = _divided(self.months, 12)
        for amount, unit in ((years, "year"), (months, "mon"), (self.days, "day")):
            if amount:
                sign = "+" if after_negative and amount > 0 else ""
                fields.append(f"{sign}{amount} {unit}{'' if amount == 1 else 's'}")
                after_negative = amount < 0
        if self.microseconds or not fields:
            sign = "-" if self.microseconds < 0 else "+" if after_negative else ""
            fields.append(sign + clock_text(abs(self.microseconds)))
        return " ".join(fields)


def _divided(value: int, divisor: int) -> tuple[int, int]:
    """Quotient and remainder, both with the sign of the value, as in C."""
    quotient, remainder = divmod(abs(value), divisor)
    return (quotient, remainder) if value >= 0 else (-quotient, -remainder)


_INFINITY = Interval(2**31 - 1, 2**31 - 1, 2**63 - 1)
_MINUS_INFINITY = Interval(-(2**31), -(2**31), -(2**63))


def _decode(buffer: bytes, start: int, end: int) -> Interval:
    if end - start != 16:
        raise wrong_length("interval", end - start)
    microseconds, days, months = _layout.unpack_from(buffer, start)
    return Interval(months, days, microseconds)


def _parsed(text: str) -> Interval | None:
    """The interval of the text, be it beyond interval's range, or None."""
    if match := _match_postgres(text):
        years, months, days, sign, hour, minute, second, fraction = match.groups("")
        microseconds = clock_microseconds(hour or "0", minute or "0", second or "0", fraction)
    elif match := _match_iso_8601(text):
        years, months, days, hours, minutes, sign, second, fraction = match.groups("")
        # Here each field has a sign of its own; the sign of 0.5 seconds is nobody else's.
        microseconds = clock_microseconds("0", "0", second or "0", fraction)
        whole_minutes = int(hours or 0) * 60 + int(minutes or 0)
        microseconds += whole_minutes * (-60_000_000 if sign else 60_000_000)
    else:
        return None
    return Interval(
        int(years or 0) * 12 + int(months or 0),
        int(days or 0),
        -microseconds if sign == "-" else microseconds,
    )


def _decode_text(text: str) -> Interval:
    if text == "infinity":
        return _INFINITY
    if text == "-infinity":
        return _MINUS_INFINITY
    value = _parsed(text)
    if value is None:
        raise DataError(
            "the server's interval is in neither of the formats that are unmistakable; "
            "set IntervalStyle to postgres or iso_8601"
        )
    try:
        _layout.pack(value.microseconds, value.days, value.months)
    except struct.error:
        raise malformed("interval") from None
    return value


def _encode(value: Any) -> bytes:
    value = _as_interval(value)
    try:
        return _layout.pack(value.microseconds, value.days, value.months)
    except struct.error:
        raise DataError(
            "expected Interval of 32-bit months, 32-bit days and 64-bit microseconds, "
            "got one beyond that"
        ) from None


def _as_interval(value: Any) -> Interval:
    if isinstance(value, timedelta):
        return Interval.from_timedelta(value)
    if not isinstance(value, Interval):
        raise misfit("Interval or timedelta", value)
    return value


def _literal(value: Any) -> str:
    _encode(value)  # refuses what is beyond interval's range
    return str(_as_interval(value))


CODEC = Codec(
    "interval",
    oids.INTERVAL,
    oids.INTERVAL_ARRAY,
    _decode,
    _decode_text,
    _encode,
    _literal,
    gives="`pgwire.Interval`",
    takes="`pgwire.Interval`, `timedelta`",
)
