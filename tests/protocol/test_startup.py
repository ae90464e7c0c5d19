"""The start-up: every method of authentication, and every way to be talked out of it."""

from __future__ import annotations

import hashlib
import traceback
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, strategies as st

from pgwire.config import Secret
from pgwire.demands import ALL_METHODS, SCRAM_ONLY
from pgwire.errors import (
    AuthenticationError,
    ConnectionFailed,
    ConnectionLost,
    Error,
    InterfaceError,
    PostgresError,
    ProgrammingError,
    ProtocolError,
)
from pgwire.protocol import frontend
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.messages import BackendKeyData, TransactionStatus
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram_keys import KeyCache
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.protocol.startup import Startup
from pgwire.sqlstate import CannotConnectNow, InvalidCatalogName, InvalidPassword
from tests.support import backend
from tests.support.conversations import REGISTRY
from tests.support.scram_server import EITHER_ENGINE, NONCE, SECRET, Server, count_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence

PARAMETERS = {"user": "me", "database": "db"}
CLEARTEXT = backend.authentication(3)
MD5 = backend.authentication(5, b"salt")
SASL = backend.sasl("SCRAM-SHA-256")


def begin(password: str | None = SECRET, **options: Any) -> tuple[Session, Startup]:
    session = Session(REGISTRY)
    options.setdefault("exposed", False)
    options.setdefault("nonce", NONCE)
    secret = None if password is None else Secret(password)
    startup = Startup(PARAMETERS, Credentials("me", secret, **options))
    session.submit(startup)
    assert session.data_to_send() == frontend.startup_message(PARAMETERS)
    startup.use_pause()
    return session, startup


def said(session: Session, data: bytes) -> bytes:
    session.receive_data(data)
    return session.data_to_send()


def check_refused(session: Session, startup: Startup, reason: str) -> None:
    assert isinstance(session.failure, AuthenticationError)
    assert reason in str(session.failure)
    assert repr(startup.error) == repr(session.failure)
    assert session.data_to_send() == b""


# The way in.


def test_in_without_a_password() -> None:
    session, startup = begin(password=None)
    session.receive_data(backend.AUTHENTICATION_OK)
    session.receive_data(backend.parameter_status("server_version", "18.6") + backend.notice("hi"))
    session.receive_data(backend.notification("n") + backend.key_data(7, b"abcd"))
    assert not startup.done
    session.receive_data(backend.ready())
    assert (startup.done, startup.error) == (True, None)
    assert session.parameters == {"server_version": "18.6"}
    assert session.backend_key == BackendKeyData(7, b"abcd")
    assert session.transaction_status is TransactionStatus.IDLE
    assert not session.events, "nobody could listen"
    assert session.in_step


def test_a_pooler_in_between_may_have_no_key() -> None:
    session, startup = begin()
    session.receive_data(backend.AUTHENTICATION_OK + backend.ready())
    assert startup.error is None
    assert session.backend_key is None


def test_a_second_key_is_a_violation() -> None:
    session, _ = begin()
    session.receive_data(backend.AUTHENTICATION_OK + backend.key_data() * 2)
    assert str(session.failure) == "BACKEND_KEY_DATA not expected by Startup in phase STARTING"


def test_operations_submitted_before_the_end_wait_for_it() -> None:
    session, _ = begin()
    ping = Ping()
    session.submit(ping)
    assert said(session, backend.AUTHENTICATION_OK) == b""
    assert said(session, backend.ready()) == b"S\0\0\0\4"
    session.receive_data(backend.ready())
    assert ping.error is None


def test_the_password_in_clear() -> None:
    session, startup = begin("pässword")
    assert said(session, CLEARTEXT) == b"p\0\0\0\x0ep\xc3\xa4ssword\0"
    session.receive_data(backend.AUTHENTICATION_OK + backend.ready())
    assert startup.error is None


def test_the_password_as_md5() -> None:
    session, startup = begin("pencil")
    inner = hashlib.md5(b"pencilme").hexdigest().encode()
    expected = b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()
    assert said(session, MD5) == b"p\0\0\0\x28" + expected + b"\0"
    session.receive_data(backend.AUTHENTICATION_OK + backend.ready())
    assert startup.error is None


