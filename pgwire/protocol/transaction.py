"""Transactions: the SQL that begins, nests and ends them, and the rules of nesting.

`TransactionBlock` is the core of `conn.transaction()`: it says what to send and judges what
came back; the shells send it. Blocks nest as savepoints, and a transaction that was begun by
hand counts as the outermost one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError, ProgrammingError, ProtocolError
from pgwire.protocol.messages import TransactionStatus
from pgwire.sqlstate import InFailedSqlTransaction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from pgwire.errors import PostgresError
    from pgwire.protocol.rows import Result

    IsolationLevel = Literal[
        "read uncommitted", "read committed", "repeatable read", "serializable"
    ]

# A block has been left while another inside it is open: nobody can tell what belongs to which.
INTERLEAVED = (
    "this transaction ends before one that was begun inside it has: nothing is committed, and the "
    "connection is closed; tasks and threads with transactions at the same time need connections "
    "of their own, as a pool has them"
)
# Nobody waits any more for the BEGIN of a block inside of which others are open.
GIVEN_UP = (
    "the connection is closed: a transaction was given up before it had begun, but others had "
    "begun theirs inside of it; tasks and threads with transactions at the same time need "
    "connections of their own, as a pool has them"
)
ISOLATION_LEVELS = ("read uncommitted", "read committed", "repeatable read", "serializable")


def begin_statement(
    isolation: str | None = None,
    read_only: bool | None = None,
    deferrable: bool | None = None,
) -> str:
    """BEGIN with its modes; None leaves a mode to the server's settings."""
    modes = []
    for name, given in (("read_only", read_only), ("deferrable", deferrable)):
        if given is not None and not isinstance(given, bool):
            raise ProgrammingError(f"{name} must be True, False or None, not {given!r}")
    if isolation is not None:
        if isolation not in ISOLATION_LEVELS:
            raise ProgrammingError(
                f"isolation must be one of {', '.join(map(repr, ISOLATION_LEVELS))}, "
                f"not {isolation!r}"
            )
        modes.append(f"ISOLATION LEVEL {isolation.upper()}")
    if read_only is not None:
        modes.append("READ ONLY" if read_only else "READ WRITE")
    if deferrable is not None:
        modes.append("DEFERRABLE" if deferrable else "NOT DEFERRABLE")
    return " ".join(["BEGIN", *([", ".join(modes)] if modes else [])])


def can_be_repeated(error: PostgresError) -> bool:
    """Whether the same transaction may succeed when it is run again."""
    return error.sqlstate in ("40001", "40P01")


def repeat_delay(attempt: int, jitter: float) -> float:
    """Seconds to wait before the next attempt; `jitter` is random in [0, 1).

    Whoever collided must not come back at the same moment.
    """
    return 0.01 * float(min(2**attempt, 64)) * (0.5 + jitter)


class Blocks(list["TransactionBlock"]):
    """The blocks that are open on a connection, the outermost first; or are about to be.

    Tasks and threads share connections: one may begin while another's BEGIN or COMMIT has not been
    answered yet, and the session's status is not what it will be when its own turn comes.
    """

    unanswered: TransactionBlock | None = None  # the outermost one that has begun or ended last

    def expected(self, status: TransactionStatus) -> TransactionStatus:
        """What the session's status, which is this, will be once all that was sent is answered."""
        block = self.unanswered
        if block is None:
            return status
        if not block.ended:
            return TransactionStatus.IN_TRANSACTION
        if status is TransactionStatus.IDLE:  # answered meanwhile, and nobody waited for that
            self.unanswered = None
        return TransactionStatus.IDLE

    def answered(self, block: TransactionBlock) -> None:
        """How it has begun, or ended, is known; or nobody waits for that any more."""
        if self.unanswered is block:
            self.unanswered = None


