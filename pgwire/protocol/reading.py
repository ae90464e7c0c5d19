"""Reading: what the operations that read rows have in common.

It also refuses COPY where it is not expected: the server then wants, or sends, data that the
caller of `query()` or `script()` has no means to give or take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import NotSupportedError
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.protocol.collector import uncollected
from pgwire.protocol.decoder import LARGE, read_length, skip_rows
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation, expect_empty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pgwire.errors import PostgresError
    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.messages import Column
    from pgwire.protocol.rows import Row

# A run of rows for which it pays to spare the garbage collector.
_MANY_BYTES = 4_096
_DATA_ROW = int(BackendMessage.DATA_ROW)
_BELOW_256 = b"\0\0\0"  # how the length of such a row begins


class Reading(Operation):
    """What the operations that read rows have in common."""

    _columns: tuple[Column, ...]
    _row_class: type[Row]
    _decode: RowDecoder
    _rows: list[tuple[Any, ...]]
    # Runs of rows that could not be decoded, as types in them are not known yet.
    _raw: list[bytes] | None = None

    def on_rows(self, buffer: bytes, position: int, size: int) -> int:
        if self.error is None and not self.abandoned:
            try:
                decode = self._decode
                if size - position < _MANY_BYTES:
                    return decode(buffer, position, size, self._rows)
                if size - position > LARGE and (end := self._large_row(buffer, position, size)):
                    return end
                if (  # behind one short row there are the answers to others, as of a pipeline
                    self.session.pending[-1] is not self
                    and buffer[position + 1 : position + 4] == _BELOW_256
                    and buffer[position + 1 + buffer[position + 4]] != _DATA_ROW
                ):
                    return decode(buffer, position, size, self._rows)
                return uncollected(decode, buffer, position, size, self._rows)
            except Exception as error:
                # The run is gone over again by its lengths. Where they are right the error
                # is ours alone, and the conversation goes on.
                end = skip_rows(len(self._columns), buffer, position, size)
                self.error = error
                if isinstance(error, UnknownTypes):
                    self.session.registry.catalog.forget(error.oids)
                    self._raw = [buffer[position:end]]
                else:
                    self._rows.clear()
                return end
        end = skip_rows(len(self._columns), buffer, position, size)
        if self._raw is not None:
            self._raw.append(buffer[position:end])
        return end

    def _large_row(self, buffer: bytes, position: int, size: int) -> int:
        """Where a row ends that is large, and has been decoded; 0 where it is none."""
        decode, end = self.large_decoder(), position + 1 + read_length(buffer, position + 1)[0]
        if decode is None or not position + LARGE < end <= size:
            return 0
        return decode(buffer, position, end, self._rows)

    def large_decoder(self) -> RowDecoder | None:
        """What decodes a large row in fewer copies than any other, if there is such a one."""
        return None

    def note_error(self, error: PostgresError) -> None:
        self.prefer_errors()
        super().note_error(error)

    def prefer_errors(self) -> None:
        """The server has failed: no matter what could not be read yet."""
        if isinstance(self.error, UnknownTypes):
            self.error = self._raw = None

    def abandon(self) -> None:
        super().abandon()
        self._rows = []
        self._raw = None

    def refuse_copy(self, hint: str = "COPY TO STDOUT needs copy_out()") -> None:
        if self.error is None:
            self.error = NotSupportedError(hint)
        self._rows = []

    def refuse_copy_in(self, answer: bytes) -> None:
        """Tell the server that no data will come, if that is still possible.

        In copy-in mode it skips a Sync, and takes anything else for a broken client. So what
        others have written behind us cannot be answered any more.
        """
        self.refuse_copy("COPY FROM STDIN needs copy_in(), or copy_records() for Python values")
        session = self.session
        if len(session.pending) > 1 and session.floor is not self:
            session.fail(
                NotSupportedError("COPY FROM STDIN in a pipeline; the connection was closed")
            )
        else:
            session.write(answer)

    def on_copy_data(self, buffer: bytes, start: int, end: int) -> None:
        """Nobody wants it."""

    def on_copy_done(self, buffer: bytes, start: int, end: int) -> None:
        check_copy_done(buffer, start, end)


def advise(error: PostgresError, sql: str, params: Sequence[Any] = ()) -> None:
    """Put into the error what to write instead, if that is plain (see `hints`)."""
    from pgwire.protocol import hints  # most programs never need it

    hints.advise(error, sql, params)


check_copy_done = expect_empty("COPY_DONE")
check_empty_query = expect_empty("EMPTY_QUERY_RESPONSE")
