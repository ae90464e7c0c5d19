"""Preparing and Prepare: statements before they are run (manual: "Extended Query").

    Parse Describe        →  ParseComplete ParameterDescription RowDescription|NoData

Types that it names and nobody knows are looked up then (`looking_up`).

Statements that nobody wants any more are closed with whichever flight comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.protocol import backend, frontend
from pgwire.protocol.changes import is_fleeting
from pgwire.protocol.looking_up import LookingUp
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase, expect_empty
from pgwire.protocol.reading import advise
from pgwire.protocol.statement import PLAN_CHANGED, UNNAMED, Statement

if TYPE_CHECKING:
    from pgwire.errors import PostgresError
    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.session import Session

_check_parse_complete = expect_empty("PARSE_COMPLETE")
_check_close_complete = expect_empty("CLOSE_COMPLETE")
_check_no_data = expect_empty("NO_DATA")


def _close(name: bytes) -> bytes:
    """Close for a statement; for a portal, if NUL stands in front of its name."""
    if name.startswith(b"\0") and len(name) > 1:
        return frontend.close_portal(name[1:])
    return frontend.close_statement(name)


class Preparing(LookingUp):
    """Parse and Describe, and what to do with the answers; shared by Query and Prepare."""

    statement: Statement | None = None
    _pinned: Statement | None = None  # it is its user's, and stays out of the cache
    _is_kept = False  # another text may do where this one does not
    _closing = 0  # Close messages that have not been answered yet

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._rows = []

    def large_decoder(self) -> RowDecoder | None:
        statement = self.statement
        # Where types are looked up, these are no rows of the statement's.
        if statement and self._decode in (statement.decode_rows, statement.decode_first):
            return statement.decode_large
        return None

    def _new_name(self, session: Session) -> bytes:
        """The name to prepare it under; what cannot be used twice needs none."""
        named = self._pinned is not None or session.statements.size > 0
        return session.statements.new_name() if named and not is_fleeting(self.sql) else UNNAMED

    def _write_parse(self, session: Session, name: bytes, end: bytes) -> None:
        sql = frontend.cstring(session.statements.text(self.sql, name), "the SQL")
        parse = frontend.parse(name, sql)  # may raise: then nothing is taken from `closing`
        closing = self._close_messages(session)
        session.write(closing + parse + frontend.describe_statement(name) + end)
        self.session = session
        self.phase = self.PARSING
        self._name = name

    def _close_messages(self, session: Session) -> bytes:
        """Close for whatever nobody wants any more; the replies come first."""
        if not session.statements.closing:
            return b""
        names = session.statements.take_closing()
        self._closing += len(names)
        return b"".join(map(_close, names))

    def on_closed(self, buffer: bytes, start: int, end: int) -> None:
        _check_close_complete(buffer, start, end)
        if not self._closing:
            raise self.session.unexpected(self, BackendMessage.CLOSE_COMPLETE)
        self._closing -= 1

    def on_parsed(self, buffer: bytes, start: int, end: int) -> None:
        _check_parse_complete(buffer, start, end)
        self.phase = self.DESCRIBING_PARAMETERS

    def on_parameters(self, buffer: bytes, start: int, end: int) -> None:
        self._parameter_oids = backend.parse_parameter_description(buffer, start, end)
        self.phase = self.DESCRIBING_COLUMNS

    def on_columns(self, buffer: bytes, start: int, end: int) -> None:
        self._columns = backend.parse_row_description(buffer, start, end)
        self._described()

    def on_no_columns(self, buffer: bytes, start: int, end: int) -> None:
        _check_no_data(buffer, start, end)
        self._columns = ()
        self._described()

    def _described(self) -> None:
        statement = Statement(
            self._name, self.sql, self._parameter_oids, self._columns, self.session.registry
        )
        if self._pinned is not None and not statement.is_fleeting:
            before = self._pinned.newest()
            before.successor = statement
            self.session.statements.forget(before)
        self.statement = statement
        self.go_on(statement)

    def go_on(self, statement: Statement) -> None:
        """The server's answers to Parse and Describe are complete."""
        raise NotImplementedError

    def parse_failed(self, error: PostgresError) -> None:
        """Parse or Describe failed: the server skips everything up to our Sync."""
        raise NotImplementedError

    def note_error(self, error: PostgresError) -> None:
        error.query = self.sql
        super().note_error(error)

    def on_parse_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if not self.done:  # a fatal one has ended it all
            if error.sqlstate == PLAN_CHANGED and self.phase is not self.PARSING:
                # A statement that is new has an old plan: somebody in between has kept it.
                self._is_kept = self.session.statements.tell_text_apart(self.sql)
            self.parse_failed(error)

    PARSING = Phase(
        "PARSING",
        {
            BackendMessage.CLOSE_COMPLETE: on_closed,
            BackendMessage.PARSE_COMPLETE: on_parsed,
            BackendMessage.ERROR_RESPONSE: on_parse_error,
        },
    )
    DESCRIBING_PARAMETERS = Phase(
        "DESCRIBING_PARAMETERS",
        {
            BackendMessage.PARAMETER_DESCRIPTION: on_parameters,
            BackendMessage.ERROR_RESPONSE: on_parse_error,
        },
    )
    DESCRIBING_COLUMNS = Phase(
        "DESCRIBING_COLUMNS",
        {
            BackendMessage.ROW_DESCRIPTION: on_columns,
            BackendMessage.NO_DATA: on_no_columns,
            BackendMessage.ERROR_RESPONSE: on_parse_error,
        },
    )
    # Something has failed and the Sync is written: what remains is the end.
    ENDING = Phase(
        "ENDING",
        {
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
            BackendMessage.READY_FOR_QUERY: Operation.on_ready,
        },
    )


class Prepare(Preparing):
    """`result` is a Statement with a name of its own, outside the cache. One flight."""

    kind = "prepare"
    has_effects = False

    def begin(self, session: Session) -> bool:
        name = UNNAMED if is_fleeting(self.sql) else session.statements.new_name()
        self._write_parse(session, name, frontend.SYNC)
        return True  # types may have to be looked up

    def go_on(self, statement: Statement) -> None:
        self.phase = self.ENDING

    def parse_failed(self, error: PostgresError) -> None:
        self.note_error(error)
        self.phase = self.ENDING

    def note_error(self, error: PostgresError) -> None:
        super().note_error(error)
        advise(error, self.sql)

    def on_prepared(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        statement = self.statement
        if self.error is None and not self.abandoned:
            assert statement is not None
            if statement.missing and self.can_look_up_late(statement.missing):
                self.look_up(statement.missing, self._types_known, late=True)
                return
            self.result = statement
        elif statement is not None:  # nobody will ever know its name
            self.session.statements.closing.append(statement.name)
        self.session.complete(self)

    def _types_known(self) -> None:
        statement = self.statement
        assert statement is not None
        if self.error is None and not self.abandoned:
            if not self.use_types(statement):
                return
            self.result = statement
        else:
            self.session.statements.closing.append(statement.name)
        self.session.complete(self)

    ENDING = Phase(
        "ENDING",
        {
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
            BackendMessage.READY_FOR_QUERY: on_prepared,
        },
    )
    PHASES = (
        Preparing.PARSING,
        Preparing.DESCRIBING_PARAMETERS,
        Preparing.DESCRIBING_COLUMNS,
        *LookingUp.LOOKUP_PHASES,
        ENDING,
    )
