"""Ctrl-C at every moment in a thread that others wait for: none is forgotten, none is overtaken.

What the core is like afterwards is the subject of `test_core_interrupted`; here are threads, the
pool's lock, and a server. Nothing but what the program does next may be needed to go on: there is
no further call of the one who was struck.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.pool import (
    core,
    crew,
    deadlock,
    engine,
    keeper,
    requesting,
    slots,
    supply,
    waiters,
)
from tests.pool.support import PATIENCE, Thread, pool, until
from tests.support.guards import go_on
from tests.support.striking import strike_anywhere

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = frozenset(
    str(module.__file__)
    for module in (
        *(core, deadlock, slots, supply, waiters),
        *(crew, engine, keeper, requesting),
    )
)

# Where it strikes in a generator or a destructor Python itself drops it, and says so.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Line:
    """Threads in the pool's queue, who came one after the other and want a connection each."""

    def __init__(self, p: pgwire.Pool, number: int = 3) -> None:
        self._pool = p
        self.number = number
        self.served: list[int] = []
        self._threads = []
        for place in range(number):
            waiting = p.waiting_count
            self._threads.append(Thread(lambda place=place: self._wait(place)))  # type: ignore[misc]
            until(lambda: p.waiting_count == waiting + 1)  # noqa: B023

    def _wait(self, place: int) -> None:
        with self._pool.connect(timeout=PATIENCE) as conn:
            self.served.append(place)
            assert conn.query("select $1::int", [place]).scalar() == place

    def check(self) -> None:
        """All have been served, in their order, and everything is back."""
        for thread in self._threads:
            thread.outcome()
        p = self._pool
        if p.stats().max_size == 1:  # else several are served at a time
            assert self.served == [*range(self.number)]
        until(lambda: p.total_count == p.idle_count and not p.waiting_count)

    def check_closed(self) -> None:
        """All have been served, or told that the pool has ended."""
        for thread in self._threads:
            with suppress(pgwire.PoolClosed, pgwire.ConnectionLost, pgwire.InterfaceError):
                thread.outcome()


def strike_everywhere(
    p: pgwire.Pool, begin: Callable[[], Callable[[], object]], then: Callable[[], None], least: int
) -> None:
    """Line up, strike at one moment more, and look; until there is no such moment."""
    nth, moment = 0, "somewhere"
    while moment:
        go_on()
        work = begin()
        line = Line(p)
        moment = strike_anywhere(nth, work, FILES)
        print("struck at", moment)  # the last is the culprit
        then()
        line.check()
        nth += 1
    assert nth > least, "there are more such moments"
    stats = p.stats()
    assert stats.granted == stats.released
    assert stats.failed == stats.rejected == 0
    assert stats.requests == stats.granted + stats.timed_out + stats.abandoned
    p.end(timeout=PATIENCE)


def nothing() -> None: ...


@pytest.mark.parametrize("discard", [False, True], ids=["kept", "closed"])
def test_who_gives_back_what_others_wait_for(dsn: str, discard: bool) -> None:
    with pool(dsn, max_size=1) as p:

        def begin() -> Callable[[], object]:
            lease = p.connect()
            return lambda: lease.release(discard=discard)

        strike_everywhere(p, begin, nothing, 20)
        stats = p.stats()
        assert stats.requests == stats.granted
        assert stats.requests % 4 == 0, "each request was counted once"


@pytest.mark.parametrize("timeout", [0.0, 0.001], ids=["at once", "after a while"])
def test_who_waits_in_vain_behind_others(dsn: str, timeout: float) -> None:
    with pool(dsn, max_size=1) as p:
        held: list[pgwire.Connection] = []

        def in_vain() -> None:
            with suppress(pgwire.PoolTimeout):
                p.connect(timeout=timeout)

        def begin() -> Callable[[], object]:
            held.append(p.connect())
            return in_vain

        strike_everywhere(p, begin, lambda: held.pop().close(), 30)
        stats = p.stats()
        assert stats.granted % 4 == 0, "whoever was struck was granted nothing"


@pytest.mark.parametrize("max_uses", [None, 1], ids=["kept", "closed"])
def test_who_has_waited_behind_others(dsn: str, max_uses: int | None) -> None:
    """And is woken, and gives back."""
    with pool(dsn, max_size=1, max_uses=max_uses) as p:
        begun: list[tuple[threading.Event, Thread]] = []

        def begin() -> Callable[[], object]:
            lease, over = p.connect(), threading.Event()

            def give_back() -> None:
                until(lambda: p.waiting_count == 4 or over.is_set())
                lease.release()

            begun.append((over, Thread(give_back)))
            return lambda: p.connect(timeout=PATIENCE).release()

        def then() -> None:
            over, releasing = begun.pop()
            over.set()
            releasing.outcome()

        strike_everywhere(p, begin, then, 25)


@pytest.mark.parametrize("work", ["resize", "expire", "shrink"])
def test_who_gives_orders_while_others_wait(dsn: str, work: str) -> None:
    orders: dict[str, Callable[[pgwire.Pool], object]] = {
        "resize": lambda p: p.resize(min_size=2, max_size=3),
        "shrink": lambda p: p.resize(min_size=0, max_size=1),
        "expire": lambda p: p.expire(),
    }
    with pool(dsn, max_size=2) as p:
        held: list[pgwire.Connection] = []

        def begin() -> Callable[[], object]:
            p.resize(min_size=0, max_size=1)
            until(lambda: p.total_count <= 1)
            held.append(p.connect())
            return lambda: orders[work](p)

        strike_everywhere(p, begin, lambda: held.pop().close(), 8)


def give_back_at_the_end(p: pgwire.Pool, lease: pgwire.Connection) -> None:
    until(lambda: p._engine.core.ending)
    lease.close()


@pytest.mark.parametrize("timeout", [0.0, PATIENCE], ids=["by force", "in peace"])
def test_who_ends_the_pool_while_others_wait(dsn: str, timeout: float) -> None:
    nth, moment = 0, "somewhere"
    while moment:
        go_on()
        with pool(dsn, max_size=2) as p:
            lease = p.connect()
            other = p.connect()
            line = Line(p, 2)
            releasing = Thread(partial(give_back_at_the_end, p, other))

            def work() -> None:
                with suppress(pgwire.PoolTimeout):
                    p._engine.end(timeout)

            if timeout:
                lease.release()
            moment = strike_anywhere(nth, work, FILES)
            print("struck at", moment)  # the last is the culprit
            if not timeout:
                lease.release()
            p.end(timeout=PATIENCE)
            releasing.outcome()
            assert p.total_count == 0
            line.check_closed()
            stats = p.stats()
            assert stats.granted == stats.released
            assert stats.opened == stats.closed
        nth += 1
    assert nth > 30, "there are more such moments"
