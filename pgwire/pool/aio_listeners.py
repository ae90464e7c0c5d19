"""AsyncListeners: callbacks that may be coroutine functions; see `listeners`."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from pgwire.pool.listeners import Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pgwire.pool.listeners import Callback


class AsyncListeners(Listeners):
    """Plain callbacks run where the event happens; coroutines become tasks, by `spawn`.

    Which user code is running is a matter of the task, and of those that it starts.
    """

    def __init__(self, name: str, spawn: Callable[[Coroutine[Any, Any, Any]], object]) -> None:
        super().__init__(name)
        self._spawn = spawn
        self._codes: ContextVar[tuple[Callable[..., Any], ...]] = ContextVar("codes", default=())

    def _call(self, event: str, callback: Callback, args: tuple[object, ...]) -> None:
        result = callback(*args)
        if iscoroutine(result):
            self._spawn(self._finish(event, result))

    async def _finish(self, event: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except Exception:
            self._report(event)

    @contextmanager
    def running(self, code: Callable[..., Any]) -> Iterator[None]:
        """While this task runs a callback or a hook."""
        token = self._codes.set((*self._codes.get(), code))
        try:
            yield
        finally:
            self._codes.reset(token)

    @property
    def _stack(self) -> list[Callable[..., Any]]:
        return list(self._codes.get())
