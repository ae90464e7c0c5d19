"""bool, the integers, oid and the floats: values of a fixed width, packed by `struct`.

Knows their ranges and text formats. Must not know any other type.

A bool is no integer here and an integer no bool: Python lets them pass for each other,
PostgreSQL does not, and True in a column of counts is a mistake in nearly every program.
Integers are whatever has `__index__`, floats whatever has `__float__`.

The closures below hold what they need as locals, for they run once per value. The manual:
"Numeric Types", "Boolean Type", "Object Identifier Types".
"""

from __future__ import annotations

import math
import re
import struct
from decimal import Decimal
from operator import index
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable

_float4 = struct.Struct(">f")
_float8 = struct.Struct(">d")
# What PostgreSQL prints; float() alone would also take "1_000", " 1" and "nan".
_is_float_text = re.compile(
    r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]{1,4})?|Infinity)|NaN", re.ASCII
).fullmatch


def _decoder(name: str, code: str) -> Callable[[bytes, int, int], Any]:
    fixed = struct.Struct(">" + code)
    size, unpack = fixed.size, fixed.unpack_from

    def decode(buffer: bytes, start: int, end: int) -> Any:
        if end - start != size:
            raise wrong_length(name, end - start)
        return unpack(buffer, start)[0]

    return decode


def integer_codec(name: str, oid: int, array_oid: int, code: str, low: int, high: int) -> Codec:
    """The codec of a type whose values are integers from `low` to `high`, packed as `code`."""
    pack = struct.Struct(">" + code).pack

    def encode(value: Any) -> bytes:
        if type(value) is not int:
            if isinstance(value, bool):
                raise misfit("int", value, "pass int(value)")
            try:
                value = index(value)
            except TypeError:
                raise misfit("int", value) from None
        try:
            return pack(value)
        except struct.error:
            raise misfit(f"int from {low} to {high}", value) from None

    def decode_text(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise malformed(name) from None
        # The server prints one form only; int() alone would also take " 1", "1_0" and "+1".
        if not low <= value <= high or str(value) != text:
            raise malformed(name)
        return value

    unpack = struct.Struct(">" + code).unpack

    def literal(value: Any) -> str:
        return str(unpack(encode(value))[0])

    return Codec(
        name,
        oid,
        array_oid,
        _decoder(name, code),
        decode_text,
        encode,
        literal,
        struct_code=code,
        gives="`int`",
        takes="`int` and whatever has `__index__` (`IntEnum`, NumPy's integers), but not `bool`",
    )


def _encode_bool(value: Any) -> bytes:
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):
        return b"\x01" if value else b"\x00"
    raise misfit("bool", value, "pass bool(value)" if isinstance(value, int) else "")


def _bool_literal(value: Any) -> str:
    return "t" if _encode_bool(value) == b"\x01" else "f"


def _decode_bool_text(text: str) -> bool:
    if text == "t":
        return True
    if text == "f":
        return False
    raise malformed("bool")


def _as_float(value: Any) -> float:
    """The nearest float; `DataError` where there is none, or only an infinity."""
    kind = type(value)
    # Not float(value) straight away: it would parse text and bytes.
    is_number = hasattr(kind, "__float__") or hasattr(kind, "__index__")
    if not is_number or isinstance(value, bool):
        raise misfit("float", value)
    try:
        result = float(value)
        # Decimal("1e400") becomes an infinity without complaint.
        if not math.isinf(result) or value == result:
            return result
    except (ArithmeticError, TypeError, ValueError):
        pass
    raise misfit("float within float8's range", value)


def _encode_float8(value: Any) -> bytes:
    return _float8.pack(value if type(value) is float else _as_float(value))


def _encode_float4(value: Any) -> bytes:
    if type(value) is not float:
        value = _as_float(value)
    try:
        return _float4.pack(value)
    except OverflowError:
        raise misfit("float within float4's range", value) from None


def float_text(value: float) -> str:
    """The float as PostgreSQL prints it, but for how it writes exponents."""
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float8_literal(value: Any) -> str:
    return float_text(_float8.unpack(_encode_float8(value))[0])


def _float4_literal(value: Any) -> str:
    # All digits of the float4 itself: PostgreSQL rounds them back to it.
    return float_text(_float4.unpack(_encode_float4(value))[0])


def _decode_float8_text(text: str) -> float:
    if not _is_float_text(text):
        raise malformed("float8")
    return float(text)


def _decode_float4_text(text: str) -> float:
    """The float4 that was printed, as the binary format gives it: 0.1 is 0.10000000149…

    The text must be rounded once. Rounding it to a double and that to a float4 goes wrong
    where the double lands half-way between two float4s, so an inexact double is first
    moved to its neighbour with an odd last bit, which is never half-way.
    """
    if not _is_float_text(text):
        raise malformed("float4")
    value = float(text)
    try:
        if math.isfinite(value):
            exact, near = Decimal(text), Decimal.from_float(value)
            if exact != near and not _float8.pack(value)[7] & 1:
                value = math.nextafter(value, math.inf if exact > near else -math.inf)
        result: float = _float4.unpack(_float4.pack(value))[0]
    except OverflowError:
        raise malformed("float4") from None
    return result


_FLOATS = "`float`, `int`, `Decimal` and whatever has `__float__`, but not `bool`; rounded"

INT2 = integer_codec("int2", oids.INT2, oids.INT2_ARRAY, "h", -(2**15), 2**15 - 1)
OID = integer_codec("oid", oids.OID, oids.OID_ARRAY, "I", 0, 2**32 - 1)
FLOAT4 = Codec(
    "float4",
    oids.FLOAT4,
    oids.FLOAT4_ARRAY,
    _decoder("float4", "f"),
    _decode_float4_text,
    _encode_float4,
    _float4_literal,
    struct_code="f",
    gives="`float`",
    takes=_FLOATS,
)
FLOAT8 = Codec(
    "float8",
    oids.FLOAT8,
    oids.FLOAT8_ARRAY,
    _decoder("float8", "d"),
    _decode_float8_text,
    _encode_float8,
    _float8_literal,
    struct_code="d",
    gives="`float`",
    takes=_FLOATS,
)
CODECS = (
    Codec(
        "bool",
        oids.BOOL,
        oids.BOOL_ARRAY,
        _decoder("bool", "?"),
        _decode_bool_text,
        _encode_bool,
        _bool_literal,
        struct_code="?",
        gives="`bool`",
        takes="`bool`, NumPy's bool",
    ),
    INT2,
    integer_codec("int4", oids.INT4, oids.INT4_ARRAY, "i", -(2**31), 2**31 - 1),
    integer_codec("int8", oids.INT8, oids.INT8_ARRAY, "q", -(2**63), 2**63 - 1),
    OID,
    FLOAT4,
    FLOAT8,
)
