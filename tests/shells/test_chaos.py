"""A reply that breaks off at every one of its bytes, in every way; then a query for a marker.

The marker's query gives the marker, or says that the connection is gone. It never gives what
belongs to another query.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support import backend
from tests.support.breaking import ANSWERS, LENGTHS, ROWS, BreaksOff, ask_for_marker, probe
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect


@pytest.fixture(params=["query", "script"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("how", [Line.cut, Line.reset])
def test_the_end_of_the_line(kind: str, connect: Connect, how: Callable[[Line], None]) -> None:
    for stop in range(LENGTHS[kind]):
        go_on()
        with ScriptedServer(BreaksOff(stop, lambda line, rest: how(line))) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.ConnectionLost):
                probe(conn, kind)
            assert conn.closed
            ask_for_marker(conn)


@pytest.mark.usefixtures("patient")
def test_a_timeout(kind: str, connect: Connect) -> None:
    """The server goes on when it is asked to cancel, as if it had not heard."""
    for stop in range(LENGTHS[kind]):
        go_on()
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


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (LookupError, pgwire.DataError),
        # uvloop takes it for a fatal error of its transport, and goes on.
        (KeyboardInterrupt, (KeyboardInterrupt, pgwire.InterfaceError)),
    ],
)
def test_a_decoder_that_raises(
    kind: str, connect: Connect, error: type[BaseException], raised: Any
) -> None:
    """The reply comes in two pieces, and the first is read before the second is sent."""

    def loads(text: str) -> object:
        raise error(text)

    def in_two_pieces(line: Line, rest: bytes) -> None:
        line.wait_until_read()
        line.send(rest)

    for stop in range(LENGTHS[kind]):
        go_on()
        with ScriptedServer(BreaksOff(stop, in_two_pieces), unix=True) as server:
            conn = connect(server.dsn, json_loads=loads)
            with pytest.raises(raised):
                probe(conn, kind)
            assert conn.closed is (error is KeyboardInterrupt)
            ask_for_marker(conn)
            conn.close()


def test_in_two_pieces_it_is_the_same(kind: str, connect: Connect) -> None:
    def in_two_pieces(line: Line, rest: bytes) -> None:
        line.wait_until_read()
        line.send(rest)

    for stop in range(LENGTHS[kind]):
        go_on()
        with ScriptedServer(BreaksOff(stop, in_two_pieces), unix=True) as server:
            conn = connect(server.dsn)
            assert probe(conn, kind) == ROWS
            ask_for_marker(conn)
            conn.close()


def test_a_byte_that_is_wrong(kind: str, connect: Connect) -> None:
    """Whatever comes of it, it is an error of ours or a value, and comes soon."""
    for stop in range(LENGTHS[kind]):
        go_on()

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
