"""Keeper: a daemon thread that gives the pool's core the time, once a second at least.

It exists while there are connections or requests, or are to be, and sleeps until something is
due. It does what else nobody would do in time: closing lost leases and reporting long ones.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        self._due = 0.0
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
            self._due = self._clock()
            try:
                self._engine.crew.start(self._run)
            except RuntimeError:  # the interpreter is on its way out
                self._runs = False
            except BaseException:  # Ctrl-C: nobody knows whether it runs, and two do no harm
                self._runs = False
                raise

    def wake(self) -> None:
        """Have it look at once."""
        with suppress(RuntimeError):  # it is awake already
            self._alarm.release()

    def _is_needed(self) -> bool:
        """Something is there, or is to be: a floor that could not be had is tried again."""
        core = self._core
        return bool(core.total_count or core.waiting_count or core.next_deadline() is not None)

    def _run(self) -> None:
        engine = self._engine
        while (seconds := self._until_due()) is not None:
            self._alarm.acquire(timeout=seconds)
            engine.look_after_leases()
            engine.report(self._core.tick)

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
