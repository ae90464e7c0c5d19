"""A replication with a server that asks, breaks off, talks nonsense, or does not come to an end."""

from __future__ import annotations

from contextlib import suppress
from struct import unpack
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pgtypes import oids
from tests.support import backend, pgoutput
from tests.support.guards import go_on
from tests.support.pgoutput import keepalive, xlog_data
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

T = 16_384
TABLE = xlog_data(pgoutput.relation(T, [("n", oids.INT4, True)]))
ENDED = backend.complete("COPY 0") + backend.complete("START_REPLICATION") + backend.ready()


def transaction(end: int, *values: str) -> bytes:
    rows = [pgoutput.insert(T, pgoutput.row(pgoutput.text(value))) for value in values]
    begin, commit = pgoutput.begin(end - 1), pgoutput.commit(end - 1, end)
    return xlog_data(begin) + b"".join(map(xlog_data, rows)) + xlog_data(commit, end)


def begin(line: Line, *more: bytes) -> None:
    line.let_in()
    line.expect("Q")
    line.send(pgoutput.NO_TYPES)
    (command,) = line.expect("Q")
    assert command.startswith(b'START_REPLICATION SLOT "slot" LOGICAL 0/0 (')
    line.send(backend.copy_both(), TABLE, *more)


def told(line: Line) -> int:
    """What the next status update acknowledges."""
    (body,) = line.expect("d")
    kind, written, flushed, applied, _, wants_reply = unpack("!cQQQqB", body)
    assert (kind, wants_reply) == (b"r", 0)
    assert written == flushed == applied
    return int(flushed)


def end(line: Line) -> None:
    """As the client wishes; then what it asks for next."""
    while (code := line.read_message()[0]) != "c":
        assert code == "d"
    line.send(transaction(90, "9"), backend.COPY_DONE, transaction(99, "9"), ENDED)
    while line.read_message()[0] != "X":
        line.send(backend.ready())


def follow(
    server: ScriptedServer, connect: Connect, **options: Any
) -> tuple[pgwire.Connection, pgwire.Replication]:
    conn = connect(server.dsn, replication="database")
    return conn, conn.replicate("slot", "news", **options)


def test_the_startup_message(connect: Connect) -> None:
    told: list[dict[str, str]] = []

    def script(line: Line) -> None:
        told.append(line.startup)
        line.let_in()
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        connect(server.dsn, replication="database", settings={"datestyle": "SQL"}).close()
        connect(server.dsn).close()
    assert told[0]["replication"] == "database"
    assert (told[0]["datestyle"], told[0]["intervalstyle"]) == ("ISO", "postgres")
    assert "replication" not in told[1]


def test_the_server_asks_while_nothing_comes(connect: Connect) -> None:
    def script(line: Line) -> None:
        begin(line)
        for place in (5, 7):
            line.send(keepalive(place, wants_reply=True))
            assert told(line) == place
        line.send(transaction(20, "1"))
        end(line)

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect, status_interval=1e12)
        with replication:
            received = [replication.receive(timeout) for timeout in (1e12, float("inf"), None, 20)]
        kinds = [type(message).__name__ for message in received]
        assert kinds == ["Relation", "Begin", "Insert", "Commit"]
        conn.ping()
        conn.close()


def test_told_every_so_often(connect: Connect) -> None:
    def script(line: Line) -> None:
        begin(line)
        for _ in range(3):
            assert told(line) == 0
        line.send(transaction(20, "1"))
        end(line)

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect, status_interval=0.01)
        with replication:
            for _ in range(4):
                message = next(replication)
            replication.acknowledge(message)
        conn.close()


def test_what_is_acknowledged_is_told_when_more_is_waited_for_and_when_it_is_left(
    connect: Connect,
) -> None:
    def script(line: Line) -> None:
        begin(line, transaction(20, "1") + transaction(30, "2"))
        while told(line) < 30:  # a loop may have found time for 20
            pass
        line.send(transaction(40, "3"))
        assert told(line) == 40
        end(line)

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect)
        with replication:
            for _ in range(10):
                message = next(replication)
                if isinstance(message, pgwire.Commit):
                    replication.acknowledge(message)
        conn.close()


