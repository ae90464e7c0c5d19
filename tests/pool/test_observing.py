"""A pool's "query": whatever was asked of it or of its leases is reported, once."""

from __future__ import annotations

import io
import logging
import sys
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import listeners, observed as observed_pool, reporting
from tests.pool.lines import ASK, PASS, answers, ask, errors, gate, sharing
from tests.pool.support import PATIENCE, Thread, in_vain, kill, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

Reports = list[pgwire.QueryReport]


@contextmanager
def observed(dsn: str, **options: Any) -> Iterator[tuple[pgwire.Pool, Reports]]:
    """A pool, and what it has reported."""
    seen: Reports = []
    with pool(dsn, name="shop", **options) as p:
        p.on("query", seen.append)
        yield p, seen


def test_single_queries(dsn: str) -> None:
    with observed(dsn) as (p, seen):
        p.query("select $1::int", [1])
        with pytest.raises(pgwire.DivisionByZero) as caught:
            p.query("select 1 / 0")
        pid = pid_of(p)
    first, second, _ = seen
    assert (first.operation, first.sql, first.row_count) == ("query", "select $1::int", 1)
    assert (first.pool, first.backend_pid) == ("shop", pid)
    assert first.waited is not None
    assert 0 < first.waited <= first.duration  # for the connection to be opened
    assert first.reveal_parameters() == (1,)
    assert second.error is caught.value


def test_everything_that_takes_a_connection_for_itself(dsn: str) -> None:
    with observed(dsn) as (p, seen):
        with p.connect() as lease:
            lease.script("drop table if exists observed; create table observed (n int)")
        p.query_many("insert into observed values ($1)", [(1,), (2,)])
        p.copy_in("copy observed from stdin", b"3\n")
        p.copy_records("observed", [(4,)])
        p.copy_out("copy observed to stdout", io.BytesIO())
        p.query("drop table observed")
    assert [(r.operation, r.row_count, r.error, r.waited is None) for r in seen] == [
        ("script", None, None, True),
        ("query_many", 2, None, False),
        ("copy_in", 1, None, False),
        ("copy_records", 1, None, False),
        ("copy_out", 4, None, False),
        ("query", None, None, False),
    ]
    assert all(report.backend_pid for report in seen)


def test_leases_and_their_transactions_but_not_what_the_pool_does_by_itself(dsn: str) -> None:
    def hook(conn: pgwire.Connection) -> None:
        conn.query("set application_name = 'hook'")

    with observed(dsn, max_size=1, on_connect=hook, check_after=0.0) as (p, seen):
        with p.transaction() as lease:
            lease.query("select 1")
            lease.query("set work_mem = '1MB'")
        p.query("select 2")
    assert [r.command_tag for r in seen] == [
        "SET", "BEGIN", "SELECT 1", "SET", "COMMIT", "SET", "SELECT 1",
    ]  # fmt: skip
    assert [r.waited is None for r in seen] == [True] * 6 + [False]


def test_who_gets_no_connection(dsn: str) -> None:
    with observed(dsn, max_size=1, max_waiting=1) as (p, seen):
        lease = p.connect()
        with pytest.raises(pgwire.PoolTimeout) as late:
            p.query("select $1::int", [7], timeout=0.02)
        with pytest.raises(pgwire.PoolTimeout):
            p.query_many("select 2", [()], timeout=0.02)
        future = p.submit("select 3", timeout=0.02)
        with pytest.raises(pgwire.PoolTimeout):
            future.result(PATIENCE)
        thread = Thread(lambda: p.query("select 4"))
        until(lambda: p.waiting_count == 1)
        with pytest.raises(pgwire.PoolFull):
            p.query("select 5")
        lease.release()
        thread.outcome()
    with pytest.raises(pgwire.PoolClosed):
        p.query("select 6")
    with pytest.raises(pgwire.PoolClosed):
        p.submit("select 7").result(PATIENCE)
    until(lambda: len(seen) == 7)
    told = {report.sql: type(report.error) for report in seen}
    assert told == {
        "select $1::int": pgwire.PoolTimeout,
        "select 2": pgwire.PoolTimeout,
        "select 3": pgwire.PoolTimeout,
        "select 4": type(None),
        "select 5": pgwire.PoolFull,
        "select 6": pgwire.PoolClosed,
        "select 7": pgwire.PoolClosed,
    }
    first = seen[0]
    assert first.error is late.value
    assert first.waited == first.duration >= 0.02
    assert (first.backend_pid, first.host, first.pool) == (0, "", "shop")
    assert first.reveal_parameters() == (7,)


