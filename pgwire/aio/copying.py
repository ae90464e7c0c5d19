"""AsyncCopyOutput: what the asyncio shell gives for COPY TO STDOUT, piece by piece; and sinks."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Self

from pgwire.aio.holding import AsyncOutput, Reader
from pgwire.protocol.copying_out import CopyOut, writer_of

if TYPE_CHECKING:
    from pgwire.aio.feeding import Start
    from pgwire.handle import Handle
    from pgwire.protocol.progress import ProgressCallback


class AsyncCopyOutput(AsyncOutput):
    """The data of a COPY TO STDOUT: an iterator of `bytes`, and a context manager.

    Begins when entered, or asked for its first piece, and holds the connection from then on: all
    else that is asked of that raises `InterfaceError`, inside of a transaction too. Pieces are of
    any length, and memory is bounded by them. Leaving the block early cancels the COPY at once,
    and so does whoever stops iterating, or is cancelled. Manual: "COPY".
    """

    _operation: CopyOut

    def __init__(
        self,
        connection: Handle | None,
        sql: str,
        start: Start,
        timeout: float | None,
        progress: ProgressCallback | None,
    ) -> None:
        super().__init__(connection, start, timeout)
        self._operation = CopyOut(sql, holds=True, progress=progress)

    @property
    def row_count(self) -> int | None:
        """How many rows there were, once the last piece has been taken; None before."""
        count: int | None = self._operation.result
        return count

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await self._proceed()
        operation = self._operation
        if self._reader is None or not operation.is_ready:
            raise StopAsyncIteration
        data = self._reader.take(operation.take_received)
        if operation.meter is not None:
            self._tell_progress()
        return data


async def copy_to(
    start: Start,
    sql: str,
    sink: Any,
    timeout: float | None,
    progress: ProgressCallback | None,
) -> int:
    """Write all of it to a file, whose `write` may be a coroutine function; the number of rows."""
    write = writer_of(sink)
    operation = CopyOut(sql, progress=progress)
    reader = Reader(operation, asyncio.get_running_loop())
    reader.start(start, timeout)
    try:
        while True:
            await reader.wait()
            if not operation.is_ready:
                count: int = reader.future.result()
                operation.tell_end()
                return count
            written = write(reader.take(operation.take_received))
            if isawaitable(written):
                await written
            operation.tell_progress()
    except BaseException as error:
        reader.stop_for(error)
        raise
    finally:
        reader.future.cancel()  # does nothing if it is done
