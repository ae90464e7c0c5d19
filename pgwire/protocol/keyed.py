"""Rows unpacked in one call each, by layouts that are known by the length of the message.

A layout is how long each value of a row is, and which are NULL. With one column of text and no NULL
the length of the message tells it. Else rows of the same length often have the same one (codes,
names, columns that are mostly NULL), so the last one that was seen is tried. What it unpacks says
whether it was right: all lengths are compared. If the one before was, it is put back; else the
row's is learned, as long as that pays (`Learner`). One that cannot be is left to others, and so is
one whose values cannot be made: no errors are made here. The end of the buffer is the only one that
is seen: what has another `size` is left to others as a whole.

For int4, text and timestamptz the source reads:

    def decode_rows(buffer, position, size, rows):
        if rests() or size < len(buffer):
            return position
        append = rows.append
        last = size - 26
        try:
            while position <= last:
                key = buffer[position + 4]
                unpack, lengths, nulls = layouts[key]
                kind, length, columns, length_0, value_0, length_1, value_1, length_2, value_2 = (
                    unpack(buffer, position))
                if (length, length_0, length_1, length_2) != lengths or kind != 68 or columns != 3:
                    if buffer[position] == 68 and learn(key, buffer, position, rows):
                        continue
                    break
                if nulls:
                    append((
                        None if length_0 < 0 else value_0,
                        None if length_1 < 0 else value_1.decode(),
                        None if length_2 < 0 else origin_2 + step_2 * value_2,
                    ))
                    position += 1 + length
                    continue
                try:
                    value_2 = origin_2 + step_2 * value_2
                except OverflowError:
                    value_2 = convert_2(value_2)
                append((value_0, value_1.decode(), value_2,))
                position += 1 + length
        except Exception:
            pass  # it is raised again by who decodes the row in another way
        return position
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.generating import (
    CONVERTED,
    COUNTED,
    TEXT,
    conversion_of,
    indented,
    struct_code,
    width,
)
from pgwire.protocol.decoder import read_length
from pgwire.protocol.shapes import PARSED, is_fixed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # What unpacks a row, the lengths that it then must find (of the message, of each column), and
    # whether there are NULLs.
    Layout = tuple[Callable[[bytes, int], tuple[Any, ...]], tuple[int, ...], bool]

# It takes so many bytes of rows, and so many more for each column, until compiling has paid.
WORTH, WORTH_PER_COLUMN = 50_000, 4_000
# Longer rows are not learned: what takes time there is the data.
LONGEST = 4_096
# Values in all layouts of some kinds together; then they are forgotten.
MOST_VALUES = 4_000
# What comes behind the last row (CommandComplete, ReadyForQuery) is shorter, so it is not tried.
LEAST = 26
# With as many columns, cutting the lengths out of what is unpacked takes less than to gather them.
WIDE = 20
# Where they are in it.
ODD = slice(1, None, 2)
_KEYED = """\
def decode_rows(buffer, position, size, rows):
    if rests() or size < len(buffer):
        return position
    append = rows.append
    last = size - {need}
    try:
        while position <= last:
            key = buffer[position + 4]
            unpack, lengths, nulls = layouts[key]
            {whole}kind, length, columns, {names} = (
                unpack(buffer, position))
            if {found} != lengths or kind != 68 or columns != {count}:
                if buffer[position] == 68 and learn(key, buffer, position, rows):
                    continue
                break
            if nulls:
                append((
{nullable}                ))
                position += 1 + length
                continue
{conversions}            append(({values}))
            position += 1 + length
    except Exception:
        pass  # it is raised again by who decodes the row in another way
    return position
