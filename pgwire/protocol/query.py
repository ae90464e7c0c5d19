"""Query: the extended query protocol (manual: "Extended Query").

A query whose statement is cached takes one flight: Bind, Execute, Sync. The first time it
takes two, since values can be encoded only once their types are known:

    Parse Describe Flush        →  ParseComplete ParameterDescription RowDescription|NoData
    Bind Execute Sync           →  BindComplete DataRow… CommandComplete ReadyForQuery

Between the two the operation keeps the floor. As long as others have not been answered yet, there
is a Sync in the place of the Flush.

A stale statement heals: where the server reports at Bind that the plan's result has changed
(0A000), that it does not know the statement (26000) or a type in it (XX000, 42704), that types do
not fit any more (42804, 42846, 42883), or at Parse that the name is taken (42P05), nothing has been
carried out. Outside a transaction, and if nobody else has written since, the statement is prepared
under a new name and the query sent again, once. At Execute the like has the statement forgotten, as
has a value that does not fit (its column may have another type by now).

A query that a cancel request has hit in place of an earlier one (`fences`) begins anew as well,
outside of a transaction, if that leaves nothing of what it had done.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pgwire.errors import DataError
from pgwire.protocol import backend, frontend
from pgwire.protocol.changes import is_call
from pgwire.protocol.encoder import check_parameters
from pgwire.protocol.looking_up import MAX_ROUNDS, LookingUp
from pgwire.protocol.mapping import check_callable, check_row
from pgwire.protocol.messages import MAX_PARAMETERS, BackendMessage, TransactionStatus
from pgwire.protocol.operation import Operation, Phase, laid_out
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.reading import Reading, advise, check_empty_query
from pgwire.protocol.rows import Result
from pgwire.protocol.session import FORGETTING
from pgwire.protocol.statement import (
    PLAN_CHANGED,
    PLAN_STATES,
    STALE_STATES,
    TYPE_CHANGED,
    TYPE_STATES,
    UNNAMED,
    VALUE_STATES,
    Statement,
)
from pgwire.protocol.usual import take_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.errors import PostgresError
    from pgwire.protocol.session import Session


@laid_out("session", "phase", "command_tag", "result", "_columns", "_decode", "_row_class")
class Query(Preparing):
    """One statement with parameters; `result` is a Result.

    `statement` is one that `Prepare` made; else the session's cache is asked, and one of size 0
    means the unnamed statement. `row` is what the caller will make of the rows: a class that the
    columns do not fit is an `InterfaceError` before the statement is run.
    """

    kind = "query"
    _fresh = False  # it was prepared by this very operation, and in this flight
    _is_parted = False  # there is a Sync between preparing and using it
    _retried = False
    command_tag = ""

    def __init__(
        self,
        sql: str,
        params: Sequence[Any] = (),
        statement: Statement | None = None,
        row: Callable[..., Any] | None = None,
    ) -> None:
        self.sql, self._row = sql, row
        if row is not None:
            check_callable(row)
        kind = params.__class__
        if (kind is not list and kind is not tuple) or len(params) > MAX_PARAMETERS:
            params = check_parameters(params)
        self._params, self._rows = params, []
        self.statement = self._pinned = statement
        # What stands at the class costs several times as much to read, and these are read often.
        self.done = self.abandoned = False
        self.error = self.waiter = None

    @property
    def values(self) -> Sequence[Any]:
        return self._params

    @property
    def is_retried(self) -> bool:
        return self._retried

    @property
    def leaves_traces(self) -> bool:
        """Whether, now that it is done, the session may not be what it was before."""
        if not hasattr(self, "session"):  # nothing of it was written
            return False
        statement = self.statement
        if statement is not None and statement.changes_session:
            return True
        return self.session.transaction_status is not TransactionStatus.IDLE

    def begin(self, session: Session) -> bool:
        statement = self.statement or session.statements.known.get(self.sql)
        if statement is None:
            self._parse(session)
            return True
        if statement.epoch is not session.registry.epoch:
            if statement.is_gone:
                self.statement = statement = statement.newest()
                if statement.is_gone:
                    self._parse(session)
                    return True
            statement.use(session.registry)
            if statement.missing:
                if session.waits_for_answers(self):
                    return True
                self.session, self.statement = session, statement
                self.look_up(statement.missing, self._types_known, late=False)
                return True
        if not statement.is_generated:
            statement.generate()
        try:
            self._execute(session, statement)
        except DataError:
            outdated = session.registry.catalog.made_of(statement.parameter_oids)
            if not outdated or session.transaction_status is not TransactionStatus.IDLE:
                session.registry.catalog.forget(outdated)  # for whoever comes next
                session.statements.forget(statement)
                raise
            # Of no more than is needed: a value may never fit, and be tried ever again.
            self._parse_anew(session, statement, outdated)
            return True
        return statement.is_open

    def note_error(self, error: PostgresError) -> None:
        super().note_error(error)
        advise(error, self.sql, self._params)

    # ---------------------------------------------------------------- first flight

    def _parse(self, session: Session) -> None:
        """Behind answers that are still to come with a Sync: see `Session.waits_for_answers`."""
        name = self._new_name(session)
        named = name != UNNAMED
        self._is_parted = named and session.pending[0] is not self
        if not named and session.waits_for_answers(self):
            return
        self._fresh = not self._is_parted
        self._write_parse(session, name, frontend.SYNC if self._is_parted else frontend.FLUSH)

    def parse_failed(self, error: PostgresError) -> None:
        if self._is_kept or (error.sqlstate == "42P05" and not self._retried):
            self._is_kept = False
            self._await_ready(error, self.STALE)
        else:
            self._await_ready(error, self.STRUCK if self._is_struck(error) else self.ENDING)
        if not self._is_parted:
            self.session.write(frontend.SYNC)
        self.session.pass_floor()

    def go_on(self, statement: Statement) -> None:
        if self._pinned is None and statement.name != UNNAMED:
            self.session.statements.put(statement)
        if self._is_parted:
            self._then = partial(self._prepared, statement)
            self.phase = self.LOOKED_UP
        else:
            self._prepared(statement)

    def _prepared(self, statement: Statement) -> None:
        self._is_parted = False
        if statement.missing and not self.abandoned and self.error is None:
            self.look_up(statement.missing, self._types_known, late=False)
        else:
            self._go_on(statement)

    def lookup_failed(self, error: PostgresError) -> None:
        self.parse_failed(error)

    def _types_known(self) -> None:
        statement = self.statement
        assert statement is not None
        if not self.use_types(statement):
            return
        if statement.missing and not self._fresh and not self.abandoned:
            self._parse_anew(self.session, statement)  # some are not there any more
        elif self.session.transaction_status is TransactionStatus.IDLE and is_call(self.sql):
            # Behind another command it could not commit: the server takes both for a block.
            self.end_flight(partial(self._begin_flight, statement))
        else:
            self._go_on(statement)

    def _begin_flight(self, statement: Statement) -> None:
        if statement.name == UNNAMED and self._rounds < MAX_ROUNDS:
            self._parse(self.session)  # behind a pooler this may be another server
        else:
            self._go_on(statement)

    def _go_on(self, statement: Statement) -> None:
        session = self.session
        try:
            if not self.abandoned and self.error is None:
                self._execute(session, statement)
                self._decode = statement.decode_first
                if statement.is_open or self.holds:
                    return  # it may have to look types up at the end, or has more to write
        except Exception as error:
            catalog = session.registry.catalog
            outdated = catalog.made_of(statement.parameter_oids) - self._asked
            if isinstance(error, DataError) and outdated:
                # What is known may be older than the statement: it may fit what they are now.
                catalog.forget(outdated)
                self.look_up(outdated, self._types_known, late=False)
                return
            self.error = error
        if self.abandoned or self.error is not None:
            session.write(frontend.SYNC)
            self.phase = self.ENDING
        session.pass_floor()

    def _parse_anew(
        self, session: Session, statement: Statement, outdated: set[int] | None = None
    ) -> None:
        session.registry.catalog.forget(outdated)
        session.statements.forget(statement)
        if self._pinned is None:
            self.statement = None
        self._parse(session)

    # ---------------------------------------------------------------- second flight

    def _execute(self, session: Session, statement: Statement) -> None:
        """Bind, Execute and Sync; raises before anything is written."""
        if self._row is not None:
            check_row(self._row, statement.row_class._names)
        bind = statement.bind_query
        message = bind(self._params)
        self.session = session
        self.statement = statement
        statement.used = True
        if statement.changes_session:
            session.changed = True
        if session.statements.closing:
            session.write(self._close_messages(session))
        session.out.append(message)
        self._columns = statement.columns
        self._decode = statement.decode_rows
        self._row_class = statement.row_class
        self.phase = _BINDING

    def on_bind_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if self._is_struck(error):
            self._await_ready(error, self.STRUCK)
        elif self.statement is not None and self._is_stale(error, self.statement):
            self.session.statements.forget(self.statement)
            if error.sqlstate in TYPE_STATES:
                self.session.registry.catalog.forget()
            self._await_ready(error, self.STALE)
        else:
            self._fail(error, VALUE_STATES)

    def _is_stale(self, error: PostgresError, statement: Statement) -> bool:
        status = self.session.transaction_status
        if not self._fresh:
            if error.sqlstate == PLAN_CHANGED and status is not TransactionStatus.IDLE:
                self.session.statements.tell_text_apart(self.sql)
            return error.sqlstate in STALE_STATES
        if error.sqlstate != TYPE_CHANGED or self._retried:
            return False
        # What is known of a type may be older than a statement.
        return bool(self.session.registry.catalog.made_of(statement.parameter_oids))

    def on_bound(self, buffer: bytes, start: int, end: int) -> None:
        if start != end:
            raise backend.malformed("BIND_COMPLETE")
        self.phase = self.EXECUTING

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        self.command_tag = backend.parse_command_tag(buffer, start, end)
        self.phase = self.COMPLETE

    def on_empty(self, buffer: bytes, start: int, end: int) -> None:
        check_empty_query(buffer, start, end)
        self.phase = self.COMPLETE

    def on_execute_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        stays = self.statement is not None and self.statement.changes_session
        if self._is_struck(error) and not stays:  # else it may not be undone as a whole
            self._await_ready(error, self.STRUCK)
        else:
            self._fail(error, PLAN_STATES)

    def _fail(self, error: PostgresError, outdated: frozenset[str]) -> None:
        if error.sqlstate in outdated and not self._fresh and self.statement is not None:
            # For whoever comes next. What ran may have left traces: no retry.
            self.session.statements.forget(self.statement)
        self._await_ready(error, self.ENDING)

    def on_all_ready(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        self.finish()

    def finish(self) -> None:
        session = self.session
        tag = self.command_tag
        if self.error is None and not self.abandoned:
            self.result = Result(self._rows, self._columns, tag, self._row_class)
        elif self._raw is not None and self.look_up_late():
            return
        if tag in FORGETTING:
            session.note_command(tag)
        del session.pending[0]  # as `session.complete` does
        self.done = True
        if self.waiter is not None:
            session.completed.append(self)
        if session.floor is self:
            session.pass_floor()

    # ---------------------------------------------------------------- once more

    def _await_ready(self, error: PostgresError, phase: Phase) -> None:
        """It has failed; whether it can be tried again (STALE, STRUCK) shows at ReadyForQuery."""
        self.note_error(error)
        self.phase = phase

    def on_ready_to_retry(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        session = self.session
        if (
            self.abandoned
            or session.transaction_status is not TransactionStatus.IDLE
            or not session.take_floor_again(self)
        ):
            session.complete(self)
        else:
            self.error = None
            self._retried = True
            self._parse(session)

    def _is_struck(self, error: PostgresError) -> bool:
        """Whether it was canceled in place of another one, and is a transaction of its own."""
        return error.stray and self.session.transaction_status is TransactionStatus.IDLE

    def on_ready_to_return(self, buffer: bytes, start: int, end: int) -> None:
        """What it had done is undone, outside of a transaction: it may begin anew."""
        self.take_status(buffer, start, end)
        session, error = self.session, self.error
        self.error = None
        self._rows = []
        self._raw = None
        self._fresh = False
        if self._pinned is None:
            self.statement = None
        idle = session.transaction_status is TransactionStatus.IDLE
        if self.abandoned or not idle or not session.put_back(self):
            self.error = error
            session.complete(self)

    # ---------------------------------------------------------------- COPY has its own calls

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")
        # In copy-in mode the server ignores the Sync that is already on its way, so that this
        # one is the one it answers.
        self.refuse_copy_in(frontend.copy_fail("use copy_in()") + frontend.SYNC)
        self.phase = self.ENDING

    def on_copy_out(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")
        self.refuse_copy()
        self.phase = self.COPYING_OUT

    BINDING = Phase(
        "BINDING",
        {
            BackendMessage.CLOSE_COMPLETE: Preparing.on_closed,
            BackendMessage.BIND_COMPLETE: on_bound,
            BackendMessage.ERROR_RESPONSE: on_bind_error,
        },
        take_usual=take_answer,
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
    )
    COPYING_OUT = Phase(
        "COPYING_OUT",
        {
            BackendMessage.COPY_DATA: Reading.on_copy_data,
            BackendMessage.COPY_DONE: Reading.on_copy_done,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_execute_error,
        },
    )
    COMPLETE = Phase(
        "COMPLETE",
        {
            BackendMessage.ERROR_RESPONSE: on_execute_error,
            BackendMessage.READY_FOR_QUERY: on_all_ready,
        },
    )
    STALE = Phase(
        "STALE",
        {
            BackendMessage.ERROR_RESPONSE: on_execute_error,
            BackendMessage.READY_FOR_QUERY: on_ready_to_retry,
        },
    )
    STRUCK = Phase(
        "STRUCK",
        {
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
            BackendMessage.READY_FOR_QUERY: on_ready_to_return,
        },
    )
    PHASES: ClassVar[tuple[Phase, ...]] = (
        Preparing.PARSING,
        Preparing.DESCRIBING_PARAMETERS,
        Preparing.DESCRIBING_COLUMNS,
        *LookingUp.LOOKUP_PHASES,
        LookingUp.LOOKED_UP,
        BINDING,
        EXECUTING,
        COPYING_OUT,
        COMPLETE,
        STALE,
        STRUCK,
        Preparing.ENDING,
    )


_BINDING = Query.BINDING
