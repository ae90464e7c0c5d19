"""CopyOutput: what the blocking shell gives for COPY TO STDOUT, piece by piece; and sinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pgwire.blocking.holding import Hold
from pgwire.blocking.net import deadline_in
from pgwire.protocol.copying_out import CopyOut, writer_of

if TYPE_CHECKING:
    from types import TracebackType

    from pgwire.blocking.driver import Driver
    from pgwire.handle import Handle


class CopyOutput:
    """The data of a COPY TO STDOUT: an iterator of `bytes`, and a context manager.

    Begins when entered, or asked for its first piece, and holds the connection from then on: all
    else that is asked of that raises `InterfaceError`, inside of a transaction too. Pieces are of
    any length, and memory is bounded by them. Leaving the block early cancels the COPY at once;
    what was left otherwise is canceled at the connection's next use. Manual: "COPY".
    """

    _hold: Hold | None = None
    _is_over = False

    def __init__(self, connection: Handle | None, sql: str, timeout: float | None) -> None:
        self._connection = connection
        self._operation = CopyOut(sql, holds=True)
        self._timeout = timeout

    @property
    def row_count(self) -> int | None:
        """How many rows there were, once the last piece has been taken; None before."""
        count: int | None = self._operation.result
        return count

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        self._proceed()
        if self._operation.is_ready:
            return self._operation.take_received()
        raise StopIteration

    def __enter__(self) -> Self:
        self._proceed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave it: what has not come yet is canceled. Idempotent."""
        if not self._is_over:
            self._is_over = True
            try:
                if self._hold is not None and self._is_here(self._hold):
                    self._hold.leave()
            finally:
                self._ended()

    def __del__(self) -> None:
        if not self._is_over and self._hold is not None:
            self._hold.forget()
            self._collected()

    def _proceed(self) -> None:
        """Have something to be taken, or come to the end, or raise what has ended it."""
        operation = self._operation
        if self._is_over or operation.is_ready:
            return
        try:
            if self._hold is None:
                driver = self._take()
                self._hold = Hold(driver, operation, self._deadline())
            elif not self._is_here(self._hold):
                self._take().check_usable()  # a lease that was released says so
            if self._hold.proceed():
                return
            if operation.abandoned:  # not by us
                self._hold.driver.check_usable()
            if operation.error is not None:
                raise operation.error
        except BaseException:
            if self._hold is None or not self._hold.is_open:
                self._is_over = True
                self._ended()
            raise  # else it can be gone on with: one of its callbacks came back, say
        self._is_over = True
        self._ended()

    def _deadline(self) -> float | None:
        return None if self._timeout is None else deadline_in(self._timeout)

    # ---------------------------------------------------------------- where it is done

    def _take(self) -> Driver:
        """The driver that it is to be done with."""
        assert self._connection is not None
        driver: Driver = self._connection._driver
        return driver

    def _is_here(self, hold: Hold) -> bool:
        """Whether the driver is still the one that it began with: a lease may be released."""
        return self._connection is None or self._connection._driver is hold.driver

    def _ended(self) -> None:
        """It is over: nothing of it is under way any more."""

    def _collected(self) -> None:
        """It was dropped before its end. Never waits."""


def copy_to(driver: Driver, sql: str, sink: Any, timeout: float | None) -> int:
    """Write all of it to a file, in one turn; the number of rows."""
    write = writer_of(sink)
    operation = CopyOut(sql)
    hold = Hold(driver, operation, None if timeout is None else deadline_in(timeout))
    hold.exhaust(lambda: write(operation.take_received()))
    if operation.error is not None:
        raise operation.error
    count: int = operation.result
    return count
