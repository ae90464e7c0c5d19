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

from pgwire.pgtypes.codec import UnknownTypes
from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol.backend import malformed
from pgwire.protocol.messages import TEXT, BackendMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.errors import ProtocolError
    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.messages import Column

    ValueDecoder = Callable[[bytes, int, int], Any]
    RowDecoder = Callable[[bytes, int, int, list[tuple[Any, ...]]], int]

read_length = Struct("!i").unpack_from
_unpack_head = Struct("!BiH").unpack_from
_HEAD = 7
# To copy values of so many bytes takes longer than to decode them without generated code.
LARGE = 131_072
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
                raise malformed_row()
            values = []
            for decode in decoders:
                value, at = read_value(buffer, at, end, decode)
                values.append(value)
            if at != end:
                raise malformed_row()
            rows.append(tuple(values))
            position = end
    except Exception as error:
        blame(error, len(values) + 1, len(rows) + 1)
        raise
    return position


def blame(error: Exception, column: int, row: int) -> None:
    """Say where it happened."""
    error.add_note(f"while decoding column {column} of row {row}")


def blame_row(error: Exception, row: int) -> None:
    """Say where it happened, as far as that is known."""
    error.add_note(f"while decoding row {row}")


def read_value(buffer: bytes, at: int, end: int, decode: ValueDecoder) -> tuple[Any, int]:
    """The value whose length stands at `at` (None for NULL), and where the next one begins."""
    (length,) = read_length(buffer, at)
    at += 4
    stop = at + length
    if length >= 0 and stop <= end:
        return decode(buffer, at, stop), stop
    if length != -1:
        raise malformed_row()
    return None, at


def skip_rows(count: int, buffer: bytes, position: int, size: int) -> int:
    """Go over a run of rows with `count` columns, checking nothing but the lengths."""
    while size - position >= _HEAD:
        code, length, columns = _unpack_head(buffer, position)
        end = position + 1 + length
        if code != _DATA_ROW or end > size:
            break
        if columns != count:
            raise malformed_row()
        at = position + _HEAD
        for _ in range(count):
            if at + 4 > end:
                raise malformed_row()
            (length,) = read_length(buffer, at)
            if length < -1:
                raise malformed_row()
            at += 4 + max(length, 0)
        if at != end:
            raise malformed_row()
        position = end
    return position


def malformed_row() -> ProtocolError:
    return malformed("DATA_ROW")


def result_formats(columns: Sequence[Column], registry: TypeRegistry) -> list[int]:
    """The format to ask for, column by column."""
    return [int(registry.codec(column.type_oid).binary_results) for column in columns]


def column_decoders(
    columns: Sequence[Column], formats: Sequence[int], registry: TypeRegistry
) -> tuple[ValueDecoder, ...]:
    """The decoders of values in these columns, sent in these formats."""
    codecs = [registry.codec(column.type_oid) for column in columns]
    return tuple(
        [
            from_text(codec.decode_text) if fmt == TEXT else codec.decode
            for codec, fmt in zip(codecs, formats, strict=True)
        ]
    )


def row_decoder(
    columns: Sequence[Column], formats: Sequence[int], registry: TypeRegistry
) -> RowDecoder:
    """The plain decoder of rows with these columns, sent in these formats."""
    return plain_decoder(column_decoders(columns, formats, registry))


def for_large(decode: ValueDecoder) -> ValueDecoder:
    """What decodes large values of a column in one copy less: texts are read where they are."""
    return _decode_large_utf8 if decode is decode_utf8 else decode


def _decode_large_utf8(buffer: bytes, start: int, end: int) -> str:
    if end - start < LARGE:
        return decode_utf8(buffer, start, end)
    try:
        return str(memoryview(buffer)[start:end], "utf-8")
    except UnicodeDecodeError:
        return decode_utf8(buffer, start, end)  # has the words for it


def plain_decoder(decoders: Sequence[ValueDecoder]) -> RowDecoder:
    """`decode_rows` for these columns."""
    return partial(decode_rows, decoders)


def whole_runs(decode: RowDecoder) -> RowDecoder:
    """A decoder that leaves no row of a run where some of its types are not known yet."""

    def decode_all(buffer: bytes, position: int, size: int, rows: list[tuple[Any, ...]]) -> int:
        before = len(rows)
        try:
            return decode(buffer, position, size, rows)
        except UnknownTypes:
            del rows[before:]
            raise

    return decode_all


def keeping(count: int, runs: list[bytes]) -> RowDecoder:
    """A decoder of rows with so many columns that keeps them as they are."""

    def keep(buffer: bytes, position: int, size: int, _rows: list[tuple[Any, ...]]) -> int:
        end = skip_rows(count, buffer, position, size)
        runs.append(buffer[position:end])
        return end

    return keep


def from_text(decode_text: Callable[[str], Any]) -> ValueDecoder:
    """A decoder of values in text format."""
    return partial(parse_value, decode_text)


def parse_value(decode_text: Callable[[str], Any], buffer: bytes, start: int, end: int) -> Any:
    """The value whose text these bytes are."""
    return decode_text(decode_utf8(buffer, start, end))
