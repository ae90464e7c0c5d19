"""AsyncReplication: what the asyncio shell gives for a database's changes, as they are made."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self, cast

from pgwire.aio.holding import AsyncOutput, Reader
from pgwire.errors import ConnectionLost, InterfaceError
from pgwire.protocol.replicating import FOR_EVER, OVER, Replicating

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle

    from pgwire.aio.driver import AsyncDriver
    from pgwire.aio.feeding import Start
    from pgwire.handle import Handle
    from pgwire.pgtypes.lsn import Lsn
    from pgwire.protocol.logical import ReplicationMessage


class _Beat:
    """Has the server told, by the loop's clock, as long as the operation goes on.

    Knows nothing of the iteration, which may be dropped.
    """

    def __init__(
        self, operation: Replicating, driver: AsyncDriver, loop: AbstractEventLoop
    ) -> None:
        self._operation = operation
        self._driver = driver
        self._loop = loop
        self._timer: TimerHandle | None = None

    def go_on(self) -> None:
        """Set the timer, where one is needed and is not set."""
        seconds = self._operation.seconds_to_status()
        if seconds is not None and self._timer is None:
            self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._operation.tick()
        self._driver.write_soon()
        self.go_on()

    def stop(self, _future: object = None) -> None:
        """The operation is over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class AsyncReplication(AsyncOutput):
    """The changes of a database as they are made: an iterator, and a context manager.

    Begins when entered, or asked for its first message, and holds the connection until its end: all
    else that is asked of that raises `InterfaceError`. It has no end of its own. Messages come in
    the order of the commits (`Begin`, `Insert`, …, `Commit`); while too many wait to be taken no
    more are read. The server hears nothing but what is acknowledged, and begins there the next
    time: what was not comes again.

    The loop tells the server how far we are, and that we are alive, while the caller does something
    else; not while something keeps the loop itself from running. What cannot be read raises its
    `DataError`, and the next message can be asked for.

    Leaving the block tells what was acknowledged and ends the replication, after which the
    connection is good for SQL again, but PostgreSQL takes no second one on it; so does whoever is
    cancelled while waiting for a message. `connection.cancel()` ends it with `QueryCanceled`.
    Manual: "Streaming Replication Protocol", "Logical Replication".
    """

    _operation: Replicating
    _beat: _Beat

    def __init__(self, connection: Handle, operation: Replicating, start: Start) -> None:
        super().__init__(connection, start, None)
        self._operation = operation
        self._messages: deque[ReplicationMessage] = deque()
        self._limit: float | None = None  # by the loop's clock

    @property
    def slot(self) -> str:
        """The name of the slot."""
        return self._operation.slot

    @property
    def acknowledged(self) -> Lsn:
        """Up to where the server may forget the log, as far as we are concerned."""
        return self._operation.acknowledged

    @property
    def received(self) -> Lsn:
        """Up to where the server has sent all that there was."""
        return self._operation.received

    def acknowledge(self, position: ReplicationMessage | Lsn | int | str) -> None:
        """Note that all up to there is seen to, and need not come again; sends nothing by itself.

        `position` is what ends a transaction (`Commit`, …), or a place in the log. It is told in
        one of the loop's next turns. A plain call. Raises `ProgrammingError` for a message inside
        of a transaction, or a place that has not been received; `InterfaceError` once it is over.
        """
        if self._is_over:
            raise InterfaceError(OVER)
        self._operation.acknowledge(position)
        if self._reader is not None:
            _driver(self._reader).write_soon()

    async def keep_alive(self) -> None:
        """Tell the server now how far we are, and that we are alive; waits for no answer.

        The loop does so by itself. Raises `InterfaceError` where it has not begun, or is over, and
        `ConnectionLost`.
        """
        if self._reader is None or self._is_over:
            raise InterfaceError("this replication is not under way")
        driver = _driver(self._reader)
        driver.check_usable()
        self._operation.tell()
        driver.write_soon()

    async def receive(self, timeout: float | None = None) -> ReplicationMessage | None:
        """The next message; None if there is none within `timeout` seconds (0: none yet).

        Raises what iterating raises, and `InterfaceError` once it is over.
        """
        limit = None
        if timeout is not None and timeout < FOR_EVER:
            limit = asyncio.get_running_loop().time() + timeout
        message = await self._next(limit)
        if message is None and self._is_over:
            raise InterfaceError("this replication is over")
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ReplicationMessage:
        message = await self._next(None)
        if message is None:
            raise StopAsyncIteration
        return message

    async def _next(self, limit: float | None) -> ReplicationMessage | None:
        messages = self._messages
        if not messages:
            if self._reader is None:
                await self._proceed()  # which begins it
            self._limit = limit
            if not self._operation.is_ready:
                await self._proceed()
            if self._reader is None or not self._operation.is_ready:
                return None  # time is up, or it is over
            messages.extend(self._reader.take(self._operation.take))
        return messages.popleft()

    async def _proceed(self) -> None:
        try:
            if self._reader is None and not self._is_over:
                await self._start(self._operation.types(), None)
            await super()._proceed()
        except ConnectionLost as error:
            self._operation.explain(error)
            raise

    def _begin(self) -> Reader:
        reader = super()._begin()
        self._beat = _Beat(self._operation, _driver(reader), asyncio.get_running_loop())
        reader.future.add_done_callback(self._beat.stop)
        return reader

    async def _wait(self, reader: Reader) -> None:
        operation = self._operation
        if operation.has_begun:
            await reader.wait(self._limit)
        else:
            await reader.wait(enough=lambda: operation.has_begun)
            self._beat.go_on()

    async def close(self) -> None:
        """Leave it: what was acknowledged is told, and nothing more comes. Idempotent."""
        await super().close()

    def _leave(self) -> None:
        self._messages.clear()
        super()._leave()


def _driver(reader: Reader) -> AsyncDriver:
    return cast("AsyncDriver", reader.future.runner)
