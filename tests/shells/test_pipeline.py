"""`conn.pipeline()`: one flight, an error for each, and what happens where it is left."""

# ruff: noqa: PT012 (blocks inside of blocks are what this is about)

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import pgwire
from pgwire import errors
from pgwire.pgtypes import oids
from pgwire.protocol.messages import TransactionStatus
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer
from tests.support.shells import LATE

if TYPE_CHECKING:
    from tests.shells.conftest import Connect
    from tests.support.gate import Gate
    from tests.support.shells import Shell

IDLE = TransactionStatus.IDLE


class Number(NamedTuple):
    n: int


class Mistake(Exception):
    """Raised inside a block by its user."""


def marker(conn: pgwire.Connection, value: int = 7) -> bool:
    return bool(conn.query("select $1::int", [value]).scalar() == value)


class TestAnswers:
    def test_each_query_has_its_own(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            asked = [p.query("select $1::int * 2", [n]) for n in range(300)]
            assert asked[7].result().scalar() == 14
            assert asked[7].done
            rest = [each.result().scalar() for each in asked]
        assert rest == [n * 2 for n in range(300)]
        assert [each.result().scalar() for each in asked] == rest  # as often as you like
        assert marker(conn)

    def test_they_are_there_after_the_block(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            one, two = p.query("select 1"), p.query("select 'two'")
        assert (one.done, two.done) == (True, True)
        assert (one.result().scalar(), two.result().scalar()) == (1, "two")

    def test_of_new_statements_and_of_known_ones(self, conn: pgwire.Connection) -> None:
        for _ in range(2):
            with conn.pipeline() as p:
                asked = [p.query(f"select {n} + $1::int", [n]) for n in range(40)]
            assert [each.result().scalar() for each in asked] == [2 * n for n in range(40)]

    def test_row_is_as_in_query(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            one = p.query("select 5 as n", row=Number)
            wrong = p.query("select 5 as m", row=Number)
            two = p.query("select 6 as n", row=dict)
            with pytest.raises(errors.InterfaceError):
                wrong.result()
        assert one.result().rows == [Number(5)]
        assert two.result().rows == [{"n": 6}]

    def test_row_may_raise_what_no_program_catches(self, conn: pgwire.Connection) -> None:
        def panic(_row: object) -> None:
            raise GeneratorExit

        with conn.pipeline() as p:
            one = p.query("select 5", row=panic)
            two = p.query("select 6")
            with pytest.raises(GeneratorExit):
                one.result()
            assert two.result().scalar() == 6
        assert marker(conn)

    def test_nothing_asked_for(self, conn: pgwire.Connection) -> None:
        with conn.pipeline():
            pass
        assert marker(conn)

    def test_much_each_way(self, conn: pgwire.Connection) -> None:
        """Neither side waits for the other: what is sent and what comes do not fit any buffer."""
        big = "x" * 1_000_000
        with conn.pipeline() as p:
            asked = [p.query("select $1::text || $2::text", [big, str(n)]) for n in range(30)]
            rows = [p.query("select repeat('y', 1000000)") for _ in range(30)]
        assert all(a.result().scalar() == f"{big}{n}" for n, a in enumerate(asked))
        assert all(len(r.result().scalar()) == 1_000_000 for r in rows)

    def test_more_than_anybody_would_keep(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int)")
        with conn.pipeline() as p:
            for n in range(10_000):
                p.query("insert into t values ($1)", [n])
            assert len(p._block.waiting) <= (1000 if isinstance(conn, pgwire.Connection) else 10**4)
        assert conn.query("select count(*), sum(a) from t").one() == (10_000, 49_995_000)

    def test_other_calls_take_their_place_behind_it(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int)")
        with conn.pipeline() as p:
            for n in range(5):
                p.query("insert into t values ($1)", [n])
                assert conn.query("select count(*) from t").scalar() == n + 1
            assert conn.script("select count(*) from t")[0].scalar() == 5

    def test_two_pipelines_at_once(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p, conn.pipeline() as q:
            asked = [
                (p.query("select $1::int", [n]), q.query("select $1::int", [-n])) for n in range(20)
            ]
            assert asked[19][1].result().scalar() == -19
            assert asked[3][0].result().scalar() == 3
        assert [one.result().scalar() for one, _ in asked] == [*range(20)]


class TestErrors:
    def test_the_first_that_nobody_asked_for_is_raised(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.DivisionByZero):
            with conn.pipeline() as p:
                one = p.query("select 1")
                p.query("select 1/0")
                p.query("select * from nowhere")
                two = p.query("select 2")
        assert (one.result().scalar(), two.result().scalar()) == (1, 2)
        assert marker(conn)

    def test_those_that_were_heard_are_not(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.UndefinedTable):
            with conn.pipeline() as p:
                one = p.query("select 1/0")
                p.query("select * from nowhere")
                with pytest.raises(errors.DivisionByZero):
                    one.result()
        with conn.pipeline() as p:
            one = p.query("select 1/0")
            for _ in range(2):
                with pytest.raises(errors.DivisionByZero):
                    one.result()
        assert isinstance(one.failure, errors.DivisionByZero)

    def test_an_error_undoes_nothing_else(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int primary key)")
        with pytest.raises(errors.UniqueViolation):
            with conn.pipeline() as p:
                for n in (1, 2, 2, 3):
                    p.query("insert into t values ($1)", [n])
        assert conn.query("select a from t order by a").scalars() == [1, 2, 3]

    def test_inside_of_a_transaction_those_behind_it_fail(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int primary key)")
        with pytest.raises(errors.UniqueViolation):
            with conn.transaction():
                with conn.pipeline() as p:
                    for n in (1, 1):
                        p.query("insert into t values ($1)", [n])
                    late = p.query("select 1")
        with pytest.raises(errors.InFailedSqlTransaction):
            late.result()
        assert conn.transaction_status is IDLE
        assert conn.query("select count(*) from t").scalar() == 0

    def test_what_does_not_fit_is_for_result(self, conn: pgwire.Connection) -> None:
        for _ in range(2):  # of a statement that is new, and of one that is known
            with conn.pipeline() as p:
                wrong, right = p.query("select $1::int", [[]]), p.query("select 1")
                with pytest.raises(errors.DataError):
                    wrong.result()
                assert right.result().scalar() == 1

    def test_what_makes_no_sense_is_said_at_once(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            with pytest.raises(errors.ProgrammingError):
                p.query("select $1", "abc")
            one = p.query("select 1")
        assert one.result().scalar() == 1

    def test_notices_are_delivered(self, conn: pgwire.Connection) -> None:
        heard: list[Any] = []
        conn.on("notice", heard.append)
        with conn.pipeline() as p:
            for n in range(3):
                p.query(f"do $$ begin raise notice 'n{n}'; end $$")
        assert [notice.message for notice in heard] == ["n0", "n1", "n2"]

    def test_queries_belong_inside_the_block(self, conn: pgwire.Connection) -> None:
        p = conn.pipeline()
        with pytest.raises(errors.InterfaceError, match="inside its `with` block"):
            p.query("select 1")
        with p:
            pass
        with pytest.raises(errors.InterfaceError, match="inside its `with` block"):
            p.query("select 1")
        with pytest.raises(errors.InterfaceError, match="entered once"), p:
            pass


class TestLeaving:
    def test_an_exception_waits_and_comes_through(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int)")
        with pytest.raises(Mistake):
            with conn.pipeline() as p:
                p.query("insert into t values (1)")
                p.query("select 1/0")
                last = p.query("insert into t values (2)")
                raise Mistake
        assert last.done
        assert conn.query("select count(*) from t").scalar() == 2

    def test_a_connection_that_is_lost(self, conn: pgwire.Connection, connect: Connect) -> None:
        with pytest.raises(errors.ConnectionLost):
            with conn.pipeline() as p:
                one = p.query("select 1")
                asked = [p.query("select pg_terminate_backend(pg_backend_pid())")]
                asked += [p.query("select $1::int", [n]) for n in range(10)]
        assert one.result().scalar() == 1
        for each in asked:
            with pytest.raises(errors.ConnectionLost):
                each.result()
        assert conn.closed
        with pytest.raises(errors.ConnectionLost), conn.pipeline():
            pass

    def test_a_backend_that_takes_its_time_to_end_is_waited_for(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        """It has said why, and then it drops its temporary tables."""
        lost = connect()
        with pytest.raises(errors.AdminShutdown):
            with lost.pipeline() as p:
                p.query("select 1")
                p.query(
                    "do $$ begin for i in 1..300 loop execute "
                    "format('create temp table t_%s (a int primary key)', i); end loop; commit; "
                    "perform pg_terminate_backend(pg_backend_pid()); end $$"
                )
        lost.close()
        sql = "select count(*) from pg_stat_activity where pid = $1"
        assert conn.query(sql, [lost.backend_pid]).scalar() == 0

    def test_a_closed_connection(self, conn: pgwire.Connection) -> None:
        conn.close()
        with pytest.raises(errors.InterfaceError, match="closed"), conn.pipeline():
            pass

    def test_while_a_stream_holds_the_connection(self, conn: pgwire.Connection) -> None:
        with conn.stream("select generate_series(1, 10000)", fetch_size=10) as rows:
            next(iter(rows))
            with conn.pipeline() as p:
                one = p.query("select 1")
                with pytest.raises(errors.InterfaceError, match="held by an open iteration"):
                    one.result()
        assert marker(conn)


class TestTime:
    def test_what_runs_is_canceled_and_nothing_else(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            one = p.query("select 1")
            slow = p.query("select pg_sleep(60)", timeout=0.1)
            began = time.monotonic()
            with pytest.raises(errors.QueryTimeout):
                slow.result()
            assert time.monotonic() - began < LATE
            two = p.query("select 2")
        assert (one.result().scalar(), two.result().scalar()) == (1, 2)
        assert marker(conn)

    def test_at_the_end_of_the_block(self, conn: pgwire.Connection) -> None:
        began = time.monotonic()
        with pytest.raises(errors.QueryTimeout):
            with conn.pipeline() as p:
                p.query("select pg_sleep(60)", timeout=0.1)
        assert time.monotonic() - began < LATE
        assert marker(conn)

    def test_it_covers_the_answers_before_its_own(
        self, conn: pgwire.Connection, gate: Gate
    ) -> None:
        with conn.pipeline() as p, gate:
            slow = p.query(f"select 'slept' from {gate.waiting}")
            late = p.query("select 1", timeout=0.05)
            with pytest.raises(errors.QueryTimeout):
                late.result()
            gate.open()
            assert slow.result().scalar() == "slept"
        assert marker(conn)

    def test_the_connections_default(self, dsn: str, shell: Shell) -> None:
        if shell.is_blocking:
            with pgwire.Pool(dsn, max_size=1, query_timeout=0.1) as pool, pool.connect() as lease:
                with lease.pipeline() as p:
                    slow = p.query("select pg_sleep(30)")
                    with pytest.raises(errors.QueryTimeout):
                        slow.result()
                assert marker(lease)


class TestOneFlight:
    def test_all_is_sent_before_anything_is_answered(self, connect: Connect) -> None:
        """The server answers only once it has had all of them."""
        count = 50

        def script(line: Line) -> None:
            line.let_in()
            line.answer([backend.column("n", oids.INT4)], backend.row(backend.int4(0)))
            line.expect("BES" * count)
            line.send(*(backend.executed(backend.row(backend.int4(n))) for n in range(count)))
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            assert conn.query("select n").scalar() == 0
            with conn.pipeline() as p:
                asked = [p.query("select n") for _ in range(count)]
            assert [each.result().scalar() for each in asked] == [*range(count)]

    def test_a_cancel_that_nobody_answers(
        self, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("pgwire.blocking.together", "pgwire.aio.giving_up"):
            monkeypatch.setattr(f"{module}.PATIENCE", 0.2)

        def script(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            with pytest.raises(errors.QueryTimeout):
                with conn.pipeline() as p:
                    p.query("select 1", timeout=0.05)
                    p.query("select 2")
            shell.settle()
            assert conn.closed
        assert len(server.cancels) == 1


class TestLeases:
    def test_released_inside_of_the_block(self, dsn: str) -> None:
        with pgwire.Pool(dsn, max_size=1) as pool:
            lease = pool.connect()
            with lease.pipeline() as p:
                one = p.query("select 1")
                lease.release()
                with pytest.raises(errors.InterfaceError, match="released"):
                    p.query("select 2")
                with pytest.raises(errors.InterfaceError, match="released"):
                    one.result()
            assert pool.query("select 3").scalar() == 3


class TestThreads:
    def test_others_take_their_turns(self, dsn: str) -> None:
        with pgwire.connect(dsn) as conn:
            failures: list[Any] = []

            def work(number: int) -> None:
                try:
                    for round_ in range(20):
                        with conn.pipeline() as p:
                            asked = [p.query("select $1::int", [number + n]) for n in range(50)]
                            assert marker(conn, round_)
                        assert [a.result().scalar() for a in asked] == [
                            number + n for n in range(50)
                        ]
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=work, args=(k * 1000,)) for k in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
