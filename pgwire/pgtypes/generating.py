"""Generating: what the generators of decoders share, of rows and of rows inside of rows.

A kind is all that gets into a source: a struct code, maybe with a mark behind it that says how a
value is made of what is unpacked, or a word for values that have no width.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgwire.pgtypes.codec import Converted

# The bytes are text in UTF-8, and the text is the value.
TEXT = "text"
# A function makes the value of the bytes.
OTHER = "other"
# Behind a struct code: a function makes the value of what is unpacked.
CONVERTED = "<"
# Behind a struct code: the value is a number of steps from an origin, if that does not overflow.
COUNTED = "~"

_CONVERSIONS = {
    CONVERTED: """\
value_{n} = convert_{n}(value_{n})
""",
    COUNTED: """\
try:
    value_{n} = origin_{n} + step_{n} * value_{n}
except OverflowError:
    value_{n} = convert_{n}(value_{n})
""",
}


def kind_of(steps: Converted) -> str:
    """The kind of values of one width, which are unpacked like this."""
    if steps.convert is None:
        return steps.code
    return steps.code + (CONVERTED if steps.step is None else COUNTED)


def struct_code(kind: str) -> str:
    """What unpacks a value of a fixed width."""
    return kind.rstrip(CONVERTED + COUNTED)


def width(codes: str) -> int:
    """How many bytes these struct codes take, without gaps between them."""
    return Struct("!" + codes).size


def conversion_of(n: int, kind: str) -> str:
    """The source that makes value `n` of what was unpacked; empty where it is that."""
    return _CONVERSIONS.get(kind[-1], "").format(n=n)


def indented(source: str, levels: int) -> str:
    return "".join(" " * 4 * levels + line for line in source.splitlines(keepends=True))
