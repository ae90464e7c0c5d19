"""Subscription: what `pool.listen()` gives to threads. What it takes from is filled by the hub."""

from __future__ import annotations

import threading
import warnings
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Self

from pgwire.driving import DriverBase
from pgwire.errors import InterfaceError
from pgwire.pool import subscribing
from pgwire.pool.feeds import FeedState
from pgwire.protocol.listening import check_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from pgwire.pool.feeds import Feed, NotificationGap
    from pgwire.pool.listening import Hub
    from pgwire.protocol.messages import Notification

    Event = Notification | NotificationGap

WAITING, LIVE, ENDED = FeedState


class Subscription:
    """What comes for some channels, from `pool.listen()`: an iterator, and a context manager.

    Gives each `Notification`, and a `NotificationGap` where some are missing, or may be: when its
    connection was lost, once another listens again; and in the place of those that were dropped, as
    more than `max_queued` waited. Ends when it is closed, and, after what has come, with the pool.
    Several threads may take from it: each gets others.
    """

    def __init__(self, hub: Hub, feed: Feed[Notification], is_called_back: bool) -> None:
        self._hub = hub
        self._feed = feed
        self._is_called_back = is_called_back
        self._generation = DriverBase.forks
        self._sleepers: list[threading.Lock] = []
        self._is_closed = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else self._feed.state.value
        return f"<Subscription {state}, to {', '.join(self.channels)}>"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that it is for, in alphabetical order."""
        return tuple(sorted(self._feed.channels))

    @property
    def closed(self) -> bool:
        """Whether nothing more will come, but for what has come already."""
        return self._is_closed or self._feed.state is ENDED

    def notifications(self, timeout: float | None = None) -> Iterator[Event]:
        """Take what comes as the subscription does, but end after `timeout` seconds without it."""
        timeout = check_wait(timeout)
        while (event := self._take(timeout)) is not None:
            yield event

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self._take(None)
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """End it: nothing more comes, and who waits for that goes on. Idempotent, never waits."""
        self._check_process()
        self._hub.leave(self._feed)  # first of all: Ctrl-C may strike behind it
        with self._hub.lock:
            self._is_closed = True
            self._feed.clear()
            self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.closed and self._generation == DriverBase.forks:
            self._hub.leave(self._feed)
            warnings.warn(
                subscribing.NEVER_CLOSED % ", ".join(self.channels),
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def _take(self, timeout: float | None) -> Event | None:
        """The next; None if there is none in time, or there will be none."""
        self._check_process()
        if self._is_called_back:
            raise InterfaceError("what comes for this subscription goes to its callback")
        return self._take_next(timeout)

    def _take_next(self, timeout: float | None) -> Event | None:
        until = None if timeout is None else monotonic() + timeout
        feed = self._feed
        while True:
            with self._hub.lock:
                event = None if self._is_closed else feed.take()
                if event is not None or self.closed:
                    return event
            if not self._sleep(until, lambda: bool(feed)):
                return None

    def _wait_until_live(self, seconds: float | None) -> bool:
        """Wait until all its channels are listened to; False if time is up, or raise why not."""
        until = None if seconds is None else monotonic() + seconds
        while self._feed.state is WAITING:
            if not self._sleep(until, lambda: False):
                return False
        self._feed.check()
        return True

    def _sleep(self, until: float | None, has_come: Callable[[], bool]) -> bool:
        """Sleep until something has changed, or has come meanwhile; False if time is up.

        On a lock of its own: Ctrl-C in a `Condition` can leave its lock locked for ever.
        """
        seconds = -1.0 if until is None else min(until - monotonic(), threading.TIMEOUT_MAX)
        if until is not None and seconds <= 0:
            return False
        sleeper, state = threading.Lock(), self._feed.state
        sleeper.acquire()
        try:
            with self._hub.lock:
                self._sleepers.append(sleeper)
                if has_come() or self._is_closed or self._feed.state is not state:
                    return True
            sleeper.acquire(timeout=seconds)
        finally:
            with self._hub.lock, suppress(ValueError):  # whoever woke it has struck it off
                self._sleepers.remove(sleeper)
        return True

    def _wake(self) -> None:
        """The feed has got something, or another state. The lock is had."""
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.release()

    def _check_process(self) -> None:
        if self._generation != DriverBase.forks:
            raise subscribing.made_before_fork()
