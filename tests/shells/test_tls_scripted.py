"""TLS against servers that cheat, break off, or stop in the middle of a record."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support import backend
from tests.support.authority import found
from tests.support.scripted import LET_IN, SSL_REQUEST, HungUp, Line, ScriptedServer
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgwire import embedded
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell


class TLSLine:
    """A line with TLS on it, whose records can be sent in pieces."""

    def __init__(self, line: Line, context: ssl.SSLContext) -> None:
        self.line = line
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._take_in()
        line.send(self._out.read())

    def _take_in(self) -> None:
        self.line.send(self._out.read())
        data = self.line.sock.recv(65_536)
        if not data:
            raise HungUp
        self._in.write(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self._tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self._take_in()
        return data

    def read_startup(self) -> None:
        self.read(int.from_bytes(self.read(4)) - 4)

    def read_messages(self, count: int) -> None:
        for _ in range(count):
            self.read(int.from_bytes(self.read(5)[1:]) - 4)

    def records(self, *messages: bytes) -> bytes:
        self._tls.write(b"".join(messages))
        return self._out.read()

    def farewell(self) -> bytes:
        """A close_notify."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._out.read()


@pytest.fixture
def context(tls_server: embedded.Server) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    folder = tls_server.directory
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    context.set_alpn_protocols(["postgresql"])
    return context


def after_handshake(
    context: ssl.SSLContext, script: Callable[[TLSLine], object]
) -> Callable[[Line], None]:
    def run(line: Line) -> None:
        code, _ = line.read_untyped()
        assert code == SSL_REQUEST
        line.send(b"S")
        tls = TLSLine(line, context)
        tls.read_startup()
        script(tls)

    return run


class TestBeforeTheHandshake:
    @pytest.mark.parametrize("stuffed", [LET_IN, b"S", b"\0", b"E", b"Z\0\0\0\x05I"])
    @pytest.mark.parametrize("mode", ["prefer", "require"])
    def test_bytes_stuffed_behind_the_answer_are_never_taken_for_the_servers(
        self,
        context: ssl.SSLContext,
        stuffed: bytes,
        mode: str,
        connect: Connect,
    ) -> None:
        """They come from whoever sits in between, and end the attempt (CVE-2021-23222)."""

        def script(line: Line) -> None:
            code, _ = line.read_untyped()
            if code == SSL_REQUEST:
                line.send(b"S" + stuffed)
                line.wait_for_hang_up()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.ConnectionFailed) as caught:
                connect(server.dsn, sslmode=mode)
            assert server.connections == 1
        assert isinstance(caught.value, pgwire.TLSError)
        assert "spoke before TLS" in str(caught.value)

    @pytest.mark.parametrize("answer", [b"G", b"Q", b"\0", b"s"])
    @pytest.mark.parametrize("mode", ["prefer", "require"])
    def test_an_answer_that_is_none_is_not_followed_by_a_try_in_clear(
        self,
        answer: bytes,
        mode: str,
        connect: Connect,
    ) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(answer)
            line.wait_for_hang_up()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.ConnectionFailed, match="not PostgreSQL's"):
                connect(server.dsn, sslmode=mode)
            assert server.connections == 1

    @pytest.mark.parametrize("mode", ["prefer", "require"])
    def test_an_error_before_tls_is_not_shown(self, mode: str, connect: Connect) -> None:
        """It comes from somebody unknown (CVE-2024-10977), and ends the attempt."""

        def script(line: Line) -> None:
            line.read_untyped()
            line.send(backend.fatal("28000", "send your password to evil.example"))
            line.wait_for_hang_up()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.ConnectionFailed) as caught:
                connect(server.dsn, sslmode=mode)
            assert server.connections == 1
        assert "evil" not in str(caught.value)

    @pytest.mark.parametrize("stop", [0, 1, 5, 100])
    def test_the_end_in_the_middle_of_the_handshake(
        self,
        context: ssl.SSLContext,
        stop: int,
        connect: Connect,
    ) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(b"S")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            incoming.write(line.sock.recv(65_536))
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            line.send(outgoing.read()[:stop])
            line.cut()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.TLSError, match="handshake"):
                connect(server.dsn, sslmode="require")

    def test_a_refusal_that_comes_along_with_the_end_of_the_handshake(
        self, context: ssl.SSLContext, connect: Connect
    ) -> None:
        """A pooler that is full need not wait for the StartupMessage, and says no more after it."""
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # where the server has the last word

        def script(line: Line) -> None:
            line.read_untyped()
            line.send(b"S")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            for _ in range(2):
                incoming.write(line.sock.recv(65_536))
                with suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                if tls.version():
                    tls.write(backend.fatal("53300", "full up"))
                line.send(outgoing.read())
            line.wait_for_hang_up()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.ConnectionFailed, match="full up"):
                connect(server.dsn, sslmode="require", connect_timeout=5)


