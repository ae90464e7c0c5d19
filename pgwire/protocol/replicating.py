"""Replicating: the log's changes as they are made (manual: "Streaming Replication Protocol").

    Query START_REPLICATION   →  CopyBothResponse
                                 CopyData: XLogData…
    CopyData: status update   →  CopyData: keepalive, XLogData…
    CopyDone                  →  CopyData… CopyDone CommandComplete… ReadyForQuery

The server sends on without an end, and wants to hear at times how far we are: when it asks, and
every `status_interval` seconds, or else it takes us for dead (wal_sender_timeout). What is told is
what has been *acknowledged*, and no more: the server forgets the log up to there, and begins there
the next time. A keepalive moves it by itself where everything before it has been acknowledged;
else a slot whose tables nobody changes would keep the log of all others for ever.

`types` gives an operation to be run before, as nothing can be asked any more then. This one
has the floor to its end, and holds the session. The shell calls `tick` when `seconds_to_status`
are over, and hands out what `take` gives. Who leaves sends CopyDone; a server in the middle of a
large transaction sends all of that behind its own CopyDone, unless it is asked to cancel. That is
the last resort, as an error makes it drop the temporary slots of the session. After its CopyDone a
server is good for SQL, and not for another replication: it takes that for left already.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from pgwire.errors import ConnectionLost, InterfaceError, OperationalError, ProgrammingError
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol import backend, frontend
from pgwire.protocol.copying import DONE
from pgwire.protocol.logical import ReplicationMessage, end_of
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase
from pgwire.protocol.pgoutput import PgOutput, UnreadableValue
from pgwire.protocol.published import PublishedTypes
from pgwire.protocol.reading import advise, check_copy_done
from pgwire.protocol.walsender import publication_names, start_replication

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.errors import PostgresError
    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.session import Session
    from pgwire.protocol.walsender import ChangeOptions

# Seconds that nobody waits for: no clock and no poll is asked for more.
FOR_EVER = 1_000_000.0
# So much waits to be taken before it is better not to read more.
ENOUGH = 262_144

_EPOCH = 946_684_800  # seconds from Unix's to PostgreSQL's
_DATA, _KEEPALIVE = b"wk"
_data_head = Struct("!BQQq")
_keepalive = Struct("!BQqB")
_status = Struct("!BQQQqB").pack
_STATUS = ord("r")

OVER = "this replication is over, and the server cannot be told any more"
_ENDED = (
    "the server has ended the replication by itself, as PostgreSQL does with the second one on a "
    "connection: connect anew for each"
)


class Replicating(Operation):
    """See the module. `clock` counts seconds, `wall_clock` those since 1970.

    `listener` is called whenever something has come, and when nothing will come any more.
    """

    holds = True
    has_effects = False
    ends_by_itself = True
    has_begun = False  # the server has said that it sends what there is
    listener: Callable[[], object] | None = None

    def __init__(
        self,
        slot: str,
        sql: str,
        start: Lsn,
        publications: Sequence[str] = (),
        *,
        status_interval: float | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        if status_interval is not None and not status_interval > 0:  # nor NaN
            raise ProgrammingError(
                f"status_interval is {status_interval!r}; it must be a number of seconds above 0, "
                "or None"
            )
        self.slot = slot
        self._publications = publications
        self._sql = sql
        is_finite = status_interval is not None and status_interval < FOR_EVER
        self._interval = status_interval if is_finite else None
        self._clock = clock
        self._wall_clock = wall_clock
        self._parse = PgOutput(self._registry).parse
        self._came: deque[ReplicationMessage | Exception] = deque()
        self._came_size = 0
        self.received = start  # up to where the server has sent all there was
        self.acknowledged = start
        self._start = start  # which is not told: it may be from before what the server knows
        self._told = Lsn()  # what the last status update has acknowledged
        self._outstanding = start  # what is to be acknowledged of that which has come
        self._due = 0.0

    def _registry(self) -> TypeRegistry:
        return self.session.registry

    # ---------------------------------------------------------------- what the shells do

    def types(self) -> PublishedTypes:
        """What is to be run before it begins."""
        return PublishedTypes(self._publications)

    @property
    def is_ready(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._came)

    @property
    def is_full(self) -> bool:
        """Whether it would be better not to read more before what has come is taken."""
        return self._came_size >= ENOUGH

    def take(self) -> list[ReplicationMessage]:
        """All that has come, up to what could not be read: that raises, when it is the next."""
        came = self._came
        taken: list[ReplicationMessage] = []
        while came:
            item = came[0]
            if isinstance(item, Exception):
                if taken:
                    return taken
                came.popleft()
                raise item
            taken.append(item)
            came.popleft()
        self._came_size = 0
        return taken

    def acknowledge(self, position: ReplicationMessage | Lsn | int | str) -> None:
        """All up to there has been seen to. The next status update says so.

        What came before the line was lost is handed out, and can be acknowledged like the rest: no
        more than that it may come again is told by the error that follows.
        """
        if self.abandoned:
            raise InterfaceError(OVER)
        if isinstance(position, ReplicationMessage):
            end = end_of(position)
            if end is None:
                raise ProgrammingError(
                    f"{type(position).__name__} is not the end of a transaction: acknowledge that"
                )
        else:
            end = Lsn(position)
        if end > self.received:
            raise ProgrammingError(f"{end} has not been received yet; up to {self.received} has")
        self.acknowledged = max(self.acknowledged, end)

    def seconds_to_status(self) -> float | None:
        """Until `tick` is due; None if it never is."""
        if self._interval is None or not self._is_streaming:
            return None
        return max(0.0, self._due - self._clock())

    def tick(self) -> None:
        """Write a status update if one is due. What this has the session write is to be sent."""
        if self.seconds_to_status() == 0.0:
            self._write_status()

    def tell(self) -> None:
        """Write a status update now, if the server listens."""
        if self._is_streaming:
            self._write_status()

    def explain(self, error: BaseException) -> None:
        """Say with an error that ends it what will come again."""
        error.add_note(
            f"the server was last told that the slot {self.slot!r} is acknowledged up to "
            f"{self._told}: what was committed after that will come again"
        )

    @property
    def _has_more_to_tell(self) -> bool:
        return self.acknowledged > max(self._told, self._start)

    @property
    def _is_streaming(self) -> bool:
        return hasattr(self, "phase") and self.phase is self.STREAMING and not self.done

    # ---------------------------------------------------------------- the conversation

    def begin(self, session: Session) -> bool:
        session.write(frontend.query(frontend.cstring(self._sql, "the command")))
        self.session = session
        self.phase = self.STARTING
        return True

    def write_more(self) -> None:
        if self._is_streaming and (
            self._has_more_to_tell or (self._interval is not None and self._clock() >= self._due)
        ):
            self._write_status()

    def _write_status(self) -> None:
        if self.acknowledged > self._start:
            self._told = self.acknowledged
        place = self._told
        if self._interval is not None:
            self._due = self._clock() + self._interval
        microseconds = round((self._wall_clock() - _EPOCH) * 1e6)
        body = _status(_STATUS, place, place, place, microseconds, 0)
        self.session.write(b"d" + frontend.pack_int32(len(body) + 4) + body)

    def abandon(self) -> None:
        super().abandon()
        self.holds = False
        self._came.clear()
        self._came_size = 0
        if self._is_streaming:
            self._leave()
        self._tell_listener()

    def _leave(self) -> None:
        """Say what has been acknowledged, and that we want no more."""
        if self._has_more_to_tell:
            self._write_status()
        self.session.write(DONE)
        self.phase = self.ENDING

    def _tell_listener(self) -> None:
        if self.listener is not None:
            self.listener()

    # ---------------------------------------------------------------- what comes back

    def on_copy_both(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_BOTH_RESPONSE")
        self.phase = self.STREAMING
        self.has_begun = True
        if self._interval is not None:
            self._due = self._clock() + self._interval
        if self.abandoned:
            self._leave()
        self._tell_listener()

    def on_data(self, buffer: bytes, start: int, end: int) -> None:
        kind = buffer[start] if end > start else None
        if kind == _DATA and end - start >= _data_head.size:
            _, place, wal_end, _ = _data_head.unpack_from(buffer, start)
            self._on_change(Lsn(place), wal_end, buffer[start + _data_head.size : end])
        elif kind == _KEEPALIVE and end - start == _keepalive.size:
            self._on_keepalive(*_keepalive.unpack_from(buffer, start))
        else:
            raise backend.malformed("COPY_DATA")

    def _on_change(self, place: Lsn, wal_end: int, data: bytes) -> None:
        came: ReplicationMessage | Exception
        message_end: Lsn | None = None
        try:
            came = self._parse(place, data)
            message_end = end_of(came)
        except UnreadableValue as unreadable:
            came = unreadable.error
            came.add_note(f"at {place} in the log; the replication can be gone on with")
        if message_end is not None:
            self._outstanding = max(self._outstanding, message_end)
        self._receive(max(place, wal_end, message_end or 0))
        self._came.append(came)
        self._came_size += len(data)
        self._tell_listener()

    def _receive(self, place: int) -> None:
        if place > self.received:
            self.received = Lsn(place)

    def _on_keepalive(self, _kind: int, wal_end: int, _sent: int, wants_reply: int) -> None:
        self._receive(wal_end)
        if not self._came and self.acknowledged >= self._outstanding:
            self.acknowledged = max(self.acknowledged, Lsn(wal_end))
        if wants_reply:
            self._write_status()

    def on_skipped(self, buffer: bytes, start: int, end: int) -> None:
        """Nobody wants it any more."""

    def on_done(self, buffer: bytes, start: int, end: int) -> None:
        check_copy_done(buffer, start, end)
        if self.phase is self.STREAMING:
            self._is_ended()
            self.session.write(DONE)

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        backend.parse_command_tag(buffer, start, end)
        if self.phase is self.STREAMING:
            self._is_ended()

    def _is_ended(self) -> None:
        """By the server, which does so when it is shut down."""
        self.error = ConnectionLost("the server has ended the replication, as when it is shut down")
        self.phase = self.ENDING

    def on_failed(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if not self.done:  # a fatal one has ended it all
            self.note_error(error)
            self.phase = self.ENDING

    def note_error(self, error: PostgresError) -> None:
        error.query = self._sql
        super().note_error(error)
        advise(error, self._sql)

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        if isinstance(self.error, ConnectionLost):  # it is not
            self.error = OperationalError(_ENDED)
        super().on_ready(buffer, start, end)
        self._tell_listener()

    STARTING = Phase(
        "STARTING",
        {
            BackendMessage.COPY_BOTH_RESPONSE: on_copy_both,
            BackendMessage.ERROR_RESPONSE: on_failed,
        },
    )
    STREAMING = Phase(
        "STREAMING",
        {
            BackendMessage.COPY_DATA: on_data,
            BackendMessage.COPY_DONE: on_done,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_failed,
        },
    )
    ENDING = Phase(
        "ENDING",
        {
            BackendMessage.COPY_DATA: on_skipped,
            BackendMessage.COPY_DONE: on_done,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_failed,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
    )
    PHASES: ClassVar[tuple[Phase, ...]] = (STARTING, STREAMING, ENDING)
    result: Any = None


def replicating(
    slot: str,
    publications: str | Sequence[str],
    start: Lsn | int | str,
    *,
    status_interval: float | None,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    **options: Unpack[ChangeOptions],
) -> Replicating:
    """What `replicate` of both shells does; raises for what makes no sense together."""
    place = Lsn(start)
    names = publication_names(publications)
    sql = start_replication(slot, names, place, **options)
    return Replicating(
        slot,
        sql,
        place,
        names,
        status_interval=status_interval,
        clock=clock,
        wall_clock=wall_clock,
    )
