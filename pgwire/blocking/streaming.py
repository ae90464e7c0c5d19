"""Stream: what the blocking shell gives for a query whose rows are taken as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pgwire.blocking.holding import Hold, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire.handle import Handle
    from pgwire.protocol.messages import Column
    from pgwire.protocol.streaming import Streaming

T = TypeVar("T")

_NOTHING: Iterator[Any] = iter(())


class Stream(Output, Generic[T]):
    """The rows of a query, a batch in memory at a time: an iterator, and a context manager.

    Begins when entered, or asked for its first row. Outside of a transaction it has one of its
    own, and holds the connection until its end: all else that is asked of that raises
    `InterfaceError`. The next batch is on its way while one is used. Inside of a transaction
    streams and queries may take turns, and a stream ends with the transaction. Leaving the block
    early closes the portal at once; what was left otherwise is closed at the connection's next
    use. Manual: "Extended Query", portals.
    """

    _operation: Streaming
    _rows: Iterator[T] = _NOTHING

    def __init__(
        self, connection: Handle | None, operation: Streaming, timeout: float | None
    ) -> None:
        super().__init__(connection, timeout)
        self._operation = operation

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns of its rows, once it has been entered, or asked for a row; None before."""
        return self._operation.columns

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while True:
            for row in self._rows:
                return row
            self._proceed()
            if self._is_over and not self._operation.is_ready:
                raise StopIteration
            # Where another thread has closed the connection since there is nothing to take any
            # more, which is not the end: the next step raises.
            self._rows = iter(self._make_rows(self._take_batch()))
            if self._operation.meter is not None:
                self._tell_progress()

    def _make_rows(self, batch: list[tuple[Any, ...]]) -> list[T]:
        try:
            return self._operation.make_rows(batch)
        except BaseException:
            self.close()
            raise

    def _take_batch(self) -> list[tuple[Any, ...]]:
        operation, hold = self._operation, self._hold
        if operation.done or hold is None:
            return operation.take()
        try:
            batch: list[tuple[Any, ...]] = hold.take(operation.take)  # the next is asked for
        except BaseException:
            self._stop_unless_alive(hold)
            raise
        return batch

    def _lives_on(self, hold: Hold) -> bool:
        return hold.is_open or self._operation.lives_on

    def _go_on(self, hold: Hold) -> bool:
        operation = self._operation
        while operation.lives_on and not operation.is_ready:
            hold.driver.run(operation.fetch(), hold.seconds_left())
        return operation.is_ready

    def close(self) -> None:
        """Leave it: no more rows come. Idempotent."""
        self._rows = _NOTHING
        operation, hold = self._operation, self._hold
        if hold is not None and not self._is_over and self._is_here(hold):
            closing = operation.leave()
            if closing is not None:
                hold.driver.run(closing)
        super().close()

    def _ended(self) -> None:
        self._operation.close_portal()

    def _collected(self) -> None:
        self._operation.close_portal()
