"""Ctrl-C, but ours: a signal that strikes the main thread, after some time or once something is so.

One that comes just before Python begins to wait, for a lock or a socket, is not noticed before that
wait is over. So who knows when it is to strike sends it again, until it is noticed.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from tests.support.striking import Interrupted as Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

MAIN = cast("int", threading.main_thread().ident)


def main_is_in(*functions: str) -> bool:
    """Whether the main thread is in one of these, and in nothing that they have called."""
    return sys._current_frames()[MAIN].f_code.co_name in functions


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Raise in the main thread after so long; wait for it where the block is done before."""

    def strike(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def interrupted_when(condition: Callable[[], object]) -> Iterator[None]:
    """Raise in the main thread once that is so, as another thread sees it, which looks again and
    again. It must stay so until then."""
    is_over, has_struck = threading.Event(), threading.Event()

    def strike(signum: int, frame: FrameType | None) -> None:
        if not has_struck.is_set():
            has_struck.set()
            raise Interrupted

    def look() -> None:
        while not (is_over.is_set() or has_struck.is_set()):
            if condition():
                signal.pthread_kill(MAIN, signal.SIGALRM)
                has_struck.wait(0.2)
            else:
                is_over.wait(0.001)

    before = signal.signal(signal.SIGALRM, strike)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        yield
    finally:
        is_over.set()
        looker.join()
        signal.signal(signal.SIGALRM, before)
