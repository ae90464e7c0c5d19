"""What the server says by itself: notices, notifications, and changes of its settings."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from pgwire.errors import PostgresError
from pgwire.protocol.messages import Notification

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
