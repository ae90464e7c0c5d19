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
import weakref
from asyncio import _get_running_loop
from collections import deque
from contextlib import suppress
from contextvars import Context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.driver import AsyncDriver
from pgwire.aio.future import QueryFuture
from pgwire.aio.loops import check_loop, running_loop
from pgwire.driving import DriverBase
from pgwire.errors import ConnectionFailed, PoolClosed
from pgwire.log import pool_logger as logger
from pgwire.pool import telling
from pgwire.pool.aio_chores import CANCELLED, CHORES
from pgwire.pool.aio_keeper import AsyncKeeper
from pgwire.pool.aio_listeners import AsyncListeners
from pgwire.pool.aio_queries import Queries
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.ledger import Ledger
from pgwire.pool.options import ABORT_TIMEOUT
from pgwire.pool.slots import CHECKING, CLOSING, LEASED, OPENING, Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.watching import seeing_roles, take_role_loss

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import Callable, Coroutine, Iterable

    from pgwire.aio.opening import AsyncOpener
    from pgwire.errors import PoolTimeout
    from pgwire.pool.aio_listening import AsyncHub
    from pgwire.pool.config import PoolConfig
    from pgwire.pool.effects import Effect
    from pgwire.pool.ledger import Place
    from pgwire.pool.options import Options
    from pgwire.pool.slots import SlotState

    Answer = Slot[AsyncDriver] | Waiter[AsyncDriver]


_WAITING, _GRANTED, _TIMED_OUT, _, _ = WaiterState


