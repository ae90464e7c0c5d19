"""A server whose reply breaks off at one byte, what is asked of it, and the marker afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support import backend
from tests.support.scripted import Line, serve

if TYPE_CHECKING:
    from collections.abc import Callable

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


LAST_WORDS = pytest.mark.parametrize(
    "last_words", [b"", b"\0\0\0\0\0", backend.fatal("57P01", "bye")], ids=["", "lies", "fatal"]
)


def breaks_off(last_words: bytes) -> Callable[[Line], None]:
    """A server that knows LISTEN; asked for anything, it says these last words, and is gone."""

    def script(line: Line) -> None:
        line.let_in()
        code, _ = line.read_message()
        if code == "Q":
            line.send(backend.complete("LISTEN"), backend.ready())
        line.send(last_words)
        line.cut()

    return script
