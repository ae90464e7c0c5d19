"""`connect()` against servers that are silent, slow, liars, or no PostgreSQL at all."""

from __future__ import annotations

import os
import pickle
import re
import socket
import tempfile
import threading
import time
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import addresses
from tests.support import backend
from tests.support.guards import go_on
from tests.support.leaks import all_that_shows
from tests.support.scripted import CLEARTEXT, LET_IN, MD5, Line, ScriptedServer
from tests.support.shells import COARSE, LATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

    ConnectTo = Callable[..., pgwire.Connection]


@pytest.fixture
def connect_to(connect: Connect) -> ConnectTo:
    """Connect to a server with this script (which gets the raw connection), and leave it."""

    def connect_to(script: Callable[[Line], object], **parameters: object) -> pgwire.Connection:
        with ScriptedServer(script, raw=True) as server:
            return connect(server.dsn, **parameters)

    return connect_to


def asks_for(request: bytes) -> Callable[[Line], None]:
    """A server that asks for a password in this way, and lets everybody in who sends one."""

    def script(line: Line) -> None:
        line.send(request)
        line.expect("p")
        line.let_in()
        line.wait_for_hang_up()

    return script


class TestTime:
    def test_a_silent_server_costs_no_more_than_connect_timeout(
        self, connect_to: ConnectTo
    ) -> None:
        began = time.monotonic()
        with pytest.raises(pgwire.ConnectionFailed, match=r"within 0\.2 s \(connect_timeout\)"):
            connect_to(Line.wait_for_hang_up, connect_timeout=0.2)
        assert 0.2 - COARSE <= time.monotonic() - began < LATE

    def test_the_full_queue_of_a_unix_socket_is_waited_for(self, connect: Connect) -> None:
        """It is neither an error, nor are we connected, as a loop would have it."""
        with (
            tempfile.TemporaryDirectory(dir="/tmp") as folder,
            socket.socket(socket.AF_UNIX) as listener,
            socket.socket(socket.AF_UNIX) as first,
        ):
            path = f"{folder}/.s.PGSQL.5432"
            listener.bind(path)
            listener.listen(0)
            first.connect(path)
            dsn = f"host={folder} user=u dbname=d"
            with pytest.raises(pgwire.ConnectionFailed, match=r"within 0\.1 s \(connect_timeout\)"):
                connect(dsn, connect_timeout=0.1)

            def serve() -> None:
                listener.accept()[0].close()
                line = Line(listener.accept()[0])
                line.read_untyped()
                line.let_in()
                line.wait_for_hang_up()
                line.cut()

            serving = threading.Timer(0.05, serve)
            serving.start()
            connect(dsn, connect_timeout=20).close()
            serving.join()

    def test_connect_timeout_is_one_deadline_for_a_server_that_drips(
        self, connect_to: ConnectTo
    ) -> None:
        """Bytes that keep coming buy no time."""

        def drip(line: Line) -> None:
            line.read_untyped()
            line.send(backend.AUTHENTICATION_OK)
            for byte in cycle(backend.parameter_status("a", "b")):
                line.send(bytes((byte,)))

        began = time.monotonic()
        with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
            connect_to(drip, connect_timeout=0.3)
        assert time.monotonic() - began < LATE

    def test_a_silent_answer_to_the_request_for_tls(self, connect_to: ConnectTo) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
            connect_to(Line.wait_for_hang_up, connect_timeout=0.1, sslmode="require")

    def test_a_host_that_is_silent_gives_way_to_the_next(self, connect: Connect) -> None:
        def good(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        with (
            ScriptedServer(Line.wait_for_hang_up, raw=True) as silent,
            ScriptedServer(good) as speaks,
        ):
            conn = connect(
                "",
                host="127.0.0.1,127.0.0.1",
                port=f"{silent.port},{speaks.port}",
                sslmode="disable",
                connect_timeout=1,
            )
            assert not conn.closed
            conn.close()


_HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SSH = b"SSH-2.0-OpenSSH_9.6\r\n"
_MYSQL = b"\x4a\x00\x00\x00\x0a8.0.36\x00" + bytes(60)


class TestNotPostgreSQL:
    @pytest.mark.parametrize("banner", [_HTTP, _SSH, _MYSQL, b"\0" * 100, b"E", b"R\0\0\0\x08"])
    @pytest.mark.parametrize("sslmode", ["disable", "prefer", "require"])
    def test_a_banner_of_something_else(
        self, banner: bytes, sslmode: str, connect_to: ConnectTo
    ) -> None:
        def script(line: Line) -> None:
            line.send(banner)
            line.finish()

        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect_to(script, sslmode=sslmode)
        assert caught.value.attempts

    def test_the_message_asks_the_right_question(self, connect_to: ConnectTo) -> None:
        def script(line: Line) -> None:
            line.send(_HTTP)
            line.wait_for_hang_up()

        with pytest.raises(pgwire.ConnectionFailed, match="is there a PostgreSQL server"):
            connect_to(script)

    def test_random_bytes(self, connect_to: ConnectTo) -> None:
        for _ in range(40):
            noise = os.urandom(300)

            def script(line: Line, noise: bytes = noise) -> None:
                line.send(noise)
                line.cut()

            with pytest.raises(pgwire.ConnectionFailed):
                connect_to(script)

    def test_a_server_that_closes_at_once(self, connect_to: ConnectTo) -> None:
        with pytest.raises(pgwire.ConnectionFailed):
            connect_to(Line.cut)

    @pytest.mark.parametrize("how", [Line.cut, Line.reset])
    def test_a_server_that_closes_after_every_byte_of_a_real_start(
        self,
        how: Callable[[Line], None],
        connect_to: ConnectTo,
    ) -> None:
        for stop in range(len(LET_IN)):
            go_on()

            def script(line: Line, stop: int = stop) -> None:
                line.read_untyped()
                line.send(LET_IN[:stop])
                how(line)

            with pytest.raises(pgwire.ConnectionFailed):
                connect_to(script)

    @pytest.mark.parametrize(
        ("said", "about"),
        [
            (backend.authentication(99), "unknown authentication method"),
            (backend.authentication(7), "GSSAPI"),
            (backend.ready(), "READY_FOR_QUERY"),
            (backend.notice("hello"), "NOTICE_RESPONSE"),
            (backend.AUTHENTICATION_OK * 2, "AUTHENTICATION"),
            (backend.AUTHENTICATION_OK + backend.key_data() * 2, "BACKEND_KEY_DATA"),
            (b"R\x7f\xff\xff\xff", "AUTHENTICATION"),
            (b"R\xff\xff\xff\xff", "impossible length"),
            (b"E\x40\0\0\0", "ERROR_RESPONSE"),
        ],
    )
    def test_a_message_that_may_not_come_now(
        self, said: bytes, about: str, connect_to: ConnectTo
    ) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(said)
            line.wait_for_hang_up()

        with pytest.raises(pgwire.ConnectionFailed, match=about):
            connect_to(script)


@pytest.mark.parametrize("request_", [CLEARTEXT, MD5])
class TestPasswordsInClear:
    def test_they_are_given_on_this_machine(self, request_: bytes, connect: Connect) -> None:
        with ScriptedServer(asks_for(request_)) as server:
            connect(server.dsn, password="marker").close()

    def test_they_are_refused_over_an_open_network(
        self,
        request_: bytes,
        monkeypatch: pytest.MonkeyPatch,
        connect: Connect,
    ) -> None:
        monkeypatch.setattr(addresses, "_LOOPBACK", re.compile("nothing"))
        said: list[bytes] = []

        def script(line: Line) -> None:
            line.send(request_)
            said.append(line.wait_for_hang_up())

        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.AuthenticationError, match="allow_cleartext"):
                connect(server.dsn, password="marker")
        assert said == [b""]

    def test_allow_cleartext_allows_them(
        self, request_: bytes, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(addresses, "_LOOPBACK", re.compile("nothing"))
        with ScriptedServer(asks_for(request_)) as server:
            connect(server.dsn, password="marker", allow_cleartext=True).close()

    def test_secure_refuses_them_even_on_this_machine(
        self, request_: bytes, connect: Connect
    ) -> None:
        """secure=True means TLS, so a Unix socket is where the question comes up."""
        with ScriptedServer(asks_for(request_), unix=True) as server:
            with pytest.raises(pgwire.AuthenticationError, match="secure=True"):
                connect("", host=server.host, user="u", password="marker", secure=True)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::10", False),
        ("::1:2", False),
        ("128.0.0.1", False),
        ("fe80::1", False),
    ],
)
def test_which_addresses_are_of_this_machine(address: str, loopback: bool) -> None:
    assert addresses.Address(0, (address, 5432), None).is_loopback is loopback


