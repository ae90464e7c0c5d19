"""Pool: the blocking shell around PoolCore.

One lock guards the core; nothing waits, and no user code runs, while it is held. What the
core wants done (its effects) is carried out after the lock is released: waking a waiter is
releasing the lock that it sleeps on; opening, checking and closing connections take short-
lived daemon threads of their own, so that no caller waits for a connection but its own.

The keeper is a daemon thread that gives the core the time. It exists only while something
may fall due, and looks at least once a second.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from pgwire.blocking.connection import Connection
from pgwire.blocking.driver import Driver
from pgwire.blocking.opening import Opener, settings
from pgwire.errors import Error, InterfaceError, PoolTimeout, ProgrammingError
from pgwire.pool.config import PoolConfig, check_seconds
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import CheckConnection, CloseConnection, OpenConnection, WakeWaiter
from pgwire.pool.lease import Lease
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.query import Query
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from pgwire.parameters import ConnectionParameters
    from pgwire.pool.config import PoolStats
    from pgwire.pool.effects import Effect
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.transaction import IsolationLevel

    PoolEvent = Literal["connect", "acquire", "release", "remove", "error"]

T = TypeVar("T")

logger = logging.getLogger("pgwire.pool")

_EVENTS = ("connect", "acquire", "release", "remove", "error")

# An opening without `connect_timeout` must not hold its slot for ever.
OPEN_TIMEOUT = 30.0
# How long an idle connection may take to answer a ping before it is given up.
CHECK_TIMEOUT = 5.0
# Leaving the pool's `with` block.
END_TIMEOUT = 30.0
# How long connections may take to close once they have been cut.
ABORT_TIMEOUT = 5.0

_KEEPER_INTERVAL = 1.0
_numbers = count(1)
_get_ident = threading.get_ident
_WAITING = WaiterState.WAITING
_GRANTED = WaiterState.GRANTED
_TIMED_OUT = WaiterState.TIMED_OUT


class Pool:
    """A pool of connections for threads.

    `conninfo` and `connection_parameters` are those of `pgwire.connect()`. Sizes and time
    limits (in seconds) are described in docs/pool-contract.md. Nothing is connected before
    the first request, unless `min_size` asks for it.

    Raises `ProgrammingError` for options and parameters that make no sense.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        min_size: int = 0,
        max_size: int = 10,
        checkout_timeout: float | None = 30.0,
        query_timeout: float | None = None,
        max_waiting: int | None = None,
        idle_timeout: float | None = 300.0,
        max_lifetime: float | None = 3600.0,
        lifetime_spread: float = 0.1,
        max_uses: int | None = None,
        max_opening: int = 3,
        reset: Literal["auto", "always", "never"] = "auto",
        check_after: float | None = 30.0,
        name: str | None = None,
        clock: Callable[[], float] = monotonic,
        **connection_parameters: Unpack[ConnectionParameters],
    ) -> None:
        try:
            self._opener = Opener(settings(conninfo, connection_parameters))
        finally:
            del conninfo, connection_parameters  # a traceback may show what this frame holds
        config = PoolConfig(
            min_size=min_size,
            max_size=max_size,
            max_waiting=max_waiting,
            idle_timeout=idle_timeout,
            max_lifetime=max_lifetime,
            lifetime_spread=lifetime_spread,
            max_uses=max_uses,
            max_opening=max_opening,
            check_after=check_after,
        )
        if reset not in ("auto", "always", "never"):
            raise ProgrammingError(f"reset is {reset!r}; it must be 'auto', 'always' or 'never'")
        self.name = name or f"pool-{next(_numbers)}"
        self._checkout_timeout = check_seconds("checkout_timeout", checkout_timeout)
        self._query_timeout = check_seconds("query_timeout", query_timeout)
        self._reset = {"auto": None, "always": True, "never": False}[reset]
        self._clock = clock
        self._lock = threading.Lock()
        self._core: PoolCore[Driver] = PoolCore(
            config, jitter=random.random, is_alive=Driver.catch_up
        )
        self._sleepers: dict[Waiter[Driver], threading.Lock] = {}
        self._leases: dict[Slot[Driver], Lease] = {}
        self._callbacks: dict[str, list[Callable[..., object]]] = {}
        self._ended = threading.Event()
        self._aborting = False
        self._threads: set[threading.Thread] = set()
        self._has_keeper = False
        self._keeper_due = 0.0
        self._alarm = threading.Event()
        self._report(self._core.start)

    def __repr__(self) -> str:
        with self._lock:
            stats = self._core.stats()
        return (
            f"<Pool {self.name}: {stats.leased} leased, {stats.idle} idle, "
            f"{stats.waiting} waiting, at most {stats.max_size}>"
        )

    # ---------------------------------------------------------------- statements

    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: None = None,
    ) -> Result[Row]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., T],
    ) -> Result[T]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Result[Any]:
        """Run one statement on a connection of the pool; as `Connection.query`.

        `timeout` (seconds; default `query_timeout`) is one budget for waiting and running:
        running out of it in the queue is `PoolTimeout`, afterwards `QueryTimeout`. Without
        it, `checkout_timeout` bounds the waiting.
        """
        operation = Query(sql, params)
        if timeout is None:
            timeout = self._query_timeout
        deadline = None if timeout is None else self._clock() + timeout
        slot = self._acquire(self._checkout_timeout, deadline)
        try:
            if deadline is not None:
                timeout = max(0.0, deadline - self._clock())
            result: Result[Any] = slot.connection.run(operation, timeout)
        finally:
            self._release(slot)
        return result if row is None else result.mapped(row)

    # ---------------------------------------------------------------- leases

    def connect(self, *, timeout: float | None = None) -> Lease:
        """Check a connection out: a lease, to be given back by `with` or `release()`.

        `timeout` (seconds) takes the place of `checkout_timeout`; 0 means now or never.
        Raises `PoolTimeout`, `PoolFull`, `PoolClosed`, or what keeps the pool from
        connecting where waiting cannot mend it.
        """
        slot = self._acquire(self._checkout_timeout if timeout is None else timeout, None)
        lease = Lease(self, slot, self._query_timeout)
        self._leases[slot] = lease
        if self._callbacks:
            self._emit("acquire", lease)
        return lease

    @contextmanager
    def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> Iterator[Lease]:
        """A lease inside a transaction: `with pool.transaction() as conn`."""
        with self.connect(timeout=timeout) as lease:
            with lease.transaction(isolation=isolation, read_only=read_only, deferrable=deferrable):
                yield lease

    def wait(self, timeout: float | None = 30.0) -> None:
        """Return once `min_size` (at least one) connections are open.

        Raises the reason why not: at once where waiting cannot mend it, as the cause of
        `PoolTimeout` otherwise.
        """
        deadline = None if timeout is None else self._clock() + timeout
        slots: list[Slot[Driver]] = []
        try:
            while len(slots) < max(1, self._core.config.min_size):
                slots.append(self._acquire(None, deadline))
        finally:
            for slot in slots:
                self._release(slot)

    def _acquire(self, timeout: float | None, deadline: float | None) -> Slot[Driver]:
        """A leased slot, in turn; both bounds hold (`timeout` from now, `deadline` absolute)."""
        with self._lock:
            now = self._clock()
            if timeout is not None and (deadline is None or now + timeout < deadline):
                deadline = now + timeout
            answer = self._core.acquire(now, deadline)
            if answer.__class__ is Slot:
                return answer
            waiter: Waiter[Driver] = answer  # type: ignore[assignment]
            sleeper = threading.Lock()
            if waiter.state is _WAITING:
                sleeper.acquire()
                self._sleepers[waiter] = sleeper
            self._plan()
            effects = self._take_effects()
        try:
            self._carry_out(effects)
            while not sleeper.acquire(timeout=self._seconds_until(deadline)):
                self._tick()
        except BaseException:
            with self._lock:
                self._sleepers.pop(waiter, None)
                self._core.abandon(waiter, self._clock())
                effects = self._take_effects()
            self._carry_out(effects)
            raise
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            return waiter.slot
        if waiter.state is _TIMED_OUT:
            raise self._timed_out(waiter, self._clock() - now)
        assert waiter.error is not None
        raise waiter.error

    def _seconds_until(self, deadline: float | None) -> float:
        if deadline is None:
            return -1
        return min(max(0.0, deadline - self._clock()), threading.TIMEOUT_MAX)

    def _timed_out(self, waiter: Waiter[Driver], waited: float) -> PoolTimeout:
        stats = self.stats()
        text = (
            f"no connection within {waited:.3g} s: {stats.leased} of {stats.max_size} leased, "
            f"{stats.idle} idle, {stats.opening} opening, {stats.closing} closing, "
            f"{stats.waiting} more waiting"
        )
        if waiter.error is not None:
            text += f"; the last attempt to connect failed: {waiter.error}"
        error = PoolTimeout(text)
        error.stats = stats
        error.__cause__ = waiter.error
        return error

    def _release(
        self, slot: Slot[Driver], lease: Lease | None = None, *, discard: bool = False
    ) -> None:
        driver = slot.connection
        reusable = not discard and driver.clean(self._reset)
        if not reusable:
            driver.given_up = True
        if lease is not None:
            del self._leases[slot]
            if self._callbacks:
                self._emit("release", Connection(driver))
        with self._lock:
            self._core.release(slot, self._clock(), reusable=reusable)
            effects = self._take_effects()
        if effects:
            self._carry_out(effects)

    # ---------------------------------------------------------------- carrying out

    def _take_effects(self) -> list[Effect[Driver]]:
        """What is to be done now; under the lock, at the end of every input."""
        core = self._core
        if core.ended:
            self._ended.set()
            self._alarm.set()
        if not self._has_keeper:
            self._plan()
        return core.take_effects()

    def _plan(self) -> None:
        """See to it that the keeper is there in time; under the lock."""
        due = self._core.next_deadline()
        if due is None:
            return
        if not self._has_keeper:
            self._keeper_due = due
            self._has_keeper = True
            self._thread(self._keep)
        elif due < self._keeper_due:
            self._alarm.set()

    def _carry_out(self, effects: list[Effect[Driver]]) -> None:
        for effect in effects:
            if isinstance(effect, WakeWaiter):
                sleeper = self._sleepers.pop(effect.waiter, None)
                if sleeper is not None:
                    sleeper.release()
            else:
                self._help(_HELPERS[type(effect)], effect.slot)

    def _thread(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(
            target=self._run_thread, args=(target, *args), name=self.name, daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.discard(thread)
            raise

    def _run_thread(self, target: Callable[..., None], *args: Any) -> None:
        try:
            target(*args)
        finally:
            self._threads.discard(threading.current_thread())

    def _help(self, helper: Callable[[Pool, Slot[Driver]], None], slot: Slot[Driver]) -> None:
        """Have it done in a thread of its own; in this one if there is none to be had."""
        try:
            self._thread(helper, self, slot)
        except RuntimeError:  # too many threads, or the interpreter is on its way out
            helper(self, slot)

    def _report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        with self._lock:
            report(*args, self._clock(), **facts)
            self._plan()
            effects = self._take_effects()
        self._carry_out(effects)

    def _open(self, slot: Slot[Driver]) -> None:
        try:
            driver = self._opener.open(OPEN_TIMEOUT)
        except Exception as error:
            mendable = isinstance(error, Error) and waiting_may_help(error)
            self._report(self._core.open_failed, slot, error, mendable=mendable)
        else:
            self._emit("connect", Connection(driver))
            self._report(self._core.opened, slot, driver)

    def _check(self, slot: Slot[Driver]) -> None:
        try:
            slot.connection.run(Ping(), CHECK_TIMEOUT)
        except Error:
            self._report(self._core.checked, slot, ok=False)
        else:
            self._report(self._core.checked, slot, ok=True)

    def _close(self, slot: Slot[Driver]) -> None:
        driver = slot.connection
        failure = driver.session.failure
        if self._aborting:
            driver.interrupt()
        driver.close()
        connection = Connection(driver)
        if failure is not None and not driver.given_up:
            logger.info("%s: an idle connection was lost: %s", self.name, failure)
            self._emit("error", failure, connection)
        self._emit("remove", connection)
        self._report(self._core.closed, slot)

    # ---------------------------------------------------------------- time

    def _tick(self) -> None:
        self._report(self._core.tick)

    def _keep(self) -> None:
        while True:
            with self._lock:
                due = self._core.next_deadline()
                if due is None:
                    self._has_keeper = False
                    return
                seconds = min(_KEEPER_INTERVAL, due - self._clock())
                self._keeper_due = self._clock() + seconds
                self._alarm.clear()
            if seconds > 0:
                self._alarm.wait(seconds)
            self._tick()

    # ---------------------------------------------------------------- the end

    def end(self, timeout: float | None = None) -> None:
        """Close the pool: new requests raise `PoolClosed`, earlier ones are still served.

        Returns once every connection is back and closed; a second call waits for the same.
        With a `timeout` (seconds), when it is up: running queries are cancelled, everything
        is closed, and `PoolTimeout` lists the leases that were still out. Without one, from
        a thread that holds a lease itself, `InterfaceError`: it would wait for itself.
        """
        if timeout is None:
            mine = [lease for lease in tuple(self._leases.values()) if lease.owner == _get_ident()]
            if mine:
                raise InterfaceError(
                    "end() would wait for a lease of the thread that calls it, taken at "
                    + ", ".join(lease.place for lease in mine)
                    + "; release it first, or give end() a timeout"
                )
        self._report(self._core.close)
        if self._ended.wait(timeout):
            self._join_threads()
            return
        leases = tuple(self._leases.values())
        stats = self.stats()
        self._aborting = True
        self._report(self._core.abort)
        self._ended.wait(ABORT_TIMEOUT)
        self._join_threads()
        error = PoolTimeout(
            f"end({timeout:g}): {len(leases)} leases were still out and have been closed"
            + "".join(f"; taken at {lease.place}" for lease in leases)
        )
        error.stats = stats
        raise error

    close = end

    def _join_threads(self) -> None:
        """Everything is closed; what is left of the helpers has a few steps to go."""
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():  # end() in a callback
                thread.join(ABORT_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.end(timeout=END_TIMEOUT)
        except Error as error:
            if value is None:
                raise
            value.add_note(f"the pool did not end cleanly: {error}")

    # ---------------------------------------------------------------- figures and events

    @property
    def total_count(self) -> int:
        """Connections at the server, or on their way there or back."""
        with self._lock:
            return self._core.total_count

    @property
    def idle_count(self) -> int:
        with self._lock:
            return self._core.idle_count

    @property
    def waiting_count(self) -> int:
        """Requests in the queue."""
        with self._lock:
            return self._core.waiting_count

    def stats(self) -> PoolStats:
        """All figures of one instant."""
        with self._lock:
            return self._core.stats()

    def on(self, event: PoolEvent, callback: Callable[..., object]) -> None:
        """Call `callback` with the connection at every such event.

        "connect": a new physical connection, before its first lease; "acquire", "release":
        a lease begins or ends; "remove": a connection has been closed; "error": an idle
        connection was lost (the callback gets the exception, then the connection). Callbacks
        run outside of the pool's lock; what they raise is logged and goes no further.
        """
        if event not in _EVENTS:
            raise ProgrammingError(f"no event {event!r}; there are: {', '.join(_EVENTS)}")
        self._callbacks.setdefault(event, []).append(callback)

    def off(self, event: PoolEvent, callback: Callable[..., object]) -> None:
        """Undo `on`; nothing happens if the callback is not there."""
        callbacks = self._callbacks.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)

    def _emit(self, event: str, *args: object) -> None:
        for callback in tuple(self._callbacks.get(event, ())):
            try:
                callback(*args)
            except Exception:
                logger.exception("%s: a callback for %r raised", self.name, event)


_HELPERS: dict[type[Any], Callable[[Pool, Slot[Driver]], None]] = {
    OpenConnection: Pool._open,
    CheckConnection: Pool._check,
    CloseConnection: Pool._close,
}
