"""Connection: what users of the blocking shell hold in their hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from pgwire.blocking.copying import CopyOutput, copy_to
from pgwire.blocking.notifying import Notifications
from pgwire.blocking.pipeline import Pipeline
from pgwire.blocking.statement import Statement
from pgwire.blocking.streaming import Stream
from pgwire.blocking.transaction import Transaction
from pgwire.blocking.walsender import Replicates
from pgwire.handle import Handle
from pgwire.protocol import two_phase
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.listening import check_wait, listening, unlistening
from pgwire.protocol.many import QueryMany
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.protocol.streaming import Streaming
from pgwire.protocol.two_phase import PreparedTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.events import EventName as EventName
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.rows import Result, Row
    from pgwire.protocol.sources import CopySink, CopySource
    from pgwire.protocol.statement import Statement as ServerStatement
    from pgwire.protocol.transaction import IsolationLevel

T = TypeVar("T")


class Connection(Replicates, Handle):
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
        progress: ProgressCallback | None = None,
    ) -> Result[Row]:
        """Run one statement over many parameter tuples, in one flight.

        All or nothing: outside a transaction the records are one of their own, undone if a
        record fails, `rows` raises, or time runs out; inside, the transaction has failed then.
        Errors carry the number of their record, from 0, as `record_index`. `rows` is taken a
        bit at a time, so that it may be endless; it must not use this connection. The
        result's `row_count` is the sum; rows that the statement returns are all in it.
        `progress` is called with a `Progress` as records are sent, and at the end.
        """
        result: Result[Row] = self._run(QueryMany(sql, rows, progress=progress), timeout)
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
        """Take the rows of a query as they come, with `fetch_size` of them in memory at a time.

        An iterator of rows and a context manager (`Stream`, which says what it holds and when it
        ends). Parameters, `row` and errors are those of `query`, and errors come with the first
        row; what making a row raises ends it. `timeout` is for all of it, what is done between two
        rows included. `progress` is called with a `Progress` for each batch, and at the end.
        """
        timeout = self._default_timeout if timeout is None else timeout
        return Stream(
            self, Streaming(sql, params, fetch_size=fetch_size, progress=progress, row=row), timeout
        )

    def copy_in(
        self,
        sql: str,
        source: CopySource,
        *,
        timeout: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> int:
        """Send data to a `COPY … FROM STDIN`; how many rows the server has taken.

        `source` is bytes, a str, an open file, or an iterable of bytes and str, which may be
        endless: a bit is taken at a time. If it raises, the COPY fails and its exception comes
        through. All or nothing outside of a transaction; inside, that has failed then.

        `progress` is called with a `Progress` as it goes, and at the end.

        Raises `ProgrammingError` for any other statement. Manual: "COPY", "COPY Operations".
        """
        count: int = self._run(CopyIn(sql, source, progress), timeout)
        return count

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
        """Write what a `COPY … TO STDOUT` gives to a file; how many rows there were.

        A file of text gets it as `str`. Without a `sink`: an iterator of `bytes` and context
        manager (`CopyOutput`), which holds the connection until its end. `timeout` is for all of
        it, what is done between two pieces included. If the sink raises, the COPY is canceled.

        `progress` is called with a `Progress` as it goes, and at the end.

        Raises `ProgrammingError` for any other statement. Manual: "COPY", "COPY Operations".
        """
        timeout = self._default_timeout if timeout is None else timeout
        if sink is None:
            return CopyOutput(self, sql, timeout, progress)
        return copy_to(self._driver, sql, sink, timeout, progress)

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
        """Copy tuples of Python values into a table; how many rows it has taken.

        Values are those of `query`, by the types of the columns; without `columns`, of all that
        are not generated, in their order. `table` is one name; without `schema` it is looked for
        on the search path. Errors carry the number of their record, from 0, as `record_index`.
        All or nothing, taken a bit at a time, and `progress`, as in `copy_in`. Manual: "COPY".
        """
        count: int = self._run(CopyRecords(table, records, columns, schema, progress), timeout)
        return count

    def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool | None = None,
        deferrable: bool | None = None,
    ) -> Transaction:
        """A `with` block that commits at its end, and rolls back on an exception.

        Blocks nest as savepoints; the modes belong to the outermost one. A COMMIT that the
        server answers with ROLLBACK raises, and so does leaving a block whose transaction was ended
        inside it by SQL (`InterfaceError`: what came behind that was none). It is the
        connection's: what other threads ask for there meanwhile is part of it, and a block that is
        left before one inside it (of another of them, say) is `InterfaceError`, and closes the
        connection. Manual: "BEGIN", "SAVEPOINT".
        """
        return Transaction(self, isolation, read_only, deferrable)

    def pipeline(self) -> Pipeline:
        """A `with` block whose queries are sent without waiting for each other's answers.

        `p.query(…)` gives a handle with `.result()`; each query has its own error (`Pipeline`).
        Manual: "Pipelining" in "Frontend/Backend Protocol".
        """
        return Pipeline(self)

    def prepare_transaction(self, gid: str, *, timeout: float | None = None) -> None:
        """Prepare the open transaction for two-phase commit: it now outlives the session.

        Inside `with conn.transaction()`, in no block nested in that, whose end
        does nothing more then; or after a BEGIN of one's own. Any connection decides on it, by
        `commit_prepared` or `rollback_prepared`; until then it keeps its locks. After a timeout
        or a lost connection `list_prepared` says whether it is there.

        Raises `InterfaceError` where no transaction is open. Manual: "PREPARE TRANSACTION".
        """
        sql = two_phase.prepare_statement(self._blocks, self.transaction_status, gid)
        results = None
        try:
            results = self._run(SimpleQuery(sql), timeout)
        finally:
            two_phase.note_prepared(self._blocks, self.transaction_status, results)

    def commit_prepared(self, gid: str, *, timeout: float | None = None) -> None:
        """Commit what was prepared under this name. Manual: "COMMIT PREPARED".

        Not inside a transaction; `UndefinedObject` where there is none of this name.
        """
        self._run(SimpleQuery(two_phase.commit_statement(gid)), timeout)

    def rollback_prepared(self, gid: str, *, timeout: float | None = None) -> None:
        """Undo what was prepared under this name. Manual: "ROLLBACK PREPARED".

        Not inside a transaction; `UndefinedObject` where there is none of this name.
        """
        self._run(SimpleQuery(two_phase.rollback_statement(gid)), timeout)

    def list_prepared(self, *, timeout: float | None = None) -> list[PreparedTransaction]:
        """The transactions that are prepared in all databases, the oldest first.

        Manual: "pg_prepared_xacts".
        """
        found = self.query(two_phase.LIST_PREPARED, timeout=timeout, row=PreparedTransaction)
        return found.rows

    # ---------------------------------------------------------------- notifications

    def listen(self, channel: str, *, timeout: float | None = None) -> None:
        """Hear of what is sent to a channel by NOTIFY; inside a transaction, from its COMMIT on.

        What comes waits for `notifications` from now on. The name is taken as it is, as if in
        quotes: `listen("News")` is LISTEN "News". Listening twice is listening once.

        Raises `ProgrammingError` for a name that is empty or longer than 63 bytes, which the
        server would cut, `NotSupportedError` with `prepare=False`, that is behind a pooler, and
        what `query` raises. Manual: "LISTEN".
        """
        self._hear()
        self._run(listening(self._session, channel), timeout)

    def unlisten(self, channel: str, *, timeout: float | None = None) -> None:
        """Hear no more of a channel; inside a transaction, from its COMMIT on.

        What has come before stays where it is, and will be taken. Manual: "UNLISTEN".
        """
        self._run(unlistening(channel), timeout)

    def notifications(self, timeout: float | None = None) -> Notifications:
        """Take the notifications that come, and wait for the next: an iterator.

        It ends after `timeout` seconds without one; see `Notifications` for its other ends,
        and for how many wait to be taken. What comes before the first call of `listen` or of
        this is for callbacks alone.
        """
        return Notifications(self, self._hear(), check_wait(timeout))

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
