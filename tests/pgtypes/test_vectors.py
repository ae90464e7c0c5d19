"""What a real server sent: each value's bytes in binary format, and its text, side by side.

Taken from PostgreSQL 18 (DateStyle ISO, IntervalStyle postgres, TimeZone UTC).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import inf, nan
from typing import Any
from uuid import UUID

import pytest

from pgwire.pgtypes import Array, Interval, Json, Literal
from pgwire.pgtypes.codec import encoded
from tests.pgtypes.helpers import CODECS, decode, exactly

VECTORS: list[tuple[str, str, str, Any]] = [
    ("bool", "01", "t", True),
    ("bool", "00", "f", False),
    ("int2", "8000", "-32768", -32768),
    ("int4", "7fffffff", "2147483647", 2147483647),
    ("int8", "8000000000000000", "-9223372036854775808", -9223372036854775808),
    ("oid", "ffffffff", "4294967295", 4294967295),
    ("float4", "3dcccccd", "0.1", 0.10000000149011612),
    ("float4", "15ae43fd", "7.038531e-26", 7.038530691851209e-26),
    ("float4", "00000001", "1e-45", 1.401298464324817e-45),
    ("float4", "80000000", "-0", -0.0),
    ("float4", "7f7fffff", "3.4028235e+38", 3.4028234663852886e38),
    ("float8", "0000000000000001", "5e-324", 5e-324),
    ("float8", "4341c37937e08000", "1e+16", 1e16),
    ("float8", "fff0000000000000", "-Infinity", -inf),
    ("float8", "7ff8000000000000", "NaN", nan),
    ("float8", "3fb999999999999a", "0.1", 0.1),
    ("numeric", "0000000000000000", "0", Decimal("0")),
    ("numeric", "0000000000000002", "0.00", Decimal("0.00")),
    ("numeric", "000200000000000200011388", "1.50", Decimal("1.50")),
    ("numeric", "0003000140000003000109291a7c", "-12345.678", Decimal("-12345.678")),
    ("numeric", "0001fffe0000000503e8", "0.00001", Decimal("0.00001")),
    ("numeric", "00010002000000000001", "100000000", Decimal("100000000")),
    ("numeric", "0003000100000004000100000001", "10000.0001", Decimal("10000.0001")),
    ("numeric", "00000000c0000000", "NaN", Decimal("NaN")),
    ("numeric", "00000000d0000020", "Infinity", Decimal("Infinity")),
    ("numeric", "00000000f0000020", "-Infinity", Decimal("-Infinity")),
    ("text", "c3bce282acf09f9880", "ü€😀", "ü€😀"),
    ("bpchar", "782020", "x  ", "x  "),
    ("char", "00", "", ""),
    ("char", "61", "a", "a"),
    ("char", "e9", "\\351", "\\351"),
    ("bytea", "00ff5c", "\\x00ff5c", b"\x00\xff\\"),
    ("date", "00000000", "2000-01-01", date(2000, 1, 1)),
    ("date", "ffffffff", "1999-12-31", date(1999, 12, 31)),
    ("date", "fff4dbf9", "0001-01-01", date(1, 1, 1)),
    ("date", "002c95d3", "9999-12-31", date(9999, 12, 31)),
    ("date", "002c95d4", "10000-01-01", "10000-01-01"),
    ("date", "fff4dbf8", "0001-12-31 BC", "0001-12-31 BC"),
    ("date", "fff4dac6", "0001-02-29 BC", "0001-02-29 BC"),
    ("date", "fff49d7b", "0044-03-15 BC", "0044-03-15 BC"),
    ("date", "ffda97a7", "4714-11-24 BC", "4714-11-24 BC"),
    ("date", "7fda970c", "5874897-12-31", "5874897-12-31"),
    ("date", "7fffffff", "infinity", "infinity"),
    ("date", "80000000", "-infinity", "-infinity"),
    ("time", "0000000000000000", "00:00:00", time(0, 0)),
    ("time", "000000141dd75fff", "23:59:59.999999", time(23, 59, 59, 999999)),
    ("time", "000000141dd76000", "24:00:00", "24:00:00"),
    ("time", "0000000a8be1bd20", "12:34:56.5", time(12, 34, 56, 500000)),
    (
        "timetz",
        "0000000a8be1bd20ffffb2a8",
        "12:34:56.5+05:30",
        time(12, 34, 56, 500000, tzinfo=timezone(timedelta(seconds=19800))),
    ),
    ("timetz", "000000000000000000000000", "00:00:00+00", time(0, 0, tzinfo=UTC)),
    (
        "timetz",
        "000000036c8bc08100003147",
        "04:05:06.000001-03:30:15",
        time(4, 5, 6, 1, tzinfo=timezone(timedelta(days=-1, seconds=73785))),
    ),
    ("timetz", "000000141dd760000000e0ff", "24:00:00-15:59:59", "24:00:00-15:59:59"),
    (
        "timestamp",
        "0002b58341712a60",
        "2024-02-29 12:34:56.7",
        datetime(2024, 2, 29, 12, 34, 56, 700000),
    ),
    ("timestamp", "ff1fe2ffc59c6000", "0001-01-01 00:00:00", datetime(1, 1, 1, 0, 0)),
    (
        "timestamp",
        "0380e70b913b7fff",
        "9999-12-31 23:59:59.999999",
        datetime(9999, 12, 31, 23, 59, 59, 999999),
    ),
    ("timestamp", "0380e70b913b8000", "10000-01-01 00:00:00", "10000-01-01 00:00:00"),
    ("timestamp", "ff1af9e8fb4e7120", "0044-03-15 12:00:00.5 BC", "0044-03-15 12:00:00.5 BC"),
    ("timestamp", "fd0f7cc1411fa000", "4714-11-24 00:00:00 BC", "4714-11-24 00:00:00 BC"),
    (
        "timestamp",
        "7fffff5bb3b29fff",
        "294276-12-31 23:59:59.999999",
        "294276-12-31 23:59:59.999999",
    ),
    ("timestamp", "7fffffffffffffff", "infinity", "infinity"),
    ("timestamp", "8000000000000000", "-infinity", "-infinity"),
    (
        "timestamptz",
        "0002b57ea5452460",
        "2024-02-29 07:04:56.7+00",
        datetime(2024, 2, 29, 7, 4, 56, 700000, tzinfo=UTC),
    ),
    (
        "timestamptz",
        "7fffff5bb3b29fff",
        "294276-12-31 23:59:59.999999+00",
        "294276-12-31 23:59:59.999999+00",
    ),
    ("timestamptz", "ff1af9e8fb46d000", "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ("timestamptz", "7fffffffffffffff", "infinity", "infinity"),
    (
        "interval",
        "000000036c97ca88000000030000000e",
        "1 year 2 mons 3 days 04:05:06.789",
        Interval(months=14, days=3, microseconds=14706789000),
    ),
    (
        "interval",
        "fffffffc9369912000000003fffffff2",
        "-1 years -2 mons +3 days -04:05:06.7",
        Interval(months=-14, days=3, microseconds=-14706700000),
    ),
    (
        "interval",
        "00000000000000000000000000000000",
        "00:00:00",
        Interval(months=0, days=0, microseconds=0),
    ),
    (
        "interval",
        "ffffffffffffffff0000000000000000",
        "-00:00:00.000001",
        Interval(months=0, days=0, microseconds=-1),
    ),
    (
        "interval",
        "00000053d1ac1000ffffffff00000001",
        "1 mon -1 days +100:00:00",
        Interval(months=1, days=-1, microseconds=360000000000),
    ),
    (
        "interval",
        "7ffffffffffffffe7fffffff7fffffff",
        "178956970 years 7 mons 2147483647 days 2562047788:00:54.775806",
        Interval(months=2147483647, days=2147483647, microseconds=9223372036854775806),
    ),
    (
        "interval",
        "7fffffffffffffff7fffffff7fffffff",
        "infinity",
        Interval(months=2147483647, days=2147483647, microseconds=9223372036854775807),
    ),
    (
        "interval",
        "80000000000000008000000080000000",
        "-infinity",
        Interval(months=-2147483648, days=-2147483648, microseconds=-9223372036854775808),
    ),
    (
        "uuid",
        "c49ffea7b4d14b4a8f3c2d7ea58e4f4d",
        "c49ffea7-b4d1-4b4a-8f3c-2d7ea58e4f4d",
        UUID("c49ffea7-b4d1-4b4a-8f3c-2d7ea58e4f4d"),
    ),
    ("json", "7b2261223a205b312c206e756c6c5d7d", '{"a": [1, null]}', {"a": [1, None]}),
    ("jsonb", "017b2261223a205b312c206e756c6c5d7d", '{"a": [1, null]}', {"a": [1, None]}),
    ("void", "", "", None),
    ("int4[]", "000000000000000000000017", "{}", []),
    (
        "int4[]",
        "00000001000000010000001700000003000000010000000400000001ffffffff00000004fffffffd",
        "{1,NULL,-3}",
        [1, None, -3],
    ),
    (
        "int4[]",
        "000000020000000100000017000000020000000000000002ffffffff000000040000000100000004000000020000000400000003ffffffff",
        "[0:1][-1:0]={{1,2},{3,NULL}}",
        Array([[1, 2], [3, None]], (0, -1)),
    ),
    (
        "text[]",
        "000000010000000100000019000000070000000100000003612c620000000371225cffffffff000000044e554c4c00000000000000066e756c6c207800000002c3bc",
        '{"a,b","q\\"\\\\",NULL,"NULL","","null x",ü}',
        ["a,b", 'q"\\', None, "NULL", "", "null x", "ü"],
    ),
    (
        "bool[]",
        "000000010000000000000010000000020000000100000001010000000100",
        "{t,f}",
        [True, False],
    ),
    (
        "date[]",
        "00000001000000000000043a00000002000000010000000400000001000000047fffffff",
        "{2000-01-02,infinity}",
        [date(2000, 1, 2), "infinity"],
    ),
    (
        "numeric[]",
        "0000000100000000000006a400000002000000010000000c0002000000000002000113880000000800000000c0000000",
        "{1.50,NaN}",
        [Decimal("1.50"), Decimal("NaN")],
    ),
    (
        "int2[]",
        "000000060000000000000015000000010000000100000001000000010000000100000001000000010000000100000001000000010000000100000001000000020007",
        "{{{{{{7}}}}}}",
        [[[[[[7]]]]]],
    ),
    (
        "jsonb[]",
        "000000010000000100000eda000000020000000100000009017b2261223a20317dffffffff",
        '{"{\\"a\\": 1}",NULL}',
        [{"a": 1}, None],
    ),
    (
        "timestamptz[]",
        "0000000100000000000004a00000000100000001000000080002b57ea5452460",
        '{"2024-02-29 07:04:56.7+00"}',
        [datetime(2024, 2, 29, 7, 4, 56, 700000, tzinfo=UTC)],
    ),
]
NOT_SENT = {"void"}


@pytest.mark.parametrize(("name", "data", "text", "value"), VECTORS)
def test_both_formats_give_the_same_value(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    assert exactly(decode(codec, bytes.fromhex(data))) == exactly(value)
    assert exactly(codec.decode_text(text)) == exactly(value)


@pytest.mark.parametrize(
    ("name", "data", "text", "value"), [v for v in VECTORS if v[0] not in NOT_SENT]
)
def test_a_value_is_sent_as_it_came(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    sent = bytes.fromhex(data)
    if name in ("json", "jsonb"):
        value = Json(value)
    elif name == "numeric" and value.is_infinite():
        sent = sent[:6] + b"\0\0"  # the server fills a field that says nothing here
    written = encoded(codec, value)
    if isinstance(written, Literal):
        assert exactly(codec.decode_text(written)) == exactly(value)
    else:
        assert written == sent


def test_a_literal_is_a_str() -> None:
    assert Literal("x") == "x"
    assert isinstance(Literal("x"), str)
