"""Every interleaving of a few threads in the blocking pool's shell, up to two preemptions.

`tests.support.scheduler` owns all that threads wait for, and the clock; connections are made
up. After every input to the core the invariants are checked, and at the end of every run that
all is back: no lease, no waiter, no connection, no thread. A failure prints its schedule, which
replays it step by step:

    python -m tests.pool.test_interleavings NAME SCHEDULE [--lines]
"""

from __future__ import annotations

import sys
import threading
import warnings
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

import pgwire
from pgwire.blocking import driver
from pgwire.errors import ConnectionFailed
from pgwire.pool import (
    blocking,
    chores,
    crew,
    engine,
    keeper,
    lease,
    ledger,
    submitting,
)
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from tests.pool import invariants
from tests.support.scheduler import (
    ModelQueue,
    ModelThread,
    ModelThreading,
    ScheduleFailed,
    Scheduler,
    explore,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from concurrent.futures import Future

    from pgwire.pool.slots import Slot
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.operation import Operation

    Scenario = Callable[["World"], None]


class WatchedCore(PoolCore[Any]):
    """The core, with its invariants checked after every input."""

    def acquire(self, now: float, deadline: float | None, *owner: Any) -> Slot[Any] | Waiter[Any]:
        with self._watched(now, passing=deadline is not None and deadline <= now):
            return super().acquire(now, deadline, *owner)

    @contextmanager
    def _watched(self, now: float, passing: bool = False) -> Iterator[None]:
        known, size = len(self._effects), self.total_count
        yield
        begun = [e for e in self._effects[known:] if isinstance(e, OpenConnection)]
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


def _watch(name: str) -> None:
    plain = getattr(PoolCore, name)
    position = {"start": 0, "tick": 0, "expire": 0, "close": 0, "abort": 0, "resize": 2}
    position |= {"open_failed": 2, "opened": 2}

    def watched(self: WatchedCore, *args: Any, **facts: Any) -> None:
        with self._watched(args[position.get(name, 1)]):
            plain(self, *args, **facts)

    setattr(WatchedCore, name, watched)


for _name in (
    *("start", "tick", "expire", "close", "abort", "resize", "open_failed", "opened"),
    *("abandon", "release", "checked", "reset_done", "closed"),
):
    _watch(_name)


class FakeDriver(driver.Driver):
    """A connection that is used by one thread at a time, or the run has failed."""

    def __init__(self, world: World) -> None:
        self.session = cast("Any", SimpleNamespace(failure=None, changed=False, in_step=True))
        self.channel = cast("Any", SimpleNamespace(is_readable=lambda: False))
        self.closed = self.given_up = False
        self.listener = None
        self.world = world
        self.user: str | None = None
        self._owner = None
        self._forks = driver._forks

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

    def clean(self, reset: bool | None = None) -> bool:
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
            ("thread", inner.crew._threads),
        ):
            assert len(left) == 0, f"end() has returned, and a {what} is left"


MODULES = (blocking, chores, crew, engine, keeper, lease, ledger, submitting)
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
    yield blocking, "Opener", lambda _settings: made
    yield blocking, "settings", lambda *_: None


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


# ------------------------------------------------------------------ the scenarios


def two_queries_on_one_connection(w: World) -> None:
    pool = w.make_pool(max_size=1)
    w.user(lambda: pool.query("a"))
    w.user(lambda: pool.query("b"))


