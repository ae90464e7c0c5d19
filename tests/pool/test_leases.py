"""Leases of the blocking pool: lost, kept for too long, wanted twice, interrupted."""

from __future__ import annotations

import gc
import logging
import random
import re
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, alive, in_vain, messages, pid_of, pool, until
from tests.support.breaking import LAST_WORDS, breaks_off
from tests.support.scripted import ScriptedServer
from tests.support.signals import Interrupted, interrupted_when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

HERE = r"test_leases\.py:\d+ in "


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Garbage in cycles stays until the test says otherwise."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Cycle:
    """Keeps something alive until the collector comes."""

    def __init__(self, kept: object) -> None:
        self.kept = kept
        self.me = self


# ------------------------------------------------------------------ lost leases


def test_a_lost_lease_is_closed_its_slot_freed_and_its_place_named(dsn: str) -> None:
    with pool(dsn, max_size=1) as p, pgwire.connect(dsn) as witness:
        lease = p.connect()
        pid = lease.backend_pid
        with pytest.warns(ResourceWarning, match=f"taken at .*{HERE}test_a_lost_lease"):
            del lease
        assert pid_of(p) != pid
        assert not alive(witness, [pid])


@pytest.mark.parametrize("event", ["notice", "notification", "parameter", "query"])
def test_a_lost_lease_that_has_callbacks_is_closed_as_well(dsn: str, event: Any) -> None:
    """Its connection, which the pool keeps, had a method of the lease for a listener."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        lease.on(event, lambda _: None)
        pid = lease.backend_pid
        with pytest.warns(ResourceWarning, match="never released"):
            del lease
        assert pid_of(p) != pid


def test_a_lost_lease_frees_its_slot_without_any_request(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        with pytest.warns(ResourceWarning):
            del lease
        until(lambda: p.total_count == 0)


def test_a_lost_lease_serves_who_waits_without_a_deadline(dsn: str) -> None:
    with pool(dsn, max_size=1, checkout_timeout=None) as p:
        lease = p.connect()
        waiting = Thread(lambda: p.query("select 1").scalar())
        until(lambda: p.waiting_count == 1)
        with pytest.warns(ResourceWarning):
            del lease
        assert waiting.outcome() == 1


def test_a_lease_is_lost_with_the_thread_that_had_it(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        with pytest.warns(ResourceWarning):
            Thread(lambda: p.connect() and None).outcome()
        assert p.query("select 1").scalar() == 1


def listen_to_the_end(conn: pgwire.Connection) -> None:
    conn.listen("news")
    assert not [*conn.notifications(timeout=PATIENCE)]


def use_and_lose(p: pgwire.Pool, use: Callable[[pgwire.Connection], object]) -> None:
    """What is raised refers by its traceback to a frame, and so to the lease."""

    def raise_it() -> None:
        lease = p.connect()
        use(lease)

    with pytest.raises(pgwire.Error):
        raise_it()
    gc.collect()


@LAST_WORDS
@pytest.mark.parametrize(
    "use",
    [
        lambda conn: conn.query("select 1"),
        lambda conn: conn.prepare("select 1"),
        pgwire.Connection.ping,
        listen_to_the_end,
    ],
)
def test_a_lease_that_is_lost_with_its_connection_comes_back(
    last_words: bytes, use: Callable[[pgwire.Connection], object]
) -> None:
    """The session kept the error that it had ended by, and the traceback of that the lease."""
    with ScriptedServer(breaks_off(last_words)) as server, pool(server.dsn, max_size=1) as p:
        with pytest.warns(ResourceWarning, match="in raise_it was never released"):
            use_and_lose(p, use)
        until(lambda: p.total_count == 0)


@contextmanager
def collection_inside_the_lock(dsn: str, **options: Any) -> Iterator[tuple[pgwire.Pool, Any]]:
    """A pool, and `arm()`: the next time its clock is read under its lock, garbage is collected."""
    armed: list[bool] = []

    def clock() -> float:
        if armed and p._engine.lock._is_owned():  # type: ignore[attr-defined]
            armed.clear()
            gc.collect()
        return 1000.0

    p = pgwire.Pool(dsn, clock=clock, **options)
    with p:
        yield p, lambda: armed.append(True)
        assert not armed


@pytest.mark.usefixtures("no_collector")
def test_a_lease_lost_inside_of_the_pools_own_lock_is_no_deadlock(dsn: str) -> None:
    with collection_inside_the_lock(dsn, max_size=2) as (p, arm):
        Cycle(p.connect())
        arm()
        with pytest.warns(ResourceWarning, match="never released"):
            p.connect().release()
        until(lambda: p.stats().closed == 1)
        assert p.stats().leased == 0


@pytest.mark.usefixtures("no_collector")
def test_a_lease_given_back_inside_of_the_pools_own_lock_is_no_deadlock(dsn: str) -> None:
    """A generator that holds a lease is closed by the collector."""

    def rows() -> Iterator[object]:
        with p.connect() as conn:
            yield from conn.query("select 1")

    with collection_inside_the_lock(dsn, max_size=2) as (p, arm):
        begun = rows()
        next(begun)
        Cycle(begun)
        del begun
        arm()
        p.connect().release()
        until(lambda: p.stats().leased == 0)
        assert p.query("select 1").scalar() == 1


@pytest.mark.usefixtures("no_collector")
def test_a_destructor_inside_of_the_pools_own_lock_is_sent_away(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    class Careless(Cycle):
        use: Callable[[pgwire.Pool], object]

        def __del__(self) -> None:
            type(self).use(p)

    with collection_inside_the_lock(dsn, max_size=2) as (p, arm):
        p.query("select 1")
        for use in (
            lambda p: p.query("select 1"),
            lambda p: p.connect(),
            lambda p: p.expire(),
            lambda p: p.submit("select 1").result(0),
        ):
            Careless.use = staticmethod(use)
            Careless(None)
            arm()
            p.query("select 1")
        assert [type(one.exc_value) for one in unraisable] == [pgwire.InterfaceError] * 4
        assert p.query("select 1").scalar() == 1
        assert p.stats().leased == 0
    unraisable.clear()


def test_a_lease_may_be_given_back_by_another_thread(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        Thread(lease.release).outcome()
        p.query("select 1")
        p.end()  # this thread holds nothing any more


# ------------------------------------------------------------------ long leases


def test_a_long_lease_is_reported_once_with_who_has_it_and_where(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """I-38."""
    leaks: list[int] = []
    with pool(dsn, max_size=2, leak_after=0.05, name="leaky") as p:
        p.on("leak", lambda conn: leaks.append(conn.backend_pid))
        done = threading.Event()

        def keep() -> None:
            with p.connect() as lease:
                until(lambda: lease.backend_pid in leaks)
                done.wait(PATIENCE)

        thread = Thread(keep, name="keeper of leases")
        until(lambda: len(leaks) == 1)
        with p.connect() as lease:  # by the time this one is, the other would be again
            until(lambda: len(leaks) == 2)
            assert leaks[1] == lease.backend_pid
        done.set()
        thread.outcome()
        p.query("select 1")
    first, second = messages(caplog.records)
    assert re.search(f"leaky.*'keeper of leases', taken at .*{HERE}keep$", first)
    assert re.search(f"'MainThread', taken at .*{HERE}test_a_long_lease", second)


def test_the_next_lease_of_the_same_connection_is_reported_again(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with pool(dsn, max_size=1, leak_after=0.05) as p:
        for n in range(1, 3):
            with p.connect():
                until(lambda n=n: len(messages(caplog.records)) == n)  # type: ignore[misc]


# ------------------------------------------------------------------ errors that explain


def test_a_time_out_says_what_the_caller_itself_holds(dsn: str) -> None:
    """I-40, B-23."""
    with pool(dsn, max_size=1) as p, p.connect() as _lease:
        with pytest.raises(pgwire.PoolTimeout) as caught:
            p.connect(timeout=0.02)
        assert re.search(f"this thread itself holds leases, taken at .*{HERE}", str(caught.value))
        stats = caught.value.stats
        assert (stats.leased, stats.max_size, stats.waiting) == (1, 1, 0)
        other = Thread(lambda: p.connect(timeout=0.02))
        with pytest.raises(pgwire.PoolTimeout) as caught:
            other.outcome()
        assert "itself holds" not in str(caught.value)


def test_a_time_out_has_the_last_failure_to_connect_as_its_cause() -> None:
    """I-40, B-19."""
    with (
        pool("host=127.0.0.1 port=1 user=x") as p,
        in_vain(p, lambda: p.connect(timeout=PATIENCE)),
    ):
        with pytest.raises(pgwire.PoolTimeout, match="last attempt to connect failed") as caught:
            p.connect(timeout=0.05)
        assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)


@pytest.mark.parametrize("what", ["connect", "query"])
def test_who_would_wait_for_itself_for_ever_gets_a_deadlock(dsn: str, what: str) -> None:
    """I-36."""
    use: dict[str, Callable[[pgwire.Pool], Any]] = {
        "connect": lambda p: p.connect(),
        "query": lambda p: p.query("select 1"),
    }
    with pool(dsn, max_size=1, checkout_timeout=None) as p:
        with p.connect() as lease:
            with pytest.raises(pgwire.PoolDeadlock):
                use[what](p)
            assert lease.query("select 1").scalar() == 1
        assert p.query("select 1").scalar() == 1


def test_of_those_who_wait_for_one_another_the_youngest_gets_the_deadlock(dsn: str) -> None:
    """I-36: and the others go on."""
    with pool(dsn, max_size=2, checkout_timeout=None) as p:
        first, second = threading.Event(), threading.Event()

        def older() -> object:
            with p.connect():
                first.set()
                second.wait(PATIENCE)
                with p.connect() as another:
                    return another.query("select 'served'").scalar()

        def younger() -> None:
            with p.connect():
                second.set()
                until(lambda: p.waiting_count == 1)
                p.connect()

        one = Thread(older)
        first.wait(PATIENCE)
        other = Thread(younger)
        with pytest.raises(pgwire.PoolDeadlock):
            other.outcome()
        assert one.outcome() == "served"


def test_a_submitted_query_without_a_deadline_is_no_part_of_a_deadlock(dsn: str) -> None:
    with pool(dsn, max_size=1, checkout_timeout=None) as p:
        lease = p.connect()
        future = p.submit("select 1")
        until(lambda: p.waiting_count == 1)
        lease.release()
        assert future.result(PATIENCE).scalar() == 1


# ------------------------------------------------------------------ Ctrl-C


@contextmanager
def strikes() -> Iterator[None]:
    def strike(_signum: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_ctrl_c_while_waiting_leaves_the_queue(dsn: str, timeout: float | None) -> None:
    """I-19, I-21, B-13."""
    with pool(dsn, max_size=1, checkout_timeout=timeout) as p:
        lease = Thread(p.connect).outcome()
        with pytest.raises(Interrupted), interrupted_when(lambda: p.waiting_count):
            p.connect()
        stats = p.stats()
        assert (stats.waiting, stats.abandoned, stats.leased) == (0, 1, 1)
        behind = Thread(lambda: p.query("select 1").scalar())
        lease.release()
        assert behind.outcome() == 1


def test_ctrl_c_that_meets_the_grant_passes_the_connection_on(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-20: it strikes after the connection was granted and before the waiter has woken."""

    class Sleeper:
        """A lock whose `acquire` is interrupted once it has been woken."""

        def __init__(self) -> None:
            self._woken = threading.Event()
            self._taken = False

        def acquire(self, *, timeout: float = -1) -> bool:
            if not self._taken:
                self._taken = True
                return True
            assert self._woken.wait(PATIENCE)
            raise Interrupted

        def release(self) -> None:
            self._woken.set()

    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        with monkeypatch.context() as patched:
            patched.setattr("pgwire.pool.engine._new_sleeper", Sleeper)
            waiting = Thread(p.connect)
            until(lambda: p.waiting_count == 1)
        behind = Thread(lambda: p.query("select 1").scalar())
        until(lambda: p.waiting_count == 2)
        lease.release()
        with pytest.raises(Interrupted):
            waiting.outcome()
        assert behind.outcome() == 1
        assert p.stats().leased == 0


@pytest.mark.filterwarnings(
    "ignore:a lease taken at:ResourceWarning",
    # Where it strikes in a destructor Python itself drops it, and says so.
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
def test_ctrl_c_at_any_moment_leaves_no_connection_out(dsn: str) -> None:
    """I-21, B-13."""
    dice = random.Random(13)

    def busy() -> None:
        for _ in range(100):  # it may strike in a destructor, where nobody hears of it
            with p.connect() as conn:
                conn.query("select 1")
            p.query("select 1")

    with pool(dsn, max_size=2, min_size=2) as p, strikes():
        p.wait(PATIENCE)
        for _ in range(200):
            with suppress(Interrupted):
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 3e-3))
                busy()
                signal.setitimer(signal.ITIMER_REAL, 0)
        until(lambda: p.stats().leased == 0)
        leases = [p.connect(timeout=PATIENCE) for _ in range(2)]
        for lease in leases:
            assert lease.query("select 1").scalar() == 1
            lease.release()
