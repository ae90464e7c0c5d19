"""What the server says by itself, more and more of it: memory has an end."""

from __future__ import annotations

import tracemalloc
from collections import deque
from typing import TYPE_CHECKING

import pytest

from pgwire.errors import OperationalError, ProtocolError
from pgwire.protocol.events import MAX_BYTES, MAX_EVENTS, Events, Inbox, Reported
from pgwire.protocol.messages import Notification
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

A_THIRD = MAX_BYTES // 3
LARGE = "x" * 1_000_000


def note(payload: object) -> Notification:
    return Notification("news", str(payload), 7)


def test_large_events_go_before_there_are_many() -> None:
    events = Events()
    for number in range(5):
        events.add(note(number), A_THIRD)
    assert list(events) == [note(2), note(3), note(4)]
    assert events.popleft() == note(2)
    events.add(note(5), A_THIRD)
    assert list(events) == [note(3), note(4), note(5)]
    events.clear()
    for number in range(MAX_EVENTS + 2):
        events.add(note(number), 1)
    assert (len(events), events[0]) == (MAX_EVENTS, note(2))


def test_an_event_without_its_size_and_a_size_without_its_event() -> None:
    """So Ctrl-C leaves them, if it strikes between the two: all events come, and no more."""
    events = Events()
    deque.append(events, note(0))
    assert events.popleft() == note(0)
    events.add(note(1), A_THIRD)
    events.add(note(2), A_THIRD)
    deque.popleft(events)
    events.add(note(3), A_THIRD)
    assert [events.popleft() for _ in range(2)] == [note(2), note(3)]
    for payload in range(3):
        events.add(note(payload), A_THIRD)
    assert list(events) == [note(0), note(1), note(2)]  # nothing is counted that has gone


def test_the_last_event_stays_however_large_it_is() -> None:
    events = Events()
    for number in range(2):
        events.add(note(number), 2 * MAX_BYTES)
    assert list(events) == [note(1)]


def test_large_notifications_are_dropped_and_that_is_said() -> None:
    inbox = Inbox()
    for number in range(5):
        inbox.put(note(number), A_THIRD)
    with pytest.raises(OperationalError, match=r"2 notifications were dropped .* \(or 16 MB\)"):
        inbox.take()
    assert inbox.take() == note(2)
    inbox.put(note(5), A_THIRD)
    inbox.put(note(6), 2 * MAX_BYTES)
    with pytest.raises(OperationalError, match="3 notifications"):
        inbox.take()
    assert [inbox.take(), inbox.take()] == [note(6), None]


def test_settings_without_an_end_are_no_servers() -> None:
    reported = Reported()
    for _ in range(3):  # the same one over and over is one
        reported.report("search_path", "x" * (MAX_BYTES - 200))
    reported.report("search_path", "public")
    assert reported == {"search_path": "public"}
    reported.report("other", "x" * (MAX_BYTES - 1000))
    with pytest.raises(ProtocolError, match="settings without an end"):
        reported.report("another", "x" * 1000)


def test_names_cost_too() -> None:
    def report_all(reported: Reported) -> None:
        for number in range(MAX_BYTES):
            reported.report(f"name{number}", "")

    with pytest.raises(ProtocolError, match="settings without an end"):
        report_all(Reported())


@pytest.mark.parametrize(
    "make",
    [
        lambda _: backend.notice(LARGE),
        lambda _: backend.notification("news", LARGE),
        lambda _: backend.parameter_status("search_path", LARGE),
        lambda number: backend.parameter_status(f"name{number}", LARGE),
    ],
    ids=["notices", "notifications", "a setting", "settings"],
)
@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("asks", [False, True])
def test_a_session_that_is_flooded(make: Callable[[int], bytes], listens: bool, asks: bool) -> None:
    """In the middle of an answer or not, and with nobody to take any of it."""
    session = Session(REGISTRY)
    if listens:
        session.events.hear()
    query = Query("select 1")
    if asks:
        session.submit(query)
    tracemalloc.start()
    try:
        for number in range(60):
            session.receive_data(make(number))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BYTES
    if session.failure is not None:
        assert "settings without an end" in str(session.failure)
        assert query.done is asks
