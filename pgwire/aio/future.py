"""QueryFuture: what the asyncio shell gives for an operation that has taken its place."""

from __future__ import annotations

from asyncio import CancelledError, Future
from typing import TYPE_CHECKING, Any, Protocol

from pgwire.driving import out_of_time
from pgwire.handle import point_to_outcome
from pgwire.protocol.callables import no_end
from pgwire.protocol.rows import Result

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable
    from contextvars import Context

    from pgwire.protocol.operation import Operation


class Runner(Protocol):
    """Who an operation was given to: a driver, or a pool as long as it waits in the queue."""

    def abandon(self, future: QueryFuture) -> None:
        """Nobody wants the outcome any more; the future is done already."""


class Extra:
    """What only some futures have."""

    __slots__ = ("asker", "context", "deadline", "ended", "row")

    def __init__(self, row: Callable[..., Any] | None = None) -> None:
        self.row = row  # what to make of the rows
        self.deadline: float | None = None  # of a pool's query, by the pool's clock
        self.asker: Task[Any] | None = None  # whose query it is, while it waits in a pool
        self.context: Context | None = None  # in which a pool tells its listeners of it
        self.ended: Future[None] | None = None  # done once the operation is


class QueryFuture(Future[Any]):
    """A future whose cancellation reaches the server. To be made by `query_future`.

    `runner` is told when nobody wants the outcome any more. `finished`, if any, is called with
    the future once the operation is done, whether or not somebody still waits for it.
    """

    # A subclass costs half a microsecond more than a Future, and a callback for its end twice
    # as much: this is the cheapest way to hear of a cancellation.
    __slots__ = ("entry", "extra", "finished", "operation", "place", "runner")

    operation: Operation
    runner: Runner
    finished: Callable[[QueryFuture], object] | None
    entry: list[Any] | None  # among its driver's deadlines
    extra: Extra | None
    place: Any  # where a pool's query is: its waiter in the queue, then its slot

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        self.operation.told = CancelledError()
        self.runner.abandon(self)
        return True

    def time_is_up(self) -> None:
        """Its timeout has run out."""
        if not self.done():
            self.operation.told = told = out_of_time()
            self.set_exception(told)
            self.runner.abandon(self)

    def with_extra(self) -> Extra:
        """Its extra, made if there is none."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    def settle(self) -> None:
        """The operation is done: hand on what came of it."""
        operation, extra = self.operation, self.extra
        row = None
        if extra is not None:
            row = extra.row
            if extra.ended is not None and not extra.ended.done():
                extra.ended.set_result(None)
        if self.done():
            return
        error, result = operation.error, None
        if error is None:
            try:
                result = operation.result if row is None else operation.result.mapped(row)
            except BaseException as raised:  # whatever it is: it is raised where this is awaited
                error = raised
            if self.done():
                return  # `row` has cancelled it
        if error is None:
            self.set_result(result)
            return
        if isinstance(error, StopIteration):  # a future cannot hold it
            error = no_end(error, "a function, or a source of records,")
        self.set_exception(error)


point_to_outcome(QueryFuture, Result, "(await …)")


def query_future(
    loop: AbstractEventLoop,
    operation: Operation,
    runner: Runner,
    row: Callable[..., Any] | None = None,
    finished: Callable[[QueryFuture], object] | None = None,
) -> QueryFuture:
    """The future of an operation that has been given to `runner`."""
    # Not by an __init__ of its own, which would be a call more.
    future = QueryFuture(loop=loop)
    future.operation = operation
    future.runner = runner
    future.finished = finished
    future.entry = None
    future.extra = None if row is None else Extra(row)
    operation.waiter = future
    return future


def hear(future: Future[Any]) -> None:
    """A callback for a future nobody asks: its error is not to be reported as unheard."""
    if not future.cancelled():
        future.exception()
