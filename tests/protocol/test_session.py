"""The session: framing, order, events, failure, and what can be seen from outside."""

from __future__ import annotations

import gc
import pickle
import weakref
from datetime import UTC, timedelta, timezone
from time import process_time

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import (
    ConnectionLost,
    InterfaceError,
    OperationalError,
    PostgresError,
    ProtocolError,
)
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.registration import registration
from pgwire.protocol.events import EVENT_NAMES, MAX_EVENTS, ParameterChange, event_name
from pgwire.protocol.messages import Notification, TransactionStatus
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.sqlstate import AdminShutdown, IdleSessionTimeout
from tests.support import backend
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY

SYNC = b"S\0\0\0\4"


def with_pings(count: int) -> tuple[Session, list[Ping]]:
    session = Session(REGISTRY)
    pings = [Ping() for _ in range(count)]
    for ping in pings:
        session.submit(ping)
    return session, pings


# What goes out.


def test_nothing_is_said_without_an_operation() -> None:
    session = Session(REGISTRY)
    assert session.data_to_send() == b""
    session.receive_data(b"")
    assert session.in_step


def test_everything_that_is_to_be_written_comes_out_once() -> None:
    session, _ = with_pings(3)
    assert session.data_to_send() == SYNC * 3
    assert session.data_to_send() == b""
    session.submit(Ping())
    assert session.data_to_send() == SYNC


# What comes in.


def test_replies_belong_to_the_operations_in_their_order() -> None:
    session, (first, second) = with_pings(2)
    session.receive_data(backend.ready())
    assert (first.done, second.done) == (True, False)
    session.receive_data(backend.ready("T"))
    assert second.done
    assert session.transaction_status is TransactionStatus.IN_TRANSACTION


@given(st.lists(st.integers(0, 60)).map(sorted))
def test_messages_may_be_cut_anywhere(ends: list[int]) -> None:
    session, pings = with_pings(3)
    session.data_to_send()
    data = backend.ready("T") + backend.notice("x" * 9) + backend.ready("E") + backend.ready()
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        session.receive_data(data[start:end])
    assert all(ping.done for ping in pings)
    assert len(session.events) == 1
    assert session.in_step


def test_half_a_message_is_not_in_step() -> None:
    session = Session(REGISTRY)
    notice = backend.notice()
    session.receive_data(notice[:3])
    assert not session.in_step
    session.receive_data(notice[3:-1])
    assert not session.in_step
    session.receive_data(notice[-1:])
    assert session.in_step


def test_a_large_message_is_put_together_once_and_not_again_for_every_piece() -> None:
    """Joined with every piece this would copy 200 GB, and take a minute."""
    session = Session(REGISTRY)
    query = Query("select")
    session.submit(query)
    session.receive_data(backend.described((), [backend.column("t", 25)]) + backend.BIND_COMPLETE)
    row = backend.row(b"x" * 20_000_000)
    begun = process_time()
    for start in range(0, len(row), 1000):
        session.receive_data(row[start : start + 1000])
    session.receive_data(backend.complete() + backend.ready())
    assert len(query.result.scalar()) == 20_000_000
    assert process_time() - begun < 5


def test_a_message_nobody_waits_for() -> None:
    session = Session(REGISTRY)
    session.receive_data(backend.ready())
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == "READY_FOR_QUERY not expected by Idle in phase IDLE"


def test_what_comes_behind_a_failure_is_not_looked_at() -> None:
    session, (ping,) = with_pings(1)
    session.receive_data(backend.fatal() + b"\xff garbage")
    assert isinstance(session.failure, AdminShutdown)
    session.receive_data(b"more garbage")
    assert isinstance(ping.error, AdminShutdown)
    assert session.events == type(session.events)()


# The shell's side: completed operations, abandonment.


def test_operations_with_a_waiter_are_handed_out_once_they_are_done() -> None:
    session, (first, second, third) = with_pings(3)
    first.waiter = third.waiter = object()
    session.receive_data(backend.ready() * 2)
    assert session.take_completed() == [first]
    session.receive_eof()
    assert session.take_completed() == [third]
    assert session.take_completed() == []
    assert second.done


def test_an_operation_that_never_began_is_handed_out_too() -> None:
    session = Session(REGISTRY)
    misfit = SimpleQuery("a\0")
    misfit.waiter = object()
    session.submit(misfit)
    assert session.take_completed() == [misfit]
    assert session.data_to_send() == b""
    assert session.in_step


