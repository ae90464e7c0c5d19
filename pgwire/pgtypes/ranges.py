"""Ranges and multiranges of any type: `Range` and `Multirange`.

Knows both formats of ranges and multiranges. Must not know any type of bounds; all it has is the
codec of the bounds, or of the ranges.

A bound that can only be text makes its range text, and that the multirange. Which ranges mean
the same (`[1,3]` and `[1,4)` of integers) depends on the type, and the server knows; it sends
ranges of integers and dates as `[)` always. The manual: "Range Types"; binary format:
`range_recv` and `multirange_recv` in PostgreSQL's sources.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from pgwire.errors import DataError
from pgwire.pgtypes.codec import (
    Codec,
    binary_or_text,
    malformed,
    misfit,
    part_bytes,
    part_literal,
    unpacking,
    wrong_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    _Decoder = Callable[[bytes, int, int], "Range[Any]"]

T_co = TypeVar("T_co", covariant=True)
_Written = TypeVar("_Written", bytes, str)

_BOUNDS = ("[]", "[)", "(]", "()")
_length = struct.Struct(">i")
_EMPTY, _LOWER_INC, _UPPER_INC, _LOWER_INF, _UPPER_INF = 0x01, 0x02, 0x04, 0x08, 0x10
_FINITE = _LOWER_INC | _UPPER_INC
# No server sends others: an unbounded side is exclusive, and an empty range nothing else.
_BOUNDS_OF_FLAGS = {
    lower | upper: ("[" if lower == _LOWER_INC else "(") + ("]" if upper == _UPPER_INC else ")")
    for lower in (0, _LOWER_INC, _LOWER_INF)
    for upper in (0, _UPPER_INC, _UPPER_INF)
}
_ONE_SIDED = {n for n in _BOUNDS_OF_FLAGS if (n & (_LOWER_INF | _UPPER_INF)).bit_count() == 1}

# A bound's text: between quotes, or bare, or nothing where there is none.
_bound = r'(?:"((?:[^"\\]++|""|\\.)*+)"|([^"\\()\[\], \t\n\v\f\r]*+))'
_match_range = re.compile(rf"empty|([\[(]){_bound},{_bound}([\])])", re.DOTALL).match
_unescape = re.compile(r'\\(.)|""', re.DOTALL).sub


class Range(Generic[T_co]):
    """PostgreSQL's range: the values from `lower` to `upper`, or `Range.empty()`.

    A side that is None is unbounded. `bounds` says which sides belong to the range: one of
    "[]", "[)", "(]" and "()"; an unbounded side never does, so that `Range(None, 5, "[]")` is
    `Range(None, 5, "(]")`. An empty range has neither side, and is false; all others are true.
    Any other string as `bounds` is a `ValueError`. `value in range` compares as Python does.

    Two ranges are equal when their sides and bounds are. Whether a range such as
    `Range(5, 5)` is empty, and that integers from 1 to below 4 are those from 1 to 3, is known
    to the server, which sends all ranges that mean the same in the same way.
    """

    __slots__ = ("bounds", "is_empty", "lower", "upper")
    __match_args__ = ("lower", "upper", "bounds")

    lower: T_co | None
    upper: T_co | None
    bounds: str
    is_empty: bool

    def __init__(
        self, lower: T_co | None = None, upper: T_co | None = None, bounds: str = "[)"
    ) -> None:
        if bounds not in _BOUNDS:
            raise ValueError(f"bounds must be one of {', '.join(_BOUNDS)}, not {bounds!r}")
        first = "(" if lower is None else bounds[0]
        last = ")" if upper is None else bounds[1]
        self._set(lower, upper, first + last)

    def _set(
        self, lower: T_co | None, upper: T_co | None, bounds: str, is_empty: bool = False
    ) -> None:
        # By the slots themselves: half the time of `object.__setattr__`.
        _set_lower(self, lower)
        _set_upper(self, upper)
        _set_bounds(self, bounds)
        _set_is_empty(self, is_empty)

    @classmethod
    def empty(cls) -> Self:
        """The range that has no values."""
        value = cls.__new__(cls)
        value._set(None, None, "()", True)
        return value

    # Not a frozen dataclass: with slots and type parameters these break before Python 3.13.
    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Range does not change; cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Range does not change; cannot delete {name!r}")

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        if self.is_empty:
            return type(self).empty, ()
        return type(self), (self.lower, self.upper, self.bounds)

    def _key(self) -> tuple[Any, ...]:
        return self.lower, self.upper, self.bounds, self.is_empty

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Range) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def lower_inc(self) -> bool:
        """Whether `lower` belongs to the range."""
        return self.bounds[0] == "["

    @property
    def upper_inc(self) -> bool:
        """Whether `upper` belongs to the range."""
        return self.bounds[1] == "]"

    @property
    def lower_inf(self) -> bool:
        """Whether the range is unbounded below; an empty one is not."""
        return self.lower is None and not self.is_empty

    @property
    def upper_inf(self) -> bool:
        """Whether the range is unbounded above; an empty one is not."""
        return self.upper is None and not self.is_empty

    def __contains__(self, value: Any) -> bool:
        if value is None or self.is_empty:
            return False
        lower: Any = self.lower
        upper: Any = self.upper
        if lower is not None and not (lower <= value if self.lower_inc else lower < value):
            return False
        return upper is None or bool(value <= upper if self.upper_inc else value < upper)

    def __bool__(self) -> bool:
        return not self.is_empty

    def __str__(self) -> str:
        if self.is_empty:
            return "empty"
        lower, upper = ("" if side is None else side for side in (self.lower, self.upper))
        return f"{self.bounds[0]}{lower},{upper}{self.bounds[1]}"

    def __repr__(self) -> str:
        if self.is_empty:
            return "Range.empty()"
        return f"Range({self.lower!r}, {self.upper!r}, {self.bounds!r})"


_set_lower, _set_upper, _set_bounds, _set_is_empty = (
    vars(Range)[name].__set__ for name in ("lower", "upper", "bounds", "is_empty")
)


class Multirange(tuple[Range[T_co], ...], Generic[T_co]):
    """PostgreSQL's multirange: a tuple of `Range`s.

    Results have them in order, and none that are empty, overlap or touch. Parameters may have
    any: the server sorts and joins them. `in` looks for a range, as in any tuple.
    """

    __slots__ = ()

    def __new__(cls, ranges: Iterable[Range[T_co]] = ()) -> Self:
        return super().__new__(cls, ranges)

    def __str__(self) -> str:
        return f"{{{','.join(map(str, self))}}}"

    def __repr__(self) -> str:
        return f"Multirange({list(self)!r})"


def range_codec(name: str, oid: int, array_oid: int, element: Codec) -> Codec:
    """The codec of the ranges whose bounds are of this type."""

    def decode(buffer: bytes, start: int, end: int) -> Range[Any]:
        return _decode(name, element, buffer, start, end)

    def decode_text(text: str) -> Range[Any]:
        return _decode_text(name, element, text)

    def binary(value: Any) -> bytes:
        return _range_bytes(element, value)

    def literal(value: Any) -> str:
        return _range_text(element, value)

    return Codec(
        name,
        oid,
        array_oid,
        _quick_decoder(element, decode),
        decode_text,
        binary_or_text(element.has_binary, binary, literal),
        literal,
        # Numbers that are read from text alone are so in ranges, too.
        binary_results=element.has_binary and element.binary_results,
        has_binary=element.has_binary,
        is_open=element.is_open,
        gives="`pgwire.Range`",
        takes="`pgwire.Range`",
    )


def multirange_codec(name: str, oid: int, array_oid: int, range_codec: Codec) -> Codec:
    """The codec of the multiranges whose ranges are of this type."""

    def decode(buffer: bytes, start: int, end: int) -> Multirange[Any]:
        if end - start < 4:
            raise wrong_length(name, end - start)
        (count,) = _length.unpack_from(buffer, start)
        stop = start + 4
        if not 0 <= count <= (end - stop) // 5:  # a length and a byte of flags for each
            raise malformed(name)
        ranges = []
        for _ in range(count):
            at, stop = _part(name, buffer, stop, end)
            ranges.append(range_codec.decode(buffer, at, stop))
        if stop != end:
            raise malformed(name)
        return Multirange(ranges)

    def decode_text(text: str) -> Multirange[Any]:
        return Multirange(map(range_codec.decode_text, _split(name, text)))

    def binary(value: Any) -> bytes:
        return _multirange_bytes(range_codec, value)

    def literal(value: Any) -> str:
        return _multirange_text(range_codec, value)

    return Codec(
        name,
        oid,
        array_oid,
        decode,
        decode_text,
        binary_or_text(range_codec.has_binary, binary, literal),
        literal,
        binary_results=range_codec.has_binary and range_codec.binary_results,
        has_binary=range_codec.has_binary,
        depth=1,
        takes_tuple=True,
        is_open=range_codec.is_open,
        gives="`pgwire.Multirange`",
        takes="`pgwire.Multirange`, `list` or `tuple` of `pgwire.Range`",
    )


def _part(name: str, buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the value begins and ends that follows its length."""
    if at + 4 > end:
        raise malformed(name)
    (length,) = _length.unpack_from(buffer, at)
    at += 4
    if not 0 <= length <= end - at:
        raise malformed(name)
    return at, at + length


