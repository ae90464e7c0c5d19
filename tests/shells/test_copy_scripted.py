"""COPY with a server that breaks off, falls silent, or goes on about it in its own way."""

from __future__ import annotations

import io
import threading
from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire import embedded
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

ASKED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
OUT = ASKED + backend.copy_out(0) + backend.copy_data(b"1\n") + backend.copy_data(b"2\n")
OUT_END = backend.COPY_DONE + backend.complete("COPY 2") + backend.ready()
IN, IN_END = ASKED + backend.copy_in(0), backend.complete("COPY 1") + backend.ready()

WORK: dict[str, tuple[Any, str, bytes, str, bytes]] = {
    "in": (
        *(lambda conn: conn.copy_in("copy t from stdin", b"1\n"), "PBEH", IN),
        *("dcS", IN_END),
    ),
    "out": (
        *(lambda conn: conn.copy_out("copy t to stdout", io.BytesIO()), "PBES", OUT + OUT_END),
        *("", b""),
    ),
    "iterated": (
        *(lambda conn: list(conn.copy_out("copy t to stdout")), "PBES", OUT + OUT_END),
        *("", b""),
    ),
    "records": (
        lambda conn: conn.copy_records("t", [(1,)], columns=["n"]),
        *("PDH", backend.described([], [backend.column("n")])),
        *("PBEH", IN),
    ),
}


@pytest.mark.parametrize("how", [Line.cut, Line.reset])
@pytest.mark.parametrize("kind", WORK)
def test_the_end_of_the_line_at_every_byte(
    kind: str, connect: Connect, how: Callable[[Line], None]
) -> None:
    work, first, answer, second, last = WORK[kind]
    for stop in range(len(answer + last)):
        go_on()

        def script(line: Line, stop: int = stop) -> None:
            line.let_in()
            line.expect(first)
            line.send(answer[:stop])
            if stop >= len(answer):
                line.expect(second)
                line.send(last[: stop - len(answer)])
            how(line)

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.ConnectionLost):
                work(conn)
            assert conn.closed


@pytest.mark.parametrize("kind", WORK)
@pytest.mark.usefixtures("patient")
def test_a_server_that_falls_silent_is_asked_to_cancel(
    kind: str, connect: Connect, shell: Shell
) -> None:
    """It answers as a server does that was canceled in the middle; then all is in step."""
    _, first, answer, _, _ = WORK[kind]
    canceled = threading.Event()

    def script(line: Line) -> None:
        line.let_in()
        line.expect(first)
        if kind != "in":
            line.send(answer[: -len(OUT_END)] if kind != "records" else b"")
        canceled.wait(20)
        line.send(backend.error("57014"))
        if kind in ("in", "records"):
            line.expect("S")
        line.send(backend.ready())
        line.expect("S")
        line.send(backend.ready())
        line.expect("S")
        line.send(backend.ready())
        line.wait_for_hang_up()

    with ScriptedServer(script, on_cancel=lambda _: canceled.set()) as server:
        conn = connect(server.dsn)
        timed: Any = {
            "in": lambda: conn.copy_in("copy t from stdin", b"1\n", timeout=0.05),
            "out": lambda: conn.copy_out("copy t to stdout", io.BytesIO(), timeout=0.05),
            "iterated": lambda: list(conn.copy_out("copy t to stdout", timeout=0.05)),
            "records": lambda: conn.copy_records("t", [(1,)], columns=["n"], timeout=0.05),
        }
        with pytest.raises(pgwire.QueryTimeout):
            timed[kind]()
        shell.settle()
        assert not conn.closed
        conn.ping()
        conn.close()


def test_a_server_that_takes_nothing_more_and_says_so(connect: Connect) -> None:
    """It fails and reads no more until its error has been read: neither side waits for ever."""

    def script(line: Line) -> None:
        line.let_in()
        line.expect("PBEH")
        line.send(IN)
        line.expect("d")
        line.send(backend.error("53100", "the disk is full"))
        code = ""
        while code != "S":
            code, _ = line.read_message()
        line.send(backend.ready())
        line.expect("S")
        line.send(backend.ready())
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        with pytest.raises(pgwire.DiskFull):
            conn.copy_in("copy t from stdin", repeat(b"x" * 100_000))
        conn.ping()
        conn.close()


@pytest.mark.parametrize("message", [backend.COPY_DONE, backend.copy_data(b"1"), backend.ready()])
def test_nonsense_in_the_middle_closes_the_connection(connect: Connect, message: bytes) -> None:
    def script(line: Line) -> None:
        line.let_in()
        line.expect("PBEH")
        line.send(IN + message)
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        with pytest.raises(pgwire.ProtocolError, match="not expected by CopyIn in phase COPYING"):
            conn.copy_in("copy t from stdin", repeat(b"x" * 1000))
        assert conn.closed


def test_events_in_between_are_heard(connect: Connect) -> None:
    def script(line: Line) -> None:
        line.let_in()
        line.expect("PBES")
        line.send(ASKED + backend.copy_out(0) + backend.copy_data(b"1\n"))
        line.send(backend.notification("news", "one") + backend.notice())
        line.send(backend.copy_data(b"2\n") + OUT_END)
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        heard: list[Any] = []
        conn.on("notification", heard.append)
        conn.on("notice", heard.append)
        assert b"".join(conn.copy_out("copy t to stdout")) == b"1\n2\n"
        notification, notice = heard
        assert notification.payload == "one"
        assert str(notice) == "by the way"
        conn.close()


def test_over_tls(connect: Connect, tls_server: embedded.Server) -> None:
    number = 8_000
    conn = connect(tls_server.tls_url)
    assert conn.tls is not None
    conn.query("create temp table copied (n int, a text)")
    line = "1\t" + "x" * 997 + "\n"
    assert conn.copy_in("copy copied from stdin", repeat(line, number)) == number
    assert conn.copy_records("copied", ((n, "x" * 997) for n in range(number))) == number
    file = io.BytesIO()
    assert conn.copy_out("copy copied to stdout", file) == 2 * number
    assert len(file.getvalue()) > 2 * number * 999
    with pytest.raises(pgwire.DataError):
        conn.copy_in("copy copied from stdin", repeat("x\ty\n"))
    for data in conn.copy_out("copy copied to stdout"):
        assert data
        break
    assert conn.query("select 1").scalar() == 1
