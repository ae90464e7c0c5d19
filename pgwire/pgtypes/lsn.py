"""Lsn: a place in the write-ahead log, as a number that looks as PostgreSQL writes it.

Knows the text of a pg_lsn. Must not know where such places come from.
"""

from __future__ import annotations

import re
from operator import index
from typing import Any, Self

from pgwire.errors import DataError

_LAST = 2**64 - 1
_match = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII).fullmatch


class Lsn(int):
    """A place in the write-ahead log: an `int`, the number of bytes before it.

    `Lsn("16/B374D848")` reads PostgreSQL's text, and `str()` writes it. Lsns compare and subtract
    as the numbers that they are, and are parameters of type pg_lsn as they stand; values of such
    columns are `str`, which this reads. Raises `DataError` for what is none. Manual: "pg_lsn Type".
    """

    __slots__ = ()

    def __new__(cls, position: int | str = 0) -> Self:
        number = _number(position)
        if number is None or not 0 <= number <= _LAST:
            raise DataError(
                'a place in the write-ahead log is a str like "16/B374D848", or an int from 0 to '
                f"2**64 - 1, and not the {type(position).__name__} that was given"
            )
        return super().__new__(cls, number)

    def __str__(self) -> str:
        return lsn_text(self)

    def __repr__(self) -> str:
        return f"Lsn('{self}')"

    def __reduce__(self) -> tuple[type[Lsn], tuple[int]]:
        return Lsn, (int(self),)


def _number(position: Any) -> int | None:
    if isinstance(position, str):
        match = _match(position)
        return None if match is None else int(match[1], 16) << 32 | int(match[2], 16)
    if isinstance(position, bool):
        return None
    try:
        return index(position)
    except TypeError:
        return None


def lsn_text(number: int) -> str:
    """The text of a place in the log."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
