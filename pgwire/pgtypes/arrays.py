"""Arrays of any element type: nested lists.

Knows the binary and text formats of arrays. Must not know any element type; all it has is
the element's codec.

An array of PostgreSQL is a box: every list of one depth has the same length, and at most
six dimensions. Values are handled flat, as `dimensions` and all elements in order, so that
nothing here recurses: what a server sends decides neither the depth of a stack nor, before
it was compared with the number of bytes at hand, the length of a list. Lower bounds are
read and dropped. The manual: "Arrays"; binary format: `array_recv` in PostgreSQL's sources.
"""

from __future__ import annotations

import re
import struct
from math import prod
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.codec import Codec, Literal, malformed, misfit, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LISTS = (list, tuple)  # a union would be built anew for each element
_MAX_DIMENSIONS = 6
_MAX_ELEMENTS = 2**27 - 1

_header = struct.Struct(">iiI")  # number of dimensions, has NULLs, type of the elements
_dimension = struct.Struct(">ii")  # length, lower bound
_length = struct.Struct(">i")
_NULL = b"\xff\xff\xff\xff"

_match_bounds = re.compile(r"((?:\[[+-]?\d{1,10}:[+-]?\d{1,10}\])+)=", re.ASCII).match
_find_bounds = re.compile(r"\[([^:]+):([^]]+)\]").findall
# One token of the text: a brace or comma, a quoted element, an element without quotes.
_match_token = re.compile(
    r'(?P<mark>[{},])|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<bare>[^{},"\\ \t\n\v\f\r]+)',
    re.DOTALL,
).match
_MAY_FOLLOW = {
    "": ("{",),
    "{": ("{", "}", "element"),
    ",": ("{", "element"),
    "element": (",", "}"),
    "}": (",", "}"),
}
_unescape = re.compile(r"\\(.)", re.DOTALL).sub


def array_codec(element: Codec) -> Codec:
    """The codec of the arrays of this element type, whose `array_oid` is not 0."""

    def encode(value: Any) -> bytes | Literal:
        if not isinstance(value, _LISTS):
            raise misfit("list or tuple", value)
        dimensions, items = _flattened(value)
        if not element.takes_str and _all_str(items):
            return _literal(dimensions, items)
        return _encoded(element, dimensions, items)

    def decode_text(text: str) -> list[Any]:
        try:
            dimensions, items = _parsed_text(text)
        except DataError:
            raise malformed(name) from None
        decode = element.decode_text
        return _nested(dimensions, [None if item is None else decode(item) for item in items])

    name = f"_{element.name}"
    return Codec(name, element.array_oid, 0, _binary_decoder(name, element), decode_text, encode)


def _flattened(value: Sequence[Any]) -> tuple[list[int], Sequence[Any]]:
    """The lengths of nested lists by depth, and all elements; `DataError` if they differ."""
    if not value:
        return [], value
    dimensions = [len(value)]
    items = value
    while isinstance(items[0], _LISTS):
        length = len(items[0])
        for item in items:
            if not isinstance(item, _LISTS) or len(item) != length:
                raise DataError("the lists inside an array must all have the same length")
        dimensions.append(length)
        if not length:
            raise DataError("an array cannot hold empty lists; an empty array is []")
        if len(dimensions) > _MAX_DIMENSIONS or prod(dimensions) > _MAX_ELEMENTS:
            raise DataError(
                f"an array has at most {_MAX_DIMENSIONS} dimensions and {_MAX_ELEMENTS} elements"
            )
        items = [leaf for item in items for leaf in item]
    if any(isinstance(item, _LISTS) for item in items):
        raise DataError("an array holds lists or elements, not both side by side")
    return dimensions, items


def _nested(dimensions: list[int], items: list[Any]) -> list[Any]:
    """The elements as lists of lists: what `_flattened` undoes."""
    for length in reversed(dimensions[1:]):
        items = [items[i : i + length] for i in range(0, len(items), length)]
    return items


# Python to the wire


def _all_str(items: Sequence[Any]) -> bool:
    """Whether there are elements other than NULL, and all of them are `str`."""
    found = False
    for item in items:
        if isinstance(item, str):
            found = True
        elif item is not None:
            return False
    return found


def _literal(dimensions: list[int], items: Sequence[Any]) -> Literal:
    """The array's text, of elements that are text: "{{"a",NULL},{"b","c"}}"."""
    texts = [
        "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for item in items
    ]
    for length in reversed(dimensions):
        texts = ["{" + ",".join(texts[i : i + length]) + "}" for i in range(0, len(texts), length)]
    return Literal(texts[0])


def _encoded(element: Codec, dimensions: list[int], items: Sequence[Any]) -> bytes:
    encode, pack = element.encode, _length.pack
    has_null = False
    pieces = [b""]
    for number, item in enumerate(items):
        if item is None:
            has_null = True
            pieces.append(_NULL)
            continue
        try:
            data = encode(item)
        except DataError as error:
            raise DataError(f"element {_path(dimensions, number)}: {error}") from None
        assert isinstance(data, bytes)  # no type that has an array is sent as a literal
        pieces.append(pack(len(data)))
        pieces.append(data)
    pieces[0] = _header.pack(len(dimensions), has_null, element.oid) + b"".join(
        _dimension.pack(length, 1) for length in dimensions
    )
    return b"".join(pieces)


