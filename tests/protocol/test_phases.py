"""Every message in every phase of every operation.

Whatever a server says, and whenever: it is taken, or the session fails with an error that
names it. Never another exception, never a wait for something that cannot come any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgwire.errors import AuthenticationError, Error, ProtocolError
from pgwire.protocol.messages import BackendMessage, message_name
from pgwire.protocol.operation import Idle, Operation
from pgwire.protocol.startup import Startup
from tests.support import backend, pgoutput
from tests.support.situations import COLUMNS, WAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire.protocol.operation import Phase
    from pgwire.protocol.session import Session
    from tests.support.situations import Situation

every_way = pytest.mark.parametrize(
    ("kind", "phase", "situation"),
    WAYS,
    ids=[f"{kind.__name__}-{phase.name}" for kind, phase, _ in WAYS],
)

M = BackendMessage
# Bodies as a server would send them; several where the message has several kinds.
WELL_FORMED: dict[BackendMessage, list[bytes]] = {
    M.AUTHENTICATION: [
        backend.AUTHENTICATION_OK,
        backend.authentication(3),
        backend.authentication(5, b"salt"),
        backend.authentication(7),
        backend.sasl("SCRAM-SHA-256"),
        backend.sasl("OAUTHBEARER"),
        backend.authentication(11, b"r=nonce,s=c2FsdA==,i=4096"),
        backend.authentication(12, b"v=c2lnbmF0dXJl"),
        backend.authentication(99),
    ],
    M.BACKEND_KEY_DATA: [backend.key_data()],
    M.BIND_COMPLETE: [backend.BIND_COMPLETE],
    M.CLOSE_COMPLETE: [backend.CLOSE_COMPLETE],
    M.COMMAND_COMPLETE: [backend.complete("SELECT 1"), backend.complete("DISCARD ALL")],
    M.COPY_BOTH_RESPONSE: [backend.copy_both()],
    M.COPY_DATA: [
        backend.copy_data(b"1\n"),
        pgoutput.keepalive(),
        pgoutput.xlog_data(pgoutput.begin()),
    ],
    M.COPY_DONE: [backend.COPY_DONE],
    M.COPY_IN_RESPONSE: [backend.copy_in(0, 0)],
    M.COPY_OUT_RESPONSE: [backend.copy_out(0, 0)],
    M.DATA_ROW: [backend.row(backend.int4(1)), backend.row(None), backend.row(b"1")],
    M.EMPTY_QUERY_RESPONSE: [backend.EMPTY_QUERY],
    M.ERROR_RESPONSE: [
        backend.error("22012"),
        backend.error("26000"),
        backend.error("0A000"),
        backend.error("42P05"),
        backend.error("57014"),
        backend.fatal(),
    ],
    M.FUNCTION_CALL_RESPONSE: [backend.message("V", b"\xff\xff\xff\xff")],
    M.NEGOTIATE_PROTOCOL_VERSION: [backend.message("v", b"\0\3\0\0\0\0\0\0")],
    M.NO_DATA: [backend.NO_DATA],
    M.NOTICE_RESPONSE: [backend.notice()],
    M.NOTIFICATION_RESPONSE: [backend.notification()],
    M.PARAMETER_DESCRIPTION: [backend.parameter_description(23)],
    M.PARAMETER_STATUS: [
        backend.parameter_status("TimeZone", "UTC"),
        backend.parameter_status("client_encoding", "LATIN1"),
    ],
    M.PARSE_COMPLETE: [backend.PARSE_COMPLETE],
    M.PORTAL_SUSPENDED: [backend.message("s")],
    M.READY_FOR_QUERY: [backend.ready(), backend.ready("T"), backend.ready("E")],
    M.ROW_DESCRIPTION: [COLUMNS, backend.row_description()],
}
# A body of another length may be as good here: their content is somebody else's.
ANY_LENGTH = {M.COPY_DATA, M.AUTHENTICATION, M.BACKEND_KEY_DATA}


def variants(message: bytes) -> Iterator[tuple[bytes, bool]]:
    """A message, and what is wrong in its neighbourhood; whether it is well-formed."""
    yield message, True
    code, body = chr(message[0]), message[5:]
    broken = {b"", body[:1], body[: len(body) // 2], body[:-1], body + b"\0", body + b"x"}
    for other in sorted(broken - {body}):
        yield backend.message(code, other), False


def test_there_is_a_way_to_every_phase_of_every_operation() -> None:
    """A new operation, or a new phase, must be added here."""
    declared = {(kind, phase.name) for kind in _operations(Operation) for phase in kind.PHASES}
    assert {(kind, phase.name) for kind, phase, _ in WAYS} == declared


def _operations(kind: type[Operation]) -> Iterator[type[Operation]]:
    if kind.__module__.startswith("pgwire."):
        yield kind
    for each in kind.__subclasses__():
        yield from _operations(each)


def test_there_is_a_body_for_every_message() -> None:
    assert WELL_FORMED.keys() == set(BackendMessage)
    for code, messages in WELL_FORMED.items():
        assert all(message[0] == code for message in messages)


@every_way
def test_the_way_leads_there(
    kind: type[Operation], phase: Phase, situation: Callable[[], Situation]
) -> None:
    operation = situation().operation
    assert type(operation) is kind
    assert operation.phase is phase


@every_way
def test_every_message_is_taken_or_fails_the_session(
    kind: type[Operation], phase: Phase, situation: Callable[[], Situation]
) -> None:
    for code, samples in WELL_FORMED.items():
        taken = code in phase.handlers or (
            kind.takes_asynchronous_messages
            and code in (M.NOTICE_RESPONSE, M.NOTIFICATION_RESPONSE, M.PARAMETER_STATUS)
        )
        for sample in samples:
            for message, well_formed in variants(sample):
                session, operation = situation()
                session.receive_data(message)
                try:
                    if not taken:
                        _check_unexpected(session, kind, phase, code)
                    elif not well_formed and code not in ANY_LENGTH:
                        _check_malformed(session, code)
                    else:
                        _check_taken(session, code)
                    _check_ends(session, operation)
                except AssertionError as error:
                    error.add_note(f"the message was {message!r}")
                    raise


@every_way
def test_every_unknown_message_fails_the_session(
    kind: type[Operation], phase: Phase, situation: Callable[[], Situation]
) -> None:
    for code in set(range(256)) - set(BackendMessage):
        session, operation = situation()
        session.receive_data(bytes([code, 0, 0, 0, 4]))
        _check_unexpected(session, kind, phase, code)
        _check_ends(session, operation)


@every_way
@pytest.mark.parametrize("length", [-(2**31), -1, 0, 3])
def test_a_length_below_four_fails_the_session(
    kind: type[Operation], phase: Phase, situation: Callable[[], Situation], length: int
) -> None:
    for code in phase.handlers:
        session, operation = situation()
        session.receive_data(bytes([code]) + length.to_bytes(4, signed=True))
        assert isinstance(session.failure, ProtocolError)
        assert str(session.failure) == f"{M(code).name} with the impossible length {length}"
        _check_ends(session, operation)


@every_way
def test_a_length_that_cannot_be_right_fails_the_session_at_once(
    kind: type[Operation], phase: Phase, situation: Callable[[], Situation]
) -> None:
    """Waiting for 2 GiB of ReadyForQuery would be waiting for ever."""
    long = {M.COPY_DATA, M.DATA_ROW, M.ERROR_RESPONSE, M.NOTICE_RESPONSE, M.ROW_DESCRIPTION}
    long |= {M.NOTIFICATION_RESPONSE, M.PARAMETER_STATUS, M.PARAMETER_DESCRIPTION}
    for code in phase.handlers:
        session, operation = situation()
        session.receive_data(bytes([code]) + (2**31 - 1).to_bytes(4))
        if code in long and kind is not Startup:
            assert session.failure is None
            assert not session.in_step
        else:
            assert isinstance(session.failure, ProtocolError)
            name = M(code).name
            assert str(session.failure) == f"{name} of 2,147,483,647 bytes is longer than it can be"
        _check_lost(session, operation)


def _check_unexpected(session: Session, kind: type[Operation], phase: Phase, code: int) -> None:
    assert isinstance(session.failure, ProtocolError)
    what = f"not expected by {kind.__name__} in phase {phase.name}"
    assert str(session.failure) == f"{message_name(code)} {what}"


def _check_malformed(session: Session, code: BackendMessage) -> None:
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == f"the server sent a malformed {code.name}"


def _check_taken(session: Session, code: BackendMessage) -> None:
    """Taken, or refused for a reason: every reason has a test in its operation's own file."""
    if isinstance(session.failure, ProtocolError):
        allowed = {M.AUTHENTICATION, M.BACKEND_KEY_DATA, M.CLOSE_COMPLETE}
        allowed |= {M.ERROR_RESPONSE, M.DATA_ROW, M.COPY_DATA}
        assert code in allowed
    elif isinstance(session.failure, AuthenticationError):
        assert code is M.AUTHENTICATION
    elif session.failure is not None:
        fatal = {M.ERROR_RESPONSE, M.PARAMETER_STATUS, M.READY_FOR_QUERY}
        assert code in fatal | {M.COPY_IN_RESPONSE, M.COPY_OUT_RESPONSE}


def _check_ends(session: Session, operation: Operation) -> None:
    """Nothing is left hanging: a ReadyForQuery goes on or fails, and EOF ends it all."""
    session.data_to_send()
    session.receive_data(backend.ready())
    if (
        session.failure is None
        and session.pending
        and not any(each.is_fence for each in session.pending)
    ):
        sent = session.data_to_send()
        # A stale one is prepared again, one that has looked types up is run or ended, and one that
        # looks them up by the simple protocol asks for more.
        assert b"select $1" in sent or sent[:1] in (b"B", b"S", b"Q")
    _check_lost(session, operation)


def _check_lost(session: Session, operation: Operation) -> None:
    session.receive_eof()
    assert session.failure is not None
    assert not session.pending
    assert operation.done is not isinstance(operation, Idle)
    assert operation.error is None or isinstance(operation.error, Error)
