"""Rows and parameters: what is generated gives what its plain twin gives, be it an error."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache
from struct import unpack_from
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgwire.errors import Error, ProtocolError
from pgwire.pgtypes import Json
from pgwire.pgtypes.codec import NeedsText, encoded, part_literal
from pgwire.pgtypes.ranges import Range
from pgwire.protocol import frontend
from pgwire.protocol.decoder import skip_rows
from pgwire.protocol.generated import by_columns, generate
from pgwire.protocol.keyed import layouts_of
from pgwire.protocol.records import BinaryRecords, TextRecords
from pgwire.protocol.statement import Statement
from tests.fuzz.feed import LONGEST, Feed
from tests.support.layouts import OIDS, REGISTRY, at_once, outcome, pair

if TYPE_CHECKING:
    from collections.abc import Callable

# ---------------------------------------------------------------- rows that come

_pair = lru_cache(maxsize=1000)(pair)


def decoders(data: bytes) -> None:
    """A run of DataRow messages, perhaps many times over, for columns of any types."""
    feed = Feed(data)
    layout = tuple([feed.choose(OIDS) for _ in range(feed.below(9))])
    times = 1 << feed.below(8)
    run = feed.rest()
    buffer = run * min(times, LONGEST // len(run) if run else 1)
    # No other bytes come to a decoder: what is there of a row has a possible length.
    if len(buffer) < 7 or buffer[0] != ord("D") or unpack_from("!i", buffer, 1)[0] < 6:
        return
    plain, fused = _pair(layout, generate)
    wanted = outcome(plain, buffer, 0)
    assert outcome(fused, buffer, 0) == wanted
    assert outcome(_pair(layout, by_columns)[1], buffer, 0) == wanted
    if isinstance(wanted[0], int):
        assert skip_rows(len(layout), buffer, 0, len(buffer)) == wanted[0]
        # What comes before and behind a run is none of its business.
        moved = outcome(fused, b"xyz" + buffer[: wanted[0]] + b"Z\0\0\0\5I", 3)
        assert moved == (wanted[0] + 3, wanted[1])
    elif isinstance(wanted[0], type):
        with pytest.raises(ProtocolError):  # by the lengths alone
            skip_rows(len(layout), buffer, 0, len(buffer))


def layouts(data: bytes) -> None:
    """The same with decoders that are new each time, and learn layouts from the first row on."""
    with at_once():
        _pair.cache_clear()
        layouts_of.cache_clear()
        decoders(data)
        decoders(data)  # with what was learned
    _pair.cache_clear()


# ---------------------------------------------------------------- values that go

# bool, the integers, text, oid, floats, varchar, date, time, timestamps; bytea, timetz, numeric,
# uuid, jsonb, int4[], text[], inet, point, int4range, interval
_PARAMETERS = [16, 20, 21, 23, 25, 26, 700, 701, 1043, 1082, 1083, 1114, 1184]
_PARAMETERS += [17, 1266, 1700, 2950, 3802, 1007, 1009, 869, 600, 3904, 1186]
_EPOCH = dt.datetime(2000, 1, 1)


def _integer(feed: Feed) -> int:
    return int.from_bytes(feed.take(feed.below(10)), "big", signed=True)


def _decimal(feed: Feed) -> Decimal:
    return Decimal(_integer(feed)).scaleb(feed.below(256) - 128)


def _datetime(feed: Feed) -> dt.datetime:
    moment = _EPOCH + dt.timedelta(microseconds=_integer(feed) % 2**57 - 2**55)
    return moment.replace(tzinfo=dt.UTC) if feed.below(2) else moment


_SCALARS: tuple[Callable[[Feed], Any], ...] = (
    lambda feed: None,
    _integer,
    Feed.text,
    lambda feed: bool(feed.below(2)),
    lambda feed: float.fromhex(f"{_integer(feed)}p{feed.below(256) - 128}"),
    lambda feed: feed.choose([float("nan"), float("inf"), -0.0, 1e308]),
    Feed.piece,
    _decimal,
    _datetime,
    lambda feed: _datetime(feed).date(),
    lambda feed: _datetime(feed).timetz(),
    lambda feed: UUID(bytes=feed.take(16).ljust(16, b"\0")),
    lambda feed: dt.timedelta(microseconds=_integer(feed) % 2**60),
    lambda feed: {feed.text(): _integer(feed)},
    lambda feed: Json(feed.text()),
)
_DEEPEST = 4


def _value(feed: Feed, depth: int = 0) -> Any:
    """A value of any kind, that fits perhaps."""
    kind = feed.below(len(_SCALARS) + 3)
    if kind < len(_SCALARS):
        return _SCALARS[kind](feed)
    if depth == _DEEPEST:
        return []
    if kind == len(_SCALARS):
        return Range(_value(feed, depth + 1), _value(feed, depth + 1))
    values = [_value(feed, depth + 1) for _ in range(feed.below(4))]
    return values if kind == len(_SCALARS) + 1 else tuple(values)


def _tried(function: Callable[[Any], Any], values: Any) -> Any:
    try:
        return function(values)
    except (Error, NeedsText) as error:
        return type(error), str(error)


@lru_cache(maxsize=1000)
def _statement(types: tuple[int, ...]) -> Statement:
    statement = Statement(b"s\0", "select", types, (), REGISTRY)
    statement.generate()
    return statement


def parameters(data: bytes) -> None:
    """A Bind message: the same bytes or the same error from the plain encoder."""
    feed = Feed(data)
    statement = _statement(tuple([feed.choose(_PARAMETERS) for _ in range(feed.below(7))]))
    count = len(statement.parameter_oids) + (feed.below(32) == 31)
    values = [_value(feed) for _ in range(count)]
    wanted = _tried(statement.bind, values)
    if isinstance(wanted, bytes):
        assert unpack_from("!i", wanted, 1)[0] == len(wanted) - 1
        wanted += frontend.EXECUTE + frontend.SYNC
    assert _tried(statement.bind_query, values) == wanted
    assert _tried(statement.bind_query, tuple(values)) == wanted


@lru_cache(maxsize=1000)
def _records(types: tuple[int, ...]) -> tuple[BinaryRecords, TextRecords]:
    columns = [(f"c{n}", REGISTRY.codec(oid)) for n, oid in enumerate(types)]
    return BinaryRecords(columns), TextRecords(columns)


def _one(records: BinaryRecords | TextRecords, record: Any) -> bytes:
    pieces: list[bytes] = []
    records.encode([record], pieces)
    assert len(pieces) == records.pieces_each
    return b"".join(pieces)


def copy_records(data: bytes) -> None:
    """A record of COPY: the same from both encoders, and read back what it was made of."""
    feed = Feed(data)
    types = tuple([feed.choose(_PARAMETERS) for _ in range(feed.below(7))])
    binary, text = _records(types)
    record = [_value(feed) for _ in range(len(types) + (feed.below(32) == 31))]
    wanted = _tried(binary.plain, record)
    assert _tried(lambda values: _one(binary, values), record) == wanted
    assert _tried(lambda values: _one(binary, values), tuple(record)) == wanted
    if isinstance(wanted, bytes):
        assert _fields(wanted) == [
            None if value is None else encoded(REGISTRY.codec(oid), value)
            for oid, value in zip(types, record, strict=True)
        ]
    line = _tried(lambda values: _one(text, values), record)
    if isinstance(line, bytes):
        assert _unescaped(line, len(types)) == [
            None if value is None else part_literal(REGISTRY.codec(oid), value)
            for oid, value in zip(types, record, strict=True)
        ]


def _fields(record: bytes) -> list[bytes | None]:
    """Manual: "File Formats" of COPY, "Binary Format"."""
    (count,) = unpack_from("!h", record)
    fields: list[bytes | None] = []
    at = 2
    for _ in range(count):
        (length,) = unpack_from("!i", record, at)
        at += 4
        fields.append(None if length == -1 else record[at : at + length])
        at += max(length, 0)
    assert at == len(record)
    return fields


def _unescaped(line: bytes, count: int) -> list[str | None]:
    """Manual: "File Formats" of COPY, "Text Format"."""
    text = line.decode()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "\r" not in text
    fields: list[str | None] = []
    for field in text[:-1].split("\t") if count else []:
        found, at = "", 0
        while at < len(field):
            escaped = field[at] == "\\"
            character = field[at + escaped]
            found += (
                {"t": "\t", "n": "\n", "r": "\r"}.get(character, character)
                if escaped
                else (character)
            )
            at += 1 + escaped
        fields.append(None if field == "\\N" else found)
    return fields


TARGETS = {
    "rows": decoders,
    "rows_layouts": layouts,
    "parameters": parameters,
    "copy_records": copy_records,
}
