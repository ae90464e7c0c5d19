"""Streams on a real server: outside and inside of transactions, left, cut off, timed out."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect

NUMBERS = "select n from generate_series(1, $1::int) n"
MANY = 3_000_000  # more than fits any buffer
SLEEPING = "select n, pg_sleep(case when n > 2 then 60 else 0 end) from generate_series(1, 9) n"


class Number(NamedTuple):
    n: int


def is_in_step(conn: pgwire.Connection) -> bool:
    return bool(conn.query("select $1::int", [7]).scalar() == 7)


def portals(conn: pgwire.Connection) -> int:
    """Those that are open, but for that of the question."""
    found: int = conn.query("select count(*) - 1 from pg_cursors").scalar()
    return found


class TestRows:
    @pytest.mark.parametrize("fetch_size", [1, 2, 3, 7, 8, 1000])
    @pytest.mark.parametrize("inside", [False, True])
    def test_all_of_them_come(self, conn: pgwire.Connection, fetch_size: int, inside: bool) -> None:
        def take() -> list[int]:
            return [row.n for row in conn.stream(NUMBERS, [7], fetch_size=fetch_size)]

        if inside:
            with conn.transaction():
                assert take() == take() == list(range(1, 8))
                assert portals(conn) == 0
        else:
            assert take() == take() == list(range(1, 8))
        assert is_in_step(conn)

    def test_they_are_rows_as_those_of_query(self, conn: pgwire.Connection) -> None:
        sql = "select 1 as count, 'a' as name, null::int[] as none"
        row: Any  # its names are the statement's
        [row] = conn.stream(sql)
        assert row == conn.query(sql).one() == (1, "a", None)
        assert (row.count, row["name"], row._asdict()["none"]) == (1, "a", None)

    @pytest.mark.parametrize("inside", [False, True])
    def test_they_have_the_shape_that_was_asked_for(
        self, conn: pgwire.Connection, inside: bool
    ) -> None:
        with conn.transaction() if inside else nullcontext():
            assert [*conn.stream(NUMBERS, [3], fetch_size=2, row=Number)] == [
                Number(1), Number(2), Number(3),
            ]  # fmt: skip
            assert [*conn.stream(NUMBERS, [1], row=dict)] == [{"n": 1}]
            assert [*conn.prepare(NUMBERS).stream([2], row=lambda row: row.n)] == [1, 2]
        assert is_in_step(conn)

    @pytest.mark.parametrize("inside", [False, True])
    def test_what_raises_where_rows_are_made_ends_it(
        self, conn: pgwire.Connection, inside: bool
    ) -> None:
        with conn.transaction() if inside else nullcontext():
            rows = conn.stream(NUMBERS, [MANY], fetch_size=2, row=lambda row: 1 // (row.n - 4))
            assert [next(rows), next(rows)] == [-1, -1]
            with pytest.raises(ZeroDivisionError) as caught:
                next(rows)
            assert caught.value.__notes__ == ["in row 2 of 2", "of a batch behind 2 rows"]
            assert list(rows) == []
            assert portals(conn) == 0
            if not inside:
                with pytest.raises(pgwire.InterfaceError, match="rows cannot become Number"):
                    list(conn.stream("select 1 as m", row=Number))
        assert is_in_step(conn)

    @pytest.mark.parametrize("end", [StopIteration, StopAsyncIteration])
    @pytest.mark.parametrize("what", ["row", "progress"])
    def test_what_functions_raise_is_no_end(
        self, conn: pgwire.Connection, what: str, end: type[Exception]
    ) -> None:
        """The rows that were left were missing in silence."""

        def function(_: object) -> None:
            raise end

        given: Any = {what: function}
        with pytest.raises(RuntimeError, match=f"a function raised {end.__name__}") as caught:
            list(conn.stream(NUMBERS, [MANY], fetch_size=2, **given))
        assert isinstance(caught.value.__cause__, end)
        assert is_in_step(conn)

    def test_there_may_be_none(self, conn: pgwire.Connection) -> None:
        assert list(conn.stream(NUMBERS, [0])) == []
        assert list(conn.stream("")) == []
        assert list(conn.stream("set work_mem = '4MB'")) == []
        assert is_in_step(conn)

    def test_columns(self, conn: pgwire.Connection) -> None:
        stream = conn.stream(NUMBERS, [2])
        before = stream.columns
        with stream:
            assert before is None
            assert stream.columns is not None
            assert [column.name for column in stream.columns] == ["n"]

    def test_what_changes_data_and_returns_rows(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table kept (n int)")
        sql = "insert into kept select generate_series(1, 5) returning n"
        assert len(list(conn.stream(sql, fetch_size=2))) == 5
        assert conn.query("select count(*) from kept").scalar() == 5

    def test_what_is_left_early_is_undone(self, conn: pgwire.Connection) -> None:
        """Its transaction is committed at its end, which it has not come to."""
        conn.query("create temp table kept (n int)")
        sql = "insert into kept select generate_series(1, 5) returning n"
        with conn.stream(sql, fetch_size=1) as stream:
            next(stream)
        assert conn.query("select count(*) from kept").scalar() in (0, 5)
        assert is_in_step(conn)

    def test_types_of_the_database(self, conn: pgwire.Connection) -> None:
        conn.script("drop type if exists streamed; create type streamed as enum ('sad', 'ok')")
        sql = "select row('ok'::streamed, n), 'sad'::streamed from generate_series(1, 3) n"
        expected = [(("ok", n), "sad") for n in (1, 2, 3)]
        conn.refresh_types()
        assert [(tuple(r), mood) for r, mood in conn.stream(sql, fetch_size=1)] == expected
        with conn.transaction():
            conn.refresh_types()
            assert [(tuple(r), mood) for r, mood in conn.stream(sql, fetch_size=2)] == expected
        conn.query("drop type streamed")

    def test_a_prepared_statement(self, conn: pgwire.Connection) -> None:
        with conn.prepare(NUMBERS) as statement:
            for count in (3, 5):
                stream = statement.stream([count], fetch_size=2)
                assert [row.n for row in stream] == list(range(1, count + 1))

    def test_memory_is_bounded(self, conn: pgwire.Connection) -> None:
        sql = "select repeat('x', 1000) from generate_series(1, 12000)"
        tracemalloc.start()
        try:
            assert sum(len(row[0]) for row in conn.stream(sql, fetch_size=500)) == 12_000_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 4e6


class TestErrors:
    def test_nothing_happens_before_it_is_asked(self, conn: pgwire.Connection) -> None:
        stream = conn.stream("select * from nowhere")
        assert is_in_step(conn)
        with pytest.raises(pgwire.UndefinedTable):
            next(stream)
        assert list(stream) == []
        with pytest.raises(pgwire.UndefinedTable), conn.stream("select * from nowhere"):
            pass
        conn.stream("select * from nowhere").close()
        assert is_in_step(conn)

    def test_rows_before_an_error_come_first(self, conn: pgwire.Connection) -> None:
        stream = conn.stream("select 6 / (3 - n) from generate_series(1, 5) n", fetch_size=1)
        assert [tuple(row) for row in islice(stream, 2)] == [(3,), (6,)]
        with pytest.raises(pgwire.DivisionByZero):
            next(stream)
        assert list(stream) == []
        assert is_in_step(conn)

    def test_inside_of_a_transaction_it_fails(self, conn: pgwire.Connection) -> None:
        with conn.transaction() as transaction:
            stream = conn.stream("select 6 / (3 - n) from generate_series(1, 5) n", fetch_size=1)
            with pytest.raises(pgwire.DivisionByZero):
                list(stream)
            with pytest.raises(pgwire.InFailedSqlTransaction):
                list(conn.stream(NUMBERS, [1]))
            transaction.rollback()
        assert is_in_step(conn)

    def test_misfits(self, conn: pgwire.Connection) -> None:
        for params in (["x" * 3, 1], [object()], [2**40]):
            with pytest.raises((pgwire.DataError, pgwire.ProgrammingError)):
                list(conn.stream(NUMBERS, params))
        with pytest.raises(pgwire.ProgrammingError, match="fetch_size"):
            conn.stream(NUMBERS, [1], fetch_size=0)
        assert is_in_step(conn)

    @pytest.mark.parametrize("inside", [False, True])
    def test_copy_has_calls_of_its_own(self, conn: pgwire.Connection, inside: bool) -> None:
        conn.query("create temp table copied (n int)")

        def refuse() -> None:
            for sql in ("copy copied to stdout", "copy copied from stdin"):
                with pytest.raises(pgwire.NotSupportedError, match=r"copy_(in|out)"):
                    list(conn.stream(sql))

        if not inside:
            refuse()
        else:
            with conn.transaction() as transaction:
                with pytest.raises(pgwire.NotSupportedError, match=r"copy_(in|out)"):
                    list(conn.stream("copy copied to stdout"))
                transaction.rollback()
        assert is_in_step(conn)

    def test_a_stale_statement(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table changing (a int)")
        conn.query("insert into changing values (1), (2)")
        sql = "select * from changing"
        assert len(list(conn.stream(sql))) == 2
        conn.query("alter table changing add b text default 'new'")
        assert [tuple(row) for row in conn.stream(sql, fetch_size=1)] == [(1, "new"), (2, "new")]


class TestHolding:
    def test_nobody_else_may_ask_for_anything(self, conn: pgwire.Connection) -> None:
        with conn.stream(NUMBERS, [MANY]) as stream:
            next(stream)
            calls: list[Callable[[], Any]] = [
                lambda: conn.query("select 1"),
                lambda: conn.script("select 1"),
                lambda: conn.query_many("select $1::int", [(1,)]),
                lambda: next(conn.stream("select 1")),
                conn.ping,
            ]
            for refused in calls:
                with pytest.raises(pgwire.InterfaceError, match="held by an open iteration"):
                    refused()
            assert next(stream).n == 2
        assert list(stream) == []
        assert is_in_step(conn)

    def test_what_is_left_is_ended_before_whatever_comes_next(
        self, conn: pgwire.Connection
    ) -> None:
        for _ in range(3):
            for row in conn.stream(NUMBERS, [MANY]):
                assert row.n == 1
                break
            assert is_in_step(conn)

    def test_who_takes_long_for_a_batch_is_canceled(self, conn: pgwire.Connection) -> None:
        with conn.stream(SLEEPING, fetch_size=1) as stream:
            next(stream)
        assert is_in_step(conn)

    def test_an_exception_of_the_body_comes_through(self, conn: pgwire.Connection) -> None:
        def leave() -> None:
            with conn.stream(NUMBERS, [MANY]) as stream:
                next(stream)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            leave()
        assert is_in_step(conn)

    def test_time_runs_out(self, conn: pgwire.Connection) -> None:
        sql = "select pg_sleep(0.02) from generate_series(1, 1000)"
        with pytest.raises(pgwire.QueryTimeout):
            list(conn.stream(sql, fetch_size=1, timeout=0.1))
        assert is_in_step(conn)
        with conn.transaction() as transaction:
            with pytest.raises(pgwire.QueryTimeout):
                list(conn.stream(sql, fetch_size=1, timeout=0.1))
            transaction.rollback()
        assert is_in_step(conn)

    def test_a_cancel_request_ends_it(self, connect: Connect, dsn: str) -> None:
        conn, witness = connect(dsn), connect(dsn)
        stream = conn.stream(SLEEPING, fetch_size=1)
        assert [row.n for row in islice(stream, 2)] == [1, 2]
        sql = "select wait_event from pg_stat_activity where pid = $1"
        while witness.query(sql, [conn.backend_pid]).scalar() != "PgSleep":
            pass
        conn.cancel()
        with pytest.raises(pgwire.QueryCanceled):
            list(stream)
        assert is_in_step(conn)

    def test_closing_the_connection_ends_it(self, conn: pgwire.Connection) -> None:
        stream = conn.stream(NUMBERS, [MANY])
        next(stream)
        conn.close()
        with pytest.raises(pgwire.InterfaceError):
            list(stream)

    def test_so_does_the_connections_loss(self, connect: Connect, dsn: str) -> None:
        conn, other = connect(dsn), connect(dsn)
        stream = conn.stream(NUMBERS, [MANY])
        next(stream)
        other.query("select pg_terminate_backend($1)", [conn.backend_pid])
        with pytest.raises(pgwire.ConnectionLost):
            list(stream)
        assert conn.closed


class TestInsideOfATransaction:
    def test_streams_and_queries_take_turns(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            first = conn.stream(NUMBERS, [5], fetch_size=2)
            second = conn.stream("select -n from generate_series(1, 5) n", fetch_size=3)
            seen = [(a[0], b[0], is_in_step(conn)) for a, b in zip(first, second, strict=True)]
        assert seen == [(n, -n, True) for n in range(1, 6)]

    def test_leaving_the_block_closes_the_portal_at_once(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            with conn.stream(NUMBERS, [9], fetch_size=2) as stream:
                next(stream)
                assert portals(conn) == 1
            assert portals(conn) == 0
            assert list(stream) == []

    def test_what_was_dropped_is_closed_at_the_next_use(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            for _ in conn.stream(NUMBERS, [9], fetch_size=2):
                break
            assert is_in_step(conn)
            assert portals(conn) == 0

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_it_ends_with_the_transaction(self, conn: pgwire.Connection, ending: str) -> None:
        with conn.transaction() as transaction:
            stream = conn.stream(NUMBERS, [9], fetch_size=2)
            next(stream)
            getattr(transaction, ending)()
        assert [row.n for row in islice(stream, 1)] == [2]
        with pytest.raises(pgwire.InterfaceError, match=r"transaction .* has ended"):
            next(stream)
        stream.close()
        assert is_in_step(conn)

    def test_a_savepoint_undone_takes_it_along(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            with conn.transaction() as savepoint:
                stream = conn.stream(NUMBERS, [9], fetch_size=1)
                next(stream)
                savepoint.rollback()
            with pytest.raises(pgwire.InterfaceError, match="has ended"):
                next(stream)
            # As with any error of the server, the transaction has failed.
            with pytest.raises(pgwire.InFailedSqlTransaction):
                conn.query("select 1")
            conn.query("rollback")
            conn.query("begin")
        assert is_in_step(conn)
