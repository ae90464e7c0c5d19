"""numeric: `decimal.Decimal`, exactly, with its display scale.

Knows numeric's binary format and limits. Must not know any other type.

The binary format is a list of base-10000 digits: sum(digit[i] * 10000 ** (weight - i)),
with a sign and the display scale, that is the number of decimal places shown (so that 1.50
stays 1.50). Turning it into a `Decimal` costs fifteen times as much as parsing the text, so
results are asked for in text; the binary format serves arrays and parameters.

Everything goes through decimal strings, which is linear in the number of digits; integers
in between would be quadratic and stumble over Python's limit on their length. The caller's
decimal context has no say in it: conversions use a context of our own that never rounds.
The manual: "Arbitrary Precision Numbers".
"""

from __future__ import annotations

import struct
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from operator import index
from typing import Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length

# float64 is a float.
_NUMPY_FLOATS = frozenset({"float16", "float32", "longdouble"})
_POSITIVE, _NEGATIVE = 0x0000, 0x4000
_SPECIAL_OF_SIGN = {
    0xC000: Decimal("NaN"),
    0xD000: Decimal("Infinity"),
    0xF000: Decimal("-Infinity"),
}
_SPECIAL_OF_TEXT = {
    "NaN": Decimal("NaN"),
    "Infinity": Decimal("Infinity"),
    "-Infinity": Decimal("-Infinity"),
}
_NAN = struct.pack(">HhHH", 0, 0, 0xC000, 0)
_INFINITY = struct.pack(">HhHH", 0, 0, 0xD000, 0)
_MINUS_INFINITY = struct.pack(">HhHH", 0, 0, 0xF000, 0)

_MAX_INTEGER_DIGITS = 131072
_MAX_SCALE = 16383
_MAX_BITS = 435412  # of an integer with so many digits
_RANGE = f"number with at most {_MAX_INTEGER_DIGITS} digits before and {_MAX_SCALE} after the point"

_header = struct.Struct(">HhHH")  # number of digits, weight, sign, display scale
# Unlike Decimal(), create_decimal() takes neither blanks nor underscores.
_to_decimal = Context(
    prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation]
).create_decimal


def _decode_text(text: str) -> Decimal:
    try:
        value = _to_decimal(text)
    except (InvalidOperation, ValueError):
        raise malformed("numeric") from None
    if value.is_finite():
        return value
    if text not in _SPECIAL_OF_TEXT:  # "sNaN", "nan123", an exponent beyond all bounds
        raise malformed("numeric")
    return _SPECIAL_OF_TEXT[text]


def _decode(buffer: bytes, start: int, end: int) -> Decimal:
    if end - start < 8:
        raise wrong_length("numeric", end - start)
    count, weight, sign, scale = _header.unpack_from(buffer, start)
    if end - start != 8 + 2 * count:
        raise wrong_length("numeric", end - start)
    if sign in _SPECIAL_OF_SIGN and count == 0:
        return _SPECIAL_OF_SIGN[sign]
    if sign not in (_POSITIVE, _NEGATIVE) or scale > _MAX_SCALE:
        raise malformed("numeric")
    if count == 0:
        return _to_decimal(f"0E-{scale}")
    groups = struct.unpack_from(f">{count}H", buffer, start + 8)
    if max(groups) > 9999:
        raise malformed("numeric")
    digits = "%04d" * count % groups
    # The last of them stands so many decimal places after the point; `scale` must.
    hidden = 4 * (count - 1 - weight) - scale
    if hidden > 0:
        if digits[-hidden:].strip("0"):
            raise malformed("numeric")
        digits = digits[:-hidden] or "0"
    else:
        digits += "0" * -hidden
    return _to_decimal(f"{'-' if sign else ''}{digits}E-{scale}")


def _as_decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool):
        raise misfit("Decimal, int or float", value, "pass int(value)")
    if isinstance(value, float):
        return Decimal(float.__repr__(value))  # what is seen, not all its binary digits
    if type(value).__module__ == "numpy" and type(value).__name__ in _NUMPY_FLOATS:
        return Decimal(str(value))
    try:
        value = index(value)
    except TypeError:
        raise misfit("Decimal, int or float", value) from None
    if value.bit_length() > _MAX_BITS:
        raise misfit(_RANGE, value)
    return Decimal(value)


def _encode_special(value: Decimal) -> bytes:
    if value.is_infinite():
        return _MINUS_INFINITY if value.is_signed() else _INFINITY
    if value.is_snan():
        raise misfit("Decimal", value, "numeric has no signalling NaN")
    return _NAN


def _plain_digits(value: Decimal) -> tuple[str, str]:
    """The digits before and after the point, without sign, exponent and leading zeros.

    Raises `DataError` if there are more than numeric holds, before a large exponent takes
    any memory.
    """
    adjusted = value.adjusted()  # the exponent of the first digit
    if not value and adjusted > 0:
        return "", ""  # 0E+5
    if not -_MAX_SCALE <= adjusted < _MAX_INTEGER_DIGITS:
        raise misfit(_RANGE, value)
    whole, _, fraction = Decimal.__format__(value, "f").lstrip("-").partition(".")
    if len(fraction) > _MAX_SCALE:
        raise misfit(_RANGE, value)
    return whole.lstrip("0"), fraction


def _encode(value: Any) -> bytes:
    if type(value) is not Decimal:
        value = _as_decimal(value)
    if not value.is_finite():
        return _encode_special(value)
    whole, fraction = _plain_digits(value)
    weight = (len(whole) + 3) // 4 - 1
    digits = (whole.rjust(4 * (weight + 1), "0") + fraction).rstrip("0")
    if not whole:  # as in 0.00005; the server takes empty groups in front, but sends none
        leading = (len(digits) - len(digits.lstrip("0"))) // 4
        digits = digits[4 * leading :]
        weight = weight - leading if digits else 0
    digits += "0" * (-len(digits) % 4)
    groups = [int(digits[i : i + 4]) for i in range(0, len(digits), 4)]
    sign = _NEGATIVE if value < 0 else _POSITIVE
    return struct.pack(f">HhHH{len(groups)}H", len(groups), weight, sign, len(fraction), *groups)


def _literal(value: Any) -> str:
    return _text_of(_encode(value))


def _text_of(data: bytes) -> str:
    return format(_decode(data, 0, len(data)), "f")


CODEC = Codec(
    "numeric",
    oids.NUMERIC,
    oids.NUMERIC_ARRAY,
    _decode,
    _decode_text,
    _encode,
    _literal,
    binary_results=False,
    gives="`decimal.Decimal`",
    takes="`Decimal`, `int` and whatever has `__index__`, `float` as it is printed; not `bool`",
)
