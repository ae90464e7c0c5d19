"""No password, key, token or state of SCRAM shows, wherever in a login something goes wrong.

Looked at is what common tools show: texts, reprs, attributes, pickles, log lines, and the local
variables of every frame that a traceback has, of ours and of what we call.
"""

from __future__ import annotations

import copy
import logging
import pickle
import socket
import threading
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.opening import settings
from pgwire.protocol import frontend
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram_keys import ScramKeys
from tests.support import backend
from tests.support.leaks import all_that_shows
from tests.support.logins import PASSWORD, POINTS, Login
from tests.support.scram_server import SALT
from tests.support.scripted import CLEARTEXT, Line, ScriptedServer
from tests.support.shells import LoopShell
from tests.support.signals import Interrupted, interrupted_when
from tests.support.sockets import sockets_to

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from pgwire import embedded
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

TOKEN = "MARKER-token"
KEYS = ScramKeys.derive(prepare(PASSWORD), SALT, 4096)
CLIENT_KEY, SERVER_KEY = (
    b64encode(getattr(KEYS, name)).decode() for name in ("_client_key", "_server_key")
)


def _last(line: Line, message: bytes) -> None:
    line.send(message)
    line.cut()


ENDINGS: dict[str, Callable[[Line], object]] = {
    "cut": Line.cut,
    "reset": Line.reset,
    "garbage": lambda line: line.send(b"garbage"),
    "fatal": lambda line: line.send(backend.fatal("28P01", "no")),
    "notice": lambda line: _last(line, backend.notice("odd")),
    "half": lambda line: _last(line, b"R\0\0\0\x08\0"),
    "again": lambda line: line.send(CLEARTEXT * 2),
    "ok": lambda line: line.send(backend.AUTHENTICATION_OK * 2),
    "sasl": lambda line: line.send(backend.authentication(11, b"r=x,s=eA==,i=1"), b"?????"),
}


def given(kind: str) -> dict[str, Any]:
    """The secrets, as a user gives them."""
    if kind == "keys":
        return {"scram_client_key": CLIENT_KEY, "scram_server_key": SERVER_KEY}
    if kind == "function":
        return {"password": lambda: PASSWORD, "oauth_token": lambda: TOKEN}
    return {"password": PASSWORD, "oauth_token": lambda: TOKEN}


def check_hidden(error: BaseException, said: list[bytes]) -> None:
    shown = all_that_shows(error)
    for secret in ("MARKER", CLIENT_KEY, SERVER_KEY):
        assert secret not in shown
    shown = shown.replace("\\\\", "\\")  # locals are shown by the repr of their repr
    for answer in said:
        assert repr(answer)[2:-1] not in shown


def fail(
    connect: Connect,
    method: str,
    step: int,
    ending: Callable[[Line], object],
    kind: str = "text",
    **options: Any,
) -> None:
    """Log in up to this step, and look at the error that the ending brings about."""
    said: list[bytes] = []

    def script(line: Line) -> None:
        login = Login(line)
        steps = login.steps(method)
        for _ in range(step + 1):
            next(steps)
        said.extend(login.said)
        ending(line)
        with suppress(OSError):
            line.wait_for_hang_up()

    parameters = {**given(kind), "connect_timeout": 10, **options}
    with ScriptedServer(script) as server:
        with pytest.raises(pgwire.Error) as caught:
            connect(server.dsn, **parameters)
    check_hidden(caught.value, said)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("method", "step"), POINTS)
def test_wherever_a_login_fails(method: str, step: int, ending: str, connect: Connect) -> None:
    for kind in ("text", "function", "keys"):
        if kind != "keys" or method == "scram":
            fail(connect, method, step, ENDINGS[ending], kind)


@pytest.mark.parametrize(("method", "step"), POINTS)
def test_wherever_a_login_takes_too_long(method: str, step: int, connect: Connect) -> None:
    fail(connect, method, step, Line.wait_for_hang_up, connect_timeout=0.1)


