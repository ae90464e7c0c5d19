"""How TLS comes about: every sslmode with every kind of server, and whom it lets in which way.

A server here tells what it has seen: each connection, what became of the request for TLS, and
whether the role was let in.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.shells.test_tls_scripted import TLSLine
from tests.support import backend
from tests.support.scripted import LET_IN, SSL_REQUEST, Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire import embedded
    from tests.shells.conftest import Connect

_CLIENT_HELLO = b"\x16"
_NO_LINE = backend.fatal("28000", "no pg_hba.conf entry")
# Whom the server lets in how, by the lines in its pg_hba.conf.
_LINES = {"anyone": "host hostssl hostnossl", "tls_only": "hostssl", "plain_only": "hostnossl"}

# What a server without TLS sees, and one with it, of each role in each mode.
WITHOUT_TLS = [
    ("disable", "anyone", "connect in", "plain"),
    ("disable", "tls_only", "connect out", ""),
    ("allow", "anyone", "connect in", "plain"),
    ("allow", "tls_only", "connect out, connect N", ""),
    ("prefer", "anyone", "connect N in", "plain"),
    ("prefer", "tls_only", "connect N out", ""),
    ("require", "anyone", "connect N", ""),
    ("direct", "anyone", "connect hello", ""),
]
WITH_TLS = [
    ("disable", "anyone", "connect in", "plain"),
    ("disable", "tls_only", "connect out", ""),
    ("disable", "plain_only", "connect in", "plain"),
    ("allow", "anyone", "connect in", "plain"),
    ("allow", "tls_only", "connect out, connect S in", "tls"),
    ("allow", "plain_only", "connect in", "plain"),
    ("allow", "nobody", "connect out, connect S out", ""),
    ("prefer", "anyone", "connect S in", "tls"),
    ("prefer", "tls_only", "connect S in", "tls"),
    ("prefer", "plain_only", "connect S out, connect in", "plain"),
    ("prefer", "nobody", "connect S out, connect out", ""),
    ("require", "anyone", "connect S in", "tls"),
    ("require", "tls_only", "connect S in", "tls"),
    ("require", "plain_only", "connect S out", ""),
    ("direct", "anyone", "connect hello in", "tls"),
    ("direct", "tls_only", "connect hello in", "tls"),
    ("direct", "plain_only", "connect hello out", ""),
]


@pytest.fixture(scope="module")
def context(tls_server: embedded.Server) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = tls_server.directory
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.set_alpn_protocols(["postgresql"])
    return context


class Watchman:
    """A server's script; `seen` has the words for each connection."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self.seen: list[list[str]] = []

    @property
    def log(self) -> str:
        return ", ".join(map(" ".join, self.seen))

    def __call__(self, line: Line) -> None:
        words = ["connect"]
        self.seen.append(words)
        tls = None
        if line.sock.recv(1, socket.MSG_PEEK) == _CLIENT_HELLO:
            words.append("hello")
            if self._context is None:
                return
            tls = TLSLine(line, self._context)
            startup = self._read(tls)
        else:
            code, startup = line.read_untyped()
            if code == SSL_REQUEST:
                words.append("N" if self._context is None else "S")
                line.send(words[-1].encode())
                if self._context is None:
                    startup = line.read_untyped()[1]
                else:
                    tls = TLSLine(line, self._context)
                    startup = self._read(tls)
        way = "hostnossl" if tls is None else "hostssl"
        lets_in = way in _LINES.get(startup.split(b"\0")[1].decode(), "").split()
        words.append("in" if lets_in else "out")
        answer = LET_IN if lets_in else _NO_LINE
        line.send(answer if tls is None else tls.records(answer))
        if tls is not None and lets_in:
            tls.read_messages(1)  # Terminate
        else:
            line.wait_for_hang_up()

    @staticmethod
    def _read(tls: TLSLine) -> bytes:
        return tls.read(int.from_bytes(tls.read(4)) - 4)[4:]


def _outcome(connect: Connect, dsn: str, mode: str, user: str) -> str:
    """How the connection came about, "" if it did not."""
    if mode == "direct":
        way = {"sslmode": "require", "sslnegotiation": "direct"}
    else:
        way = {"sslmode": mode}
    try:
        conn = connect(dsn, user=user, **way)
    except pgwire.ConnectionFailed:
        return ""
    conn.close()
    return "plain" if conn.tls is None else "tls"


