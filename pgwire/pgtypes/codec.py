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
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN_TYPES = frozenset({int, float, Decimal, date, datetime, time, timedelta})
_SHOWN_LENGTH = 40
_SHOWN_BITS = 256


class Literal(str):
    """What `encode()` returns to say: send this as PostgreSQL's literal, in text format."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """The way of one type's values between Python and the wire, in both formats.

    `name` is pg_type's typname; `array_oid` is 0 where the type has no array. `decode` reads
    the binary value in buffer[start:end], `decode_text` the text format; both give the same
    Python value and raise `DataError` for anything else. `encode` gives binary bytes, or a
    `Literal`. `binary_results` says in which format results are asked for. `struct_code` is
    set where `struct.unpack(">" + struct_code, value)` is all that decoding is.
    """

    name: str
    oid: int
    array_oid: int
    decode: Callable[[bytes, int, int], Any]
    decode_text: Callable[[str], Any]
    encode: Callable[[Any], bytes | Literal]
    binary_results: bool = True
    takes_str: bool = False
    struct_code: str | None = None


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
