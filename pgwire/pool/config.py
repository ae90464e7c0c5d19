"""What a pool is told (`PoolConfig`) and what it tells about itself (`PoolStats`).

Both are plain, immutable values. The options are judged here and nowhere else, so that a
mistake is reported where the pool is made and not when the option first matters; the rest of
the pool may rely on what got through. This module knows no connections and no time: every
duration is in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from pgwire.errors import ProgrammingError
from pgwire.pool.histogram import Histogram, Tally

_NO_QUEUE = (
    "an integer of at least 1, or None for no limit; with checkout_timeout=0 nobody waits at all"
)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool's options; what each means is said beside it. All durations are in seconds.

    Raises ProgrammingError for an option out of its range, naming it, what was given and what
    is allowed.
    """

    min_size: int = 0  # connections kept open in the background, whether used or not
    max_size: int = 10  # never more than this many at the server, closing ones included
    max_waiting: int | None = None  # requests allowed to queue; None: no limit
    idle_timeout: float | None = 300.0  # unused for longer and above min_size: closed; None: never
    max_lifetime: float | None = 3600.0  # retired when returned after this; None: never
    lifetime_spread: float = 0.1  # each lifetime is drawn from this last share of max_lifetime
    max_uses: int | None = None  # retired after this many leases; None: never
    max_opening: int = 3  # connections being opened at the same time
    check_after: float | None = 30.0  # idle for longer: asked before it is used; None: never
    max_pipeline: int = 1  # requests that may share a connection at a time; 1: none shares

    def __post_init__(self) -> None:
        self._require_count("min_size", 0)
        self._require_count("max_size", 1)
        if self.max_waiting == 0 and self.max_waiting is not False:  # other pools mean no limit
            self._refuse("max_waiting", _NO_QUEUE)
        self._require_count("max_waiting", 1, optional=True)
        self._require_seconds("idle_timeout", positive=True)
        self._require_seconds("max_lifetime", positive=True)
        self._require_count("max_uses", 1, optional=True)
        self._require_count("max_opening", 1)
        self._require_seconds("check_after", positive=False)
        self._require_count("max_pipeline", 1)
        if not (_is_number(self.lifetime_spread) and 0 <= self.lifetime_spread <= 1):
            self._refuse("lifetime_spread", "a number from 0 to 1")
        if self.min_size > self.max_size:
            self._refuse("min_size", f"at most max_size, which is {self.max_size}")

    def _require_count(self, name: str, least: int, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if optional and value is None:
            return
        # True and False are integers to Python, but never meant as a number of things.
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self._refuse(name, f"an integer of at least {least}" + " or None" * optional)

    def _require_seconds(self, name: str, *, positive: bool) -> None:
        value = getattr(self, name)
        if value is None:
            return
        # Both comparisons are false for NaN.
        if not (_is_number(value) and (value > 0 if positive else value >= 0)):
            least = "more than 0" if positive else "0 or more"
            self._refuse(name, f"a number of seconds, {least}, or None")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ProgrammingError(f"{name} is {getattr(self, name)!r}; it must be {allowed}")


def check_seconds(name: str, value: float | None) -> float | None:
    """A time limit of a shell, if it is one: 0 or more seconds, or None for no limit."""
    if value is not None and not (_is_number(value) and value >= 0):  # NaN is not >= 0 either
        raise ProgrammingError(f"{name} is {value!r}; it must be 0 or more seconds, or None")
    return value


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:  # an integer that no clock will ever reach
        return False
    return True


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one instant. Gauges say what is now, counters what has been since the start.

    Every request ends in one way:
    `requests = waiting + granted + timed_out + failed + abandoned + rejected`,
    and so do leases, `granted = leased + sharing + released`, and connections:
    `opened = idle + checking + leased + shared + resetting + closing + closed`, where
    `closing + closed = lost + retired + discarded`. Each query on a shared connection is a
    lease of its own in these figures.
    """

    # Gauges. `size` is the sum of the seven below it, and the one that max_size bounds.
    size: int
    opening: int
    idle: int
    checking: int  # an idle connection that is being asked whether it still lives
    leased: int
    shared: int  # used by requests that share, one of them or several
    resetting: int
    closing: int  # Terminate was sent; it counts until the server's end was read
    sharing: int  # queries in flight on the shared connections
    waiting: int
    min_size: int
    max_size: int

    # What became of requests.
    requests: int
    granted: int
    timed_out: int
    failed: int  # by a refusal that waiting cannot mend, a deadlock, or the pool's abrupt end
    abandoned: int  # cancelled while waiting
    rejected: int  # refused at once: the queue was full, or the pool closed
    released: int

    # What became of connections.
    opened: int
    open_failures: int
    closed: int
    lost: int  # found dead while idle, or with a server that has another role now
    retired: int  # closed by the pool's own rules: lifetime, uses, idle time, size, end
    discarded: int  # came back unfit for further use

    # How long things took; each has as many values as the counter beside it says.
    wait_time: Histogram  # granted: from the request to the hand-over, 0 if served at once
    # released: from the hand-over to the release. On a shared connection a query's time begins
    # when it becomes the next to be answered: so the sum is how long connections were in use,
    # however many used them, and what a query waits behind others is in neither histogram.
    use_time: Histogram
    connect_time: Histogram  # opened: from the start of the attempt, `on_connect` included


@dataclass(slots=True)
class Counters:
    """What a pool counts; the rest of PoolStats follows from these and from what is now."""

    timed_out: int = 0
    failed: int = 0
    abandoned: int = 0
    rejected: int = 0
    open_failures: int = 0
    closed: int = 0
    lost: int = 0
    retired: int = 0
    wait_time: Tally = field(default_factory=Tally)  # without those who were served at once
    use_time: Tally = field(default_factory=Tally)
    connect_time: Tally = field(default_factory=Tally)

    def stats(
        self, config: PoolConfig, gauges: dict[str, int], sharing: int, waiting: int
    ) -> PoolStats:
        """All figures; `gauges` are the numbers of connections by state."""
        released, gone = self.use_time.count, gauges["closing"] + self.closed
        granted = released + gauges["leased"] + sharing
        ended = self.timed_out + self.failed + self.abandoned + self.rejected
        figures: dict[str, Any] = {
            **{one.name: getattr(self, one.name) for one in fields(self)},
            **gauges,
            "wait_time": self.wait_time.histogram(zeros=granted - self.wait_time.count),
            "use_time": self.use_time.histogram(),
            "connect_time": self.connect_time.histogram(),
        }
        return PoolStats(
            size=sum(gauges.values()),
            sharing=sharing,
            waiting=waiting,
            min_size=config.min_size,
            max_size=config.max_size,
            requests=waiting + granted + ended,
            granted=granted,
            released=released,
            opened=self.connect_time.count,
            discarded=gone - self.lost - self.retired,
            **figures,
        )