def test_somebody_who_works_between_two_messages(connect: Connect, shell: Shell) -> None:
    """In the blocking shell nobody but him is there to answer."""

    def script(line: Line) -> None:
        begin(line, transaction(20, "1"))
        line.send(keepalive(25, wants_reply=True))
        assert told(line) == 0
        line.send(transaction(30, "2"))
        end(line)

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect)
        with replication:
            for _ in range(4):
                next(replication)
            replication.keep_alive()
            assert isinstance(next(replication), pgwire.Begin)
        conn.close()


def test_a_value_that_cannot_be_read(connect: Connect) -> None:
    def script(line: Line) -> None:
        begin(line, transaction(20, "1", "x", "3"))
        end(line)

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect)
        with replication:
            for _ in range(3):
                next(replication)
            with pytest.raises(pgwire.DataError) as caught:
                next(replication)
            assert caught.value.__notes__[0] == "in a change of public.t, column 'n'"
            insert: Any = next(replication)
            assert insert.new == (3,)
            assert isinstance(next(replication), pgwire.Commit)
        conn.close()


ANSWER = backend.copy_both() + TABLE + transaction(20, "1") + keepalive(25) + backend.fatal()


@pytest.mark.parametrize("how", [Line.cut, Line.reset])
def test_the_end_of_the_line_at_every_byte(connect: Connect, how: Callable[[Line], None]) -> None:
    for stop in range(0, len(ANSWER) + 1, 3):
        go_on()

        def script(line: Line, stop: int = stop) -> None:
            line.let_in()
            line.expect("Q")
            line.send(pgoutput.NO_TYPES)
            line.expect("Q")
            line.send(ANSWER[:stop])
            how(line)

        with ScriptedServer(script) as server:
            conn, replication = follow(server, connect)
            with pytest.raises(pgwire.ConnectionLost) as caught:
                list(replication)
            assert "the slot 'slot' is acknowledged up to 0/0" in caught.value.__notes__[-1]
            assert conn.closed
            with pytest.raises(pgwire.InterfaceError, match="this replication is over"):
                replication.acknowledge(20)


@pytest.mark.parametrize(
    "nonsense",
    [
        backend.copy_data(b"nonsense"),
        xlog_data(b"nonsense"),
        xlog_data(pgoutput.insert(5, b"")),
        backend.row(b"1"),
        backend.ready(),
    ],
)
def test_nonsense(connect: Connect, nonsense: bytes) -> None:
    def script(line: Line) -> None:
        begin(line, nonsense)
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn, replication = follow(server, connect)
        with pytest.raises(pgwire.ProtocolError):
            list(replication)
        assert conn.closed


@pytest.mark.parametrize("obeys", [True, False])
def test_a_server_that_does_not_come_to_its_end(
    connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch, obeys: bool
) -> None:
    """It is asked to cancel, and given up where that does not help."""
    for module in {shell.driver, shell.giving_up}:
        if not obeys:
            monkeypatch.setattr(f"{module}.PATIENCE", 0.2, raising=False)
    lines: list[Line] = []

    def script(line: Line) -> None:
        lines.append(line)
        begin(line)
        line.expect("c")
        while (code := line.read_message()[0]) == "S":
            line.send(backend.ready())
        assert code == "X"

    def on_cancel(line: Line) -> None:
        if obeys:
            lines[0].send(backend.error("57014"), backend.ready())
        line.cut()

    with ScriptedServer(script, on_cancel=on_cancel) as server:
        conn, replication = follow(server, connect)
        with replication:
            next(replication)
        with suppress(pgwire.Error):
            conn.ping()
        assert len(server.cancels) == 1
        assert conn.closed is not obeys
        conn.close()
