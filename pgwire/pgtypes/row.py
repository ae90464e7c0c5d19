"""Row: a tuple with names, as results and composite values are.

Names are properties of a subclass made once per layout and shared by every statement with the same
column names, and every composite type with the same attributes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

try:
    # What named tuples have: gets an item past `__getitem__`, without a call of Python.
    from _collections import _tuplegetter  # type: ignore[import-not-found]
except ImportError:  # pragma: no cover - an implementation that is not CPython

    def _tuplegetter(index: int, doc: str | None) -> Any:
        return property(lambda row: tuple.__getitem__(row, index), doc=doc)


class Row(tuple[Any, ...]):
    """One row: a tuple that also answers `row.name` and `row["name"]`.

    A column's name wins over the tuple's own method (`count`, `index`), and of a repeated
    name the last column wins; any column is reachable by its index. Names that Python
    keeps for itself (`__class__` and the like) and `_asdict` are reachable as `row["…"]`.
    """

    __slots__ = ()

    _names: tuple[str, ...] = ()

    def _asdict(self) -> dict[str, Any]:
        """The row as a dict, in the order of the columns."""
        return dict(zip(self._names, self, strict=True))

    if TYPE_CHECKING:

        def __getitem__(self, key: Any) -> Any: ...
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
    attributes: dict[int | str, str] = {}  # which one has a column, by its index and its name
    body: dict[str, Any] = {
        "__slots__": (),
        "__getitem__": _item_getter(names, attributes),
        "_names": names,
    }
    for index, name in enumerate(names):
        getter = _getter(index)
        # Not an identifier, so that it is no column's.
        attributes[index] = attributes[index - len(names)] = attributes[name] = str(index)
        body[str(index)] = getter
        reserved = name in _RESERVED or (name.startswith("__") and name.endswith("__"))
        if name.isidentifier() and not reserved:
            body[name] = getter
    return type("Row", (Row,), body)


def _item_getter(names: tuple[str, ...], attributes: Mapping[int | str, str]) -> Any:
    """The `__getitem__` of a class. It takes 55 ns (3.11), by `tuple.__getitem__` 140."""

    def __getitem__(self: Row, key: Any) -> Any:
        try:
            return getattr(self, attributes[key])
        except (KeyError, TypeError):  # no such column, or a slice
            if key.__class__ is str:
                raise KeyError(_no_column(key, names)) from None
        return tuple.__getitem__(self, key)

    return __getitem__


@lru_cache(maxsize=128)
def _getter(index: int) -> Any:
    """What an attribute of a row is that has this column."""
    return _tuplegetter(index, None)


_RESERVED = frozenset({"_asdict", "_names"})
