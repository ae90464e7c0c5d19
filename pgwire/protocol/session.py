"""Session: one connection's conversation with the server, without any I/O.

Four verbs: `submit(operation)`, `receive_data(bytes)`, `receive_eof()` go in;
`data_to_send()` (and `take_completed()`) come out. Nothing waits, nothing raises for what a
server does: a violation *fails* the session, that is, `failure` is set once, every pending
operation completes with an error, and the shell closes the socket.

Two queues. `pending` is the order of reading: replies belong to its head, and a
ReadyForQuery moves on to the next. `_unsent` is the order of writing: operations that wait
for the floor, because the one before them has not written its Sync yet.

The caller's duties: after `submit` and `receive_data`, write `data_to_send()`; when
`events` is not empty, deliver what it holds, after the batch and outside of any lock.

The loop over messages in `_receive_messages` is the only one. A run of DataRow messages is handed
to the operation in one call, and so is an answer that is as usual (`Phase.take_usual`); rows never
become objects of their own. What has arrived in part waits in `_chunks`, to be joined once.
"""

from __future__ import annotations

import re
from collections import deque
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost, Error, InterfaceError, PostgresError, ProtocolError
from pgwire.pgtypes.registration import Registration, Registrations
from pgwire.protocol import backend
from pgwire.protocol.events import Events, ParameterChange, Reported
from pgwire.protocol.fences import QUERY_CANCELED, Fencing
from pgwire.protocol.floor import Floor
from pgwire.protocol.losing import lost_at_head, lost_behind, untraced
from pgwire.protocol.messages import BackendKeyData, BackendMessage, TransactionStatus, message_name
from pgwire.protocol.operation import Idle
from pgwire.protocol.statement import StatementCache
from pgwire.sqlstate import mixed_in, postgres_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.operation import Operation

_unpack_header = Struct("!Bi").unpack_from
_HEADER = 5
_DATA_ROW = int(BackendMessage.DATA_ROW)
_SHORTEST_ROW = 6  # the length word and the number of columns
# An attribute of an enumeration costs ten times as much to read as a name of the module.
_IDLE = TransactionStatus.IDLE


