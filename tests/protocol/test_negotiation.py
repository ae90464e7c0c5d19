"""Versions of the protocol: what the server may answer ours with, and the keys of each."""

from __future__ import annotations

import pickle

import pytest

from pgwire.demands import PROTOCOL_3_0, PROTOCOL_3_2
from pgwire.errors import ConnectionFailed, Error, NotSupportedError, ProtocolError
from pgwire.protocol import frontend
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup
from tests.support import backend
from tests.support.conversations import REGISTRY
from tests.support.scram_server import NONCE

PARAMETERS = {"user": "me"}
TO_3_0 = backend.negotiation(PROTOCOL_3_0)


def begin(oldest: int = PROTOCOL_3_0, newest: int = PROTOCOL_3_2) -> Session:
    session = Session(REGISTRY)
    session.submit(Startup(PARAMETERS, Credentials("me", None, NONCE), (oldest, newest)))
    assert session.data_to_send() == frontend.startup_message(PARAMETERS, newest)
    return session


def failure(session: Session, *messages: bytes) -> Error:
    for message in messages:
        session.receive_data(message)
    assert session.failure is not None
    assert session.data_to_send() == b""
    return session.failure


def test_the_startup_message_says_the_newest() -> None:
    assert frontend.startup_message({})[4:8] == b"\0\3\0\0"
    assert frontend.startup_message({}, PROTOCOL_3_2)[4:8] == b"\0\3\0\2"


@pytest.mark.parametrize("secret", [b"1234", b"1" * 32, b"1" * 256])
def test_a_server_that_speaks_the_newest_does_not_say_so(secret: bytes) -> None:
    session = begin(PROTOCOL_3_2)
    session.receive_data(backend.AUTHENTICATION_OK + backend.key_data(7, secret) + backend.ready())
    assert session.failure is None
    assert session.backend_key is not None
    assert session.backend_key.secret == secret
    assert frontend.cancel_request(*session.backend_key).endswith(b"\x07" + secret)
    assert repr(secret)[2:-1] not in repr(session.backend_key)


def test_an_older_server_says_what_it_speaks() -> None:
    session = begin()
    session.receive_data(TO_3_0)
    session.receive_data(backend.AUTHENTICATION_OK + backend.key_data() + backend.ready())
    assert session.failure is None
    assert session.in_step


def test_one_that_is_too_old() -> None:
    error = failure(begin(PROTOCOL_3_2), TO_3_0)
    assert isinstance(error, ConnectionFailed)
    assert isinstance(error, NotSupportedError)
    assert not waiting_may_help(error)
    assert type(pickle.loads(pickle.dumps(error))) is type(error)
    assert str(error) == (
        "the server speaks protocol 3.0 at most, and min_protocol_version=3.2 demands more"
    )


@pytest.mark.parametrize(
    "version",
    [
        *(PROTOCOL_3_2, PROTOCOL_3_0 + 1, PROTOCOL_3_0 + 3, PROTOCOL_3_0 + 9999),
        *(4 << 16, 2 << 16, 0, -1, -(2**31), 2**31 - 1),
    ],
)
def test_answers_that_make_no_sense(version: int) -> None:
    error = failure(begin(), backend.negotiation(version))
    assert isinstance(error, ProtocolError)
    assert "the server answers protocol 3.2 with" in str(error)


@pytest.mark.parametrize("names", [("_pq_.x",), ("x",), ("",), ("_pq_.x", "_pq_.y")])
def test_options_that_were_not_asked_for(names: tuple[str, ...]) -> None:
    error = failure(begin(), backend.negotiation(PROTOCOL_3_0, *names))
    assert isinstance(error, ProtocolError)
    assert "an option of the protocol that was not asked" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\3\0\0",
        b"\0\3\0\0\0\0\0",
        b"\0\3\0\0\0\0\0\0x",
        b"\0\3\0\0\0\0\0\1",
        b"\0\3\0\0\0\0\0\1x",
        b"\0\3\0\0\0\0\0\1x\0y",
        b"\0\3\0\0\xff\xff\xff\xff",
        b"\0\3\0\0\x7f\xff\xff\xff" + b"\0" * 100,
    ],
)
def test_malformed_answers(body: bytes) -> None:
    error = failure(begin(), backend.message("v", body))
    assert str(error) == "the server sent a malformed NEGOTIATE_PROTOCOL_VERSION"


def test_nothing_is_to_be_negotiated_where_the_oldest_was_asked_for() -> None:
    error = failure(begin(newest=PROTOCOL_3_0), TO_3_0)
    assert str(error) == "the server answers protocol 3.0 with 3.0"


@pytest.mark.parametrize(
    "before",
    [(TO_3_0,), (backend.AUTHENTICATION_OK,), (TO_3_0, backend.AUTHENTICATION_OK)],
    ids=["twice", "late", "late again"],
)
def test_it_is_said_once_and_first(before: tuple[bytes, ...]) -> None:
    error = failure(begin(), *before, TO_3_0)
    assert isinstance(error, ProtocolError)
    assert "NEGOTIATE_PROTOCOL_VERSION not expected" in str(error)


def test_a_long_answer_is_not_waited_for() -> None:
    error = failure(begin(), b"v" + (2_001).to_bytes(4))
    assert "longer than it can be" in str(error)


@pytest.mark.parametrize(
    ("negotiated", "size", "fits"),
    [
        (False, 3, False),
        (False, 4, True),
        (False, 256, True),
        (False, 257, False),
        (True, 3, False),
        (True, 4, True),
        (True, 5, False),
        (True, 32, False),
    ],
)
def test_the_length_of_the_key(negotiated: bool, size: int, fits: bool) -> None:
    session = begin()
    session.receive_data((TO_3_0 if negotiated else b"") + backend.AUTHENTICATION_OK)
    session.receive_data(backend.key_data(7, b"k" * size))
    assert (session.failure is None) is fits
    if not fits:
        assert str(session.failure) == "the server sent a malformed BACKEND_KEY_DATA"


@pytest.mark.parametrize("sqlstate", ["0A000", "08P01"])
def test_a_server_that_knows_no_versions_gets_a_hint(sqlstate: str) -> None:
    error = failure(begin(), backend.error(sqlstate, "unsupported", "FATAL"))
    assert str(error).endswith("max_protocol_version=3.0")
    with_own = backend.error(sqlstate, "unsupported", "FATAL", H="try harder")
    assert "HINT: try harder" in str(failure(begin(), with_own))


@pytest.mark.parametrize("before", [(TO_3_0,), (backend.AUTHENTICATION_OK,)])
def test_there_is_no_hint_where_it_is_about_something_else(before: tuple[bytes, ...]) -> None:
    refusal = backend.error("0A000", "unsupported", "FATAL")
    assert str(failure(begin(), *before, refusal)) == "unsupported"
    assert str(failure(begin(newest=PROTOCOL_3_0), refusal)) == "unsupported"
    assert str(failure(begin(), backend.error("28000", "no", "FATAL"))) == "no"
