"""Somebody in between who has a certificate of his own, in front of a real server.

He ends the client's TLS and begins his own with the server; what is said he passes on, or
changes. Who does not verify certificates is fooled, unless the login is bound to one.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol.frontend import SSL_REQUEST
from tests.shells.test_tls_scripted import TLSLine
from tests.support import backend
from tests.support.scripted import TERMINATE, Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgwire import embedded
    from tests.shells.conftest import Connect

RSA, ED25519 = "-newkey rsa:2048", "-newkey ed25519"
STRIPPED = backend.sasl("SCRAM-SHA-256")


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ssl.SSLContext]:
    """For each kind of key, what a server with a certificate of its own needs."""
    made = {}
    for name, how in (("rsa", RSA), ("ed25519", ED25519)):
        folder: Path = tmp_path_factory.mktemp(name)
        subprocess.run(
            f"openssl req -x509 -nodes -days 2 -subj /CN=localhost {how}"
            f" -keyout {folder}/key -out {folder}/crt".split(),
            check=True,
            capture_output=True,
        )
        made[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made[name].load_cert_chain(folder / "crt", folder / "key")
    return made


class Relay:
    """See the module; a script for a `ScriptedServer`. `strips`: -PLUS is not passed on."""

    def __init__(
        self, server: embedded.Server, context: ssl.SSLContext, *, strips: bool = False
    ) -> None:
        self._server = server
        self._context = context
        self._strips = strips

    def __call__(self, line: Line) -> None:
        line.read_untyped()
        line.send(b"S")
        client = TLSLine(line, self._context)
        with self._connect() as server:
            size = client.read(4)
            server.sendall(size + client.read(int.from_bytes(size) - 4))
            self._pass_on(client, server)
        client.read(len(TERMINATE))

    def _connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection((self._server.host, self._server.port))
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(plain)

    def _pass_on(self, client: TLSLine, server: ssl.SSLSocket) -> None:
        """The server's messages one by one, and the client's where the server waits for one."""
        read = server.makefile("rb").read
        while True:
            head = read(5)
            message = head + read(int.from_bytes(head[1:]) - 4)
            asks = message[:1] == b"R" and message[8] in (10, 11)
            if self._strips and message[:1] == b"R" and message[8] == 10:
                message = STRIPPED
            client.line.send(client.records(message))
            if asks:
                head = client.read(5)
                server.sendall(head + client.read(int.from_bytes(head[1:]) - 4))
            elif message[:1] in (b"E", b"Z"):
                return


@pytest.fixture
def connect_through(tls_server: embedded.Server, connect: Connect) -> Callable[..., Any]:
    def connect_through(relay: Relay, **options: Any) -> pgwire.Connection:
        with ScriptedServer(relay, raw=True) as between:
            conn = connect(
                "",
                host=between.host,
                port=between.port,
                user=tls_server.user,
                password=tls_server.password,
                dbname=tls_server.database,
                **{"sslmode": "require", **options},
            )
            conn.close()
        return conn

    return connect_through


class TestSomebodyInBetween:
    def test_nobody_notices_without_a_binding(
        self,
        tls_server: embedded.Server,
        contexts: dict[str, ssl.SSLContext],
        connect_through: Callable[..., Any],
    ) -> None:
        connect_through(Relay(tls_server, contexts["rsa"]), channel_binding="disable")

    @pytest.mark.parametrize("word", ["prefer", "require"])
    @pytest.mark.parametrize("strips", [False, True])
    def test_the_binding_finds_him_out(
        self,
        tls_server: embedded.Server,
        contexts: dict[str, ssl.SSLContext],
        connect_through: Callable[..., Any],
        word: str,
        strips: bool,
    ) -> None:
        """If he lets the offer be, by his certificate; if not, the client tells the server."""
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect_through(Relay(tls_server, contexts["rsa"], strips=strips), channel_binding=word)
        told = "does not offer SCRAM-SHA-256-PLUS" if strips and word == "require" else "channel"
        assert told in str(caught.value)

    def test_a_certificate_without_a_binding_is_his_way(
        self,
        tls_server: embedded.Server,
        contexts: dict[str, ssl.SSLContext],
        connect_through: Callable[..., Any],
    ) -> None:
        """Which decision 15 is about: it takes require, or a certificate that is verified."""
        relay = Relay(tls_server, contexts["ed25519"])
        connect_through(relay)
        with pytest.raises(pgwire.AuthenticationError, match="cannot be met"):
            connect_through(relay, channel_binding="require")
        with pytest.raises(pgwire.TLSError, match="not trusted"):
            connect_through(relay, sslmode="verify-ca", sslrootcert=str(tls_server.ca))
        with pytest.raises(pgwire.TLSError, match="not trusted"):
            connect_through(
                relay, sslmode="verify-full", secure=True, sslrootcert=str(tls_server.ca)
            )