class Session(Fencing, Floor):
    """See the module. All attributes are for reading, but for those of its operations."""

    is_for_replication = False  # only the simple protocol is spoken there

    def __init__(
        self,
        registry: TypeRegistry,
        *,
        statement_cache_size: int = 256,
        prepare: bool = True,
        zone_of: Callable[[str], tzinfo] | None = None,
    ) -> None:
        self.registry = registry
        self._given_registry = self._shared_registry = registry
        # Where datetimes are to come in the session's own time zone: see `set_parameter`.
        self._zone_of = zone_of
        self.statements = StatementCache(statement_cache_size if prepare else 0)
        # Behind a pooler nothing is written before all that was asked has been answered: at a
        # ReadyForQuery the server may get another client, whatever stands behind the Sync.
        self.is_pooled = not prepare
        self.transaction_status = TransactionStatus.IDLE
        self.parameters = Reported()
        self.backend_key: BackendKeyData | None = None
        self.failure: Error | None = None
        # True once a statement may have changed the session's settings or objects.
        self.changed = False
        self.pending: deque[Operation] = deque()
        self.events = Events()
        self._unsent: deque[Operation] = deque()
        self.floor: Operation | None = None  # who has more to write than is written
        self.out: list[bytes] = []  # what operations have written, to be sent
        self.completed: deque[Operation] = deque()  # those with a waiter: see `take_completed`
        # Whether what was submitted together may be carried out in another order: where each
        # operation is somebody else's, as on a shared connection of a pool.
        self.unordered = False
        self._idle = Idle(self)
        self._chunks: list[bytes] = []
        self._have = self._need = 0

    def __repr__(self) -> str:
        state = f"failed: {self.failure!r}" if self.failure else self.transaction_status.name
        return (
            f"<Session {state} pending={list(self.pending)!r} unsent={len(self._unsent)} "
            f"buffered={self._have}>"
        )

    # ---------------------------------------------------------------- what goes in

    def submit(self, operation: Operation) -> None:
        """Queue an operation; its first messages are written as soon as it has the floor."""
        self.pending.append(operation)
        if self.floor is not None:
            if self.floor.holds:
                self.pending.pop()
                operation.error = InterfaceError(HELD)
                self._finish(operation)
            else:
                self._unsent.append(operation)
        elif self.failure is None:
            self._give_floor(operation)
        else:
            operation.error = untraced(self.failure)
            self._finish(operation)
            self.pending.clear()

    def receive_data(self, data: bytes) -> None:
        """Take what the server sent, cut anywhere."""
        if self.failure is not None:
            return
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        size = len(data)
        try:
            operation = self.pending[0] if self.pending else self._idle
            take_usual = operation.phase.take_usual
            position = take_usual(operation, data, 0, size)
            while position < size and operation.done:  # and so may be the next
                operation = self.pending[0] if self.pending else self._idle
                take_usual = operation.phase.take_usual
                position = take_usual(operation, data, position, size)
            if position < size:
                position = self._receive_messages(data, position)
                if position < size:
                    self._have = size - position
                    self._chunks.append(data[position:])
        except Error as error:
            self.fail(error)

    def _receive_messages(self, data: bytes, position: int) -> int:
        """Handle every complete message; return where the incomplete rest begins."""
        pending = self.pending
        operation = pending[0] if pending else self._idle
        size = len(data)
        while size - position >= _HEADER:
            code, length = _unpack_header(data, position)
            phase = operation.phase
            handler = phase.handlers.get(code)
            if handler is None and not self._is_asynchronous(operation, code):
                raise self.unexpected(operation, code)
            if not 4 <= length <= operation.usual_length:
                operation.check_length(code, length)
            end = position + 1 + length
            if end > size:
                self._need = 1 + length
                return position
            if code == _DATA_ROW:
                if length < _SHORTEST_ROW:  # a decoder could not even read its head
                    raise backend.malformed("DATA_ROW")
                position = operation.on_rows(data, position, size)
                continue
            if handler is not None:
                handler(operation, data, position + _HEADER, end)
            else:
                self.receive_asynchronous(code, data, position + _HEADER, end)
            if self.failure is not None:
                return size  # whatever follows a farewell is of no interest
            position = end
            if operation.done or (pending and pending[0] is not operation):  # or was put back
                operation = pending[0] if pending else self._idle
            elif operation.phase is phase:
                continue
            position = operation.phase.take_usual(operation, data, position, size)
            while operation.done:  # an answer was taken as a whole, and so may be the next
                operation = pending[0] if pending else self._idle
                position = operation.phase.take_usual(operation, data, position, size)
        self._need = _HEADER
        return position

    def receive_eof(self) -> None:
        """The server has closed its side. May be called more than once."""
        how = "in the middle of a message" if self._chunks else "unexpectedly"
        self.fail(ConnectionLost(f"the server closed the connection {how}"))

    def fail(self, error: Error) -> None:
        """Nothing more can be said on this connection; `error` is why. Only the first counts."""
        if self.failure is not None:
            return
        self.failure = kept = untraced(error)
        if isinstance(error, ConnectionLost):
            # Whoever answers next at this address may be another server, with other types.
            self.registry.catalog.forget()
        self._chunks.clear()
        self._have = 0
        self.out.clear()
        self.floor = None
        written = len(self.pending) - len(self._unsent)  # the others come last
        self._unsent.clear()
        for place, operation in enumerate(self.pending):
            if operation.error is None and not place:
                operation.error = lost_at_head(operation, error)
            elif operation.error is None:
                operation.error = lost_behind(operation, kept, written=place < written)
            self._finish(operation)
        self.pending.clear()
        self.events.session_failed()
        del self._idle.session  # else they hold each other until the garbage collector comes

    # ---------------------------------------------------------------- what comes out

    def data_to_send(self, more: bool = True) -> bytes:
        """What is to be written now; empty when nothing is.

        An operation that takes its data from elsewhere is asked for the next of it. A shell
        that has not written all of the last yet says `more=False`.
        """
        if more and self.floor is not None:
            self.floor.write_more()
        out = self.out
        if len(out) == 1:
            return out.pop()
        data = b"".join(out)
        out.clear()
        return data

    def take_completed(self) -> list[Operation]:
        """The operations with a waiter that have been completed since the last call."""
        completed = list(self.completed)
        self.completed.clear()
        return completed

    @property
    def server_version(self) -> int:
        """The server's version as a number: 180006 for 18.6. 0 if the server did not say."""
        text = self.parameters.get("server_version", "")
        numbers = re.match(r"(\d+)(?:\.(\d+))?", text, re.ASCII)  # "19beta1" is 190000
        return int(numbers[1]) * 10_000 + int(numbers[2] or 0) if numbers else 0

    @property
    def in_step(self) -> bool:
        """Whether nothing is under way: no reply outstanding, no message cut in half."""
        return not (self.failure or self.pending or self._chunks or self.out)

    def is_spotless(self) -> bool:
        """Whether it is good, and as it was when it began: nothing under way, nothing changed."""
        return not (
            self.pending
            or self.changed
            or self.transaction_status is not _IDLE
            or self.out
            or self._chunks
            or self.failure
        )

    # ---------------------------------------------------------------- for operations

    def write(self, data: bytes) -> None:
        self.out.append(data)

    def complete(self, operation: Operation) -> None:
        """The head of `pending` has had its ReadyForQuery."""
        del self.pending[0]  # no call: behind one Ctrl-C might strike, and it would be lost
        operation.done = True
        if operation.waiter is not None:
            self.completed.append(operation)
        if self.floor is operation:
            self.pass_floor()

    def read_error(self, buffer: bytes, start: int, end: int) -> PostgresError:
        """An ErrorResponse as an exception. A fatal one fails the session as well."""
        error = postgres_error(backend.parse_fields(buffer, start, end))
        if error.sqlstate == QUERY_CANCELED and self.pending:
            self.judge_cancel(error)
        if error.severity in ("FATAL", "PANIC"):
            self.fail(mixed_in(ConnectionLost, error))
        return error

    def note_command(self, tag: str) -> None:
        """A command has completed; some of them have an effect on what we remember."""
        if tag in FORGETTING:
            self.statements.forget_all()

    @staticmethod
    def unexpected(operation: Operation, code: int) -> ProtocolError:
        return ProtocolError(
            f"{message_name(code)} not expected by {type(operation).__name__} "
            f"in phase {operation.phase.name}"
        )

    # ---------------------------------------------------------------- messages of any moment

    @staticmethod
    def _is_asynchronous(operation: Operation, code: int) -> bool:
        return operation.takes_asynchronous_messages and code in _ASYNCHRONOUS

    def receive_asynchronous(self, code: int, data: bytes, start: int, end: int) -> None:
        if code == BackendMessage.NOTICE_RESPONSE:
            fields = backend.parse_fields(data, start, end, "NOTICE_RESPONSE")
            self.events.add(postgres_error(fields), end - start)
        elif code == BackendMessage.NOTIFICATION_RESPONSE:
            self.events.notified(backend.parse_notification(data, start, end), end - start)
        else:
            name, value = backend.parse_parameter_status(data, start, end)
            self.events.add(ParameterChange(name, value), len(name) + len(value))
            self.set_parameter(name, value)

    def set_parameter(self, name: str, value: str) -> None:
        """The server reports one of its settings."""
        self.parameters.report(name, value)
        if name == "client_encoding" and value != "UTF8":
            self.fail(
                InterfaceError(
                    f"client_encoding was set to {value!r}, but pgwire speaks UTF8 only: "
                    "the connection has been closed"
                )
            )
        elif name == "TimeZone" and self._zone_of is not None:
            own = self.registry.registrations
            is_shared = own is self._shared_registry.registrations
            # Of the first one always: a variant keeps alive what it is a variant of.
            make = partial(self._given_registry.variant, timezone=self._zone_of(value))
            self._shared_registry = make()
            self.registry = self._shared_registry if is_shared else make(registrations=own)

    # ---------------------------------------------------------------- types

    def register(self, name: str, registration: Registration) -> None:
        """See to a type otherwise on this session; undone when it is reset."""
        if self.registry.registrations is self._shared_registry.registrations:
            own = Registrations(self._shared_registry.registrations)
            self.registry = self.registry.variant(registrations=own)
        self.registry.registrations.add(name, registration)
        self.changed = True

    def unregister(self) -> None:
        """Forget what was registered on this session."""
        if self.registry.registrations is not self._shared_registry.registrations:
            self.registry = self._shared_registry


HELD = (
    "this connection is held by an open iteration over what the server sends: take all of it, or "
    "leave its block, before anything else is done here"
)

# The tags of commands after which the server knows no prepared statement any more.
FORGETTING = frozenset({"DEALLOCATE ALL", "DISCARD ALL"})

_ASYNCHRONOUS = frozenset(
    {
        int(BackendMessage.NOTICE_RESPONSE),
        int(BackendMessage.NOTIFICATION_RESPONSE),
        int(BackendMessage.PARAMETER_STATUS),
    }
)
