"""Arrays laid flat: nested lists to dimensions and elements in order, and back.

Knows what a box of values is, as PostgreSQL's arrays are. Must not know any format.

Nothing here recurses: neither a user's lists nor what a server sends decides the depth of a
stack. The manual: "Arrays".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import DataError
from pgwire.pgtypes.codec import encoded, misfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgwire.pgtypes.codec import Codec

MAX_DIMENSIONS = 6
MAX_ELEMENTS = 2**27 - 1
# So many lists inside of each other are looked at.
MAX_DEPTH = MAX_DIMENSIONS + 2
FIRST_INDEX, LAST_INDEX = -(2**31), 2**31 - 1


class Array(list[Any]):
    """A list whose indexes in PostgreSQL do not begin at 1, as in "[0:1]={7,8}".

    `lower_bounds` has the first index of each dimension. In every other respect it is a list
    (and equal to one); the lists inside of it are plain. Results have it only where a bound is
    not 1; sent as a parameter it is the same array again.
    """

    lower_bounds: tuple[int, ...]

    def __init__(self, items: Iterable[Any] = (), lower_bounds: Sequence[int] = ()) -> None:
        super().__init__(items)
        self.lower_bounds = tuple(lower_bounds)

    def __repr__(self) -> str:
        return f"Array({super().__repr__()}, {self.lower_bounds!r})"


class Box(NamedTuple):
    """An array laid flat."""

    dimensions: list[int]
    bounds: Sequence[int]
    items: Sequence[Any]


def box_of(element: Codec, value: Any) -> Box:
    items = value
    if not isinstance(items, list) and not (isinstance(items, tuple) and not element.takes_tuple):
        items = _as_list(value)
    dimensions, leaves = flattened(items, element)
    bounds: Sequence[int] = (1,) * len(dimensions)
    if isinstance(value, Array) and dimensions and value.lower_bounds:
        bounds = value.lower_bounds
        check_bounds(dimensions, bounds)
    return Box(dimensions, bounds, leaves)


def _as_list(value: Any) -> list[Any]:
    """The list that a value stands for which is none itself; `DataError` if it is something else.

    Only what can be gone through more than once: a statement may have to be sent again.
    """
    if hasattr(type(value), "tolist") and not isinstance(value, memoryview):
        value = value.tolist()  # NumPy's arrays, array.array
        if isinstance(value, list):
            return value
    elif isinstance(value, tuple) or (
        isinstance(value, Collection)
        and not isinstance(value, str | bytes | bytearray | memoryview | Mapping)
    ):
        return list(value)
    raise misfit("list or tuple", value, "pass list(…)" if isinstance(value, Iterator) else "")


def check_bounds(dimensions: list[int], bounds: Sequence[int]) -> None:
    """`DataError` where these cannot be the lower bounds of an array of this shape."""
    if len(bounds) != len(dimensions):
        raise DataError(f"the array has {len(dimensions)} dimensions, but lower_bounds {bounds}")
    for length, bound in zip(dimensions, bounds, strict=True):
        if type(bound) is not int or not FIRST_INDEX <= bound <= LAST_INDEX - length:
            raise DataError(f"{bound!r} cannot be the lower bound of {length} elements")


def flattened(
    value: Sequence[Any], element: Codec | None = None
) -> tuple[list[int], Sequence[Any]]:
    """The lengths of nested lists by depth, and all elements; `DataError` if they differ."""
    if not value:
        return [], value
    tuples = element is None or not element.takes_tuple

    def is_list(item: Any) -> bool:
        return isinstance(item, list) or (type(item) is tuple and tuples)

    # How many dimensions there are, where an element is a list itself.
    wanted = None
    if element is not None and element.depth:
        wanted = max(1, _dimensions(element, value))
    dimensions = [len(value)]
    items = value
    while is_list(items[0]) if wanted is None else len(dimensions) < wanted:
        length = len(items[0]) if is_list(items[0]) else -1
        for item in items:
            if not is_list(item) or len(item) != length:
                raise DataError("the lists inside an array must all have the same length")
        dimensions.append(length)
        if not length:
            raise DataError("an array cannot hold empty lists; an empty array is []")
        if len(dimensions) > MAX_DIMENSIONS or prod(dimensions) > MAX_ELEMENTS:
            raise DataError(
                f"an array has at most {MAX_DIMENSIONS} dimensions and {MAX_ELEMENTS} elements"
            )
        items = [leaf for item in items for leaf in item]
    if wanted is None and any(map(is_list, items)):
        raise DataError("an array holds lists or elements, not both side by side")
    return dimensions, items


def _dimensions(element: Codec, value: Any) -> int:
    """How many dimensions an array has whose elements may be lists themselves."""
    if element.depth == MAX_DEPTH:  # an array of any shape, so there is no telling but this
        return 1
    depth, leaf, is_empty = _first_leaf(value, 0)
    if leaf is None:
        return depth - element.depth if is_empty else depth  # no element holds a NULL
    try:
        encoded(element, leaf)  # as a NumPy array, say, is a whole vector
    except DataError:
        return depth - element.depth
    return depth


def _first_leaf(value: Any, depth: int) -> tuple[int, Any, bool]:
    """How deep the first item that is not None lies, and the item.

    Where there is none, None, and whether that is because lists are empty.
    """
    if not isinstance(value, list | tuple) or depth == MAX_DEPTH:
        return depth, value, False
    found = depth + 1, None, not value
    for item in value:
        if item is not None:
            inner = _first_leaf(item, depth + 1)
            if inner[1] is not None:
                return inner
            found = max(found, inner, key=itemgetter(0))
    return found


def nested(dimensions: list[int], bounds: Sequence[int], items: list[Any]) -> list[Any]:
    """The elements as lists of lists: what `box_of` undoes."""
    for length in reversed(dimensions[1:]):
        items = [items[i : i + length] for i in range(0, len(items), length)]
    return items if bounds.count(1) == len(bounds) else Array(items, bounds)


def misplaced(error: DataError, box: Box, number: int) -> DataError:
    return DataError(f"element {_path(box.dimensions, number)}: {error}")


def _path(dimensions: list[int], number: int) -> str:
    """Where the element of this number stands, in Python's indexes: "[1][0]"."""
    indexes = []
    for length in reversed(dimensions):
        number, index = divmod(number, length)
        indexes.append(f"[{index}]")
    return "".join(reversed(indexes))