def through_scram(session: Session, server: Server, last: Sequence[bytes] = ()) -> None:
    first = said(session, SASL)
    assert first.startswith(b"p")
    assert b"SCRAM-SHA-256\0" in first
    client_first = first[5 + len(b"SCRAM-SHA-256\0") + 4 :]
    client_final = said(session, backend.authentication(11, server.first(client_first)))[5:]
    session.receive_data(backend.authentication(12, server.final(client_final)))
    for data in last:
        session.receive_data(data)


@pytest.mark.parametrize("scram_only", [False, True])
def test_scram(scram_only: bool) -> None:
    session, startup = begin(secure=scram_only, methods=SCRAM_ONLY if scram_only else ALL_METHODS)
    server = Server(SECRET.encode())
    through_scram(session, server, [backend.AUTHENTICATION_OK, backend.ready()])
    assert (startup.done, startup.error) == (True, None)


def test_scram_with_keys_that_a_pool_keeps() -> None:
    keys, server = KeyCache(), Server(SECRET.encode())
    for _ in range(3):
        session, startup = begin(keys=keys)
        through_scram(session, server, [backend.AUTHENTICATION_OK, backend.ready()])
        assert startup.error is None
    assert len(keys) == 1


def test_a_wrong_password_is_dropped_from_the_keys_that_a_pool_keeps() -> None:
    keys, server = KeyCache(), Server(SECRET.encode())
    session, _ = begin(keys=keys)
    through_scram(session, server)
    assert len(keys) == 1
    session, startup = begin(keys=keys)
    first = said(session, SASL)
    client_first = first[5 + len(b"SCRAM-SHA-256\0") + 4 :]
    said(session, backend.authentication(11, server.first(client_first)))
    session.receive_data(backend.error("28P01", "wrong", "FATAL"))
    assert isinstance(startup.error, InvalidPassword)
    assert len(keys) == 0


# What we refuse to say.


def test_no_password_to_give() -> None:
    for request in (CLEARTEXT, MD5, SASL):
        session, startup = begin(password=None)
        assert said(session, request) == b""
        check_refused(session, startup, "a password, and none was given, by password=")


@pytest.mark.parametrize("request_", [CLEARTEXT, MD5])
def test_a_password_over_an_unencrypted_network(request_: bytes) -> None:
    session, startup = begin(exposed=True)
    assert said(session, request_) == b""
    check_refused(session, startup, "over an unencrypted connection")
    session, _ = begin(exposed=True, allow_cleartext=True)
    assert said(session, request_) != b""


@pytest.mark.parametrize("request_", [CLEARTEXT, MD5])
@pytest.mark.parametrize("options", [{}, {"allow_cleartext": True}, {"tls": True}])
def test_scram_only_means_only_scram(request_: bytes, options: dict[str, Any]) -> None:
    session, startup = begin(secure=True, methods=SCRAM_ONLY, **options)
    assert said(session, request_) == b""
    check_refused(session, startup, "which secure=True does not allow")


def test_scram_only_is_not_let_in_for_nothing() -> None:
    session, startup = begin(secure=True, methods=SCRAM_ONLY)
    session.receive_data(backend.AUTHENTICATION_OK + backend.ready())
    check_refused(
        session, startup, "the server let us in without asking for anything, which secure=True"
    )


@pytest.mark.parametrize(
    ("code", "name"), [(2, "Kerberos V5"), (6, "SCM"), (7, "GSSAPI"), (8, "GSSAPI"), (9, "SSPI")]
)
def test_methods_that_are_not_supported(code: int, name: str) -> None:
    session, startup = begin()
    session.receive_data(backend.authentication(code))
    check_refused(session, startup, f"the server asks for {name}, which pgwire does not speak")


def test_mechanisms_that_are_not_supported() -> None:
    session, startup = begin()
    assert said(session, backend.sasl("OAUTHBEARER")) == b""
    check_refused(session, startup, "")


@pytest.mark.parametrize("code", [-1, 1, 4, 11, 12, 13, 99])
def test_methods_that_nobody_knows(code: int) -> None:
    session, _ = begin()
    session.receive_data(backend.authentication(code))
    assert isinstance(session.failure, ProtocolError)
    assert f"unknown authentication method ({code})" in str(session.failure)


@pytest.mark.parametrize(
    "request_",
    [
        backend.authentication(0, b"x"),
        backend.authentication(3, b"x"),
        backend.authentication(5, b"sal"),
        backend.authentication(5, b"salty"),
        backend.authentication(10, b"SCRAM-SHA-256\0"),
        backend.authentication(10, b"SCRAM-SHA-256\0\0\0"),
    ],
)
def test_malformed_requests(request_: bytes) -> None:
    session, _ = begin()
    assert said(session, request_) == b""
    assert str(session.failure) == "the server sent a malformed AUTHENTICATION"


