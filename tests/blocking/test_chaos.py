"""A reply that breaks off at every one of its bytes, in every way; then a query for a marker.

The marker's query gives the marker, or says that the connection is gone. It never gives what
belongs to another query.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from tests.blocking.conftest import Connect

ANSWERS = {
    "probe": (backend.column("v", 114), [b'{"a": 1}', b"2", b'"three"']),
    "marker": (backend.column("v", 25), [b"MARKER"]),
}
# What the server says to a probe that is not cached: one flight, and the other.
DESCRIBED = (
    backend.PARSE_COMPLETE
    + backend.parameter_description()
    + backend.row_description(ANSWERS["probe"][0])
)
EXECUTED = backend.executed(*map(backend.row, ANSWERS["probe"][1]))
SIMPLE = (
    backend.row_description(ANSWERS["probe"][0])
    + b"".join(map(backend.row, ANSWERS["probe"][1]))
    + backend.complete("SELECT 3")
    + backend.ready()
)
ROWS = [{"a": 1}, 2, "three"]


class BreaksOff:
    """A server whose answers to the first query break off at one byte, in one way.

    `how` is called there with what remains to be sent at once.
    """

    def __init__(self, stop: int, how: Callable[[Line, bytes], None]) -> None:
        self._stop = stop
        self._how = how

    def __call__(self, line: Line) -> None:
        line.let_in()
        left = self._stop

        def say(answer: bytes) -> None:
            nonlocal left
            if 0 <= left < len(answer):
                line.send(answer[:left])
                self._how(line, answer[left:])
            else:
                line.send(answer)
            left -= len(answer)

        serve(line, ANSWERS, say)


def ask_for_marker(conn: pgwire.Connection) -> None:
    if conn.closed:
        with pytest.raises((pgwire.InterfaceError, pgwire.ConnectionLost)):
            conn.query("marker")
    else:
        assert conn.query("marker").scalars() == ["MARKER"]
        assert conn.script("marker")[0].scalars() == ["MARKER"]


def probe(conn: pgwire.Connection, kind: str, timeout: float | None = None) -> list[object]:
    if kind == "query":
        return conn.query("probe", timeout=timeout).scalars()
    return conn.script("probe", timeout=timeout)[0].scalars()


LENGTHS = {"query": len(DESCRIBED + EXECUTED), "script": len(SIMPLE)}


@pytest.fixture(params=["query", "script"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("how", [Line.cut, Line.reset])
def test_the_end_of_the_line(kind: str, connect: Connect, how: Callable[[Line], None]) -> None:
    for stop in range(LENGTHS[kind]):
        with ScriptedServer(BreaksOff(stop, lambda line, rest: how(line))) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.ConnectionLost):
                probe(conn, kind)
            assert conn.closed
            ask_for_marker(conn)


def test_a_timeout(kind: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server goes on when it is asked to cancel, as if it had not heard."""
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 20)
    for stop in range(LENGTHS[kind]):
        cancelled = threading.Event()

        def wait(line: Line, rest: bytes, cancelled: threading.Event = cancelled) -> None:
            cancelled.wait(20)
            line.send(rest)

        def on_cancel(line: Line, cancelled: threading.Event = cancelled) -> None:
            cancelled.set()

        with ScriptedServer(BreaksOff(stop, wait), on_cancel=on_cancel, unix=True) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.QueryTimeout, match="canceled"):
                probe(conn, kind, 0.01)
            assert not conn.closed
            ask_for_marker(conn)
            conn.close()


@contextmanager
def raised_on_alarm(error: BaseException) -> Iterator[None]:
    def strike(signum: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, strike)
    yield
    signal.signal(signal.SIGALRM, before)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, but ours."""


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c(kind: str, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """It strikes when the client has read all there is, and waits for more, or is about to."""
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 5)
    main = threading.main_thread().ident
    assert main is not None
    struck = 0
    for stop in range(LENGTHS[kind]):
        cancelled = threading.Event()

        def strike(line: Line, rest: bytes, cancelled: threading.Event = cancelled) -> None:
            line.wait_until_read()
            signal.pthread_kill(main, signal.SIGALRM)
            cancelled.wait(0.2)  # it does not come where the client was not at rest
            line.send(rest)

        def on_cancel(line: Line, cancelled: threading.Event = cancelled) -> None:
            cancelled.set()

        with ScriptedServer(BreaksOff(stop, strike), on_cancel=on_cancel, unix=True) as server:
            conn = connect(server.dsn)
            with raised_on_alarm(Interrupted()):
                try:
                    assert probe(conn, kind) == ROWS
                except Interrupted:
                    struck += 1
            ask_for_marker(conn)
            conn.close()
    assert struck > 0.8 * LENGTHS[kind]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_a_decoder_that_raises(kind: str, connect: Connect, error: type[BaseException]) -> None:
    """The reply comes in two pieces, and the first is read before the second is sent."""

    def loads(text: str) -> object:
        raise error(text)

    def in_two_pieces(line: Line, rest: bytes) -> None:
        line.wait_until_read()
        line.send(rest)

    for stop in range(LENGTHS[kind]):
        with ScriptedServer(BreaksOff(stop, in_two_pieces), unix=True) as server:
            conn = connect(server.dsn, json_loads=loads)
            expected = pgwire.DataError if error is LookupError else KeyboardInterrupt
            with pytest.raises(expected):
                probe(conn, kind)
            assert conn.closed is (error is KeyboardInterrupt)
            ask_for_marker(conn)
            conn.close()


def test_in_two_pieces_it_is_the_same(kind: str, connect: Connect) -> None:
    def in_two_pieces(line: Line, rest: bytes) -> None:
        line.wait_until_read()
        line.send(rest)

    for stop in range(LENGTHS[kind]):
        with ScriptedServer(BreaksOff(stop, in_two_pieces), unix=True) as server:
            conn = connect(server.dsn)
            assert probe(conn, kind) == ROWS
            ask_for_marker(conn)
            conn.close()


def test_a_byte_that_is_wrong(kind: str, connect: Connect) -> None:
    """Whatever comes of it, it is an error of ours or a value, and comes soon."""
    for stop in range(LENGTHS[kind]):

        def lie(line: Line, rest: bytes) -> None:
            line.send(bytes([rest[0] ^ 0x41]) + rest[1:])
            line.finish()

        with ScriptedServer(BreaksOff(stop, lie)) as server:
            conn = connect(server.dsn)
            with suppress(pgwire.Error):
                probe(conn, kind)
            conn.close()


@pytest.mark.parametrize(
    "noise",
    [
        backend.executed(backend.row(b"FOREIGN")),
        backend.ready(),
        backend.row(b"FOREIGN"),
        backend.complete("SELECT 1"),
        b"\0" * 5,
    ],
)
def test_what_comes_unasked_is_never_taken_for_an_answer(connect: Connect, noise: bytes) -> None:
    """Said behind an answer, in the same packet; the next query is not answered by it."""

    def script(line: Line) -> None:
        line.let_in()
        serve(line, ANSWERS, lambda answer: line.send(answer + noise * answer.endswith(b"I")))

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        with suppress(pgwire.Error):
            assert conn.query("probe").scalars() == ROWS
        with pytest.raises((pgwire.InterfaceError, pgwire.ConnectionLost)):
            conn.query("marker")
        assert conn.closed
