"""Pool: the blocking pool's public face. What runs it is in `engine`.

Every method that takes a connection for a while is the same three steps: take a slot, work on
its driver, give it back.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from pgwire.blocking.opening import Opener
from pgwire.errors import Error, PostgresError
from pgwire.opening import settings
from pgwire.pool.engine import Engine
from pgwire.pool.lease import Lease
from pgwire.pool.listening import Listens
from pgwire.pool.options import (
    END_TIMEOUT,
    OPTION_NAMES,
    check_plain_function,
    check_poolable,
    check_retries,
    check_timeout,
    sorted_options,
)
from pgwire.pool.outputs import Outputs
from pgwire.pool.registering import PoolTypes
from pgwire.pool.reporting import Reports
from pgwire.pool.submitting import Submitter
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.transaction import can_be_repeated, repeat_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from types import TracebackType
    from typing import Self, Unpack

    from pgwire.blocking.connection import Connection
    from pgwire.parameters import ConnectionParameters
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.sources import CopySource
    from pgwire.protocol.transaction import IsolationLevel


T = TypeVar("T")


class Pool(Outputs, Listens, Reports, PoolTypes):
    """A pool of connections for threads.

    `conninfo` and `connection_parameters` are those of `pgwire.connect()`. Sizes and time
    limits (in seconds) are described in docs/pool-contract.md. Nothing is connected before
    the first request, unless `min_size` asks for it.

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
        reset: Literal["auto", "always", "never"] | Callable[[Connection], object] = "auto",
        check_after: float | None = 30.0,
        on_connect: Callable[[Connection], object] | None = None,
        max_pipeline: int = 1,
        leak_after: float | None = None,
        name: str | None = None,
        clock: Callable[[], float] = monotonic,
        **connection_parameters: Unpack[ConnectionParameters],
    ) -> None:
        given = {name: value for name, value in locals().items() if name in OPTION_NAMES}
        names = [*connection_parameters]
        try:
            config, options = sorted_options(given, names, check_plain_function)
            opener = Opener(
                check_poolable(settings(conninfo, connection_parameters)), keeps_keys=True
            )
        finally:
            del conninfo, connection_parameters  # a traceback may show what this frame holds
        self.name, self._clock = options.name, clock
        self._checkout_timeout = options.checkout_timeout
        self._query_timeout = options.query_timeout
        self._opener = opener
        self._engine = Engine(config, opener, options)
        self._submitter = Submitter(self._engine)
        self._engine.report(self._engine.core.start)

    def __repr__(self) -> str:
        if "_engine" not in vars(self):
            return "<Pool that has not begun>"  # a traceback's, with a mistake in the settings
        stats, core = self.stats(), self._engine.core
        state = " closed" if core.ended else " ending" if core.ending else ""
        return (
            f"<Pool {self.name}{state}: {stats.leased} leased, {stats.idle} idle, "
            f"{stats.waiting} waiting, at most {stats.max_size}>"
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
    ) -> Result[Row]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> Result[dict[str, Any]]: ...
    @overload
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> Result[T]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Result[Any]:
        """Run one statement on a connection of the pool; as `Connection.query`.

        `timeout` (seconds; default `query_timeout`) is one budget for waiting and running:
        running out of it in the queue is `PoolTimeout`, afterwards `QueryTimeout`. Without
        it, `checkout_timeout` bounds the waiting.
        """
        result: Result[Any] = self._run(Query(sql, params, None, row), timeout)
        return result if row is None else result.mapped(row)

    def query_many(
        self,
        sql: str,
        rows: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result[Row]:
        """Run one statement over many parameter tuples; as `Connection.query_many`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        result: Result[Row] = self._run(QueryMany(sql, rows, progress=progress), timeout)
        return result

    def copy_in(
        self,
        sql: str,
        source: CopySource,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Send data to a `COPY … FROM STDIN`; as `Connection.copy_in`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        count: int = self._run(CopyIn(sql, source, progress), timeout)
        return count

    def copy_records(
        self,
        table: str,
        records: Iterable[Sequence[Any]],
        *,
        columns: Sequence[str] | None = None,
        schema: str | None = None,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Copy tuples of Python values into a table; as `Connection.copy_records`.

        `timeout` is one budget for waiting and running, as in `query`.
        """
        count: int = self._run(CopyRecords(table, records, columns, schema, progress), timeout)
        return count

    def _run(self, operation: Operation, timeout: float | None) -> Any:
        """Run an operation on a connection of the pool."""
        timeout = self._query_timeout if timeout is None else check_timeout(timeout)
        deadline = None if timeout is None else self._clock() + timeout
        slot = self._engine.acquire(self._checkout_timeout, deadline)
        uses = slot.uses
        answered = False
        try:
            if deadline is not None:
                timeout = max(0.0, deadline - self._clock())
            result = slot.connection.run(operation, timeout)
            answered = True
            return result
        finally:
            try:
                self._engine.release(slot, answered=answered)
            except BaseException:  # Ctrl-C, or what a callback raised
                self._engine.orphan(slot, uses)
                raise

    # ---------------------------------------------------------------- leases

    def connect(self, *, timeout: float | None = None) -> Lease:
        """Check a connection out: a lease, to be given back by `with` or `release()`.

        `timeout` (seconds) takes the place of `checkout_timeout`; 0 means now or never.
        Raises `PoolTimeout`, `PoolFull`, `PoolClosed`, or what keeps the pool from
        connecting where waiting cannot mend it.
        """
        limit = self._checkout_timeout if timeout is None else check_timeout(timeout)
        return Lease(self._engine, limit, self._query_timeout)

    @contextmanager
    def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> Iterator[Lease]:
        """A lease inside a transaction: `with pool.transaction() as conn`."""
        with self.connect(timeout=timeout) as lease:
            with lease.transaction(isolation=isolation, read_only=read_only, deferrable=deferrable):
                yield lease

    def run_transaction(
        self,
        function: Callable[[Lease], T],
        *,
        retries: int = 3,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
        timeout: float | None = None,
    ) -> T:
        """Call `function(conn)` inside a transaction and commit; what it returned.

        Where the server reports a serialization failure or a deadlock (40001, 40P01), inside
        or at COMMIT, everything is rolled back and done again, at most `retries` times, after
        a short random pause. `function` must bear to be called more than once. `timeout` (seconds)
        is for each checkout, as in `transaction`. Manual: "Serialization Failure Handling".
        """
        check_plain_function("function", function)
        check_retries(retries)
        modes = {"read_only": read_only, "deferrable": deferrable}
        begin = partial(self.transaction, isolation=isolation, timeout=timeout, **modes)
        attempt = 0
        while True:
            try:
                with begin() as lease:
                    return function(lease)
            except PostgresError as error:
                if attempt >= retries or not can_be_repeated(error):
                    raise
            time.sleep(repeat_delay(attempt, random.random()))
            attempt += 1

    @overload
    def submit(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: None = None,
    ) -> Future[Result[Row]]: ...
    @overload
    def submit(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[dict[Any, Any]],
    ) -> Future[Result[dict[str, Any]]]: ...
    @overload
    def submit(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: type[T] | Callable[[Row], T],
    ) -> Future[Result[T]]: ...
    def submit(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Future[Any]:
        """Queue a query and return at once; the `Future` gives its result or its error.

        Parameters, errors and `row` as in `query`. It takes its place in the queue now. While it
        waits it can be cancelled; errors of the pool (`PoolTimeout`, `PoolClosed`, …) come out of
        the future too. Threads are taken as connections are free, not one for each call, and never
        keep the process alive; the rows are made in them.
        """
        return self._submitter.submit(sql, params, timeout, row)

    def wait(self, timeout: float | None = 30.0) -> None:
        """Return once `min_size` (at least one) connections are open.

        Raises the reason why not: at once where waiting cannot mend it, as the cause of
        `PoolTimeout` otherwise.
        """
        timeout = check_timeout(timeout)
        self._engine.wait(None if timeout is None else self._clock() + timeout)

    # ---------------------------------------------------------------- sizes and the end

    def resize(self, min_size: int, max_size: int) -> None:
        """Set the sizes anew. Leases that are now too many go on, and close when they end."""
        engine = self._engine
        engine.report(lambda now: engine.core.resize(min_size, max_size, now))

    def expire(self) -> None:
        """Retire every connection opened before now: idle ones at once, others when free."""
        self._engine.report(self._engine.core.expire)

    def end(self, timeout: float | None = None) -> None:
        """Close the pool: new requests raise `PoolClosed`, earlier ones are still served.

        Returns once every connection is back and closed; a second call waits for the same.
        With a `timeout` (seconds), when it is up: running queries are cancelled, everything
        is closed, and `PoolTimeout` lists the leases that were still out. Without one, from
        a thread that holds a lease itself, `InterfaceError`: it would wait for itself.
        """
        self._engine.end(check_timeout(timeout))

    close = end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.end(timeout=END_TIMEOUT)
        except Error as error:
            if value is None:
                raise
            value.add_note(f"the pool did not end cleanly: {error}")
