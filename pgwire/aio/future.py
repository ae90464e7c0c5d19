"""QueryFuture: what the asyncio shell gives for an operation that has taken its place."""

from __future__ import annotations

from asyncio import Future
from typing import TYPE_CHECKING, Any, Protocol

from pgwire.errors import QueryTimeout

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation


class Runner(Protocol):
    """Who an operation was given to: a driver, or a pool as long as it waits in the queue."""

    def abandon(self, future: QueryFuture) -> None:
        """Nobody wants the outcome any more; the future is done already."""


class QueryFuture(Future[Any]):
    """A future whose cancellation reaches the server.

    `runner` is told when nobody wants the outcome any more. `finished`, if any, is called with
    the future once the operation is done, whether or not somebody still waits for it.
    """

    # A subclass costs half a microsecond more than a Future, and a callback for its end twice
    # as much: this is the cheapest way to hear of a cancellation.
    __slots__ = (
        *("deadline", "ended", "entry", "finished", "operation", "place", "row", "runner"),
    )

    place: Any  # where a pool's query is: its waiter in the queue, then its slot

    def __init__(
        self,
        loop: AbstractEventLoop,
        operation: Operation,
        runner: Runner,
        row: Callable[..., Any] | None = None,
        finished: Callable[[QueryFuture], object] | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self.operation = operation
        self.runner = runner
        self.row = row
        self.finished = finished
        self.deadline: float | None = None  # of a pool's query, by the pool's clock
        self.ended: Future[None] | None = None  # done once the operation is
        self.entry: list[Any] | None = None  # among the deadlines
        operation.waiter = self

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.runner.abandon(self)
        return True

    def time_is_up(self, error: Exception | None = None) -> None:
        """Its timeout has run out."""
        if not self.done():
            self.set_exception(
                error or QueryTimeout("the query's timeout ran out; it is being canceled")
            )
            self.runner.abandon(self)

    def settle(self) -> None:
        """The operation is done: hand on what came of it."""
        operation = self.operation
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)
        if self.done():
            return
        error = operation.error
        if error is None:
            row = self.row
            if row is None:
                self.set_result(operation.result)
                return
            try:
                self.set_result(operation.result.mapped(row))
                return
            except Exception as raised:
                error = raised
        if isinstance(error, StopIteration):  # of a source of records; a future cannot hold it
            stopped = RuntimeError("the source of records raised StopIteration")
            stopped.__cause__ = error
            error = stopped
        self.set_exception(error)


def hear(future: Future[Any]) -> None:
    """A callback for a future nobody asks: its error is not to be reported as unheard."""
    if not future.cancelled():
        future.exception()
