"""What nothing can interrupt, bounded by a deadline: looking a name up, a function of the user's.

Each has a thread of its own, which is left to itself when time is up: whatever it comes to then
is dropped. It keeps no process alive.
"""

from __future__ import annotations

import contextvars
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pgwire.addresses import (
    addresses,
    is_quick,
    lookup_arguments,
    not_resolved,
    without_lookup,
)
from pgwire.blocking.net import Deadline, left
from pgwire.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.addresses import Address
    from pgwire.config import HostSpec

T = TypeVar("T")


class _Call(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.done = threading.Event()
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._context.run(self._function))
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.done.set()


class Aside:
    """Makes such calls, and can give all of them up at once."""

    def __init__(self) -> None:
        self._calls: set[_Call[Any]] = set()
        self._given_up: str | None = None

    def call(self, deadline: float | None, function: Callable[[], T]) -> T:
        """What the function gives or raises; `Deadline` when time is up.

        Without a deadline it is called here. A secret must come wrapped: frames of this module
        hold what it gives.
        """
        if deadline is None or sys.is_finalizing():  # no thread begins any more
            return function()
        call = _Call(function)
        self._calls.add(call)
        try:
            if self._given_up is not None:
                raise ConnectionFailed(self._given_up)
            try:
                threading.Thread(target=call.run, name="pgwire-aside", daemon=True).start()
            except RuntimeError:  # too many threads, or the interpreter is on its way out
                call.run()
            if not call.done.wait(left(deadline)):
                raise Deadline
        finally:
            self._calls.discard(call)
        if call.error is not None:
            try:
                raise call.error
            finally:
                call.error = None  # which has this frame
        return call.results[0]

    def give_up(self, reason: str) -> None:
        """Whoever waits for a call gets a ConnectionFailed instead; later ones at once."""
        self._given_up = reason
        for call in tuple(self._calls):
            call.error = ConnectionFailed(reason)
            call.done.set()


def look_up(spec: HostSpec, deadline: float | None, aside: Aside) -> list[Address]:
    """The addresses behind one host of the settings, in the order to try them.

    ConnectionFailed where there are none, `Deadline` when time is up.
    """
    known = without_lookup(spec)
    if known is not None:
        return known
    ask = partial(socket.getaddrinfo, **lookup_arguments(spec))
    try:
        return addresses(spec, ask() if is_quick(spec) else aside.call(deadline, ask))
    except (OSError, UnicodeError) as error:
        raise not_resolved(spec, error) from error
