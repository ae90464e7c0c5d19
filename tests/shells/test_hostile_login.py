"""Servers that lie, flood, repeat and mistake their lines in the middle of a login.

In either shell each of them costs bounded memory and bounded time, gets a clear error, and never
a secret that the settings forbid. Where they stop or break off is in `test_secrets.py`.
"""

from __future__ import annotations

import itertools
import tracemalloc
from contextlib import suppress
from struct import pack
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support import backend
from tests.support.logins import PASSWORD, POINTS, SCRAM, Login
from tests.support.scripted import CLEARTEXT, LET_IN, MD5, HungUp, Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect

BANNERS = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "MySQL": b"\x4a\x00\x00\x00\x0a8.0.36\x00" + bytes(60),
    "TLS alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "TLS ServerHello": b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(100),
    "SMTP": b"220 mail.example.com ESMTP\r\n",
    "Redis": b"-ERR unknown command\r\n",
    "zeros": bytes(200),
    "ones": b"\xff" * 200,
}
LENGTHS = [-(2**31), -1, 0, 3, 30_001, 2**31 - 1]
# What a server may say at all while somebody logs in, out of its order or not.
MESSAGES = {
    "ok": backend.AUTHENTICATION_OK,
    "cleartext": CLEARTEXT,
    "md5": MD5,
    "scram": SCRAM,
    "challenge": backend.authentication(11, b"r=x,s=c2FsdHNhbHRzYWx0,i=4096"),
    "outcome": backend.authentication(12, b"v=" + b"A" * 43 + b"="),
    "gss": backend.authentication(7),
    "key": backend.key_data(),
    "ready": backend.ready(),
    "version": backend.negotiation(3 << 16),
    "row": backend.row(b"1"),
    "copy": backend.copy_in(0),
}


def fails(
    connect: Connect,
    method: str,
    step: int,
    ending: Callable[[Line], object],
    **options: Any,
) -> tuple[pgwire.Error, bytes]:
    """Log in up to this step, then what the ending says: the error, and what was sent after it."""
    said: list[bytes] = []

    def script(line: Line) -> None:
        steps = Login(line, iterations=1).steps(method)
        for _ in range(step + 1):
            next(steps)
        with suppress(HungUp):
            ending(line)
        said.append(line.wait_for_hang_up())

    parameters: dict[str, Any] = {"password": PASSWORD, "oauth_token": lambda: "MARKER-token"}
    with ScriptedServer(script) as server:
        with pytest.raises(pgwire.Error) as caught:
            connect(server.dsn, connect_timeout=20, **parameters, **options)
    assert not isinstance(caught.value, TimeoutError)
    assert "connect_timeout" not in str(caught.value)
    return caught.value, b"".join(said)


@pytest.mark.parametrize("banner", BANNERS)
@pytest.mark.parametrize(("method", "step"), POINTS)
def test_another_protocol(method: str, step: int, banner: str, connect: Connect) -> None:
    error, said = fails(connect, method, step, lambda line: line.send(BANNERS[banner]))
    assert isinstance(error, pgwire.ConnectionFailed)
    assert "is there a PostgreSQL server" in str(error)
    assert said == b""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("method", "step"), POINTS)
def test_lengths_that_cannot_be(method: str, step: int, length: int, connect: Connect) -> None:
    let_in = step == (4 if method == "scram" else 2)
    for code in "RESZ":
        if let_in and code in "ES" and length == 30_001:
            continue  # there it may be
        message = code.encode() + pack("!i", length)
        error, said = fails(connect, method, step, lambda line, m=message: line.send(m))  # type: ignore[misc]
        assert isinstance(error, pgwire.ConnectionFailed)
        assert said == b""


@pytest.mark.parametrize(("method", "step"), POINTS)
def test_nothing_is_sent_that_is_not_due(method: str, step: int, connect: Connect) -> None:
    """All that may be said, and what might open the door behind it: nothing is answered."""
    for first, second in itertools.product(MESSAGES, ("ok", "cleartext", "scram")):
        if (method, step, first) in _DUE:
            continue
        both = MESSAGES[first] + MESSAGES[second]
        error, said = fails(connect, method, step, lambda line, m=both: line.send(m))  # type: ignore[misc]
        assert isinstance(error, pgwire.ConnectionFailed)
        assert said in (b"", b"X\0\0\0\x04")


