"""What the server says by itself: notices, notifications, and changes of its settings."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pgwire.errors import OperationalError, PostgresError
from pgwire.protocol.messages import Notification

if TYPE_CHECKING:
    from collections.abc import Callable

# Notices and notifications that nobody fetches must not fill the memory: beyond so many the
# oldest are dropped.
MAX_EVENTS = 10_000


class ParameterChange(NamedTuple):
    """A setting that the server reports has (perhaps) changed."""

    name: str
    value: str


Event = Notification | ParameterChange | PostgresError
EventName = Literal["notice", "notification", "parameter"]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)


def event_name(event: Event) -> EventName:
    """What users ask for this event by."""
    if isinstance(event, PostgresError):
        return "notice"
    return "notification" if isinstance(event, Notification) else "parameter"


class Inbox:
    """Notifications that wait to be taken: from when they are read until somebody asks for them.

    Beyond `size` the oldest are dropped; who takes the next is told so first. `watchers` are
    called whenever there may be something to take, and when no more will come; they must not wait.
    One thread puts, any may take.
    """

    __slots__ = ("_dropped", "_queue", "_size", "_told", "loss_is_told", "watchers")

    def __init__(self, size: int = MAX_EVENTS) -> None:
        self._size = size
        self._queue: deque[Notification] = deque()
        self._dropped = self._told = 0
        self.loss_is_told = False  # of the connection: who takes has heard of it
        self.watchers: set[Callable[[], object]] = set()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, notification: Notification) -> None:
        queue = self._queue
        if len(queue) >= self._size:
            queue.popleft()
            self._dropped += 1
        queue.append(notification)
        self.wake()

    def take(self) -> Notification | None:
        """The one that came first; None if there is none.

        Raises OperationalError, once, in the place of those that were dropped.
        """
        count, self._told = self._dropped - self._told, self._dropped
        if count:
            raise OperationalError(
                f"{count} notification{'s were' if count > 1 else ' was'} dropped here, as "
                f"{self._size} were waiting to be taken already"
            )
        try:
            return self._queue.popleft()
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
        super().__init__(maxlen=MAX_EVENTS)

    def notified(self, notification: Notification) -> None:
        self.append(notification)
        if self.inbox is not None:
            self.inbox.put(notification)

    def hear(self) -> Inbox:
        """The inbox; from now on there is one."""
        if self.inbox is None:
            self.inbox = Inbox()
        return self.inbox

    def leave(self) -> None:
        """The inbox is nobody's any more."""
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            inbox.wake()

    def clear(self) -> None:
        super().clear()
        if self.inbox is not None:
            self.inbox.clear()

    def session_failed(self) -> None:
        """No more will come."""
        if self.inbox is not None:
            self.inbox.wake()
