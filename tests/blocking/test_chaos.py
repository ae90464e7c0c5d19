"""Ctrl-C at every byte of a reply; the other ways to break off are in `tests/shells`."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.breaking import LENGTHS, ROWS, BreaksOff, ask_for_marker, probe
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tests.blocking.conftest import Connect


@pytest.fixture(params=["query", "script"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


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
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 20)
    main = threading.main_thread().ident
    assert main is not None
    struck = 0
    for stop in range(LENGTHS[kind]):
        go_on()
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