"""
_VALUES = {
    TEXT: "value_{n}.decode()",
    PARSED: "convert_{n}(value_{n}.decode())",
}
_NULLABLE = {
    CONVERTED: "convert_{n}(value_{n})",
    COUNTED: "origin_{n} + step_{n} * value_{n}",
}
_read_head = Struct("!iH").unpack_from


class Layouts:
    """What is known of rows of these kinds: a layout by the last byte of a message's length."""

    def __init__(self, kinds: Sequence[str]) -> None:
        codes = [struct_code(kind) if is_fixed(kind) else "" for kind in kinds]
        # The code of each column that has a width, and the width.
        self._widths = [(code, width(code)) for code in codes]
        nothing = (0, 0, 0, *[0, b""] * len(kinds))
        self._unknown: Layout = (lambda _buffer, _position: nothing), (), False
        self.by_key: list[Layout] = [self._unknown] * 256
        # Those that others have taken the place of.
        self._former = self.by_key.copy()
        self._room = MOST_VALUES

    def recall(self, key: int, buffer: bytes, position: int) -> bool:
        """Put back the layout that was there before, if the row that begins there has it."""
        former = self._former[key]
        unpack, lengths, _ = former
        try:
            values = unpack(buffer, position)
        except StructError:
            return False
        if values[ODD] != lengths or values[2] != len(self._widths):
            return False
        self._former[key] = self.by_key[key]
        self.by_key[key] = former
        return True

    def learn(self, key: int, buffer: bytes, position: int) -> bool:
        """Put in the layout of the row that begins there; False if it has none to learn."""
        length, columns = _read_head(buffer, position + 1)
        if length > LONGEST or columns != len(self._widths):
            return False
        at = position + 7
        codes = "!BiH"
        lengths = [length]
        for code, fixed in self._widths:
            (size,) = read_length(buffer, at)
            lengths.append(size)
            if size == -1:
                codes += "i0s"
                at += 4
                continue
            if size < 0 or (code and size != fixed):
                return False
            codes += f"i{code or f'{size}s'}"
            at += 4 + size
        if at != position + 1 + length:
            return False
        self._room -= columns
        if self._room < 0:
            self.by_key[:] = self._former[:] = [self._unknown] * 256
            self._room = MOST_VALUES
        self._former[key] = self.by_key[key]
        self.by_key[key] = Struct(codes).unpack_from, tuple(lengths), -1 in lengths
        return True


@lru_cache(maxsize=64)
def layouts_of(kinds: tuple[str, ...]) -> Layouts:
    """Those of all who have rows of these kinds."""
    return Layouts(kinds)


class Learner:
    """Learns layouts for one decoder as long as that pays.

    Each row that had a known layout earns 1; to put back one that was known costs `RECALLED`, a
    lesson `COST`. Who can afford none rests for a number of runs, twice as many each time, until
    `MOST` has been earned at once.
    """

    COST, RECALLED, START, MOST = 8, 3, 128, 1024
    LONGEST_REST = 1024

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._credit = self.START
        self._seen = 0  # rows of the result at the last lesson
        self._rest = 1
        self._resting = 0

    def rests(self) -> bool:
        """Whether nothing shall be tried with the run that comes now."""
        if self._resting:
            self._resting -= 1
            return True
        return False

    def learn(self, key: int, buffer: bytes, position: int, rows: Sequence[Any]) -> bool:
        """Learn the row that begins there, whose layout is not the known one; whether it did."""
        count = len(rows)
        earned = count - self._seen if count >= self._seen else count  # of another result
        self._seen = count
        credit = self._credit + earned
        if credit >= self.MOST:
            credit, self._rest = self.MOST, 1
        if credit >= self.RECALLED and self._layouts.recall(key, buffer, position):
            self._credit = credit - self.RECALLED
            return True
        self._credit = credit - self.COST
        if self._credit >= 0:
            return self._layouts.learn(key, buffer, position)
        self._credit = self.START
        self._rest = min(2 * self._rest, self.LONGEST_REST)
        self._resting = self._rest
        return False


def keyed_source(kinds: Sequence[str]) -> str:
    """The source for rows whose columns are of these kinds."""
    columns = range(len(kinds))
    fixed = [n for n in columns if is_fixed(kinds[n])]
    is_wide = len(kinds) >= WIDE
    return _KEYED.format(
        need=max(LEAST, 7 + 4 * len(kinds)),
        names=", ".join(f"length_{n}, value_{n}" for n in columns),
        whole="unpacked = " * is_wide,
        found="unpacked[odd]"
        if is_wide
        else f"(length, {', '.join(f'length_{n}' for n in columns)})",
        count=len(kinds),
        conversions=indented("".join(conversion_of(n, kinds[n]) for n in fixed), 3),
        nullable="".join(_nullable(n, kinds[n]) for n in columns),
        values=", ".join(_VALUES.get(kinds[n], "value_{n}").format(n=n) for n in columns) + ",",
    )


def _nullable(n: int, kind: str) -> str:
    value = _VALUES.get(kind) or _NULLABLE.get(kind[-1], "value_{n}")
    return f"{' ' * 20}None if length_{n} < 0 else {value.format(n=n)},\n"
