"""Layouts of rows, rows as bytes, and what decoders make of them."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from pgwire.errors import DataError, ProtocolError
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol import keyed
from pgwire.protocol.decoder import column_decoders, plain_decoder
from pgwire.protocol.generated import generate
from pgwire.protocol.messages import Column
from pgwire.protocol.shapes import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgwire.protocol.shapes import Shape

REGISTRY = TypeRegistry()
# bool, int8, int2, int4, oid, date, float4, float8, time, timestamp, timestamptz, uuid,
# "char", macaddr, macaddr8, pg_lsn
WIDTHS = {
    16: 1,
    20: 8,
    21: 2,
    23: 4,
    26: 4,
    1082: 4,
    700: 4,
    701: 8,
    1083: 8,
    1114: 8,
    1184: 8,
    2950: 16,
    18: 1,
    829: 6,
    774: 8,
    3220: 8,
}
# bytea, text, json, numeric (whose results are text), text[], an unknown type
OIDS = [*WIDTHS, 17, 25, 114, 1700, 1009, 99_999]
_INFINITIES = [struct.pack("!q", number) for number in (-(2**63), 2**63 - 1)]


def shapes_of(oids: Sequence[int], registry: TypeRegistry = REGISTRY) -> list[Shape]:
    columns = [Column(f"c{n}", oid) for n, oid in enumerate(oids)]
    codecs = [registry.codec(oid) for oid in oids]
    formats = [int(codec.binary_results) for codec in codecs]
    decoders = column_decoders(columns, formats, registry)
    return list(map(shape_of, decoders, codecs))


def pair(
    oids: Sequence[int],
    generate: Callable[[Sequence[Shape]], Any] = generate,
    registry: TypeRegistry = REGISTRY,
) -> tuple[Any, Any]:
    """The plain decoder and a generated one for columns of these types."""
    shapes = shapes_of(oids, registry)
    return plain_decoder([shape.decode for shape in shapes]), generate(shapes)


def row(values: Sequence[bytes | None]) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"D" + struct.pack("!i", 4 + len(body)) + body


def outcome(decode: Any, buffer: bytes, position: int) -> Any:
    """Where it stopped and what it gave, or what it raised; floats compared by their bits."""
    rows: list[tuple[Any, ...]] = []
    try:
        end = decode(buffer, position, len(buffer), rows)
    except (ProtocolError, struct.error) as error:
        return type(error), len(rows)  # `skip_rows` will find the words for it
    except DataError as error:
        return str(error), error.__notes__, len(rows)
    return end, repr(rows)


def value_of(oid: int) -> st.SearchStrategy[bytes]:
    """Bytes that may be a value of this type, and mostly are."""
    if oid in (1114, 1184):
        number = st.integers(-(2**58), 2**58).map(lambda n: struct.pack("!q", n))
        return number | st.sampled_from(_INFINITIES)
    if oid == 1083:
        return st.integers(0, 86_400_000_000).map(lambda n: struct.pack("!q", n))
    if oid == 1082:
        return st.integers(-(2**21), 2**22).map(lambda n: struct.pack("!i", n))
    if oid in WIDTHS:
        return st.binary(min_size=WIDTHS[oid], max_size=WIDTHS[oid])
    if oid == 1700:
        number_texts = st.decimals(allow_nan=False, allow_infinity=False).map(str)
        return (number_texts | st.sampled_from(["NaN", "Infinity"])).map(str.encode)
    if oid == 114:
        return st.sampled_from([b"{}", b" [1, 2] ", b'"\xc3\xa9"', b"[1", b"\xff"])
    if oid == 1009:
        texts = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=3)
        return st.lists(texts, max_size=3).map(_array_of_text)
    if oid in (25, 99_999):
        return st.text().map(str.encode)
    return st.binary(max_size=20)


@contextmanager
def at_once() -> Iterator[None]:
    """Rows are unpacked by layouts without waiting until it is worth it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyed, "WORTH", 0)
        patch.setattr(keyed, "WORTH_PER_COLUMN", 0)
        yield


def _array_of_text(items: list[str]) -> bytes:
    data = REGISTRY.codec(1009).encode(items)
    assert isinstance(data, bytes)
    return data


@st.composite
def layouts_and_rows(
    draw: st.DrawFn, oids: Sequence[int] = OIDS, most: int = 6, nulls: bool = True
) -> tuple[list[int], list[bytes]]:
    """Types, and rows of them as bytes; where there may be NULLs, about half are."""
    layout = draw(st.lists(st.sampled_from(oids), max_size=8))
    values = [st.none() | value_of(oid) if nulls else value_of(oid) for oid in layout]
    rows = draw(st.lists(st.tuples(*values), max_size=most))
    return layout, [row(values) for values in rows]
