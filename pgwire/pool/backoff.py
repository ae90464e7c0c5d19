"""Back-off: how long a pool leaves a server alone that lets nobody in.

One for all openings of a pool, so that the server is spared whatever the number of requests.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 0.1  # seconds after a first failure, doubled by each next one
CAP = 5.0


class Backoff:
    """No opening starts before `retry_at`; `last_error` is kept until an opening succeeds.

    `jitter()` gives numbers in [0, 1); it shortens each pause by up to a half, so that the pools
    of many processes do not come back together.
    """

    __slots__ = ("_jitter", "_pause", "_pause_before", "last_error", "retry_at")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._pause = self._pause_before = 0.0
        self.retry_at = -inf
        self.last_error: Exception | None = None

    def failed(self, started_at: float, now: float) -> None:
        """An opening that began at `started_at` has failed."""
        # Openings that began together tell the same thing, though one after the other.
        if started_at >= self.retry_at:
            pause = min(CAP, 2 * self._pause or BASE)
            self.retry_at = now + pause * (1 - 0.5 * self._jitter())
            self._pause = pause

    def died_unused(self, started_at: float, now: float) -> None:
        """What an opening has brought is gone before anybody had it: so it has failed after all.

        Else a server that lets everybody in and hangs up would be asked without a pause.
        """
        self._pause = max(self._pause, self._pause_before)
        self.failed(started_at, now)
        self.last_error = ConnectionLost("the server closed a new connection before it was used")

    def succeeded(self) -> None:
        """Start anew."""
        self._pause_before, self._pause = self._pause, 0.0
        self.retry_at = -inf
        self.last_error = None
