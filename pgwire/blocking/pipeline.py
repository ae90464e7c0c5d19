"""Pipeline: many queries in one flight, each with its own answer or error."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from pgwire.blocking.net import deadline_in
from pgwire.blocking.together import UNANSWERED, SharedRun
from pgwire.driving import out_of_time
from pgwire.errors import InterfaceError
from pgwire.handle import point_to_outcome
from pgwire.protocol.pipeline import PipelineBlock
from pgwire.protocol.query import Query
from pgwire.protocol.rows import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from pgwire.blocking.connection import Connection
    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.rows import Row

T = TypeVar("T")

# What has come together is sent in pieces of so many messages, or of so many bytes at least.
_MESSAGES = 32
_BYTES = 16_384
# More wait for their answers only until some of them are there.
_MOST_WAITING = 1000

_LEFT = "its pipeline was left before its answer was there"

_REENTERED = (
    "this connection is in the middle of an operation of the same thread; callbacks cannot go on "
    "with a pipeline on it"
)


class PipelineQuery(Generic[T]):
    """A query of a pipeline, as `p.query()` gives it."""

    __slots__ = ("_deadline", "_error", "_operation", "_pipeline", "_result", "_row", "is_heard")

    _result: Result[T]

    def __init__(
        self,
        pipeline: Pipeline,
        operation: Operation,
        row: Callable[..., Any] | None,
        deadline: float | None,
    ) -> None:
        self._pipeline: Pipeline | None = pipeline  # until it is settled
        self._operation: Operation | None = operation
        self._row = row
        self._deadline = deadline
        self._error: BaseException | None = None
        self.is_heard = False
        operation.waiter = self

    @property
    def done(self) -> bool:
        """Whether its answer is known to be there, so that `result()` need not wait."""
        return self._pipeline is None

    @property
    def failure(self) -> BaseException | None:
        """Why there is no result, once it is done."""
        return self._error

    def result(self) -> Result[T]:
        """Wait for the answer: the result, or the query's own error raised.

        Sends what has not been sent yet. As often as you like, after the block too.
        """
        self.is_heard = True
        if self._pipeline is not None:
            self._pipeline._wait_for(self)
        if self._error is not None:
            raise self._error
        return self._result

    def _settle(self, error: BaseException | None = None) -> None:
        """Its operation is done, or nobody waits for that any more."""
        pipeline, operation = self._pipeline, self._operation
        if pipeline is None or operation is None:
            return
        self._pipeline = self._operation = None
        if operation.done and operation.abandoned:
            operation.told = None  # a traceback that holds what it went through
        self._error = error or operation.error
        if self._error is None:
            try:
                if operation.abandoned:
                    raise InterfaceError(_LEFT)
                row, result = self._row, operation.result
                self._result = result if row is None else result.mapped(row)
            except KeyboardInterrupt as raised:
                self._error = raised
                raise
            except BaseException as raised:
                self._error = raised
        pipeline._block.settled(self)

    def _expire(self) -> None:
        error = out_of_time()
        self._abandon(error)
        self._settle(error)

    def _abandon(self, error: BaseException | None) -> None:
        """Nobody waits for it any more; `error` is what its caller is told."""
        if self._operation is not None:
            self._operation.told = error
            self._operation.abandon()


point_to_outcome(PipelineQuery, Result, "(…).result()")


class Pipeline:
    """Made by `conn.pipeline()`: queries that are sent without waiting for each other's answers.

    What has been asked for is sent when enough has come together, when a `result()` is asked
    for, and at the end of the block, which waits for all. Then the first error is raised whose
    `result()` was not asked for. A block left by an exception waits too, and raises that one; left
    by Ctrl-C it cancels what is under way.

    Each query is by itself: an error undoes nothing of the others. Inside of a transaction those
    behind it fail with `InFailedSqlTransaction`. Whatever else is asked for on the connection
    meanwhile takes its place behind what the pipeline has asked for.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._block: PipelineBlock[PipelineQuery[Any]] = PipelineBlock()
        self._flight: _Flight = cast("Any", None)  # from the beginning of the block on

    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: None = None,
    ) -> PipelineQuery[Row]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> PipelineQuery[dict[str, Any]]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> PipelineQuery[T]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> PipelineQuery[Any]:
        """Ask for one statement, without waiting for its answer; see `Connection.query`.

        `timeout` is in seconds from now on, and covers the answers before its own. Raises
        `InterfaceError` outside of the block; what is wrong with the query is for `result()`.
        """
        self._block.check_open()
        operation = Query(sql, params, None, row)
        if timeout is None:
            timeout = self._connection._default_timeout
        deadline = None if timeout is None else deadline_in(timeout)
        asked: PipelineQuery[Any] = PipelineQuery(self, operation, row, deadline)
        self._take_turn(partial(self._flight.ask, asked, operation), deadline)
        return asked

    def _wait_for(self, asked: PipelineQuery[Any]) -> None:
        self._take_turn(partial(self._flight.wait_for, asked), asked._deadline)

    def _take_turn(self, work: Callable[[], Any], deadline: float | None) -> None:
        if not self._is_here:
            self._connection._driver.check_usable()  # a lease that was released says so
        self._flight.driver.in_turn(work, deadline, _REENTERED)

    @property
    def _is_here(self) -> bool:
        """Whether the driver is still the one that the block began with."""
        return self._connection._driver is self._flight.driver

    def __enter__(self) -> Self:
        self._block.enter()
        driver = self._connection._driver
        driver.check_usable()
        self._flight = _Flight(driver, self._block)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._block.leave()
        if not self._is_here:
            return  # the lease was released
        try:
            if kind is not None and not issubclass(kind, Exception):
                self._flight.abandon(value)
            self._take_turn(self._flight.wait_for_all, None)
        except Exception:
            if kind is None:
                raise
        if kind is None and (error := self._block.unheard()) is not None:
            raise error


