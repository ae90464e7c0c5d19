"""Keeper: a daemon thread that gives the pool's core the time, once a second at least.

It exists while there are connections or requests, or are to be, and sleeps until something is
due. It does what else nobody would do in time: closing lost leases, reporting long ones, and what
is owed: the reports that chores could not make.

Whatever is raised there (a clock may, and memory may be short) it goes on after a while. Where no
thread can be started, that is tried again with whatever is asked of the pool next.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from pgwire.log import pool_logger as logger
from pgwire.pool.waiters import ABANDONED, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine

_INTERVAL = 1.0
# Not even for leaks that are to be reported sooner.
_SHORTEST_INTERVAL = 0.05


class Keeper:
    """`plan` is called under the pool's lock, `wake` from anywhere, a destructor included."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._core = engine.core
        self._clock = engine.options.clock
        leak_after = engine.options.leak_after
        wanted = _INTERVAL if leak_after is None else min(_INTERVAL, leak_after)
        self._interval = max(_SHORTEST_INTERVAL, wanted)
        self._runs = False
        self._stumbles = False  # since its last round that went well
        self._reminder: Waiter[Driver] | None = None
        self._due = 0.0
        self._owed: deque[Callable[[], object]] = deque()
        self._alarm = threading.Lock()
        self._alarm.acquire()

    def plan(self) -> None:
        """See to it that the keeper is there in time."""
        core = self._core
        if self._runs:
            due = core.next_deadline()
            if due is not None and due < self._due:
                self.wake()
        elif self._is_needed():
            self._runs = True
            try:
                self._due = -inf  # it looks at once; a clock may raise
                self._engine.crew.start(self._run)
            except RuntimeError:  # there are too many, or the interpreter is on its way out
                self._runs = False
                self._remind()
            except BaseException:  # Ctrl-C: nobody knows whether it runs, and two do no harm
                self._runs = False
                raise

    def _remind(self) -> None:
        """Have it planned again by whoever makes the next input to the core.

        It looks like the end of somebody's waiting. An input that leaves nothing to be done, like
        most, has no other question to ask whether there is a keeper.
        """
        if self._reminder is None:
            reminder: Waiter[Driver] = Waiter(0.0, None, None)
            reminder.state = ABANDONED
            self._engine.call_at_end(reminder, self._plan_again)
            self._core.pending.append(reminder)
            self._reminder = reminder

    def _plan_again(self, _reminder: Waiter[Driver]) -> None:
        with self._engine.lock:
            self._reminder = None
            self.plan()

    def wake(self) -> None:
        """Have it look at once."""
        with suppress(RuntimeError):  # it is awake already
            self._alarm.release()

    def owe(self, function: Callable[..., object], *args: object) -> None:
        """Have it called here, again and again until it does not raise. Under no lock."""
        self._owed.append(partial(function, *args))
        with self._engine.lock:
            self.plan()
        self.wake()

    def _pay(self) -> None:
        with suppress(IndexError):  # two may be at it
            for _ in range(len(self._owed)):
                work = self._owed.popleft()
                try:
                    work()
                except BaseException:
                    self._owed.append(work)
                    raise

    def _is_needed(self) -> bool:
        """Something is there, or is to be: a floor that could not be had is tried again."""
        core = self._core
        return bool(core.total_count or core.waiting_count or core.next_deadline() is not None)

    def _run(self) -> None:
        engine = self._engine
        while True:
            try:
                if (seconds := self._until_due()) is None:
                    return
                self._alarm.acquire(timeout=seconds)
                engine.look_after_leases()
                engine.report(self._core.tick)
                self._pay()
                self._stumbles = False
            except BaseException:  # else nobody who waits would ever hear that his time is up
                self._stumble()

    def _stumble(self) -> None:
        if not self._stumbles:
            with suppress(BaseException):  # there may be no memory for that either
                logger.exception("%s: no time was given, and will be", self._engine.options.name)
        self._stumbles = True
        self._alarm.acquire(timeout=self._interval)

    def _until_due(self) -> float | None:
        """How long to sleep, or None: there is nothing left to keep."""
        core = self._core
        with self._engine.lock:
            if not self._is_needed():
                self._runs = False
                return None
            now = self._clock()
            due = core.next_deadline()
            seconds = self._interval
            if due is not None:
                seconds = max(0.0, min(seconds, due - now))
            self._due = now + seconds
            return seconds
