"""What a session must forget between two leases, and how it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost
from pgwire.protocol.decoder import skip_rows
from pgwire.protocol.messages import BackendMessage, TransactionStatus
from pgwire.protocol.operation import Phase
from pgwire.protocol.simple import SimpleQuery

if TYPE_CHECKING:
    from pgwire.protocol.session import Session

# Everything that DISCARD ALL does, but for the prepared statements, which stay; and in one
# Query message, which DISCARD ALL itself may not share.
RESET = (
    "CLOSE ALL; UNLISTEN *; RESET SESSION AUTHORIZATION; RESET ALL; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)


class Clean(SimpleQuery):
    """Makes a session as good as new; written at release, its replies are read later.

    It never waits, so whatever is submitted next follows in the same stream. Where cleaning
    fails nobody may go on with this session: it fails.
    """

    kind = None
    is_brief = True
    has_effects = False

    def begin(self, session: Session) -> bool:
        super().begin(session)
        self.abandoned = True  # it is nobody's: who waits behind it need not wait for ever
        # Said in advance: whoever comes next finds a session without a past.
        session.transaction_status = TransactionStatus.IDLE
        session.changed = False
        if self.sql.endswith(RESET):
            session.unregister()
        return False

    def on_rows(self, buffer: bytes, position: int, size: int) -> int:
        # What cleaning returns is of no interest, and no decoder may spoil it.
        return skip_rows(len(self._columns), buffer, position, size)

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        session = self.session
        super().on_ready(buffer, start, end)
        session.events.clear()  # the last lease's notices and notifications
        idle = session.transaction_status is TransactionStatus.IDLE
        if self.error is not None or not idle:
            lost = ConnectionLost("the session could not be cleaned after its last lease")
            lost.__cause__ = self.error
            session.fail(lost)

    RUNNING = Phase(
        "RUNNING", {**SimpleQuery.RUNNING.handlers, BackendMessage.READY_FOR_QUERY: on_ready}
    )
    FAILED = Phase(
        "FAILED", {**SimpleQuery.FAILED.handlers, BackendMessage.READY_FOR_QUERY: on_ready}
    )
    COPYING_BOTH = Phase(
        "COPYING_BOTH",
        {**SimpleQuery.COPYING_BOTH.handlers, BackendMessage.READY_FOR_QUERY: on_ready},
    )
    PHASES = (RUNNING, SimpleQuery.FETCHING, SimpleQuery.COPYING_OUT, COPYING_BOTH, FAILED)


def cleaning(session: Session, reset: bool | None = None) -> Clean | None:
    """What makes the session fit for another lease; None where it is.

    `reset` is None for a full reset where a statement may have changed the session, True
    for always, False for never. An open transaction is rolled back in any case.
    """
    if reset is None:
        reset = session.changed
    if session.transaction_status is TransactionStatus.IDLE:
        return Clean(RESET) if reset else None
    return Clean(f"ROLLBACK; {RESET}" if reset else "ROLLBACK")
