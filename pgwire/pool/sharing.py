"""Sharing: submitted queries that share connections (`max_pipeline`), a thread for each line.

The core says who may join whom. Whoever is granted a connection that somebody runs already is
put into its line (`SharedLine`), and that thread takes him along; the first in a line gets a
thread. How long statements take, and so which may share, is learned from every submitted query.

The last of a line is given back only when its thread has let go of the connection: until then
the core lends it to nobody alone.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import CancelledError
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgwire.blocking.connection import Connection
from pgwire.driving import out_of_time
from pgwire.pool.pace import Pace
from pgwire.pool.supply import HEAD_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.slots import Slot
    from pgwire.pool.submitting import Job
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.query import Query

_LOOK = 0.005  # seconds between two looks for who has joined, while nothing is answered


class Sharing:
    """Made once per pool, and anew in a forked child. `start` finds a thread for a line."""

    def __init__(self, engine: Engine, start: Callable[[SharedLine], object]) -> None:
        self.engine = engine
        self._start = start
        self._pace = Pace() if engine.core.config.max_pipeline > 1 else None
        self.lock = threading.RLock()  # reentrant for the sake of destructors, as the engine's
        self.lines: dict[Slot[Driver], SharedLine] = {}

    def may_share(self, sql: str) -> bool:
        """Whether it is known to be short, and to leave nothing behind."""
        return self._pace is not None and self._pace.may_share(sql)

    def put(self, slot: Slot[Driver], job: Job) -> None:
        """The job has been granted a shared connection.

        Where Ctrl-C strikes it is to be put once more.
        """
        with self.lock:
            if job.is_taken:
                return
            line = self.lines.get(slot)
            if line is None:
                line = self.lines[slot] = SharedLine(self, slot)
            if job not in line.jobs:
                line.jobs.append(job)
        if not line.is_begun:
            self._start(line)
            line.is_begun = True

    def note(self, query: Query, since: float) -> None:
        """A query has been the next to be answered since then, and is done."""
        if self._pace is None:
            return
        with self.lock:
            if query.leaves_traces:
                self._pace.note_private(query.sql)
            else:
                self._pace.note(query.sql, self.engine.options.clock() - since)


class SharedLine:
    """Jobs on one connection: the `Crowd` of a driver's `run_together`."""

    is_begun = False  # a thread has been asked to run it
    is_taken = False  # and one has come

    def __init__(self, sharing: Sharing, slot: Slot[Driver]) -> None:
        self._sharing = sharing
        self._engine = sharing.engine
        self._slot = slot
        self.jobs: deque[Job] = deque()  # that have not been taken along yet
        self._flying: dict[Operation, Job] = {}
        self._held: list[Job] = []  # done, and not given back yet
        self._head_since = 0.0
        self._head_at = 0.0  # the same, or somewhat later: not before the core has it so

    def run(self) -> None:
        """Until nobody is left in the line."""
        while True:
            self._slot.connection.run_together(self)
            self._give_back()  # nobody else touches the connection before this line is over
            with self._sharing.lock:
                if not self.jobs:  # whoever comes now begins another line
                    del self._sharing.lines[self._slot]
                    return

    def take(self) -> Iterable[Operation]:
        with self._sharing.lock:
            jobs, self.jobs = self.jobs, deque()
            for job in jobs:
                job.is_taken = True
        if not jobs:
            return ()
        self._give_back()  # they are not the last any more
        now = self._engine.options.clock()
        if not self._flying:
            self._head_since = self._head_at = now
        for job in jobs:
            self._take_along(job, now)
        return [job.query for job in jobs]

    def _take_along(self, job: Job, now: float) -> None:
        query, engine = job.query, self._engine
        if engine.listeners:
            engine.listeners.emit("acquire", Connection(self._slot.connection))
        if not job.future.set_running_or_notify_cancel():
            query.told = CancelledError()
            query.abandon()  # nothing of it is written
        elif job.deadline is not None and job.deadline <= now:
            _expire(job)
        query.waiter = self
        self._flying[query] = job

    def settle(self, operations: Sequence[Operation]) -> None:
        first: Any = operations[0]
        if first.error is None and not first.abandoned:
            self._sharing.note(first, self._head_since)
        self._head_since = self._engine.options.clock()
        for operation in operations:
            operation.waiter = None
            job = self._flying.pop(operation)
            if self._flying or self.jobs:
                self._end(job)
            else:
                self._held.append(job)
        self._head_at = self._engine.options.clock()

    def _end(self, job: Job) -> None:
        self._engine.release(self._slot)
        if not job.future.done():
            job.settle()

    def _give_back(self) -> None:
        held, self._held = self._held, []
        for job in held:
            self._end(job)

    # Time

    def next_deadline(self) -> float | None:
        due = self._due()
        return None if due == inf else monotonic() + due

    def next_look(self) -> float | None:
        """Whoever joins is written, and has his time, from `take` on: nothing else wakes us."""
        joinable = self._engine.options.clock() - self._head_at <= HEAD_LIMIT
        if joinable or self._slot.users > len(self._flying) + len(self._held):
            return monotonic() + _LOOK
        return None

    def _due(self) -> float:
        """In how many seconds the next of them runs out of time."""
        deadlines = [job.deadline for job in self._flying.values() if not job.future.done()]
        soonest = min((d for d in deadlines if d is not None), default=inf)
        return soonest - self._engine.options.clock()

    def expire(self, _now: float) -> None:
        now = self._engine.options.clock()
        for job in tuple(self._flying.values()):
            if job.deadline is not None and job.deadline <= now and not job.future.done():
                _expire(job)


def _expire(job: Job) -> None:
    job.query.told = error = out_of_time()
    job.query.abandon()
    job.settle(error)
