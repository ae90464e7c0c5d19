"""AsyncStatement: a prepared statement in the hands of its user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from pgwire.aio.streaming import AsyncStream
from pgwire.errors import InterfaceError
from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.streaming import Streaming

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from pgwire.aio.connection import AsyncConnection
    from pgwire.protocol.messages import Column
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.statement import Statement as ServerStatement

T = TypeVar("T")


class AsyncStatement:
    """Made by `await conn.prepare(sql)`; lives until `close()` or the end of the connection.

    Where the server says that it is stale (a table was altered) it is prepared again by itself.
    What was asked for then is asked again unseen, outside of transactions; in one, and in
    `query_many`, it is the server's error, once.
    """

    def __init__(self, connection: AsyncConnection, statement: ServerStatement) -> None:
        self._connection = connection
        self._statement: ServerStatement | None = statement
        self.sql = statement.sql

    def __repr__(self) -> str:
        return f"<AsyncStatement {self.sql!r}{' closed' if self._statement is None else ''}>"

    def _open(self) -> ServerStatement:
        if self._statement is None:
            raise InterfaceError("the statement is closed")
        self._statement = self._statement.newest()
        return self._statement

    @overload
    def query(
        self, params: Sequence[Any] = (), *, timeout: float | None = None, row: None = None
    ) -> Future[Result[Row]]: ...
    @overload
    def query(
        self,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> Future[Result[dict[str, Any]]]: ...
    @overload
    def query(
        self,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> Future[Result[T]]: ...
    def query(
        self,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Future[Any]:
        """Run it; parameters, errors and `row` as in `AsyncConnection.query`."""
        connection = self._connection
        if timeout is None:
            timeout = connection._default_timeout
        operation = Query(self.sql, params, self._open(), row)
        return connection._driver.submit(operation, timeout, row)

    async def query_many(
        self,
        rows: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result[Row]:
        """Run it over many parameter tuples; as `AsyncConnection.query_many`."""
        operation = QueryMany(self.sql, rows, self._open(), progress)
        result: Result[Row] = await self._connection._run(operation, timeout)
        return result

    @overload
    def stream(
        self,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: None = None,
    ) -> AsyncStream[Row]: ...
    @overload
    def stream(
        self,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: type[dict[Any, Any]],
    ) -> AsyncStream[dict[str, Any]]: ...
    @overload
    def stream(
        self,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> AsyncStream[T]: ...
    def stream(
        self,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: Callable[..., Any] | None = None,
    ) -> AsyncStream[Any]:
        """Take its rows as they come; as `AsyncConnection.stream`."""
        connection = self._connection
        operation = Streaming(
            self.sql, params, self._open(), fetch_size=fetch_size, progress=progress, row=row
        )
        return AsyncStream(connection, operation, connection._run, timeout)

    @property
    def parameter_types(self) -> tuple[str, ...]:
        """The types of `$1`, `$2`, … as PostgreSQL names them."""
        return self._open().parameter_types

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its result; empty for a statement that returns none."""
        return self._open().columns

    async def close(self) -> None:
        """Forget it. The server hears of it with the next statement of this connection."""
        if self._statement is not None:
            self._connection._close_statement(self._statement.newest())
            self._statement = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
