"""What the server says by itself: notices, notifications, and changes of its settings."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pgwire.errors import OperationalError, PostgresError, ProtocolError
from pgwire.protocol.messages import Notification

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Notices and notifications that nobody fetches must not fill the memory: beyond so many, or so
# many bytes together, the oldest are dropped. The last one stays, however large it is.
MAX_EVENTS = 10_000
MAX_BYTES = 16_000_000
_COST = 100  # bytes, of a parameter that the server reports, beside its name and value


class ParameterChange(NamedTuple):
    """A setting that the server reports has (perhaps) changed."""

    name: str
    value: str


class Mark(Enum):
    """What is among the events for the shell's sake alone."""

    REPORTS = "reports"


# An observed session has reports to be taken (see `observing`).
ReportsAreThere = Mark.REPORTS

Event = Notification | ParameterChange | PostgresError | Mark
EventName = Literal["notice", "notification", "parameter", "query"]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)


def event_name(event: Event) -> EventName:
    """What users ask for this event by."""
    if isinstance(event, PostgresError):
        return "notice"
    return "notification" if isinstance(event, Notification) else "parameter"


class Inbox:
    """Notifications that wait to be taken: from when they are read until somebody asks for them.

    Beyond `size`, or MAX_BYTES, the oldest are dropped; who takes the next is told so first.
    `watchers` are called whenever there may be something to take, and when no more will come; they
    must not wait. One thread puts, any may take.
    """

    __slots__ = ("_dropped", "_put", "_queue", "_size", "_told", "loss_is_told", "watchers")

    def __init__(self, size: int = MAX_EVENTS) -> None:
        self._size = size
        # Each with the bytes of all that were put before it: only who puts does sums.
        self._queue: deque[tuple[int, Notification]] = deque()
        self._put = 0
        self._dropped = self._told = 0
        self.loss_is_told = False  # of the connection: who takes has heard of it
        self.watchers: set[Callable[[], object]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, notification: Notification, size: int = 0) -> None:
        """It has come, in a message of so many bytes."""
        queue = self._queue
        queue.append((self._put, notification))
        self._put += size
        with suppress(IndexError):  # somebody takes them meanwhile
            while len(queue) > 1 and (
                len(queue) > self._size or self._put - queue[0][0] > MAX_BYTES
            ):
                queue.popleft()
                self._dropped += 1
        self.wake()

    def take(self) -> Notification | None:
        """The one that came first; None if there is none.

        Raises OperationalError, once, in the place of those that were dropped.
        """
        count, self._told = self._dropped - self._told, self._dropped
        if count:
            raise OperationalError(
                f"{count} notification{'s were' if count > 1 else ' was'} dropped here, as "
                f"{self._size} were waiting to be taken already (or {MAX_BYTES // 1_000_000} MB)"
            )
        try:
            return self._queue.popleft()[1]
        except IndexError:
            return None

    def clear(self) -> None:
        self._queue.clear()
        self._told = self._dropped

    def wake(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()


class Events(deque[Event]):
    """What has come and is to be told to callbacks; and the inbox, where somebody has one."""

    inbox: Inbox | None = None

    def __init__(self) -> None:
        super().__init__()
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def add(self, event: Event, size: int) -> None:
        """It has come, in a message of so many bytes."""
        self.append(event)
        self._sizes.append(size)
        self._bytes += size
        while len(self) > MAX_EVENTS or (self._bytes > MAX_BYTES and len(self) > 1):
            self.popleft()

    def popleft(self) -> Event:
        # Ctrl-C may strike between the two, here and in `add`: what is empty is right again.
        event = deque.popleft(self)
        if self and self._sizes:
            self._bytes -= self._sizes.popleft()
        else:
            self._sizes.clear()
            self._bytes = 0
        return event

    def notified(self, notification: Notification, size: int = 0) -> None:
        self.add(notification, size)
        if self.inbox is not None:
            self.inbox.put(notification, size)

    def hear(self, size: int = MAX_EVENTS) -> Inbox:
        """The inbox; from now on there is one."""
        if self.inbox is None:
            self.inbox = Inbox(size)
        return self.inbox

    def leave(self) -> None:
        """The inbox is nobody's any more."""
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            inbox.wake()

    def clear(self) -> None:
        super().clear()
        self._sizes.clear()
        self._bytes = 0
        if self.inbox is not None:
            self.inbox.clear()

    def session_failed(self) -> None:
        """No more will come."""
        if self.inbox is not None:
            self.inbox.wake()


class Reported(dict[str, str]):
    """The settings of the server that it reports, as it has last said."""

    _bytes = 0

    def report(self, name: str, value: str) -> None:
        """Raises: ProtocolError: it reports more than any server has."""
        before = self.get(name)
        added = len(name) + _COST if before is None else -len(before)
        self._bytes += added + len(value)
        if self._bytes > MAX_BYTES:
            raise ProtocolError("the server reports settings without an end")
        self[name] = value

    def report_all(self, settings: Mapping[str, str], size: int) -> None:
        """The same for some at once; `size` is what `size_of` says of them."""
        if self:
            for name, value in settings.items():
                self.report(name, value)
        else:
            self.update(settings)
            self._bytes = size


def size_of(settings: Mapping[str, str]) -> int:
    """In bytes, of what a server reports."""
    return sum(len(name) + len(value) + _COST for name, value in settings.items())
