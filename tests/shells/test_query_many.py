"""query_many on a real server: all or nothing, whatever goes wrong, and in bounded memory."""

from __future__ import annotations

import tracemalloc
from itertools import count
from typing import TYPE_CHECKING

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "insert into many values ($1, $2)"


@pytest.fixture
def table(conn: pgwire.Connection) -> pgwire.Connection:
    conn.query("create temp table many (id int primary key, name text)")
    return conn


def size(conn: pgwire.Connection) -> int:
    total: int = conn.query("select count(*) from many").scalar()
    return total


def test_ten_thousand_records(table: pgwire.Connection) -> None:
    result = table.query_many(INSERT, ((n, f"name {n}") for n in range(10_000)))
    assert result.row_count == 10_000
    assert table.query("select sum(id) from many").scalar() == sum(range(10_000))


def test_rows_that_come_back(table: pgwire.Connection) -> None:
    result = table.query_many(INSERT + " returning id", [(1, "a"), (2, "b")])
    assert result.scalars() == [1, 2]


def test_more_comes_back_than_fits_the_buffers(conn: pgwire.Connection) -> None:
    """Both sides write at the same time; neither may wait for the other."""
    result = conn.query_many(
        "select repeat('x', 20000), $1::text", ((str(n) * 2000,) for n in range(1000))
    )
    assert len(result) == 1000


@pytest.mark.parametrize(
    ("records", "error", "index"),
    [
        ([(1, "a"), (1, "b"), (2, "c")], pgwire.IntegrityError, 1),
        ([(1, "a"), (2, "b"), ("x", "c")], pgwire.DataError, 2),
        ([(1, "a"), (2.5, "b")], pgwire.DataError, 1),
        ([(1, "a"), (2,)], pgwire.ProgrammingError, 1),
    ],
)
def test_one_that_fails_undoes_them_all(
    table: pgwire.Connection, records: list[tuple[object, ...]], error: type, index: int
) -> None:
    with pytest.raises(error) as caught:
        table.query_many(INSERT, records)
    assert isinstance(caught.value, pgwire.Error)
    assert caught.value.record_index == index
    assert size(table) == 0
    assert table.transaction_status is pgwire.TransactionStatus.IDLE


def test_a_source_that_raises_undoes_them_all(table: pgwire.Connection) -> None:
    def source() -> Iterator[tuple[int, str]]:
        for n in range(50_000):
            yield n, "x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        table.query_many(INSERT, source())
    assert size(table) == 0


def test_an_endless_source_is_stopped_by_the_timeout(table: pgwire.Connection) -> None:
    with pytest.raises(pgwire.QueryTimeout):
        table.query_many(INSERT, ((n, "x") for n in count()), timeout=0.3)
    assert size(table) == 0


def test_inside_a_transaction_it_joins_it(table: pgwire.Connection) -> None:
    with table.transaction():
        table.query_many(INSERT, [(1, "a")])
        with pytest.raises(pgwire.IntegrityError), table.transaction():
            table.query_many(INSERT, [(2, "b"), (1, "c")])
    assert table.query("select id from many").scalars() == [1]


def test_a_prepared_statement_over_many(conn: pgwire.Connection) -> None:
    with conn.prepare("select $1::int * 2") as statement:
        assert statement.query_many([(1,), (2,), (3,)]).scalars() == [2, 4, 6]


def test_memory_does_not_grow_with_the_records(table: pgwire.Connection) -> None:
    tracemalloc.start()
    try:
        table.query_many(INSERT, ((n, "x" * 100) for n in range(50_000)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # It is 0.2 to 0.4 MB, and 0.8 where the server had to wait for the processor: its answers
    # pile up then, of which uvloop takes 256 KB at a time. The messages are 6.5 MB together.
    assert peak < 1_500_000
