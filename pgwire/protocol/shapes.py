"""Shapes: what the columns of a result are to the generators of row decoders.

A kind is all that gets into a source: one of `pgtypes.generating`, or the word below. The functions
and values that belong to a column are put beside the source, under the number of the column.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.pgtypes.codec import unpacking
from pgwire.pgtypes.generating import OTHER, TEXT, kind_of
from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol.decoder import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pgwire.pgtypes import Codec
    from pgwire.protocol.decoder import ValueDecoder

# The bytes are text in UTF-8, and a function makes the value of it.
PARSED = "parsed"

# With more columns than these no row is unpacked in one call.
MOST_COLUMNS = 100


class Shape(NamedTuple):
    """One column: its kind, its decoder, and what else there is to its kind."""

    kind: str
    decode: ValueDecoder
    convert: Callable[[Any], Any] | None = None  # for PARSED, CONVERTED and COUNTED
    origin: Any = None
    step: Any = None


def shape_of(decode: ValueDecoder, codec: Codec) -> Shape:
    """The shape of a column of this type, whose values `decode` decodes.

    What `decode` does not say itself is known of the codec's own alone.
    """
    if decode is decode_utf8:
        return Shape(TEXT, decode)
    if isinstance(decode, partial) and decode.func is parse_value:
        return Shape(PARSED, decode, decode.args[0])
    steps = unpacking(codec) if decode is codec.decode else None
    if steps is None:
        return Shape(OTHER, decode)
    return Shape(kind_of(steps), decode, steps.convert, steps.origin, steps.step)


def is_fixed(kind: str) -> bool:
    """Whether all values have one width."""
    return kind not in (TEXT, PARSED, OTHER)


def all_fixed(kinds: Sequence[str]) -> bool:
    """Whether all rows without NULLs have one width, and there are columns."""
    return bool(kinds) and all(map(is_fixed, kinds))


def has_layouts(kinds: Sequence[str]) -> bool:
    """Whether one call can unpack a row, once it is known how long its values are."""
    return OTHER not in kinds and 0 < len(kinds) <= MOST_COLUMNS


def names_of(shapes: Iterable[Shape]) -> dict[str, Any]:
    """The names that a source knows its columns' functions and values by."""
    names: dict[str, Any] = {}
    for n, shape in enumerate(shapes):
        names[f"decode_{n}"] = shape.decode
        names[f"convert_{n}"] = shape.convert
        names[f"origin_{n}"] = shape.origin
        names[f"step_{n}"] = shape.step
    return names
