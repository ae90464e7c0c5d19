"""Result: what a query gives to its caller.

It keeps the plain tuples that the decoder made, until rows (`pgtypes.row`) are asked for, which
take their place.
"""

from __future__ import annotations

from collections import deque
from itertools import repeat, starmap
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pgwire.errors import InterfaceError, NoRows, TooManyRows
from pgwire.pgtypes.row import Row as Row, row_class as row_class
from pgwire.protocol.collector import uncollected
from pgwire.protocol.mapping import dicts, mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgwire.protocol.messages import Column

# From so many rows on it pays to make them by `starmap`, and to spare the collector.
_SEVERAL, _MANY = 16, 256
# Rows that are made before the memory of their tuples is free for the next ones.
_PIECE = 512
_NO_COLUMNS = "the query returned rows without columns, and its first column was asked for"
_go_through = deque[None](maxlen=0).extend

R = TypeVar("R")
T = TypeVar("T")


def _row_type(columns: Sequence[Column]) -> type[Row]:
    return row_class(tuple([column.name for column in columns]))


class Result(Generic[R]):
    """What one statement gave: rows, their columns, and the command tag.

    `len()`, iteration, indexing and truth are those of `rows`.
    """

    __slots__ = ("_row_type", "_rows", "_tuples", "columns", "command_tag")

    columns: tuple[Column, ...]
    command_tag: str

    def __init__(
        self,
        tuples: list[Any],
        columns: tuple[Column, ...],
        command_tag: str,
        row_type: type[Row] | None = None,
    ) -> None:
        self._tuples = tuples
        self._rows: list[R] | None = None
        self._row_type: Any = row_type or _row_type(columns)
        self.columns = columns
        self.command_tag = command_tag

    def __repr__(self) -> str:
        return f"<Result {self.command_tag!r}, {len(self._tuples)} rows>"

    def __reduce__(self) -> tuple[Callable[..., Result[R]], tuple[Any, ...]]:
        # Each has lists of its own, as rows come to be in the place of tuples.
        tuples = list(self._tuples)
        rows = tuples if self._rows is self._tuples else self._rows
        return _restore_result, (tuples, self.columns, self.command_tag, rows)

    @property
    def rows(self) -> list[R]:
        """All rows, as a list that is the caller's own."""
        rows = self._rows
        if rows is None:
            self._rows = self._tuples = rows = _made(self._row_type, self._tuples)
        return rows

    @property
    def command(self) -> str:
        """The command as the tag names it: "SELECT", "INSERT", "CREATE TABLE"."""
        return self.command_tag.rstrip(" 0123456789")

    @property
    def row_count(self) -> int | None:
        """The rows selected or changed, as the tag says; None for commands without a count."""
        last = self.command_tag.rpartition(" ")[2]
        # No count is longer, and int() refuses what a server that lies might send.
        return int(last) if last.isdecimal() and len(last) <= 20 else None

    def __len__(self) -> int:
        return len(self._tuples)

    def __bool__(self) -> bool:
        return bool(self._tuples)

    def __iter__(self) -> Iterator[R]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        return self.rows[index]

    def one(self) -> R:
        """The one row. `NoRows` or `TooManyRows` if there is not exactly one."""
        if not self._tuples:
            raise NoRows("the query returned no row, one was asked for")
        if len(self._tuples) > 1:
            raise TooManyRows(f"the query returned {len(self._tuples)} rows, one was asked for")
        return self.rows[0] if self._rows is not None else self._row_type(self._tuples[0])

    def first(self) -> R | None:
        """The first row, None if there is none."""
        return self[0] if self._tuples else None

    def scalar(self) -> Any:
        """The first column of the first row, None if there is no row."""
        try:
            return self._tuples[0][0] if self._tuples else None
        except IndexError:
            raise InterfaceError(_NO_COLUMNS) from None

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        try:
            return [row[0] for row in self._tuples]
        except IndexError:
            raise InterfaceError(_NO_COLUMNS) from None

    def dicts(self) -> list[dict[str, Any]]:
        """Every row as a dict; of a repeated name the last column wins."""
        return dicts([column.name for column in self.columns], self._tuples)

    def mapped(self, make: type[T] | Callable[[Row], T]) -> Result[T]:
        """The same result with rows of another shape (see `query(..., row=)`)."""
        were_made = self._rows is self._tuples
        tuples = list(map(tuple, self._tuples) if were_made else self._tuples)
        mapped: Result[Any] = Result(tuples, self.columns, self.command_tag, self._row_type)
        mapped._rows = mapping(make, self._row_type._names)(tuples)
        return mapped


def _made(make: Callable[..., Any], tuples: list[Any]) -> list[Any]:
    """The rows. Many take the places of their tuples, without the garbage collector.

    `starmap` calls with the tuple that `zip` makes, and makes but once. By pieces, rows are made
    where the tuples before them were, which the processor has in its cache. Only C code runs in
    between, so no other thread does, and Ctrl-C waits; what it left half done would be begun anew,
    as a row of a row is the same.
    """
    if len(tuples) < _SEVERAL:
        return list(map(make, tuples))
    if len(tuples) < _MANY:
        return list(starmap(make, zip(tuples)))  # noqa: RUF058 - a tuple for each call less
    pieces = [slice(at, at + _PIECE) for at in range(0, len(tuples), _PIECE)]
    rows = map(starmap, repeat(make), map(zip, map(tuples.__getitem__, pieces)))
    uncollected(_go_through, map(tuples.__setitem__, pieces, rows))
    return tuples


def _restore_result(
    tuples: list[tuple[Any, ...]],
    columns: tuple[Column, ...],
    command_tag: str,
    rows: list[Any] | None,
) -> Result[Any]:
    result: Result[Any] = Result(tuples, columns, command_tag)
    result._rows = rows
    return result
