"""QueryMany: one statement over many records, in one flight (manual: "Pipelining").

    Parse Describe Flush     →  …                          (if the statement is not cached)
    Bind Execute Bind Execute … Sync   →  BindComplete CommandComplete … ReadyForQuery

There is one Sync, at the end, so that outside a transaction the records are one of their
own: whichever fails, the server undoes them all and skips the rest. If it is not the server
that fails, but the source of the records or a value in one of them, the server must be made
to fail: a Bind of a statement that cannot exist (`POISON`) stands before the Sync then.

Records are taken and encoded a chunk at a time, when the shell has room to write
(`write_more`), so that an endless source needs no endless memory.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, NotSupportedError
from pgwire.protocol import backend, frontend
from pgwire.protocol.encoder import check_parameters
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Phase, expect_empty
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.progress import meter_for
from pgwire.protocol.reading import Reading, advise, check_empty_query
from pgwire.protocol.rows import Result
from pgwire.protocol.sources import rows_of
from pgwire.protocol.statement import PLAN_STATES, STALE_STATES, UNNAMED, VALUE_STATES
from pgwire.protocol.usual import take_records, usual_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgwire.errors import PostgresError
    from pgwire.protocol.binding import Bind
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.session import Session
    from pgwire.protocol.statement import Statement

# Above what the blocking shell sends without reading, so that it pumps.
CHUNK = 65_536

_check_bind_complete = expect_empty("BIND_COMPLETE")


class QueryMany(Preparing):
    """`result` has all rows, and the sum of the row counts in its tag.

    Errors carry the number of their record, from 0, as `record_index`.
    """

    kind = "query_many"
    usual_answer = b""  # how a record is answered, as far as has been seen

    def __init__(
        self,
        sql: str,
        records: Iterable[Sequence[Any]],
        statement: Statement | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        super().__init__(sql)
        self._meter = meter_for(progress)
        self.statement = self._pinned = statement
        self._records = rows_of(records)
        self._taken = self._answered = self._row_count = 0
        self._tag = ""
        self._rows_each = 0
        self._written = False  # the Sync is written

    @property
    def batch_size(self) -> int:
        return self._taken

    def begin(self, session: Session) -> bool:
        if session.waits_for_answers(self):
            return True
        statement = self.statement or session.statements.get(self.sql)
        if statement is not None and statement.is_gone:
            statement = statement.newest()
        if statement is None or statement.is_gone:
            self.statement = None
            self._write_parse(session, self._new_name(session), frontend.FLUSH)
        else:
            self.session = session
            self._begin_records(statement)
        return True

    def go_on(self, statement: Statement) -> None:
        if self._pinned is None and statement.name != UNNAMED:
            self.session.statements.put(statement)
        self._begin_records(statement)

    def _types_known(self) -> None:
        assert self.statement is not None
        if self.use_types(self.statement):
            self._write_records(self.statement)

    def parse_failed(self, error: PostgresError) -> None:
        self.note_error(error)
        self._write_end(b"")
        self.phase = self.ENDING

    def _begin_records(self, statement: Statement) -> None:
        session = self.session
        self.statement = statement
        if statement.epoch is not session.registry.epoch:
            statement.use(session.registry)
            if statement.missing and not self.abandoned:
                self.look_up(statement.missing, self._types_known, late=False)
                return
        self._write_records(statement)

    def _write_records(self, statement: Statement) -> None:
        session = self.session
        if not statement.is_generated:
            statement.generate()
        if statement.changes_session:
            session.changed = True
        statement.used = True
        self._columns = statement.columns
        self._decode = statement.decode_rows
        self._row_class = statement.row_class
        if closing := self._close_messages(session):
            session.write(closing)
        self._await_next()

    def lookup_failed(self, error: PostgresError) -> None:
        self.parse_failed(error)

    # ---------------------------------------------------------------- writing

    def write_more(self) -> None:
        if self._written or self.statement is None or self.is_looking_up:
            return  # the rest, or the answer to Parse, is the server's to say
        messages: list[bytes] = []
        size, end = 0, b""
        try:
            if not self.abandoned:
                size = self._take_records(self.statement.bind_record, messages)
            if self._meter is not None and messages:
                self._meter.sent(self, size, self._taken)
            if self.abandoned:
                end = frontend.POISON
        except BaseException as error:
            # The source's own exception, or a value that does not fit: the caller's, both.
            self.prefer_errors()
            self._blame(error, self._taken)
            end = frontend.POISON
            if isinstance(error, DataError):  # it may fit what the types are now: the next time
                catalog = self.session.registry.catalog
                catalog.forget(catalog.made_of(self.statement.parameter_oids))
                self.session.statements.forget(self.statement)
        self.session.out += messages  # they are joined once, with what stands behind them
        if size < CHUNK or end:
            self._write_end(end)

    def _take_records(self, bind: Bind, messages: list[bytes]) -> int:
        """Bind a chunk of records, or the rest; how many bytes that is."""
        size = 0
        try:
            for record in self._records:
                kind = record.__class__
                if kind is tuple or kind is list:
                    message = bind(record)
                else:
                    message = bind(check_parameters(record))
                messages.append(message)
                size += len(message)
                if size >= CHUNK:
                    break
        finally:
            self._taken += len(messages)
        return size

    def _write_end(self, poison: bytes) -> None:
        self._written = True
        self._records = iter(())
        self.session.write(poison + frontend.SYNC)
        if self.phase is self.BINDING:
            self._await_next()
        if self.statement is None or not self.statement.is_open:
            self.session.pass_floor()  # else it may have to look types up at the end

    def _blame(self, error: BaseException, index: int) -> None:
        if self.error is None:
            self.error = error
            with suppress(Exception):  # a frozen dataclass, say, takes no attributes
                error.add_note(f"in record {index}")
                error.record_index = index  # type: ignore[attr-defined]

    def note_error(self, error: PostgresError) -> None:
        error.query = self.sql
        self.prefer_errors()
        if error.where:  # the parameter, say, which is no part of the message
            error.add_note(error.where)
        if self._answered < self._taken:
            self._blame(error, self._answered)
        super().note_error(error)
        advise(error, self.sql)

    # ---------------------------------------------------------------- reading

    def on_bound(self, buffer: bytes, start: int, end: int) -> None:
        _check_bind_complete(buffer, start, end)
        if self._answered == self._taken:
            raise self.session.unexpected(self, BackendMessage.BIND_COMPLETE)
        self.phase = self.EXECUTING

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        tag = backend.parse_command_tag(buffer, start, end)
        head, _, count = tag.rpartition(" ")
        if count.isdecimal():
            self._rows_each = int(count)
            self._row_count += self._rows_each
            tag = head
        self._tag = tag
        if not self._columns:  # more of the same may come
            self.usual_answer = usual_record(buffer, start, end)
        self._next_record()

    @property
    def unanswered(self) -> int:
        """How many records have been written, and not been answered yet."""
        return self._taken - self._answered

    def take_answers(self, count: int) -> None:
        """So many answers like the last one have come."""
        self._answered += count
        self._row_count += count * self._rows_each
        self._await_next()

    def on_empty(self, buffer: bytes, start: int, end: int) -> None:
        check_empty_query(buffer, start, end)
        self._next_record()

    def _next_record(self) -> None:
        self._answered += 1
        self._await_next()

    def _await_next(self) -> None:
        """What is next: the answer to a record, or to the Sync behind them all."""
        outstanding = self._closing or self._answered < self._taken
        self.phase = self.COMPLETE if self._written and not outstanding else self.BINDING

    def on_closed(self, buffer: bytes, start: int, end: int) -> None:
        super().on_closed(buffer, start, end)
        self._await_next()

    def on_execute_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if not self.done:
            self.note_error(error)
            is_bind = self.phase is self.BINDING
            if error.sqlstate in (STALE_STATES | VALUE_STATES if is_bind else PLAN_STATES):
                # The records cannot be gone through again; whoever comes next prepares anew.
                assert self.statement is not None
                self.session.statements.forget(self.statement)
                self.session.registry.catalog.forget()
            if not self._written:
                self._write_end(b"")
            self.phase = self.ENDING

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")
        self._refuse_copy()

    def on_copy_out(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")
        self._refuse_copy()

    def _refuse_copy(self) -> None:
        # The records behind this one would be taken for data.
        self.session.fail(
            NotSupportedError("COPY cannot be run over many records; the connection was closed")
        )

    def on_all_ready(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        self.finish()

    def finish(self) -> None:
        if self._raw is not None and self.look_up_late():
            return
        if self.error is None and not self.abandoned:
            tag = self._tag or "".join(self.sql.split()[:1]).upper()
            tag = f"{tag} {self._row_count}".lstrip()
            self.result = Result(self._rows, self._columns, tag, self._row_class)
            if self._meter is not None:
                self._meter.tell_end(self, self._answered)
        self.session.complete(self)

    BINDING = Phase(
        "BINDING",
        {
            BackendMessage.CLOSE_COMPLETE: on_closed,
            BackendMessage.BIND_COMPLETE: on_bound,
            BackendMessage.ERROR_RESPONSE: on_execute_error,
        },
        take_usual=take_records,
    )
    EXECUTING = Phase(
        "EXECUTING",
        {
            BackendMessage.DATA_ROW: Reading.on_rows,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.EMPTY_QUERY_RESPONSE: on_empty,
            BackendMessage.COPY_IN_RESPONSE: on_copy_in,
            BackendMessage.COPY_OUT_RESPONSE: on_copy_out,
            BackendMessage.ERROR_RESPONSE: on_execute_error,
        },
        take_usual=take_records,
    )
    COMPLETE = Phase(
        "COMPLETE",
        {
            BackendMessage.ERROR_RESPONSE: on_execute_error,
            BackendMessage.READY_FOR_QUERY: on_all_ready,
        },
    )
    PHASES = (
        Preparing.PARSING,
        Preparing.DESCRIBING_PARAMETERS,
        Preparing.DESCRIBING_COLUMNS,
        *Preparing.LOOKUP_PHASES,
        BINDING,
        EXECUTING,
        COMPLETE,
        Preparing.ENDING,
    )
