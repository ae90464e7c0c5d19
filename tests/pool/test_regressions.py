"""Mistakes that pools have made, one test for each that a pool for threads could make.

Each docstring says what went wrong in general, and which of our invariants forbids it. What
other tests hold already is listed here, so that the list is whole:

- A request that was cancelled, or timed out, stays in the queue, or gets a connection that
  nobody holds (I-19, I-20): `test_interleavings.py`, ctrl_c_meets_grant, timeout_meets_grant.
- A release falls between "nothing is idle" and "wait" (I-17): two_queries_on_one_connection.
- A connection that is granted and not yet taken over is lost (I-21): ctrl_c_meets_a_lease.
- Counts go astray when openings, checks or resets fail (I-2, I-32): `test_machine.py`.
- A connect is called off because its requester left (I-11), or nobody keeps what a late one
  brought: `test_faults_server.py`, a_connect_that_outlives_its_requester.
- One hung connect stops all growth (I-9, I-12): one_hung_connect_delays_nobody_else.
- Cancelling a query on a half-open connection waits for ever (I-12): whose_peer_has_vanished.
- Lifetimes drawn anew at each look, so that the shortest wins; all connections retired in the
  same second; the wall clock (I-18, I-25, I-26): `test_core_fitness.py`.
- A queue of its own for each kind of request (I-5): there is one.
- Connections to a server that has another role by now (I-37): `test_roles.py`.
- Coroutines, event loops: not here.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.pool.support import PATIENCE, in_vain, kill, run_script, until
from tests.pool.watching import (
    Call,
    ask,
    nothing_left,
    open_connections,
    seen_by_server,
    within,
)
from tests.support.proxy import Proxy
from tests.support.shells import LATE
from tests.support.signals import Interrupted, interrupted_when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def proxy(embedded_server: embedded.Server) -> Iterator[Proxy]:
    with Proxy(embedded_server.host, embedded_server.port) as made:
        yield made


# ------------------------------------------------------------------ cancellation and time


def test_ctrl_c_in_the_queue_loses_neither_the_place_behind_nor_the_connection(dsn: str) -> None:
    """A waiter that was interrupted was granted the connection all the same, and it was gone.

    I-19, I-20: who leaves, leaves the queue; what he had goes to the next in line.
    """

    with pgwire.Pool(dsn, max_size=1) as p:
        held = p.connect()

        def ask_behind() -> object:
            until(lambda: p.waiting_count == 1)
            return ask(p, 2)

        behind = Call(ask_behind)
        with pytest.raises(Interrupted), interrupted_when(lambda: p.waiting_count == 2):
            p.query("select 1")
        assert p.waiting_count == 1
        held.release()
        assert behind.outcome() == 2
        assert p.stats().abandoned == 1


def test_a_storm_of_timeouts_leaks_nothing(dsn: str) -> None:
    """Each timeout that met its grant kept a connection, until the pool was empty for ever.

    I-2, I-4: afterwards everything is idle, and `end` returns.
    """
    with pgwire.Pool(dsn, max_size=2) as p:

        def storm() -> None:
            for _ in range(150):
                with suppress(pgwire.PoolTimeout):
                    with p.connect(timeout=0.0005):
                        time.sleep(0.0005)

        for thread in [Call(storm) for _ in range(6)]:
            thread.outcome()
        stats = p.stats()
        assert (stats.leased, stats.waiting) == (0, 0)
        assert stats.granted + stats.timed_out == stats.requests == 900


def test_short_deadlines_still_get_a_connection_opened(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """Connecting took the caller's deadline: short ones never saw a connection, and each try
    was a connection more for the server.

    I-10, I-11: one opening, which nobody's leaving calls off, and which serves who comes next.
    """
    proxy.hold()
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=5) as p:
        for _ in range(5):
            with pytest.raises(pgwire.PoolTimeout):
                p.connect(timeout=0.01)
        proxy.delay = 0.02
        proxy.flow()
        for _ in range(1000):
            with suppress(pgwire.PoolTimeout):
                p.connect(timeout=0.01).release()
                break
        assert p.stats().granted == p.stats().opened == proxy.accepted == 1


def test_the_deadline_holds_whatever_happens_inside(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """The timeout began anew with every retry, or did not cover the queue, or the connect.

    I-14: one absolute deadline.
    """
    proxy.hold()
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=2) as p:
        with within(LATE), pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0.1)
        proxy.refuse()
        with within(LATE), pytest.raises(pgwire.PoolTimeout):
            p.query("select 1", timeout=0.1)
        proxy.accept()
        proxy.flow()


# ------------------------------------------------------------------ leaks


def test_a_hook_that_raises_anything_costs_no_slot(dsn: str) -> None:
    """What was not an ordinary exception took the way around the clean-up, and the slot with it.

    I-31: the pool goes on after whatever a hook raises.
    """
    raised: list[BaseException] = [ZeroDivisionError(), SystemExit(), KeyboardInterrupt()]

    def reset(conn: pgwire.Connection) -> None:
        if raised:
            raise raised.pop()

    with pgwire.Pool(dsn, max_size=1, reset=reset) as p:
        assert [ask(p, n) for n in range(5)] == list(range(5))
        assert p.stats().discarded == 3


def test_release_on_a_dead_peer_returns_at_once(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving back asked the server first, and waited for a peer that was gone.

    I-12, I-22: release never waits; who comes next finds out, in his own time.
    """
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=1) as p:
        lease = p.connect()
        lease.query("begin")
        proxy.swallow()
        with within(LATE), monkeypatch.context() as patient:
            for name in ("PATIENCE", "CANCEL_PATIENCE", "CLOSE_PATIENCE"):
                patient.setattr(f"pgwire.blocking.driver.{name}", 60)
            lease.release()
        with within(LATE), pytest.raises(pgwire.QueryTimeout):
            p.query("select 1", timeout=0.1)
        assert ask(p, 1) == 1