def _held(name: str, bound: Any) -> Any:
    """A bound as it is, unless a `Range` would take it for none: the null of JSON is None."""
    if bound is None:
        raise DataError(f"{name} has a bound that is None in Python; cast it to text")
    return bound


def _decode(name: str, element: Codec, buffer: bytes, start: int, end: int) -> Range[Any]:
    if start == end:
        raise wrong_length(name, 0)
    flags = buffer[start]
    at = start + 1
    if flags == _EMPTY and at == end:
        return Range.empty()
    bounds = _BOUNDS_OF_FLAGS.get(flags)
    if bounds is None:
        raise malformed(name)
    sides: list[Any] = []
    for is_unbounded in (flags & _LOWER_INF, flags & _UPPER_INF):
        if is_unbounded:
            sides.append(None)
            continue
        at, stop = _part(name, buffer, at, end)
        sides.append(_held(name, element.decode(buffer, at, stop)))
        at = stop
    if at != end:
        raise malformed(name)
    return Range(sides[0], sides[1], bounds)


def _quick_decoder(element: Codec, others: _Decoder) -> _Decoder:
    """What `others` does, in a third of the time where there are bounds and of one width."""
    steps = unpacking(element)
    if steps is None:
        return others
    code, convert = steps.code, steps.convert
    finite = struct.Struct(f">Bi{code}i{code}")
    unpack, size, width = finite.unpack_from, finite.size, (finite.size - 9) // 2
    lengths, unpack_one = (width, width), struct.Struct(f">Bi{code}").unpack_from

    def decode(buffer: bytes, start: int, end: int) -> Range[Any]:
        if end - start == size:
            flags, first, lower, second, upper = unpack(buffer, start)
            if not flags & ~_FINITE and (first, second) == lengths:
                if convert is not None:
                    lower, upper = convert(lower), convert(upper)
                made: Range[Any] = Range.__new__(Range)
                made._set(lower, upper, _BOUNDS_OF_FLAGS[flags])
                return made
        elif end - start == 5 + width:
            flags, length, side = unpack_one(buffer, start)
            if length == width and flags in _ONE_SIDED:
                side = side if convert is None else convert(side)
                lower, upper = (side, None) if flags & _UPPER_INF else (None, side)
                return Range(lower, upper, _BOUNDS_OF_FLAGS[flags])
        return others(buffer, start, end)

    return decode


