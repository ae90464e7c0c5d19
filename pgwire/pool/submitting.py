"""Submitter: `pool.submit()`, queries whose callers do not wait.

A submitted query takes its place in the core's queue like any other request. Once it has its
connection a worker runs it; there are never more workers than connections in use, they take
one job after the other, and go when there has been nothing to do for a while.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pgwire.pool.slots import Slot
from pgwire.protocol.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.rows import Result, Row

    Job = tuple[Slot[Driver], Query, float | None, Future[Result[Row]]]

# A worker without work goes after so many looks, so many seconds apart.
_LOOKS = 10
_LOOK = 0.1


class Submitter:
    """Made once per pool; `submit` never raises, everything arrives in the future."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._spare = 0  # workers without work, less jobs without a worker

    def submit(
        self,
        sql: str,
        params: Sequence[Any],
        checkout_timeout: float | None,
        timeout: float | None,
    ) -> Future[Result[Row]]:
        future: Future[Result[Row]] = Future()
        clock = self._engine.options.clock
        since = clock()
        deadline = None if timeout is None else since + timeout
        limits = [since + t for t in (checkout_timeout, timeout) if t is not None]
        try:
            query = Query(sql, params)

            def settle(waiter: Waiter[Driver]) -> None:
                try:
                    slot = self._engine.outcome(waiter, since)
                except Exception as error:
                    if future.set_running_or_notify_cancel():
                        future.set_exception(error)
                else:
                    self._put((slot, query, deadline, future))

            answer = self._engine.request(min(limits, default=None), settle)
        except Exception as error:
            future.set_exception(error)
        else:
            if isinstance(answer, Slot):
                self._put((answer, query, deadline, future))
        return future

    def _put(self, job: Job) -> None:
        with self._lock:
            self._spare -= 1
            lacking = self._spare < 0
            if lacking:
                self._spare += 1
        self._jobs.put(job)
        if lacking:
            self._engine.start_thread(self._work)

    def _work(self) -> None:
        looks = 0
        while looks < _LOOKS and not (looks and self._engine.has_ended):
            try:
                job = self._jobs.get(timeout=_LOOK)
            except Empty:
                looks += 1
                continue
            self._run(*job)
            looks = 0
        with self._lock:
            going = self._spare > 0
            self._spare -= going
        if not going:  # a job has been put in the meantime, with this worker in mind
            self._work()

    def _run(
        self,
        slot: Slot[Driver],
        query: Query,
        deadline: float | None,
        future: Future[Result[Row]],
    ) -> None:
        engine = self._engine
        wanted = future.set_running_or_notify_cancel()
        error: BaseException | None = None
        if wanted:
            try:
                left = None if deadline is None else max(0.0, deadline - engine.options.clock())
                slot.connection.run(query, left)
            except BaseException as raised:
                error = raised
        # Free first, worker and connection: the release may bring the next job along, and
        # whoever waits for the future shall find the connection back.
        with self._lock:
            self._spare += 1
        engine.release(slot)
        if error is not None:
            future.set_exception(error)
        elif wanted:
            future.set_result(query.result)
