"""Submitter: `pool.submit()`, queries whose callers do not wait.

A submitted query takes its place in the core's queue like any other request. Once its waiting
has ended it is a job for a worker: to run the query, or to tell the future why not, so that a
future's callbacks never run in a thread that happens to give a connection back. Bad news have a
worker of their own, for all others may be busy for long. Of these there are never more than
connections; they take one job after the other, and go when there has been nothing to do for a
while.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import CancelledError, Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from pgwire.blocking.connection import Connection
from pgwire.log import pool_logger as logger
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
    from pgwire.protocol.rows import Result


# A worker without work goes after so many looks, so many seconds apart.
_LOOKS = 10
_LOOK = 0.1


class Job:
    """A query whose waiting is over, once `answer` says how it has ended.

    Whoever delivers it may be struck by Ctrl-C and do so again: `is_taken` once a thread has it.
    """

    __slots__ = ("answer", "deadline", "future", "is_taken", "query", "row", "since")

    answer: Slot[Driver] | Waiter[Driver]
    query: Query

    def __init__(
        self, future: Future[Result[Any]], since: float, row: Callable[..., Any] | None
    ) -> None:
        self.future = future
        self.since = since
        self.row = row
        self.deadline: float | None = None
        self.is_taken = False

    def settle(self, error: BaseException | None = None) -> None:
        """Hand on what has become of the query, or the error of which it has come to nothing.

        A callback that raises what ends a program ends no thread of the pool.
        """
        error = error or self.query.error
        result = self.query.result
        if error is None and self.row is not None:
            try:
                result = result.mapped(self.row)
            except BaseException as raised:
                error = raised
        try:
            if error is None:
                self.future.set_result(result)
            else:
                self.future.set_exception(error)
        except BaseException:  # of others, `concurrent.futures` has told already
            logger.exception("a callback of a submitted query's future raised")


class Workers:
    """Threads that take one piece of work after the other, at most `limit()` of them.

    `do` must not raise, and calls `free` as soon as its thread can be counted on again. Where
    Ctrl-C strikes in `put` the work is to be put once more: who is asked twice works once.
    """

    def __init__(
        self, engine: Engine, limit: Callable[[], int], do: Callable[[Job | SharedLine], None]
    ) -> None:
        self._engine = engine
        self._limit = limit
        self._do = do
        self._work: deque[Job | SharedLine] = deque()
        self._calls: SimpleQueue[None] = SimpleQueue()  # one for each piece of work, or more
        self._lock = threading.RLock()  # reentrant for the sake of destructors, as the engine's
        self._count = 0
        self._free = 0  # of these, those without work
        self._hired: dict[object, None] = {}  # who is to begin, and has not yet

    def put(self, work: Job | SharedLine) -> None:
        try:
            with self._lock:
                self._work.append(work)
                hand = self._hire()
            self._calls.put(None)
            if hand is not None:
                self._engine.crew.do(self._run, hand)
        except BaseException:  # Ctrl-C
            self._engine.crew.do(self._call_all)
            raise

    def _hire(self) -> object | None:
        if len(self._work) <= self._free + len(self._hired):
            return None
        if self._count + len(self._hired) >= self._limit():
            return None
        hand = object()
        self._hired[hand] = None
        return hand

    def _call_all(self) -> None:
        """Whoever was to be called may not have been; to be called twice does no harm."""
        with self._lock:
            hired, count = tuple(self._hired), len(self._work)
        for _ in range(count):
            self._calls.put(None)
        for hand in hired:
            self._engine.crew.do(self._run, hand)

    def free(self) -> None:
        with self._lock:
            self._free += 1

    def _run(self, hand: object) -> None:
        with self._lock:
            if hand not in self._hired:
                return  # called twice
            del self._hired[hand]
            self._count += 1
            self._free += 1
        looks = 0
        while True:
            try:
                self._calls.get(timeout=_LOOK)
            except Empty:
                looks += 1
                if (looks >= _LOOKS or self._engine.has_ended) and self._may_go():
                    return
            else:
                if (work := self._take()) is not None:
                    self._do(work)
                    looks = 0

    def _take(self) -> Job | SharedLine | None:
        with self._lock:
            while self._work:
                work = self._work.popleft()
                if not work.is_taken:
                    work.is_taken = True
                    self._free -= 1
                    return work
        return None

    def _may_go(self) -> bool:
        with self._lock:
            if len(self._work) >= self._free + len(self._hired):
                return False  # work has been put in the meantime, with this thread in mind
            self._free -= 1
            self._count -= 1
            return True


class Submitter:
    """Made once per pool; `submit` never raises, everything arrives in the future.

    But for Ctrl-C: then nobody has the future, and what it may have got is given back unused.
    """

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
        row: Callable[..., Any] | None = None,
    ) -> Future[Result[Any]]:
        future: Future[Result[Any]] = Future()
        answer: Slot[Driver] | Waiter[Driver] | None = None
        job = Job(future, self._engine.options.clock(), row)
        try:
            try:
                answer = self._ask(job, sql, params, timeout)
            except Exception as error:
                if hasattr(job, "query"):
                    self._never_run(job.query, error)
                future.set_exception(error)
                return future
            if isinstance(answer, Slot):
                self._deliver(job, answer)
            else:
                future.add_done_callback(partial(self._leave_if_cancelled, job, answer))
        except BaseException:  # Ctrl-C
            future.cancel()
            if isinstance(answer, Slot):
                self._deliver(job, answer)
            raise
        return future

    def _ask(
        self, job: Job, sql: str, params: Sequence[Any], timeout: float | None
    ) -> Slot[Driver] | Waiter[Driver]:
        engine, options, since = self._engine, self._engine.options, job.since
        job.query = query = Query(sql, params, None, job.row)
        if engine.listeners:
            query.asked = Asked(since)
        timeout = options.query_timeout if timeout is None else check_timeout(timeout)
        job.deadline = None if timeout is None else since + timeout
        limits = [since + t for t in (options.checkout_timeout, timeout) if t is not None]
        shared = self.sharing.may_share(sql)
        wake = partial(self._deliver, job)
        return engine.request(min(limits, default=None), wake, shared=shared)

    def _deliver(self, job: Job, answer: Slot[Driver] | Waiter[Driver]) -> None:
        """The waiting has ended; more than once does no harm."""
        try:
            self._hand_on(job, answer)
        except BaseException:  # Ctrl-C, which strikes none of the crew
            self._engine.crew.do(self._hand_on, job, answer)
            raise

    def _hand_on(self, job: Job, answer: Slot[Driver] | Waiter[Driver]) -> None:
        slot = answer if isinstance(answer, Slot) else answer.slot
        if job.is_taken:
            return
        job.answer = answer
        # As long as this job has not been released, its slot stays as it is.
        if slot is None:
            self._tellers.put(job)
        elif slot.state is SHARED:
            self.sharing.put(slot, job)
        else:
            self._workers.put(job)

    def _leave_if_cancelled(self, job: Job, waiter: Waiter[Driver], future: Future[Any]) -> None:
        try:
            self._leave(job, waiter, future)
        except BaseException:  # Ctrl-C
            self._engine.crew.do(self._leave, job, waiter, future)
            raise

    def _leave(self, job: Job, waiter: Waiter[Driver], future: Future[Any]) -> None:
        if future.cancelled() and self._engine.withdraw(waiter) and not job.is_taken:
            self._never_run(job.query, CancelledError())
            future.set_running_or_notify_cancel()
            job.is_taken = True

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
