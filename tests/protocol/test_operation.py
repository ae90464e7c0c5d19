"""What every operation has in common."""

from __future__ import annotations

import pytest

from pgwire.errors import ConnectionLost, ProtocolError
from pgwire.protocol.copying import Sending
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase, expect_empty
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from tests.support import backend
from tests.support.conversations import REGISTRY


def test_repr_tells_where_an_operation_stands() -> None:
    session = Session(REGISTRY)
    first, second, third = Query("select 1"), Ping(), Ping()
    for operation in (first, second, third):
        session.submit(operation)
    second.abandon()
    assert repr(first) == "Query(PARSING)"
    assert repr(second) == "Ping(QUEUED, abandoned)"
    session.receive_data(backend.error("42601") + backend.ready() + backend.ready())
    assert repr(first) == "Query(FAILED: PostgresSyntaxError)"
    assert repr(second) == "Ping(DONE, abandoned)"
    assert repr(third) == "Ping(DONE)"


def test_repr_of_a_phase() -> None:
    assert repr(Ping.WAITING) == "Phase(WAITING)"


def test_an_operation_begins_without_an_outcome() -> None:
    operation = Ping()
    assert (operation.done, operation.abandoned) == (False, False)
    assert (operation.error, operation.result, operation.waiter) == (None, None, None)


def test_operations_share_no_state() -> None:
    first, second = Ping(), Ping()
    first.error, first.done, first.waiter = ValueError(), True, object()
    first.abandon()
    assert (second.error, second.done, second.waiter, second.abandoned) == (
        None,
        False,
        None,
        False,
    )


def test_every_phase_has_a_name_of_its_own_in_its_operation() -> None:
    for kind in _operations(Operation):
        names = [phase.name for phase in kind.PHASES]
        assert len(set(names)) == len(names)
        for phase in kind.PHASES:
            assert getattr(kind, phase.name) is phase
            assert phase.handlers.keys() <= set(BackendMessage)


def _operations(kind: type[Operation]) -> list[type[Operation]]:
    below = [each for child in kind.__subclasses__() for each in _operations(child)]
    return [kind, *below] if kind.__module__.startswith("pgwire.") else below


def test_every_phase_but_the_first_of_a_startup_can_be_told_of_an_error() -> None:
    """The server may give up at any moment."""
    for kind in _operations(Operation):
        for phase in kind.PHASES:
            assert BackendMessage.ERROR_RESPONSE in phase.handlers


@pytest.mark.parametrize("length", [-5, 0, 3])
def test_a_length_that_does_not_count_itself(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"DATA_ROW with the impossible length {length}"):
        Ping().check_length(BackendMessage.DATA_ROW, length)


@pytest.mark.parametrize("code", BackendMessage)
def test_only_some_messages_may_be_long(code: BackendMessage) -> None:
    long = {"COPY_DATA", "DATA_ROW", "ERROR_RESPONSE", "NOTICE_RESPONSE", "NOTIFICATION_RESPONSE"}
    long |= {"PARAMETER_DESCRIPTION", "PARAMETER_STATUS", "ROW_DESCRIPTION"}
    Ping().check_length(code, 30_000)
    if code.name in long:
        Ping().check_length(code, 2**31 - 1)
    else:
        with pytest.raises(ProtocolError, match="30,001 bytes is longer than it can be"):
            Ping().check_length(code, 30_001)


def test_the_first_error_is_kept() -> None:
    """Later ones are its consequences."""
    session = Session(REGISTRY)
    query = Query("select 1")
    session.submit(query)
    session.receive_data(backend.error("42601", "first") + backend.error("XX000", "second"))
    session.receive_data(backend.ready())
    assert str(query.error) == "first"


@pytest.mark.parametrize("body", [b"", b"II", b"i", b"\0"])
def test_ready_for_query_has_one_byte_of_three(body: bytes) -> None:
    session = Session(REGISTRY)
    session.submit(Ping())
    session.receive_data(backend.message("Z", body))
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == "the server sent a malformed READY_FOR_QUERY"


@pytest.mark.parametrize(
    ("status", "name"),
    [("I", "IDLE"), ("T", "IN_TRANSACTION"), ("E", "IN_FAILED_TRANSACTION")],
)
def test_ready_for_query_tells_the_transaction_status(status: str, name: str) -> None:
    session = Session(REGISTRY)
    session.submit(Ping())
    session.receive_data(backend.ready(status))
    assert session.transaction_status.name == name


def test_expect_empty() -> None:
    check = expect_empty("BIND_COMPLETE")
    check(b"whatever", 3, 3)
    with pytest.raises(ProtocolError, match="the server sent a malformed BIND_COMPLETE"):
        check(b"whatever", 3, 4)


class Incomplete(Operation):
    """Says neither how it begins nor what it does with rows."""


def test_an_operation_that_cannot_begin_has_its_error_and_harms_nobody() -> None:
    session = Session(REGISTRY)
    incomplete, ping = Incomplete(), Ping()
    session.submit(incomplete)
    session.submit(ping)
    assert session.data_to_send() == b"S\0\0\0\4"
    session.receive_data(backend.ready())
    assert isinstance(incomplete.error, NotImplementedError)
    assert ping.error is None
    assert session.in_step


def test_what_an_operation_must_define_for_itself() -> None:
    """Rows, and for those that prepare how they go on; a table that lists them is a promise."""
    with pytest.raises(NotImplementedError):
        Incomplete().on_rows(b"", 0, 0)
    with pytest.raises(NotImplementedError):
        Preparing("select 1").go_on(None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Preparing("select 1").lookup_failed(None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Preparing("select 1").finish()
    with pytest.raises(NotImplementedError):
        Preparing("select 1").parse_failed(None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Sending().copy_more()
    with pytest.raises(NotImplementedError):
        Sending().drop_source()


def test_a_handlers_error_ends_the_session() -> None:
    """Any error of ours; the shell sees it as the reason."""

    class Refusing(Ping):
        def on_refused(self, _buffer: bytes, _start: int, _end: int) -> None:
            raise ConnectionLost("refused")

        WAITING = Phase("WAITING", {BackendMessage.READY_FOR_QUERY: on_refused})

    session = Session(REGISTRY)
    refusing = Refusing()
    session.submit(refusing)
    session.receive_data(backend.ready())
    assert repr(refusing.error) == repr(session.failure)
    assert str(session.failure) == "refused"