@pytest.mark.parametrize("request_", [CLEARTEXT, MD5, SASL])
@pytest.mark.parametrize("password", ["hunter2\0", "hunter2" * 10_000])
def test_a_password_that_no_server_takes_and_that_no_traceback_shows(
    password: str, request_: bytes
) -> None:
    session, startup = begin(password)
    assert said(session, request_) == b""
    assert isinstance(session.failure, ProgrammingError)
    assert repr(startup.error) == repr(session.failure)
    shown = traceback.TracebackException.from_exception(session.failure, capture_locals=True)
    assert "hunter2" not in "".join(shown.format())


@pytest.mark.parametrize("password", ["", "lone \udcff surrogate", "\ud800"])
@pytest.mark.parametrize("request_", [CLEARTEXT, MD5, SASL])
def test_odd_passwords_are_sent_as_they_are(password: str, request_: bytes) -> None:
    session, _ = begin(password)
    assert said(session, request_) != b""
    assert not session.failure


def test_a_nonce_that_scram_cannot_take_is_our_own_mistake() -> None:
    session, startup = begin(nonce="with,comma")
    session.receive_data(SASL)
    assert isinstance(session.failure, InterfaceError)
    assert startup.done


def test_more_iterations_than_allowed() -> None:
    session, startup = begin(max_iterations=4096)
    server = Server(SECRET.encode(), iterations=1)
    first = said(session, SASL)[5 + len(b"SCRAM-SHA-256\0") + 4 :]
    challenge = server.first(first).replace(b"i=1", b"i=4097")
    assert said(session, backend.authentication(11, challenge)) == b""
    check_refused(session, startup, "4097")


def test_a_server_that_does_not_know_the_password() -> None:
    session, startup = begin()
    server = Server(SECRET.encode())
    first = said(session, SASL)[5 + len(b"SCRAM-SHA-256\0") + 4 :]
    said(session, backend.authentication(11, server.first(first)))
    session.receive_data(backend.authentication(12, b"v=" + b"A" * 43 + b"="))
    check_refused(session, startup, "signature")


LEFT = "the server left the authentication that it had begun; nothing more was sent"


@pytest.mark.parametrize(
    "turn",
    [backend.AUTHENTICATION_OK, CLEARTEXT, MD5, SASL, backend.authentication(12, b"v=x")],
    ids=["ok", "cleartext", "md5", "sasl", "final"],
)
def test_a_server_that_leaves_scram_when_it_has_begun(turn: bytes) -> None:
    session, startup = begin(exposed=False, allow_cleartext=True)
    said(session, SASL)
    assert said(session, turn) == b""
    check_refused(session, startup, LEFT)


@pytest.mark.parametrize(
    "turn",
    [backend.AUTHENTICATION_OK, CLEARTEXT, backend.authentication(11, b"r=x")],
    ids=["ok", "cleartext", "continue"],
)
def test_a_server_that_lets_us_in_before_it_has_proved_anything(turn: bytes) -> None:
    session, startup = begin()
    server = Server(SECRET.encode())
    first = said(session, SASL)[5 + len(b"SCRAM-SHA-256\0") + 4 :]
    said(session, backend.authentication(11, server.first(first)))
    assert said(session, turn) == b""
    check_refused(session, startup, LEFT)


@pytest.mark.parametrize("turn", [CLEARTEXT, MD5, SASL])
@pytest.mark.parametrize("request_", [CLEARTEXT, MD5])
def test_a_server_that_asks_again(request_: bytes, turn: bytes) -> None:
    session, startup = begin()
    said(session, request_)
    assert said(session, turn) == b""
    check_refused(session, startup, LEFT)


# What the server may not say yet.


@pytest.mark.parametrize(
    "message",
    [
        backend.notice(),
        backend.parameter_status("a", "b"),
        backend.notification(),
        backend.key_data(),
        backend.ready(),
    ],
    ids=lambda message: chr(message[0]),
)
@pytest.mark.parametrize("before", [b"", CLEARTEXT, SASL], ids=["first", "cleartext", "scram"])
def test_before_it_has_let_us_in_a_server_says_nothing_on_its_own(
    before: bytes, message: bytes
) -> None:
    session, startup = begin()
    said(session, before)
    session.receive_data(message)
    assert isinstance(session.failure, ProtocolError)
    assert "not expected by Startup in phase" in str(session.failure)
    assert repr(startup.error) == repr(session.failure)


