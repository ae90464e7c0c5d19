"""Which server has the role that is asked for, by what it tells and by what it is asked."""

from __future__ import annotations

import pytest

from pgwire.errors import ProtocolError
from pgwire.protocol import frontend
from pgwire.protocol.roles import misfit, question
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.conversations import REGISTRY

STANDBY, PRIMARY, READ_ONLY_PRIMARY = ("on", "off"), ("off", "off"), ("off", "on")
ROLES = ["read-write", "read-only", "primary", "standby"]


def session_with(role: tuple[str, str] | None) -> Session:
    """A session with a server that tells this of itself: in_hot_standby, and read-only."""
    session = Session(REGISTRY)
    if role is not None:
        session.parameters["in_hot_standby"], read_only = role
        session.parameters["default_transaction_read_only"] = read_only
    return session


@pytest.mark.parametrize(
    ("role", "fits"),
    [
        (PRIMARY, {"any", "read-write", "primary"}),
        (READ_ONLY_PRIMARY, {"any", "read-only", "primary"}),
        (STANDBY, {"any", "read-only", "standby"}),
        (("on", "on"), {"any", "read-only", "standby"}),
    ],
)
def test_a_server_that_tells_its_role_is_not_asked(role: tuple[str, str], fits: set[str]) -> None:
    session = session_with(role)
    for demand in ["any", *ROLES]:
        assert question(demand, session) is None
        assert (misfit(demand, session) is None) is (demand in fits), demand


def test_the_reason_is_told_in_words() -> None:
    def reason(demand: str, role: tuple[str, str]) -> str | None:
        return misfit(demand, session_with(role))

    rest = ", and target_session_attrs asks for"
    assert reason("primary", STANDBY) == f"the server is a standby{rest} primary"
    assert reason("standby", PRIMARY) == f"the server is not a standby{rest} standby"
    assert reason("read-write", STANDBY) == f"the session is read-only{rest} read-write"
    assert reason("read-only", PRIMARY) == f"the session is not read-only{rest} read-only"


def answered(demand: str, *replies: bytes) -> str | None:
    """What comes of asking a server that tells nothing by itself."""
    session = session_with(None)
    asked = question(demand, session)
    assert asked is not None
    assert misfit(demand, session) is None  # as long as it is not known
    session.submit(asked)
    assert session.data_to_send() == frontend.query(
        b"SHOW transaction_read_only\0"
        if demand.startswith("read")
        else b"SELECT pg_catalog.pg_is_in_recovery()\0"
    )
    session.receive_data(b"".join(replies) + backend.ready())
    assert asked.done
    assert not session.changed
    return misfit(demand, session, asked)


@pytest.mark.parametrize(
    ("demand", "oid", "value", "fits"),
    [
        ("read-write", 25, b"off", True),
        ("read-write", 25, b"on", False),
        ("read-only", 25, b"off", False),
        ("read-only", 25, b"on", True),
        ("primary", 16, b"f", True),
        ("primary", 16, b"t", False),
        ("standby", 16, b"f", False),
        ("standby", 16, b"t", True),
    ],
)
def test_an_older_server_is_asked(demand: str, oid: int, value: bytes, fits: bool) -> None:
    columns = backend.row_description(backend.column("x", oid))
    reason = answered(demand, columns, backend.row(value), backend.complete())
    assert (reason is None) is fits


def test_half_of_what_is_to_be_known_is_not_enough() -> None:
    session = session_with(None)
    session.parameters["in_hot_standby"] = "off"
    assert question("primary", session) is None
    assert question("read-write", session) is not None


@pytest.mark.parametrize(
    "replies",
    [
        (),
        (backend.complete(),),
        (backend.row_description(backend.column("x", 25)), backend.complete()),
        (
            backend.row_description(backend.column("x", 25)),
            backend.row(b"perhaps"),
            backend.complete(),
        ),
        (backend.row_description(backend.column("x", 25)), backend.row(None), backend.complete()),
        (
            backend.row_description(backend.column("x", 25)),
            backend.row(b"off"),
            backend.row(b"on"),
            backend.complete(),
        ),
    ],
)
def test_an_answer_that_says_nothing(replies: tuple[bytes, ...]) -> None:
    with pytest.raises(ProtocolError, match="did not say which role"):
        answered("read-write", *replies)