def test_attempts_that_failed_do_not_fill_the_pool() -> None:
    """Failed openings stayed in the list of connections until it was full of nothing. I-4."""
    with (
        pgwire.Pool("host=127.0.0.1 port=1 user=x", max_size=2) as p,
        in_vain(p, lambda: p.query("select 1", timeout=PATIENCE), failures=3),
    ):
        until(lambda: p.total_count == 0)


def test_nothing_is_opened_or_kept_after_the_end(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """A connection that came up during the end stayed open, or was replaced for ever.

    I-28, I-29: what comes late is closed before `end` returns.
    """
    proxy.hold()
    with seen_by_server(embedded_server.socket_url, "late", 2):
        p = pgwire.Pool(
            proxy.dsn(embedded_server.url), min_size=2, max_size=2, application_name="late"
        )
        until(lambda: proxy.accepted == 2)
        ends = Call(p.end)
        until(lambda: p._engine.core.ending)
        proxy.flow()
        ends.outcome()
    stats = p.stats()
    assert (stats.opened, stats.closed, proxy.accepted) == (2, 2, 2)


@pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")
def test_the_end_waits_for_no_lease_that_nobody_has(dsn: str) -> None:
    """The end waited for ever for a lease that had been lost.

    I-28: what is collected without release is given back, whether or not somebody waits.
    """
    p = pgwire.Pool(dsn, max_size=1)
    p.connect()
    Call(p.end).outcome()
    assert p.total_count == 0


@pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")
def test_a_lease_that_is_lost_during_the_end(dsn: str) -> None:
    """The same, when it is lost while the end waits already."""
    p = pgwire.Pool(dsn, max_size=1)
    held = [p.connect()]
    time.sleep(1.2)  # whatever looks after the pool has seen that there is nothing to do
    ends = Call(p.end)
    until(lambda: p._engine.core.ending)
    held.clear()
    ends.outcome()
    assert p.total_count == 0


# ------------------------------------------------------------------ wake-ups and order


def test_a_discarded_connection_makes_room_that_somebody_is_told_of(dsn: str) -> None:
    """Dropping a broken connection made room, and who waited slept until his deadline. I-17."""
    with pgwire.Pool(dsn, max_size=1, checkout_timeout=None) as p:
        held = p.connect()
        waiting = [Call(ask, p, n) for n in range(3)]
        until(lambda: p.waiting_count == 3)
        held.release(discard=True)
        assert [thread.outcome() for thread in waiting] == [0, 1, 2]


def test_a_failed_opening_makes_room_that_somebody_is_told_of(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """The first connect failed; the second in the queue slept on beside a free slot. I-9, I-17."""
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=1, checkout_timeout=None) as p:
        proxy.break_after(0)
        waiting = [Call(ask, p, n) for n in range(2)]
        with within(LATE):
            assert [thread.outcome() for thread in waiting] == [0, 1]
        assert p.stats().open_failures == 1


def test_who_runs_does_not_overtake_who_waits(dsn: str) -> None:
    """Who released took the connection again before the one who had been woken ran; some
    never got anything.

    I-5: it is handed to the head of the queue, in the same step as it is released.
    """
    with pgwire.Pool(dsn, max_size=1) as p:
        for _ in range(20):
            taken: list[str] = []
            over = threading.Event()

            def greedy(taken: list[str] = taken, over: threading.Event = over) -> None:
                while not over.is_set():
                    with p.connect():
                        taken.append("greedy")

            def patient(taken: list[str] = taken, over: threading.Event = over) -> None:
                with p.connect():
                    taken.append("patient")
                    over.set()

            with p.connect():
                first = Call(greedy)
                until(lambda: p.waiting_count == 1)
                second = Call(patient)
                until(lambda: p.waiting_count == 2)
            first.outcome()
            second.outcome()
            assert taken.index("patient") == 1


def test_who_waits_for_an_opening_takes_what_is_free_first(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """Having asked for a connect, the request looked at nothing else, and timed out beside idle
    connections.

    I-6: waiters are served by whatever becomes free.
    """
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=2) as p:
        held = p.connect()
        proxy.hold()
        waits = Call(ask, p, 7)
        until(lambda: proxy.accepted == 2)
        held.release()
        assert waits.outcome() == 7
        assert p.stats().opening == 1
        proxy.flow()


def test_release_runs_nobody_elses_code(dsn: str) -> None:
    """Who released ran the continuation of who waited, and waited for it.

    I-31: callbacks of futures run elsewhere.
    """
    with pgwire.Pool(dsn, max_size=1) as p:
        held = p.connect()
        future = p.submit("select 1")
        ran_by: list[threading.Thread] = []
        future.add_done_callback(lambda _: ran_by.append(threading.current_thread()))
        held.release()
        assert future.result(PATIENCE).scalar() == 1
        until(lambda: ran_by)
        assert ran_by[0] is not threading.current_thread()


# ------------------------------------------------------------------ storms and recovery


def test_cancelled_queries_do_not_pile_up_at_the_server(dsn: str) -> None:
    """A query that was given up had its connection replaced at once, while the server still ran
    it: far more backends than allowed.

    I-1: a connection counts until the server's end of it is gone.
    """
    with seen_by_server(dsn, "pile", 2):
        with pgwire.Pool(dsn, max_size=2, application_name="pile") as p:

            def impatient() -> None:
                for _ in range(5):
                    with pytest.raises((pgwire.QueryTimeout, pgwire.PoolTimeout)):
                        p.query("select pg_sleep(20)", timeout=0.02)

            for thread in [Call(impatient) for _ in range(4)]:
                thread.outcome()


def test_a_release_in_the_middle_of_a_query_does_not_pile_up_either(dsn: str) -> None:
    """Its query is cancelled, and the connection counts until it is closed. I-1."""
    with seen_by_server(dsn, "pile", 1):
        with pgwire.Pool(dsn, max_size=1, application_name="pile") as p:
            lease = p.connect()
            busy = Call(lease.query, "select pg_sleep(60)")
            until(lambda: bool(lease._driver.session.pending))
            lease.release()
            assert ask(p, 1) == 1
            assert isinstance(busy.ending(), pgwire.errors.QueryCanceled)


def test_a_crowd_does_not_storm_a_server_that_refuses(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """Every waiter connected by itself, thousands of times a second, and prolonged the outage.

    I-13: one back-off for all; the number of attempts does not depend on the number of waiters.
    """
    proxy.refuse()
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=20, max_opening=3) as p:
        threads = [Call(lambda: p.query("select 1", timeout=1.0)) for _ in range(40)]
        for thread in threads:
            assert isinstance(thread.ending(), pgwire.PoolTimeout)
        # Pauses of at least 50, 100, 200, 400 ms, and three at a time.
        assert p.stats().open_failures <= 3 * 6


def test_the_floor_is_filled_again_without_traffic(dsn: str) -> None:
    """After an outage the pool stayed empty until somebody asked, or for ever. I-17, I-27."""
    with pgwire.Pool(dsn, min_size=2, max_size=2) as p:
        p.wait()
        kill(dsn, open_connections(p, 2))
        until(lambda: p.stats().lost == 2 and p.idle_count == 2)


def test_waiting_costs_no_processor_time(dsn: str) -> None:
    """Who waited spun, or a gauge that had become negative made the keeper spin. I-32."""
    with pgwire.Pool(dsn, max_size=1) as p, p.connect():
        threads = [Call(lambda: p.query("select 1", timeout=1.0)) for _ in range(10)]
        until(lambda: p.waiting_count == 10)
        before = time.process_time()
        for thread in threads:
            assert isinstance(thread.ending(), pgwire.PoolTimeout)
        assert time.process_time() - before < 0.3


# ------------------------------------------------------------------ the life of the process


def test_a_pool_that_was_not_ended_does_not_keep_the_process(dsn: str) -> None:
    """Threads of the pool kept the interpreter from its exit, or crashed it. I-29."""
    script = """
        p = pgwire.Pool(DSN, min_size=2)
        p.wait()
        threading.Thread(target=lambda: p.query("select pg_sleep(60)"), daemon=True).start()
        futures = [p.submit("select pg_sleep(60)") for _ in range(3)]
        until(lambda: p.stats().leased == 4)
        lease = p.connect()
        print("well")
        """
    assert run_script(script, dsn, "-W", "ignore") == "well"


def test_many_threads_may_be_the_first_to_use_the_package(dsn: str) -> None:
    """Threads that import parts of one package at the same time can find them half made."""
    script = """
        import importlib
        for name in [name for name in sys.modules if name.startswith("pgwire")]:
            del sys.modules[name]
        pgwire = importlib.import_module("pgwire")
        sys.setswitchinterval(1e-6)
        names = ["Pool", "connect", "Connection", "UniqueViolation"]
        barrier = threading.Barrier(len(names))
        threads = [
            Thread(lambda name=name: (barrier.wait(), getattr(pgwire, name))) for name in names
        ]
        print([thread.outcome()[1].__name__ for thread in threads])
        """
    assert run_script(script, dsn) == "['Pool', 'connect', 'Connection', 'UniqueViolation']"


def test_a_server_that_is_not_there_is_told_of_at_once_and_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half a minute went by in silence, and the reason stood at the end of a long line. I-40."""
    with (
        pgwire.Pool("host=127.0.0.1 port=1 user=x", max_size=1, name="shop") as p,
        in_vain(p, lambda: p.query("select 1", timeout=PATIENCE)),
    ):
        with pytest.raises(pgwire.PoolTimeout) as caught:
            p.query("select 1", timeout=0.05)
        [told] = [r.getMessage() for r in caplog.records if r.name == "pgwire.pool"]
    assert "s: the last attempt to connect failed: 127.0.0.1:1" in str(caught.value)
    assert told.startswith("shop: a connection could not be opened, and is tried again")
