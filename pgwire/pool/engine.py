"""Engine: what makes a blocking pool run. PoolCore decides, the engine does.

One lock guards the core; nothing waits, and no user code runs, while it is held. What the
core wants done (its effects) is carried out after the lock is released. Waking a waiter is
releasing the lock that it sleeps on; opening, checking, resetting and closing connections
take short-lived daemon threads, so that no caller waits for a connection but its own.

The keeper is a daemon thread that gives the core the time. It exists only while something
may fall due or somebody waits, and looks at least once a second. All threads are gone when
`end` has returned.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.blocking.connection import Connection
from pgwire.blocking.driver import Driver
from pgwire.errors import Error, InterfaceError, OperationalError, PoolTimeout
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import (
    CheckConnection,
    CloseConnection,
    OpenConnection,
    ResetConnection,
    WakeWaiter,
)
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.opening import Opener
    from pgwire.pool.config import PoolConfig
    from pgwire.pool.effects import Effect

    Hook = Callable[[Connection], object]
    Helper = Callable[["Engine", Slot[Driver]], None]

logger = logging.getLogger("pgwire.pool")

# An opening, its hook included, must not hold its slot for ever.
OPEN_TIMEOUT = 30.0
# How long an idle connection may take to answer a ping before it is given up.
CHECK_TIMEOUT = 5.0
# How long a reset that cannot be left to the next lease may take.
RESET_TIMEOUT = 5.0
# How long connections may take to close once they have been cut.
ABORT_TIMEOUT = 5.0

_KEEPER_INTERVAL = 1.0
_GRANTED, _TIMED_OUT = WaiterState.GRANTED, WaiterState.TIMED_OUT
_WAITING = WaiterState.WAITING

_get_ident = threading.get_ident


class LeaseRecord(NamedTuple):
    """Who took a lease, where ("file:line in function"), and when."""

    thread: int
    thread_name: str
    place: str
    since: float


class Options(NamedTuple):
    """What a user chose that is the engine's business and not the core's."""

    name: str
    clock: Callable[[], float]
    always_reset: bool | None = None  # None: where a statement may have changed the session
    reset: Hook | None = None
    on_connect: Hook | None = None
    leak_after: float | None = None


class Engine:
    """See the module. `leases` is who holds what; `core` may be read under `lock` only."""

    def __init__(self, config: PoolConfig, opener: Opener, options: Options) -> None:
        self.options = options
        self.opener = opener
        self._clock = options.clock
        self._callbacks: dict[str, list[Callable[..., object]]] = {}
        self._begin(config)
        _engines.add(self)

    def _begin(self, config: PoolConfig) -> None:
        """Everything that a forked child has to have anew."""
        self.lock = threading.Lock()
        self.core: PoolCore[Driver] = PoolCore(
            config, jitter=random.random, is_alive=Driver.catch_up
        )
        self.leases: dict[Slot[Driver], LeaseRecord] = {}
        self._wakers: dict[Waiter[Driver], Callable[[Waiter[Driver]], object]] = {}
        self._orphans: deque[Slot[Driver]] = deque()
        self._reported: set[Slot[Driver]] = set()
        self._ended = threading.Event()
        self._aborting = False
        self._threads: set[threading.Thread] = set()
        self._has_keeper = False
        self._keeper_due = 0.0
        self._alarm = threading.Lock()
        self._alarm.acquire()

    # ---------------------------------------------------------------- requests

    def acquire(self, timeout: float | None, deadline: float | None) -> Slot[Driver]:
        """A leased slot, in turn; both bounds hold (`timeout` from now, `deadline` absolute)."""
        sleeper = threading.Lock()
        sleeper.acquire()
        since = self._clock()
        if timeout is not None and (deadline is None or since + timeout < deadline):
            deadline = since + timeout
        answer = self.request(deadline, lambda _waiter: sleeper.release())
        if isinstance(answer, Slot):
            return answer
        try:
            while not sleeper.acquire(timeout=self._seconds_until(deadline)):
                self.report(self.core.tick)
        except BaseException:
            self._wakers.pop(answer, None)
            self.report(self.core.abandon, answer)
            raise
        return self.outcome(answer, since)

    def request(
        self, deadline: float | None, wake: Callable[[Waiter[Driver]], object]
    ) -> Slot[Driver] | Waiter[Driver]:
        """Take a place now: a slot, or a waiter for which `wake` is called once it has ended.

        That may be before this returns. `wake` must not wait.
        """
        if self._orphans:
            self._recover_orphans()
        with self.lock:
            answer = self.core.acquire(self._clock(), deadline)
            if isinstance(answer, Slot):
                return answer
            waits = answer.state is _WAITING
            if waits:
                self._wakers[answer] = wake
            self._plan()
            effects = self._take_effects()
        self._carry_out(effects)
        if not waits:
            wake(answer)
        return answer

    def outcome(self, waiter: Waiter[Driver], since: float) -> Slot[Driver]:
        """What became of a waiter that waits no more: its slot, or its error raised."""
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            return waiter.slot
        if waiter.state is _TIMED_OUT:
            raise self._timed_out(waiter, self._clock() - since)
        assert waiter.error is not None
        raise waiter.error

    def _seconds_until(self, deadline: float | None) -> float:
        if deadline is None:
            return -1
        return min(max(0.0, deadline - self._clock()), threading.TIMEOUT_MAX)

    def _timed_out(self, waiter: Waiter[Driver], waited: float) -> PoolTimeout:
        with self.lock:
            stats = self.core.stats()
        text = (
            f"no connection within {waited:.3g} s: {stats.leased} of {stats.max_size} leased, "
            f"{stats.idle} idle, {stats.opening} opening, {stats.closing} closing, "
            f"{stats.waiting} more waiting"
        )
        if mine := self.places_of_this_thread():
            text += f"; this thread itself holds leases, taken at {', '.join(mine)}"
        if waiter.error is not None:
            text += f"; the last attempt to connect failed: {waiter.error}"
        error = PoolTimeout(text)
        error.stats = stats
        error.__cause__ = waiter.error
        return error

    def places_of_this_thread(self) -> list[str]:
        """Where the calling thread took the leases that it holds."""
        ident = _get_ident()
        return [lease.place for lease in tuple(self.leases.values()) if lease.thread == ident]

    # ---------------------------------------------------------------- leases

    def note_lease(self, slot: Slot[Driver], place: str) -> None:
        """A lease has been handed to the calling thread."""
        thread = threading.current_thread()
        self.leases[slot] = LeaseRecord(_get_ident(), thread.name, place, self._clock())
        if self.options.leak_after is not None and not self._has_keeper:
            with self.lock:
                self._plan()
        if self._callbacks:
            self.emit("acquire", Connection(slot.connection))

    def release(self, slot: Slot[Driver], *, discard: bool = False) -> None:
        """The lease, or the single query, is over. Never waits and never raises."""
        driver = slot.connection
        if driver.is_inherited:
            return  # of the parent's pool; ours has begun anew
        hooked = False
        if discard:
            reusable = False
        elif self.options.reset is not None or self.options.on_connect is not None:
            reusable, hooked = self._judge(driver)
        else:
            reusable = driver.clean(self.options.always_reset)
        if not reusable:
            driver.given_up = True
        if self.leases.pop(slot, None) is not None:
            self._reported.discard(slot)
            if self._callbacks:
                self.emit("release", Connection(driver))
        with self.lock:
            self.core.release(slot, self._clock(), reusable=reusable, reset=hooked)
            effects = self._take_effects()
        if effects:
            self._carry_out(effects)

    def _judge(self, driver: Driver) -> tuple[bool, bool]:
        """Where hooks have a say in cleaning: whether it can be kept, and needs its reset."""
        always = self.options.always_reset
        changed = driver.session.changed if always is None else always
        if self.options.reset is None and not changed:
            return driver.clean(False), False
        return driver.is_in_step, True

    def orphan(self, slot: Slot[Driver]) -> None:
        """A lease was collected without release. Called by the garbage collector, so: no locks."""
        self._orphans.append(slot)
        self._wake_keeper()

    def _recover_orphans(self) -> None:
        while self._orphans:
            self.release(self._orphans.popleft(), discard=True)

    def _report_leaks(self) -> None:
        limit = self.options.leak_after
        if limit is None:
            return
        now = self._clock()
        for slot, lease in tuple(self.leases.items()):
            if now - lease.since > limit and slot not in self._reported:
                self._reported.add(slot)
                logger.warning(
                    "%s: a lease has been held for %.0f s by thread %r, taken at %s",
                    self.options.name,
                    now - lease.since,
                    lease.thread_name,
                    lease.place,
                )
                self.emit("leak", Connection(slot.connection))

    # ---------------------------------------------------------------- carrying out

    def report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        with self.lock:
            report(*args, self._clock(), **facts)
            self._plan()
            effects = self._take_effects()
        self._carry_out(effects)

    def _take_effects(self) -> list[Effect[Driver]]:
        """What is to be done now; under the lock, at the end of every input."""
        if not self._has_keeper:
            self._plan()
        if self.core.ended:
            self._ended.set()
            self._wake_keeper()
        return self.core.take_effects()

    def _carry_out(self, effects: list[Effect[Driver]]) -> None:
        for effect in effects:
            if isinstance(effect, WakeWaiter):
                wake = self._wakers.pop(effect.waiter, None)
                if wake is not None:
                    wake(effect.waiter)
            else:
                self._help(_HELPERS[type(effect)], effect.slot)

    def _help(self, helper: Helper, slot: Slot[Driver]) -> None:
        """Have it done in a thread of its own; in this one if there is none to be had."""
        try:
            self.start_thread(helper, self, slot)
        except RuntimeError:  # too many threads, or the interpreter is on its way out
            helper(self, slot)

    def start_thread(self, target: Callable[..., None], *args: Any) -> None:
        """A daemon thread that `end` will wait for."""
        thread = threading.Thread(
            target=self._run_thread, args=(target, *args), name=self.options.name, daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            raise

    def _run_thread(self, target: Callable[..., None], *args: Any) -> None:
        threads = self._threads
        try:
            target(*args)
        finally:
            threads.discard(threading.current_thread())

    def _open(self, slot: Slot[Driver]) -> None:
        try:
            driver = self.opener.open(OPEN_TIMEOUT)
        except Exception as error:
            mendable = isinstance(error, Error) and waiting_may_help(error)
            self.report(self.core.open_failed, slot, error, mendable=mendable)
            return
        connection = Connection(driver)
        hook = self.options.on_connect
        if hook is not None:
            failure = self._run_hook(hook, driver, OPEN_TIMEOUT)
            if failure is not None:
                driver.close()
                self.report(self.core.open_failed, slot, failure, mendable=False)
                return
            driver.session.changed = False  # what it has set is how sessions begin here
        self.emit("connect", connection)
        self.report(self.core.opened, slot, driver)

    def _run_hook(self, hook: Hook, driver: Driver, timeout: float) -> Exception | None:
        """Run a user's hook on a connection that is nobody's; what went wrong, if anything.

        A hook that takes too long has its connection cut: whatever it does there next
        raises, and the connection is of no more use.
        """
        cut = threading.Timer(timeout, driver.interrupt, kwargs={"always": True})
        cut.daemon = True
        cut.start()
        try:
            hook(Connection(driver))
        except Exception as error:
            return error
        finally:
            cut.cancel()
        if not driver.clean(False):
            return OperationalError(
                f"a hook of {self.options.name} left its connection closed or in use"
            )
        return None

    def _check(self, slot: Slot[Driver]) -> None:
        try:
            slot.connection.run(Ping(), CHECK_TIMEOUT)
        except Error:
            self.report(self.core.checked, slot, ok=False)
        else:
            self.report(self.core.checked, slot, ok=True)

    def _reset(self, slot: Slot[Driver]) -> None:
        """The reset that needs answers: a user's hook, or `on_connect` after a full reset."""
        driver, options = slot.connection, self.options
        changed = driver.session.changed if options.always_reset is None else options.always_reset
        fit = driver.clean(changed and options.reset is None)
        for hook, wanted in (
            (options.reset, True),
            (options.on_connect, changed and options.reset is None),
        ):
            if fit and wanted and hook is not None:
                error = self._run_hook(hook, driver, RESET_TIMEOUT)
                if error is not None:
                    logger.warning("%s: resetting a connection failed: %s", options.name, error)
                    fit = False
        driver.session.changed = False
        driver.given_up = not fit
        self.report(self.core.reset_done, slot, ok=fit)

    def _close(self, slot: Slot[Driver]) -> None:
        driver = slot.connection
        failure = driver.session.failure
        if self._aborting:
            driver.interrupt()
        driver.close()
        connection = Connection(driver)
        if failure is not None and not driver.given_up:
            logger.info("%s: an idle connection was lost: %s", self.options.name, failure)
            self.emit("error", failure, connection)
        self.emit("remove", connection)
        self.report(self.core.closed, slot)

    # ---------------------------------------------------------------- time

    def _next_due(self) -> float | None:
        """When the keeper has something to do; None if it is not needed."""
        due = self.core.next_deadline()
        if due is None and (
            self.core.waiting_count or (self.options.leak_after is not None and self.leases)
        ):
            return self._clock() + _KEEPER_INTERVAL
        return due

    def _plan(self) -> None:
        """See to it that the keeper is there in time; under the lock."""
        due = self._next_due()
        if due is None:
            return
        if not self._has_keeper:
            self._keeper_due = due
            self._has_keeper = True
            try:
                self.start_thread(self._keep)
            except RuntimeError:  # the interpreter is on its way out
                self._has_keeper = False
        elif due < self._keeper_due:
            self._wake_keeper()

    def _wake_keeper(self) -> None:
        with suppress(RuntimeError):  # it is awake already
            self._alarm.release()

    def _keep(self) -> None:
        while True:
            with self.lock:
                due = self._next_due()
                if due is None:
                    self._has_keeper = False
                    return
                now = self._clock()
                seconds = max(0.0, min(_KEEPER_INTERVAL, due - now))
                self._keeper_due = now + seconds
            self._alarm.acquire(timeout=seconds)
            self._recover_orphans()
            self._report_leaks()
            self.report(self.core.tick)

    # ---------------------------------------------------------------- the end

    @property
    def has_ended(self) -> bool:
        """Whether everything that `end` waits for has happened."""
        return self._ended.is_set()

    def end(self, timeout: float | None) -> None:
        """See Pool.end."""
        if timeout is None and (mine := self.places_of_this_thread()):
            raise InterfaceError(
                "end() would wait for a lease of the thread that calls it, taken at "
                f"{', '.join(mine)}; release it first, or give end() a timeout"
            )
        self.report(self.core.close)
        if self._ended.wait(timeout):
            self._join_threads()
            return
        leases = tuple(self.leases.values())
        with self.lock:
            stats = self.core.stats()
        self._aborting = True
        self.report(self.core.abort)
        self._ended.wait(ABORT_TIMEOUT)
        self._join_threads()
        error = PoolTimeout(
            f"end({timeout:g}): {len(leases)} leases were still out and have been closed"
            + "".join(f"; taken at {lease.place} by {lease.thread_name}" for lease in leases)
        )
        error.stats = stats
        raise error

    def _join_threads(self) -> None:
        """Everything is closed; what is left of the helpers has a few steps to go."""
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():  # end() in a callback
                thread.join(ABORT_TIMEOUT)

    # ---------------------------------------------------------------- events and forks

    def on(self, event: str, callback: Callable[..., object]) -> None:
        self._callbacks.setdefault(event, []).append(callback)

    def off(self, event: str, callback: Callable[..., object]) -> None:
        callbacks = self._callbacks.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            self._callbacks.pop(event, None)

    def emit(self, event: str, *args: object) -> None:
        for callback in tuple(self._callbacks.get(event, ())):
            try:
                callback(*args)
            except Exception:
                logger.exception("%s: a callback for %r raised", self.options.name, event)

    def begin_anew(self) -> None:
        """In a forked child: the connections are the parent's. Start empty, tell nobody."""
        old, ending = self.core, self.core.ending
        self._begin(old.config)
        for driver in old.connections():
            driver.drop()
        if ending:
            self.report(self.core.close)


_HELPERS: dict[type[Any], Helper] = {
    OpenConnection: Engine._open,
    CheckConnection: Engine._check,
    ResetConnection: Engine._reset,
    CloseConnection: Engine._close,
}

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _begin_all_anew() -> None:
    for engine in tuple(_engines):
        engine.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
