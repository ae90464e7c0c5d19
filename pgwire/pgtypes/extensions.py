"""Types of extensions: which there are, and those too small for a module of their own.

Knows the names of the types, and the formats of citext and of PostGIS's geometry and geography.
Must not know OIDs, which each database gives out anew, nor what geometries mean.

An extension's type that is not here is PostgreSQL's literal, a `str`, in both directions. For
ltree, lquery and ltxtquery that is all there is to want: their binary format, which PostgreSQL
has from 13 on, is the text behind the number of a version. The same goes for PostGIS's box2d,
box3d and raster.
"""

from __future__ import annotations

import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.codec import Codec, malformed, misfit
from pgwire.pgtypes.hstore import hstore_codec
from pgwire.pgtypes.text import text_codec
from pgwire.pgtypes.vectors import halfvec_codec, sparsevec_codec, vector_codec

if TYPE_CHECKING:
    from collections.abc import Callable

_is_hex = re.compile(r"(?:[0-9A-F]{2})+", re.ASCII).fullmatch
# The shortest geometry is an order of bytes, a type, and a count of nothing.
_SHORTEST_EWKB = 9


def _encode_spatial(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise misfit("bytes, bytearray or memoryview of EWKB, or str", value)


def _spatial_codec(name: str, oid: int, array_oid: int) -> Codec:
    """geometry or geography: EWKB, which is well-known binary with PostGIS's reference system.

    Libraries for geometries read and write it. Beyond its first byte nothing is checked.
    """

    def decode(buffer: bytes, start: int, end: int) -> bytes:
        if end - start < _SHORTEST_EWKB or buffer[start] > 1:
            raise malformed(name)
        return buffer[start:end]

    def decode_text(text: str) -> bytes:
        if not _is_hex(text):
            raise malformed(name)
        data = binascii.unhexlify(text)
        return decode(data, 0, len(data))

    def literal(value: Any) -> str:
        return _encode_spatial(value).hex().upper()

    return Codec(
        name,
        oid,
        array_oid,
        decode,
        decode_text,
        _encode_spatial,
        literal,
        gives="`bytes`, EWKB",
        takes="`bytes`, `bytearray`, `memoryview`: WKB or EWKB (as `str`: WKT, EWKT or hex)",
    )


EXTENSIONS: dict[str, Callable[[int, int], Codec]] = {
    "citext": partial(text_codec, "citext"),
    "geography": partial(_spatial_codec, "geography"),
    "geometry": partial(_spatial_codec, "geometry"),
    "halfvec": halfvec_codec,
    "hstore": hstore_codec,
    "sparsevec": sparsevec_codec,
    "vector": vector_codec,
}
