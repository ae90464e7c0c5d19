"""Guests: user code that the pool's own threads wait for, though not for ever.

A thread that hangs cannot be ended, but none that the pool needs has to wait for it: hooks, and
callbacks that a connection is shown to while it is nobody's, have each a thread of their own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pgwire.pool.options import ABORT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.pool.crew import Crew


class Guests:
    """`is_over`: the pool has been ended by force, and waits for nobody who was there before."""

    def __init__(self, crew: Crew) -> None:
        self.is_over = False
        self._crew = crew
        self._awaited: set[threading.Event] = set()

    def wait_for(self, code: Callable[[], object], seconds: float) -> bool:
        """Have it run, and wait; whether it has ended in this time. It must not raise.

        Raises RuntimeError if no thread can be had: then it has not begun.
        """
        enough = threading.Event()
        has_ended = False

        def run() -> None:
            nonlocal has_ended
            code()
            has_ended = True
            enough.set()

        self._awaited.add(enough)
        try:
            thread = self._crew.start(run)
            enough.wait(min(seconds, ABORT_TIMEOUT) if self.is_over else seconds)
            if not has_ended:
                self._crew.let_go(thread)
            return has_ended
        finally:
            self._awaited.discard(enough)

    def leave(self) -> None:
        """Wait for none of them any more."""
        self.is_over = True
        for event in tuple(self._awaited):
            event.set()
