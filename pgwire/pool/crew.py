"""Crew: the daemon threads of a pool, most of them short-lived. Knows nothing of pools."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Crew:
    """Starts threads, and waits for them in the end. They never keep the process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[threading.Thread] = set()
        # Held from a thread's entry in the set to its start: only what has started can be joined.
        self._starting = threading.RLock()

    def start(self, target: Callable[..., object], *args: Any) -> threading.Thread:
        """A thread that runs the function.

        Raises RuntimeError if there are too many, or the interpreter is on its way out.
        """
        thread = threading.Thread(target=target, args=args, name=self._name, daemon=True)
        with self._starting:
            # A thread cannot strike itself off: it is still there when it has done its last.
            self._threads = {t for t in self._threads if t.ident is None or t.is_alive()}
            self._threads.add(thread)
            try:
                thread.start()
            except RuntimeError:
                self._threads.discard(thread)
                raise
        return thread

    def do(self, target: Callable[..., object], *args: Any) -> None:
        """Have it done in a thread of its own; in this one if there is none to be had."""
        try:
            self.start(target, *args)
        except RuntimeError:
            target(*args)

    def join(self, timeout: float) -> None:
        """Wait for all of them but the one that calls; `timeout` (seconds) for each."""
        with self._starting:
            threads = tuple(self._threads)
        for thread in threads:
            # Where Ctrl-C has struck there may be one that was never started.
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(timeout)
