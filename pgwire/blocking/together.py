"""Running the operations of several callers together on one connection, by one thread.

What a `Crowd` gives is written at once, behind what is under way already; answers come in the
same order, and whoever joins meanwhile is written as soon as something has been read. Each
operation has its own Sync, its own error and its own deadline: one whose time is up is told so at
once, and canceled on the server when it is its turn, behind a fence (`protocol.simple.Fence`).
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pgwire.blocking.net import Deadline
from pgwire.driving import PATIENCE, lost
from pgwire.errors import Error
from pgwire.protocol.simple import Fence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation


class Crowd(Protocol):
    """Who wants to run something on the same connection."""

    def take(self) -> Iterable[Operation]:
        """The operations that have come since the last call; each has a `waiter`."""

    def settle(self, operations: Sequence[Operation]) -> None:
        """These are done, in this order. Of those read together only the first was waited for."""

    def next_deadline(self) -> float | None:
        """When the next of them runs out of time (`time.monotonic`)."""

    def expire(self, now: float) -> None:
        """Tell those whose time is up, and abandon their operations."""


class SharedRun:
    """One turn of a driver for a crowd. Nothing is raised: what fails, fails for each of them."""

    def __init__(self, driver: Driver, crowd: Crowd) -> None:
        self._driver = driver
        self._session = driver.session
        self._crowd = crowd
        self._watched: Operation | None = None  # at the head when it was looked at last
        self._give_up_at: float | None = None

    def run(self) -> None:
        """Until nothing is under way, and nobody has come meanwhile."""
        session, crowd = self._session, self._crowd
        while True:
            for operation in crowd.take():
                session.submit(operation)
            self._settle()
            if not session.pending:
                return
            try:
                self._exchange()
            except OSError as error:
                self._driver.catch_up()  # the server may have said why
                session.fail(lost(error))
            except Error as error:
                session.fail(error)
            if session.failure is not None:
                self._driver.abort()
            self._settle()

    def _settle(self) -> None:
        session = self._session
        if session.completed:
            self._crowd.settle(session.take_completed())
        if session.events:
            with suppress(Exception):  # nobody's call to raise it from
                self._driver.deliver_events()

    def _exchange(self) -> None:
        """Write what there is, wait for an answer or for the next deadline, and read."""
        session, driver = self._session, self._driver
        deadlines = [t for t in (self._crowd.next_deadline(), self._give_up_at) if t is not None]
        deadline = min(deadlines, default=None)
        try:
            if out := session.data_to_send():
                driver.write(out, deadline)
            if session.completed or session.failure is not None:
                return  # the answer came while writing
            driver.channel.wait_readable(deadline)
        except Deadline:
            self._time_is_up()
            return
        data = driver.channel.receive()
        if data:
            session.receive_data(data)
        elif data is not None:
            session.receive_eof()
        self._watch_head()

    def _time_is_up(self) -> None:
        now = monotonic()
        if self._give_up_at is not None and now >= self._give_up_at:
            self._driver.abort()
            return
        self._crowd.expire(now)
        self._watched = None  # it may be wanted by nobody now
        self._watch_head()

    def _watch_head(self) -> None:
        """What is at the head and wanted by nobody is canceled, and has its time for that."""
        pending = self._session.pending
        head = pending[0] if pending else None
        if head is self._watched:
            return
        self._watched, self._give_up_at = head, None
        if head is None or not (head.abandoned or head.is_fence):
            return
        self._give_up_at = limit = monotonic() + PATIENCE
        if head.is_fence:
            return
        fence = Fence()
        self._session.raise_fence(fence)
        with suppress(Deadline, OSError, Error):
            self._driver.send_cancel_request(limit)
        fence.lower()
