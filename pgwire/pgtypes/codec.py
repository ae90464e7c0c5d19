"""What a codec is: one PostgreSQL type's values between Python and the wire.

Knows the shape of a codec, and how a value that does not fit is described. Must not know
any type, nor parameters, positions and NULL: those are the caller's.

The caller sends None as NULL without asking a codec, and a `str` for a type whose codec has
`takes_str` False as PostgreSQL's own text literal. It knows which parameter a `DataError`
of `encode()` belongs to and says so; the codec says only what was expected and what came.
Such a reason names the Python type always, the value itself only where it is a number or a
date or time: text, bytes and JSON may be secret and end up in logs.

`decode()` reads a value in place from a larger buffer, because slicing each value first
would cost as much as most decoding does. The caller answers for 0 <= start <= end <=
len(buffer). Whatever the bytes are, nothing but `DataError` comes out of a decoder.

Values inside of others (elements of arrays, bounds of ranges, fields of composites) are written
in the format of the whole. A whole with a part that can only be text is text altogether, which is
what `literal()` is for: `part_bytes` and `part_literal` are how a whole writes its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SHOWN_TYPES = frozenset({int, float, Decimal, date, datetime, time, timedelta})
_SHOWN_LENGTH = 40
_SHOWN_BITS = 256


class Literal(str):
    """What `encode()` returns to say: send this as PostgreSQL's literal, in text format."""

    __slots__ = ()


class UnknownTypes(DataError):
    """A value names types, by their `oids`, that are not known or not what they were.

    The caller may look them up and decode once more.
    """

    oids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, name: str, oids: Iterable[int]) -> UnknownTypes:
        error = cls(f"the server's {name} has values of types that could not be looked up")
        error.oids = frozenset(oids)
        return error


class NeedsText(Exception):
    """A part of a value can be written as text only, and so must be the whole."""


class Converted(NamedTuple):
    """A decoder in two steps, for those who unpack many values at once.

    What `decode` gives for bytes of the right length is `convert(number)` for the number (or the
    bytes) that `code` unpacks, for struct: the same value, or the same `DataError`. Where there is
    a `step`, it is `origin + step * number` as well, whenever that does not raise OverflowError.
    Without `convert` what `code` unpacks is the value.
    """

    code: str
    decode: Callable[[bytes, int, int], Any]
    convert: Callable[[Any], Any] | None = None
    origin: Any = None
    step: Any = None


# By the struct code of a type: such a value is packed from this class as `encode` would, and from
# no other.
PACKED_FROM = {"h": int, "i": int, "q": int, "I": int, "d": float, "?": bool}


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """The way of one type's values between Python and the wire, in both formats.

    `name` is pg_type's typname, or that of an array's elements and "[]"; `array_oid` is 0 where
    the type has no array. `decode` reads the binary value in buffer[start:end], `decode_text`
    the text format; both give the same Python value and raise `DataError` for anything else.
    `encode` gives binary bytes, or a `Literal`; `literal` PostgreSQL's text of the same value.
    """

    name: str
    oid: int
    array_oid: int
    decode: Callable[[bytes, int, int], Any]
    decode_text: Callable[[str], Any]
    encode: Callable[[Any], bytes | Literal]
    literal: Callable[[Any], str]
    # In which format results are asked for.
    binary_results: bool = True
    # Whether `decode` gives what `decode_text` gives; where not, all that holds it is text too.
    has_binary: bool = True
    # Whether a `str` is a value of the type like any other, and no literal.
    takes_str: bool = False
    # Set where `struct.unpack(">" + struct_code, value)` is all that decoding is.
    struct_code: str | None = None
    # How `decode` decodes, for a type of fixed width. It names the `decode` that it is about: of
    # a codec that was made of this one with another, it says nothing.
    converted: Converted | None = None
    # Set where `encode` packs what a function makes of the value: its struct code, and the function
    # that gives a tuple of one number, or raises what `encode` raises, or ValueError.
    number: tuple[str, Callable[[Any], tuple[int, ...]]] | None = None
    # What stands between the elements in the text of an array (pg_type's typdelim).
    delimiter: str = ","
    # How many lists deep a single value is: 1 for a vector, whose array is a list of lists.
    depth: int = 0
    # Whether a plain tuple is a value, and not a dimension of an array.
    takes_tuple: bool = False
    # Whether binary values name types themselves, so that `decode` may raise `UnknownTypes`.
    is_open: bool = False
    is_json: bool = False
    # For the documentation: what results are, and what parameters may be beside `str` and None.
    gives: str = ""
    takes: str = ""


def unpacking(codec: Codec) -> Converted | None:
    """How `decode` does it; None for a type without one width, or one that does not say."""
    if codec.struct_code:
        return Converted(codec.struct_code, codec.decode)
    steps = codec.converted
    return steps if steps is not None and steps.decode is codec.decode else None


def encoded(codec: Codec, value: Any) -> bytes | Literal:
    """A value, which is not None, for the wire.

    A member of an enumeration stands for its value where it is none of the type's own values.
    """
    if isinstance(value, str) and not codec.takes_str:
        return Literal(str.__str__(value))
    try:
        return codec.encode(value)
    except DataError:
        if not isinstance(value, Enum) or value.value is None:
            raise
        return encoded(codec, value.value)


def part_bytes(codec: Codec, value: Any) -> bytes:
    """A part of a larger binary value, which is not None; `NeedsText` where that cannot be."""
    data = encoded(codec, value)
    if isinstance(data, Literal):
        raise NeedsText
    return data


def part_literal(codec: Codec, value: Any) -> str:
    """A part of a larger text, which is not None, before it is quoted."""
    if isinstance(value, str) and not codec.takes_str:
        text = str.__str__(value)
        if "\0" in text:
            raise DataError(f"str with a NUL character at index {text.index(chr(0))}")
        return text
    try:
        return codec.literal(value)
    except DataError:
        if not isinstance(value, Enum) or value.value is None:
            raise
        return part_literal(codec, value.value)


def binary_or_text(
    has_binary: bool, binary: Callable[[Any], bytes], literal: Callable[[Any], str]
) -> Callable[[Any], bytes | Literal]:
    """The `encode` of a type that is made of others: text where one of its parts has to be."""

    def encode(value: Any) -> bytes | Literal:
        if has_binary:
            try:
                return binary(value)
            except NeedsText:
                pass
        return Literal(literal(value))

    return encode


def text_only(literal: Callable[[Any], str]) -> Callable[[Any], Literal]:
    """The `encode` of a type whose values are always sent as text."""

    def encode(value: Any) -> Literal:
        return Literal(literal(value))

    return encode


def misfit(expected: str, value: object, hint: str = "") -> DataError:
    """The error for a parameter of the wrong kind: "expected int, got float 1.5; round it"."""
    return DataError(f"expected {expected}, got {_described(value)}{'; ' if hint else ''}{hint}")


def malformed(name: str) -> DataError:
    """The error for a result that is not what the type's text or binary format allows."""
    return DataError(f"the server's value is not a valid {name}")


def wrong_length(name: str, length: int) -> DataError:
    """The error for a binary value of a length that the type cannot have."""
    return DataError(f"the server's value is not a valid {name}: it has {length} bytes")


def _described(value: object) -> str:
    """The value's type, and the value where it can be no secret, on one short line."""
    name = type(value).__name__
    if type(value) not in _SHOWN_TYPES:
        return name
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"{name} of {value.bit_length()} bits"  # str() would be slow, or refuse
    text = str(value)
    return f"{name} {text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + '…'}"