def _decode_text(name: str, element: Codec, text: str) -> Range[Any]:
    match = _match_range(text)
    if match is None or match.end() != len(text):
        raise malformed(name)
    if text == "empty":
        return Range.empty()
    first, *texts, last = match.groups()
    sides: list[Any] = []
    for quoted, bare in (texts[:2], texts[2:]):
        if quoted is None and not bare:
            sides.append(None)
            continue
        side = bare if quoted is None else _unescape(lambda m: m[1] or '"', quoted)
        sides.append(_held(name, element.decode_text(side)))
    made = Range(sides[0], sides[1], first + last)
    if made.bounds != first + last:  # no server prints an unbounded side as inclusive
        raise malformed(name)
    return made


def _sides(
    element: Codec, write: Callable[[Codec, Any], _Written], value: Range[Any]
) -> list[_Written | None]:
    """Both bounds, written; None where there is none."""
    sides: list[_Written | None] = []
    for what, bound in (("lower", value.lower), ("upper", value.upper)):
        try:
            sides.append(None if bound is None else write(element, bound))
        except DataError as error:
            raise DataError(f"{what} bound: {error}") from None
    return sides


def _as_range(value: Any) -> Range[Any]:
    if not isinstance(value, Range):
        hint = "pass pgwire.Range(lower, upper)" if isinstance(value, list | tuple) else ""
        raise misfit("pgwire.Range", value, hint)
    return value


