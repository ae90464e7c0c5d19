"""Row: a tuple with names, as results and composite values are.

Names are properties of a subclass made once per layout and shared by every statement with the same
column names, and every composite type with the same attributes.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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
