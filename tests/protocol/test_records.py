"""Records for COPY: what the plain encoder says, the generated one says; and the text format."""

from __future__ import annotations

import datetime as dt
import struct
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError, Error, ProgrammingError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.codec import NeedsText
from pgwire.pgtypes.generating import OTHER, TEXT
from pgwire.protocol.records import BinaryRecords, TextRecords, encode_source
from pgwire.protocol.sources import CHUNK
from tests.protocol.test_binding import OIDS, VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

REGISTRY = TypeRegistry()


def columns(oids: Sequence[int]) -> list[tuple[str, Any]]:
    return [(f"c{n}", REGISTRY.codec(oid)) for n, oid in enumerate(oids)]


def outcome(encode: Any, record: Any) -> Any:
    try:
        return encode(record)
    except (Error, NeedsText) as error:
        return type(error), str(error)


def one(records: BinaryRecords | TextRecords, record: Any) -> bytes:
    pieces: list[bytes] = []
    records.encode([record], pieces)
    assert len(pieces) == records.pieces_each
    return b"".join(pieces)


@given(st.lists(st.sampled_from(OIDS), max_size=6), st.data())
def test_the_same_bytes_or_the_same_error(oids: list[int], data: st.DataObject) -> None:
    records = BinaryRecords(columns(oids))
    count = data.draw(st.sampled_from([len(oids)] * 9 + [len(oids) + 1]))
    record = data.draw(st.lists(VALUES, min_size=count, max_size=count))
    expected = outcome(records.plain, record)
    for given_as in (record, tuple(record)):
        assert outcome(lambda value: one(records, value), given_as) == expected


def test_the_binary_format() -> None:
    records = BinaryRecords(columns([23, 25, 16]))
    expected = struct.pack("!hii", 3, 4, 7) + struct.pack("!i", 2) + "é".encode()
    expected += struct.pack("!i?", 1, True)
    assert one(records, (7, "é", True)) == records.plain((7, "é", True)) == expected
    nulls = struct.pack("!hiii", 3, -1, -1, -1)
    assert one(records, (None, None, None)) == nulls
    assert records.header == b"PGCOPY\n\xff\r\n\0" + bytes(8)
    assert records.trailer == b"\xff\xff"


def test_the_text_format() -> None:
    records = TextRecords(columns([23, 25, 1700, 1007]))
    given_as = (1, "a\tb\nc\rd\\e\0"[:-1], Decimal("1.50"), [1, None])
    assert one(records, given_as) == b'1\ta\\tb\\nc\\rd\\\\e\t1.50\t{"1",NULL}\n'
    assert one(records, ("0x1", None, "x", "{}")) == b"0x1\t\\N\tx\t{}\n"
    assert records.header == records.trailer == b""


@pytest.mark.parametrize(
    ("oid", "value", "message"),
    [
        (23, 1.5, r"column 'c0' \(int4\): expected int, got float 1.5"),
        (25, "\ud800", r"column 'c0' \(text\): .*surrogate, and there is one at index 0"),
        (25, "a\0", r"column 'c0' \(text\): .*NUL, and there is one at index 1"),
        (23, 2**40, "column 'c0'"),
    ],
)
def test_a_value_that_does_not_fit(oid: int, value: Any, message: str) -> None:
    for records in (BinaryRecords(columns([oid])), TextRecords(columns([oid]))):
        with pytest.raises(DataError, match=message):
            one(records, (value,))


class Moment(dt.datetime):
    """One of the user's own kind, which goes another way."""


@pytest.mark.parametrize("oid", [1114, 1184])
@given(
    st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.timezones()),
    st.sampled_from([dt.datetime, Moment]),
    st.booleans(),
)
@example(dt.datetime(1999, 12, 31, 23, 59, 59, 999_999), dt.datetime, True)
@example(dt.datetime(1999, 12, 31, 23, 59, 59, 999_999, dt.UTC), Moment, False)
def test_moments(oid: int, moment: dt.datetime, kind: type[dt.datetime], null: bool) -> None:
    """Those of the right kind and those of the wrong one, beside a NULL or not."""
    records = BinaryRecords(columns([oid, 23]))
    made = kind.combine(moment.date(), moment.timetz())
    record = (made, None if null else 7)
    expected = outcome(records.plain, record)
    assert outcome(lambda value: one(records, value), record) == expected
    assert isinstance(expected, bytes) is ((oid == 1184) is (moment.tzinfo is not None))


@pytest.mark.parametrize("value", ["\ud800", "1\0"])
def test_a_literal_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(DataError, match=r"column 'c0' \(int4\): str with a"):
        TextRecords(columns([23])).plain((value,))


