"""CopyOutput: what the blocking shell gives for COPY TO STDOUT, piece by piece; and sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pgwire.blocking.holding import Hold, Output
from pgwire.blocking.net import deadline_in
from pgwire.protocol.copying_out import CopyOut, writer_of

if TYPE_CHECKING:
    from pgwire.blocking.driver import Driver
    from pgwire.handle import Handle
    from pgwire.protocol.observing import Asked
    from pgwire.protocol.progress import ProgressCallback


class CopyOutput(Output):
    """The data of a COPY TO STDOUT: an iterator of `bytes`, and a context manager.

    Begins when entered, or asked for its first piece, and holds the connection from then on: all
    else that is asked of that raises `InterfaceError`, inside of a transaction too. Pieces are of
    any length, and memory is bounded by them. Leaving the block early cancels the COPY at once;
    what was left otherwise is canceled at the connection's next use. Manual: "COPY".
    """

    _operation: CopyOut

    def __init__(
        self,
        connection: Handle | None,
        sql: str,
        timeout: float | None,
        progress: ProgressCallback | None,
    ) -> None:
        super().__init__(connection, timeout)
        self._operation = CopyOut(sql, holds=True, progress=progress)

    @property
    def row_count(self) -> int | None:
        """How many rows there were, once the last piece has been taken; None before."""
        count: int | None = self._operation.result
        return count

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        operation = self._operation
        self._proceed()
        while not (data := operation.take_received()):
            if self._is_over:
                raise StopIteration
            self._proceed()  # another thread has closed the connection since: raises
        if operation.meter is not None:
            self._tell_progress()
        return data


def copy_to(
    driver: Driver,
    sql: str,
    sink: Any,
    timeout: float | None,
    progress: ProgressCallback | None,
    asked: Asked | None = None,
) -> int:
    """Write all of it to a file, in one turn; the number of rows. `asked`: of a pool, before."""
    write = writer_of(sink)
    operation = CopyOut(sql, progress=progress)
    operation.asked = asked

    def hand_on() -> None:
        write(operation.take_received())
        operation.tell_progress()

    hold = Hold(driver, operation, None if timeout is None else deadline_in(timeout))
    hold.exhaust(hand_on)
    if operation.error is not None:
        raise operation.error
    operation.tell_end()
    count: int = operation.result
    return count
