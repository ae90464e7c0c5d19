"""Times: what a pool counts in histograms, value by value, for whoever has histograms of his own.

Knows the core's tallies, and nothing else of it. As long as nobody takes the values they are kept
up to `MOST`, and the oldest go first. Of requests that were served at once nobody takes the time:
they are so many values of 0.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.pool.histogram import Tally, bucket_of

if TYPE_CHECKING:
    from pgwire.pool.supply import Supply

MOST = 100_000


class TimesTaken(NamedTuple):
    """What has been measured since the last time, in seconds."""

    wait: list[float]
    use: list[float]
    connect: list[float]


class NotingTally(Tally):
    """A tally that goes on from another, and keeps the values themselves as well."""

    __slots__ = ("_values",)

    def __init__(self, before: Tally) -> None:
        self.go_on_from(before)
        self._values: deque[float] = deque(maxlen=MOST)

    def add(self, seconds: float) -> None:
        bucket = bucket_of(seconds)
        # No call from here on: a step of the core's may have begun.
        self._counts[bucket] += 1
        self._sum += seconds
        self._values += (seconds,)

    def take(self) -> list[float]:
        """The values since the last call. Any thread may call."""
        values = self._values
        return [values.popleft() for _ in range(len(values))]


class Times:
    """The values of one core, from now on. To be made, taken and stopped under the pool's lock."""

    def __init__(self, core: Supply[Any], granted: int) -> None:
        self.core = core
        self._tallies: list[NotingTally] = []
        core.tally_with(self._note)
        self._at_once = granted - self._tallies[0].count

    def _note(self, before: Tally) -> Tally:
        self._tallies.append(NotingTally(before))
        return self._tallies[-1]

    def take(self, granted: int) -> TimesTaken:
        """What has come since the last call. `granted` is the pool's own count of that instant."""
        wait, use, connect = self._tallies
        before, self._at_once = self._at_once, granted - wait.count
        at_once = min(max(self._at_once - before, 0), MOST)
        return TimesTaken(wait.take() + [0.0] * at_once, use.take(), connect.take())

    def stop(self) -> None:
        """Let the core count as it did."""
        self.core.tally_with(_plain)


def _plain(noting: Tally) -> Tally:
    tally = Tally()
    tally.go_on_from(noting)
    return tally
