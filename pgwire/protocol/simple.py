"""SimpleQuery and Ping: operations of one flight without a prepared statement.

Manual: "Simple Query". One Query message may hold several statements; each gives a result,
the first error ends them all, and one ReadyForQuery follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pgwire.errors import Error, ProtocolError
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.protocol import backend, frontend
from pgwire.protocol.changes import changes_session
from pgwire.protocol.copying import DONE
from pgwire.protocol.decoder import keeping, whole_runs
from pgwire.protocol.fences import QUERY_CANCELED
from pgwire.protocol.looking_up import LookingUp
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase
from pgwire.protocol.reading import Reading, advise, check_empty_query
from pgwire.protocol.rows import Result, Row, row_class
from pgwire.protocol.usual import end_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgwire.errors import PostgresError
    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.messages import Column
    from pgwire.protocol.session import Session

_NO_COLUMNS = row_class(())
# What transactions are made of, which changes no session, by its SQL.
_MESSAGES = {
    sql: frontend.query(frontend.cstring(sql, "the SQL")) for sql in ("BEGIN", "COMMIT", "ROLLBACK")
}


class SimpleQuery(LookingUp):
    """`result` is a list with a Result per statement.

    An error has the results before it as its attribute `results`. Rows with types that are not
    known are kept as they come, and read at the end, when those have been looked up; in a failed
    transaction, where the server does not answer, they stay text.
    """

    kind: ClassVar[str | None] = "script"

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._rows = []
        self._columns = ()
        self.result: list[Result[Row]] = []
        self._missing: set[int] = set()
        self._unread: list[tuple[list[Any], tuple[Column, ...], list[bytes]]] = []

    def begin(self, session: Session) -> bool:
        sql = self.sql
        message = _MESSAGES.get(sql) if sql.__class__ is str else None
        if message is not None:
            session.write(message)
        else:
            session.write(frontend.query(frontend.cstring(sql, "the SQL")))
            if changes_session(sql):
                session.changed = True
        self.session = session
        self.phase = self.RUNNING
        return True  # types may have to be looked up

    def take_command(self, buffer: bytes, position: int, size: int) -> int:
        """The answer of the last statement, if it is one without rows (see `usual`)."""
        if self._missing or self.error is not None:
            return position
        end = end_of(buffer, position)
        if end is None:
            return position
        tag, status, stop = end
        session = self.session
        session.note_command(tag)
        session.transaction_status = status
        self.result.append(Result([], (), tag, _NO_COLUMNS))
        session.complete(self)
        return stop

    def on_columns(self, buffer: bytes, start: int, end: int) -> None:
        self._columns = backend.parse_row_description(buffer, start, end)
        self._rows = []
        decode, missing = self.steady_decoder(self._columns)
        if missing:
            self._keep_rows(missing, [])
        else:
            self._decode = whole_runs(decode)
        self.phase = self.FETCHING

    def on_rows(self, buffer: bytes, position: int, size: int) -> int:
        end = super().on_rows(buffer, position, size)
        if self._raw is not None and isinstance(self.error, UnknownTypes):  # one has been altered
            raw, self._raw = self._raw, None
            self._keep_rows(self.error.oids, raw)
            self.error = None
        return end

    def _keep_rows(self, missing: Iterable[int], runs: list[bytes]) -> None:
        """Keep this result's rows, from here on, until its types are known."""
        self._missing.update(missing)
        self._unread.append((self._rows, self._columns, runs))
        self._decode = keeping(len(self._columns), runs)

    def _known_decoder(self, columns: tuple[Column, ...]) -> RowDecoder:
        """A decoder that knows what was found, whatever another thread has forgotten."""
        decode, missing = self.steady_decoder(columns)
        while not missing.isdisjoint(self._found):
            self.session.registry.catalog.learn(self._found.values())
            decode, missing = self.steady_decoder(columns)
        return decode

    def on_more_columns(self, buffer: bytes, start: int, end: int) -> None:
        """A rule has put several queries in a statement's place. One tag ends them all."""
        if self.error is None:
            self.result.append(Result(self._rows, self._columns, ""))
        self.on_columns(buffer, start, end)

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        tag = backend.parse_command_tag(buffer, start, end)
        self.session.note_command(tag)
        if self.error is None:
            self.result.append(Result(self._rows, self._columns, tag))
        self._rows = []
        self._columns = ()
        self.phase = self.RUNNING

    def on_empty(self, buffer: bytes, start: int, end: int) -> None:
        check_empty_query(buffer, start, end)

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        super().on_error(buffer, start, end)
        self.phase = self.FAILED

    def note_error(self, error: PostgresError) -> None:
        error.query = self.sql
        super().note_error(error)
        advise(error, self.sql)

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        if self._missing and self.can_look_up_late(self._missing):
            self._first_error, self.error = self.error, None
            self.look_up(self._missing, self._types_known, late=True)
        else:
            self.finish()

    def _types_known(self) -> None:
        self.error = self._first_error or self.error
        registry = self.session.registry
        missing = registry.missing(self._missing)
        while not missing.isdisjoint(self._found):  # another thread has had it forgotten
            registry.catalog.learn(self._found.values())
            missing = registry.missing(self._missing)
        if missing - self._asked and self.can_look_up_late(missing):
            self._first_error, self.error = self.error, None
            self.look_up(missing, self._types_known, late=True)
        else:
            self.finish()

    def finish(self) -> None:
        try:
            for rows, columns, runs in () if self.abandoned else self._unread:
                decode = self._known_decoder(columns)
                for run in runs:
                    decode(run, 0, len(run), rows)
        except Exception as error:
            self.error = self.error or error
        if isinstance(self.error, Error):
            self.error.results = self.result
        self.session.complete(self)

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")
        self.refuse_copy_in(frontend.copy_fail("COPY FROM STDIN in a script"))
        self.phase = self.FAILED

    def on_copy_out(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")
        self.refuse_copy()
        self.phase = self.COPYING_OUT

    def on_copy_both(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_BOTH_RESPONSE")
        self.refuse_copy("START_REPLICATION needs replicate()")
        self.session.write(DONE)
        self.phase = self.COPYING_BOTH

    def on_copy_done(self, buffer: bytes, start: int, end: int) -> None:
        super().on_copy_done(buffer, start, end)
        self.phase = self.RUNNING

    def on_refused_complete(self, buffer: bytes, start: int, end: int) -> None:
        backend.parse_command_tag(buffer, start, end)

    RUNNING = Phase(
        "RUNNING",
        {
            BackendMessage.ROW_DESCRIPTION: on_columns,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.EMPTY_QUERY_RESPONSE: on_empty,
            BackendMessage.COPY_IN_RESPONSE: on_copy_in,
            BackendMessage.COPY_OUT_RESPONSE: on_copy_out,
            BackendMessage.COPY_BOTH_RESPONSE: on_copy_both,
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
        take_usual=take_command,
    )
    FETCHING = Phase(
        "FETCHING",
        {
            BackendMessage.DATA_ROW: on_rows,
            BackendMessage.ROW_DESCRIPTION: on_more_columns,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_error,
        },
    )
    COPYING_OUT = Phase(
        "COPYING_OUT",
        {
            BackendMessage.COPY_DATA: Reading.on_copy_data,
            BackendMessage.COPY_DONE: on_copy_done,
            BackendMessage.ERROR_RESPONSE: on_error,
        },
    )
    COPYING_BOTH = Phase(
        "COPYING_BOTH",
        {
            BackendMessage.COPY_DATA: Reading.on_copy_data,
            BackendMessage.COPY_DONE: Reading.on_copy_done,
            BackendMessage.COMMAND_COMPLETE: on_refused_complete,
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
    )
    FAILED = Phase(
        "FAILED",
        {
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
    )
    PHASES: ClassVar[tuple[Phase, ...]] = (
        *(RUNNING, FETCHING, COPYING_OUT, COPYING_BOTH, FAILED),
        *LookingUp.LOOKUP_PHASES,
    )


class Ping(Operation):
    """One empty round trip: a Sync and its ReadyForQuery.

    It is also what makes a connection fit for use after a cancel request: a request that
    arrives late hits the Ping, or nothing.
    """

    has_effects = False

    def begin(self, session: Session) -> bool:
        session.write(frontend.SYNC)
        self.session = session
        self.phase = self.WAITING
        return False

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if error.sqlstate != QUERY_CANCELED and not self.done:
            raise ProtocolError(f"an error in answer to a Sync alone: {error}")

    WAITING = Phase(
        "WAITING",
        {
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: Operation.on_ready,
        },
    )
    PHASES: ClassVar[tuple[Phase, ...]] = (WAITING,)


class Fence(Ping):
    """An empty round trip that begins when no cancel request is on its way any more.

    Raised (`Session.raise_fence`) before a cancel request is sent: nobody writes behind it
    until it is answered, so that the request can hit nobody who comes later. `lower` must be
    called once the request has been delivered, or been given up. `requests` is to count those that
    are sent, as long as they have hit nobody (see `fences`); with `at_large` there is one that is
    meant for whatever runs.
    """

    is_fence = True

    def __init__(self, *, at_large: bool = False) -> None:
        self.at_large = at_large
        self.phase = self.RAISED
        self._lowered = False

    def begin(self, session: Session) -> bool:
        self.session = session
        if self._lowered:
            self._write_sync()
        return True

    def lower(self) -> None:
        """The cancel request has done what it can do. More than once does no harm."""
        if not self._lowered:
            self._lowered = True
            if hasattr(self, "session") and not self.done:  # it has the floor
                self._write_sync()

    def _write_sync(self) -> None:
        self.session.write(frontend.SYNC)
        self.phase = self.WAITING

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        if self.at_large:
            self.session.is_canceled_at_large = False
        super().on_ready(buffer, start, end)

    RAISED = Phase("RAISED", {BackendMessage.ERROR_RESPONSE: Ping.on_error})
    WAITING = Phase(
        "WAITING",
        {
            BackendMessage.ERROR_RESPONSE: Ping.on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
    )
    PHASES = (RAISED, WAITING)