def test_all_that_nobody_wants_leaves_when_the_first_of_it_would_begin() -> None:
    """What was to be written between them is, in its order."""
    session = Session(REGISTRY)
    first, kept, last = Query("a"), Ping(), Ping()
    unwanted, misfit, other = SimpleQuery("b"), SimpleQuery("c\0"), SimpleQuery("d")
    for operation in (first, unwanted, kept, misfit, other, last):
        operation.waiter = object()
        session.submit(operation)
    unwanted.abandon()
    other.abandon()
    session.receive_data(backend.described())
    assert session.take_completed() == [unwanted, other, misfit]
    assert list(session.pending) == [first, kept, last]
    session.receive_data(backend.executed() + backend.ready() * 2)
    assert session.take_completed() == [first, kept, last]


def test_what_is_submitted_when_abandoned_already_is_never_said() -> None:
    session = Session(REGISTRY)
    ping = Ping()
    ping.abandon()
    session.submit(ping)
    assert ping.done
    assert session.data_to_send() == b""


# Messages of any moment.


def test_events_keep_their_order() -> None:
    session = Session(REGISTRY)
    session.receive_data(
        backend.notice("one")
        + backend.notification("news", "two", 9)
        + backend.parameter_status("TimeZone", "three")
    )
    notice, notification, change = session.events
    assert isinstance(notice, PostgresError)
    assert (notice.severity, notice.message) == ("NOTICE", "one")
    assert notification == Notification("news", "two", 9)
    assert change == ParameterChange("TimeZone", "three")
    assert session.parameters == {"TimeZone": "three"}


def test_every_event_has_a_name() -> None:
    session = Session(REGISTRY)
    session.receive_data(backend.notice("hi") + backend.notification("news", "two", 9))
    session.receive_data(backend.parameter_status("TimeZone", "UTC"))
    assert (*map(event_name, session.events), "query") == EVENT_NAMES  # of reports


def test_events_that_nobody_fetches_are_bounded_and_the_oldest_go_first() -> None:
    session = Session(REGISTRY)
    for number in range(MAX_EVENTS + 5):
        session.receive_data(backend.notification("n", str(number)))
    assert len(session.events) == MAX_EVENTS
    assert session.events[0] == Notification("n", "5", 7)


def test_a_parameter_may_change_and_unknown_ones_are_kept() -> None:
    session = Session(REGISTRY)
    for value in ("1", "2"):
        session.receive_data(backend.parameter_status("some.thing", value))
    assert session.parameters == {"some.thing": "2"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("18.6", 180006), ("19beta1", 190000), ("15.18 (Debian 15.18-1)", 150018), ("", 0), ("x", 0)],
)
def test_the_servers_version_as_a_number(text: str, number: int) -> None:
    session = Session(REGISTRY)
    assert session.server_version == 0
    session.receive_data(backend.parameter_status("server_version", text))
    assert session.server_version == number


def test_a_client_encoding_that_is_not_utf8_ends_the_session() -> None:
    """Everything that follows would be misread."""
    session, (ping,) = with_pings(1)
    session.receive_data(backend.parameter_status("client_encoding", "UTF8"))
    assert not ping.done
    session.receive_data(backend.parameter_status("client_encoding", "LATIN1") + backend.ready())
    assert type(session.failure) is InterfaceError
    assert "client_encoding was set to 'LATIN1'" in str(session.failure)
    assert repr(ping.error) == repr(session.failure)


def test_the_time_zone_may_choose_the_types() -> None:
    plus_two = timezone(timedelta(hours=2))
    zones = {"UTC": UTC, "Europe/Berlin": plus_two}
    session = Session(REGISTRY, zone_of=zones.__getitem__)
    session.receive_data(backend.parameter_status("TimeZone", "Europe/Berlin"))
    assert session.registry.timezone is plus_two
    assert session.registry.catalog is REGISTRY.catalog
    session.receive_data(backend.parameter_status("DateStyle", "UTC"))
    assert session.registry.timezone is plus_two
    session.receive_data(backend.parameter_status("TimeZone", "UTC"))
    assert session.registry.timezone is UTC