def test_streams(dsn: str) -> None:
    with observed(dsn, max_size=1) as (p, seen):
        with p.stream("select generate_series(1, 5)", fetch_size=2) as rows:
            next(rows)
            with pytest.raises(pgwire.PoolTimeout):
                list(p.stream("select 2", timeout=0.02))
            assert sum(1 for _ in rows) == 4
        with p.stream("select generate_series(1, 5)", fetch_size=2) as rows:
            next(rows)
        with pytest.raises(pgwire.PostgresError):
            list(p.stream("select 1 / 0"))
        with p.copy_out("copy (select 1) to stdout") as pieces:
            assert b"".join(pieces) == b"1\n"
        with pytest.raises(LookupError):
            p.copy_out("copy (select 1) to stdout", Full())
    assert [(r.operation, type(r.error), r.waited is None) for r in seen] == [
        ("stream", pgwire.PoolTimeout, False),
        ("stream", type(None), False),
        ("stream", type(None), False),
        ("stream", pgwire.DivisionByZero, False),
        ("copy_out", type(None), False),
        ("copy_out", type(None), False),
    ]


class Full(io.BytesIO):
    """A file that takes nothing."""

    def write(self, data: Any) -> int:
        raise LookupError("full")


def test_timed_out_and_lost(dsn: str) -> None:
    with observed(dsn, max_size=2) as (p, seen):
        p.query("select 0")  # else its time may be up before there is a connection
        seen.clear()
        with pytest.raises(pgwire.QueryTimeout):
            p.query("select pg_sleep(20)", timeout=0.2)
        with pytest.raises(pgwire.ConnectionLost):
            p.query("select pg_terminate_backend(pg_backend_pid())")
        until(lambda: len(seen) == 2)
    slow, lost = sorted(seen, key=lambda report: report.sql)
    assert isinstance(slow.error, pgwire.QueryTimeout)
    assert isinstance(lost.error, pgwire.ConnectionLost)


def test_what_a_lease_is_released_with(dsn: str) -> None:
    with observed(dsn, max_size=1) as (p, seen):
        lease = p.connect()
        pipeline = lease.pipeline()
        pipeline.__enter__()
        pipeline.query("select 1")
        pipeline.query("select 2")
        lease.release()  # and so its connection is closed
        assert p.query("select 3").scalar() == 3
    errors = [(report.sql, type(report.error)) for report in seen]
    assert errors == [
        ("select 1", pgwire.InterfaceError),
        ("select 2", pgwire.ConnectionLost),
        ("select 3", type(None)),
    ]


def test_an_idle_connection_that_was_lost(dsn: str) -> None:
    with observed(dsn, max_size=1) as (p, seen):
        kill(dsn, [pid_of(p)])
        with suppress(pgwire.Error):
            p.query("select 1")
        p.query("select 2")
    assert [report.sql for report in seen[1:]] == ["select 1", "select 2"]