# What leads on: `test_wherever_a_login_fails` goes that way.
_DUE = {
    *(("scram", 0, name) for name in ("ok", "cleartext", "md5", "scram")),
    *(("oauth", 1, name) for name in ("ok", "challenge")),
    *((method, 1, "ok") for method in ("cleartext", "md5")),
    ("scram", 3, "ok"),
    *((method, 2, name) for method in ("cleartext", "md5", "oauth") for name in ("key", "ready")),
    *(("scram", 4, name) for name in ("key", "ready")),
}


@pytest.mark.parametrize("weak", ["ok", "cleartext", "md5", "gss"])
@pytest.mark.parametrize(
    ("step", "allowed"),
    [(0, "scram-sha-256"), (1, "scram-sha-256"), (2, "scram-sha-256"), (0, "oauth")],
)
def test_a_weaker_method_than_the_settings_allow(
    step: int, allowed: str, weak: str, connect: Connect
) -> None:
    error, said = fails(
        connect, "scram", step, lambda line: line.send(MESSAGES[weak]), require_auth=allowed
    )
    assert isinstance(error, pgwire.AuthenticationError)
    assert said == b""


class TestFloods:
    @pytest.mark.parametrize(
        "message",
        [
            backend.notice("x" * 1000),
            backend.notification("x" * 1000),
            backend.parameter_status("x", "y" * 1000),
        ],
        ids=["notices", "notifications", "parameters"],
    )
    def test_endless(self, message: bytes, connect: Connect) -> None:
        """Without a connect_timeout that would end it."""

        def script(line: Line) -> None:
            line.send(backend.AUTHENTICATION_OK)
            while True:
                line.send(message * 50)

        tracemalloc.start()
        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.ConnectionFailed, match="says too much"):
                connect(server.dsn)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64_000_000

    def test_endless_names_of_parameters(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.send(backend.AUTHENTICATION_OK)
            for number in itertools.count():
                line.send(backend.parameter_status(f"name{number}", "value"))

        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.ConnectionFailed, match="says too much"):
                connect(server.dsn)

    @pytest.mark.parametrize("request_", [CLEARTEXT, MD5, SCRAM, backend.sasl("OAUTHBEARER")])
    def test_endless_requests(self, request_: bytes, connect: Connect) -> None:
        """One is answered, however often it is made."""
        said: list[bytes] = []

        def script(line: Line) -> None:
            with suppress(HungUp):
                line.send(request_ * 1000)
            said.append(line.wait_for_hang_up())

        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.AuthenticationError, match="left the authentication"):
                connect(server.dsn, password=PASSWORD, oauth_token=lambda: "token")
        assert b"".join(said).count(b"p\0\0") <= 1

    @pytest.mark.parametrize("count", [1, 1000])
    def test_mechanisms_without_an_end(self, count: int, connect: Connect) -> None:
        error, said = fails(
            connect,
            "scram",
            0,
            lambda line: line.send(backend.sasl(*["X" * (1500 // count)] * count)),
        )
        assert isinstance(error, pgwire.ConnectionFailed)
        assert len(str(error)) < 1000
        assert said == b""


def test_a_byte_at_a_time(connect: Connect) -> None:
    """The slowest of servers is one all the same."""

    class Slow(Line):
        def send(self, *messages: bytes) -> None:
            for byte in b"".join(messages):
                super().send(bytes((byte,)))

    def script(line: Line) -> None:
        slow = Slow(line.sock)
        for _ in Login(slow).steps("scram"):
            pass
        slow.send(LET_IN[len(backend.AUTHENTICATION_OK) :])
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn, password=PASSWORD)
        assert conn.server_version == 180006
        conn.close()


def test_no_nonce_is_used_twice(connect: Connect) -> None:
    """Else what one server has seen would be of use to another."""
    firsts: list[bytes] = []

    def script(line: Line) -> None:
        line.send(SCRAM)
        firsts.extend(line.expect("p"))

    with ScriptedServer(script) as server:
        for _ in range(20):
            with pytest.raises(pgwire.ConnectionFailed):
                connect(server.dsn, password=PASSWORD)
    nonces = {first.rpartition(b"r=")[2] for first in firsts}
    assert len(nonces) == 20
    assert min(map(len, nonces)) >= 24
