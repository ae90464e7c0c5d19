"""Connection: what users of the blocking shell hold in their hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from pgwire.blocking.statement import Statement
from pgwire.blocking.transaction import Transaction
from pgwire.handle import Handle
from pgwire.protocol.many import QueryMany
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.simple import Ping, SimpleQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.events import EventName as EventName
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.statement import Statement as ServerStatement
    from pgwire.protocol.transaction import IsolationLevel

T = TypeVar("T")


class Connection(Handle):
    """One session with a server. Made by `pgwire.connect()`, or leased from a pool.

    Threads may share it: their calls take turns. A call from one of its own callbacks
    raises `InterfaceError`. After `close()` every call raises `InterfaceError`; once the
    connection was lost, `ConnectionLost`.
    """

    _driver: Driver

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
        row: Callable[..., T],
    ) -> Result[T]: ...
    def query(
        self,
        sql: str,
        params: Sequence[Any] = (),
        *,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> Result[Any]:
        """Run one statement with `$1` parameters; prepared and cached by itself.

        `params` is a sequence in the order of `$1`, `$2`, …. `timeout` is in seconds and
        covers waiting for other threads as well. `row` gives the rows another shape: a
        class is called with the columns as keyword arguments, `dict` and `tuple` give
        those, any other callable gets each `Row`.

        Raises `ProgrammingError` (wrong number of parameters, NUL in the SQL) and
        `DataError` (a value that does not fit) before anything is sent, `PostgresError`
        for what the server reports, `QueryTimeout` when time runs out (the connection stays
        usable if the server answers the cancel request within a second), and
        `ConnectionLost`. Manual: "Extended Query" in "Frontend/Backend Protocol".
        """
        result: Result[Any] = self._driver.run(
            Query(sql, params, None, row), self._default_timeout if timeout is None else timeout
        )
        return result if row is None else result.mapped(row)

    def query_many(
        self,
        sql: str,
        rows: Iterable[Sequence[Any]],
        *,
        timeout: float | None = None,
    ) -> Result[Row]:
        """Run one statement over many parameter tuples, in one flight.

        All or nothing: outside a transaction the records are one of their own, undone if a
        record fails, `rows` raises, or time runs out; inside, the transaction has failed then.
        Errors carry the number of their record, from 0, as `record_index`. `rows` is taken a
        bit at a time, so that it may be endless; it must not use this connection. The
        result's `row_count` is the sum; rows that the statement returns are all in it.
        """
        result: Result[Row] = self._run(QueryMany(sql, rows), timeout)
        return result

    def script(self, sql: str, *, timeout: float | None = None) -> list[Result[Row]]:
        """Run several statements, without parameters; a result for each.

        They are one transaction unless they begin and end their own. The first error ends
        the script: it is raised, with the results before it as `error.results`. COPY is
        `NotSupportedError`. Manual: "Simple Query".
        """
        results: list[Result[Row]] = self._run(SimpleQuery(sql), timeout)
        return results

    def prepare(self, sql: str, *, timeout: float | None = None) -> Statement:
        """Prepare a statement to be run many times; it keeps its place outside the cache."""
        return Statement(self, self._run(Prepare(sql), timeout))

    def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
    ) -> Transaction:
        """A `with` block that commits at its end, and rolls back on an exception.

        Blocks nest as savepoints; the modes belong to the outermost one. A COMMIT that the
        server answers with ROLLBACK raises. Manual: "BEGIN", "SAVEPOINT".
        """
        return Transaction(self, isolation, read_only, deferrable)

    def ping(self, timeout: float | None = None) -> None:
        """One empty round trip: returns if the server answers, raises if it does not."""
        self._run(Ping(), timeout)

    def cancel(self) -> None:
        """Ask the server to cancel what runs now; may be called from any thread.

        The query that is hit raises `QueryCanceled`; if nothing runs, nothing happens.
        Manual: "Canceling Requests in Progress".
        """
        self._driver.check_usable()
        self._driver.cancel()

    def _close_statement(self, statement: ServerStatement) -> None:
        self._driver.session.statements.closing.append(statement.name)

    def _run(self, operation: Operation, timeout: float | None) -> Any:
        return self._driver.run(operation, self._default_timeout if timeout is None else timeout)

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Say good-bye, wait for the server's end (at most 2 s), close. Idempotent.

        What another thread runs on this connection is waited for first; see `cancel`.
        """
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
