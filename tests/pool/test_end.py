"""The end of the blocking pool: what it waits for, what it cuts, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import engine
from tests.pool.support import (
    PATIENCE,
    Thread,
    alive,
    kill,
    messages,
    pid_of,
    pool,
    run_script,
    threads_of,
    until,
)
from tests.support.guards import SEES_THAT_WE_ARE_GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS: tuple[Any, ...] = ("connect", "acquire", "release", "remove", "error")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word; its connection string."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        yield f"host={host} port={port} user=x sslmode=disable"


def closed(p: pgwire.Pool) -> bool:
    """Whether the pool takes no more requests."""
    try:
        p.connect(timeout=0).release()
    except pgwire.PoolClosed:
        return True
    except pgwire.PoolTimeout:
        return False
    return False


# ------------------------------------------------------------------ what it waits for


def test_an_unused_pool_ends_at_once(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    p.end()
    assert not threads_of(p)


def test_it_returns_only_when_the_backends_are_gone(dsn: str) -> None:
    """B-02, I-28."""
    with pgwire.connect(dsn) as witness:
        p = pgwire.Pool(dsn, max_size=5)
        leases = [p.connect() for _ in range(5)]
        pids = [lease.backend_pid for lease in leases]
        assert alive(witness, pids) == 5
        for lease in leases:
            lease.release()
        p.end()
        assert alive(witness, pids) == 0
        assert not threads_of(p)


def test_it_opens_what_earlier_requests_need(dsn: str) -> None:
    """I-28, B-01: each of them is served, none of those after it."""
    p = pgwire.Pool(dsn, max_size=2)
    lease = p.connect()
    waiting = [Thread(lambda n=n: p.query("select $1::int", [n]).scalar()) for n in range(8)]  # type: ignore[misc]
    futures = [p.submit("select $1::int", [n]) for n in range(8)]
    until(lambda: p.stats().requests == 17)
    ending = Thread(p.end)
    until(lambda: closed(p))
    lease.release(discard=True)
    assert [thread.outcome() for thread in waiting] == list(range(8))
    assert [future.result(PATIENCE).scalar() for future in futures] == list(range(8))
    ending.outcome()
    assert (p.total_count, p.waiting_count) == (0, 0)


def test_a_lease_that_was_lost_before_is_not_waited_for(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    lease = p.connect()
    with pytest.warns(ResourceWarning):
        del lease
    p.end()
    assert p.total_count == 0


def test_a_lease_that_is_lost_meanwhile_is_not_waited_for(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    lease = p.connect()
    ending = Thread(p.end)
    until(lambda: closed(p))
    with pytest.warns(ResourceWarning):
        del lease
    ending.outcome()


def test_concurrent_ends_wait_for_the_same_completion(dsn: str) -> None:
    """B-04, I-28: the one with a time limit ends it for all."""
    p = pgwire.Pool(dsn)
    lease = p.connect()
    patient = [Thread(p.end) for _ in range(3)]
    until(lambda: closed(p))
    with pytest.raises(pgwire.PoolTimeout):
        p.end(timeout=0.05)
    for thread in patient:
        thread.outcome()
    p.end()
    lease.release()


# ------------------------------------------------------------------ when time is up


def test_it_names_the_leases_that_are_still_out(dsn: str) -> None:
    """B-03."""
    p = pgwire.Pool(dsn)
    release = threading.Event()
    taken: list[object] = []

    def keep() -> None:
        lease = p.connect()
        taken.append(lease)
        release.wait(PATIENCE)
        lease.release()

    threads = [Thread(keep, name=f"thread {n}") for n in range(2)]
    until(lambda: len(taken) == 2)
    with pytest.raises(pgwire.PoolTimeout) as caught:
        p.end(timeout=0)
    text = str(caught.value)
    assert text.startswith("end(0): 2 leases still out")
    assert len(re.findall(r"taken at \S*test_end\.py:\d+ in keep by thread [01]", text)) == 2
    assert caught.value.stats.leased == 2
    release.set()
    for thread in threads:
        thread.outcome()


def test_who_ends_it_by_force_behind_another_is_told_of_them_too(dsn: str) -> None:
    """They have been closed by then, and are nobody's: there was an AttributeError."""
    p = pgwire.Pool(dsn)
    told: list[str] = []

    def end_again(_conn: object) -> None:
        try:
            p.end(timeout=0)
        except BaseException as error:
            told.append(f"{type(error).__name__}: {error}")

    p.on("remove", end_again)
    lease = p.connect()
    with pytest.raises(pgwire.PoolTimeout):
        p.end(timeout=0)
    assert re.search(r"^PoolTimeout: end\(0\): 1 lease still out.*test_end\.py", told[0]), told
    lease.release()