def answers(tls: TLSLine, text: bytes) -> bytes:
    """Let the client in, take a query that is not cached; the records of its answer."""
    tls.line.send(tls.records(LET_IN))
    tls.read_messages(3)
    tls.line.send(tls.records(backend.described(columns=[backend.column("v", 25)])))
    tls.read_messages(3)
    return tls.records(backend.executed(backend.row(text)))


class TestInTheMiddleOfARecord:
    def test_the_end_of_the_line(self, context: ssl.SSLContext, connect: Connect) -> None:
        def script(tls: TLSLine) -> None:
            tls.line.send(answers(tls, b"x")[:-3])
            tls.line.cut()

        with ScriptedServer(after_handshake(context, script), raw=True) as server:
            conn = connect(server.dsn, sslmode="require")
            with pytest.raises(pgwire.ConnectionLost):
                conn.query("select v")
            assert conn.closed

    def test_a_record_that_was_tampered_with(
        self, context: ssl.SSLContext, connect: Connect
    ) -> None:
        def script(tls: TLSLine) -> None:
            record = bytearray(answers(tls, b"x"))
            record[-1] ^= 1
            tls.line.send(bytes(record))
            tls.line.wait_for_hang_up()

        with ScriptedServer(after_handshake(context, script), raw=True) as server:
            conn = connect(server.dsn, sslmode="require")
            with pytest.raises(pgwire.ConnectionLost, match="TLS"):
                conn.query("select v")
            assert conn.closed

    def test_a_timeout_is_kept_when_half_a_record_has_come(
        self,
        context: ssl.SSLContext,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
        shell: Shell,
    ) -> None:
        monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.1)

        def script(tls: TLSLine) -> None:
            tls.line.send(answers(tls, b"x")[:-3])
            tls.line.wait_for_hang_up()

        with ScriptedServer(after_handshake(context, script), raw=True) as server:
            conn = connect(server.dsn, sslmode="require")
            began = time.monotonic()
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select v", timeout=0.1)
            assert time.monotonic() - began < LATE
            shell.settle()
            assert conn.closed

    def test_a_goodbye_of_tls_is_the_end(self, context: ssl.SSLContext, connect: Connect) -> None:
        def script(tls: TLSLine) -> None:
            reply = answers(tls, b"x")
            tls.line.send(reply + tls.farewell())
            tls.line.wait_for_hang_up()

        with ScriptedServer(after_handshake(context, script), raw=True) as server:
            conn = connect(server.dsn, sslmode="require")
            assert conn.query("select v").scalar() == "x"
            with pytest.raises(pgwire.ConnectionLost):
                conn.query("select v")

    def test_every_byte_in_a_packet_of_its_own(
        self, context: ssl.SSLContext, connect: Connect
    ) -> None:
        def script(tls: TLSLine) -> None:
            for byte in answers(tls, b"x" * 100):
                tls.line.send(bytes([byte]))
                tls.line.wait_until_read()
            tls.read_messages(1)

        with ScriptedServer(after_handshake(context, script), raw=True) as server:
            conn = connect(server.dsn, sslmode="require")
            assert conn.query("select v").scalar() == "x" * 100
            conn.close()


# What somebody else may answer to the SSLRequest of a cancel request; "S" begins a handshake.
IMPOSTORS = {
    "nothing": b"",
    "no TLS": b"N",
    "an error": b"E",
    "stuffed": b"S" + LET_IN,
    "TLS": b"S",
}


class TestCancelRequests:
    """They go over a connection of their own, to whoever listens there by now."""

    @pytest.fixture
    def stranger(self, tmp_path: Path) -> ssl.SSLContext:
        """A certificate for the right name, by an authority that nobody trusts."""
        certificate, key = found(tmp_path).issue(
            "server", extension="subjectAltName=IP:127.0.0.1,DNS:localhost"
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    @pytest.mark.parametrize("impostor", IMPOSTORS)
    def test_the_key_is_for_the_server_alone(
        self,
        tls_server: embedded.Server,
        context: ssl.SSLContext,
        stranger: ssl.SSLContext,
        connect: Connect,
        impostor: str,
    ) -> None:
        heard: list[bytes] = []

        def accomplice(line: Line) -> None:
            line.read_untyped()
            line.send(IMPOSTORS[impostor])
            if impostor == "TLS":
                with pytest.raises(ssl.SSLError):
                    TLSLine(line, stranger).read(1)
            elif impostor != "nothing":
                heard.append(line.wait_for_hang_up())

        def script(line: Line) -> None:
            if first:
                accomplice(line)
                return
            first.append(line)
            after_handshake(context, lambda tls: tls.line.send(tls.records(LET_IN)))(line)
            line.wait_for_hang_up()

        first: list[Line] = []
        with ScriptedServer(script, raw=True) as server:
            root = str(tls_server.ca)
            conn = connect(server.dsn, sslmode="verify-full", sslrootcert=root)
            with pytest.raises(pgwire.OperationalError):
                conn.cancel()
            assert server.connections == 2
            first[0].cut()
            conn.close()
        assert not b"".join(heard)
