"""Hooks and events of the blocking pool: when they run, what they may do, what if they fail."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import chores
from tests.pool.support import PATIENCE, Thread, kill, messages, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVENTS: tuple[Any, ...] = ("connect", "acquire", "release", "remove", "error", "leak")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Something to hang on; whoever does is let go when the test is over."""
    event = threading.Event()
    yield event
    event.set()


# ------------------------------------------------------------------ on_connect


def test_it_runs_once_per_physical_connection_before_its_first_lease(dsn: str) -> None:
    """I-31, PP-60, PP-61, PP-63, PP-65."""
    seen: Counter[int] = Counter()

    def hook(conn: pgwire.Connection) -> None:
        seen[conn.backend_pid] += 1

    with pool(dsn, max_size=3, on_connect=hook) as p:
        for _ in range(3):
            leases = [p.connect() for _ in range(3)]
            assert all(seen[lease.backend_pid] == 1 for lease in leases)
            for lease in leases:
                lease.query("select 1")
                lease.release()
        p.query("select 1")
        assert len(seen) == 3
        assert set(seen.values()) == {1}


def test_what_it_sets_is_how_sessions_begin_and_survives_resets(dsn: str) -> None:
    """After a full reset it runs again, on the same connection, and only then."""
    pids: list[int] = []

    def hook(conn: pgwire.Connection) -> None:
        pids.append(conn.backend_pid)
        conn.query("set statement_timeout = 7000")

    with pool(dsn, max_size=1, on_connect=hook) as p:
        assert p.query("show statement_timeout").scalar() == "7s"
        assert len(pids) == 1
        with p.connect() as conn:
            conn.query("set statement_timeout = 12345")
        with p.connect() as conn:
            assert conn.query("show statement_timeout").scalar() == "7s"
        p.query("set statement_timeout = 12345")
        assert p.query("show statement_timeout").scalar() == "7s"
        assert len(pids) == 3
        assert len(set(pids)) == 1


def test_it_runs_for_the_floor_as_well(dsn: str) -> None:
    with pool(dsn, min_size=2, on_connect=lambda c: c.query("set work_mem = '77MB'")) as p:
        p.wait(PATIENCE)
        leases = [p.connect(timeout=0) for _ in range(2)]
        assert {lease.query("show work_mem").scalar() for lease in leases} == {"77MB"}
        for lease in leases:
            lease.release()


@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(3)])
def test_what_it_raises_is_for_the_caller_at_once(dsn: str, failure: BaseException) -> None:
    """I-7, PP-62, PP-64, PP-66, PP-67: the next request gets an attempt of its own."""
    failures: list[BaseException] = [failure] * 3

    def hook(_conn: object) -> None:
        if failures:
            raise failures.pop()

    with pool(dsn, checkout_timeout=None, on_connect=hook) as p:
        p.on("remove", pytest.fail)  # it never was a connection of the pool
        for _ in range(3):
            with pytest.raises((ValueError, pgwire.OperationalError)) as caught:
                p.connect()
            assert failure in (caught.value, caught.value.__cause__)
            assert p.total_count == 0
        p.off("remove", pytest.fail)
        assert p.query("select 1").scalar() == 1


def test_what_it_raises_in_the_background_is_told_by_wait_and_not_fatal(dsn: str) -> None:
    def hook(_conn: object) -> None:
        raise ValueError("not today")

    with pool(dsn, min_size=1, on_connect=hook) as p:
        with pytest.raises(ValueError, match="not today"):
            p.wait(None)
        assert p.stats().open_failures >= 1