def test_a_cached_statement_follows_the_time_zone() -> None:
    timestamptz = backend.described((), [backend.column("t", 1184)])
    answer = backend.executed(backend.row(bytes(8)))
    plus_two = timezone(timedelta(hours=2))
    session = Session(REGISTRY, zone_of=lambda _: plus_two)
    session.submit(Query("select now()"))
    session.receive_data(timestamptz + answer)
    session.receive_data(backend.parameter_status("TimeZone", "somewhere"))
    query = Query("select now()")
    session.submit(query)
    session.receive_data(answer)
    assert query.result.scalar().tzinfo == plus_two
    assert query.result.scalar().astimezone(UTC).year == 2000


def test_what_is_registered_on_a_session_is_its_own_until_it_is_reset() -> None:
    registry = TypeRegistry(json_loads=len)
    session = Session(registry, zone_of=lambda _: timezone(timedelta(hours=2)))
    session.unregister()
    assert session.registry is registry
    session.register("text", registration("text", None, str.upper, None, "text"))
    session.register("name", registration("name", None, str.lower, None, "text"))
    assert session.changed
    own = session.registry
    assert own.codec(oids.TEXT).decode_text("a") == "A"
    assert own.codec(oids.NAME).decode_text("A") == "a"
    assert own.codec(oids.JSON).decode_text("abc") == 3
    assert own.catalog is registry.catalog
    assert registry.codec(oids.TEXT).decode_text("a") == "a"
    session.receive_data(backend.parameter_status("TimeZone", "somewhere"))
    assert session.registry.codec(oids.TEXT).decode_text("a") == "A"
    session.unregister()
    assert session.registry.codec(oids.TEXT).decode_text("a") == "a"
    assert session.registry.timezone == timezone(timedelta(hours=2))


def test_without_that_wish_the_time_zone_changes_nothing() -> None:
    session = Session(REGISTRY)
    session.receive_data(backend.parameter_status("TimeZone", "Europe/Berlin"))
    assert session.registry is REGISTRY


# The end.


def test_a_fatal_error_ends_the_session_with_the_servers_words() -> None:
    """The first operation has it as its error, those behind it know what it was."""
    session, (first, second) = with_pings(2)
    session.receive_data(backend.fatal("57P01", "shutting down"))
    failure = session.failure
    assert isinstance(failure, ConnectionLost)
    assert isinstance(failure, AdminShutdown)
    assert failure.sqlstate == "57P01"
    assert type(first.error) is type(failure)
    assert type(second.error) is ConnectionLost
    assert second.error.__cause__ is failure


@pytest.mark.parametrize("severity", ["FATAL", "PANIC", "ERROR"])
def test_an_error_while_idle_is_the_servers_farewell(severity: str) -> None:
    session = Session(REGISTRY)
    session.receive_data(backend.error("57P05", "idle for too long", severity))
    assert isinstance(session.failure, ConnectionLost)
    assert isinstance(session.failure, IdleSessionTimeout)
    session.receive_eof()
    assert isinstance(session.failure, IdleSessionTimeout)


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        backend.PARSE_COMPLETE,
        backend.described((), [backend.column()]),
        backend.described((), [backend.column()]) + backend.BIND_COMPLETE,
        backend.described() + backend.BIND_COMPLETE + backend.complete(),
        backend.error("42601"),
        backend.error("42P05"),
    ],
)
def test_a_fatal_error_in_any_phase_of_a_query(before: bytes, severity: str) -> None:
    session, server_says = Session(REGISTRY), backend.error("57P01", "bye", severity)
    query = Query("select 1")
    session.submit(query)
    session.receive_data(before)
    earlier = query.error
    session.data_to_send()
    session.receive_data(server_says)
    assert isinstance(session.failure, AdminShutdown)
    assert query.done
    if earlier is None:  # else that is what has happened to it
        assert isinstance(query.error, AdminShutdown)
        assert isinstance(query.error, ConnectionLost)
    else:
        assert query.error is earlier
    assert session.data_to_send() == b""


def test_a_fatal_error_in_a_language_that_we_do_not_speak() -> None:
    """The field V is never translated."""
    body = b"SSCHWERWIEGEND\0VFATAL\0C57P01\0Mtsch\xc3\xbcss\0\0"
    session, _ = with_pings(1)
    session.receive_data(backend.message("E", body))
    assert isinstance(session.failure, AdminShutdown)


def test_the_end_of_the_stream() -> None:
    session, (first, second) = with_pings(2)
    session.receive_eof()
    assert str(session.failure) == "the server closed the connection unexpectedly"
    assert repr(first.error) == repr(session.failure)
    assert str(second.error) == "the connection was lost before this was answered"