def test_running_queries_are_cancelled_on_the_server(dsn: str) -> None:
    """Also where the request to cancel overtakes the query."""
    with pgwire.connect(dsn) as witness:
        p = pgwire.Pool(dsn)
        lease = p.connect()
        pid = lease.backend_pid
        running = Thread(lambda: lease.query("select pg_sleep(600)"))
        until(lambda: lease._driver.session.pending)
        with pytest.raises(pgwire.PoolTimeout):
            p.end(timeout=0)
        with pytest.raises(pgwire.Error):
            running.outcome()
        lease.release()
        until(lambda: not alive(witness, [pid]))


def test_an_opening_that_hangs_is_bounded(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B-05."""
    monkeypatch.setattr(engine, "ABORT_TIMEOUT", 0.05)
    p = pgwire.Pool(silent, min_size=1, connect_timeout=2)
    until(lambda: p.stats().opening == 1)
    with pytest.raises(pgwire.PoolTimeout, match="0 leases"):
        p.end(timeout=0.05)
    until(lambda: p.total_count == 0)  # and after the opening's own limit it is gone as well


def test_an_idle_connection_whose_peer_went_silent_is_bounded(
    embedded_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-05: Terminate is sent, and its end waited for, for so long."""
    monkeypatch.setattr("pgwire.blocking.driver.CLOSE_PATIENCE", 0.1)
    p = pgwire.Pool(embedded_server.url)
    pid = pid_of(p)
    os.kill(pid, signal.SIGSTOP)
    try:
        p.end()
        assert p.total_count == 0
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_block_whose_end_took_force_says_so_or_notes_it(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its body has raised is never replaced."""
    monkeypatch.setattr("pgwire.pool.blocking.END_TIMEOUT", 0.01)
    with pytest.raises(pgwire.PoolTimeout, match="1 lease still out"), pgwire.Pool(dsn) as p:
        lease = p.connect()
    lease.release()
    failing = pgwire.Pool(dsn)
    lease = failing.connect()
    with pytest.raises(ZeroDivisionError) as caught, failing:
        raise ZeroDivisionError
    lease.release()
    [note] = caught.value.__notes__
    assert re.search("the pool did not end cleanly.*1 lease still out", note)


# ------------------------------------------------------------------ from inside


@pytest.mark.parametrize("event", EVENTS)
def test_a_callback_that_would_wait_for_itself_is_told_so(
    dsn: str, event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pool(dsn) as p:
        calls: list[object] = []

        def callback(*_args: object) -> None:
            calls.append(1)
            p.end()

        p.on(event, callback)
        pid = pid_of(p)
        if event == "error":
            kill(dsn, [pid])
        elif event == "remove":
            p.expire()
        until(lambda: calls)
        p.off(event, callback)
        assert p.query("select 1").scalar() == 1  # the pool goes on
    failures = [r.exc_info[1] for r in caplog.records if r.exc_info]
    assert {type(failure) for failure in failures} == {pgwire.InterfaceError}
    assert f"a callback for {event!r} raised" in messages(caplog.records)[0]


def test_a_hook_that_would_wait_for_itself_is_told_so(dsn: str) -> None:
    def hook(_conn: object) -> None:
        p.end()

    with pool(dsn, on_connect=hook) as p:
        with pytest.raises(pgwire.InterfaceError, match="hook that calls it"):
            p.connect()


def test_with_a_time_limit_a_callback_may_end_the_pool(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    caught: list[BaseException] = []

    def callback(_conn: object) -> None:
        try:
            p.end(timeout=0.01)
        except pgwire.PoolTimeout as error:
            caught.append(error)

    p.on("release", callback)
    assert p.query("select 1").scalar() == 1
    assert len(caught) == 1
    p.end()
    assert p.total_count == 0


# ------------------------------------------------------------------ the interpreter's end

EXITS = {
    "idle connections": "pool.query('select 1')",
    "a lease that is out": "lease = pool.connect()",
    "a lease in a cycle": """
        class Cycle: pass
        gc.disable()
        cycle = Cycle()
        cycle.me, cycle.lease = cycle, pool.connect()
        del cycle
    """,
    "a lease in a transaction": """
        lease = pool.connect()
        transaction = lease.transaction()
        transaction.__enter__()
    """,
    "a thread that waits": """
        leases = [pool.connect() for _ in range(2)]
        Thread(pool.connect)
        until(lambda: pool.waiting_count == 1)
    """,
    "a thread that waits for ever": """
        leases = [pool.connect() for _ in range(2)]
        Thread(lambda: pool.connect(timeout=1e9))
        until(lambda: pool.waiting_count == 1)
    """,
    "a thread in a query": """
        Thread(lambda: pool.query("select pg_sleep(60)"))
        until(lambda: pool.stats().leased == 1)
    """,
    "submitted queries": """
        futures = [pool.submit("select pg_sleep(60)") for _ in range(4)]
        until(lambda: futures[1].running())
    """,
    "the end under way": """
        lease = Thread(pool.connect).outcome()
        Thread(pool.end)
    """,
    "a pool that was just made": "pgwire.Pool(DSN, min_size=2)",
}


@pytest.mark.parametrize("state", EXITS)
def test_a_live_pool_does_not_hold_up_the_interpreter(dsn: str, state: str) -> None:
    """PP-39, PP-40: exit status 0, and not a word."""
    script = "pool = pgwire.Pool(DSN, max_size=2)\n" + textwrap.dedent(EXITS[state])
    assert run_script(script + "\nprint('bye')", dsn) == "bye"


ENDS = {
    "what rests": ("owner.pool.query('select 1')", "pool.end()"),
    "a first query": ("", "pool.query('select 1'); pool.end()"),
    "an end with a timeout": ("owner.pool.query('select 1')", "pool.end(timeout=60)"),
    "a thread in a query": (
        """
        import functools  # a function of this module would keep its owner
        Thread(functools.partial(owner.pool.query, "select pg_sleep(60)"))
        until(lambda: owner.pool.stats().leased == 1)
        """,
        """
        try: pool.end()
        except PoolTimeout as error: assert "1 query running" in str(error)
        else: raise AssertionError
        """,
    ),
}


@pytest.mark.parametrize("state", ENDS)
def test_a_destructor_may_end_a_pool_when_the_interpreter_ends(dsn: str, state: str) -> None:
    """The pool's threads stand still by then, and no other begins: it hung for ever."""
    before, ending = map(textwrap.dedent, ENDS[state])
    script = f"""
class Owner:
    def __del__(self, PoolTimeout=pgwire.PoolTimeout, write=os.write):
        pool = self.pool
{textwrap.indent(ending, " " * 8)}
        write(1, b"ended")

owner = Owner()
owner.pool = pgwire.Pool(DSN, max_size=2, connect_timeout=30)
{before}
"""
    assert run_script(script, dsn) == "ended"


def test_without_a_key_to_cancel_with_the_line_is_cut_all_the_same(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler in between may give none; asking again would then never run out of time."""
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 0.2)
    with pgwire.connect(dsn, settings=SEES_THAT_WE_ARE_GONE) as conn:
        driver = conn._driver
        driver.session.backend_key = None
        busy = Thread(lambda: conn.query("select pg_sleep(60)"))
        until(lambda: driver.session.pending)
        driver.interrupt()
        with pytest.raises(pgwire.ConnectionLost):
            busy.outcome()