def test_a_failure_beside_open_connections_leaves_requests_waiting_for_those(dsn: str) -> None:
    calls: list[int] = []

    def hook(_conn: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("only one")

    with pool(dsn, max_size=2, on_connect=hook) as p:
        lease = p.connect()
        waiting = Thread(lambda: pid_of(p))
        until(lambda: len(calls) > 1 and p.stats().open_failures)
        assert waiting.is_alive()
        pid = lease.backend_pid
        lease.release()
        assert waiting.outcome() == pid


def test_a_hook_that_hangs_on_its_connection_is_cut(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-12, B-20."""
    monkeypatch.setattr(chores, "OPEN_TIMEOUT", 0.2)
    hangs = [True]

    def hook(conn: pgwire.Connection) -> None:
        if hangs.pop():
            hangs.append(False)
            conn.query("select pg_sleep(600)")
        hangs.append(False)

    with pool(dsn, max_size=1, on_connect=hook) as p:
        with pytest.raises(pgwire.OperationalError, match="on_connect took longer"):
            p.query("select 1")
        monkeypatch.setattr(chores, "OPEN_TIMEOUT", PATIENCE)
        assert p.query("select 1").scalar() == 1


def test_a_hook_that_hangs_elsewhere_costs_the_caller_its_deadline_and_the_pool_no_slot(
    dsn: str, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    monkeypatch.setattr(chores, "OPEN_TIMEOUT", 1.0)
    calls: list[int] = []

    def hook(_conn: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            gate.wait(PATIENCE)

    with pool(dsn, max_size=1, on_connect=hook) as p:
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0.05)
        until(lambda: p.total_count == 0)
        monkeypatch.setattr(chores, "OPEN_TIMEOUT", PATIENCE)
        assert p.query("select 1").scalar() == 1
        gate.set()


def test_a_transaction_that_it_leaves_open_is_rolled_back(dsn: str) -> None:
    def hook(conn: pgwire.Connection) -> None:
        conn.query("begin")
        conn.query("create temp table hooked (a int)")

    with pool(dsn, on_connect=hook) as p, p.connect() as conn:
        assert conn.transaction_status is pgwire.TransactionStatus.IDLE
        assert conn.query("select to_regclass('pg_temp.hooked')::text").scalar() is None


def test_a_hook_that_closes_its_connection_is_told_so(dsn: str) -> None:
    with pool(dsn, on_connect=lambda conn: conn.close()) as p:
        with pytest.raises(pgwire.OperationalError, match="on_connect left its connection closed"):
            p.connect()
        assert p.total_count == 0


def test_openings_are_bounded_hooks_included(dsn: str, gate: threading.Event) -> None:
    """I-3: `max_opening`, and no more than there are requests (I-9, I-10)."""
    inside: list[int] = []
    most: list[int] = []

    def hook(_conn: object) -> None:
        inside.append(1)
        most.append(len(inside))
        gate.wait(PATIENCE)
        inside.pop()

    with pool(dsn, max_size=6, max_opening=2, on_connect=hook) as p:
        threads = [Thread(lambda: p.query("select 1").scalar()) for _ in range(5)]
        until(lambda: p.waiting_count == 5 and len(inside) == 2)
        assert p.stats().opening == 2
        gate.set()
        assert [thread.outcome() for thread in threads] == [1] * 5
        assert max(most) == 2
        assert p.total_count <= 5


# ------------------------------------------------------------------ reset(conn)


def test_a_reset_function_runs_before_the_connection_is_idle_again(
    dsn: str, gate: threading.Event
) -> None:
    """I-31; for single queries too. The transaction is rolled back before."""
    seen: list[pgwire.TransactionStatus] = []

    def reset(conn: pgwire.Connection) -> None:
        seen.append(conn.transaction_status)
        gate.wait(PATIENCE)
        conn.query("set statement_timeout = 111")

    with pool(dsn, max_size=1, reset=reset) as p:
        with p.connect() as conn:
            pid = conn.backend_pid
            conn.query("begin")
        until(lambda: seen)
        assert (p.idle_count, p.stats().resetting) == (0, 1)
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0)
        gate.set()
        with p.connect() as conn:
            assert conn.backend_pid == pid
            assert conn.query("show statement_timeout").scalar() == "111ms"
        p.query("select 1")
        until(lambda: len(seen) == 3 and p.idle_count == 1)
        assert set(seen) == {pgwire.TransactionStatus.IDLE}


def test_a_reset_function_is_not_asked_about_what_is_discarded(dsn: str) -> None:
    with pool(dsn, max_size=1, reset=pytest.fail) as p:
        p.connect().release(discard=True)
        until(lambda: p.total_count == 0)


@pytest.mark.parametrize("failure", [ValueError("cannot"), SystemExit(3)])
def test_a_reset_function_that_raises_costs_its_connection(
    dsn: str, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    def reset(_conn: object) -> None:
        raise failure

    with pool(dsn, max_size=1, reset=reset) as p:
        assert pid_of(p) != pid_of(p)
        until(lambda: p.total_count == 0)
    assert len(messages(caplog.records)) == 2
    assert "resetting a connection failed" in messages(caplog.records)[0]


@pytest.mark.parametrize("where", ["on its connection", "elsewhere"])
def test_a_reset_function_that_hangs_costs_its_connection(
    dsn: str, monkeypatch: pytest.MonkeyPatch, gate: threading.Event, where: str
) -> None:
    """I-12."""
    monkeypatch.setattr(chores, "RESET_TIMEOUT", 0.2)
    calls: list[int] = []

    def reset(conn: pgwire.Connection) -> None:
        calls.append(1)
        if len(calls) > 1:
            return
        if where == "elsewhere":
            gate.wait(PATIENCE)
        else:
            conn.query("select pg_sleep(600)")

    with pool(dsn, max_size=1, reset=reset) as p:
        assert pid_of(p) != pid_of(p)
        gate.set()


def test_a_reset_that_fails_serves_who_waits_with_another_connection(dsn: str) -> None:
    def reset(conn: pgwire.Connection) -> None:
        conn.close()

    with pool(dsn, max_size=1, reset=reset) as p:
        lease = p.connect()
        pid = lease.backend_pid
        waiting = Thread(lambda: pid_of(p))
        until(lambda: p.waiting_count == 1)
        lease.release()
        assert waiting.outcome() != pid


# ------------------------------------------------------------------ events


def test_single_queries_are_leases_to_acquire_and_release(dsn: str) -> None:
    """PP-31, PP-32, I-33: also where they are submitted."""
    seen: Counter[str] = Counter()
    with pool(dsn, max_size=2) as p:
        for event in EVENTS:
            p.on(event, lambda *_args, event=event: seen.update([event]))
        for _ in range(10):
            p.connect().release()
            p.query("select 1")
            p.submit("select 1").result(PATIENCE)
    assert seen["acquire"] == seen["release"] == 30
    assert seen["connect"] == seen["remove"] == p.stats().opened
    assert not seen["error"]


def test_off_ends_it_for_every_event(dsn: str) -> None:
    with pool(dsn, max_size=1, leak_after=0) as p:
        for event in EVENTS:
            p.on(event, pytest.fail)
            p.off(event, pytest.fail)
            p.off(event, pytest.fail)
        kill(dsn, [pid_of(p)])
        until(lambda: p.total_count == 0)
        p.connect().release()


def provoke(event: str, p: pgwire.Pool, dsn: str, seen: list[object]) -> None:
    """Make the event happen, and wait for it to be told."""
    if event == "leak":
        with p.connect():
            until(lambda: seen)
        return
    pid = pid_of(p)
    if event == "error":
        kill(dsn, [pid])
    elif event == "remove":
        p.expire()
    until(lambda: seen)


def use(p: pgwire.Pool) -> None:
    assert p.stats().max_size == 3
    assert p.query("select 7").scalar() == 7
    with suppress(pgwire.PoolTimeout), p.connect(timeout=0):
        pass


@pytest.mark.parametrize("event", EVENTS)
def test_callbacks_may_use_the_pool_as_none_runs_under_a_lock(dsn: str, event: Any) -> None:
    """I-31. What a callback does itself does not call it again, in its own thread."""
    calls: list[object] = []
    seen: list[object] = []
    failures: list[BaseException] = []

    def callback(*_args: object) -> None:
        calls.append(1)
        if event == "connect" and len(calls) > 1:
            return  # a connection opened for the first one's sake, by another thread
        try:
            use(p)
        except BaseException as error:
            failures.append(error)
        seen.append(1)

    with pool(dsn, max_size=3, leak_after=0.05) as p:
        p.on(event, callback)
        provoke(event, p, dsn, seen)
        p.off(event, callback)
        assert not failures
        until(lambda: not p.stats().leased)
        assert p.query("select 1").scalar() == 1


@pytest.mark.parametrize("option", ["on_connect", "reset"])
def test_hooks_may_use_the_pool_as_none_runs_under_a_lock(dsn: str, option: str) -> None:
    """I-31."""
    calls: list[int] = []
    done: list[int] = []

    def hook(_conn: object) -> None:
        calls.append(1)
        if len(calls) == 1:  # what it does brings it about again
            use(p)
            done.append(1)

    with pool(dsn, max_size=3, **{option: hook}) as p:
        leases = [p.connect() for _ in range(2)]  # one to be reset, one to be used meanwhile
        for lease in leases:
            lease.release()
        until(lambda: done)
        assert p.query("select 1").scalar() == 1


def test_a_callback_that_raises_what_no_program_catches_leaves_the_pool_whole(dsn: str) -> None:
    class Stop(BaseException):
        pass

    def stop(_conn: object) -> None:
        raise Stop

    work: list[Callable[[pgwire.Pool], object]] = [
        lambda p: p.query("select 1"),
        lambda p: p.connect().release(),
    ]
    with pool(dsn, max_size=1) as p:
        p.wait(PATIENCE)
        for event in EVENTS[1:3]:
            p.on(event, stop)
            for do in work:
                with pytest.raises(Stop):
                    do(p)
            p.off(event, stop)
        assert p.query("select 1").scalar() == 1
        assert p.stats().leased == 0


def test_what_a_callback_for_connect_sets_lasts_until_the_first_leases_end(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: conn.query("set work_mem = '77MB'"))
        with p.connect() as conn:
            assert conn.query("show work_mem").scalar() == "77MB"
        with p.connect() as conn:
            assert conn.query("show work_mem").scalar() != "77MB"


def test_a_listener_set_at_connect_stays_with_the_connection(dsn: str) -> None:
    """As `on_connect` may; a lease's own listeners end with it."""
    baseline: list[str] = []
    own: list[str] = []
    notice = "do $$ begin raise notice '%', clock_timestamp(); end $$"
    with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: conn.on("notice", lambda n: baseline.append(n.message)))
        p.query(notice)
        with p.connect() as conn:
            conn.on("notice", lambda n: own.append(n.message))
            conn.query(notice)
        p.query(notice)
    assert (len(baseline), len(own)) == (2, 1)
