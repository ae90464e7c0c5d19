"""Who gives a blocking pool the time: where no thread can be had for it, and where it stumbles."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.pool.support import Clock, messages, pool, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pgwire

LATER = 1000.0  # seconds, in which what is idle has had its time


def is_kept(p: pgwire.Pool, clock: Clock) -> None:
    """What nobody asks for happens, in its time."""
    clock.now += LATER
    until(lambda: p.total_count == 0)


# ------------------------------------------------------------------ no thread for it


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """As long as it is not undone none can be started; Python says so in these words."""

    def fail(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("pgwire.pool.crew.threading.Thread.start", fail)
        yield patch


@pytest.mark.parametrize(
    "ask",
    [
        lambda p: p.query("select 1"),
        lambda p: p.connect().release(),
        lambda p: p.connect().release(discard=True),
        lambda p: p.submit("select 1").result(),
        lambda p: p.expire(),
    ],
    ids=["query", "lease", "discarded", "submit", "expire"],
)
def test_it_begins_with_whatever_is_asked_for_when_there_are_threads_again(
    dsn: str, no_threads: pytest.MonkeyPatch, ask: Callable[[pgwire.Pool], Any]
) -> None:
    """It did so only where somebody had to wait: nothing was closed in its time, or reported."""
    clock = Clock()
    with pool(dsn, max_size=2, clock=clock, leak_after=0.05) as p:
        with p.connect(), p.connect():
            pass
        no_threads.undo()
        ask(p)
        is_kept(p, clock)


def test_while_there_are_none_nothing_piles_up(dsn: str, no_threads: pytest.MonkeyPatch) -> None:
    clock = Clock()
    with pool(dsn, max_size=1, clock=clock, leak_after=0.05) as p:
        for _ in range(20):
            p.connect().release()
            p.expire()
        assert len(p._engine.core.pending) <= 1
        assert len(p._engine._wakers) <= 1
        p.query("select 1")
        no_threads.undo()
        p.query("select 1")
        is_kept(p, clock)
        assert not p._engine._wakers


# ------------------------------------------------------------------ what it meets


class Trap(Clock):
    """A clock that raises: at one call of the main thread, or in the pool's threads for a while."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
        self.left = 0
        self.is_set = False
        self.struck = 0

    def __call__(self) -> float:
        if threading.current_thread() is threading.main_thread():
            self.left -= 1
            if self.left == 0:
                raise self.error
        elif self.is_set:
            self.struck += 1
            raise self.error
        return self.now


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("no"), SystemExit(3)])
def test_whatever_is_raised_there_it_goes_on(
    dsn: str,
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The thread was gone, and nobody knew: whoever waited behind a lease waited for ever.

    It is said once for each time that it happens, however long that takes.
    """
    clock = Trap(error)
    with pool(dsn, max_size=1, clock=clock, leak_after=3600, name="trapped") as p:
        p.query("select 1")
        work: list[object] = []
        for _ in range(2):
            clock.struck = 0
            with monkeypatch.context() as patch:
                patch.setattr(p._engine.keeper, "_interval", 0.01)
                patch.setattr(p._engine.crew, "do", lambda *args: work.append(args))
                clock.is_set = True
                until(lambda: clock.struck > 3)
                clock.is_set = False
                until(lambda: not p._engine.keeper._stumbles)
        is_kept(p, clock)
    assert not work  # which would have met the same, and asked for the same
    assert messages(caplog.records) == ["trapped: no time was given, and will be"] * 2


def test_a_clock_that_raises_at_any_call_is_raised_and_does_no_harm(dsn: str) -> None:
    """Where it struck as the thread was about to be started, there never was one."""
    for at in range(1, 12):
        clock = Trap(ZeroDivisionError("no"))
        with pool(dsn, max_size=1, clock=clock, leak_after=0.05) as p:
            clock.left = at
            with suppress(ZeroDivisionError):
                p.query("select 1")
            clock.left = 0
            assert p.query("select 1").scalar() == 1
            is_kept(p, clock)
