"""Rows: from a run of DataRow messages to tuples.

`decode_rows` is the specification, plain and complete. A decoder is any callable
`(buffer, position, size, rows) -> position`: it appends the tuples of the complete DataRow
messages from `position` on and returns where they end. It may raise whatever a codec raises:
`skip_rows` then goes over the same run again, trusting nothing but the lengths, so that a
decoding error spoils its own result and the conversation stays in step.
"""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProtocolError
from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol.messages import TEXT, BackendMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.messages import Column

    ValueDecoder = Callable[[bytes, int, int], Any]
    RowDecoder = Callable[[bytes, int, int, list[tuple[Any, ...]]], int]

_unpack_length = Struct("!i").unpack_from
_unpack_head = Struct("!BiH").unpack_from
_HEAD = 7
_DATA_ROW = int(BackendMessage.DATA_ROW)


def decode_rows(
    decoders: Sequence[ValueDecoder],
    buffer: bytes,
    position: int,
    size: int,
    rows: list[tuple[Any, ...]],
) -> int:
    """The plain decoder: one value after the other, every length checked."""
    count = len(decoders)
    values: list[Any] = []
    try:
        while size - position >= _HEAD and buffer[position] == _DATA_ROW:
            _, length, columns = _unpack_head(buffer, position)
            end = position + 1 + length
            if end > size:
                break
            at = position + _HEAD
            if columns != count:
                raise _malformed()
            values = []
            for decode in decoders:
                (length,) = _unpack_length(buffer, at)
                at += 4
                if length >= 0:
                    stop = at + length
                    if stop > end:
                        raise _malformed()
                    values.append(decode(buffer, at, stop))
                    at = stop
                elif length == -1:
                    values.append(None)
                else:
                    raise _malformed()
            if at != end:
                raise _malformed()
            rows.append(tuple(values))
            position = end
    except Exception as error:
        error.add_note(f"while decoding column {len(values) + 1} of row {len(rows) + 1}")
        raise
    return position


def skip_rows(count: int, buffer: bytes, position: int, size: int) -> int:
    """Go over a run of rows with `count` columns, checking nothing but the lengths."""
    while size - position >= _HEAD:
        code, length, columns = _unpack_head(buffer, position)
        end = position + 1 + length
        if code != _DATA_ROW or end > size:
            break
        if columns != count:
            raise _malformed()
        at = position + _HEAD
        for _ in range(count):
            if at + 4 > end:
                raise _malformed()
            (length,) = _unpack_length(buffer, at)
            if length < -1:
                raise _malformed()
            at += 4 + max(length, 0)
        if at != end:
            raise _malformed()
        position = end
    return position


def _malformed() -> ProtocolError:
    return ProtocolError("the server sent a malformed DATA_ROW")


def result_formats(columns: Sequence[Column], registry: TypeRegistry) -> list[int]:
    """The format to ask for, column by column."""
    return [int(registry.codec(column.type_oid).binary_results) for column in columns]


def row_decoder(
    columns: Sequence[Column], formats: Sequence[int], registry: TypeRegistry
) -> RowDecoder:
    """The decoder of rows with these columns, sent in these formats."""
    decoders = []
    for column, fmt in zip(columns, formats, strict=True):
        codec = registry.codec(column.type_oid)
        decoders.append(from_text(codec.decode_text) if fmt == TEXT else codec.decode)
    return partial(decode_rows, tuple(decoders))


def from_text(decode_text: Callable[[str], Any]) -> ValueDecoder:
    """A decoder of values in text format."""

    def decode(buffer: bytes, start: int, end: int) -> Any:
        return decode_text(decode_utf8(buffer, start, end))

    return decode
