"""Servers that go on and on in the middle of an answer: the time ends it, and memory is kept."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

LONG = "x" * 100_000
FLOODS: dict[str, Callable[[int], bytes]] = {
    "notices": lambda _: backend.notice("x" * 1000) * 50,
    "long notices": lambda _: backend.notice(LONG),
    "notifications": lambda _: backend.notification("news", LONG),
    "a setting": lambda _: backend.parameter_status("search_path", LONG),
    "settings": lambda number: backend.parameter_status(f"name{number}", LONG),
}
ANSWERS = {"marker": (backend.column("v", 25), [b"MARKER"])}


@pytest.mark.parametrize("flood", FLOODS)
def test_an_answer_that_never_comes(
    connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.2)

    def script(line: Line) -> None:
        line.let_in()
        line.read_message()
        for number in itertools.count():
            line.send(FLOODS[flood](number))

    tracemalloc.start()
    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        with pytest.raises((pgwire.QueryTimeout, pgwire.ProtocolError)):
            conn.query("select 1", timeout=0.2)
        shell.settle()
        assert conn.closed
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64_000_000


@pytest.mark.parametrize("flood", [name for name in FLOODS if name != "settings"])
def test_much_in_front_of_an_answer(connect: Connect, flood: str) -> None:
    """20 MB, and then what was asked for."""

    def script(line: Line) -> None:
        line.let_in()

        def say(answer: bytes) -> None:
            for number in range(200):
                line.send(FLOODS[flood](number))
            line.send(answer)

        serve(line, ANSWERS, say)

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        told: list[object] = []
        conn.on("notice", told.append)
        assert conn.query("marker").scalar() == "MARKER"
        assert bool(told) is flood.endswith("notices")
        conn.close()


def test_settings_without_an_end(connect: Connect) -> None:
    def script(line: Line) -> None:
        line.let_in()
        line.read_message()
        for number in itertools.count():
            line.send(FLOODS["settings"](number))

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        with pytest.raises(pgwire.ProtocolError, match="settings without an end"):
            conn.query("select 1")
        assert conn.closed