@pytest.mark.parametrize(("oid", "value"), [(23, "1"), (869, "10.0.0.1"), (1007, [1, "2"])])
def test_what_only_the_server_can_read_is_for_the_text_format(oid: int, value: Any) -> None:
    records = BinaryRecords(columns([oid]))
    pieces: list[bytes] = []
    left = iter([(None,), (value,), (None,)])
    with pytest.raises(NeedsText):
        records.encode_some(left, 9, pieces)
    assert len(pieces) == records.pieces_each
    assert records.unfit == [(value,)]
    assert list(left) == [(None,)]


def test_a_value_longer_than_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwire.protocol.records.MOST", 4_999)
    with pytest.raises(DataError, match=r"column 'c0' \(text\): 5,000 bytes are more than"):
        BinaryRecords(columns([25])).plain(("x" * 5_000,))


@pytest.mark.parametrize("length", [3_999, 4_000, 100_000, 29_999_999, 30_000_000])
def test_long_values_are_what_the_plain_encoder_makes_of_them(length: int) -> None:
    records = BinaryRecords(columns([23, 25, 17]))
    for record in ((7, "x" * length, b"y"), (7, "x", b"y" * length), (None, "x" * length, b"")):
        assert one(records, record) == records.plain(record)


@pytest.mark.parametrize(
    "record", [("x" * 40_000, b"y"), ("x", b"y" * 40_000), (None, bytes(40_000))]
)
def test_many_long_values_are_noticed_in_time(record: Any) -> None:
    """Before more of them are encoded than are sent at once, about."""
    records = BinaryRecords(columns([25, 17]))
    left, pieces = iter([record] * 9), list[bytes]()
    for sent in (2, 4):
        assert not records.encode_some(left, 9, pieces)
        assert len(pieces) == sent * records.pieces_each
    assert len(list(left)) == 5


class Point(NamedTuple):
    x: int
    y: int


@pytest.mark.parametrize("record", [Point(1, 2), [1, 2], range(1, 3), iter((1, 2))])
def test_whatever_can_be_counted_is_a_record(record: Any) -> None:
    assert one(BinaryRecords(columns([23, 23])), record)[-4:] == b"\0\0\0\2"


@pytest.mark.parametrize("record", ["ab", b"ab", {1: 2, 2: 3}, {1, 2}, 7, None])
def test_what_is_none(record: Any) -> None:
    for kind in (BinaryRecords, TextRecords):
        with pytest.raises(ProgrammingError, match="a record must be a sequence of values"):
            one(kind(columns([25, 25])), record)


def test_too_few_values_and_too_many() -> None:
    records = BinaryRecords(columns([25, 25]))
    with pytest.raises(ProgrammingError, match=r"^1 value for 2 columns: c0, c1$"):
        one(records, ("a",))
    with pytest.raises(ProgrammingError, match=r"^2 values for 1 column: c0$"):
        one(BinaryRecords(columns([25])), ("a", "b"))


def test_no_columns_and_very_many() -> None:
    assert one(BinaryRecords([]), ()) == b"\0\0"
    assert one(TextRecords([]), ()) == b"\n"
    many = BinaryRecords(columns([23] * 40))
    assert many.pieces_each == 1
    assert one(many, (7,) * 40) == struct.pack("!h", 40) + struct.pack("!ii", 4, 7) * 40


def test_some_of_them_and_whether_there_were_more() -> None:
    records = BinaryRecords(columns([23]))
    left, pieces = iter([(n,) for n in range(5)]), list[bytes]()
    assert not records.encode_some(left, 4, pieces)
    assert records.encode_some(left, 4, pieces)
    assert len(pieces) == 5


@pytest.mark.parametrize("kind", [BinaryRecords, TextRecords])
def test_long_records_are_not_taken_many_at_a_time(kind: Any) -> None:
    records = kind(columns([25]))
    left = iter([("x" * 30_000,)] * 9)
    pieces: list[bytes] = []
    assert not records.encode_some(left, 1000, pieces)
    assert CHUNK <= len(b"".join(pieces)) < CHUNK + 31_000
    assert len(list(islice(left, 9))) == 9 - 3
    assert records.encode_some(iter([("x",)]), 1000, pieces)


def test_the_source_is_what_the_module_says() -> None:
    source, codes = encode_source(["i", TEXT, "q<"])
    assert codes == ["Hiii", "iq"]
    assert "pieces += (pack_0(3, 4, value_0, length_1), text_1, pack_1(8, value_2),)" in source
    source, codes = encode_source([OTHER])
    assert codes == ["Hi"]
    assert "pieces += (pack_0(1, length_0), text_0,)" in source