def _path(dimensions: list[int], number: int) -> str:
    """Where the element of this number stands, in Python's indexes: "[1][0]"."""
    indexes = []
    for length in reversed(dimensions):
        number, index = divmod(number, length)
        indexes.append(f"[{index}]")
    return "".join(reversed(indexes))


# The wire to Python


def _binary_decoder(name: str, element: Codec) -> Callable[[bytes, int, int], list[Any]]:
    decode_element, oid = element.decode, element.oid
    read_fixed = _fixed_reader(element.struct_code) if element.struct_code else None

    def decode(buffer: bytes, start: int, end: int) -> list[Any]:
        dimensions, position = _read_header(name, oid, buffer, start, end)
        if not dimensions:
            if position != end:
                raise wrong_length(name, end - start)
            return []
        count = prod(dimensions)
        if count * 4 > end - position:
            raise malformed(name)
        items = read_fixed(buffer[position:end], count) if read_fixed else None
        if items is None:
            items = _read_elements(name, decode_element, buffer, position, end, count)
        return _nested(dimensions, items)

    return decode


def _fixed_reader(code: str) -> Callable[[bytes, int], list[Any] | None]:
    """Reads all elements of one width at once, five times as fast as one by one (CPython 3.11).

    The function gives None where that cannot be done: there is a NULL, or damage.
    """
    fixed = struct.Struct(">4x" + code)
    size, unpack = fixed.size, fixed.iter_unpack
    prefix = _length.pack(size - 4)

    def read(data: bytes, count: int) -> list[Any] | None:
        if len(data) != count * size:
            return None
        for i in range(4):  # the same length in front of each
            if data[i::size] != prefix[i : i + 1] * count:
                return None
        return [value for (value,) in unpack(data)]

    return read


def _read_header(name: str, oid: int, buffer: bytes, start: int, end: int) -> tuple[list[int], int]:
    """The dimensions, and where the elements start."""
    if end - start < 12:
        raise wrong_length(name, end - start)
    count, has_null, element_oid = _header.unpack_from(buffer, start)
    position = start + 12 + 8 * count
    if not 0 <= count <= _MAX_DIMENSIONS or position > end or has_null not in (0, 1):
        raise malformed(name)
    if element_oid != oid:
        raise DataError(
            f"the server's value is not a valid {name}: its elements are of type {element_oid}"
        )
    dimensions = [length for length, _ in _dimension.iter_unpack(buffer[start + 12 : position])]
    if dimensions and min(dimensions) < 1:
        raise malformed(name)
    return dimensions, position


def _read_elements(
    name: str,
    decode: Callable[[bytes, int, int], Any],
    buffer: bytes,
    position: int,
    end: int,
    count: int,
) -> list[Any]:
    items: list[Any] = []
    append, unpack = items.append, _length.unpack_from
    for _ in range(count):
        if position + 4 > end:
            raise malformed(name)
        length = unpack(buffer, position)[0]
        position += 4
        if length == -1:
            append(None)
            continue
        stop = position + length
        if length < 0 or stop > end:
            raise malformed(name)
        append(decode(buffer, position, stop))
        position = stop
    if position != end:
        raise malformed(name)
    return items


def _parsed_text(text: str) -> tuple[list[int], Sequence[Any]]:
    """The dimensions and elements, each `str` or None, of an array's text.

    Raises `DataError` without a reason: all that is known is that the text is not an array.
    """
    bounds = _match_bounds(text)
    dimensions, items = _flattened(_parsed_braces(text, bounds.end() if bounds else 0))
    if bounds:
        declared = [int(upper) - int(lower) + 1 for lower, upper in _find_bounds(bounds[1])]
        if declared != dimensions:
            raise DataError
    return dimensions, items


def _parsed_braces(text: str, position: int) -> list[Any]:
    """The nested lists from this position to the text's end."""
    outermost: list[Any] = []
    stack = [outermost]
    previous = ""
    while position < len(text):
        token = _match_token(text, position)
        if token is None:
            raise DataError
        position = token.end()
        kind = token["mark"] or "element"
        if kind not in _MAY_FOLLOW[previous] or (previous and len(stack) == 1):
            raise DataError
        if kind == "element":
            stack[-1].append(_element(token))
        elif kind == "{":
            if len(stack) > _MAX_DIMENSIONS:
                raise DataError
            inner: list[Any] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif kind == "}":
            stack.pop()
        previous = kind
    if not previous or len(stack) > 1:
        raise DataError
    array: list[Any] = outermost[0]
    return array


def _element(token: re.Match[str]) -> str | None:
    quoted: str | None = token["quoted"]
    if quoted is not None:
        return _unescape(r"\1", quoted)
    return None if token["bare"] == "NULL" else token["bare"]
