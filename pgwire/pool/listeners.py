"""Listeners: a pool's callbacks, and which user code a thread is in.

Knows nothing of pools. Callbacks run in the thread that made the event happen, never under a
lock. What one raises is logged and goes no further; only from the main thread SystemExit and
Ctrl-C do. What one does itself does not call it again: else a callback for "acquire" that runs a
query would never come to an end.
"""

from __future__ import annotations

import threading
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from pgwire.log import pool_logger as logger
from pgwire.observing import tell
from pgwire.protocol.observing import reported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from pgwire.driving import DriverBase
    from pgwire.protocol.observing import QueryReport
    from pgwire.protocol.operation import Operation

    Callback = Callable[..., object]


class _Running:
    """That a callback is on the stack. A generator would take three times as long."""

    __slots__ = ("_code", "_stack")

    def __init__(self, stack: list[Callback], code: Callback) -> None:
        self._stack = stack
        self._code = code

    def __enter__(self) -> None:
        self._stack.append(self._code)

    def __exit__(self, *_: object) -> None:
        self._stack.pop()


class Listeners(dict[str, list["Callback"]]):
    """Callbacks by event; false, and so for free, while nobody listens."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._running = threading.local()

    def on(self, event: str, callback: Callback) -> None:
        self.setdefault(event, []).append(callback)

    def off(self, event: str, callback: Callback) -> None:
        callbacks = self.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            self.pop(event, None)

    # ---------------------------------------------------------------- queries

    def watch(self, driver: DriverBase, clock: Callable[[], float]) -> None:
        """Have a connection's queries reported, if somebody listens for these."""
        if "query" in self:
            driver.observe(self.query_ended, clock, self._name)

    def watch_all(self, drivers: Iterable[DriverBase], clock: Callable[[], float]) -> None:
        """The same for those that were open before somebody listened, or ceased to."""
        for driver in drivers:
            if "query" in self:
                driver.observe(self.query_ended, clock, self._name)
            else:
                driver.stop_observing(self.query_ended)

    def query_ended(self, report: QueryReport) -> None:
        """What the connections' drivers call."""
        self.emit("query", report)

    def never_run(self, operation: Operation, error: BaseException | None, now: float) -> None:
        """Report what the pool was asked for and no connection has reported: it never had one."""
        asked = operation.asked
        if "query" in self and asked is not None and not asked.is_reported:
            asked.granted_at = asked.granted_at or now
            report, context = reported(operation, now, error, {"pool": self._name})
            context.run(tell, (self.query_ended,), report)

    # ---------------------------------------------------------------- telling them

    def emit(self, event: str, *args: object) -> None:
        callbacks = self.get(event)
        if callbacks is None:
            return
        for callback in tuple(callbacks):
            if callback in self._stack:
                continue
            try:
                with self.running(callback):
                    self._call(event, callback, args)
            except BaseException as error:
                if not isinstance(error, Exception) and current_thread() is main_thread():
                    raise  # Ctrl-C, or the program's end
                self._report(event)

    def _call(self, event: str, callback: Callback, args: tuple[object, ...]) -> None:
        callback(*args)

    def _report(self, event: str) -> None:
        logger.exception("%s: a callback for %r raised", self._name, event)

    def running(self, code: Callable[..., Any]) -> AbstractContextManager[object]:
        """While this thread runs a callback or a hook."""
        return _Running(self._stack, code)

    @property
    def innermost(self) -> Callable[..., Any] | None:
        """The callback or hook that this thread is in."""
        return self._stack[-1] if self._stack else None

    @property
    def _stack(self) -> list[Callable[..., Any]]:
        try:
            stack: list[Callable[..., Any]] = self._running.stack
        except AttributeError:
            stack = self._running.stack = []
        return stack