def test_somebody_begins_to_listen_while_another_ends(dsn: str) -> None:
    """At any line of its end, as far as he is let in."""
    files = {listeners.__file__, observed_pool.__file__, reporting.__file__}
    left = 0
    begins: list[Thread] = []
    seen: Reports = []

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left -= 1
            if left == -1:
                begins.append(Thread(lambda: p.on("query", seen.append)))
                begins[0].join(0.02)
        return trace

    with pool(dsn, max_size=1) as p:
        p.query("select 0")
        for nth in count():
            gone: Reports = []
            p.on("query", gone.append)
            left, before = nth, sys.gettrace()
            sys.settrace(trace)
            try:
                p.off("query", gone.append)
            finally:
                sys.settrace(before)
            if not begins:
                break
            begins.pop().outcome()
            p.query("select 1")
            assert len(seen) == nth + 1
            p.off("query", seen.append)
    assert nth > 5


def test_connections_that_were_open_before(dsn: str) -> None:
    seen: Reports = []
    with pool(dsn, max_size=2) as p:
        lease = p.connect()
        p.query("select 0")
        p.on("query", seen.append)
        lease.query("select 1")
        p.query("select 2")
        p.off("query", seen.append)
        lease.query("select 3")
        p.query("select 4")
        p.on("query", seen.append)
        p.query("select 5")
        lease.query("select 6")
        lease.release()
    assert [report.sql for report in seen] == ["select 1", "select 2", "select 5", "select 6"]


def test_a_callback_of_a_lease_ends_with_it(dsn: str) -> None:
    own: Reports = []
    with observed(dsn, max_size=1) as (p, seen):
        lease = p.connect()
        lease.on("query", own.append)
        lease.query("select 1")
        lease.release()
        p.query("select 2")
    assert [report.sql for report in own] == ["select 1"]
    assert len(seen) == 2


def test_a_pool_with_a_clock_of_its_own(dsn: str) -> None:
    """Whoever else observes its connections."""
    own: Reports = []
    with observed(dsn, max_size=1, clock=lambda: monotonic() + 1e6) as (p, seen):
        with p.connect() as lease:
            lease.on("query", own.append)
            lease.query("select 1")
        p.query("select 2")
    assert own == seen[:1]
    assert all(0 < report.duration < 1000 for report in seen)
    assert [report.pool for report in seen] == ["shop"] * 2


