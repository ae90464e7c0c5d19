"""Submitter: `pool.submit()`, queries whose callers do not wait.

A submitted query takes its place in the core's queue like any other request. Once its waiting
has ended it is a job for a worker: to run the query, or to tell the future why not, so that a
future's callbacks never run in a thread that happens to give a connection back. Bad news have a
worker of their own, for all others may be busy for long. Of these there are never more than
connections; they take one job after the other, and go when there has been nothing to do for a
while.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.blocking.connection import Connection
from pgwire.pool.options import check_timeout
from pgwire.pool.sharing import SharedLine, Sharing
from pgwire.pool.slots import SHARED, Slot
from pgwire.pool.waiters import Waiter
from pgwire.protocol.observing import Asked
from pgwire.protocol.query import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
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


class Workers:
    """Threads that take one piece of work after the other, at most `limit()` of them.

    `do` must not raise, and calls `free` as soon as its thread can be counted on again.
    """

    def __init__(
        self, engine: Engine, limit: Callable[[], int], do: Callable[[Job | SharedLine], None]
    ) -> None:
        self._engine = engine
        self._limit = limit
        self._do = do
        self._queue: SimpleQueue[Job | SharedLine] = SimpleQueue()
        self._lock = threading.RLock()  # reentrant for the sake of destructors, as the engine's
        self._count = 0
        self._spare = 0  # threads without work, less work without a thread

    def put(self, work: Job | SharedLine) -> None:
        self._queue.put(work)
        with self._lock:
            self._spare -= 1
            lacking = self._spare < 0 and self._count < self._limit()
            if lacking:
                self._spare += 1
                self._count += 1
        if lacking:
            self._engine.crew.do(self._run)

    def free(self) -> None:
        with self._lock:
            self._spare += 1

    def _run(self) -> None:
        looks = 0
        while True:
            try:
                work = self._queue.get(timeout=_LOOK)
            except Empty:
                looks += 1
                if (looks >= _LOOKS or self._engine.has_ended) and self._may_go():
                    return
            else:
                self._do(work)
                looks = 0

    def _may_go(self) -> bool:
        with self._lock:
            if self._spare <= 0:
                return False  # work has been put in the meantime, with this thread in mind
            self._spare -= 1
            self._count -= 1
            return True


class Submitter:
    """Made once per pool; `submit` never raises, everything arrives in the future."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begin()
        engine.after_fork.append(self._begin)

    def _begin(self) -> None:
        engine = self._engine
        self._workers = Workers(engine, lambda: engine.core.config.max_size, self._run)
        self._tellers = Workers(engine, lambda: 1, self._tell)
        self.sharing = Sharing(engine, self._workers.put)

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
        asked: Query | None = None  # where somebody listens
        answer: Slot[Driver] | Waiter[Driver] | None = None

        def waiting_ended(answer: Slot[Driver] | Waiter[Driver]) -> None:
            try:
                untold.pop()
            except IndexError:
                return  # told twice
            job = Job(answer, query, since, deadline, future)
            slot = answer if isinstance(answer, Slot) else answer.slot
            # As long as this job has not been released, its slot stays as it is.
            if slot is None:
                self._tellers.put(job)
            elif slot.state is SHARED:
                self.sharing.put(slot, job)
            else:
                self._workers.put(job)

        def leave_if_cancelled(_future: object) -> None:
            if future.cancelled() and isinstance(answer, Waiter) and engine.withdraw(answer):
                self._never_run(query, CancelledError())
                future.set_running_or_notify_cancel()

        try:
            query = Query(sql, params)
            if engine.listeners:
                query.asked, asked = Asked(since), query
            timeout = options.query_timeout if timeout is None else check_timeout(timeout)
            deadline = None if timeout is None else since + timeout
            limits = [since + t for t in (options.checkout_timeout, timeout) if t is not None]
            shared = self.sharing.may_share(sql)
            answer = engine.request(min(limits, default=None), waiting_ended, shared=shared)
        except Exception as error:
            if asked is not None:
                self._never_run(asked, error)
            future.set_exception(error)
            return future
        except BaseException:  # Ctrl-C
            future.cancel()  # nobody will have it: what it may have got is given back, unused
            raise
        if isinstance(answer, Slot):
            waiting_ended(answer)
        else:
            future.add_done_callback(leave_if_cancelled)
        return future

    def _tell(self, job: Job | SharedLine) -> None:
        """Why it got no connection."""
        assert isinstance(job, Job)
        assert isinstance(job.answer, Waiter)
        if job.future.set_running_or_notify_cancel():
            try:
                self._engine.outcome(job.answer, job.since)
            except Exception as error:
                self._never_run(job.query, error)
                job.settle(error)
        self._tellers.free()

    def _run(self, work: Job | SharedLine) -> None:
        if isinstance(work, SharedLine):
            work.run()
            self._workers.free()
            return
        answer, engine = work.answer, self._engine
        slot = answer if isinstance(answer, Slot) else answer.slot
        assert slot is not None
        if engine.listeners:
            engine.listeners.emit("acquire", Connection(slot.connection))
        wanted = work.future.set_running_or_notify_cancel()
        error = self._run_on(slot, work) if wanted else None
        if engine.listeners:
            self._never_run(work.query, error if wanted else CancelledError())
        # Free first, worker and connection: the release may bring the next job along, and
        # whoever waits for the future shall find the connection back.
        self._workers.free()
        engine.release(slot)
        if wanted:
            work.settle(error)

    def _never_run(self, query: Query, error: BaseException | None) -> None:
        """Report it, unless a connection has."""
        engine = self._engine
        engine.listeners.never_run(query, error, engine.options.clock())

    def _run_on(self, slot: Slot[Driver], job: Job) -> BaseException | None:
        begun = self._engine.options.clock()
        left = None if job.deadline is None else max(0.0, job.deadline - begun)
        try:
            slot.connection.run(job.query, left)
        except BaseException as error:
            return error
        self.sharing.note(job.query, begun)
        return None
