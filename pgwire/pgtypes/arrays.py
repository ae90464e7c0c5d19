"""Arrays of any element type: nested lists.

Knows the binary and text formats of arrays. Must not know any element type; all it has is
the element's codec.

An array of PostgreSQL is a box: every list of one depth has the same length, and at most
six dimensions. Values are handled flat, as `dimensions` and all elements in order, so that
nothing here recurses: what a server sends decides neither the depth of a stack nor, before
it was compared with the number of bytes at hand, the length of a list. Indexes begin at 1
unless the array says otherwise, which an `Array` keeps. The manual: "Arrays"; binary format:
`array_recv` in PostgreSQL's sources.
"""

from __future__ import annotations

import struct
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.array_shapes import (
    LAST_INDEX,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    Box,
    box_of,
    misplaced,
    nested,
)
from pgwire.pgtypes.array_text import array_text, parsed_text
from pgwire.pgtypes.codec import (
    PACKED_FROM,
    Codec,
    Literal,
    NeedsText,
    UnknownTypes,
    binary_or_text,
    malformed,
    misfit,
    part_bytes,
    part_literal,
    wrong_length,
)
from pgwire.pgtypes.lists import fixed_reader, quick_lists

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_header = struct.Struct(">iiI")  # number of dimensions, has NULLs, type of the elements
_dimension = struct.Struct(">ii")  # length, lower bound
_length = struct.Struct(">i")
_NULL = b"\xff\xff\xff\xff"


def array_codec(element: Codec) -> Codec:
    """The codec of the arrays of this element type, whose `array_oid` is not 0."""

    def binary(value: Any) -> bytes:
        return _encoded(element, box_of(element, value))

    def literal(value: Any) -> str:
        return array_text(element, box_of(element, value))

    def decode_text(text: str) -> list[Any]:
        try:
            dimensions, bounds, items = parsed_text(text, element.delimiter)
        except DataError:
            raise malformed(name) from None
        decode = element.decode_text
        values = [None if item is None else decode(item) for item in items]
        return nested(dimensions, bounds, values)

    name = f"{element.name}[]"
    return Codec(
        name,
        element.array_oid,
        0,
        _binary_decoder(name, element),
        decode_text,
        binary_or_text(element.has_binary, binary, literal),
        literal,
        # Numbers that are read from text alone are so in arrays, too.
        binary_results=element.has_binary and element.binary_results,
        has_binary=element.has_binary,
        depth=MAX_DEPTH,  # for the arrays of a domain over arrays: lists inside are its own
        is_open=element.is_open,
        gives="`list`, nested; `pgwire.Array` where the first index is not 1",
        takes="`list`, `tuple` and other collections, nested; NumPy's arrays",
    )


def any_array_codec(oid: int, array_oid: int, codec_of: Callable[[int], Codec | None]) -> Codec:
    """The codec of anyarray, whose binary values say themselves what their elements are.

    In text they do not, and are `str`. `codec_of` gives None for a type that is not known.
    """

    def decode(buffer: bytes, start: int, end: int) -> list[Any]:
        if end - start < 12:
            raise wrong_length("anyarray", end - start)
        element_oid = _header.unpack_from(buffer, start)[2]
        element = codec_of(element_oid)
        if element is None:
            raise UnknownTypes.of("anyarray", [element_oid])
        try:
            return _binary_decoder(f"{element.name}[]", element)(buffer, start, end)
        except RecursionError:  # a server that lies has arrays of anyarray
            raise DataError("the server's arrays are nested too deeply") from None

    def literal(value: Any) -> str:
        raise misfit("str, PostgreSQL's literal", value)

    return Codec(
        "anyarray",
        oid,
        array_oid,
        decode,
        str,
        literal,  # type: ignore[arg-type]  # it never returns
        literal,
        is_open=True,
        gives="`list` (from `script()`: `str`)",
    )