def timeout_meets_grant(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.connect(timeout=0.5).release()

    w.user(wait)
    w.user(held.release)


def ctrl_c_meets_grant(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            pool.connect().release()

    w.user(wait, ctrl_c=["acquire"])
    w.user(held.release)


def ctrl_c_meets_opening(w: World) -> None:
    pool = w.make_pool(max_size=1)

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            pool.connect().release()

    w.user(wait, ctrl_c=["acquire"])
    w.user(lambda: pool.query("a"))


def ctrl_c_meets_a_lease(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.connect().release()

    def use() -> None:
        with suppress(KeyboardInterrupt):
            with pool.connect():
                w.scheduler.step("use")

    w.user(lambda: pool.query("a"))
    w.user(use, ctrl_c=["enter"])


def ctrl_c_meets_a_query(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")

    def use() -> None:
        with suppress(KeyboardInterrupt):
            pool.query("b")

    w.user(lambda: pool.query("c"))
    w.user(use, ctrl_c=["enter"])


def now_or_never_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.connect(timeout=0).release()

    w.user(wait)
    held.release()


def release_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    ready: list[pgwire.Connection] = []

    def hold() -> None:
        with suppress(pgwire.PoolClosed):
            with pool.connect() as conn:
                ready.append(conn)

    w.user(hold)
    w.user(pool.end)


def waiting_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolClosed):
            pool.query("a")

    w.user(wait)
    w.user(pool.end)
    held.release()


def bounded_end_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    w.user(held.release)
    with suppress(pgwire.PoolTimeout):
        pool.end(timeout=0.5)


def bounded_end_meets_opening(w: World) -> None:
    pool = w.make_pool(max_size=1)

    def wait() -> None:
        with suppress(pgwire.InterfaceError):
            pool.query("a")

    w.user(wait)
    with suppress(pgwire.PoolTimeout):
        pool.end(timeout=0.5)


def two_ends(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    w.user(pool.end)
    w.user(pool.end)


def orphan_meets_wait(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = [pool.connect()]
    w.user(lambda: pool.query("a"))
    w.user(held.clear)


def orphan_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = [pool.connect()]
    w.user(pool.end)
    w.user(held.clear)


def discard_meets_wait(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    w.user(lambda: pool.query("a"))
    w.user(held.close)


def failed_opening_meets_timeout(w: World) -> None:
    pool = w.make_pool(max_size=1)
    w.failures = 1

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.query("a", timeout=0.05)

    w.user(wait)
    w.user(lambda: pool.query("b"))


def submit_meets_cancel(w: World) -> None:
    pool = w.make_pool(max_size=1)
    futures = [pool.submit("a"), pool.submit("b")]
    for future in futures:
        w.user(future.cancel)


def submit_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    futures: list[Future[Any]] = []

    def submit() -> None:
        futures.append(pool.submit("b"))

    def end() -> None:
        submitted = futures[:]
        pool.end()
        assert all(future.done() for future in submitted), "end() has returned, a future waits"

    w.user(submit)
    w.user(end)
    w.at_the_end = lambda: (
        futures[0].exception(0) is None or isinstance(futures[0].exception(0), pgwire.PoolClosed)
    )


def submit_meets_timeout(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    future = pool.submit("a", timeout=0.5)
    w.user(held.release)
    w.at_the_end = lambda: isinstance(future.exception(0), pgwire.PoolTimeout | None)


def submit_meets_a_worker_that_goes(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.submit("a")
    w.scheduler.wait("sleep", "", lambda: False, 0.01)
    futures: list[Future[Any]] = []
    w.user(lambda: futures.append(pool.submit("b")))
    w.at_the_end = lambda: futures[0].exception(0) is None


def resize_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=2, min_size=1)
    held = pool.connect()
    w.user(lambda: pool.resize(0, 1))
    w.user(lambda: pool.query("a"))
    held.release()


def expire_meets_acquire(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    w.user(pool.expire)
    w.user(lambda: pool.query("b"))


def a_hook_meets_the_next_request(w: World) -> None:
    pool = w.make_pool(max_size=1, reset=lambda conn: None)
    w.user(lambda: pool.query("a"))
    w.user(lambda: pool.query("b"))


def check_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1, check_after=0)
    pool.query("a")

    def wait() -> None:
        with suppress(pgwire.PoolClosed):
            pool.query("b")

    w.scheduler.wait("sleep", "", lambda: False, 0.5)
    w.user(wait)
    w.user(pool.end)


SCENARIOS: list[Scenario] = [
    two_queries_on_one_connection,
    timeout_meets_grant,
    ctrl_c_meets_grant,
    ctrl_c_meets_opening,
    ctrl_c_meets_a_lease,
    ctrl_c_meets_a_query,
    now_or_never_meets_release,
    release_meets_end,
    waiting_meets_end,
    bounded_end_meets_release,
    bounded_end_meets_opening,
    two_ends,
    orphan_meets_wait,
    orphan_meets_end,
    discard_meets_wait,
    failed_opening_meets_timeout,
    submit_meets_cancel,
    submit_meets_end,
    submit_meets_timeout,
    submit_meets_a_worker_that_goes,
    resize_meets_release,
    expire_meets_acquire,
    a_hook_meets_the_next_request,
    check_meets_end,
]


# Where threads meet without a lock: each line is a place for a choice.
LINE_BY_LINE: list[Scenario] = [timeout_meets_grant, two_ends, orphan_meets_end, submit_meets_end]

pytestmark = pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_preemptions_at_what_threads_wait_for(scenario: Scenario) -> None:
    assert explore(played(scenario), preemptions=2) > 50


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LINE_BY_LINE)
def test_one_preemption_at_any_line(scenario: Scenario) -> None:
    assert explore(played(scenario), preemptions=1, lines=FILES) > 50


MISTAKES: list[tuple[object, str, Callable[..., Any], Scenario]] = [
    # Ctrl-C meets the grant, and the connection belongs to nobody.
    (engine.Engine, "_undo", lambda self, answer: None, ctrl_c_meets_grant),
    # Ctrl-C strikes in a release, and the connection belongs to nobody.
    (engine.Engine, "orphan", lambda self, slot, uses: None, ctrl_c_meets_a_query),
    # Nobody looks after lost leases.
    (engine.Engine, "look_after_leases", lambda self: None, orphan_meets_wait),
    # Nobody gives the core the time.
    (keeper.Keeper, "plan", lambda self: None, failed_opening_meets_timeout),
    # A worker goes without a last look for jobs.
    (submitting.Submitter, "_may_go", lambda self: True, submit_meets_a_worker_that_goes),
    # The end does not wait for threads.
    (crew.Crew, "join", lambda self, timeout: None, two_ends),
]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "what", "mistake", "scenario"), MISTAKES)
def test_a_shell_with_a_mistake_is_caught(
    where: object,
    what: str,
    mistake: Callable[..., Any],
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Does this see anything at all? And does the printed schedule lead there again?"""
    monkeypatch.setattr(where, what, mistake)
    with pytest.raises(ScheduleFailed) as caught:
        explore(played(scenario))
    with pytest.raises(ScheduleFailed) as again:
        replay(played(scenario), caught.value.choices)
    assert again.value.choices == caught.value.choices


if __name__ == "__main__":
    name, schedule, *more = sys.argv[1:]
    warnings.simplefilter("ignore")
    chosen_scenario = {one.__name__: one for one in SCENARIOS}[name]
    choices = [int(choice) for choice in schedule.split(".")]
    options: dict[str, Any] = {"preemptions": 1, "lines": FILES} if more else {}
    done = replay(played(chosen_scenario), choices, **options)
    print("\n".join(f"{who:12} {what} {on}" for who, what, on in done.log))