def test_the_end_of_the_stream_in_the_middle_of_a_message() -> None:
    session = Session(REGISTRY)
    session.receive_data(b"Z\0\0")
    session.receive_eof()
    assert str(session.failure) == "the server closed the connection in the middle of a message"
    assert not session.in_step


def test_only_the_first_failure_counts() -> None:
    session = Session(REGISTRY)
    session.receive_eof()
    first = session.failure
    session.receive_eof()
    session.fail(OperationalError("later"))
    session.receive_data(backend.ready())
    assert session.failure is first


def test_what_was_to_be_written_is_dropped_with_a_failure() -> None:
    session, _ = with_pings(2)
    session.fail(OperationalError("over"))
    assert session.data_to_send() == b""


def test_use_after_a_failure() -> None:
    session = Session(REGISTRY)
    session.receive_eof()
    for operation in (Query("select 1"), Ping(), SimpleQuery("select 1")):
        session.submit(operation)
        assert operation.done
        assert repr(operation.error) == repr(session.failure)
    assert not session.pending
    assert session.data_to_send() == b""


def test_operations_that_wait_for_the_floor_are_lost_too() -> None:
    session = Session(REGISTRY)
    queries = [Query(f"select {number}") for number in range(3)]
    for query in queries:
        session.submit(query)
    session.receive_eof()
    assert all(query.done and isinstance(query.error, ConnectionLost) for query in queries)


def test_a_lost_operation_keeps_the_error_that_it_had() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", [1.5])
    session.submit(query)
    session.receive_data(backend.described([23]))
    session.receive_eof()
    assert "parameter $1 (int4)" in str(query.error)


def test_failures_can_be_pickled() -> None:
    session = Session(REGISTRY)
    session.receive_data(backend.fatal())
    again = pickle.loads(pickle.dumps(session.failure))
    assert isinstance(again, AdminShutdown)
    assert isinstance(again, ConnectionLost)
    assert str(again) == str(session.failure)


# What is remembered.


@pytest.mark.parametrize("tag", ["DEALLOCATE ALL", "DISCARD ALL"])
@pytest.mark.parametrize("make", [SimpleQuery, Query])
def test_commands_after_which_the_server_knows_no_statement(
    tag: str, make: type[SimpleQuery] | type[Query]
) -> None:
    session, server = Session(REGISTRY), BackendDouble()
    run(session, server, Query("echo", [1]))
    assert len(session.statements) == 1
    session.submit(make("the command"))
    described = backend.described() + backend.BIND_COMPLETE if make is Query else b""
    session.receive_data(described + backend.complete(tag) + backend.ready())
    assert len(session.statements) == 0
    assert not session.statements.closing


@pytest.mark.parametrize(
    ("sql", "changed"), [("select 1", False), ("set a = 1", True), ("listen news", True)]
)
@pytest.mark.parametrize("make", [SimpleQuery, Query])
def test_whether_a_statement_may_have_changed_the_session(
    sql: str, changed: bool, make: type[SimpleQuery] | type[Query]
) -> None:
    session = Session(REGISTRY)
    session.submit(make(sql))
    session.receive_data(backend.described() if make is Query else b"")
    assert session.changed is changed


# What people see.


def test_repr_shows_what_is_under_way() -> None:
    session = Session(REGISTRY)
    assert repr(session) == "<Session IDLE pending=[] unsent=0 buffered=0>"
    session.submit(Query("select 1"))
    session.submit(Ping())
    session.receive_data(backend.PARSE_COMPLETE + b"t\0")
    assert repr(session) == (
        "<Session IDLE pending=[Query(DESCRIBING_PARAMETERS), Ping(QUEUED)] unsent=1 buffered=2>"
    )
    session.receive_eof()
    assert repr(session).startswith("<Session failed: ConnectionLost('the server closed the")
    assert repr(session).endswith("pending=[] unsent=0 buffered=0>")


@pytest.mark.parametrize("farewell", [backend.fatal(), backend.error("57P01")])
def test_one_that_has_failed_needs_no_garbage_collector(farewell: bytes) -> None:
    session = with_pings(1)[0]
    session.receive_data(backend.ready() + farewell)
    assert isinstance(session.failure, ConnectionLost)
    seen = weakref.ref(session)
    gc.disable()
    try:
        del session
        assert seen() is None
    finally:
        gc.enable()
