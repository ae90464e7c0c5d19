"""AsyncListeners: callbacks that may be coroutine functions; see `listeners`."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from pgwire.pool.listeners import Listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from pgwire.pool.listeners import Callback

    _Code = tuple[Callable[..., Any], object]  # and the task that is in it


class _Running:
    """That a callback is among the codes; see `listeners`."""

    __slots__ = ("_code", "_codes", "_token")

    def __init__(self, codes: ContextVar[tuple[_Code, ...]], code: _Code) -> None:
        self._codes = codes
        self._code = code

    def __enter__(self) -> None:
        self._token = self._codes.set((*self._codes.get(), self._code))

    def __exit__(self, *_: object) -> None:
        self._codes.reset(self._token)


class AsyncListeners(Listeners):
    """Plain callbacks run where the event happens; coroutines become tasks, by `spawn`.

    Those for "connect" are waited for (`emit_connect`): nobody else has the connection yet.

    Which user code is running is a matter of the task. Those that it starts do not call it again
    either, but are not in it: it may have ended, and they may end the pool.
    """

    def __init__(
        self, name: str, spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
    ) -> None:
        super().__init__(name)
        self._connecting: list[asyncio.Task[Any]] = []
        self._spawn = spawn
        self._codes: ContextVar[tuple[_Code, ...]] = ContextVar("codes", default=())

    def _call(self, event: str, callback: Callback, args: tuple[object, ...]) -> None:
        try:
            result = callback(*args)
        except (SystemExit, KeyboardInterrupt) as error:
            # The end of the program, but not in the midst of what the pool is doing.
            asyncio.get_running_loop().call_soon(_raise, error)
        except BaseException:
            self._report(event)
        else:
            if iscoroutine(result):
                task = self._spawn(self._finish(event, callback, result))
                if event == "connect":
                    self._connecting.append(task)

    async def emit_connect(self, connection: object, seconds: float) -> set[asyncio.Task[Any]]:
        """Tell of a new connection, and wait until coroutines that are told have ended.

        At most so long: what takes longer goes on beside, and is what this returns.
        """
        self.emit("connect", connection)
        tasks, self._connecting = self._connecting, []
        return (await asyncio.wait(tasks, timeout=seconds))[1] if tasks else set()

    async def _finish(self, event: str, code: Callback, work: Coroutine[Any, Any, Any]) -> None:
        try:
            with self.running(code):
                await work
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            self._report(event)

    def running(self, code: Callable[..., Any]) -> AbstractContextManager[object]:
        """While this task runs a callback or a hook."""
        return _Running(self._codes, (code, asyncio.current_task()))

    @property
    def innermost(self) -> Callable[..., Any] | None:
        """The callback or hook that this task is in."""
        me = asyncio.current_task()
        return next((code for code, task in reversed(self._codes.get()) if task is me), None)

    @property
    def _stack(self) -> list[Callable[..., Any]]:
        return [code for code, _ in self._codes.get()]


def _raise(error: BaseException) -> None:
    raise error
