"""CopyIn: COPY from a program to the server, and what all COPYs share (manual: "COPY Operations").

    Parse Bind Execute Flush  →  ParseComplete BindComplete CopyInResponse
    CopyData… CopyDone Sync   →  CommandComplete ReadyForQuery

The extended protocol takes one statement only, so that nothing can hide behind a COPY. Its trap
is that the server, while it waits for data, skips a Sync: so none is written before the data's
end. Until then nothing is committed either, and whatever was wrong can be undone.

The data are taken from their source bit by bit, when the shell has room to write (`write_more`),
and whatever the server says meanwhile is heard: an error of its own ends the taking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError
from pgwire.protocol import backend, frontend
from pgwire.protocol.changes import changes_session, first_word
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, Phase, expect_empty
from pgwire.protocol.progress import meter_for
from pgwire.protocol.reading import advise, check_copy_done
from pgwire.protocol.sources import CHUNK, Inlet, as_bytes, pieces_of
from pgwire.protocol.statement import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire.errors import PostgresError
    from pgwire.protocol.progress import Meter, ProgressCallback
    from pgwire.protocol.session import Session

# The unnamed statement as the unnamed portal, without parameters; results in text.
_BIND = frontend.bind(b"\0" + UNNAMED + b"\0" * 6)
# How much goes into one message. The server takes a GiB, but asks for the memory at once.
MOST = 1 << 24
DONE = b"c\0\0\0\x04"
FAIL = frontend.copy_fail("the client gave no more data, and wants none of them copied")

_check_parse_complete = expect_empty("PARSE_COMPLETE")
_check_bind_complete = expect_empty("BIND_COMPLETE")


def check_copy(sql: str, call: str, wanted: str) -> None:
    """Refuse what is no COPY before it is carried out."""
    frontend.cstring(sql, "the SQL")
    word = first_word(sql)
    if word.lower() != "copy":
        raise ProgrammingError(
            f"{call} takes a COPY … {wanted} statement, and this one begins with {word!r}; "
            "for all others there is query()"
        )


def count_of(tag: str) -> int:
    """The number of rows in the tag of a COPY."""
    count = tag.rpartition(" ")[2]
    return int(count) if count.isdecimal() and count.isascii() else 0


class Copying(Operation):
    """How a COPY begins; what comes then is its direction's."""

    sql: str
    COPY_BINDING: Phase
    COPY_STARTING: Phase

    def write_copy(self, session: Session, sql: str, end: bytes) -> None:
        """Parse, Bind and Execute of this COPY, and what ends the flight."""
        parse = frontend.parse(UNNAMED, frontend.cstring(sql, "the SQL"))
        session.write(parse + _BIND + frontend.EXECUTE + end)
        self.session = session
        if changes_session(sql):
            session.changed = True

    def on_copy_parsed(self, buffer: bytes, start: int, end: int) -> None:
        _check_parse_complete(buffer, start, end)
        self.phase = self.COPY_BINDING

    def on_copy_bound(self, buffer: bytes, start: int, end: int) -> None:
        _check_bind_complete(buffer, start, end)
        self.phase = self.COPY_STARTING

    def on_copy_data(self, buffer: bytes, start: int, end: int) -> None:
        """Nobody wants it."""

    def on_copy_done(self, buffer: bytes, start: int, end: int) -> None:
        check_copy_done(buffer, start, end)

    def refuse(self, reason: str) -> None:
        """The statement is not what the call is for."""
        self.error = ProgrammingError(reason)

    def note_error(self, error: PostgresError) -> None:
        error.query = self.sql
        if error.where:  # the line and the column, which are no part of the message
            error.add_note(error.where)
        super().note_error(error)
        advise(error, self.sql)

    ENDING = Phase(
        "ENDING",
        {
            BackendMessage.ERROR_RESPONSE: Operation.on_error,
            BackendMessage.READY_FOR_QUERY: Operation.on_ready,
        },
    )