@pytest.mark.parametrize("has_tls", [False, True])
def test_every_mode_with_every_server(
    context: ssl.SSLContext, connect: Connect, has_tls: bool
) -> None:
    for mode, user, wanted, outcome in WITH_TLS if has_tls else WITHOUT_TLS:
        watchman = Watchman(context if has_tls else None)
        with ScriptedServer(watchman, raw=True) as server:
            found = _outcome(connect, server.dsn, mode, user)
        assert (mode, user, watchman.log, found) == (mode, user, wanted, outcome)


def test_a_refusal_without_tls_is_told_once(connect: Connect) -> None:
    """`prefer`, which is the default, has no second way where the server has no TLS."""
    with ScriptedServer(Watchman(None), raw=True) as server:
        with pytest.raises(pgwire.errors.InvalidAuthorizationSpecification) as caught:
            connect(server.dsn, user="nobody", sslmode="prefer")
    assert isinstance(caught.value, pgwire.AuthenticationError)
    assert len(caught.value.attempts) == 1


@pytest.mark.parametrize("how", [Line.cut, Line.reset])
@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_a_server_that_hangs_up_on_the_request_is_not_tried_in_clear(
    connect: Connect, mode: str, how: Callable[[Line], object]
) -> None:
    """It has not said that it has no TLS. Another host may be better off."""
    codes = []

    def script(line: Line) -> None:
        codes.append(line.read_untyped()[0])
        how(line)

    with ScriptedServer(script, raw=True) as server:
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect(server.dsn, sslmode=mode)
        assert codes == [SSL_REQUEST]
        assert not isinstance(caught.value, pgwire.TLSError)
        hosts = {"host": "127.0.0.1,127.0.0.1", "port": f"{server.port},{server.port}"}
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("user=u dbname=d", sslmode=mode, **hosts)
    assert len(caught.value.attempts) == 2


def test_a_handshake_that_fails_leaves_prefer_its_other_way(
    context: ssl.SSLContext, connect: Connect
) -> None:
    requests = []

    def script(line: Line) -> None:
        code, _ = line.read_untyped()
        requests.append(code)
        if code == SSL_REQUEST:
            line.send(b"S")
            line.sock.recv(1)
            line.send(b"\x15\x03\x03\x00\x02\x02\x28")  # an alert: handshake failure
            line.finish()
        else:
            line.let_in()
            line.wait_for_hang_up()

    with ScriptedServer(script, raw=True) as server:
        conn = connect(server.dsn, sslmode="prefer")
        assert conn.tls is None
        conn.close()
        assert requests == [SSL_REQUEST, 3 << 16]
        with pytest.raises(pgwire.TLSError, match="handshake failed"):
            connect(server.dsn, sslmode="require")


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_another_protocol_inside_of_tls_is_not_spoken(
    tls_server: embedded.Server, connect: Connect, mode: str
) -> None:
    """A context of one's own may offer it beside ours. A server before 17 agrees on none."""
    ours = ssl.create_default_context(cafile=str(tls_server.ca))
    ours.set_alpn_protocols(["postgresql", "http/1.1"])
    folder = tls_server.directory
    for agrees_on in ([], ["postgresql"], ["http/1.1", "postgresql"]):
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        theirs.load_cert_chain(folder / "server.crt", folder / "server.key")
        if agrees_on:
            theirs.set_alpn_protocols(agrees_on)
        watchman = Watchman(theirs)
        with ScriptedServer(watchman, raw=True) as server:
            address = {"host": "127.0.0.1", "port": server.port, "dbname": "d", "user": "anyone"}
            if agrees_on[:1] == ["http/1.1"]:
                with pytest.raises(pgwire.TLSError, match=r"chose to speak 'http/1\.1'"):
                    connect("", sslmode=mode, ssl_context=ours, **address)
                assert watchman.log == "connect S"
            else:
                conn = connect("", sslmode=mode, ssl_context=ours, **address)
                assert conn.tls is not None
                conn.close()
