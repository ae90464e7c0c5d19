"""Packing: what values that are to be sent are to the generators of code that packs them.

A value is of one of these kinds: a struct code, whose values are packed as they are; a struct
code and "<", whose values a function of the type turns into a number first; `TEXT`; `OTHER`, what
the type's own `encode` makes of it. Only kinds and numbers get into a source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.codec import PACKED_FROM
from pgwire.pgtypes.generating import OTHER, TEXT
from pgwire.pgtypes.text import decode_utf8

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.pgtypes.codec import Codec

# What is usual of a value; whatever else it may be is left to the plain encoder.
TESTS = {code: f"value_{{n}}.__class__ is {kind.__name__}" for code, kind in PACKED_FROM.items()}
TESTS |= {
    TEXT: "value_{n}.__class__ is str",
    OTHER: "value_{n} is not None and value_{n}.__class__ is not str",
    "i<": "value_{n} is not None",
    "q<": "value_{n} is not None",
}


def packed_kind(codec: Codec) -> tuple[str, Callable[[Any], Any] | None]:
    """Of which kind values of this type are, and the function that belongs to it."""
    if codec.takes_str and codec.decode is decode_utf8:
        return TEXT, None
    if codec.number is not None:
        code, number = codec.number
        return f"{code}<", number
    if codec.struct_code in PACKED_FROM:
        return codec.struct_code, None
    return OTHER, codec.encode
