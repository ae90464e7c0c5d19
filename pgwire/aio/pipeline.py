"""AsyncPipeline: many queries in one flight, each with its own answer or error."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from pgwire.handle import point_to_outcome
from pgwire.protocol.pipeline import PipelineBlock
from pgwire.protocol.rows import Result

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Generator, Sequence
    from types import TracebackType

    from pgwire.aio.connection import AsyncConnection
    from pgwire.aio.driver import AsyncDriver
    from pgwire.protocol.rows import Row

T = TypeVar("T")


class AsyncPipelineQuery(Generic[T]):
    """A query of a pipeline, as `p.query()` gives it.

    Awaiting it is awaiting its `result()`.
    """

    __slots__ = ("_future", "is_heard")

    def __init__(self, future: Future[Result[T]]) -> None:
        self._future = future
        self.is_heard = False

    @property
    def done(self) -> bool:
        """Whether its answer is known to be there, so that `result()` need not wait."""
        return self._future.done()

    @property
    def failure(self) -> BaseException | None:
        """Why there is no result, once it is done."""
        if not self._future.done() or self._future.cancelled():
            return None
        return self._future.exception()

    async def result(self) -> Result[T]:
        """Wait for the answer: the result, or the query's own error raised.

        As often as you like, after the block too. A cancelled task cancels the query.
        """
        self.is_heard = True
        return await self._future

    def __await__(self) -> Generator[Any, None, Result[T]]:
        return self.result().__await__()


point_to_outcome(AsyncPipelineQuery, Result, "(await …)")


class AsyncPipeline:
    """Made by `conn.pipeline()`: queries that are sent without waiting for each other's answers.

    What has been asked for is sent with the event loop's next turn; the end of the block waits
    for all. Then the first error is raised whose `result()` was not asked for. A block left by an
    exception waits too, and raises that one; left by cancellation it cancels what is under way.

    Each query is by itself: an error undoes nothing of the others. Inside of a transaction those
    behind it fail with `InFailedSqlTransaction`. Whatever else is asked for on the connection
    meanwhile takes its place behind what the pipeline has asked for.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._block: PipelineBlock[AsyncPipelineQuery[Any]] = PipelineBlock()
        self._driver: AsyncDriver = cast("Any", None)  # from the beginning of the block on

    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: None = None,
    ) -> AsyncPipelineQuery[Row]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> AsyncPipelineQuery[dict[str, Any]]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> AsyncPipelineQuery[T]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> AsyncPipelineQuery[Any]:
        """Ask for one statement, without waiting for its answer; see `AsyncConnection.query`.

        `timeout` is in seconds from now on, and covers the answers before its own. Raises
        `InterfaceError` outside of the block; what is wrong with the query is for `result()`.
        """
        self._block.check_open()
        if self._driver is not self._connection._driver:
            self._connection._driver.check_usable()  # a lease that was released says so
        future = self._connection.query(sql, params, timeout=timeout, row=cast("Any", row))
        asked: AsyncPipelineQuery[Any] = AsyncPipelineQuery(future)
        self._block.add(asked)
        future.add_done_callback(lambda _: self._block.settled(asked))
        return asked

    async def __aenter__(self) -> Self:
        self._block.enter()
        self._driver = self._connection._driver
        self._driver.check_usable()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._block.leave()
        if self._driver is not self._connection._driver:
            return  # the lease was released
        if kind is not None and not issubclass(kind, Exception):
            self._cancel()
            return
        try:
            while futures := [asked._future for asked in self._block.waiting]:
                await asyncio.wait(futures)
        except BaseException:
            self._cancel()
            raise
        if kind is None and (error := self._block.unheard()) is not None:
            raise error

    def _cancel(self) -> None:
        for asked in tuple(self._block.waiting):
            asked._future.cancel()
