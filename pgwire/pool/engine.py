"""Engine: what makes a blocking pool run. PoolCore decides, the engine does.

One lock guards the core; nothing waits, and no user code runs, while it is held. What the
core wants done (its effects) is carried out after the lock is released. Waking a waiter is
releasing the lock that it sleeps on; opening, checking, resetting and closing connections
(`chores`) take short-lived daemon threads, so that no caller waits for a connection but its own.

One thing may run while the lock is held all the same: the garbage collector, and with it any
destructor. So the lock is reentrant, and who comes in through it is sent away: a lease that is
lost or released there is put aside (`orphan`) for the keeper to close.

All threads are daemons, and gone when `end` has returned.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgwire.blocking.connection import Connection
from pgwire.blocking.driver import Driver
from pgwire.driving import DriverBase
from pgwire.errors import InterfaceError, PoolClosed, PoolFull
from pgwire.log import pool_logger as logger
from pgwire.pool import telling
from pgwire.pool.chores import carry_out
from pgwire.pool.core import PoolCore
from pgwire.pool.crew import Crew
from pgwire.pool.guests import Guests
from pgwire.pool.keeper import Keeper
from pgwire.pool.ledger import Ledger
from pgwire.pool.listeners import Listeners
from pgwire.pool.options import ABORT_TIMEOUT
from pgwire.pool.reasons import bare
from pgwire.pool.requesting import REENTRY, Requests, waking
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.watching import seeing_roles, take_role_loss

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Thread

    from pgwire.blocking.opening import Opener
    from pgwire.errors import PoolTimeout
    from pgwire.pool.config import PoolConfig
    from pgwire.pool.effects import Effect
    from pgwire.pool.listening import Hub
    from pgwire.pool.options import Options

    Answer = Slot[Driver] | Waiter[Driver] | None


_WAITING = WaiterState.WAITING


class _Caller(threading.local):
    """Whose a request is. Not the thread's number: that may be another's soon."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()


_caller = _Caller()
_new_sleeper = threading.Lock
_LONGEST_SLEEP = threading.TIMEOUT_MAX


