"""Operation: one piece of conversation, from its first message up to ReadyForQuery.

An operation is a table: phase → {backend message → handler}. The state of a conversation
*is* the set of messages that may come now; whatever is not in the table of the current
phase is a protocol violation. The same tables give the readable error, the `repr`, the
diagrams in the documentation, and the test that tries every message in every phase.

Contract of an operation, seen from the session:

- `begin(session)` is called once the operation has the floor, i.e. when nobody else may
  write. It writes its first messages and returns False if that includes its Sync. If it has
  more to write once it has read replies, it returns True, *keeps the floor*, and calls
  `session.pass_floor()` as soon as its Sync is written. Were others allowed to write in
  between, the replies would come in another order than the operations stand in the queue.
- Who has to read replies before its Sync is written, or writes it later than the rest, asks
  `session.waits_for_answers` first, before anything is written or changed; where that is so,
  `begin` returns True, and is called once more later.
- Every operation causes exactly one ReadyForQuery, on its error paths too.
- A handler gets the whole buffer and the bounds of one message's body. What it raises must
  be an `Error` and ends the session: `ProtocolError` for a malformed message, or a start-up
  that cannot go on. What spoils nothing but the operation goes into `error`.
- `error` and `result` are final when `done` is true, and not before: a deferred constraint
  fails after CommandComplete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pgwire.errors import ConnectionLost, ProtocolError
from pgwire.protocol.backend import malformed
from pgwire.protocol.messages import (
    LONG_MESSAGES,
    SHORT,
    TRANSACTION_STATUS,
    BackendMessage,
    message_name,
)
from pgwire.sqlstate import mixed_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgwire.errors import PostgresError
    from pgwire.protocol.observing import Asked
    from pgwire.protocol.session import Session

    T = TypeVar("T", bound="Any")
    Handler = Callable[[Any, bytes, int, int], Any]
    TakeUsual = Callable[[Any, bytes, int, int], int]


def _take_nothing(_operation: Operation, _buffer: bytes, position: int, _size: int) -> int:
    return position


class Phase:
    """A named state of an operation, and what may be received in it.

    `take_usual(operation, buffer, position, size)` may take several whole messages at once
    where they are the usual ones, and returns where it stopped. It must do what the table
    does, only faster; the table is the specification, and what a replay byte by byte runs
    through.
    """

    __slots__ = ("handlers", "name", "take_usual")

    def __init__(
        self,
        name: str,
        handlers: Mapping[int, Handler],
        take_usual: TakeUsual = _take_nothing,
    ) -> None:
        self.name = name
        self.take_usual = take_usual
        # Plain ints: the session looks up the byte that it has just read.
        self.handlers = {int(message): handler for message, handler in handlers.items()}

    def __repr__(self) -> str:
        return f"Phase({self.name})"


class Operation:
    PHASES: ClassVar[tuple[Phase, ...]] = ()
    # NoticeResponse, ParameterStatus and NotificationResponse may come at any moment, but
    # for the time before the server has let us in (see Startup).
    takes_asynchronous_messages = True
    # Better done than canceled, even before it has begun: it takes no time, and what it ends
    # should not be left half done.
    is_brief = False
    # Whether it matters if the server has carried it out, where its answer was lost.
    has_effects = True
    # Nobody writes behind it until it is answered.
    is_fence = False
    requests = 0  # for cancel, see `simple.Fence`
    # Once it is abandoned, what has not come yet is little: no cancel request is worth it.
    ends_soon = False
    # Once it is abandoned it asks the server for the end itself, and a cancel request does harm.
    ends_by_itself = False
    # As long as it has the floor nobody else may ask for anything: it waits for its caller, who
    # would wait for ever (see `Session.submit`).
    holds = False
    # Lengths up to this one are taken as they come, others are looked at (`check_length`).
    usual_length = SHORT

    session: Session
    phase: Phase
    # What an operation begins with stands here, and not in __init__: one is made per query.
    done = False
    abandoned = False
    error: BaseException | None = None
    result: Any = None
    # Whatever the shell wants to be woken by; operations with one are handed out by
    # `Session.take_completed()`.
    waiter: Any = None

    # For whoever observes (see `observing`). What its caller calls it; None: it is nobody's.
    kind: ClassVar[str | None] = None
    sql: str = ""
    byte_count: int | None = None  # of COPY's data
    asked: Asked | None = None
    told: BaseException | None = None  # what its caller was told when it was given up
    is_left = False  # its caller has had enough of it

    def __repr__(self) -> str:
        if self.done:
            state = "DONE" if self.error is None else f"FAILED: {type(self.error).__name__}"
        else:
            state = self.phase.name if hasattr(self, "phase") else "QUEUED"
        return f"{type(self).__name__}({state}{', abandoned' if self.abandoned else ''})"

    @property
    def values(self) -> Sequence[Any]:
        """The parameters that go with its SQL."""
        return ()

    @property
    def batch_size(self) -> int | None:
        """How many records there were, where it is one statement for many."""
        return None

    @property
    def is_retried(self) -> bool:
        """Whether its statement was stale, and was prepared again."""
        return False

    def begin(self, session: Session) -> bool:
        """Write the first messages; return whether to keep the floor."""
        raise NotImplementedError

    def write_more(self) -> None:
        """Write the next of what is written bit by bit; called while it has the floor."""

    def abandon(self) -> None:
        """Nobody waits for the outcome any more; the conversation still goes on to its end."""
        self.abandoned = True

    def check_length(self, code: int, length: int) -> None:
        """Refuse a length that cannot be right, before memory is taken for the message."""
        if length < 4:
            raise ProtocolError(f"{message_name(code)} with the impossible length {length}")
        if length > SHORT and code not in LONG_MESSAGES:
            raise too_long(code, length)

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        """An ErrorResponse when everything up to the Sync is written already."""
        self.note_error(self.session.read_error(buffer, start, end))

    def note_error(self, error: PostgresError) -> None:
        """Keep the first error: a later one is its consequence."""
        if self.error is None:
            self.error = error

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        """ReadyForQuery: the outcome is final."""
        self.take_status(buffer, start, end)
        self.session.complete(self)

    def take_status(self, buffer: bytes, start: int, end: int) -> None:
        """Note the transaction status in a ReadyForQuery, which has nothing else."""
        status = TRANSACTION_STATUS.get(buffer[start]) if end - start == 1 else None
        if status is None:
            raise malformed("READY_FOR_QUERY")
        self.session.transaction_status = status

    def on_rows(self, buffer: bytes, position: int, size: int) -> int:
        """A run of DataRow messages that begins at `position`; return where it ends."""
        raise NotImplementedError


def laid_out(*attributes: str) -> Callable[[type[T]], type[T]]:
    """Have objects of a class keep these attributes side by side, whatever the first ones do.

    CPython learns from the first 30 objects of a class what they have. Were so many made before
    one of them is answered, it would give each a dict of its own, for ever: 4 % of a query.
    """

    def lay_out(kind: type[T]) -> type[T]:
        operation = kind("")
        for attribute in attributes:
            setattr(operation, attribute, None)
        return kind

    return lay_out


class Idle(Operation):
    """Stands at the head while nothing is pending: only the server may speak then.

    It has its session until that fails.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.phase = self.IDLE

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        # An error that answers nothing is the server's farewell, whatever its severity says.
        session = self.session
        error = session.read_error(buffer, start, end)
        session.fail(mixed_in(ConnectionLost, error))

    IDLE = Phase("IDLE", {BackendMessage.ERROR_RESPONSE: on_error})
    PHASES = (IDLE,)


def too_long(code: int, length: int) -> ProtocolError:
    return ProtocolError(f"{message_name(code)} of {length:,} bytes is longer than it can be")


def expect_empty(name: str) -> Callable[[bytes, int, int], None]:
    """A check for messages that have no body."""

    def check(_buffer: bytes, start: int, end: int) -> None:
        if start != end:
            raise malformed(name)

    return check
