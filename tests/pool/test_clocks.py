"""A clock of the program's own that raises: what could not be told is told later, no slot lost."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.pool.support import Clock, Thread, messages, pool, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import pgwire

FAILED = "host: what was done with a connection has failed"


class Trap(Clock):
    """It raises `left` times: wherever the pool's threads report what they have done."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def __call__(self) -> float:
        if self.left and self.strikes():
            self.left -= 1
            raise ZeroDivisionError("no")
        return self.now

    def strikes(self) -> bool:
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_name != "carry_out":
            frame = frame.f_back
        return frame is not None


def while_opening(p: pgwire.Pool, clock: Trap, times: int) -> None:
    clock.now += 1
    p.expire()
    until(lambda: p.total_count == 0)
    clock.left = times
    with suppress(ZeroDivisionError):
        p.query("select 1")


def while_checking(p: pgwire.Pool, clock: Trap, times: int) -> None:
    clock.now += 60
    clock.left = times
    with suppress(ZeroDivisionError):
        p.query("select 1")


def while_resetting(p: pgwire.Pool, clock: Trap, times: int) -> None:
    with p.connect():
        clock.left = times
    p.query("select 1")


def while_closing(p: pgwire.Pool, clock: Trap, times: int) -> None:
    clock.now += 1
    clock.left = times
    p.expire()
    with suppress(ZeroDivisionError):
        p.query("select 1")


@pytest.mark.parametrize("times", [1, 2, 3, 4])
@pytest.mark.parametrize("strike", [while_opening, while_checking, while_resetting, while_closing])
def test_what_cannot_be_told_at_once_is_told_later(
    dsn: str,
    caplog: pytest.LogCaptureFixture,
    strike: Callable[[pgwire.Pool, Trap, int], None],
    times: int,
) -> None:
    """From the second time on the slot was lost: whoever asked waited, and so did `end()`."""
    clock = Trap()
    hook: dict[str, Any] = {"reset": lambda _: None} if strike is while_resetting else {}
    with pool(dsn, max_size=1, clock=clock, name="host", **hook) as p:
        p.query("select 1")
        strike(p, clock, times)
        clock.left = 0
        assert p.query("select 1").scalar() == 1
        stats = p.stats()
        assert (stats.size, stats.granted) == (1, stats.released)
    stats = p.stats()
    assert (stats.size, stats.opened) == (0, stats.closed)
    assert FAILED in messages(caplog.records)


class Everywhere(Trap):
    def __init__(self) -> None:
        super().__init__()
        self.struck: list[threading.Thread] = []

    def strikes(self) -> bool:
        self.struck.append(threading.current_thread())
        return True


def test_a_request_that_cannot_be_taken_back_does_not_keep_a_connection(dsn: str) -> None:
    """A thread after the other was started to try again at once, and each told of its error."""
    clock = Everywhere()
    with pool(dsn, max_size=1, clock=clock) as p:
        with p.connect():
            waiting = Thread(lambda: p.query("select 1", timeout=0.01))
            until(lambda: p.waiting_count == 1)
            clock.left = sys.maxsize
            with pytest.raises(ZeroDivisionError):
                waiting.outcome()
            threads = len({*clock.struck})
            struck = len(clock.struck)
            until(lambda: len(clock.struck) > struck)  # a second time
            clock.left = 0
            assert len({*clock.struck}) <= threads + 1
        assert p.query("select 1").scalar() == 1
        stats = p.stats()
        assert (stats.waiting, stats.granted) == (0, stats.released)
