"""Histograms: how long things took, told by a few numbers.

A value falls into the bucket with the smallest bound that is not below it. The bounds are the
same for all, so that histograms of several pools, or of several moments, can be added and
subtracted bucket by bucket. Nothing here knows what is measured.
"""

from __future__ import annotations

from bisect import bisect_left as _bucket
from dataclasses import dataclass
from itertools import accumulate
from math import inf, nan

from pgwire.errors import ProgrammingError

# Seconds; each is inclusive, and one more bucket takes what is above them all.
BOUNDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
)
_FIRST = BOUNDS[0]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values were how large.

    `counts[i]` of them were at most `bounds[i]` seconds and more than the bound before; the last
    count, for which there is no bound, is of those above 100 s. `sum` is of the values themselves.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    sum: float = 0.0

    @property
    def bounds(self) -> tuple[float, ...]:
        """The buckets' upper bounds in seconds, 100 µs to 100 s; each is inclusive."""
        return BOUNDS

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The least bound that the share `q` of all values (0 to 1) does not exceed.

        So `quantile(0.99)` is an upper bound of the 99th percentile, in seconds: infinity if that
        is above 100 s, NaN if there are no values. Raises ProgrammingError unless 0 <= q <= 1.
        """
        if not 0 <= q <= 1:
            raise ProgrammingError(f"a quantile is a number from 0 to 1, not {q!r}")
        count = self.count
        if not count:
            return nan
        # A quotient is rounded as the literal 0.9 is; 0.9 * count might come out a bit too large.
        for bound, so_far in zip(BOUNDS, accumulate(self.counts), strict=False):
            if so_far and so_far / count >= q:
                return bound
        return inf


def bucket_of(seconds: float) -> int:
    """Which count a value belongs to."""
    return _bucket(BOUNDS, seconds)


class Tally:
    """A histogram in the making."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one value. A step of the core's may begin with it: see `slots`."""
        self._counts[_bucket(BOUNDS, seconds) if seconds > _FIRST else 0] += 1
        self._sum += seconds

    def go_on_from(self, other: Tally) -> None:
        """Take the place of another one."""
        self._counts, self._sum = other._counts, other._sum

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self._counts)

    def histogram(self, zeros: int = 0) -> Histogram:
        """What it is now, with so many values of 0 that nobody took the time to add."""
        return Histogram((self._counts[0] + zeros, *self._counts[1:]), self._sum)
