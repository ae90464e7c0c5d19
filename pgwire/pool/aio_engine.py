"""AsyncEngine: what makes an asyncio pool run. PoolCore decides, the engine does.

Everything happens in one event loop, so nothing is locked: no `await` stands between two calls
of the core that belong together. What the core wants done (its effects) is carried out at once:
waking a waiter is starting its query (`aio_queries`), or completing a future; opening, checking,
resetting and closing connections (`aio_chores`) are tasks. One timer gives the core the time
(`aio_keeper`).

A connection is given back to the core once nothing is under way on it: what a cancelled task has
left there is brought to its end first, for which the driver has its bounds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from asyncio import CancelledError, _get_running_loop, current_task
from collections import deque
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet, ref

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.driver import AsyncDriver
from pgwire.aio.future import QueryFuture
from pgwire.aio.loops import check_loop, running_loop
from pgwire.driving import DriverBase
from pgwire.errors import ConnectionLost, Error, PoolClosed
from pgwire.log import pool_logger as logger
from pgwire.pool import telling
from pgwire.pool.aio_chores import begin
from pgwire.pool.aio_ending import AsyncEnding
from pgwire.pool.aio_keeper import AsyncKeeper
from pgwire.pool.aio_listeners import AsyncListeners
from pgwire.pool.aio_mending import mend
from pgwire.pool.aio_queries import Queries
from pgwire.pool.core import PoolCore
from pgwire.pool.ledger import Ledger
from pgwire.pool.reasons import bare, take_error
from pgwire.pool.slots import IDLE, LEASED, Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.watching import seeing_roles, take_role_loss

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import Callable, Coroutine, Iterable
    from contextvars import Context

    from pgwire.aio.opening import AsyncOpener
    from pgwire.errors import PoolTimeout
    from pgwire.pool.aio_listening import AsyncHub
    from pgwire.pool.config import PoolConfig
    from pgwire.pool.effects import Effect
    from pgwire.pool.ledger import Place
    from pgwire.pool.options import Options
    from pgwire.pool.slots import SlotState
    from pgwire.protocol.session import Session

    Answer = Slot[AsyncDriver] | Waiter[AsyncDriver]


_WAITING, _GRANTED, _TIMED_OUT, _, _ = WaiterState


class AsyncEngine(AsyncEnding):
    """See the module. `leases` is who holds what."""

    def __init__(self, config: PoolConfig, opener: AsyncOpener, options: Options) -> None:
        self.options = options
        self.opener = opener
        self.listeners = AsyncListeners(options.name, self.spawn)
        self.query_timeout = options.query_timeout
        self._clock = options.clock
        self._leaves_be = options.leaves_be
        self._watches_role = opener.watches_role
        self._begin(config)
        _engines.add(self)

    def _begin(self, config: PoolConfig) -> None:
        """Everything that a forked child has to have anew."""
        self._generation = DriverBase.forks  # of processes: the one that it is run by
        look = seeing_roles(AsyncDriver.is_alive) if self._watches_role else AsyncDriver.is_alive
        self.core: PoolCore[AsyncDriver] = PoolCore(config, jitter=random.random, is_alive=look)
        self.leases = Ledger()
        self.hub: AsyncHub | None = None
        self.loop: AbstractEventLoop | None = None
        self.aborting = self._started = False
        # Of those who wait, and of those whose task has not taken over yet what it was granted.
        self.wakers: dict[Waiter[AsyncDriver], Future[Any]] = {}
        self.coming_back: set[Slot[AsyncDriver]] = set()  # once nothing is under way there
        self._changed: list[Future[None]] = []
        self._refusal: Exception | None = None  # why the last opening failed
        self._hopeless = False  # and whether waiting could have mended it
        self._tasks, self._left = set(), set()
        self.chores: dict[tuple[Slot[AsyncDriver], SlotState], Task[Any] | None] = {}
        self._orphans: deque[tuple[Slot[AsyncDriver], int]] = deque()
        self.queries = Queries(self)
        self.keeper = AsyncKeeper(self)

    # ---------------------------------------------------------------- the loop

    def enter(self) -> AbstractEventLoop:
        """The running loop, which must be the pool's own; the first one becomes that."""
        loop = _get_running_loop()
        if loop is None or loop is not self.loop:
            return self._bind()
        return loop

    def _bind(self) -> AbstractEventLoop:
        loop = running_loop("pool")
        if self.loop is not None:
            if self.core.total_count or self.core.waiting_count:
                check_loop(self.loop, "pool")
            self._leave_loop()
        self.loop = loop
        if not self._started:
            self.start()
        return loop

    def _leave_loop(self) -> None:
        """The pool is empty, and moves: what it left in its last loop is that one's."""
        self.keeper.stop()
        self.keeper = AsyncKeeper(self)
        self._changed.clear()
        self._tasks.clear()

    def start(self) -> None:
        """Open what `min_size` asks for, if a loop is running; else at the first use."""
        loop = _get_running_loop()
        if loop is not None and not self._started:
            self._started = True
            self.loop = loop
            self.report(self.core.start)

    def spawn(self, work: Coroutine[Any, Any, Any], context: Context | None = None) -> Task[Any]:
        """Run it beside; `end` waits for it. Without a `context`, in that of the caller."""
        assert self.loop is not None
        task = self.loop.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---------------------------------------------------------------- leases

    async def acquire(self, timeout: float | None) -> Slot[AsyncDriver]:
        """A leased slot, in turn. No step stands between its return and the caller's next."""
        answer = None
        try:
            answer = self.ask(timeout)
            return answer if isinstance(answer, Slot) else await self.wait_for(answer)
        except (Error, CancelledError):
            raise
        except BaseException:  # Ctrl-C
            self.disown(answer)
            raise

    def ask(self, timeout: float | None) -> Slot[AsyncDriver] | Waiter[AsyncDriver]:
        """Take a place in the queue now: a leased slot, or what to `wait` for."""
        loop = self.enter()
        since = self._clock()
        deadline = None if timeout is None else since + timeout
        task = current_task(loop)
        # Weak, as the traceback of a task that has failed may be all that has the lease.
        answer = self.core.acquire(since, deadline, task and ref(task))
        if isinstance(answer, Slot):
            if self.core.pending:  # else nothing is due sooner than before
                self.go_on()
            if self.listeners:
                self.listeners.emit("acquire", AsyncConnection(answer.connection))
            return answer
        try:
            if answer.state is _WAITING:
                self.wakers[answer] = loop.create_future()
            self.go_on()
        except BaseException:  # Ctrl-C
            self.disown(answer)
            raise
        return answer

    async def wait_for(self, waiter: Waiter[AsyncDriver]) -> Slot[AsyncDriver]:
        """The slot, in turn. No step stands between its return and the caller's next."""
        try:
            if (future := self.wakers.get(waiter)) is not None:
                await future
                del self.wakers[waiter]
        except BaseException:
            self.wakers.pop(waiter, None)
            self.report(self.core.abandon, waiter)
            raise
        slot = self.outcome(waiter, waiter.since, current_task())
        if self.listeners:
            self.listeners.emit("acquire", AsyncConnection(slot.connection))
        return slot

    def disown(self, answer: Answer | None) -> None:
        """Ctrl-C struck whoever asked: what he has got, or will get, is for somebody else."""
        if isinstance(answer, Waiter):
            self.wakers.pop(answer, None)
        self.mend_soon()

    def outcome(
        self, waiter: Waiter[AsyncDriver], since: float, asker: object
    ) -> Slot[AsyncDriver]:
        """What became of a waiter that waits no more: its slot, or its error raised."""
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            return waiter.slot
        if waiter.state is _TIMED_OUT:
            raise self.timed_out(self._clock() - since, waiter.error, asker)
        raise take_error(waiter)

    def timed_out(self, waited: float, cause: Exception | None, asker: object) -> PoolTimeout:
        own = [] if asker is None else self.leases.places_of(ref(asker))
        return telling.no_connection(waited, self.core.stats(), own, "task", cause)

    def lent(self, slot: Slot[AsyncDriver], place: Place) -> None:
        """A lease begins."""
        self.leases[slot] = place
        if self.options.leak_after is not None:
            self.keeper.plan()

    def release(self, slot: Slot[AsyncDriver], discard: bool = False) -> None:
        """The lease is over. Never waits and never raises."""
        self.leases.pop(slot, None)
        driver = slot.connection
        if driver.generation != self._generation:
            return  # of the parent's pool; ours has begun anew
        if self.listeners:
            self.listeners.emit("release", AsyncConnection(driver))
        self.take_back(slot, self._clock(), discard)

    def take_back(
        self, slot: Slot[AsyncDriver], now: float, discard: bool = False, answered: bool = False
    ) -> None:
        """A lease or a query is over: the core has it back once nothing is under way there.

        `answered`: the server has just said so.
        """
        driver, core = slot.connection, self.core
        session = driver.session
        reusable, hooked = not discard, False
        if slot.users > 1:
            reusable = session.failure is None
        elif reusable and not (self._leaves_be and session.is_spotless()):
            if session.pending:
                self._await_end(slot)
                return
            reusable, hooked = self.options.judge(driver)
        if not reusable:
            driver.given_up = True
        core.release(slot, now, reusable, hooked, answered)
        if self._watches_role and take_role_loss(session):
            core.expire(now)
        # What has become idle is to be looked at, and else nothing is due sooner than before.
        if core.pending or self._changed or not self.keeper.comes_by(core.next_look):
            self.go_on()

    def _await_end(self, slot: Slot[AsyncDriver]) -> None:
        try:
            self.coming_back.add(slot)
            slot.connection.when_idle(lambda: self._come_back(slot))
        except BaseException:  # Ctrl-C: the mending takes it back
            self.coming_back.discard(slot)
            raise

    def _come_back(self, slot: Slot[AsyncDriver]) -> None:
        """Nothing is under way any more; told more than once where Ctrl-C has struck."""
        if slot in self.coming_back:
            self.coming_back.remove(slot)
            try:
                self.take_back(slot, self._clock())
            except BaseException:
                self.mend_soon()
                raise

    def interrupted(self, slot: Slot[AsyncDriver], uses: int) -> None:
        """Ctrl-C struck whoever gave a lease back: it is closed, unless it has come back."""
        self._orphans += ((slot, uses),)
        self.mend_soon()

    def orphan(self, slot: Slot[AsyncDriver], uses: int) -> None:
        """A lease was collected, in whichever thread: it is closed by the loop.

        `uses` is the slot's count at that lease, which tells it from any later one.
        """
        self._orphans.append((slot, uses))
        if self.loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and with it the connection
                self.loop.call_soon_threadsafe(self.recover_orphans)

    def recover_orphans(self) -> None:
        while self._orphans:
            slot, uses = self._orphans[0]
            del self._orphans[0]
            try:
                if slot.uses == uses:
                    self.leases.pop(slot, None)  # which `end` may have closed already
                    if slot.state is LEASED and slot not in self.coming_back:
                        self.release(slot, discard=True)
            except BaseException:  # Ctrl-C
                self.interrupted(slot, uses)
                raise

    def report_leaks(self) -> None:
        """Tell of leases that have been held for too long, once each."""
        now, limit = self._clock(), self.options.leak_after
        for slot, held, holder, place in self.leases.leaks(inf if limit is None else limit, now):
            logger.warning(
                "%s: a lease has been held for %.3g s by task %r, taken at %s",
                self.options.name,
                held,
                holder,
                place,
            )
            self.listeners.emit("leak", AsyncConnection(slot.connection))

    # ---------------------------------------------------------------- carrying out

    def report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        try:
            report(*args, self._clock(), **facts)
            self.go_on()
        except BaseException:  # Ctrl-C
            self.mend_soon()
            raise

    def mend_soon(self) -> None:
        """Ctrl-C has struck in the pool: what it left undone is done in the loop's next turn."""
        if self.loop is not None and not self.keeper.mends_later(self.loop):
            with suppress(RuntimeError):  # it is closed
                self.loop.call_soon(mend, self)

    def go_on(self) -> None:
        """The core has had an input: do what it wants done."""
        if self.core.pending:
            self._carry_out(self.core.take_effects())
        if self._changed:
            self._tell_of_change()
        self.keeper.plan()

    def _carry_out(self, effects: Iterable[Effect[AsyncDriver]]) -> None:
        for effect in effects:
            if isinstance(effect, Waiter):
                waker = self.wakers.get(effect)
                if isinstance(waker, QueryFuture):
                    self.queries.waiting_ended(effect, waker)
                    self.wakers.pop(effect, None)
                elif waker is not None and not waker.done():
                    waker.set_result(None)  # its task goes on
            else:
                begin(self, effect.slot)

    def _tell_of_change(self) -> None:
        for future in self._changed:
            if not future.done():
                future.set_result(None)
        self._changed = []

    async def _until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until it holds, looking whenever something has changed; False if time is up."""
        loop = self.enter()
        deadline = None if seconds is None else loop.time() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while not condition():
                    change: Future[None] = loop.create_future()
                    self._changed.append(change)
                    await change
        return condition()

    def opened(self, slot: Slot[AsyncDriver], driver: AsyncDriver) -> None:
        """The chore of opening has succeeded."""
        self._refusal, self._hopeless = None, False
        driver.lost_listener = partial(self._lost, slot, driver.session)
        self.report(self.core.opened, slot, driver)
        self.listeners.watch(driver, self._clock)

    def opening_failed(self, slot: Slot[AsyncDriver], error: Exception, *, mendable: bool) -> None:
        """The chore of opening has failed; `mendable` is for the core."""
        first = self._refusal is None and not self.core.ending  # until one has succeeded
        level = logging.WARNING if first else logging.DEBUG
        self._refusal, self._hopeless = bare(error), not mendable
        logger.log(level, telling.CANNOT_CONNECT, self.options.name, self._refusal)
        self.report(self.core.open_failed, slot, error, mendable=mendable)

    def _lost(self, slot: Slot[AsyncDriver], session: Session) -> None:
        if slot.state is IDLE:
            self.report(self.core.lost, slot)
        elif not isinstance(session.failure, ConnectionLost):
            self.mend_soon()  # whoever has it may not have heard

    # ---------------------------------------------------------------- waiting for the pool

    async def wait(self, seconds: float | None) -> None:
        """See AsyncPool.wait."""
        self.enter()
        since = self._clock()
        if not self._open_count():
            try:
                self.release(await self.acquire(seconds))
            except BaseException:  # Ctrl-C, or no connection
                self.mend_soon()
                raise

        def settled() -> bool:
            hopeless = self._refusal is not None and self._hopeless
            return self.core.ending or hopeless or self._open_count() >= self.core.config.min_size

        if seconds is not None:
            seconds = max(0.0, seconds - (self._clock() - since))
        in_time = await self._until(settled, seconds)
        if self._open_count() >= self.core.config.min_size:
            return
        if not in_time:
            raise self.timed_out(self._clock() - since, self._refusal, current_task())
        if self.core.ending:
            raise PoolClosed("the pool was closed while its connections were opened")
        raise bare(cast("Exception", self._refusal))

    def _open_count(self) -> int:
        stats = self.core.stats()
        return stats.size - stats.opening - stats.closing

    # ---------------------------------------------------------------- forks

    def begin_anew(self) -> None:
        """In a forked child: the connections are the parent's. Start empty, tell nobody."""
        old = self.core
        self._begin(old.config)
        for driver in old.connections():
            driver.drop()
        if old.ending:
            self.report(self.core.close)


_engines: WeakSet[AsyncEngine] = WeakSet()


def _begin_all_anew() -> None:
    for engine in tuple(_engines):
        engine.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
