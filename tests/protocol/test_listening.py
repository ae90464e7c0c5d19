"""Channels by name, the inbox of a session, and who is woken by what."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import (
    ConnectionLost,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
)
from pgwire.protocol.cleaning import RESET, Clean
from pgwire.protocol.events import MAX_EVENTS, Events, Inbox
from pgwire.protocol.listening import (
    LONGEST_CHANNEL,
    changing,
    check_wait,
    listening,
    notifying,
    refuse_held,
    unlistening,
)
from pgwire.protocol.messages import Notification
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.protocol.streaming import Streaming
from tests.support import backend
from tests.support.conversations import REGISTRY
from tests.support.extended import DESCRIBED, said, submit


def put(inbox: Inbox, *payloads: object) -> None:
    for payload in payloads:
        inbox.put(Notification("news", str(payload), 7))


def taken(inbox: Inbox) -> list[str]:
    payloads = []
    while (got := inbox.take()) is not None:
        payloads.append(got.payload)
    return payloads


# Channels.


def sent(operation: Any) -> bytes:
    session = Session(REGISTRY)
    session.submit(operation)
    if operation.error is not None:
        raise operation.error
    return session.data_to_send()


def test_names_are_taken_as_they_are() -> None:
    session = Session(REGISTRY)
    assert b'LISTEN "News";\0' in sent(listening(session, "News"))
    assert b'UNLISTEN "a""b; drop";\0' in sent(unlistening('a"b; drop'))
    both = changing(session, ["a", "b"], ["c"])
    assert b'UNLISTEN "c";LISTEN "a";LISTEN "b";\0' in sent(both)
    assert b"NOTIFY \"a\", 'it''s'\0" in sent(notifying("a", "it's"))


def test_listening_marks_the_session() -> None:
    session = Session(REGISTRY)
    session.submit(listening(session, "news"))
    assert session.changed


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "0 bytes"),
        ("x" * (LONGEST_CHANNEL + 1), "64 bytes"),
        ("ä" * 32, "64 bytes"),
        ("a\0b", "NUL"),
        ("\ud800", "surrogate"),
        (b"news", "is a str"),
        (None, "is a str"),
    ],
)
def test_names_that_cannot_be(name: Any, reason: str) -> None:
    with pytest.raises(ProgrammingError, match=reason):
        listening(Session(REGISTRY), name)
    with pytest.raises(ProgrammingError, match=reason):
        unlistening(name)


def test_the_longest_name() -> None:
    name = "ä" * 31 + "x"
    assert f'"{name}"'.encode() in sent(listening(Session(REGISTRY), name))


def test_behind_a_pooler_it_is_refused() -> None:
    with pytest.raises(NotSupportedError, match="pooler"):
        listening(Session(REGISTRY, prepare=False), "news")


@pytest.mark.parametrize(
    ("given_as", "meant"), [(None, None), (0, 0.0), (-1, 0.0), (1.5, 1.5), (inf, None), (1e9, None)]
)
def test_how_long_to_wait(given_as: float | None, meant: float | None) -> None:
    assert check_wait(given_as) == meant


@pytest.mark.parametrize("nonsense", [nan, "1", True, b"", [1]])
def test_what_is_no_time(nonsense: Any) -> None:
    with pytest.raises(ProgrammingError, match="must be a number of seconds"):
        check_wait(nonsense)


# The inbox.


def test_what_came_first_is_taken_first() -> None:
    inbox = Inbox()
    assert (len(inbox), inbox.take()) == (0, None)
    put(inbox, 1, 2, 3)
    assert len(inbox) == 3
    assert taken(inbox) == ["1", "2", "3"]


@pytest.mark.parametrize(("number", "words"), [(4, "1 notification was"), (6, "3 notifications")])
def test_beyond_its_size_the_oldest_are_dropped_and_that_is_said_once(
    number: int, words: str
) -> None:
    inbox = Inbox(3)
    put(inbox, *range(number))
    with pytest.raises(OperationalError, match=f"{words}.*dropped.*3 were waiting"):
        inbox.take()
    assert taken(inbox) == [str(n) for n in range(number - 3, number)]
    put(inbox, "next")
    assert taken(inbox) == ["next"]


@given(st.lists(st.sampled_from(["put", "take"])), st.integers(1, 4))
def test_each_is_taken_or_counted_as_dropped_in_order(steps: list[str], size: int) -> None:
    inbox = Inbox(size)
    number = expected = 0
    for step in steps:
        if step == "put":
            put(inbox, number)
            number += 1
            continue
        try:
            got = inbox.take()
        except OperationalError as error:
            expected += int(str(error).partition(" ")[0])
            got = inbox.take()
            assert got is not None
        assert (None if got is None else got.payload) == (
            None if expected == number else str(expected)
        )
        expected += got is not None
    assert len(inbox) <= size


def test_clearing_forgets_what_was_dropped_as_well() -> None:
    inbox = Inbox(1)
    put(inbox, 1, 2)
    inbox.clear()
    assert inbox.take() is None


def test_watchers_hear_of_each_and_may_leave_meanwhile() -> None:
    inbox = Inbox()
    heard: list[int] = []

    def once() -> None:
        inbox.watchers.discard(once)
        heard.append(len(inbox))

    inbox.watchers.add(once)
    put(inbox, 1, 2)
    assert heard == [1]


# The session's.


def notification(payload: str) -> bytes:
    return backend.notification("news", payload)


def test_what_comes_before_somebody_hears_is_for_callbacks_alone() -> None:
    session = Session(REGISTRY)
    session.receive_data(notification("early"))
    inbox = session.events.hear()
    assert session.events.hear() is inbox
    session.receive_data(notification("a") + notification("b"))
    assert [event.payload for event in session.events] == ["early", "a", "b"]  # type: ignore[union-attr]
    assert taken(inbox) == ["a", "b"]


def test_more_than_there_are_events_are_dropped_aloud() -> None:
    session = Session(REGISTRY)
    inbox = session.events.hear()
    session.receive_data(notification("x") * (MAX_EVENTS + 5))
    with pytest.raises(OperationalError, match="5 notifications"):
        inbox.take()
    assert len(inbox) == MAX_EVENTS


def test_it_is_left_with_the_lease() -> None:
    session = Session(REGISTRY)
    session.events.leave()  # nobody's
    inbox = session.events.hear()
    woken: list[str] = []
    inbox.watchers.add(lambda: woken.append("woken"))
    session.events.leave()
    session.receive_data(notification("a"))
    assert (woken, inbox.take()) == (["woken"], None)


def test_the_next_lease_gets_nothing_of_the_last() -> None:
    """The bytes of its cleaning are on their way when it begins to hear."""
    session = Session(REGISTRY)
    session.submit(Clean(RESET))
    inbox = session.events.hear()
    session.receive_data(notification("the last lease's") + backend.complete() + backend.ready())
    assert inbox.take() is None
    session.receive_data(notification("its own"))
    assert taken(inbox) == ["its own"]


def test_the_end_of_the_session_wakes() -> None:
    session = Session(REGISTRY)
    session.fail(ConnectionLost("gone"))  # nobody hears
    session = Session(REGISTRY)
    seen: list[object] = []
    session.events.hear().watchers.add(lambda: seen.append(session.failure))
    session.receive_eof()
    assert [type(each) for each in seen] == [ConnectionLost]


def test_events_without_an_inbox_are_cleared() -> None:
    events = Events()
    events.notified(Notification("news", "x", 1))
    events.clear()
    assert not events


def test_it_is_refused_while_something_holds_the_session() -> None:
    session = Session(REGISTRY)
    refuse_held(session)
    submit(session, Ping())
    refuse_held(session)
    said(session, backend.ready())
    submit(session, Streaming("select n from t where n > $1", [0]))
    said(session)
    said(session, DESCRIBED)
    with pytest.raises(InterfaceError, match="held by an open iteration"):
        refuse_held(session)