def vector_codec(name: str, element: Codec) -> Codec:
    """The codec of int2vector or oidvector: arrays of one dimension whose indexes begin at 0."""
    oid, array_oid = oids.REST[name]
    read = _binary_decoder(name, element, 0)

    def box(value: Any) -> Box:
        dimensions, _, items = box_of(element, value)
        if len(dimensions) != 1 and items:
            raise DataError(f"{name} has one dimension, not {len(dimensions)}")
        if None in items:
            raise DataError(f"{name} has no NULLs")
        return Box([len(items)], (0,), items)

    def encode(value: Any) -> bytes | Literal:
        laid_flat = box(value)
        if laid_flat.items:  # the server takes an empty one as text only
            try:
                return _encoded(element, laid_flat)
            except NeedsText:
                pass
        return Literal(text(laid_flat))

    def text(laid_flat: Box) -> str:
        texts = []
        for number, item in enumerate(laid_flat.items):
            try:
                texts.append(part_literal(element, item))
            except DataError as error:
                raise misplaced(error, laid_flat, number) from None
        return " ".join(texts)

    def literal(value: Any) -> str:
        return text(box(value))

    # Unlike other arrays it has a dimension even where it is empty.
    empty = _encoded(element, Box([0], (0,), ()))

    def decode(buffer: bytes, start: int, end: int) -> list[Any]:
        if buffer[start:end] == empty:
            return []
        return list(read(buffer, start, end))

    def decode_text(text: str) -> list[Any]:
        return [element.decode_text(item) for item in text.split(" ")] if text else []

    return Codec(
        name,
        oid,
        array_oid,
        decode,
        decode_text,
        encode,
        literal,
        depth=1,
        gives="`list[int]`",
        takes="`list`, `tuple` and other collections of `int`",
    )


def _encoded(element: Codec, box: Box) -> bytes:
    pack = _length.pack
    head = b"".join(map(_dimension.pack, box.dimensions, box.bounds))
    numbers = _numbers(element, box.items)
    if numbers is not None:
        return _header.pack(len(box.dimensions), False, element.oid) + head + numbers
    has_null = False
    pieces = [b""]
    for number, item in enumerate(box.items):
        if item is None:
            has_null = True
            pieces.append(_NULL)
            continue
        try:
            data = part_bytes(element, item)
        except DataError as error:
            raise misplaced(error, box, number) from None
        pieces.append(pack(len(data)))
        pieces.append(data)
    pieces[0] = _header.pack(len(box.dimensions), has_null, element.oid) + head
    return b"".join(pieces)


def _numbers(element: Codec, items: Sequence[Any]) -> bytes | None:
    """All elements with their lengths, packed in one call; None where they are not plain.

    For `= any($1)` with a thousand of them a sixth of the time (CPython 3.11).
    """
    code = element.struct_code
    if code not in PACKED_FROM or set(map(type, items)) != {PACKED_FROM[code]}:
        return None
    try:
        packed = struct.pack(f">{len(items)}{code}", *items)
    except struct.error:
        return None  # out of range: who packs them one by one says which
    width = len(packed) // len(items)
    data = bytearray((_length.pack(width) + bytes(width)) * len(items))
    for n in range(width):
        data[4 + n :: 4 + width] = packed[n::width]
    return bytes(data)


def _binary_decoder(
    name: str, element: Codec, bound: int = 1
) -> Callable[[bytes, int, int], list[Any]]:
    """Reads any array; those of one dimension, from `bound` on, in quicker ways (see `lists`)."""
    oid, read_fixed = element.oid, fixed_reader(element)
    read_elements = partial(_read_elements, name, element.decode)

    def decode(buffer: bytes, start: int, end: int) -> list[Any]:
        dimensions, bounds, position = _read_header(name, oid, buffer, start, end)
        if not dimensions:
            if position != end:
                raise wrong_length(name, end - start)
            return []
        count = prod(dimensions)
        if count * 4 > end - position:
            raise malformed(name)
        items = read_fixed(buffer[position:end], count) if read_fixed else None
        if items is None:
            items = read_elements(buffer, position, end, count)
        return nested(dimensions, bounds, items)

    return quick_lists(element, bound, decode, read_elements)


def _read_header(
    name: str, oid: int, buffer: bytes, start: int, end: int
) -> tuple[list[int], list[int], int]:
    """The dimensions, their lower bounds, and where the elements start."""
    if end - start < 12:
        raise wrong_length(name, end - start)
    count, has_null, element_oid = _header.unpack_from(buffer, start)
    position = start + 12 + 8 * count
    if not 0 <= count <= MAX_DIMENSIONS or position > end or has_null not in (0, 1):
        raise malformed(name)
    if element_oid != oid:
        raise DataError(
            f"the server's value is not a valid {name}: its elements are of type {element_oid}"
        )
    ends = list(_dimension.iter_unpack(buffer[start + 12 : position]))
    dimensions = [length for length, _ in ends]
    if dimensions and (min(dimensions) < 1 or max(map(sum, ends)) > LAST_INDEX):
        raise malformed(name)
    return dimensions, [bound for _, bound in ends], position


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