class Engine(Requests):
    """See the module. `leases` is who holds what; `core` may be read under `lock` only."""

    def __init__(self, config: PoolConfig, opener: Opener, options: Options) -> None:
        self.options = options
        self.opener = opener
        self.listeners = Listeners(options.name)
        self.after_fork: list[Callable[[], object]] = []  # called in the child, last of all
        self._clock = options.clock
        self._leaves_be = options.leaves_be
        self._watches_role = opener.watches_role
        self._begin(config)
        _engines.add(self)

    def _begin(self, config: PoolConfig) -> None:
        """Everything that a forked child has to have anew."""
        self._generation = DriverBase.forks  # of processes: the one that it is run by
        self.lock = threading.RLock()
        look = seeing_roles(Driver.catch_up) if self._watches_role else Driver.catch_up
        self.core: PoolCore[Driver] = PoolCore(config, jitter=random.random, is_alive=look)
        self.leases = Ledger()
        self.hub: Hub | None = None
        self._wakers: dict[Waiter[Driver], Callable[[Waiter[Driver]], object]] = {}
        self._orphans: deque[tuple[Slot[Driver], int]] = deque()
        self._changed = threading.Condition(self.lock)
        self._refusal: Exception | None = None  # why the last opening failed
        self._hopeless = False  # and whether waiting could have mended it
        self._ended = threading.Event()
        self.crew = Crew(self.options.name)
        self.guests = Guests(self.crew)
        self.keeper = Keeper(self)

    # ---------------------------------------------------------------- requests

    def acquire(self, timeout: float | None, deadline: float | None) -> Slot[Driver]:
        """A leased slot, in turn; both bounds hold (`timeout` from now, `deadline` absolute).

        The caller must see to its release from the very next step on: Ctrl-C may strike.
        """
        clock = self._clock
        since = clock()
        if timeout is not None and (deadline is None or since + timeout < deadline):
            deadline = since + timeout
        lock, core = self.lock, self.core
        if lock._is_owned():  # type: ignore[attr-defined]
            raise InterfaceError(REENTRY)
        answer = sleeper = None
        effects: list[Effect[Driver]] | None = None
        try:
            try:  # what `with` does, at half the price
                lock.acquire()
                answer = core.acquire(since, deadline, _caller.thread)
                if core.pending:
                    effects = core.take_effects()
                if isinstance(answer, Slot):
                    slot = answer
                else:
                    waiter, sleeper = answer, _new_sleeper()
                    sleeper.acquire()
                    self._wakers[waiter] = waking(sleeper)
                    self.keeper.plan()
            finally:
                # No call before `release`: only behind one can Ctrl-C strike.
                try:  # noqa: SIM105
                    lock.release()
                except RuntimeError:
                    pass  # it was never ours
            if effects is not None:
                self._carry_out(effects)
            if sleeper is not None:
                slot = self._sleep(waiter, sleeper, since)
            if self.listeners:
                self.listeners.emit("acquire", Connection(slot.connection))
        except BaseException as error:
            if effects is not None:
                self._carry_out(effects)
            self._undo(answer, since, error, _caller.thread)
            raise
        return slot

    def _sleep(self, waiter: Waiter[Driver], sleeper: threading.Lock, since: float) -> Slot[Driver]:
        while waiter.state is _WAITING:
            if not sleeper.acquire(timeout=self._seconds_until(waiter.deadline)):
                self.report(self.core.tick)
        return self.outcome(waiter, since)

    def _undo(self, answer: Answer, since: float, error: BaseException, owner: Thread) -> None:
        """The caller of `acquire` will not take what it asked for."""
        uses = 0
        try:
            if answer is None:  # Ctrl-C struck in the core
                with self.lock:
                    answer = self.core.interrupted(owner, since, self.leases)
            if isinstance(answer, Slot):
                uses = answer.uses
                self.release(answer)
            elif answer is not None:
                self._wakers.pop(answer, None)
                self.report(self.core.abandon, answer)
            else:
                self._go_on_after(error)
        except BaseException:  # it struck again
            if uses and isinstance(answer, Slot):
                self._orphans += ((answer, uses),)
            elif self.crew.is_at_work:  # the clock has raised, and may do so for a while
                self.keeper.owe(self._undo, answer, since, error, owner)
                return
            else:
                self.crew.do(self._undo, answer, since, error, owner)
            raise

    def _go_on_after(self, error: BaseException) -> None:
        """What was struck in the core is gone on with by a thread that Ctrl-C does not strike."""
        # What one of these has met itself (a clock that raises) it would meet again, and again.
        if not (isinstance(error, PoolClosed | PoolFull) or self.crew.is_at_work):
            self.crew.do(self._go_on)

    def _go_on(self) -> None:
        with suppress(Exception):  # the same again: then the keeper will
            self.report(self.core.tick)

    def wait(self, deadline: float | None) -> None:
        """See Pool.wait."""
        since = self._clock()
        if not self._open_count():
            self.release(self.acquire(None, deadline))
        with self._changed:
            while self._open_count() < self.core.config.min_size:
                if self.core.ending:
                    raise PoolClosed("the pool was closed while its connections were opened")
                if self._refusal is not None and self._hopeless:
                    raise bare(self._refusal)
                seconds = None if deadline is None else deadline - self._clock()
                if seconds is not None and seconds <= 0:
                    raise self.timed_out(self._clock() - since, self._refusal)
                self._changed.wait(seconds)

    def _open_count(self) -> int:
        with self.lock:
            stats = self.core.stats()
        return stats.size - stats.opening - stats.closing

    def _seconds_until(self, deadline: float | None) -> float:
        if deadline is None:
            return -1
        return min(max(0.0, deadline - self._clock()), _LONGEST_SLEEP)

    def timed_out(self, waited: float, cause: Exception | None) -> PoolTimeout:
        with self.lock:
            stats = self.core.stats()
        own = self.leases.places_of(_caller.thread)
        return telling.no_connection(waited, stats, own, "thread", cause)

    # ---------------------------------------------------------------- leases

    def release(self, slot: Slot[Driver], discard: bool = False, answered: bool = False) -> None:
        """The lease, or the single query, is over. Never waits and never raises.

        `answered`: the server has just said so.
        """
        driver, lock, core, clock = slot.connection, self.lock, self.core, self._clock
        if driver.generation != self._generation:
            return  # of the parent's pool; ours has begun anew
        uses = slot.uses
        if lock._is_owned():  # type: ignore[attr-defined]
            self.orphan(slot, uses)
            return
        reusable = hooked = False
        try:
            if self.listeners:
                self.listeners.emit("release", Connection(driver))
            if slot.users > 1:
                reusable = driver.session.failure is None
            elif not discard:  # what callbacks have done is cleaned as well
                if self._leaves_be and driver.session.is_spotless():
                    reusable = True
                else:
                    reusable, hooked = self.options.judge(driver)
        finally:
            self.leases.pop(slot, None)
            if not reusable:
                driver.given_up = True
            effects: list[Effect[Driver]] | None = None
            try:
                try:  # as in `acquire`
                    lock.acquire()
                    core.release(slot, clock(), reusable, hooked, answered)
                    if self._watches_role and take_role_loss(driver.session):
                        core.expire(clock())
                    if core.pending:
                        effects = core.take_effects()
                finally:
                    try:  # noqa: SIM105
                        lock.release()
                    except RuntimeError:
                        pass  # it was never ours
                if effects is not None:
                    self._carry_out(effects)
            except BaseException:  # Ctrl-C
                self._orphans += ((slot, uses),)  # if it is still out; no call before this
                self.keeper.wake()
                if effects is not None:
                    self._carry_out(effects)
                raise

    def orphan(self, slot: Slot[Driver], uses: int) -> None:
        """A lease was lost, or given back where no lock may be taken: it is closed later.

        `uses` is the slot's count at that lease, which tells it from any later one.
        """
        self._orphans.append((slot, uses))
        self.keeper.wake()

    def _recover_orphans(self) -> None:
        with suppress(IndexError):  # others may be at it as well
            while True:
                slot, uses = self._orphans[0]  # no call of popleft(): Ctrl-C might strike behind it
                del self._orphans[0]
                try:
                    with self.lock:
                        claimed = self.core.claim(slot, uses)
                        uses += claimed
                    if claimed:
                        self.release(slot, discard=True)
                except BaseException:
                    self._orphans += ((slot, uses),)
                    raise

    def look_after_leases(self) -> None:
        """What the keeper does beside giving the time."""
        if self._orphans:
            self.crew.do(self._recover_orphans)
        if self.options.leak_after is not None:
            self._report_leaks(self.options.leak_after)

    def _report_leaks(self, limit: float) -> None:
        now = self._clock()
        for slot, held, holder, place in self.leases.leaks(limit, now):
            logger.warning(
                "%s: a lease has been held for %.3g s by thread %r, taken at %s",
                self.options.name,
                held,
                holder,
                place,
            )
            self.crew.do(self.listeners.emit, "leak", Connection(slot.connection))

    # ---------------------------------------------------------------- carrying out

    def report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        if self._is_inside():
            raise InterfaceError(REENTRY)
        effects: list[Effect[Driver]] = []
        try:
            with self.lock:
                report(*args, self._clock(), **facts)
                effects = self.core.take_effects()
                self.keeper.plan()
                if self.core.ended:
                    self._ended.set()
                    self.keeper.wake()
                self._changed.notify_all()
            self._carry_out(effects)
        except BaseException as error:  # Ctrl-C
            self._carry_out(effects)
            self._go_on_after(error)
            raise

    def opened(self, slot: Slot[Driver], driver: Driver) -> None:
        """The chore of opening has succeeded."""
        self._refusal, self._hopeless = None, False
        self.report(self.core.opened, slot, driver)
        self.listeners.watch(driver, self._clock)

    def opening_failed(self, slot: Slot[Driver], error: Exception, *, mendable: bool) -> None:
        """The chore of opening has failed; `mendable` is for the core."""
        first = self._refusal is None and not self.core.ending  # until one has succeeded
        level = logging.WARNING if first else logging.DEBUG
        self._refusal, self._hopeless = bare(error), not mendable
        logger.log(level, telling.CANNOT_CONNECT, self.options.name, self._refusal)
        self.report(self.core.open_failed, slot, error, mendable=mendable)

    def _carry_out(self, effects: list[Effect[Driver]]) -> None:
        """Do what the core wants done; called again with the same list, what is left of it.

        That is for Ctrl-C, which may strike before it, in it and after it. To wake somebody twice
        does no harm, and a chore is in the list until a thread takes it that nobody interrupts.
        """
        wakers = self._wakers
        chores = []
        for effect in effects:
            if not isinstance(effect, Waiter):
                chores.append(effect)
            elif (wake := wakers.get(effect)) is not None:
                wake(effect)
                wakers.pop(effect, None)
        effects[:] = chores
        for _ in chores:
            self.crew.do(self._take_up, effects)

    def _take_up(self, chores: list[Effect[Driver]]) -> None:
        try:
            chore = chores.pop(0)
        except IndexError:
            return  # another thread was started for it
        carry_out(self, chore)

    # ---------------------------------------------------------------- the end

    @property
    def has_ended(self) -> bool:
        """Whether everything that `end` waits for has happened."""
        return self._ended.is_set()

    def end(self, timeout: float | None) -> None:
        """See Pool.end."""
        self._recover_orphans()
        if timeout is None and not self.has_ended:
            self._refuse_to_wait_for_itself()
        if self.hub is not None:
            self.hub.end()
        self.report(self.core.close)
        # When the interpreter is at its end, whoever still has a connection stands still for ever.
        if not self._ended.wait(0.0 if sys.is_finalizing() else timeout):
            raise self._abort(timeout)
        # What is left of the chores has a few steps to go.
        self.crew.join(ABORT_TIMEOUT)

    def _refuse_to_wait_for_itself(self) -> None:
        if own := self.leases.places_of(_caller.thread):
            raise telling.waits_for_own_lease(own, "thread")
        if (code := self.listeners.innermost) is not None:
            raise telling.waits_for_caller(code, "thread")

    def _abort(self, timeout: float | None) -> PoolTimeout:
        """Time is up: cancel, cut and close. The error says what was still under way."""
        leases = self.leases.holders()
        with self.lock:
            stats = self.core.stats()
        if sys.is_finalizing():  # closing takes the turn of whoever stands still
            return telling.not_ended(timeout, leases, stats)
        self.opener.abort()
        self.report(self.core.abort)
        self.guests.leave()
        if self.listeners.innermost is None:  # else it would wait for itself
            self._ended.wait(ABORT_TIMEOUT)
            self.crew.join(ABORT_TIMEOUT)
        return telling.not_ended(timeout, leases, stats)

    # ---------------------------------------------------------------- forks

    def begin_anew(self) -> None:
        """In a forked child: the connections are the parent's. Start empty, tell nobody."""
        old, ending = self.core, self.core.ending
        self._begin(old.config)
        self.opener.begin_anew()
        for driver in old.connections():
            driver.drop()
        if ending:
            self.report(self.core.close)
        for function in self.after_fork:
            function()


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _begin_all_anew() -> None:
    for engine in tuple(_engines):
        engine.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