def _range_bytes(element: Codec, value: Any) -> bytes:
    value = _as_range(value)
    if value.is_empty:
        return bytes((_EMPTY,))
    lower, upper = _sides(element, part_bytes, value)
    flags = _LOWER_INF if lower is None else _LOWER_INC if value.lower_inc else 0
    flags |= _UPPER_INF if upper is None else _UPPER_INC if value.upper_inc else 0
    pieces = [bytes((flags,))]
    for data in (lower, upper):
        if data is not None:
            pieces += (_length.pack(len(data)), data)
    return b"".join(pieces)


def _range_text(element: Codec, value: Any) -> str:
    value = _as_range(value)
    if value.is_empty:
        return "empty"
    lower, upper = map(_quoted, _sides(element, part_literal, value))
    return f"{value.bounds[0]}{lower},{upper}{value.bounds[1]}"


def _quoted(bound: str | None) -> str:
    return "" if bound is None else '"' + bound.replace("\\", "\\\\").replace('"', '""') + '"'


def _ranges(
    range_codec: Codec, write: Callable[[Codec, Any], _Written], value: Any
) -> list[_Written]:
    """All ranges of a multirange, written."""
    if not isinstance(value, Multirange | list) and type(value) is not tuple:
        hint = "pass a list of it" if isinstance(value, Range) else ""
        raise misfit("pgwire.Multirange, or a list or tuple of pgwire.Range", value, hint)
    ranges = []
    for index, item in enumerate(value):
        try:
            if item is None:
                raise misfit("pgwire.Range", item)
            ranges.append(write(range_codec, item))
        except DataError as error:
            raise DataError(f"range {index}: {error}") from None
    return ranges


def _multirange_bytes(range_codec: Codec, value: Any) -> bytes:
    ranges = _ranges(range_codec, part_bytes, value)
    pieces = [_length.pack(len(ranges))]
    for data in ranges:
        pieces += (_length.pack(len(data)), data)
    return b"".join(pieces)


def _multirange_text(range_codec: Codec, value: Any) -> str:
    return f"{{{','.join(_ranges(range_codec, part_literal, value))}}}"


def _split(name: str, text: str) -> list[str]:
    """The texts of a multirange's ranges."""
    if text == "{}":
        return []
    texts: list[str] = []
    at = 0
    while text[at : at + 1] == ("," if texts else "{"):
        match = _match_range(text, at + 1)
        if match is None:
            raise malformed(name)
        texts.append(match[0])
        at = match.end()
    if not texts or text[at:] != "}":
        raise malformed(name)
    return texts
