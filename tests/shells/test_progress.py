"""Progress on a real server: the same figures in both shells, and callbacks that misbehave."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

import pgwire
from pgwire.protocol.messages import TransactionStatus

ROWS = 30_000
LINES = [f"{n}\tname {n}\n" for n in range(1, ROWS + 1)]
SIZE = sum(map(len, LINES))
# More than five times what waits to be taken at most.
OUT = f"copy (select n, repeat('x', 50) from generate_series(1, {ROWS}) n) to stdout"
OUT_SIZE = sum(len(f"{n}\t\n") + 50 for n in range(1, ROWS + 1))
SELECT = "select n from generate_series(1, $1::int) n"
INSERT = "insert into progressed values ($1, $2)"

Call = Callable[[pgwire.Connection, Callable[[pgwire.Progress], object]], object]


@pytest.fixture
def table(conn: pgwire.Connection) -> pgwire.Connection:
    conn.query("create temp table progressed (id int, name text)")
    return conn


def count(conn: pgwire.Connection) -> int:
    found: int = conn.query("select count(*) from progressed").scalar()
    return found


CALLS: dict[str, Call] = {
    "copy_in": lambda conn, told: conn.copy_in(
        "copy progressed from stdin", iter(LINES), progress=told
    ),
    "copy_out": lambda conn, told: conn.copy_out(OUT, io.BytesIO(), progress=told),
    "copy_out, iterated": lambda conn, told: list(conn.copy_out(OUT, progress=told)),
    "copy_records": lambda conn, told: conn.copy_records(
        "progressed", ((n, "a") for n in range(ROWS)), progress=told
    ),
    "query_many": lambda conn, told: conn.query_many(
        INSERT, ((n, "a") for n in range(ROWS)), progress=told
    ),
    "stream": lambda conn, told: list(conn.stream(SELECT, [ROWS], progress=told)),
    "statement.query_many": lambda conn, told: conn.prepare(INSERT).query_many(
        ((n, "a") for n in range(ROWS)), progress=told
    ),
    "statement.stream": lambda conn, told: list(conn.prepare(SELECT).stream([ROWS], progress=told)),
}
BYTES = {"copy_in": SIZE, "copy_out": OUT_SIZE, "copy_out, iterated": OUT_SIZE}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("inside", [False, True])
def test_it_goes_up_to_the_final_figures(table: pgwire.Connection, name: str, inside: bool) -> None:
    told: list[pgwire.Progress] = []
    with table.transaction() if inside else nullcontext():
        CALLS[name](table, told.append)
    assert len(told) >= 5
    assert told[-1].rows == ROWS
    assert told[-1].bytes == told[-2].bytes == BYTES.get(name, told[-1].bytes)
    sizes = [progress.bytes for progress in told]
    assert sizes == sorted(sizes)
    assert 0 < sizes[0] < sizes[-1]
    known = [progress.rows for progress in told if progress.rows is not None]
    assert known == sorted(known)
    assert len(known) == (1 if name == "copy_in" else len(told))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("inside", [False, True])
def test_a_callback_that_raises_ends_it(table: pgwire.Connection, name: str, inside: bool) -> None:
    told: list[pgwire.Progress] = []

    def tell(progress: pgwire.Progress) -> None:
        told.append(progress)
        if len(told) == 3:
            raise ZeroDivisionError

    block = table.transaction() if inside else nullcontext()
    with pytest.raises(ZeroDivisionError), block:
        CALLS[name](table, tell)
    assert len(told) == 3
    assert table.transaction_status is TransactionStatus.IDLE
    assert count(table) == 0
    assert table.query("select $1::int", [7]).scalar() == 7


@pytest.mark.parametrize("name", CALLS)
def test_what_it_raises_at_the_end_comes_through(table: pgwire.Connection, name: str) -> None:
    told: list[pgwire.Progress] = []
    CALLS[name](table, told.append)
    calls = len(told)

    def tell(progress: pgwire.Progress) -> None:
        told.append(progress)
        if len(told) == calls:
            raise ZeroDivisionError

    table.query("truncate progressed")
    told.clear()
    if name not in ("copy_out", "copy_out, iterated"):  # that is cut as it comes
        with pytest.raises(ZeroDivisionError):
            CALLS[name](table, tell)
        assert count(table) == (0 if "stream" in name else ROWS)
    assert table.query("select $1::int", [7]).scalar() == 7


def test_one_row_is_enough_for_two_calls_and_none_for_one(table: pgwire.Connection) -> None:
    for rows, calls in ((1, 2), (0, 1)):
        told: list[pgwire.Progress] = []
        assert len(list(table.stream(SELECT, [rows], progress=told.append))) == rows
        assert len(told) == calls
        assert told[-1].rows == rows
        told.clear()
        sql = f"copy (select 1 limit {rows}) to stdout"
        assert table.copy_out(sql, io.BytesIO(), progress=told.append) == rows
        assert told == [(1, 2), (1, 2)] if rows else told == [(0, 0)]


def test_what_is_left_early_has_no_end(conn: pgwire.Connection) -> None:
    told: list[pgwire.Progress] = []
    with conn.stream(SELECT, [ROWS], fetch_size=10, progress=told.append) as rows:
        next(rows)
    assert [progress.rows for progress in told] == [10]
    with conn.copy_out(OUT, progress=told.append) as output:
        next(output)
    assert len(told) == 2
    assert conn.query("select $1::int", [7]).scalar() == 7


async def coroutine(_progress: pgwire.Progress) -> None: ...


@pytest.mark.parametrize("callback", [coroutine, 7])
@pytest.mark.parametrize("name", CALLS)
def test_coroutine_functions_are_refused(
    table: pgwire.Connection, name: str, callback: Any
) -> None:
    with pytest.raises(pgwire.ProgrammingError, match="progress is"):
        CALLS[name](table, callback)
    assert table.query("select $1::int", [7]).scalar() == 7