@pytest.mark.parametrize(
    ("code", "length", "allowed"),
    [
        ("R", 2_000, True),
        ("R", 2_001, False),
        ("E", 2_001, True),
        ("E", 30_000, True),
        ("E", 30_001, False),
    ],
)
def test_before_it_has_let_us_in_a_server_gets_little_memory(
    code: str, length: int, allowed: bool
) -> None:
    session, _ = begin()
    session.receive_data(code.encode() + length.to_bytes(4))
    assert (session.failure is None) is allowed


@pytest.mark.parametrize(
    ("code", "length", "allowed"),
    [
        ("S", 100_000, True),
        ("N", 16_000_000, True),
        ("N", 16_000_001, False),
        ("E", 16_000_001, False),
        ("K", 2_001, True),
    ],
)
def test_afterwards_it_may_say_more(code: str, length: int, allowed: bool) -> None:
    session, _ = begin()
    session.receive_data(backend.AUTHENTICATION_OK)
    session.receive_data(code.encode() + length.to_bytes(4))
    assert (session.failure is None) is allowed


@pytest.mark.parametrize("message", [backend.notice(), backend.notification()])
def test_a_server_that_never_comes_to_the_point(message: bytes) -> None:
    session, startup = begin()
    session.receive_data(backend.AUTHENTICATION_OK)
    count = 0
    while session.failure is None:
        session.receive_data(message * 100)
        count += 100
    assert 10_000 < count <= 16_000
    assert str(startup.error) == "the server says too much, and never that it is ready"


# Refusals by the server.


@pytest.mark.parametrize("before", [b"", CLEARTEXT, SASL, backend.AUTHENTICATION_OK])
@pytest.mark.parametrize(
    ("sqlstate", "kinds"),
    [
        ("28P01", (AuthenticationError, InvalidPassword)),
        ("3D000", (ConnectionFailed, InvalidCatalogName)),
        ("57P03", (ConnectionFailed, CannotConnectNow)),
    ],
)
def test_an_error_is_the_servers_refusal(
    before: bytes, sqlstate: str, kinds: tuple[type[Error], ...]
) -> None:
    session, startup = begin()
    said(session, before)
    session.receive_data(backend.error(sqlstate, "go away", "FATAL"))
    for kind in kinds:
        assert isinstance(startup.error, kind)
    assert isinstance(startup.error, PostgresError)
    assert (startup.error.sqlstate, str(startup.error)) == (sqlstate, "go away")
    assert repr(startup.error) == repr(session.failure)


def test_a_refusal_is_one_whatever_its_severity() -> None:
    session, startup = begin()
    session.receive_data(backend.error("28000", "no", "ERROR"))
    assert isinstance(startup.error, AuthenticationError)


