"""Fetch and ClosePortal: the steps of a stream inside of a transaction (see `streaming`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError
from pgwire.protocol import backend, frontend
from pgwire.protocol.looking_up import LookingUp
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase, expect_empty
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.reading import Reading

if TYPE_CHECKING:
    from pgwire.errors import PostgresError
    from pgwire.protocol.session import Session
    from pgwire.protocol.streaming import Streaming

_NO_SUCH_PORTAL = "34000"

check_suspended = expect_empty("PORTAL_SUSPENDED")
_check_closed = expect_empty("CLOSE_COMPLETE")


class Fetch(LookingUp):
    """The next batch of a stream inside of a transaction; it goes to the stream's batches."""

    command_tag = ""

    def __init__(self, stream: Streaming) -> None:
        self.stream = stream
        self._columns = stream._columns
        self._rows = []
        if stream.meter is not None:
            stream.meter.watch(self)

    def begin(self, session: Session) -> bool:
        stream = self.stream
        statement = stream.statement
        assert statement is not None
        if not statement.is_generated:
            statement.generate()
        self.session = session
        self._decode = statement.decode_rows
        session.write(frontend.execute(stream.portal, stream.fetch_size) + frontend.SYNC)
        self.phase = self.FETCHING
        return statement.is_open  # types in the rows may have to be looked up

    def abandon(self) -> None:
        super().abandon()
        self.stream.is_exhausted = True  # nobody will have these rows, nor what is behind them

    def on_suspended(self, buffer: bytes, start: int, end: int) -> None:
        check_suspended(buffer, start, end)
        self.phase = self.ENDING

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        self.command_tag = backend.parse_command_tag(buffer, start, end)
        self.stream.is_exhausted = True
        self.phase = self.ENDING

    def on_fetch_error(self, buffer: bytes, start: int, end: int) -> None:
        self.on_error(buffer, start, end)
        self.phase = self.ENDING

    def note_error(self, error: PostgresError) -> None:
        self.stream.is_exhausted = True  # the transaction has failed
        if error.sqlstate == _NO_SUCH_PORTAL:
            self.prefer_errors()
            self.error = InterfaceError(
                "the transaction that the stream was begun in has ended, and the stream with it"
            )
        else:
            error.query = self.stream.sql
            super().note_error(error)

    def on_fetched(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        self.finish()

    def finish(self) -> None:
        if self.error is not None and self._raw is not None and self.look_up_late():
            return
        if self.error is None and not self.abandoned and self._rows:
            self.stream.keep(self._rows)
        self.session.complete(self)
        if self.stream.is_exhausted:
            self.stream.close_portal()

    FETCHING = Phase(
        "FETCHING",
        {
            BackendMessage.DATA_ROW: Reading.on_rows,
            BackendMessage.PORTAL_SUSPENDED: on_suspended,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_fetch_error,
        },
    )
    ENDING = Phase(
        "ENDING",
        {
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
            BackendMessage.READY_FOR_QUERY: on_fetched,
        },
    )
    PHASES = (FETCHING, ENDING, *LookingUp.LOOKUP_PHASES)


class ClosePortal(Operation):
    """Close a portal at once, in a transaction that goes on."""

    has_effects = False

    def __init__(self, portal: bytes) -> None:
        self._portal = portal

    def begin(self, session: Session) -> bool:
        self.session = session
        session.write(frontend.close_portal(self._portal) + frontend.SYNC)
        self.phase = self.CLOSING
        return False

    def on_closed(self, buffer: bytes, start: int, end: int) -> None:
        _check_closed(buffer, start, end)
        self.phase = self.ENDING

    CLOSING = Phase(
        "CLOSING",
        {
            BackendMessage.CLOSE_COMPLETE: on_closed,
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
        },
    )
    ENDING = Preparing.ENDING
    PHASES = (CLOSING, ENDING)