class Sending(Copying):
    """The common part of what sends data: `copy_more` says which, its phases what comes back."""

    COPYING: Phase
    FINISHING: Phase
    DRAINING: Phase
    COMPLETE: Phase
    row_count = 0
    byte_count: int = 0
    _meter: Meter | None = None

    def write_more(self) -> None:
        if self.phase is self.COPYING:
            if self.abandoned:
                self.give_up()
                return
            try:
                self.copy_more()
            except BaseException as error:
                # The source's own exception, or what is wrong with what it gave: the caller's.
                self.blame(error)
                self.give_up()

    def copy_more(self) -> None:
        """Write the next of the data, or its end."""
        raise NotImplementedError

    def blame(self, error: BaseException) -> None:
        """The source is to blame, or what it gave. There was no error before."""
        self.error = error

    def write_data(self, data: bytes) -> None:
        """As one message, or as many as one that is too long for the server takes."""
        session = self.session
        self.byte_count += len(data)
        for start in range(0, len(data), MOST):
            part = data[start : start + MOST]  # mostly all of it, which is no copy
            session.write(b"d" + frontend.pack_int32(len(part) + 4))
            session.write(part)

    def give_up(self) -> None:
        """The server waits for data, and there will be none: all of it is undone."""
        self.session.write(FAIL + frontend.SYNC)
        self.end(self.ENDING)

    def end(self, phase: Phase) -> None:
        """The Sync is written: what is left is the server's to say."""
        self.phase = phase
        self.drop_source()
        self.session.pass_floor()

    def drop_source(self) -> None:
        """Nothing more is taken from it."""
        raise NotImplementedError

    def on_copy_error(self, buffer: bytes, start: int, end: int) -> None:
        """The server has failed, and skips everything up to our Sync."""
        error = self.session.read_error(buffer, start, end)
        if not self.done:  # a fatal one has ended it all
            self.note_error(error)
            self.session.write(frontend.SYNC)
            self.end(self.ENDING)

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")
        self.phase = self.COPYING

    def on_copy_out(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")
        self.refuse("this COPY is one to the client: use copy_out()")
        self.session.write(frontend.SYNC)
        self.end(self.DRAINING)

    def on_copied_elsewhere(self, buffer: bytes, start: int, end: int) -> None:
        """The server has asked for nothing; what it did is undone, but for what is in a file."""
        backend.parse_command_tag(buffer, start, end)
        self.refuse("this COPY does not take its data FROM STDIN: use query()")
        self.session.write(frontend.POISON + frontend.SYNC)
        self.end(self.ENDING)

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        self.row_count += count_of(backend.parse_command_tag(buffer, start, end))
        self.phase = self.COMPLETE

    def on_end_error(self, buffer: bytes, start: int, end: int) -> None:
        """An error when the Sync is written already."""
        self.on_error(buffer, start, end)
        self.phase = self.ENDING

    def on_all_ready(self, buffer: bytes, start: int, end: int) -> None:
        if self.error is None and not self.abandoned:
            self.result = self.row_count
            if self._meter is not None:
                self._meter.tell_end(self, self.row_count)
        self.on_ready(buffer, start, end)

    COPY_PARSING = Phase(
        "COPY_PARSING",
        {
            BackendMessage.PARSE_COMPLETE: Copying.on_copy_parsed,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
    )
    COPY_BINDING = Phase(
        "COPY_BINDING",
        {
            BackendMessage.BIND_COMPLETE: Copying.on_copy_bound,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
    )
    COPY_STARTING = Phase(
        "COPY_STARTING",
        {
            BackendMessage.COPY_IN_RESPONSE: on_copy_in,
            BackendMessage.COPY_OUT_RESPONSE: on_copy_out,
            BackendMessage.COMMAND_COMPLETE: on_copied_elsewhere,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
    )
    COPYING = Phase("COPYING", {BackendMessage.ERROR_RESPONSE: on_copy_error})
    FINISHING = Phase(
        "FINISHING",
        {
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_end_error,
        },
    )
    DRAINING = Phase(
        "DRAINING",
        {
            BackendMessage.COPY_DATA: Copying.on_copy_data,
            BackendMessage.COPY_DONE: Copying.on_copy_done,
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_end_error,
        },
    )
    COMPLETE = Phase(
        "COMPLETE",
        {
            BackendMessage.ERROR_RESPONSE: on_end_error,
            BackendMessage.READY_FOR_QUERY: on_all_ready,
        },
    )
    SENDING_PHASES = (
        COPY_PARSING,
        COPY_BINDING,
        COPY_STARTING,
        COPYING,
        FINISHING,
        DRAINING,
        COMPLETE,
        Copying.ENDING,
    )


class CopyIn(Sending):
    """COPY … FROM STDIN of bytes in one of COPY's own formats; `result` is the number of rows.

    `source` is bytes, str, a file, an iterable of bytes and str, or an `Inlet` of these.
    """

    kind = "copy_in"

    def __init__(self, sql: str, source: Any, progress: ProgressCallback | None = None) -> None:
        check_copy(sql, "copy_in()", "FROM STDIN")
        self.sql = sql
        self._meter = meter_for(progress)
        self._inlet = source if isinstance(source, Inlet) else None
        self._pieces: Iterator[Any] = pieces_of(source) if self._inlet is None else self._inlet
        self._rest = memoryview(b"")  # of a piece that is too long for one message

    def begin(self, session: Session) -> bool:
        if session.waits_for_answers(self):
            return True
        self.write_copy(session, self.sql, frontend.FLUSH)
        self.phase = self.COPY_PARSING
        return True

    def copy_more(self) -> None:
        data = self._take()
        if data:
            self.write_data(data)
            if self._meter is not None:
                self._meter.sent(self, len(data), None)
        if len(data) >= CHUNK:
            return
        if self._inlet is not None and not self._inlet.is_spent:
            self._inlet.ask()
            return
        self.session.write(DONE + frontend.SYNC)
        self.end(self.FINISHING)

    def _take(self) -> bytes:
        """What is sent next; less than a `CHUNK` where nothing more is there."""
        pieces: list[bytes | memoryview] = []
        size = 0
        while size < CHUNK:
            if not self._rest:
                try:
                    self._rest = memoryview(as_bytes(next(self._pieces)))
                except StopIteration:
                    break
            pieces.append(self._rest[: CHUNK - size])
            self._rest = self._rest[CHUNK - size :]
            size += len(pieces[-1])
        return b"".join(pieces)

    def drop_source(self) -> None:
        self._pieces = iter(())
        self._rest = memoryview(b"")

    PHASES = Sending.SENDING_PHASES
