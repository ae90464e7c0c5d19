"""The shells behind one face, so that a test can be written once and run on all of them.

`shell.connect(…)` gives a connection that looks like a blocking one. On an event loop it is a
`Facade`: whoever calls a method runs the loop until the answer is there. Between the calls the
loop stands still, and with it whatever a connection does behind its user's back; `settle` runs
it until that is done.
"""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import uvloop

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
SHELLS = ["blocking", *LOOPS]

COARSE = 0.005  # seconds; uvloop counts in milliseconds, from the beginning of its turn
LATE = 20.0  # seconds; less says that a minute was not waited for, on the busiest machine as well

_PATIENCE = 20.0
_WRAPPED = (
    *(pgwire.AsyncConnection, pgwire.AsyncStatement, pgwire.AsyncTransaction),
    *(pgwire.AsyncCopyOutput, pgwire.AsyncStream, pgwire.AsyncNotifications),
    *(pgwire.AsyncPipeline, pgwire.AsyncPipelineQuery),
    pgwire.AsyncReplication,
)


class Shell:
    """The blocking shell, its own face. `driver` and `giving_up` are where its limits are."""

    driver = giving_up = "pgwire.blocking.driver"
    is_blocking = True

    def connect(self, conninfo: str = "", **parameters: Any) -> pgwire.Connection:
        return pgwire.connect(conninfo, **parameters)

    def settle(self) -> None:
        """Return once nothing is done behind anybody's back."""

    def close(self) -> None:
        """Assert that nothing is left."""


class LoopShell(Shell):
    """The asyncio shell, in an event loop that runs while somebody waits."""

    driver = "pgwire.aio.driver"
    giving_up = "pgwire.aio.giving_up"
    is_blocking = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._faces: WeakValueDictionary[int, Facade] = WeakValueDictionary()

    def call(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """Call it inside the loop, and wait for what it gives."""

        async def call() -> Any:
            result = function(*args, **keywords)
            if isawaitable(result) and not isinstance(result, _WRAPPED):
                return await result
            return result

        task = self.loop.create_task(call())
        try:
            return self.wrap(self.loop.run_until_complete(task))
        except BaseException:
            if not task.done():  # Ctrl-C stops the loop where it is; `asyncio.run` does this then
                task.cancel()
                self.loop.run_until_complete(asyncio.wait((task,)))
            raise

    def wrap(self, value: Any) -> Any:
        if not isinstance(value, _WRAPPED):
            return value
        face = self._faces.get(id(value))
        if face is None or face._target is not value:
            self._faces[id(value)] = face = Facade(self, value)
        return face

    def connect(self, conninfo: str = "", **parameters: Any) -> pgwire.Connection:
        return cast("pgwire.Connection", self.call(pgwire.connect_async, conninfo, **parameters))

    def settle(self) -> None:
        self.loop.run_until_complete(self._settle())

    @staticmethod
    async def _settle() -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            done, _ = await asyncio.wait(tasks, timeout=_PATIENCE)
            assert done, f"tasks that do not end: {tasks}"

    def close(self) -> None:
        self.settle()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


class Facade:
    """An object of the asyncio shell that looks like its blocking twin."""

    def __init__(self, shell: LoopShell, target: Any) -> None:
        self._shell = shell
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return self._shell.wrap(value)
        return lambda *args, **keywords: self._shell.call(value, *args, **keywords)

    def __repr__(self) -> str:
        return repr(self._target)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        try:
            return self._shell.call(self._target.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Any:
        return self._shell.call(self._target.__aenter__)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        return self._shell.call(self._target.__aexit__, kind, value, traceback)


def open_shell(name: str) -> Shell:
    """One of SHELLS; to be closed."""
    return Shell() if name == "blocking" else LoopShell(LOOPS[name]())
