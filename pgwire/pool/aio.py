"""AsyncPool: the asyncio pool's public face. What runs it is in `aio_engine`."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from pgwire.aio.copying import AsyncCopyOutput, copy_to
from pgwire.aio.feeding import sent
from pgwire.aio.opening import AsyncOpener
from pgwire.aio.streaming import AsyncStream
from pgwire.errors import Error, PostgresError
from pgwire.opening import settings
from pgwire.pool.aio_engine import AsyncEngine
from pgwire.pool.aio_lease import Checkout
from pgwire.pool.aio_listening import AsyncListens
from pgwire.pool.aio_reporting import AsyncReports
from pgwire.pool.options import (
    END_TIMEOUT,
    OPTION_NAMES,
    check_function,
    check_poolable,
    check_retries,
    check_timeout,
    sorted_options,
)
from pgwire.pool.registering import PoolTypes
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.sources import weight_of, weight_of_record
from pgwire.protocol.streaming import Streaming
from pgwire.protocol.transaction import can_be_repeated, repeat_delay

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Sequence,
    )
    from types import TracebackType
    from typing import Self, Unpack

    from pgwire.aio.connection import AsyncConnection
    from pgwire.parameters import ConnectionParameters
    from pgwire.pool.aio_lease import AsyncLease
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.sources import AsyncCopySource, CopySink
    from pgwire.protocol.transaction import IsolationLevel

T = TypeVar("T")


class AsyncPool(AsyncListens, AsyncReports, PoolTypes):
    """A pool of connections for the tasks of one event loop.

    `conninfo` and `connection_parameters` are those of `pgwire.connect_async()`. Sizes and
    time limits (in seconds) are described in docs/pool-contract.md. Nothing is connected
    before the first request, unless `min_size` asks for it: then at once where an event loop
    is running, else with the first request. Its loop is the first that uses it.

    Raises `ProgrammingError` for options and parameters that make no sense.
    """

    def __init__(
        self,
        conninfo: str = "",
        *,
        min_size: int = 0,
        max_size: int = 10,
        checkout_timeout: float | None = 30.0,
        query_timeout: float | None = None,
        max_waiting: int | None = None,
        idle_timeout: float | None = 300.0,
        max_lifetime: float | None = 3600.0,
        lifetime_spread: float = 0.1,
        max_uses: int | None = None,
        max_opening: int = 3,
        reset: Literal["auto", "always", "never"] | Callable[[AsyncConnection], object] = "auto",
        check_after: float | None = 30.0,
        on_connect: Callable[[AsyncConnection], object] | None = None,
        max_pipeline: int = 1,
        leak_after: float | None = None,
        name: str | None = None,
        clock: Callable[[], float] = monotonic,
        **connection_parameters: Unpack[ConnectionParameters],
    ) -> None:
        given = {name: value for name, value in locals().items() if name in OPTION_NAMES}
        names = [*connection_parameters]
        try:
            config, options = sorted_options(given, names, check_function)
            opener = AsyncOpener(
                check_poolable(settings(conninfo, connection_parameters)), keeps_keys=True
            )
        finally:
            del conninfo, connection_parameters  # a traceback may show what this frame holds
        self.name = options.name
        self._checkout_timeout = options.checkout_timeout
        self._query_timeout = options.query_timeout
        self._opener = opener
        self._engine = AsyncEngine(config, opener, options)
        self._engine.start()

    def __repr__(self) -> str:
        if "_engine" not in vars(self):
            return "<AsyncPool that has not begun>"  # a traceback's, with a mistake in the settings
        stats, core = self.stats(), self._engine.core
        state = " closed" if core.ended else " ending" if core.ending else ""
        return (
            f"<AsyncPool {self.name}{state}: {stats.leased + stats.shared} in use, "
            f"{stats.idle} idle, {stats.waiting} waiting, at most {stats.max_size}>"
        )

    # ---------------------------------------------------------------- statements

    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: None = None,
    ) -> Future[Result[Row]]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> Future[Result[dict[str, Any]]]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> Future[Result[T]]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Future[Any]:
        """Run one statement on a connection of the pool; as `AsyncConnection.query`.

        Takes its place in the queue when called, and returns a future; the call itself raises
        nothing but `InterfaceError`, where no event loop is running or another than the
        pool's. `timeout` (seconds; default `query_timeout`) is one budget for waiting and
        running: running out of it in the queue is `PoolTimeout`, afterwards `QueryTimeout`.
        Without it, `checkout_timeout` bounds the waiting.
        """
        try:
            operation = Query(sql, params, None, row)
            timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        except Exception as error:
            return self._engine.queries.failed(error)
        return self._engine.queries.query(operation, timeout, row)

    async def query_many(
        self,
        sql: str,
        rows: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result[Row]:
        """Run one statement over many parameter tuples; as `AsyncConnection.query_many`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        result: Result[Row] = await self._engine.queries.query(
            QueryMany(sql, rows, progress=progress), timeout
        )
        return result

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
    ) -> AsyncStream[Row]: ...
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
    ) -> AsyncStream[dict[str, Any]]: ...
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
    ) -> AsyncStream[T]: ...
    def stream(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        fetch_size: int = 1000,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
        row: Callable[..., Any] | None = None,
    ) -> AsyncStream[Any]:
        """Take the rows of a query as they come; as `AsyncConnection.stream`.

        What is returned takes its connection when it begins, and gives it back at its end.
        `timeout` is one budget for waiting and running, as in `query`.
        """
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        operation = Streaming(sql, params, fetch_size=fetch_size, progress=progress, row=row)
        return AsyncStream(None, operation, self._engine.queries.query, timeout)

    async def copy_in(
        self,
        sql: str,
        source: AsyncCopySource,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Send data to a `COPY … FROM STDIN`; as `AsyncConnection.copy_in`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        count: int = await self._sent(
            partial(CopyIn, sql, progress=progress), source, weight_of, timeout
        )
        return count

    @overload
    def copy_out(
        self,
        sql: str,
        sink: None = None,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> AsyncCopyOutput: ...
    @overload
    def copy_out(
        self,
        sql: str,
        sink: CopySink,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Coroutine[Any, Any, int]: ...
    def copy_out(
        self,
        sql: str,
        sink: CopySink | None = None,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> AsyncCopyOutput | Coroutine[Any, Any, int]:
        """Write what a `COPY … TO STDOUT` gives to a file; as `AsyncConnection.copy_out`.

        Without a `sink` what is returned takes its connection when it begins. `timeout` is one
        budget for waiting and running, as in `query`.
        """
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        start = self._engine.queries.query
        if sink is None:
            return AsyncCopyOutput(None, sql, start, timeout, progress)
        return copy_to(start, sql, sink, timeout, progress)

    async def copy_records(
        self,
        table: str,
        records: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
        *,
        columns: Sequence[str] | None = None,
        schema: str | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Copy tuples of Python values into a table; as `AsyncConnection.copy_records`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        make = partial(CopyRecords, table, columns=columns, schema=schema, progress=progress)
        count: int = await self._sent(make, records, weight_of_record, timeout)
        return count

    def _sent(
        self,
        make: Callable[[Any], Operation],
        source: Any,
        weigh: Callable[[Any], int],
        timeout: float | None,
    ) -> Coroutine[Any, Any, Any]:
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        return sent(self._engine.queries.query, make, source, weigh, timeout)

    # ---------------------------------------------------------------- leases

    def connect(self, *, timeout: float | None = None) -> Checkout:
        """Check a connection out: a lease, to be given back by `async with` or `release()`.

        Await what is returned, or enter it; it takes its place in the queue then. `timeout`
        (seconds) takes the place of `checkout_timeout`; 0 means now or never. Raises
        `PoolTimeout`, `PoolFull`, `PoolClosed`, or what keeps the pool from connecting where
        waiting cannot mend it.
        """
        limit = self._checkout_timeout if timeout is None else check_timeout(timeout)
        return Checkout(self._engine, limit)

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[AsyncLease]:
        """A lease inside a transaction: `async with pool.transaction() as conn`."""
        async with self.connect(timeout=timeout) as lease:
            async with lease.transaction(
                isolation=isolation, read_only=read_only, deferrable=deferrable
            ):
                yield lease

    async def run_transaction(
        self,
        function: Callable[[AsyncLease], Awaitable[T]],
        *,
        retries: int = 3,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Await `function(conn)` inside a transaction and commit; what it returned.

        Where the server reports a serialization failure or a deadlock (40001, 40P01), inside
        or at COMMIT, everything is rolled back and done again, at most `retries` times, after
        a short random pause. `function` must bear to be called more than once. `timeout` (seconds)
        is for each checkout, as in `transaction`. Manual: "Serialization Failure Handling".
        """
        check_function("function", function)
        check_retries(retries)
        modes = {"read_only": read_only, "deferrable": deferrable}
        begin = partial(self.transaction, isolation=isolation, timeout=timeout, **modes)
        attempt = 0
        while True:
            try:
                async with begin() as lease:
                    return await function(lease)
            except PostgresError as error:
                if attempt >= retries or not can_be_repeated(error):
                    raise
            await asyncio.sleep(repeat_delay(attempt, random.random()))
            attempt += 1

    async def wait(self, timeout: float | None = 30.0) -> None:
        """Return once `min_size` (at least one) connections are open.

        Raises the reason why not: at once where waiting cannot mend it, as the cause of
        `PoolTimeout` otherwise.
        """
        await self._engine.wait(check_timeout(timeout))

    # ---------------------------------------------------------------- sizes and the end

    def resize(self, min_size: int, max_size: int) -> None:
        """Set the sizes anew. Leases that are now too many go on, and close when they end."""
        engine = self._engine
        engine.enter()
        engine.report(lambda now: engine.core.resize(min_size, max_size, now))

    def expire(self) -> None:
        """Retire every connection opened before now: idle ones at once, others when free."""
        self._engine.enter()
        self._engine.report(self._engine.core.expire)

    async def end(self, timeout: float | None = None) -> None:
        """Close the pool: new requests raise `PoolClosed`, earlier ones are still served.

        Returns once every connection is back and closed; a second call waits for the same, and
        a call that is cancelled does not undo it. With a `timeout` (seconds), when it is up:
        running queries are cancelled, everything is closed, and `PoolTimeout` lists the leases
        that were still out. Without one, from a task that holds a lease itself,
        `InterfaceError`: it would wait for itself.
        """
        await self._engine.end(check_timeout(timeout))

    close = end

    async def __aenter__(self) -> Self:
        self._engine.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.end(timeout=END_TIMEOUT)
        except Error as error:
            if value is None:
                raise
            value.add_note(f"the pool did not end cleanly: {error}")
