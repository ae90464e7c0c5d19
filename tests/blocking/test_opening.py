"""Opening a blocking connection: what nothing can interrupt is bounded all the same."""

from __future__ import annotations

import contextvars
import hashlib
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.blocking.aside import Aside
from pgwire.blocking.net import Deadline, deadline_in
from tests.support import backend
from tests.support.leaks import all_that_shows
from tests.support.scram_server import SECRET, Server
from tests.support.scripted import CLEARTEXT, Line, ScriptedServer
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that comes when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def let_in(line: Line) -> None:
    line.let_in()
    line.wait_for_hang_up()


def asks(line: Line) -> None:
    line.send(CLEARTEXT)
    line.expect("p")
    let_in(line)


class TestLookingUp:
    def test_connect_timeout_covers_it(
        self, monkeypatch: pytest.MonkeyPatch, never: threading.Event
    ) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda **_: never.wait())
        began = time.monotonic()
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            pgwire.connect(host="slow.example,also.example", connect_timeout=0.1)
        assert 0.2 <= time.monotonic() - began < LATE
        assert [str(attempt.error) for attempt in caught.value.attempts] == [
            f"{name}: no connection within 0.1 s (connect_timeout)"
            for name in ("slow.example", "also.example")
        ]

    def test_it_is_the_first_addresses_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A minute for both together, not for each."""
        passed = 0.0
        monkeypatch.setattr("pgwire.blocking.net.monotonic", lambda: time.monotonic() + passed)
        with ScriptedServer(Line.wait_for_hang_up, raw=True) as silent:

            def look_up(**_: object) -> list[tuple[object, ...]]:
                nonlocal passed
                passed = 59.5
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", silent.port))]

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            began = time.monotonic()
            with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
                pgwire.connect(host="slow.example", connect_timeout=60)
            assert time.monotonic() - began < LATE

    def test_a_pool_looks_the_name_up_for_each_connection(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ScriptedServer(let_in) as old, ScriptedServer(let_in) as new:
            ports = [old.port]

            def look_up(**_: object) -> list[tuple[object, ...]]:
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports[-1]))]

            monkeypatch.setattr(socket, "getaddrinfo", look_up)
            with pgwire.Pool(host="db.example", user="u", sslmode="disable") as pool:
                with pool.connect():
                    ports.append(new.port)
                    with pool.connect():
                        assert (old.connections, new.connections) == (1, 1)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_no_thread_for_what_is_known(self, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
        with ScriptedServer(let_in) as server:
            monkeypatch.setattr(Aside, "call", None)
            pgwire.connect(server.dsn, host=host, connect_timeout=5).close()

    def test_no_thread_without_a_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads: list[threading.Thread] = []

        def look_up(**_: object) -> list[tuple[object, ...]]:
            threads.append(threading.current_thread())
            raise socket.gaierror("no such name")

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(pgwire.ConnectionFailed, match="no such name"):
            pgwire.connect(host="gone.example")
        with pytest.raises(pgwire.ConnectionFailed, match="no such name"):
            pgwire.connect(host="gone.example", connect_timeout=5)
        assert threads[0] is threading.current_thread() is not threads[1]

    def test_whoever_ends_a_pool_does_not_wait_for_it(
        self, monkeypatch: pytest.MonkeyPatch, never: threading.Event
    ) -> None:
        begun = threading.Event()

        def look_up(**_: object) -> None:
            begun.set()
            never.wait()

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        pool = pgwire.Pool(host="slow.example", min_size=1)
        assert begun.wait(LATE)
        began = time.monotonic()
        with suppress(pgwire.PoolTimeout):
            pool.end(0)
        assert time.monotonic() - began < LATE


class TestPasswords:
    def test_connect_timeout_covers_a_function(self, never: threading.Event) -> None:
        def password() -> str:
            never.wait()
            return "x"

        with ScriptedServer(asks) as server:
            with pytest.raises(pgwire.ConnectionFailed, match=r"within 0\.1 s"):
                pgwire.connect(server.dsn, password=password, connect_timeout=0.1)

    def test_its_context_and_its_exception_are_the_callers(self) -> None:
        variable = contextvars.ContextVar[str]("variable")
        variable.set("here")

        def password() -> str:
            raise LookupError(variable.get())

        with ScriptedServer(asks) as server:
            for timeout in (None, 5):
                with pytest.raises(LookupError, match="here"):
                    pgwire.connect(server.dsn, password=password, connect_timeout=timeout)

    def test_it_shows_nowhere(self) -> None:
        def script(line: Line) -> None:
            line.send(CLEARTEXT + b"garbage")
            line.finish()

        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.ConnectionFailed) as caught:
                pgwire.connect(server.dsn, password=lambda: "MARKER", connect_timeout=5)
        assert "MARKER" not in all_that_shows(caught.value)


def test_connect_timeout_covers_hashing_without_a_bound(
    monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    scram = Server(SECRET.encode(), iterations=1)

    def script(line: Line) -> None:
        line.send(backend.sasl("SCRAM-SHA-256"))
        (first,) = line.expect("p")
        challenge = scram.first(first.partition(b"\0")[2][4:])
        monkeypatch.setattr(hashlib, "pbkdf2_hmac", lambda *_: never.wait())
        line.send(backend.authentication(11, challenge.replace(b"i=1", b"i=20000000")))
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
            pgwire.connect(server.dsn, password=SECRET, scram_max_iterations=0, connect_timeout=0.2)


class TestAside:
    def test_without_a_deadline_it_is_called_here(self) -> None:
        assert Aside().call(None, threading.get_ident) == threading.get_ident()

    def test_with_one_it_is_not(self) -> None:
        assert Aside().call(deadline_in(LATE), threading.get_ident) != threading.get_ident()

    def test_where_no_thread_can_be_had_it_is_called_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", start)
        assert Aside().call(deadline_in(LATE), threading.get_ident) == threading.get_ident()

    def test_time_that_is_up_already(self) -> None:
        with pytest.raises(Deadline):
            Aside().call(deadline_in(-1), lambda: None)

    def test_what_is_given_up_stays_so(self, never: threading.Event) -> None:
        aside = Aside()
        threading.Timer(0.05, aside.give_up, ["it is over"]).start()
        for _ in range(2):
            with pytest.raises(pgwire.ConnectionFailed, match="it is over"):
                aside.call(deadline_in(20), never.wait)

    def test_the_end_of_the_program_comes_through(self) -> None:
        def leave() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            Aside().call(deadline_in(LATE), leave)