@pytest.mark.parametrize("method", ["cleartext", "md5", "scram", "oauth"])
def test_a_line_that_breaks_while_a_secret_is_sent(
    method: str, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = 2 if method == "scram" else 1  # behind the StartupMessage
    breaks = _BreaksAt(place)
    if isinstance(shell, LoopShell):
        from pgwire.aio.login import Login as AsyncLogin

        made = AsyncLogin.connection_made

        def connection_made(login: AsyncLogin, transport: asyncio.BaseTransport) -> None:
            made(login, transport)
            driver = login._driver
            write = driver.send

            def send(data: bytes) -> None:
                try:
                    breaks(data)
                except OSError as error:  # as transports do
                    driver.loop.call_soon(login.connection_lost, error)
                else:
                    write(data)

            driver.send = send

        monkeypatch.setattr(AsyncLogin, "connection_made", connection_made)
    else:
        from pgwire.blocking.driver import Driver

        def write(driver: Driver, data: bytes, deadline: float | None) -> None:
            breaks(data)
            driver.channel.send(data)

        monkeypatch.setattr(Driver, "write", write)
    with ScriptedServer(lambda line: list(Login(line).steps(method))) as server:
        with pytest.raises(pgwire.ConnectionFailed, match="broken") as caught:
            connect(server.dsn, **given("text"))
    check_hidden(caught.value, [breaks.last])


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_line_that_breaks_while_the_key_for_cancelling_is_sent(
    tls_server: embedded.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    said: list[bytes] = []
    build = frontend.cancel_request

    def break_the_line(pid: int, secret: bytes) -> bytes:
        for sock in sockets_to(tls_server.host, tls_server.port):
            sock.shutdown(socket.SHUT_WR)
        said.extend((secret, build(pid, secret)))
        return said[-1]

    monkeypatch.setattr(frontend, "cancel_request", break_the_line)
    conn = connect(tls_server.url, sslmode=mode)
    with pytest.raises(pgwire.OperationalError, match="could not be delivered") as caught:
        conn.cancel()
    assert said
    check_hidden(caught.value, said)


class _BreaksAt:
    """The line breaks at the so-manieth message."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.last = b""

    def __call__(self, data: bytes) -> None:
        self._left -= 1
        if not self._left:
            self.last = data
            raise BrokenPipeError("broken")


@pytest.mark.parametrize("shell", ["blocking"], indirect=True)
def test_an_interrupted_login(shell: Shell) -> None:
    """^C while the server makes up its mind; an event loop sees to it itself."""
    said: list[bytes] = []

    def script(line: Line) -> None:
        login = Login(line)
        steps = login.steps("cleartext")
        next(steps)
        next(steps)
        said.extend(login.said)
        is_silent.set()
        line.wait_for_hang_up()

    is_silent = threading.Event()
    with ScriptedServer(script) as server, interrupted_when(is_silent.is_set):
        with pytest.raises(Interrupted) as caught:
            shell.connect(server.dsn, **given("text"))
    check_hidden(caught.value, said)


def test_what_is_logged(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fail(connect, "scram", 3, ENDINGS["fatal"])
    fail(connect, "oauth", 1, ENDINGS["fatal"])
    assert "MARKER" not in caplog.text


class TestPublicObjects:
    @pytest.fixture
    def conn(self, connect: Connect) -> Iterator[pgwire.Connection]:
        def script(line: Line) -> None:
            for _ in Login(line).steps("scram"):
                pass
            line.send(backend.key_data() + backend.ready())
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn, **given("text"))
            yield conn
            conn.close()

    def test_a_connection(self, conn: pgwire.Connection) -> None:
        self.check(getattr(conn, "_target", conn))

    def test_a_pool(self, shell: Shell) -> None:
        pool = make_pool(shell, "host=/nowhere", **given("text"))
        self.check(pool)
        if isinstance(shell, LoopShell):
            shell.call(pool.end)
        else:
            pool.end()

    def test_settings(self) -> None:
        for kind in ("text", "keys"):
            self.check(settings("host=h user=u", given(kind)))

    def test_a_pool_in_the_settings_of_which_is_a_mistake(self, shell: Shell) -> None:
        with pytest.raises(pgwire.ProgrammingError) as caught:
            make_pool(shell, f"host=h password={PASSWORD} oauth_token={TOKEN}")
        assert "MARKER" not in all_that_shows(caught.value)

    @staticmethod
    def check(thing: object) -> None:
        shown = [repr(thing), str(thing), f"{thing}"]
        shown += [repr(getattr(thing, name, "")) for name in dir(thing)]
        shown += [repr(vars(thing)) if hasattr(thing, "__dict__") else ""]
        for make in (pickle.dumps, copy.copy):
            with suppress(Exception):  # most refuse it
                shown.append(repr(make(thing)))
        text = "\n".join(shown)
        for secret in ("MARKER", CLIENT_KEY, SERVER_KEY):
            assert secret not in text


def make_pool(shell: Shell, conninfo: str, **parameters: Any) -> Any:
    if isinstance(shell, LoopShell):
        return shell.call(pgwire.AsyncPool, conninfo, **parameters)
    return pgwire.Pool(conninfo, **parameters)
