"""Submitter: `pool.submit()`, queries whose callers do not wait.

A submitted query takes its place in the core's queue like any other request. Once its waiting
has ended it is a job for a worker: to run the query, or to tell the future why not, so that a
future's callbacks never run in a thread that happens to give a connection back. There are never
more workers than connections; they take one job after the other, and go when there has been
nothing to do for a while.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.blocking.connection import Connection
from pgwire.pool.options import check_timeout
from pgwire.pool.sharing import SharedLine, Sharing
from pgwire.pool.slots import SHARED, Slot
from pgwire.protocol.query import Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.rows import Result, Row

logger = logging.getLogger("pgwire.pool")

# A worker without work goes after so many looks, so many seconds apart.
_LOOKS = 10
_LOOK = 0.1


class Job(NamedTuple):
    """A query whose waiting is over."""

    answer: Slot[Driver] | Waiter[Driver]
    query: Query
    since: float
    deadline: float | None
    future: Future[Result[Row]]

    def settle(self, error: BaseException | None = None) -> None:
        """Hand on what has become of the query, or the error of which it has come to nothing.

        A callback that raises what ends a program ends no thread of the pool.
        """
        error = error or self.query.error
        try:
            if error is None:
                self.future.set_result(self.query.result)
            else:
                self.future.set_exception(error)
        except BaseException:  # of others, `concurrent.futures` has told already
            logger.exception("a callback of a submitted query's future raised")


class Submitter:
    """Made once per pool; `submit` never raises, everything arrives in the future."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begin()
        engine.after_fork.append(self._begin)

    def _begin(self) -> None:
        self._jobs: SimpleQueue[Job | SharedLine] = SimpleQueue()
        self.sharing = Sharing(self._engine, self._put)
        self._lock = threading.RLock()  # reentrant for the sake of destructors, as the engine's
        self._workers = 0
        self._spare = 0  # workers without work, less jobs without a worker

    def submit(
        self,
        sql: str,
        params: Sequence[Any],
        timeout: float | None,
    ) -> Future[Result[Row]]:
        engine, options = self._engine, self._engine.options
        future: Future[Result[Row]] = Future()
        since = options.clock()
        deadline: float | None = None
        untold = [True]

        def waiting_ended(answer: Slot[Driver] | Waiter[Driver]) -> None:
            try:
                untold.pop()
            except IndexError:
                return  # told twice
            job = Job(answer, query, since, deadline, future)
            slot = answer if isinstance(answer, Slot) else answer.slot
            # As long as this job has not been released, its slot stays as it is.
            if slot is not None and slot.state is SHARED:
                self.sharing.put(slot, job)
            else:
                self._put(job)

        def leave_if_cancelled(_future: object) -> None:
            if future.cancelled() and not isinstance(answer, Slot) and engine.withdraw(answer):
                future.set_running_or_notify_cancel()

        try:
            query = Query(sql, params)
            timeout = options.query_timeout if timeout is None else check_timeout(timeout)
            deadline = None if timeout is None else since + timeout
            limits = [since + t for t in (options.checkout_timeout, timeout) if t is not None]
            shared = self.sharing.may_share(sql)
            answer = engine.request(min(limits, default=None), waiting_ended, shared=shared)
        except Exception as error:
            future.set_exception(error)
            return future
        if isinstance(answer, Slot):
            waiting_ended(answer)
        else:
            future.add_done_callback(leave_if_cancelled)
        return future

    def _put(self, job: Job | SharedLine) -> None:
        self._jobs.put(job)
        with self._lock:
            self._spare -= 1
            lacking = self._spare < 0 and self._workers < self._engine.core.config.max_size
            if lacking:
                self._spare += 1
                self._workers += 1
        if lacking:
            self._engine.crew.do(self._work)

    def _work(self) -> None:
        looks = 0
        while True:
            try:
                job = self._jobs.get(timeout=_LOOK)
            except Empty:
                looks += 1
                if (looks >= _LOOKS or self._engine.has_ended) and self._may_go():
                    return
            else:
                self._run(job)
                looks = 0

    def _may_go(self) -> bool:
        with self._lock:
            if self._spare <= 0:
                return False  # a job has been put in the meantime, with this worker in mind
            self._spare -= 1
            self._workers -= 1
            return True

    def _run(self, job: Job | SharedLine) -> None:
        if isinstance(job, SharedLine):
            job.run()
            self._free()
            return
        future = job.future
        wanted = future.set_running_or_notify_cancel()
        error: BaseException | None = None
        try:
            answer, engine = job.answer, self._engine
            slot = answer if isinstance(answer, Slot) else engine.outcome(answer, job.since)
        except Exception as raised:
            error = raised
            self._free()
        else:
            error = self._run_on(slot, job) if wanted else None
            # Free first, worker and connection: the release may bring the next job along, and
            # whoever waits for the future shall find the connection back.
            self._free()
            engine.release(slot)
        if wanted:
            job.settle(error)

    def _free(self) -> None:
        with self._lock:
            self._spare += 1

    def _run_on(self, slot: Slot[Driver], job: Job) -> BaseException | None:
        engine = self._engine
        try:
            if engine.listeners:
                engine.listeners.emit("acquire", Connection(slot.connection))
            begun = engine.options.clock()
            left = None if job.deadline is None else max(0.0, job.deadline - begun)
            slot.connection.run(job.query, left)
        except BaseException as error:
            return error
        self.sharing.note(slot.connection, job.query, begun)
        return None
