"""Queries: single queries on an asyncio pool, each a request that carries its operation.

When a connection becomes free, the call that reads the answer of the last query hands it out
and writes the next; no task wakes up in between. Where connections are shared (`max_pipeline`),
it is learned here how long each statement runs.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.future import QueryFuture, query_future
from pgwire.errors import PoolClosed, PoolFull
from pgwire.pool.pace import Pace
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter, WaiterState
from pgwire.protocol.observing import Asked
from pgwire.protocol.query import Query

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable

    from pgwire.aio.driver import AsyncDriver
    from pgwire.pool.aio_engine import AsyncEngine
    from pgwire.protocol.operation import Operation

_WAITING, _GRANTED = WaiterState.WAITING, WaiterState.GRANTED


class Queries:
    """See the module. Stands in for a driver as long as a query waits in the queue."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._clock = engine.options.clock
        self._checkout_timeout = engine.options.checkout_timeout
        self._done = self._query_done  # a method, made once
        self.pace = Pace() if engine.core.config.max_pipeline > 1 else None

    def query(
        self,
        operation: Operation,
        timeout: float | None,
        row: Callable[..., Any] | None = None,
    ) -> QueryFuture:
        """Queue an operation; every error but a foreign loop's comes out of the future."""
        engine, clock, pace = self._engine, self._clock, self.pace
        core = engine.core
        future = query_future(engine.enter(), operation, self, row, self._done)
        since = clock()
        limit = self._checkout_timeout
        if timeout is not None:
            future.with_extra().deadline = since + timeout
            limit = timeout if limit is None else min(limit, timeout)
        deadline = None if limit is None else since + limit
        if engine.listeners:
            operation.asked = Asked(since)
            if "acquire" in engine.listeners or "release" in engine.listeners:
                future.with_extra().context = copy_context()
        try:
            if pace is None:
                answer = core.acquire(since, deadline)
            else:
                # Whether it is known to be short, and to leave nothing behind.
                short = isinstance(operation, Query) and pace.may_share(operation.sql)
                answer = core.acquire(since, deadline, None, short)
            if isinstance(answer, Slot):
                if core.pending:  # else nothing is due sooner than before
                    engine.go_on()
                self._run(future, answer)
            else:
                self._wait(future, answer)
        except (PoolClosed, PoolFull) as error:
            future.set_exception(error)
            self._never_run(operation, error)
        except BaseException:  # Ctrl-C: nobody has the future
            engine.mend_soon()
            future.get_loop().call_soon(future.cancel)
            raise
        return future

    def _wait(self, future: QueryFuture, waiter: Waiter[AsyncDriver]) -> None:
        engine, core = self._engine, self._engine.core
        future.place = waiter
        if waiter.state is _WAITING:
            engine.wakers[waiter] = future
            if engine.leases:  # it may wait for a lease of its own task
                future.with_extra().asker = asyncio.current_task()
            if core.pending or not engine.keeper.comes_by(core.next_deadline(), waiter.since):
                engine.go_on()
        else:  # it was now or never
            engine.go_on()
            self.waiting_ended(waiter, future)

    def failed(self, error: Exception) -> Future[Any]:
        """What to give for a query that makes no sense."""
        future: Future[Any] = self._engine.enter().create_future()
        future.set_exception(error)
        return future

    def _run(self, future: QueryFuture, slot: Slot[AsyncDriver]) -> None:
        """A query has its connection."""
        driver = slot.connection
        future.place, future.runner = slot, driver
        if self._engine.listeners:
            self._tell("acquire", future, driver)
        if self.pace is not None:
            driver.session.unordered = True  # each operation is somebody else's
        extra = future.extra
        if extra is None or extra.deadline is None:
            driver.start(future)
        else:
            driver.start(future, max(0.0, extra.deadline - self._clock()))

    def _query_done(self, future: QueryFuture) -> None:
        """The driver is done with a query, or with what nobody wanted any more."""
        slot: Slot[AsyncDriver] = future.place
        engine, operation, clock, pace = self._engine, future.operation, self._clock, self.pace
        try:
            driver, now = slot.connection, clock()
            # Of answers that came together only the first was waited for.
            if pace is not None and driver.timed_read != driver.reads:
                driver.timed_read = driver.reads
                self._note_pace(pace, slot, operation, now)
            if engine.listeners:
                self._tell("release", future, driver)
                self._never_run(operation, operation.told or operation.error)
            engine.take_back(slot, now, False, not (operation.error or operation.abandoned))
        except BaseException:  # Ctrl-C
            engine.mend_soon()
            raise

    def _tell(self, event: str, future: QueryFuture, driver: AsyncDriver) -> None:
        """Tell who listens, as if the one who asked did: it may be a callback itself."""
        if event not in self._engine.listeners:
            return
        context = None if future.extra is None else future.extra.context
        emit, connection = self._engine.listeners.emit, AsyncConnection(driver)
        if context is None:
            emit(event, connection)
        else:
            context.run(emit, event, connection)

    def _note_pace(
        self, pace: Pace, slot: Slot[AsyncDriver], operation: Operation, now: float
    ) -> None:
        """How long it took; what failed, or was not wanted any more, may have been cut short."""
        if not isinstance(operation, Query):
            return
        since = slot.busy_since if slot.users else slot.leased_at
        if operation.leaves_traces:
            pace.note_private(operation.sql)
        elif operation.error is None and not operation.abandoned:
            pace.note(operation.sql, now - since)

    def abandon(self, future: QueryFuture) -> None:
        """A query was cancelled while it waited in the queue."""
        waiter = getattr(future, "place", None)
        engine = self._engine
        try:
            if isinstance(waiter, Waiter) and engine.wakers.pop(waiter, None) is not None:
                engine.report(engine.core.abandon, waiter)
                self._never_run(future.operation, future.operation.told)
        except BaseException:  # Ctrl-C
            engine.mend_soon()
            raise

    def waiting_ended(self, waiter: Waiter[AsyncDriver], future: QueryFuture) -> None:
        """A query waits no more: it begins, or fails."""
        asker = None
        if future.extra is not None:
            asker, future.extra.asker = future.extra.asker, None
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            self._run(future, waiter.slot)
        elif not future.done():
            try:
                self._engine.outcome(waiter, waiter.since, asker)
            except Exception as error:
                future.set_exception(error)
                self._never_run(future.operation, error)

    def _never_run(self, operation: Operation, error: BaseException | None) -> None:
        self._engine.listeners.never_run(operation, error, self._clock())
