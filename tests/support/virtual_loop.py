"""An event loop with a time of its own, for tests without real I/O.

Its time stands still while something is ready to run, and jumps to the next timer when nothing
is: an hour passes at once, and in every run alike. A loop that nothing can wake any more raises
`Stuck` instead of waiting for ever. Threads are not waited for.
"""

from __future__ import annotations

import asyncio
import time
from functools import wraps
from heapq import heappop, heappush
from math import inf, nextafter
from selectors import DefaultSelector
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from selectors import SelectorKey

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = ParamSpec("P")

_RESOLUTION = time.get_clock_info(
    "monotonic"
).resolution  # what asyncio takes for that of any clock


class Stuck(Exception):
    """Nothing is ready, and no timer is set."""


class _Selector(DefaultSelector):
    """Finds what is ready, and never waits: `pass_time` is called instead."""

    def __init__(self, pass_time: Callable[[], object]) -> None:
        super().__init__()
        self._pass_time = pass_time

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        found = super().select(0)
        if not found and (timeout is None or timeout > 0):
            self._pass_time()
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. Its time begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._count = 0
        super().__init__(_Selector(self._pass_time))

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self._count += 1
        heappush(self._timers, (when, self._count, timer))
        return timer

    def _pass_time(self) -> None:
        """Jump to the next timer that has not been cancelled."""
        timers = self._timers
        while timers and (timers[0][2].cancelled() or timers[0][0] <= self._now):
            heappop(timers)
        if not timers:
            raise Stuck(f"at {self._now:g} s nothing is ready, and no timer is set")
        # A time so far away that the clock's resolution is lost in it must have passed as well.
        when = timers[0][0]
        self._now = when if when + _RESOLUTION > when else nextafter(when, inf)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function: every run has a loop of its own."""

    @wraps(test)
    def run_test(*args: P.args, **keywords: P.kwargs) -> None:
        run(test(*args, **keywords))

    return run_test


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
