"""CopyOut: COPY from the server to a program (manual: "COPY Operations").

    Parse Bind Execute Sync   →  ParseComplete BindComplete CopyOutResponse CopyData… CopyDone
                                 CommandComplete ReadyForQuery

It has the floor to its end, as nobody should wait for an answer behind it. What has come waits in
`received` until somebody takes it: who reads no more before that is done needs little memory.
"""

from __future__ import annotations

import io
from codecs import getincrementaldecoder
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError
from pgwire.protocol import backend, frontend
from pgwire.protocol.copying import FAIL, Copying, check_copy, count_of
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Phase
from pgwire.protocol.progress import meter_for
from pgwire.protocol.reading import check_copy_done

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.session import Session

# So much waits to be taken before it is better not to read more.
ENOUGH = 262_144

_COPY_DATA = int(BackendMessage.COPY_DATA)
_unpack_length = Struct("!i").unpack_from


def take_copy_data(copy: CopyOut, buffer: bytes, position: int, size: int) -> int:
    """A run of CopyData messages, as `CopyOut.on_copy_data` would take them one by one."""
    pieces: list[bytes] = []
    append = pieces.append
    while size - position >= 5 and buffer[position] == _COPY_DATA:
        (length,) = _unpack_length(buffer, position + 1)
        end = position + 1 + length
        if end > size or length < 4:
            break
        append(buffer[position + 5 : end])
        position = end
    if pieces:
        copy.keep(b"".join(pieces), len(pieces))
    return position


class CopyOut(Copying):
    """COPY … TO STDOUT. What has come waits in `received`; `result` is the number of rows.

    `listener` is called whenever something has come, and when nothing is wanted any more.
    With `holds` nobody else may ask for anything before its end (`Session.submit`).
    """

    kind = "copy_out"
    byte_count: int = 0

    def __init__(
        self, sql: str, *, holds: bool = False, progress: ProgressCallback | None = None
    ) -> None:
        check_copy(sql, "copy_out()", "TO STDOUT")
        self.sql = sql
        self.holds = holds
        self.meter = meter_for(progress)
        self.received: list[bytes] = []
        self._received_size = 0
        self._message_count = 0  # the server sends one for each row, and a header's
        self._row_count = 0
        self.listener: Callable[[], object] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self.received)

    @property
    def is_full(self) -> bool:
        """Whether it would be better not to read more before what has come is taken."""
        return self._received_size >= ENOUGH

    def take_received(self) -> bytes:
        """All that has come since the last call."""
        received, self.received = self.received, []
        if self.meter is not None:
            self.meter.bytes += self._received_size
        self._received_size = 0
        return received[0] if len(received) == 1 else b"".join(received)

    def tell_progress(self) -> None:
        """Something has been taken: tell who wants to know. What that raises comes through."""
        if self.meter is not None:
            self.meter.tell(self._message_count)

    def tell_end(self) -> None:
        """The same when all has been taken, and it is done."""
        if self.meter is not None and self.result is not None:
            self.meter.tell(self.result)

    def keep(self, data: bytes, messages: int = 1) -> None:
        if data and self.error is None and not self.abandoned:
            self.received.append(data)
            self._received_size += len(data)
            self.byte_count += len(data)
            self._message_count += messages
            if self.listener is not None:
                self.listener()

    def abandon(self) -> None:
        super().abandon()
        self.holds = False
        self.take_received()
        if self.listener is not None:
            self.listener()

    def begin(self, session: Session) -> bool:
        self.write_copy(session, self.sql, frontend.SYNC)
        self.phase = self.COPY_PARSING
        return True

    def on_copy_error(self, buffer: bytes, start: int, end: int) -> None:
        self.on_error(buffer, start, end)
        self.phase = self.ENDING

    def on_copy_out(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")
        self.phase = self.COPYING

    def on_copy_in(self, buffer: bytes, start: int, end: int) -> None:
        backend.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")
        self.refuse("this COPY is one from the client: use copy_in()")
        # The server skips the Sync that is on its way already, and answers this one.
        self.session.write(FAIL + frontend.SYNC)
        self.phase = self.ENDING

    def on_copy_data(self, buffer: bytes, start: int, end: int) -> None:
        self.keep(buffer[start:end])

    def on_copy_done(self, buffer: bytes, start: int, end: int) -> None:
        check_copy_done(buffer, start, end)
        self.phase = self.FINISHING

    def on_complete(self, buffer: bytes, start: int, end: int) -> None:
        self._row_count = count_of(backend.parse_command_tag(buffer, start, end))
        self.phase = self.COMPLETE

    def on_copied_elsewhere(self, buffer: bytes, start: int, end: int) -> None:
        self.on_complete(buffer, start, end)
        self.refuse("this COPY was not one TO STDOUT, and has been carried out: use query()")

    def on_all_ready(self, buffer: bytes, start: int, end: int) -> None:
        if self.error is None and not self.abandoned:
            self.result = self._row_count
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
            BackendMessage.COPY_OUT_RESPONSE: on_copy_out,
            BackendMessage.COPY_IN_RESPONSE: on_copy_in,
            BackendMessage.COMMAND_COMPLETE: on_copied_elsewhere,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
    )
    COPYING = Phase(
        "COPYING",
        {
            BackendMessage.COPY_DATA: on_copy_data,
            BackendMessage.COPY_DONE: on_copy_done,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
        take_usual=take_copy_data,
    )
    FINISHING = Phase(
        "FINISHING",
        {
            BackendMessage.COMMAND_COMPLETE: on_complete,
            BackendMessage.ERROR_RESPONSE: on_copy_error,
        },
    )
    COMPLETE = Phase(
        "COMPLETE",
        {
            BackendMessage.ERROR_RESPONSE: on_copy_error,
            BackendMessage.READY_FOR_QUERY: on_all_ready,
        },
    )
    PHASES = (
        COPY_PARSING,
        COPY_BINDING,
        COPY_STARTING,
        COPYING,
        FINISHING,
        COMPLETE,
        Copying.ENDING,
    )


def writer_of(sink: Any) -> Callable[[bytes], Any]:
    """What writes the data to a file, all of them: as text where it is a file of text."""
    write: Any = getattr(sink, "write", None)
    if write is None:
        raise ProgrammingError(f"the sink must be an open file, not {type(sink).__name__}")
    if isinstance(sink, io.TextIOBase):
        decode = getincrementaldecoder("utf-8")().decode
        return lambda data: write(decode(data))
    if isinstance(sink, io.RawIOBase):
        return lambda data: _write_all(write, data)
    return write  # type: ignore[no-any-return]


def _write_all(write: Callable[[Any], int | None], data: bytes) -> None:
    """To a file without a buffer, which may take a part only."""
    rest = memoryview(data)
    while rest:
        taken = write(rest)
        if taken is None:
            raise BlockingIOError("the file that COPY writes to is not blocking, and takes nothing")
        rest = rest[taken:]