class _Flight:
    """What the queries of a pipeline go in: the crowd of a `SharedRun`, in the driver's turn."""

    def __init__(self, driver: Driver, block: PipelineBlock[PipelineQuery[Any]]) -> None:
        self.driver = driver
        self._block = block
        self._run = SharedRun(driver, self, tells=False)
        self._has_deadlines = False

    def ask(self, asked: PipelineQuery[Any], operation: Operation) -> None:
        self._check()
        if self.driver._cancelled:
            self.driver._outlive_cancel(asked._deadline)
        self._guard(partial(self._submit, asked, operation))

    def _submit(self, asked: PipelineQuery[Any], operation: Operation) -> None:
        session, run = self.driver.session, self._run
        self._block.add(asked)
        if asked._deadline is not None:
            self._has_deadlines = True
        session.unordered = False
        session.submit(operation)
        if operation.done:  # a misfit: nothing was written
            run.settle()
        out = session.out
        if len(out) >= _MESSAGES or (out and len(out[-1]) >= _BYTES):
            run.send()
        if not self._has_room():
            run.run(self._has_room)

    def wait_for(self, asked: PipelineQuery[Any]) -> None:
        self._proceed(partial(self._is_settled, asked))

    def wait_for_all(self) -> None:
        self._proceed(self._is_all_there)

    def _proceed(self, enough: Callable[[], bool]) -> None:
        """Write and read until it is enough, or everything has been answered."""
        self._run.settle()
        if not enough():
            self._check()
            self._guard(partial(self._go_on, enough))

    def _go_on(self, enough: Callable[[], bool]) -> None:
        if self._has_deadlines:
            self._run.receive()  # what came in time is not too late
        self._run.run(enough)

    def _check(self) -> None:
        if self.driver._unsafe:
            self.driver.abort()  # Ctrl-C struck twice, and nobody was left to do it
        self.driver.check_usable()

    def _guard(self, work: Callable[[], None]) -> None:
        """Do it; after Ctrl-C what is under way is canceled, or the connection closed."""
        driver = self.driver
        try:
            driver._unsafe = True
            work()
            driver._unsafe = False
        except BaseException as error:
            self.abandon(error)
            if not driver._unsafe:
                driver._unsafe = True
                self._run.run()
                driver._unsafe = False
            driver.tell_observers()
            raise
        finally:
            if driver._unsafe:
                driver.abort()
        if driver.session.failure is not None:
            driver.abort_when_gone()
        if driver.session.events:
            driver.deliver_events()

    def abandon(self, error: BaseException | None) -> None:
        """Nobody waits for anything of it any more; `error` is why."""
        for asked in self._block.waiting:
            asked._abandon(error)

    # When it is enough

    def _is_all_there(self) -> bool:
        return not self._block.waiting and not self._run.is_canceling

    def _has_room(self) -> bool:
        """Whether what waits for its answer fits the buffers, ours and the socket's.

        Not behind what is being canceled: nobody has to be in the way of that.
        """
        if self._run.is_canceling:
            return False
        return len(self._block.waiting) < _MOST_WAITING and self._run.unanswered <= UNANSWERED

    def _is_settled(self, asked: PipelineQuery[Any]) -> bool:
        """A query that is canceled while it runs is over when the server has said so."""
        return asked.done and not self._run.is_canceling

    # The crowd of its run

    def take(self) -> Iterable[Operation]:
        return ()

    def settle(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            asked: PipelineQuery[Any] = operation.waiter
            operation.waiter = None
            asked._settle()

    def next_deadline(self) -> float | None:
        if not self._has_deadlines:
            return None
        deadlines = [each._deadline for each in self._block.waiting if each._deadline is not None]
        return min(deadlines, default=None)

    def next_look(self) -> float | None:
        return None

    def expire(self, now: float) -> None:
        for asked in tuple(self._block.waiting):
            if asked._deadline is not None and asked._deadline <= now:
                asked._expire()