def test_a_callback_that_raises(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    def callback(_: pgwire.QueryReport) -> None:
        raise LookupError("of the callback")

    with observed(dsn) as (p, seen):
        p.on("query", callback)
        assert p.query("select 1").scalar() == 1
    assert len(seen) == 1
    assert "shop: a callback for 'query' raised" in caplog.text


def test_what_a_callback_asks_for_is_not_reported(dsn: str) -> None:
    seen: list[str] = []
    with pool(dsn, max_size=2) as p:

        def callback(report: pgwire.QueryReport) -> None:
            seen.append(report.sql)
            p.query("select 2")

        p.on("query", callback)
        p.query("select 1")
    assert seen == ["select 1"]


def test_statements_of_a_pool_in_the_log(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with pool(dsn) as p:
        stop = pgwire.log_queries(p, level=logging.WARNING)
        p.query("select $1::text", ["MARKER"])
        stop()
        p.query("select 2")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "pgwire.query"]
    assert "s of it waiting): 1 rows [select $1::text]" in line


# ------------------------------------------------------------------ submitted ones

request_id: ContextVar[str] = ContextVar("request_id", default="")


def test_submitted_queries(dsn: str) -> None:
    told: list[tuple[str, str, Any]] = []
    with pool(dsn, max_size=2) as p:
        p.on("query", lambda r: told.append((r.sql, request_id.get(), type(r.error))))
        request_id.set("one")
        assert p.submit("select 1").result(PATIENCE).scalar() == 1
        request_id.set("two")
        with pytest.raises(pgwire.DivisionByZero):
            p.submit("select 1 / 0").result(PATIENCE)
        request_id.set("")
    assert told == [("select 1", "one", type(None)), ("select 1 / 0", "two", pgwire.DivisionByZero)]


def test_a_submitted_query_that_is_cancelled_in_the_queue(dsn: str) -> None:
    with observed(dsn, max_size=1) as (p, seen):
        lease = p.connect()
        future = p.submit("select 1")
        future.cancel()
        lease.release()
    assert [type(report.error) for report in seen] == [CancelledError]


def test_queries_that_share_connections(dsn: str) -> None:
    rounds = 0
    with observed(dsn, max_size=1, max_pipeline=8) as (p, seen):

        def have_shared() -> bool:
            """Statements share once they are known to be short: not while the machine is busy."""
            nonlocal rounds
            rounds += 1
            futures = [p.submit("select $1::int", [n]) for n in range(50)]
            assert [future.result(PATIENCE).scalar() for future in futures] == list(range(50))
            return any(report.pipelined for report in seen)

        until(have_shared)
    assert len(seen) == 50 * rounds
    assert not any(report.error for report in seen)
    assert all(report.waited is not None for report in seen)
    shown = [report.reveal_parameters() for report in seen]
    assert sorted(shown, key=str) == sorted([(n,) for n in range(50)] * rounds, key=str)


def test_of_those_that_share_a_connection_each_has_its_own_end(dsn: str) -> None:
    """One is cancelled, one is out of time, one fails, and one is answered."""
    quick, slow = "select $1::int", "select 1 / $1::int, pg_sleep(0.3)"
    with observed(dsn, max_size=1, max_pipeline=8) as (p, seen):
        for sql in (quick, slow):
            p.submit(sql.replace("0.3", "0"), [1]).result(PATIENCE)
        p.submit(slow, [1]).result(PATIENCE)
        seen.clear()
        lease = p.connect()
        answered = p.submit(quick, [1])
        failing = p.submit(slow, [0])
        late = p.submit(quick, [2], timeout=0.01)
        cancelled = p.submit(quick, [3])
        cancelled.cancel()
        with pytest.raises(pgwire.PoolTimeout):
            late.result(PATIENCE)
        lease.release()
        assert answered.result(PATIENCE).scalar() == 1
        with pytest.raises(pgwire.DivisionByZero):
            failing.result(PATIENCE)
        until(lambda: len(seen) == 4)
    told = {report.reveal_parameters(): type(report.error) for report in seen}
    assert told[(1,)] is type(None)
    assert told[(0,)] is pgwire.DivisionByZero
    assert told[(2,)] is pgwire.PoolTimeout
    assert told[(3,)].__name__ == "CancelledError"


def test_running_out_of_time_in_the_line_of_a_shared_connection(dsn: str) -> None:
    """Each is canceled when it is its turn; those that are hit by mistake begin anew."""
    seen: Reports = []
    with gate(dsn) as closed, sharing(dsn, [PASS, ASK]) as (p, clock):
        p.on("query", seen.append)
        closed.close()
        late = [p.submit(PASS, [n], timeout=1) for n in range(4)]
        (patient,) = ask(p, [4])
        closed.wait_for(1)
        clock.now += 1
        assert all(isinstance(error, pgwire.QueryTimeout) for error in errors(late))
        closed.open()
        assert answers([patient]) == [4]
        until(lambda: len(seen) == 5)
    told = {report.reveal_parameters(): type(report.error) for report in seen}
    assert told == {(n,): pgwire.QueryTimeout for n in range(4)} | {(4,): type(None)}


def test_openings_that_fail_again_are_in_the_log_for_who_wants_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "pgwire.pool"),
        pgwire.Pool("host=127.0.0.1 port=1 user=u password=MARKER dbname=d") as p,
        in_vain(p, lambda: p.connect(timeout=PATIENCE), failures=2),
    ):
        levels = [record.levelname for record in caplog.records if record.name == "pgwire.pool"]
    assert levels[:2] == ["WARNING", "DEBUG"]
    assert levels.count("WARNING") == 1
    assert "MARKER" not in caplog.text


def test_a_pool_that_nobody_observes_is_a_pool(dsn: str) -> None:
    with pool(dsn) as p:
        kind = type(p)
        p.on("query", print)
        assert isinstance(p, kind)
        assert type(p).__name__ == kind.__name__
        p.off("query", print)
        assert type(p) is kind
