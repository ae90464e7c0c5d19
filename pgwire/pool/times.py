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
    """A tally that goes on from another, and keeps the values as well, for each who takes them."""

    __slots__ = ("_values", "takers")

    def __init__(self, before: Tally) -> None:
        self.go_on_from(before)
        self._values: deque[float] = deque(maxlen=MOST)
        self.takers: list[Taker] = []

    def add(self, seconds: float) -> None:
        bucket = bucket_of(seconds)
        # No call from here on, and no loop: a step of the core's may have begun.
        self._counts[bucket] += 1
        self._sum += seconds
        self._values += (seconds,)

    def hand_out(self) -> None:
        """Give everybody what there is."""
        values = self._values
        new = [values.popleft() for _ in range(len(values))]
        for taker in self.takers:
            taker.values.extend(new)


class Taker:
    """Who takes the values of a tally, from now on."""

    def __init__(self, tally: NotingTally) -> None:
        self.values: deque[float] = deque(maxlen=MOST)
        self.tally = tally
        tally.hand_out()
        tally.takers.append(self)

    def take(self) -> list[float]:
        """The values since the last call."""
        self.tally.hand_out()
        values = self.values
        return [values.popleft() for _ in range(len(values))]

    def leave(self) -> None:
        """Take no more. More than once does no harm."""
        if self in self.tally.takers:
            self.tally.takers.remove(self)


class Times:
    """The values of one core, from now on. To be made, taken and stopped under the pool's lock.

    There may be several, each with all the values.
    """

    def __init__(self, core: Supply[Any], granted: int) -> None:
        self.core = core
        self._takers: list[Taker] = []
        core.tally_with(self._note)
        self._at_once = granted - self._takers[0].tally.count

    def _note(self, before: Tally) -> Tally:
        tally = before if isinstance(before, NotingTally) else NotingTally(before)
        self._takers.append(Taker(tally))
        return tally

    def take(self, granted: int) -> TimesTaken:
        """What has come since the last call. `granted` is the pool's own count of that instant."""
        wait, use, connect = self._takers
        before, self._at_once = self._at_once, granted - wait.tally.count
        at_once = min(max(self._at_once - before, 0), MOST)
        return TimesTaken(wait.take() + [0.0] * at_once, use.take(), connect.take())

    def stop(self) -> None:
        """Let the core count as it did, if nobody else takes them."""
        for taker in self._takers:
            taker.leave()
        self.core.tally_with(_plain)


def _plain(before: Tally) -> Tally:
    if not isinstance(before, NotingTally) or before.takers:
        return before
    tally = Tally()
    tally.go_on_from(before)
    return tally
