"""Deadlines: the times by which futures must have ended, with one timer of the loop for all.

Most futures end long before. So the timer is not set for each: one that comes in time stays, and
where it finds that nothing is due it is set anew, for the earliest there is by then. With queries
one after another, each with the same timeout, that is once for each timeout that passes.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable


class Deadlines:
    """Calls `expired(item)` for every item that is not removed in time.

    What is removed stays as an empty entry until its time has come, or until such entries are
    the greater part: the memory follows the number of items. While there are items there is a
    timer, which comes no later than the first of them is due.
    """

    __slots__ = ("_entries", "_expired", "_live", "_loop", "_number", "_timer", "_when")

    def __init__(self, loop: AbstractEventLoop, expired: Callable[[Any], object]) -> None:
        self._loop = loop
        self._expired = expired
        self._entries: list[list[Any]] = []
        self._live = self._number = 0
        self._timer: TimerHandle | None = None
        self._when = inf  # the timer's time

    def add(self, seconds: float, item: object) -> list[Any]:
        """Note an item that has so long; what is returned is for `remove`."""
        now = self._loop.time()
        when = now + seconds
        self._number += 1
        entry = [when, self._number, item]
        heappush(self._entries, entry)
        self._live += 1
        # One that should have come has been dropped, if Ctrl-C struck as the loop called it.
        if not now <= self._when <= when:
            self._arm(self._entries[0][0])
        return entry

    def remove(self, entry: list[Any]) -> None:
        """Forget an item; more than once does no harm."""
        if entry[2] is None:
            return
        entry[2] = None
        self._live -= 1
        if not self._live:
            self._entries.clear()
        elif len(self._entries) > 2 * self._live + 16:
            self._entries = [entry for entry in self._entries if entry[2] is not None]
            heapify(self._entries)

    def end(self) -> None:
        """Nothing is left, and nothing will be added: the timer has nobody to come for."""
        self._disarm()

    def _arm(self, when: float) -> None:
        self._disarm()
        self._when = when
        self._timer = self._loop.call_at(when, self._due)

    def _disarm(self) -> None:
        self._when = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        entries = self._entries
        now = max(self._loop.time(), self._when)  # a loop's clock may be coarse
        self._disarm()
        while entries and (entries[0][0] <= now or entries[0][2] is None):
            entry = heappop(entries)
            if (item := entry[2]) is not None:
                entry[2] = None
                self._live -= 1
                self._expired(item)
        # What has expired may have had one added.
        if self._entries and self._entries[0][0] < self._when:
            self._arm(self._entries[0][0])
