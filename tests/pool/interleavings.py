"""A blocking pool in which nothing is real but its own code: no connections, no threads, no time.

`world(scheduler)` puts models in the place of all that the pool's modules wait with, made-up
connections behind it, and a core in it that has its invariants checked after every input.
`World.finish` demands that in the end all is back.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pgwire
from pgwire.blocking import driver
from pgwire.driving import DriverBase
from pgwire.errors import ConnectionFailed
from pgwire.pool import (
    blocking,
    chores,
    crew,
    engine,
    guests,
    keeper,
    lease,
    ledger,
    sharing,
    submitting,
)
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.protocol.messages import TransactionStatus
from tests.pool import invariants
from tests.support.model_threading import ModelQueue, ModelThreading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from pgwire.blocking.together import Crowd
    from pgwire.pool.slots import Slot
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.operation import Operation
    from tests.support.scheduler import ModelThread, Scheduler

    Scenario = Callable[["World"], None]


# Seconds that an answer takes on a shared connection.
ANSWER = 0.001


class WatchedCore(PoolCore[Any]):
    """The core, with its invariants checked after every input."""

    def acquire(
        self, now: float, deadline: float | None, *owner: Any, **facts: Any
    ) -> Slot[Any] | Waiter[Any]:
        with self._watched(now, passing=deadline is not None and deadline <= now):
            return super().acquire(now, deadline, *owner, **facts)

    @contextmanager
    def _watched(self, now: float, passing: bool = False) -> Iterator[None]:
        known, size = len(self.pending), self.total_count
        yield
        begun = [e for e in self.pending[known:] if isinstance(e, OpenConnection)]
        slots, queue = list(self._slots), list(self._waiting)
        seen = SimpleNamespace(
            core=self,
            config=self.config,
            last_size=size,
            now=now,
            slots=slots,
            queue=queue,
            retry_at=self._backoff.retry_at,
            opened_now=len(begun),
            passing=int(passing),
            ending=self.ending,
            aborted=self.aborted,
        )
        states = [slot.state for slot in slots]
        for check in (
            invariants.check_capacity,
            invariants.check_demand,
            invariants.check_timer,
            invariants.check_end,
        ):
            check(cast("Any", seen), states)


# Which of the positional arguments is `now`.
_NOW_AT = {"start": 0, "tick": 0, "expire": 0, "close": 0, "abort": 0, "resize": 2}
_NOW_AT |= {"abandon": 1, "release": 1, "checked": 1, "reset_done": 1, "closed": 1}
_NOW_AT |= {"opened": 2, "open_failed": 2}


def _watch(name: str, now_at: int) -> None:
    plain = getattr(PoolCore, name)

    def watched(self: WatchedCore, *args: Any, **facts: Any) -> None:
        with self._watched(args[now_at]):
            plain(self, *args, **facts)

    setattr(WatchedCore, name, watched)


for _name, _now_at in _NOW_AT.items():
    _watch(_name, _now_at)


class FakeDriver(driver.Driver):
    """A connection that is used by one thread at a time, or the run has failed."""

    def __init__(self, world: World) -> None:
        session = SimpleNamespace(
            failure=None, changed=False, in_step=True, is_spotless=lambda: False
        )
        session.transaction_status = TransactionStatus.IDLE
        self.session = cast("Any", session)
        self.channel = cast("Any", SimpleNamespace(is_readable=lambda: False))
        self.closed = self.given_up = False
        self.listener = None
        self.world = world
        self.user: str | None = None
        self.was_shared = False
        self._owner = None
        self.generation = DriverBase.forks

    def run(self, operation: Operation, timeout: float | None = None) -> Any:
        if self.closed:
            self.world.claim(self.world.pool._engine.core.aborted, "closed, and somebody has it")
            raise pgwire.InterfaceError("the connection is closed")
        self.world.claim(self.user is None, f"{self.user} uses this connection")
        self.user = self.world.scheduler.current.label
        self.world.scheduler.step("run")
        self.user = None
        operation.result = self
        return self

    def run_together(self, crowd: Crowd) -> None:
        """One answer after the other; whoever is abandoned before it is written is done at once."""
        self.world.claim(self.user is None, f"{self.user} uses this connection")
        self.user = self.world.scheduler.current.label
        flying: list[Operation] = []
        while True:
            for operation in crowd.take():
                if operation.abandoned or self.closed:
                    self._settle(crowd, operation)
                else:
                    flying.append(operation)
            if not flying:
                break
            if self._wait_for_answer(crowd) or flying[0].abandoned:
                self._settle(crowd, flying.pop(0))
        self.world.scheduler.step("let go")
        self.user, self.was_shared = None, True

    def _wait_for_answer(self, crowd: Crowd) -> bool:
        """It takes a while; whoever has run out of time by then gets none."""
        scheduler, deadline = self.world.scheduler, crowd.next_deadline()
        until = scheduler.now + ANSWER
        if deadline is not None:
            until = min(until, deadline)
        scheduler.wait("answer", "", lambda: False, max(0.0, until - scheduler.now))
        if deadline is None or scheduler.now < deadline:
            return True
        crowd.expire(scheduler.now)
        return False

    def _settle(self, crowd: Crowd, operation: Operation) -> None:
        if self.closed:
            self.world.claim(self.world.pool._engine.core.aborted, "closed, and somebody has it")
            operation.error = pgwire.InterfaceError("the connection is closed")
        operation.done, operation.result = True, self
        crowd.settle([operation])

    def clean(self, reset: bool | None = None) -> bool:
        if self.was_shared:
            self.world.scheduler.step("clean")  # others may join meanwhile
        return self.user is None and not self.closed

    def interrupt(self, *, always: bool = False) -> None:
        self.world.scheduler.step("interrupt")

    def close(self) -> None:
        self.world.claim(not self.closed, "closed twice")
        self.world.scheduler.step("close")
        self.closed = True
        self.world.connections -= 1


class World:
    """A pool in which nothing is real but its own code."""

    watches_role = False

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.connections = 0
        self.most = 0
        self.failures = 0  # so many openings fail first
        self.at_the_end: Callable[[], bool] = lambda: True
        self._users: list[ModelThread] = []
        self.pool: pgwire.Pool

    def make_pool(self, **options: Any) -> pgwire.Pool:
        """Nobody waits but for what the scenario says: time may pass at any moment."""
        self.scheduler.quiet = True  # until there is somebody to meet
        waits: dict[str, Any] = {"checkout_timeout": None, **options}
        self.most = options["max_size"]
        self.pool = pgwire.Pool(clock=self.scheduler.clock, name="pool", **waits)
        return self.pool

    def make_shared_pool(self, **options: Any) -> pgwire.Pool:
        """One that is warm, and knows that "a" may share."""
        pool = self.make_pool(**{"max_size": 1, "max_pipeline": 2, **options})
        pool.query("b")
        pace = pool._submitter.sharing._pace
        assert pace is not None
        pace.note("a", 0.0)
        return pool

    def claim(self, holds: bool, otherwise: str) -> None:
        """As `assert`, but nobody can catch it."""
        if not holds:
            self.scheduler.fail(AssertionError(otherwise))

    def open(self, timeout: float) -> FakeDriver:
        self.scheduler.step("open")
        if self.failures:
            self.failures -= 1
            raise ConnectionFailed("nobody is there")
        self.connections += 1
        self.claim(self.connections <= self.most, "I-1: the server sees too many")
        return FakeDriver(self)

    def abort(self) -> None:
        """What is being opened is not waited for any more."""

    def begin_anew(self) -> None:
        """Nobody forks here."""

    def user(self, work: Callable[[], object], ctrl_c: Collection[str] = ()) -> ModelThread:
        self.scheduler.quiet = False
        thread = self.scheduler.spawn(work)
        thread.ctrl_c = ctrl_c
        self._users.append(thread)
        return thread

    def finish(self) -> None:
        """Everybody comes to an end, and nothing is left."""
        for user in self._users:
            user.join()
        self.scheduler.quiet = True
        self.pool.end()
        assert self.at_the_end()
        inner = self.pool._engine
        stats = self.pool.stats()
        assert (stats.size, stats.waiting, self.connections) == (0, 0, 0), f"{stats}"
        assert stats.granted == stats.released
        for what, left in (
            ("lease", inner.leases),
            ("waker", inner._wakers),
            ("orphan", inner._orphans),
            ("thread", [t for t in self.scheduler.threads[1:] if not t.finished]),
        ):
            assert len(left) == 0, f"end() has returned, and a {what} is left"


MODULES = (blocking, chores, crew, engine, guests, keeper, lease, ledger, sharing, submitting)
FILES = frozenset(str(module.__file__) for module in MODULES)


def stand_ins(scheduler: Scheduler, made: World) -> Iterator[tuple[Any, str, object]]:
    """Whatever the pool's modules wait with, and what is to be in its place."""
    model = ModelThreading(scheduler)
    for module in MODULES:
        for name, value in vars(module).items():
            if value is threading:
                yield module, name, model
            elif value is threading.Lock:
                yield module, name, model.Lock
    yield engine, "random", SimpleNamespace(random=lambda: 0.5)
    yield engine, "PoolCore", WatchedCore
    yield engine, "ABORT_TIMEOUT", None  # time may pass at any moment
    yield submitting, "SimpleQueue", lambda: ModelQueue(scheduler)
    yield submitting, "_LOOKS", 1
    yield sharing, "monotonic", scheduler.clock
    yield blocking, "Opener", lambda _settings, **_: made
    yield blocking, "settings", lambda *_: SimpleNamespace(replication=None)


@contextmanager
def world(scheduler: Scheduler) -> Iterator[World]:
    """Put models in the place of all that the pool's shell waits for."""
    made = World(scheduler)
    with ExitStack() as stack:
        for module, name, model in list(stand_ins(scheduler, made)):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, model)
        yield made


def played(scenario: Scenario) -> Callable[[Scheduler], None]:
    def play(scheduler: Scheduler) -> None:
        with world(scheduler) as made:
            scenario(made)
            made.finish()

    return play
