"""Sources: what COPY may be given, and what it may not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError, Error, ProgrammingError
from pgwire.protocol.sources import (
    CHUNK,
    Inlet,
    as_bytes,
    pieces_of,
    records_of,
    rows_of,
    weight_of,
    weight_of_record,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def read(source: Any) -> bytes:
    return b"".join(map(as_bytes, pieces_of(source)))


async def asynchronous() -> AsyncIterator[bytes]:
    yield b"1"


LONG = "é\n" * CHUNK


@pytest.mark.parametrize(
    "source",
    [
        LONG,
        LONG.encode(),
        bytearray(LONG.encode()),
        memoryview(LONG.encode()),
        io.BytesIO(LONG.encode()),
        io.StringIO(LONG),
        [LONG[:5], LONG[5:].encode()],
        iter([LONG, b"", ""]),
    ],
)
def test_whatever_holds_bytes_or_text(source: Any) -> None:
    assert read(source) == LONG.encode()


def test_a_long_text_is_not_encoded_as_a_whole() -> None:
    assert max(map(len, pieces_of(LONG))) == CHUNK


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "must be bytes, str, an open file or an iterable of these, not int"),
        (asynchronous(), "async iterable, which only the asyncio shell"),
        ([7], r"bytes or str, not int; for records of values there is copy_records\(\)"),
        ([(1, 2)], "not tuple"),
    ],
)
def test_what_is_no_source(source: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        read(source)


def test_a_lone_surrogate() -> None:
    with pytest.raises(DataError, match="lone surrogate at index 1"):
        read("a\ud800")


def test_a_file_that_is_not_blocking() -> None:
    class File:
        def read(self, size: int) -> None:
            assert size == CHUNK

    with pytest.raises(BlockingIOError):
        read(File())


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (7, "an iterable of tuples, not int"),
        ("1\t2\n", r"not str; for data in one of COPY's own formats there is copy_in\(\)"),
        (io.BytesIO(), "not BytesIO"),
        (asynchronous(), "asyncio shell"),
    ],
)
def test_what_is_no_iterable_of_records(records: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        records_of(records)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (7, "rows must be an iterable of sequences of values, not int$"),
        (None, "not NoneType$"),
        (asynchronous(), r"not async_generator; .* copy_records\(\), in asyncio$"),
    ],
)
def test_what_is_no_iterable_of_rows(rows: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        rows_of(rows)


class TestInlet:
    def test_it_gives_what_was_put_in_and_goes_on_when_there_is_more(self) -> None:
        inlet = Inlet(weight_of)
        inlet.put(b"1")
        inlet.put("2")
        assert list(inlet) == [b"1", "2"]
        assert list(inlet) == []
        inlet.put(b"3")
        inlet.end()
        spent = inlet.is_spent
        assert list(inlet) == [b"3"]
        assert (spent, inlet.is_spent) == (False, True)

    def test_it_is_full_with_a_chunk(self) -> None:
        inlet = Inlet(weight_of)
        inlet.put(b"x" * (CHUNK - 2))
        full = inlet.is_full
        inlet.put(bytearray(1))
        assert (full, inlet.is_full) == (False, True)
        full = inlet.is_full
        next(inlet)
        assert (full, inlet.is_full) == (True, False)

    def test_with_some_hundred_records_too_and_with_empty_pieces(self) -> None:
        for weigh, item in ((weight_of_record, ()), (weight_of, b"")):
            inlet = Inlet(weigh)
            for _ in range(CHUNK):
                inlet.put(item)
            assert inlet.is_full

    def test_what_is_put_back_comes_first(self) -> None:
        inlet = Inlet(weight_of_record)
        inlet.put((1,))
        inlet.put((2,))
        inlet.put_back(next(inlet))
        assert list(inlet) == [(1,), (2,)]
        assert not inlet.is_full

    def test_an_error_comes_behind_what_is_there_and_once(self) -> None:
        inlet = Inlet(weight_of)
        inlet.put(b"1")
        inlet.end(ZeroDivisionError())
        inlet.end(KeyError())
        assert next(inlet) == b"1"
        spent = inlet.is_spent
        with pytest.raises(ZeroDivisionError):
            next(inlet)
        assert (spent, inlet.is_spent) == (False, True)
        assert list(inlet) == []

    def test_what_cannot_be_sent_is_an_error_of_the_source(self) -> None:
        inlet = Inlet(weight_of)
        inlet.put(7)
        assert inlet.has_ended
        with pytest.raises(Error, match="bytes or str, not int"):
            next(inlet)

    def test_it_asks_for_more(self) -> None:
        inlet, asked = Inlet(weight_of), []
        inlet.ask()
        inlet.on_wanted = lambda: asked.append(1)
        inlet.ask()
        assert asked == [1]


def test_a_generator_is_gone_through_only_as_far_as_it_is_taken() -> None:
    def source() -> Iterator[bytes]:
        yield b"1"
        raise AssertionError

    assert next(pieces_of(source())) == b"1"