class AsyncEngine:
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
        self.wakers: dict[Waiter[AsyncDriver], Future[Any]] = {}
        self._changed: list[Future[None]] = []
        self._refusal: Exception | None = None  # why the last opening failed
        self._hopeless = False  # and whether waiting could have mended it
        self._tasks: set[Task[Any]] = set()
        self._openings: dict[Slot[AsyncDriver], Task[Any]] = {}
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
        answer = self.ask(timeout)
        return answer if isinstance(answer, Slot) else await self.wait_for(answer)

    def ask(self, timeout: float | None) -> Slot[AsyncDriver] | Waiter[AsyncDriver]:
        """Take a place in the queue now: a leased slot, or what to `wait` for."""
        loop = self.enter()
        since = self._clock()
        deadline = None if timeout is None else since + timeout
        answer = self.core.acquire(since, deadline, asyncio.current_task(loop))
        if isinstance(answer, Slot):
            if self.core.pending:  # else nothing is due sooner than before
                self.go_on()
            if self.listeners:
                self.listeners.emit("acquire", AsyncConnection(answer.connection))
        else:
            if answer.state is _WAITING:
                self.wakers[answer] = loop.create_future()
            self.go_on()
        return answer

    async def wait_for(self, waiter: Waiter[AsyncDriver]) -> Slot[AsyncDriver]:
        """The slot, in turn. No step stands between its return and the caller's next."""
        future = self.wakers.get(waiter)
        if future is not None:
            try:
                await future
            except BaseException:
                self.wakers.pop(waiter, None)
                self.report(self.core.abandon, waiter)
                raise
        slot = self.outcome(waiter, waiter.since, asyncio.current_task())
        if self.listeners:
            self.listeners.emit("acquire", AsyncConnection(slot.connection))
        return slot

    def outcome(
        self, waiter: Waiter[AsyncDriver], since: float, asker: object
    ) -> Slot[AsyncDriver]:
        """What became of a waiter that waits no more: its slot, or its error raised."""
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            return waiter.slot
        if waiter.state is _TIMED_OUT:
            raise self.timed_out(self._clock() - since, waiter.error, asker)
        assert waiter.error is not None
        raise waiter.error

    def timed_out(self, waited: float, cause: Exception | None, asker: object) -> PoolTimeout:
        own = [] if asker is None else self.leases.places_of(asker)
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
                driver.when_idle(lambda: self.take_back(slot, self._clock()))
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

    def orphan(self, slot: Slot[AsyncDriver], uses: int) -> None:
        """A lease was collected, in whichever thread: it is closed by the loop.

        `uses` is the slot's count at that lease, which tells it from any later one.
        """
        self._orphans.append((slot, uses))
        if self.loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and with it the connection
                self.loop.call_soon_threadsafe(self._recover_orphans)

    def _recover_orphans(self) -> None:
        while self._orphans:
            slot, uses = self._orphans.popleft()
            if slot.state is LEASED and slot.uses == uses:
                self.release(slot, discard=True)

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
        report(*args, self._clock(), **facts)
        self.go_on()

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
                waker = self.wakers.pop(effect, None)
                if isinstance(waker, QueryFuture):
                    self.queries.waiting_ended(effect, waker)
                elif waker is not None and not waker.done():
                    waker.set_result(None)  # its task goes on
            else:
                # Nobody's, and so in nobody's context.
                task = self.spawn(CHORES[type(effect)](self, effect.slot), Context())
                task.add_done_callback(partial(self._chore_ended, effect.slot, effect.slot.state))
                # It may be done already: a loop may begin tasks as soon as they are made.
                if isinstance(effect, OpenConnection) and not task.done():
                    self._openings[effect.slot] = task

    def _chore_ended(self, slot: Slot[AsyncDriver], state: SlotState, task: Task[None]) -> None:
        """One that was cancelled before its first step has reported nothing."""
        if not task.cancelled() or slot.state is not state:
            return
        if state is OPENING:
            self.opening_failed(slot, ConnectionFailed(CANCELLED), mendable=True)
        elif state is CLOSING:
            slot.connection.abort()
            self.report(self.core.closed, slot)
        elif state is CHECKING:
            self.report(self.core.checked, slot, ok=False)
        else:
            self.report(self.core.reset_done, slot, ok=False)

    def _tell_of_change(self) -> None:
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)

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
        self._openings.pop(slot, None)
        self._refusal, self._hopeless = None, False
        driver.lost_listener = partial(self._lost, slot)
        self.report(self.core.opened, slot, driver)
        self.listeners.watch(driver, self._clock)

    def opening_failed(self, slot: Slot[AsyncDriver], error: Exception, *, mendable: bool) -> None:
        """The chore of opening has failed; `mendable` is for the core."""
        self._openings.pop(slot, None)
        first = self._refusal is None and not self.core.ending  # until one has succeeded
        level = logging.WARNING if first else logging.DEBUG
        logger.log(level, telling.CANNOT_CONNECT, self.options.name, error)
        self._refusal, self._hopeless = error, not mendable
        self.report(self.core.open_failed, slot, error, mendable=mendable)

    def _lost(self, slot: Slot[AsyncDriver]) -> None:
        self.report(self.core.lost, slot)

    # ---------------------------------------------------------------- waiting for the pool

    async def wait(self, seconds: float | None) -> None:
        """See AsyncPool.wait."""
        self.enter()
        since = self._clock()
        if not self._open_count():
            self.release(await self.acquire(seconds))

        def settled() -> bool:
            core = self.core
            hopeless = self._refusal is not None and self._hopeless
            return core.ending or hopeless or self._open_count() >= core.config.min_size

        if seconds is not None:
            seconds = max(0.0, seconds - (self._clock() - since))
        in_time = await self._until(settled, seconds)
        if self._open_count() >= self.core.config.min_size:
            return
        if not in_time:
            raise self.timed_out(self._clock() - since, self._refusal, asyncio.current_task())
        if self.core.ending:
            raise PoolClosed("the pool was closed while its connections were opened")
        raise cast("Exception", self._refusal)

    def _open_count(self) -> int:
        stats = self.core.stats()
        return stats.size - stats.opening - stats.closing

    # ---------------------------------------------------------------- the end

    async def end(self, timeout: float | None) -> None:
        """See AsyncPool.end."""
        self.enter()
        self._recover_orphans()
        if timeout is None and not self.core.ended:
            self._refuse_to_wait_for_itself()
        if self.hub is not None:
            self.hub.end()
        self.report(self.core.close)
        if not await self._until(lambda: self.core.ended, timeout):
            raise await self._abort(timeout)
        await self._finish_tasks()

    def _refuse_to_wait_for_itself(self) -> None:
        if own := self.leases.places_of(asyncio.current_task()):
            raise telling.waits_for_own_lease(own, "task")
        if (code := self.listeners.innermost) is not None:
            raise telling.waits_for_caller(code, "task")

    async def _abort(self, timeout: float | None) -> PoolTimeout:
        """Time is up: cancel, cut and close. The error says what was still under way."""
        leases = self.leases.holders()
        stats = self.core.stats()
        self.aborting = True
        for task in tuple(self._openings.values()):
            task.cancel()
        self.report(self.core.abort)
        if self.listeners.innermost is None:  # else it would wait for itself
            await self._until(lambda: self.core.ended, ABORT_TIMEOUT)
            await self._finish_tasks()
        return telling.not_ended(timeout, leases, stats)

    async def _finish_tasks(self) -> None:
        """What is left of the chores and callbacks has a few steps to go."""
        rest = self._tasks - {cast("Task[Any]", asyncio.current_task())}
        if rest and self.listeners.innermost is None:
            await asyncio.wait(rest, timeout=ABORT_TIMEOUT)

    # ---------------------------------------------------------------- forks

    def begin_anew(self) -> None:
        """In a forked child: the connections are the parent's. Start empty, tell nobody."""
        old = self.core
        self._begin(old.config)
        for driver in old.connections():
            driver.drop()
        if old.ending:
            self.report(self.core.close)


_engines: weakref.WeakSet[AsyncEngine] = weakref.WeakSet()


def _begin_all_anew() -> None:
    for engine in tuple(_engines):
        engine.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
