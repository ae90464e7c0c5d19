"""Feeds: what waits for one subscriber of the hub, in order, with its gaps; see `hub`.

Knows no SQL, lock or clock. At most `max_queued` notifications wait. Then the oldest are dropped,
and a gap that counts them stands in their place. Gaps that would be neighbours become one, so there
is at most one more of them than there are notifications.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pgwire.pool.reasons import bare

if TYPE_CHECKING:
    from collections.abc import Iterable


class Message(Protocol):
    """What is known here of a notification."""

    @property
    def channel(self) -> str: ...
    @property
    def payload(self) -> str: ...


M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class NotificationGap:
    """Here notifications are missing, or may be: look at your tables.

    All that came before was received before this, and all that is sent from now on comes after it
    (or another gap says so). `dropped` is how many there was no room for, as nobody took them in
    time. `error` is why the connection was lost, if it was: what was sent before another listened
    is not known.
    """

    dropped: int = 0
    error: Exception | None = None

    @property
    def reason(self) -> str:
        """Both in words."""
        reasons = []
        if self.dropped:
            were = "notifications were" if self.dropped > 1 else "notification was"
            reasons.append(f"{self.dropped} {were} dropped, as too many were waiting")
        if self.error is not None:
            reasons.append(f"the connection was lost: {self.error}")
        return "; ".join(reasons)

    def and_then(self, other: NotificationGap) -> NotificationGap:
        """Both as one."""
        return NotificationGap(self.dropped + other.dropped, other.error or self.error)


class FeedState(Enum):
    """What can be expected of a subscription."""

    WAITING = "waiting"  # its channels are not all listened to yet
    LIVE = "live"  # whatever is missing from now on is announced
    ENDED = "ended"


class Feed(Generic[M]):
    """One subscription. Only the hub's core puts something in, and changes its state."""

    __slots__ = ("_count", "_max_queued", "_queue", "channels", "error", "state")

    def __init__(self, channels: Iterable[str], max_queued: int) -> None:
        self.channels = frozenset(channels)
        self.state = FeedState.WAITING
        self.error: Exception | None = None  # why it has ended, if nobody wanted it to
        self._max_queued = max_queued
        self._queue: deque[M | NotificationGap] = deque()
        self._count = 0  # of notifications

    def __len__(self) -> int:
        return len(self._queue)

    def __repr__(self) -> str:
        return f"<Feed {self.state.value}, {len(self)} waiting, of {sorted(self.channels)}>"

    def check(self) -> None:
        """Raise why it has ended, if nobody wanted it to. Several may have ended for that."""
        if self.error is not None:
            raise bare(self.error)

    def take(self) -> M | NotificationGap | None:
        """What comes next; None if nothing is there."""
        if not self._queue:
            return None
        # In this order: where Ctrl-C strikes in between, one too many may wait, and never too few.
        self._count -= not isinstance(self._queue[0], NotificationGap)
        return self._queue.popleft()

    def put(self, message: M) -> None:
        if self._count >= self._max_queued:
            self._drop_oldest()
        self._queue.append(message)
        self._count += 1

    def put_gap(self, gap: NotificationGap) -> None:
        if self._queue and isinstance(self._queue[-1], NotificationGap):
            gap = self._queue.pop().and_then(gap)  # type: ignore[union-attr]
        self._queue.append(gap)

    def clear(self) -> None:
        """Nobody wants it any more."""
        self._queue.clear()
        self._count = 0

    def _drop_oldest(self) -> None:
        """A gap takes its place, and those on either side of it."""
        queue = self._queue
        gap = NotificationGap()
        if isinstance(queue[0], NotificationGap):
            gap = queue.popleft()  # type: ignore[assignment]
        queue.popleft()
        self._count -= 1
        gap = gap.and_then(NotificationGap(dropped=1))
        if queue and isinstance(queue[0], NotificationGap):
            gap = gap.and_then(queue.popleft())  # type: ignore[arg-type]
        queue.appendleft(gap)
