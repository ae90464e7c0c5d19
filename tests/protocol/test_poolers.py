"""What a pooler in between makes different: names, and refusals that no server has."""

from __future__ import annotations

import pytest

from pgwire.errors import AuthenticationError, ConnectionFailed, PostgresError
from pgwire.protocol import frontend
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup
from pgwire.sqlstate import ProtocolViolation
from tests.support import backend
from tests.support.conversations import REGISTRY


def begun() -> Session:
    credentials = Credentials("me", None, nonce="nonce", exposed=False)
    session = Session(REGISTRY)
    session.submit(Startup({"user": "me"}, credentials))
    session.data_to_send()
    return session


@pytest.mark.parametrize(("pid", "name"), [(4242, b"_pgwire_1092_1"), (-1, b"_pgwire_ffffffff_1")])
def test_names_of_statements_are_no_other_sessions(pid: int, name: bytes) -> None:
    session = begun()
    session.receive_data(backend.AUTHENTICATION_OK + backend.key_data(pid) + backend.ready())
    session.data_to_send()
    session.submit(Query("select 1"))
    assert session.data_to_send().startswith(frontend.parse(name + b"\0", b"select 1\0"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("unsupported startup parameter: extra_float_digits", "extra_float_digits"),
        ("unsupported startup parameter in options: my.geqo", "my.geqo"),
    ],
)
def test_a_pooler_refuses_a_parameter(text: str, name: str) -> None:
    session = begun()
    session.receive_data(backend.error("08P01", text))
    failure = session.failure
    assert isinstance(failure, ProtocolViolation)
    assert isinstance(failure, ConnectionFailed)
    assert failure.hint is not None
    assert failure.hint.startswith(f"a pooler refuses {name}: leave it out here")
    assert not waiting_may_help(failure)


@pytest.mark.parametrize("text", ["SASL authentication failed", "password authentication failed"])
def test_a_pooler_refuses_a_password(text: str) -> None:
    session = begun()
    session.receive_data(backend.error("08P01", text))
    assert isinstance(session.failure, AuthenticationError)
    assert isinstance(session.failure, ProtocolViolation)
    assert not waiting_may_help(session.failure)


@pytest.mark.parametrize(
    ("sqlstate", "text"),
    [
        ("08P01", "no more connections allowed (max_client_conn)"),
        ("53300", "unsupported startup parameter: geqo"),
    ],
)
def test_what_else_a_pooler_says(sqlstate: str, text: str) -> None:
    session = begun()
    session.receive_data(backend.error(sqlstate, text))
    assert isinstance(session.failure, PostgresError)
    assert session.failure.hint is None
    assert waiting_may_help(session.failure)