class TestTheErrorItself:
    def test_it_can_be_pickled_with_its_attempts(self, connect_to: ConnectTo) -> None:
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect_to(Line.cut)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is type(caught.value)
        assert str(copy) == str(caught.value)
        assert [a.address for a in copy.attempts] == [a.address for a in caught.value.attempts]

    @pytest.mark.parametrize(
        "said",
        [
            CLEARTEXT + b"garbage",
            MD5 + b"garbage",
            backend.sasl("SCRAM-SHA-256") + b"garbage",
            backend.fatal("28P01", "no such thing"),
            b"",
        ],
    )
    def test_nothing_secret_shows_in_it(self, said: bytes, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(said)
            line.finish()

        with ScriptedServer(script, raw=True) as server:
            url = f"postgresql://u:MARKER-1@{server.host}:{server.port}/d?sslmode=disable"
            for conninfo, extra in (
                (url, {}),
                (server.dsn, {"password": "MARKER-2"}),
                (server.dsn, {"password": lambda: "MARKER-3"}),
            ):
                with pytest.raises(pgwire.ConnectionFailed) as caught:
                    connect(conninfo, **extra)
                assert "MARKER" not in all_that_shows(caught.value)

    @pytest.mark.parametrize(
        "conninfo",
        [
            "postgresql://u:MARKER@h:x/d",
            "postgresql://u:MAR KER@h/d",
            "host=h password=MARKER portt=1",
            "host=h password='MARKER",
            "postgresql://u:MARKER@h/d?sslmode=nonsense",
        ],
    )
    def test_nothing_secret_shows_in_a_bad_string(self, conninfo: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError) as caught:
            connect(conninfo)
        shown = all_that_shows(caught.value)
        assert "MARKER" not in shown
        assert "MAR KER" not in shown

    def test_what_a_server_says_cannot_steer_the_terminal(self, connect_to: ConnectTo) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(backend.fatal("28000", "\x1b[2J\r\u202e gotcha"))

        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect_to(script)
        assert not set("\x1b\r\u202e").intersection(str(caught.value))


class TestWhatTheServerMayLeaveOut:
    def test_the_key_for_cancelling(self, connect: Connect) -> None:
        """Some poolers have none: then there is no pid, and cancelling does nothing."""

        def script(line: Line) -> None:
            line.send(backend.AUTHENTICATION_OK, backend.ready())
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            assert conn.backend_pid == 0
            conn.cancel()
            assert server.connections == 1
            conn.close()

    @pytest.mark.parametrize(
        ("text", "version"),
        [
            ("18.6 (Debian 18.6-1)", 180006),
            ("15.18", 150018),
            ("19beta1", 190000),
            ("20devel", 200000),
            ("nonsense", 0),
        ],
    )
    def test_odd_versions(self, connect: Connect, text: str, version: int) -> None:
        def script(line: Line) -> None:
            line.send(
                backend.AUTHENTICATION_OK,
                backend.parameter_status("server_version", text),
                backend.ready(),
            )
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            assert conn.server_version == version
            conn.close()

    def test_a_server_that_hangs_up_on_terminate_only_late_is_left_after_two_seconds(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch, shell: Shell
    ) -> None:
        monkeypatch.setattr(f"{shell.driver}.CLOSE_PATIENCE", 0.1)

        def script(line: Line) -> None:
            line.let_in()
            line.expect("X")
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            began = time.monotonic()
            conn.close()
            assert 0.1 - COARSE <= time.monotonic() - began < LATE
            assert conn.closed