def test_something_that_is_not_postgresql() -> None:
    session, _ = begin()
    session.receive_data(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert isinstance(session.failure, ProtocolError)
    assert "not expected by Startup in phase AUTHENTICATING" in str(session.failure)


def test_a_client_encoding_that_is_not_ours() -> None:
    session, startup = begin()
    session.receive_data(
        backend.AUTHENTICATION_OK + backend.parameter_status("client_encoding", "SQL_ASCII")
    )
    assert isinstance(startup.error, InterfaceError)


def test_parameters_that_cannot_be_sent() -> None:
    session = Session(REGISTRY)
    startup = Startup({"user": "a\0b"}, Credentials("a", None, NONCE))
    session.submit(startup)
    assert isinstance(startup.error, ProgrammingError)
    assert session.data_to_send() == b""


def test_credentials_show_no_secret() -> None:
    shown = repr(Credentials("me", Secret(SECRET), NONCE, keys=KeyCache()))
    assert SECRET not in shown
    assert NONCE not in shown


@pytest.mark.parametrize(
    ("challenge", "is_long"),
    [
        (b"r=x,s=eA==,i=4096", False),
        (b"r=x,s=eA==,i=4097", True),
        (b"r=x,s=eA==,i=" + b"9" * 5000, True),
        (b"its beginning, perhaps", True),
        (b"", False),  # a piece of a record of TLS
    ],
)
def test_it_says_before_it_hashes_for_long(challenge: bytes, is_long: bool) -> None:
    """So that a shell can have that done where it holds up nobody."""
    session, startup = begin()
    assert not startup.hashes_long(challenge)
    said(session, SASL)
    assert startup.hashes_long(challenge) is is_long
    server = Server(SECRET.encode(), iterations=1)
    said(session, backend.authentication(11, server.first(b"n,,n=*,r=" + NONCE.encode())))
    assert not startup.hashes_long(challenge)


@given(
    st.sampled_from([1, 4_096, 4_097, 50_000]),
    st.sampled_from(["", ",x=i", ",x=1,y=" + "z" * 40]),
    st.sampled_from([b"", b"r=,i=1", b",i=1", backend.error("28P01", "x,i=1")]),
    st.lists(st.integers(0, 200), max_size=4),
)
@example(50_000, ",x=1,y=" + "z" * 40, backend.error("28P01", "x,i=1"), [110])
def test_it_never_hashes_for_long_without_having_said_so(
    iterations: int, extensions: str, behind: bytes, cuts: list[int]
) -> None:
    """However the challenge is cut, and whatever is behind it."""
    session, startup = begin()
    said(session, SASL)
    server = Server(SECRET.encode(), iterations=1, extensions=extensions)
    server.iterations = iterations
    first = server.first(b"n,,n=*,r=" + NONCE.encode())
    data = backend.authentication(11, first) + behind
    places = sorted({0, *cuts, len(data)})
    for begins, ends in pairwise(places):
        is_long = startup.hashes_long(data[begins:ends])
        with pytest.MonkeyPatch.context() as patch:
            counts = count_hashes(patch)
            session.receive_data(data[begins:ends])
        assert is_long or max(counts, default=0) <= 4_096
    assert not startup.hashes_long(data)


@pytest.mark.parametrize("password", EITHER_ENGINE)
@pytest.mark.parametrize("keys", [None, KeyCache])
@pytest.mark.parametrize("pauses", [0, 1, 2])
def test_what_is_done_in_pauses_makes_no_difference(
    password: str, keys: type[KeyCache] | None, pauses: int
) -> None:
    cache = None if keys is None else keys()
    session = Session(REGISTRY)
    secret = Secret(password)
    startup = Startup(PARAMETERS, Credentials("me", secret, NONCE, exposed=False, keys=cache))
    session.submit(startup)
    session.data_to_send()
    server = Server(prepare(password))
    first = b"n,,n=*,r=" + NONCE.encode()

    def heard(data: bytes) -> bytes:
        for _ in range(pauses):
            startup.use_pause()
        return said(session, data)[5:]

    assert heard(SASL) == b"SCRAM-SHA-256\0" + len(first).to_bytes(4) + first
    final = heard(backend.authentication(11, server.first(first)))
    assert heard(backend.authentication(12, server.final(final))) == b""
    assert heard(backend.AUTHENTICATION_OK + backend.ready()) == b""
    assert (startup.done, startup.error) == (True, None)
    startup.use_pause()
    assert cache is None or len(cache) == 1


def test_more_is_offered_than_what_was_foreseen() -> None:
    session, startup = begin()
    foreseen = startup._scram
    assert foreseen is not None
    assert said(session, backend.sasl("SCRAM-SHA-1", "SCRAM-SHA-256"))[5:].startswith(
        b"SCRAM-SHA-2"
    )
    assert startup._scram is foreseen


@pytest.mark.parametrize("options", [{"methods": frozenset({"md5"})}, {"token": Secret("t")}])
def test_nothing_is_foreseen_where_it_may_come_otherwise(options: dict[str, Any]) -> None:
    _, startup = begin(**options)
    assert startup._scram is None


def test_a_pause_before_a_refusal() -> None:
    session, startup = begin(password=None)
    session.receive_eof()
    startup.use_pause()
    assert isinstance(startup.error, ConnectionLost)


def test_its_first_message_may_be_sent_ahead() -> None:
    """The session's own, byte for byte, and it is not sent again."""
    startup = Startup(PARAMETERS, Credentials("me", None, nonce=NONCE))
    assert startup.first_message() == frontend.startup_message(PARAMETERS)
    session = Session(REGISTRY)
    session.submit(startup)
    assert session.data_to_send() == b""
    session.receive_data(backend.AUTHENTICATION_OK + backend.ready())
    assert (startup.done, startup.error) == (True, None)
