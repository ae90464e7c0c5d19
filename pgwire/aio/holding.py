"""AsyncOutput: what is taken bit by bit from an operation, which may hold its connection."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from pgwire.aio.future import hear
from pgwire.driving import ENDED
from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable
    from types import TracebackType

    from pgwire.aio.driver import AsyncDriver
    from pgwire.aio.feeding import Start
    from pgwire.aio.future import QueryFuture
    from pgwire.handle import Handle

T = TypeVar("T")


class Reader:
    """Hears what comes, wakes who waits for it, and stops reading while too much waits."""

    def __init__(self, operation: Any, loop: AbstractEventLoop) -> None:
        self._operation = operation
        self._loop = loop
        self._waiter: Future[None] | None = None
        self._is_paused = False
        self.future: QueryFuture = cast("Any", None)

    def start(self, start: Start, timeout: float | None) -> None:
        self._operation.listener = self._heard
        self.future = start(self._operation, timeout)
        self.future.add_done_callback(hear)
        self.future.add_done_callback(self._ended)

    def _ended(self, _future: Future[Any]) -> None:
        self._heard()

    def _heard(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        # Once it is done the connection is somebody else's, whether all has been taken or not.
        full = self._operation.is_full and not self._operation.done
        if full is not self._is_paused:
            self._is_paused = full
            cast("AsyncDriver", self.future.runner).pause_reading(full)

    @property
    def is_awaited(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    async def wait(
        self, until: float | None = None, enough: Callable[[], bool] = lambda: False
    ) -> None:
        """Until there is something to be taken, or it is over, or this is enough.

        `until` is by the loop's clock.
        """
        while not (self._operation.is_ready or self.future.done() or enough()):
            self._waiter = self._loop.create_future()
            if until is None:
                await self._waiter
                continue
            try:
                async with asyncio.timeout_at(until):
                    await self._waiter
            except TimeoutError:
                return

    def take(self, take: Callable[[], T]) -> T:
        """Take something, and send what that has the session write."""
        taken = take()
        if not self.future.done():
            cast("AsyncDriver", self.future.runner).write_soon()
        self._heard()
        return taken

    def stop_for(self, error: BaseException) -> None:
        """Cancel it, unless it is done, because of what its caller does with it."""
        if self.future.cancel():
            self._operation.told = error

    def forget(self) -> None:
        """Nobody will go on with it. Any thread may call, and nothing is waited for."""
        self._operation.holds, self._operation.is_left = False, True
        with suppress(RuntimeError):  # the loop is closed, and with it the connection
            self._loop.call_soon_threadsafe(self.future.cancel)


class AsyncOutput:
    """A context manager, for an async iterator.

    The operation begins when it is entered, or asked for something.
    """

    _reader: Reader | None = None
    _is_over = False
    _operation: Any

    def __init__(self, connection: Handle | None, start: Start, timeout: float | None) -> None:
        self._connection = connection
        self._start = start
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        await self._proceed()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave it: what has not come yet is canceled. Idempotent."""
        if not (self._is_over or self._operation.done):
            self._operation.is_left = True
        self._leave()

    def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            if self._reader is not None:
                self._reader.future.cancel()

    def __del__(self) -> None:
        if not self._is_over and self._reader is not None:
            self._reader.forget()

    async def _proceed(self) -> None:
        """Have something to be taken, or come to the end, or raise what has ended it."""
        if self._is_over:
            return
        if self._reader is not None and self._reader.is_awaited:
            raise InterfaceError("another task is waiting for the next piece of this iteration")
        try:
            if self._reader is None:
                self._reader = self._begin()
            elif not self._is_here(self._reader):
                assert self._connection is not None
                self._connection._driver.check_usable()  # a lease that was released says so
            await self._wait(self._reader)
            if not self._operation.is_ready and self._reader.future.done():
                if self._reader.future.cancelled():
                    raise InterfaceError(ENDED)
                self._reader.future.result()
                self._is_over = not await self._go_on()
                if self._is_over:
                    self._operation.tell_end()
        except BaseException:
            self._leave()
            raise

    def _tell_progress(self) -> None:
        """Something has been taken, and somebody wants to know; what that raises ends it."""
        try:
            self._operation.tell_progress()
        except BaseException:
            self._leave()
            raise

    def _begin(self) -> Reader:
        reader = Reader(self._operation, asyncio.get_running_loop())
        reader.start(self._start, self._timeout)
        return reader

    async def _wait(self, reader: Reader) -> None:
        await reader.wait()

    async def _go_on(self) -> bool:
        """The operation is done: whether there is something to be taken all the same."""
        return False

    def _is_here(self, reader: Reader) -> bool:
        """Whether the driver is still the one that it began with: a lease may be released."""
        return self._connection is None or self._connection._driver is reader.future.runner
