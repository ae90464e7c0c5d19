"""Row and Result: what a query gives to its caller.

A `Row` is a tuple; names are properties of a subclass made once per layout and shared by
every statement with the same column names. `Result` keeps the plain tuples that the decoder
made and turns them into rows when they are first asked for.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from pgwire.errors import InterfaceError, NoRows, TooManyRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgwire.protocol.messages import Column

R = TypeVar("R")
T = TypeVar("T")


class Row(tuple[Any, ...]):
    """One row: a tuple that also answers `row.name` and `row["name"]`.

    A column's name wins over the tuple's own method (`count`, `index`), and of a repeated
    name the last column wins; any column is reachable by its index. Names that Python
    keeps for itself (`__class__` and the like) and `_asdict` are reachable as `row["…"]`.
    """

    __slots__ = ()

    _names: tuple[str, ...] = ()
    _positions: Mapping[str, int] = {}

    def _asdict(self) -> dict[str, Any]:
        """The row as a dict, in the order of the columns."""
        return dict(zip(self._names, self, strict=True))

    def __getitem__(self, key: Any) -> Any:
        if key.__class__ is str:
            try:
                key = self._positions[key]
            except KeyError:
                raise KeyError(_no_column(key, self._names)) from None
        return tuple.__getitem__(self, key)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
    else:

        def __getattr__(self, name):
            raise AttributeError(_no_column(name, self._names), name=name, obj=self)

    def __repr__(self) -> str:
        inner = ", ".join(f"{n}={v!r}" for n, v in zip(self._names, self, strict=True))
        return f"Row({inner})"

    def __reduce__(self) -> tuple[Callable[..., Row], tuple[Any, ...]]:
        return _restore_row, (self._names, tuple(self))


def _no_column(name: str, names: Sequence[str]) -> str:
    return f"no column {name!r}; there are: {', '.join(names) or 'none'}"


def _restore_row(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return row_class(names)(values)


@lru_cache(maxsize=1024)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """The class of rows with these columns."""
    body: dict[str, Any] = {
        "__slots__": (),
        "_names": names,
        "_positions": {name: index for index, name in enumerate(names)},
    }
    for index, name in enumerate(names):
        reserved = name in _RESERVED or (name.startswith("__") and name.endswith("__"))
        if name.isidentifier() and not reserved:
            body[name] = property(itemgetter(index))
    return type("Row", (Row,), body)


_RESERVED = frozenset({"_asdict", "_names", "_positions"})


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
        tuples: list[tuple[Any, ...]],
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
        return _restore_result, (self._tuples, self.columns, self.command_tag, self._rows)

    @property
    def rows(self) -> list[R]:
        """All rows, as a list that is the caller's own."""
        rows = self._rows
        if rows is None:
            self._rows = rows = list(map(self._row_type, self._tuples))
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
        return self._tuples[0][0] if self._tuples else None

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self._tuples]

    def dicts(self) -> list[dict[str, Any]]:
        """Every row as a dict; of a repeated name the last column wins."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self._tuples]

    def mapped(self, make: Callable[..., T]) -> Result[T]:
        """The same result with rows of another shape (see `query(..., row=)`)."""
        names = [column.name for column in self.columns]
        mapped: Result[Any] = Result(self._tuples, self.columns, self.command_tag, self._row_type)
        if make is tuple:
            mapped._rows = list(self._tuples)
        elif make is dict:
            mapped._rows = self.dicts()
        elif make is Row:
            pass  # what `rows` makes by itself: `Row` alone knows no names
        elif isinstance(make, type):
            if len(set(names)) < len(names):
                raise InterfaceError(
                    f"rows cannot become {make.__name__}: a column name is repeated "
                    f"({', '.join(names)}); give each its own name with AS"
                )
            mapped._rows = [make(**dict(zip(names, row, strict=True))) for row in self._tuples]
        else:
            mapped._rows = [make(self._row_type(row)) for row in self._tuples]
        return mapped


def _restore_result(
    tuples: list[tuple[Any, ...]],
    columns: tuple[Column, ...],
    command_tag: str,
    rows: list[Any] | None,
) -> Result[Any]:
    result: Result[Any] = Result(tuples, columns, command_tag)
    result._rows = rows
    return result
