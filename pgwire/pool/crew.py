"""Crew: the daemon threads of a pool, most of them short-lived. Knows nothing of pools.

A thread that has done something small (`do`) rests for a second, in case there is more to do:
connections mostly come in numbers, and to start a thread takes as long as some three messages
to the server and back.

When the interpreter comes to its end, daemon threads stand still for ever, wherever they are, and
no other begins. What destructors ask for then is done where it is asked for.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_REST = 1.0


class _Hand:
    """A thread that rests until `bell` is released; `work` is what for, if anything."""

    __slots__ = ("bell", "work")

    def __init__(self) -> None:
        self.bell = threading.Lock()
        self.bell.acquire()
        self.work: tuple[Callable[..., object] | None, tuple[Any, ...]] = None, ()

    def call(self, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.work = target, args
        self.bell.release()

    def take(self) -> tuple[Callable[..., object] | None, tuple[Any, ...]]:
        """The work that it was called for, if it was."""
        self.bell.acquire(blocking=False)  # it may have been called when its rest was over
        work, self.work = self.work, (None, ())
        return work


class Crew:
    """Starts threads, and waits for them in the end. They never keep the process alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._threads: set[threading.Thread] = set()
        # Held from a thread's entry in the set to its start: only what has started can be joined.
        # And while hands come to rest and leave it.
        self._starting = threading.RLock()
        self._resting: list[_Hand] = []
        self._is_dismissed = False

    @property
    def is_at_work(self) -> bool:
        """Whether the thread that asks is one of them."""
        return threading.current_thread() in self._threads

    def start(self, target: Callable[..., object], *args: Any) -> threading.Thread:
        """A thread that runs the function.

        Raises RuntimeError if there are too many, or the interpreter is on its way out.
        """
        if sys.is_finalizing():  # Python 3.11 would wait for its first step, for ever
            raise RuntimeError("the interpreter is at its end: no thread can begin")
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
        """Have it done by a thread that rests, or by a new one; here if there is none to be had.

        Where Ctrl-C strikes it may be done or not, and is to be asked for again.
        """
        with self._starting:
            if self._resting and not sys.is_finalizing():
                self._resting.pop().call(target, args)
                return
        hand = _Hand()
        hand.work = target, args
        try:
            self.start(self._work, hand)
        except RuntimeError:
            target(*args)

    def let_go(self, thread: threading.Thread) -> None:
        """It hangs in what is not the pool's: the end is not to wait for it."""
        with self._starting:
            self._threads.discard(thread)

    def _work(self, hand: _Hand) -> None:
        target, args = hand.take()
        while target is not None:
            target(*args)
            target, args = None, ()  # of no more use, and not to be kept
            with self._starting:
                if self._is_dismissed:
                    return
                self._resting.append(hand)
            hand.bell.acquire(timeout=_REST)
            with self._starting:
                with suppress(ValueError):  # it has been called: so there is work, or an end
                    self._resting.remove(hand)
                target, args = hand.take()

    def join(self, timeout: float) -> None:
        """Wait for all of them but the one that calls; `timeout` (seconds) for each.

        From now on none of them rests.
        """
        with self._starting:
            self._is_dismissed = True
            resting, self._resting = self._resting, []
            threads = () if sys.is_finalizing() else tuple(self._threads)
        for hand in resting:
            hand.bell.release()
        for thread in threads:
            # Where Ctrl-C has struck there may be one that was never started.
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(timeout)
