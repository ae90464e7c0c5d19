"""AsyncStream: what the asyncio shell gives for a query whose rows are taken as they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pgwire.aio.holding import AsyncOutput
from pgwire.protocol.listening import check_wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire.aio.feeding import Start
    from pgwire.handle import Handle
    from pgwire.protocol.messages import Column
    from pgwire.protocol.streaming import Streaming

T = TypeVar("T")

_NOTHING: Iterator[Any] = iter(())


class AsyncStream(AsyncOutput, Generic[T]):
    """The rows of a query, a batch in memory at a time: an iterator, and a context manager.

    Begins when entered, or asked for its first row. Outside of a transaction it has one of its
    own, and holds the connection until its end: all else that is asked of that raises
    `InterfaceError`. The next batch is on its way while one is used. Inside of a transaction
    streams and queries may take turns, and a stream ends with the transaction. Leaving the block
    early closes the portal at once, and so does whoever is cancelled; what was left otherwise is
    closed at the connection's next use. Manual: "Extended Query", portals.
    """

    _operation: Streaming
    _rows: Iterator[T] = _NOTHING
    _due: float | None = None  # by the loop's clock

    def __init__(
        self,
        connection: Handle | None,
        operation: Streaming,
        start: Start,
        timeout: float | None,
    ) -> None:
        super().__init__(connection, start, timeout)
        self._operation = operation

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns of its rows, once it has been entered, or asked for a row; None before."""
        return self._operation.columns

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while True:
            for row in self._rows:
                return row
            if not self._operation.is_ready:
                await self._proceed()
            if self._reader is None or not self._operation.is_ready:
                raise StopAsyncIteration
            self._rows = iter(self._make_rows(self._reader.take(self._operation.take)))
            if self._operation.meter is not None:
                self._tell_progress()

    def _make_rows(self, batch: list[tuple[Any, ...]]) -> list[T]:
        try:
            return self._operation.make_rows(batch)
        except BaseException:
            self._leave()
            raise

    async def _proceed(self) -> None:
        if self._reader is None and (timeout := check_wait(self._timeout)) is not None:
            self._due = asyncio.get_running_loop().time() + timeout
        await super()._proceed()

    async def _go_on(self) -> bool:
        operation = self._operation
        while operation.lives_on and not operation.is_ready:
            left = None if self._due is None else self._due - asyncio.get_running_loop().time()
            await self._start(operation.fetch(), left)
        return operation.is_ready

    async def close(self) -> None:
        """Leave it: no more rows come. Idempotent."""
        reader = self._reader
        if reader is not None and not self._is_over and self._is_here(reader):
            closing = self._operation.leave()
            if closing is not None:
                await self._start(closing, None)
        await super().close()

    def _leave(self) -> None:
        self._rows = _NOTHING
        super()._leave()
        if self._operation.done:
            self._operation.close_portal()

    def __del__(self) -> None:
        super().__del__()
        if self._operation.done:
            self._operation.close_portal()