class TransactionBlock:
    """One `with conn.transaction()` block.

    `stack` is the connection's; a block is on it from its beginning to its end. Commit and
    rollback are possible once, and only for the innermost block. After what these give has been
    answered, `answered` is to be called.
    """

    __slots__ = ("_begin", "_savepoint", "_stack", "ended")

    def __init__(
        self,
        stack: Blocks,
        isolation: str | None,
        read_only: bool | None,
        deferrable: bool | None,
    ) -> None:
        self._stack = stack
        self._begin = begin_statement(isolation, read_only, deferrable)
        self._savepoint: str | None = None
        self.ended = False

    def begin(self, status: TransactionStatus) -> str:
        """What to send; `status` is the session's. If that fails, call `not_begun`."""
        if self._stack.expected(status) is TransactionStatus.IDLE:
            self._stack.append(self)
            self._stack.unanswered = self
            return self._begin
        if self._begin != "BEGIN":
            raise InterfaceError(
                "isolation, read_only and deferrable belong to the outermost transaction"
            )
        self._savepoint = f"_pgwire_{len(self._stack) + 1}"
        self._stack.append(self)
        return f"SAVEPOINT {self._savepoint}"

    @property
    def is_nested(self) -> bool:
        """Whether it is a savepoint."""
        return self._savepoint is not None

    @property
    def is_innermost(self) -> bool:
        """Whether no other block is open inside it."""
        return self._stack[-1:] == [self]

    def answered(self, _sent: object = None) -> None:
        """What was sent at its beginning, or its end, has been answered."""
        self._stack.answered(self)

    @property
    def bears_others(self) -> bool:
        """Whether it is the outermost one, and others inside of it would be undone with it."""
        return self._savepoint is None and self in self._stack and not self.is_innermost

    def undo_begin(self) -> str | None:
        """What to send where nobody waits any more for `begin`, which was sent; None: nothing.

        A savepoint does no harm: the transaction around it fails, or ends it, and what was begun
        inside of it goes on. Where it `bears_others` the connection is to be closed instead: they
        would go on outside of any transaction.
        """
        self.not_begun()
        if self._savepoint is not None:
            return None
        self._stack.unanswered = self
        return "ROLLBACK"

    def not_begun(self) -> None:
        """It has not begun; what others have begun inside of it is theirs."""
        self.ended = True
        self._stack.answered(self)
        if self in self._stack:
            self._stack.remove(self)

    def commit(self, status: TransactionStatus) -> str:
        """What to send; where the block has failed, the server's answer will say so."""
        is_over = status is TransactionStatus.IDLE and self._stack.unanswered is not self
        self._end("commit")
        if self._savepoint is None:
            if is_over:  # the server would answer with COMMIT and a warning
                self.answered()
                raise _ended_inside()
            return "COMMIT"
        if status is TransactionStatus.IN_FAILED_TRANSACTION:
            return self._undo()  # as COMMIT does by itself: the block around this one goes on
        return f"RELEASE SAVEPOINT {self._savepoint}"

    def rollback(self) -> str:
        self._end("rollback")
        return self._undo()

    def _undo(self) -> str:
        name = self._savepoint
        return "ROLLBACK" if name is None else f"ROLLBACK TO SAVEPOINT {name}; RELEASE {name}"

    def _end(self, verb: str) -> None:
        if self.ended:
            raise InterfaceError(f"{verb}: this transaction has ended already")
        if self not in self._stack:
            raise InterfaceError(f"{verb}: this transaction has not begun")
        if self._stack[-1] is not self:
            raise InterfaceError(f"{verb}: a transaction begun inside this one has not ended")
        self._stack.pop()
        self.ended = True
        if self._savepoint is None:
            self._stack.unanswered = self

    def forget(self) -> None:
        """Its connection is gone: neither it nor what is inside it is open."""
        self.ended = True
        self._stack.answered(self)
        if self in self._stack:
            del self._stack[self._stack.index(self) :]

    @staticmethod
    def check_committed(results: Sequence[Result[Any]], command: str = "COMMIT") -> None:
        """A COMMIT that the server answers with ROLLBACK has committed nothing."""
        if not results:
            raise ProtocolError(f"{command} was answered without a word of what became of it")
        if results[0].command_tag == "ROLLBACK":
            what = f"{command} was answered with ROLLBACK"
            done = "has been committed" if command == "COMMIT" else "has been prepared"
            if len(results) > 1:  # to a savepoint, and released: see `commit`
                what, done = "this nested transaction was rolled back", "of it remains"
            error = InFailedSqlTransaction(
                f"{what}: an error inside the transaction was caught, and nothing {done}"
            )
            error.message = str(error.args[0])
            error.hint = "Let the error leave the block, or put what may fail into a nested one."
            raise error


def _ended_inside() -> InterfaceError:
    return InterfaceError(
        "this transaction has been ended inside of its block, by SQL: what came before that is "
        "committed, or undone, already, and what came after it is committed, each statement by "
        "itself; use commit() or rollback() of the block"
    )
