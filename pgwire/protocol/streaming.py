"""Streaming: rows through a portal, some at a time (manual: "Extended Query").

Outside of a transaction a portal lives until the next Sync, so there is none before the end, and
the operation holds the session. Some rows are asked for ahead of those that are being used:

    Bind Execute Flush    →  BindComplete DataRow… PortalSuspended
    Execute Flush         →  DataRow… PortalSuspended
    Execute Flush         →  DataRow… CommandComplete
    Sync                  →  ReadyForQuery

Inside of one it lives as long as that, and each step is an operation of its own (`Streaming`, then
`Fetch` again and again), so that others may come in between. Which of the two it is, the answers
before it tell: where some are outstanding it waits for them first.

What has come waits in `batches`. Who leaves early has the Sync sent; rows that were asked for
ahead are skipped.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pgwire.errors import ProgrammingError
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.protocol import backend, frontend
from pgwire.protocol.callables import no_end
from pgwire.protocol.fetching import ClosePortal, Fetch, check_suspended
from pgwire.protocol.looking_up import LookingUp
from pgwire.protocol.mapping import check_row, mapping
from pgwire.protocol.messages import BackendMessage, TransactionStatus
from pgwire.protocol.operation import Phase
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.progress import BatchMeter
from pgwire.protocol.query import Query
from pgwire.protocol.reading import Reading, check_empty_query
from pgwire.protocol.rows import Result
from pgwire.protocol.session import FORGETTING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.errors import PostgresError
    from pgwire.protocol.messages import Column
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.session import Session
    from pgwire.protocol.statement import Statement

_MOST = 2**31 - 1
_AHEAD = 2  # batches that wait to be taken, at most


class Streaming(Query):
    """A query whose rows are taken in batches; done when no more will come by itself.

    `listener` is called whenever there may be something to take, or it is over. Inside of a
    transaction `fetch` gives the operation that brings the next batch, until `is_exhausted`.
    """

    kind = "stream"
    ends_soon = True
    is_full = False  # two batches are no reason to stop reading
    is_exhausted = False
    listener: Callable[[], object] | None = None
    _is_held = False  # its transaction is its own
    _is_synced = False
    _has_delivered = False
    portal = b""
    row_count = 0  # of what has come
    _made = 0  # of these, those that have the shape that was asked for
    last_fetch: Fetch | None = None  # where it is observed
    meter: BatchMeter | None = None

    def __init__(
        self,
        sql: str,
        params: Sequence[Any] = (),
        statement: Statement | None = None,
        *,
        fetch_size: int = 1000,
        progress: ProgressCallback | None = None,
        row: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(sql, params, statement, row)
        if progress is not None:
            self.meter = BatchMeter(progress)
            self.meter.watch(self)
        if type(fetch_size) is not int or not 1 <= fetch_size <= _MOST:
            raise ProgrammingError(
                f"fetch_size is {fetch_size!r}; it must be an int from 1 to {_MOST}"
            )
        self.fetch_size = fetch_size
        self.batches: deque[list[tuple[Any, ...]]] = deque()

    # ---------------------------------------------------------------- what the shells do

    @property
    def is_ready(self) -> bool:
        """Whether there are rows to be taken."""
        return bool(self.batches)

    @property
    def columns(self) -> tuple[Column, ...] | None:
        """The columns of the rows; None as long as they are not known."""
        return None if self.statement is None else self.statement.columns

    @property
    def lives_on(self) -> bool:
        """Whether more can be fetched: it is done, and its portal is not."""
        return self.done and not self._is_held and not self.is_exhausted and self.error is None

    def take(self) -> list[tuple[Any, ...]]:
        """The batch that came first, for `make_rows`. What this has the session write must be sent.

        There are none where another thread has closed the connection meanwhile.
        """
        try:
            tuples = self.batches.popleft()
        except IndexError:
            return []
        if self.meter is not None:
            self.meter.take(len(tuples))
        if self.phase is self.WAITING and not self.done:
            self._fetch_ahead()
        return tuples

    def make_rows(self, tuples: list[tuple[Any, ...]]) -> list[Any]:
        """The rows of a batch. Raises what the user's class, or function, for them raises."""
        if self._row is None:
            return Result(tuples, self._columns, "", self._row_class).rows
        try:
            rows = mapping(self._row, self._row_class._names)(tuples)
        except Exception as error:
            told = no_end(error)
            with suppress(Exception):  # of an exception that takes no notes
                told.add_note(f"of a batch behind {self._made} rows")
            raise told  # noqa: B904 (its cause is set)
        self._made += len(rows)
        return rows

    def tell_progress(self) -> None:
        """Rows have been taken: tell who wants to know. What that raises comes through."""
        if self.meter is not None:
            self.meter.tell(self.meter.rows)

    def tell_end(self) -> None:
        """The same when all have been taken, and there are no more."""
        if self.error is None and not self.abandoned:
            self.tell_progress()

    def fetch(self) -> Fetch:
        """What brings the next batch, where it `lives_on`."""
        return Fetch(self)

    def close_portal(self) -> None:
        """Nobody wants more of it: the portal is closed with whatever flight comes next."""
        self.is_exhausted = True
        if self.done and not self._is_held and (portal := self._take_portal()):
            self.session.statements.closing.append(b"\0" + portal)

    def leave(self) -> ClosePortal | None:
        """Nobody wants more of it: what closes the portal at once, if it is still there."""
        if not self.lives_on:
            return None
        self.is_exhausted = True
        portal = self._take_portal()
        is_over = self.session.transaction_status is TransactionStatus.IDLE
        return None if is_over else ClosePortal(portal)

    def _take_portal(self) -> bytes:
        """The portal's name, for whoever closes it; empty if it is closed already."""
        portal, self.portal = self.portal, b""
        return portal

    def abandon(self) -> None:
        super().abandon()
        self.holds = False
        self.batches.clear()
        phase = getattr(self, "phase", None)  # Ctrl-C may have struck before it had one
        if self._is_held and not self._is_synced and not self.done:
            if phase is self.WAITING:
                self._sync(self.ENDING)
            elif phase is self.BINDING or phase is self.EXECUTING:
                self._sync(phase)
        self._tell()

    # ---------------------------------------------------------------- how it begins

    def begin(self, session: Session) -> bool:
        self.session = session
        if session.waits_for_answers(self):  # they say whether a transaction is open
            return True
        self.holds = self._is_held = session.transaction_status is TransactionStatus.IDLE
        return super().begin(session) or self._is_held

    def _execute(self, session: Session, statement: Statement) -> None:
        if self._row is not None:
            check_row(self._row, statement.row_class._names)
        bind = statement.bind(self._params)  # of the unnamed portal
        self.session = session
        self.statement = statement
        self.portal = session.statements.new_name()
        self.holds, self._is_synced = self._is_held, False
        statement.used = True
        if statement.changes_session:
            session.changed = True
        if self.meter is not None:
            self.meter.begin()
        end = frontend.FLUSH if self._is_held else frontend.SYNC
        session.write(
            self._close_messages(session)
            + frontend.bind(self.portal + bind[6:])
            + frontend.execute(self.portal, self.fetch_size)
            + end
        )
        self._columns = statement.columns
        self._decode = statement.decode_rows
        self._row_class = statement.row_class
        self.phase = self.BINDING

    # ---------------------------------------------------------------- how it goes on

    def on_suspended(self, buffer: bytes, start: int, end: int) -> None:
        check_suspended(buffer, start, end)
        if not self._is_held:
            self.phase = self.COMPLETE
        else:
            self._end_batch(self._go_on_ahead)

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        self.command_tag = backend.parse_command_tag(buffer, start, end)
        self._end()

    def on_empty(self, buffer: bytes, start: int, end: int) -> None:
        check_empty_query(buffer, start, end)
        self._end()

    def _end(self) -> None:
        if self._is_held:
            self._end_batch(self._end_held)
        else:
            self.is_exhausted = True
            self.phase = self.COMPLETE

    def _end_batch(self, then: Callable[[], None]) -> None:
        """All rows of a batch are here, but types in them may have to be looked up."""
        error = self.error
        if self.abandoned:
            self._sync(self.ENDING)
        elif error is None:
            self._keep_batch()
            then()
        elif isinstance(error, UnknownTypes) and not error.oids <= self._asked:
            self._unknown, self.error = error, None
            self.look_up(error.oids, partial(self._read_again, then), late=False)
        else:
            self._raw = None  # it is an error, and nothing comes behind it
            self._sync(self.ENDING)

    def _read_again(self, then: Callable[[], None]) -> None:
        raw, self._raw = self._raw, None
        if raw is not None and self.error is None:
            self._read_late(raw)
        self._end_batch(then)

    def _keep_batch(self) -> None:
        if self._rows:
            self.keep(self._rows)
            self._rows = []
            self._has_delivered = True
            self._tell()

    def keep(self, rows: list[tuple[Any, ...]]) -> None:
        """A batch has come, and waits to be taken."""
        self.batches.append(rows)
        self.row_count += len(rows)
        if self.meter is not None:
            self.meter.keep()

    def _go_on_ahead(self) -> None:
        statement = self.statement
        assert statement is not None
        if not statement.is_generated:  # there are many rows
            statement.generate()
            self._decode = statement.decode_rows
        self.phase = self.WAITING
        if len(self.batches) < _AHEAD:
            self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        self.session.write(frontend.execute(self.portal, self.fetch_size) + frontend.FLUSH)
        self.phase = self.EXECUTING

    def _end_held(self) -> None:
        self.is_exhausted = True
        self._sync(self.COMPLETE)

    def _sync(self, phase: Phase) -> None:
        """Write the Sync, once, and be in this phase: whoever waits may go on."""
        self.phase = phase
        if not self._is_synced:
            self._is_synced = True
            self.holds = False
            self.session.write(frontend.SYNC)
            self.session.pass_floor()

    def finish(self) -> None:
        """ReadyForQuery. Inside of a transaction types in the rows are looked up only now."""
        session = self.session
        if self.error is not None and self._raw is not None and self.look_up_late():
            return
        if self.error is None and not self.abandoned:
            self._keep_batch()
        if self.command_tag in FORGETTING:
            session.note_command(self.command_tag)
        session.complete(self)
        if self.abandoned or self.is_exhausted:
            self.close_portal()
        self._tell()

    def _tell(self) -> None:
        if self.listener is not None:
            self.listener()

    # ---------------------------------------------------------------- errors

    def _is_struck(self, error: PostgresError) -> bool:
        return not self._has_delivered and super()._is_struck(error)

    def parse_failed(self, error: PostgresError) -> None:
        self.holds, self._is_synced = False, True
        super().parse_failed(error)

    def on_bind_error(self, buffer: bytes, start: int, end: int) -> None:
        super().on_bind_error(buffer, start, end)
        self._failed()

    def on_execute_error(self, buffer: bytes, start: int, end: int) -> None:
        super().on_execute_error(buffer, start, end)
        self._failed()

    def _failed(self) -> None:
        """The server skips everything up to our Sync."""
        if self._is_held and not self.done:
            self._sync(self.phase)

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        super().on_copy_in(buffer, start, end)  # with a Sync
        if self._is_held and not self._is_synced:
            self._is_synced, self.holds = True, False
            self.session.pass_floor()

    def on_copied(self, buffer: bytes, start: int, end: int) -> None:
        self.command_tag = backend.parse_command_tag(buffer, start, end)
        self.is_exhausted = True
        self.phase = self.COMPLETE
        self._failed()

    BINDING = Phase(
        "BINDING",
        {
            BackendMessage.CLOSE_COMPLETE: Preparing.on_closed,
            BackendMessage.BIND_COMPLETE: Query.on_bound,
            BackendMessage.ERROR_RESPONSE: on_bind_error,
        },
    )
    EXECUTING = Phase(
        "EXECUTING",
        {
            BackendMessage.DATA_ROW: Reading.on_rows,
            BackendMessage.PORTAL_SUSPENDED: on_suspended,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.EMPTY_QUERY_RESPONSE: on_empty,
            BackendMessage.COPY_IN_RESPONSE: on_copy_in,
            BackendMessage.COPY_OUT_RESPONSE: Query.on_copy_out,
            BackendMessage.ERROR_RESPONSE: on_execute_error,
        },
    )
    WAITING = Phase("WAITING", {BackendMessage.ERROR_RESPONSE: on_execute_error})
    COPYING_OUT = Phase(
        "COPYING_OUT",
        {
            BackendMessage.COPY_DATA: Reading.on_copy_data,
            BackendMessage.COPY_DONE: Reading.on_copy_done,
            BackendMessage.COMMAND_COMPLETE: on_copied,
            BackendMessage.ERROR_RESPONSE: on_execute_error,
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
        WAITING,
        COPYING_OUT,
        Query.COMPLETE,
        Query.STALE,
        Query.STRUCK,
        Preparing.ENDING,
    )
