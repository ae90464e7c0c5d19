"""AsyncKeeper: gives the pool's core the time, by one timer of the loop.

The timer is set only where something will be due by itself. It is not set back when that has
gone, unless the pool is empty: it looks in vain once, and is set anew.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pgwire.log import pool_logger as logger

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable

    from pgwire.pool.aio_engine import AsyncEngine

# Leaks are looked for so often at least, in seconds, and never more often than the second.
_INTERVAL, _SHORTEST_INTERVAL = 1.0, 0.05
# Seconds after its time at which a timer is set anew.
_LATE = 1.0
# Seconds until what has raised is tried again.
_PAUSE = 0.1


class AsyncKeeper:
    """`plan` is called after every input to the core."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._core = engine.core
        self._clock = engine.options.clock
        leak_after = engine.options.leak_after
        self._watches = leak_after is not None
        self._interval = max(_SHORTEST_INTERVAL, min(_INTERVAL, leak_after or 0.0))
        self._timer: TimerHandle | None = None
        self._due = 0.0
        self._mending: TimerHandle | None = None

    def plan(self) -> None:
        """See to it that the core is told the time when something is due."""
        due = self._core.next_deadline()
        if self._watches and self._engine.leases and not self._core.aborted:
            look = self._clock() + self._interval
            due = look if due is None else min(due, look)
        if due is None:
            if not self._core.total_count:
                self.stop()
        elif not self.comes_by(due, now := self._clock()):
            self.stop()
            assert self._engine.loop is not None
            self._due = max(due, now - _LATE)
            self._timer = self._engine.loop.call_later(max(0.0, due - now), self._tick)

    def comes_by(self, due: float | None, now: float = -inf) -> bool:
        """Whether it will look at that time anyhow, or before.

        A timer that is late by far will never come: Ctrl-C struck where its callback began.
        """
        if due is None or self._timer is None:
            return False
        return self._due <= due and now <= self._due + _LATE

    def stop(self) -> None:
        """Forget the timer: its loop is not the pool's any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mend_later(self, mend: Callable[[AsyncEngine], None]) -> None:
        """It was in vain, and is tried again after a while. Said once, however long that takes."""
        if self._mending is None:
            logger.exception("%s: no time was given, and will be", self._engine.options.name)
        else:
            self._mending.cancel()
        assert self._engine.loop is not None
        self._mending = self._engine.loop.call_later(_PAUSE, mend, self._engine)

    def mends_later(self, loop: AbstractEventLoop) -> bool:
        """Whether it will be tried again by itself."""
        return self._mending is not None and loop.time() < self._mending.when() + _LATE

    def mended(self) -> None:
        """There is nothing that is to be tried again."""
        if self._mending is not None:
            self._mending.cancel()
            self._mending = None

    def _tick(self) -> None:
        engine = self._engine
        try:
            self._timer = None
            engine.recover_orphans()
            if self._watches:
                engine.report_leaks()
            # A timer may be early by the coarseness of the loop's clock.
            self._core.tick(max(self._clock(), self._due))
            engine.go_on()
        except BaseException:  # Ctrl-C
            engine.mend_soon()
            raise
