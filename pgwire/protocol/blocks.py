"""Blocks: many rows whose columns all have a fixed width, unpacked in one call.

Where no value is NULL such rows differ in nothing but their values: the bytes between (message
type, lengths, number of columns) are compared with what they must be, each for all rows of a block
at once. A block that differs is left to others as a whole, and so is one whose values cannot be
made: no errors are made here.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.generating import struct_code, width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.shapes import Shape

    Conversion = Callable[[Sequence[Any]], list[Any]]

# For fewer rows than these, comparing costs more than it saves.
LEAST_ROWS = 32
# A block of so many comes first, as it may be in vain; each that follows is so much larger, until
# one is in vain.
_FIRST, _GROWTH, _MOST = 64, 8, 32_768


def block_decoder(shapes: Sequence[Shape]) -> RowDecoder:
    """A decoder of blocks of rows with such columns, all of fixed width. It may leave any row."""
    codes, constants, size = _layout([shape.kind for shape in shapes])
    unpack = Struct("!" + codes).iter_unpack
    conversions = [(n, _conversion(s)) for n, s in enumerate(shapes) if s.convert is not None]
    most = _FIRST

    def decode_rows(buffer: bytes, position: int, end: int, rows: list[tuple[Any, ...]]) -> int:
        nonlocal most
        while True:
            count = min((end - position) // size, most)
            if count < LEAST_ROWS:
                return position
            data = buffer[position : position + count * size]
            for offset, byte in constants:
                if data[offset::size] != byte * count:
                    most = _FIRST
                    return position
            try:
                rows += _converted(unpack(data), conversions) if conversions else unpack(data)
            except DataError:
                return position
            position += len(data)
            most = min(most * _GROWTH, _MOST)

    return decode_rows


def _layout(kinds: Sequence[str]) -> tuple[str, list[tuple[int, bytes]], int]:
    """The struct codes, the bytes that are the same in each row and where, and a row's size."""
    codes = "7x"
    pieces = []
    for code in map(struct_code, kinds):
        codes += "4x" + code
        pieces.append((width(code).to_bytes(4, "big"), width(code)))
    size = width(codes)
    constants = list(enumerate(b"D%b%b" % ((size - 1).to_bytes(4, "big"), _count(kinds))))
    at = 7
    for length, value in pieces:
        constants += enumerate(length, at)
        at += 4 + value
    return codes, [(offset, bytes((byte,))) for offset, byte in constants], size


def _count(kinds: Sequence[str]) -> bytes:
    return len(kinds).to_bytes(2, "big")


def _conversion(shape: Shape) -> Conversion:
    """What makes a column's values."""
    convert, origin, step = shape.convert, shape.origin, shape.step
    assert convert is not None

    def one_by_one(column: Sequence[Any]) -> list[Any]:
        return list(map(convert, column))

    def counted(column: Sequence[Any]) -> list[Any]:
        try:
            return [origin + step * number for number in column]
        except OverflowError:
            return one_by_one(column)

    return one_by_one if step is None else counted


def _converted(unpacked: Any, conversions: Sequence[tuple[int, Conversion]]) -> Any:
    columns: list[Any] = list(zip(*unpacked, strict=True))
    for n, convert in conversions:
        columns[n] = convert(columns[n])
    return zip(*columns, strict=True)
