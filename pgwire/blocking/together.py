"""Running the operations of several callers together on one connection, by one thread.

What a `Crowd` gives is written at once, behind what is under way already; answers come in the
same order, and whoever joins meanwhile is written as soon as something has been read. Each
operation has its own Sync, its own error and its own deadline: one whose time is up is told so at
once, and canceled on the server when it is its turn, behind a fence (`protocol.simple.Fence`).
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pgwire.blocking.net import Deadline
from pgwire.driving import ASK_AGAIN, GRACE, NO_ANSWER, PATIENCE, lost
from pgwire.errors import Error, InterfaceError
from pgwire.protocol.simple import Fence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation


# As `driver.write` does. The server may be stuck in an answer while nobody reads: all that it has
# not answered yet must fit the buffers, or be written while reading.
UNANSWERED = 32_768


class Crowd(Protocol):
    """Who wants to run something on the same connection."""

    def take(self) -> Iterable[Operation]:
        """The operations that have come since the last call; each has a `waiter`."""

    def settle(self, operations: Sequence[Operation]) -> None:
        """These are done, in this order. Of those read together only the first was waited for."""

    def next_deadline(self) -> float | None:
        """When the next of them runs out of time (`time.monotonic`)."""

    def next_look(self) -> float | None:
        """When to `take` again though nothing may have been read; None if nobody will come."""

    def expire(self, now: float) -> None:
        """Tell those whose time is up, and abandon their operations."""


class SharedRun:
    """One turn of a driver for a crowd. Nothing is raised: what fails, fails for each of them."""

    def __init__(self, driver: Driver, crowd: Crowd, *, tells: bool = True) -> None:
        self._tells = tells  # what the server says by itself; else the caller does, afterwards
        self._driver = driver
        self._session = driver.session
        self._crowd = crowd
        self._watched: Operation | None = None  # at the head when it was looked at last
        self._give_up_at: float | None = None
        self._ask_at: float | None = None  # for it to be canceled
        self._fence: Fence | None = None  # behind it
        # What is written and not answered: its last operation, and how much it is.
        self._unanswered: deque[tuple[Operation, int]] = deque()
        self._unanswered_size = 0

    def run(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Until nothing is under way, and nobody has come meanwhile; or until it is enough."""
        session, crowd = self._session, self._crowd
        if self._give_up_at is None:
            self._watched = None  # it may be wanted by nobody now
        while True:
            for operation in crowd.take():
                session.submit(operation)
            self.settle()
            if not session.pending or enough():
                return
            self._try(self._exchange)

    def send(self) -> None:
        """Write what there is; waits for no answer."""
        self._try(self._write_all)

    def receive(self) -> None:
        """Read what has come meanwhile, if anything has."""
        if self._session.pending and self._driver.channel.is_readable():
            self._try(self._read)

    @property
    def unanswered(self) -> int:
        """How many bytes are written and not answered."""
        unanswered = self._unanswered
        while unanswered and unanswered[0][0].done:
            self._unanswered_size -= unanswered.popleft()[1]
        return self._unanswered_size

    @property
    def is_canceling(self) -> bool:
        """Whether what runs now is wanted by nobody, and has its time to end."""
        return bool(self._session.pending) and self._is_unwanted(self._session.pending[0])

    def _try(self, step: Callable[[], object]) -> None:
        session = self._session
        try:
            step()
        except OSError as error:
            self._driver.catch_up()  # the server may have said why
            session.fail(lost(error))
        except Exception as error:  # whatever it is, nobody must wait for ever
            session.fail(lost(error))
        if session.failure is not None:
            self._driver.abort_when_gone()
        self.settle()

    def settle(self) -> None:
        """Hand on what is done, and what the server has said by itself."""
        session = self._session
        if self._watched is not None and self._watched.done:
            self._lower_fence()
        if session.events and self._tells:
            with suppress(BaseException):  # nobody's call to raise it from, and nobody's Ctrl-C
                self._driver.deliver_events()
        if session.completed:
            self._crowd.settle(session.take_completed())

    def _exchange(self) -> None:
        """Write what there is, wait for an answer or for the next deadline, and read."""
        session, driver = self._session, self._driver
        self._watch_head()
        if not self._write_all() or session.completed or session.failure is not None:
            return  # time is up, or the answer came while writing
        try:
            driver._unsafe = False
            wake_at = _first(self._ask_at, self._crowd.next_look())
            driver.channel.wait_readable(_first(self._deadline(), wake_at))
            driver._unsafe = True
        except Deadline:
            driver._unsafe = True
            self._time_is_up()
            return
        self._read()

    def _read(self) -> None:
        session = self._session
        data = self._driver.channel.receive()
        if data:
            session.receive_data(data)
        elif data is not None:
            session.receive_eof()

    def _deadline(self) -> float | None:
        return _first(self._crowd.next_deadline(), self._give_up_at)

    def _write_all(self) -> bool:
        """Write what there is; whether that was done in time."""
        out = self._session.data_to_send()
        if not out:
            return True
        try:
            self._write(out, self._deadline())
        except Deadline:
            self._driver._unsafe = True
            self._time_is_up()
            return False
        return True

    def _write(self, out: bytes, deadline: float | None) -> None:
        driver, size = self._driver, self.unanswered + len(out)
        self._unanswered.append((self._session.pending[-1], len(out)))
        self._unanswered_size = size
        if size <= UNANSWERED:
            driver.channel.send(out)
        else:
            driver._pump(out, deadline)

    def _time_is_up(self) -> None:
        now = monotonic()
        if self._give_up_at is not None and now >= self._give_up_at:
            self._session.fail(InterfaceError(NO_ANSWER))
            return
        self._crowd.expire(now)
        if self._give_up_at is None:
            self._watched = None  # it may be wanted by nobody now

    def _watch_head(self) -> None:
        """What is at the head and wanted by nobody is canceled, and has its time for that."""
        pending = self._session.pending
        head = pending[0] if pending else None
        if head is not self._watched:
            self._watch(head)
        elif self._ask_at is not None and monotonic() >= self._ask_at:
            self._ask_for_cancel(self._fence, self._give_up_at)

    def _watch(self, head: Operation | None) -> None:
        self._watched, self._give_up_at = head, None
        if head is None or not self._is_unwanted(head):
            return
        now = monotonic()
        self._give_up_at = now + PATIENCE
        if not (head.is_fence or head.is_brief):
            # Most end by themselves meanwhile; and a request for what the server has not got yet
            # would hit nothing.
            self._ask_at = now + GRACE
            self._fence = Fence()
            self._session.raise_fence(self._fence)

    def _ask_for_cancel(self, fence: Fence | None, limit: float | None) -> None:
        assert fence is not None
        assert limit is not None
        fence.requests += 1
        try:
            self._driver.send_cancel_request(limit)
        except Deadline:  # it is on its way, and might hit who comes next
            self._session.fail(InterfaceError(NO_ANSWER))
        except (OSError, Error):
            pass  # it was never sent
        self._ask_at = monotonic() + ASK_AGAIN  # it may have overtaken what it is meant for

    def _lower_fence(self) -> None:
        """What was to be canceled is done, and all requests for it have been delivered."""
        if self._fence is not None:
            self._fence.lower()
            self._fence = self._ask_at = None

    def _is_unwanted(self, head: Operation) -> bool:
        """A cleaning in front is nobody's, but has its time until somebody's behind it is up."""
        if head.is_brief:
            return any(each.abandoned and not each.is_brief for each in self._session.pending)
        return head.abandoned or head.is_fence


def _first(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
