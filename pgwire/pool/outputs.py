"""What is taken bit by bit on a connection of the pool, which is taken and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from pgwire.blocking.copying import CopyOutput, copy_to
from pgwire.blocking.holding import Output
from pgwire.blocking.net import deadline_in
from pgwire.blocking.streaming import Stream
from pgwire.pool.options import check_timeout
from pgwire.protocol.observing import Asked
from pgwire.protocol.streaming import Streaming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.slots import Slot
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.rows import Row
    from pgwire.protocol.sources import CopySink

T = TypeVar("T")


class PooledOutput(Output):
    """Takes its connection when it begins, and gives it back when it is over.

    Collected before that, its connection is closed.
    """

    _engine: Engine
    _slot: Slot[Driver] | None = None
    _left: float | None = None  # seconds, once it has its connection

    def _take(self) -> Driver:
        options = self._engine.options
        until = None if self._timeout is None else options.clock() + self._timeout
        if self._engine.listeners:
            self._operation.asked = Asked(options.clock())
        try:
            self._slot = slot = self._engine.acquire(options.checkout_timeout, until)
        except BaseException as error:
            self._never_run(error)
            raise
        self._uses = slot.uses
        self._left = None if until is None else max(0.0, until - options.clock())
        return slot.connection

    def _never_run(self, error: BaseException | None) -> None:
        """Report it, unless a connection has."""
        self._engine.listeners.never_run(self._operation, error, self._engine.options.clock())

    def _deadline(self) -> float | None:
        return None if self._left is None else deadline_in(self._left)

    def _ended(self) -> None:
        slot = self._slot
        if slot is not None:
            try:
                self._never_run(slot.connection.session.failure)
                self._slot = None
                self._engine.release(slot)
            except BaseException:  # Ctrl-C, or what a callback raised
                self._slot = None
                self._engine.orphan(slot, self._uses)
                raise

    def __del__(self) -> None:
        try:
            super().__del__()
        finally:  # Ctrl-C may have struck just before it would have been given back
            self._collected()

    def _collected(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            self._engine.orphan(slot, self._uses)


class PoolStream(PooledOutput, Stream[T]):
    """See `Stream`, and `PooledOutput`. Whatever it is, it is outside of any transaction."""

    def __init__(self, engine: Engine, operation: Streaming, timeout: float | None) -> None:
        super().__init__(None, operation, timeout)
        self._engine = engine


class PoolCopyOutput(PooledOutput, CopyOutput):
    """See `CopyOutput`, and `PooledOutput`."""

    def __init__(
        self,
        engine: Engine,
        sql: str,
        timeout: float | None,
        progress: ProgressCallback | None,
    ) -> None:
        super().__init__(None, sql, timeout, progress)
        self._engine = engine
        self._progress = progress

    def write_to(self, sink: Any) -> int:
        """Write all of it to a file, in one turn; the number of rows."""
        driver = self._take()
        try:
            asked = self._operation.asked
            return copy_to(driver, self._operation.sql, sink, self._left, self._progress, asked)
        finally:
            self._ended()


class Outputs:
    """What a pool has for it."""

    _engine: Engine
    _query_timeout: float | None

    @overload
    def stream(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: None = None,
    ) -> Stream[Row]: ...
    @overload
    def stream(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: type[dict[Any, Any]],
    ) -> Stream[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> Stream[T]: ...
    def stream(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Stream[Any]:
        """Take the rows of a query as they come; as `Connection.stream`.

        What is returned takes its connection when it begins, and gives it back at its end.
        `timeout` is one budget for waiting and running, as in `query`.
        """
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        return PoolStream(
            self._engine,
            Streaming(sql, params, fetch_size=fetch_size, progress=progress, row=row),
            timeout,
        )

    @overload
    def copy_out(
        self,
        sql: str,
        sink: None = None,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> CopyOutput: ...
    @overload
    def copy_out(
        self,
        sql: str,
        sink: CopySink,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int: ...
    def copy_out(
        self,
        sql: str,
        sink: CopySink | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> CopyOutput | int:
        """Write what a `COPY … TO STDOUT` gives to a file; as `Connection.copy_out`.

        Without a `sink` what is returned takes its connection when it begins. `timeout` is one
        budget for waiting and running, as in `query`.
        """
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        output = PoolCopyOutput(self._engine, sql, timeout, progress)
        return output if sink is None else output.write_to(sink)
