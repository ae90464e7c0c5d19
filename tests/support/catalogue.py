"""What a server answers when it is asked for types: rows of its catalogue, in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import fixed, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.pgtypes.text import text_codec
from tests.support import backend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOOD = TypeInfo(16_999, "public", "mood", "e", 17_000, labels=("sad", "ok"))
MOODS = TypeInfo(17_000, "public", "_mood", "a", part=16_999)
_texts = array_codec(text_codec("text", oids.TEXT, oids.TEXT_ARRAY)).encode
_oids = array_codec(fixed.OID).encode


def found(info: TypeInfo) -> bytes:
    """The DataRow that describes this type."""
    return backend.row(
        _oid(info.oid),
        *(info.schema.encode(), info.name.encode(), info.kind.encode()),
        *(_oid(info.array_oid), info.delimiter.encode(), _oid(info.part)),
        *(_array(_texts, info.attribute_names), _array(_oids, info.attribute_types)),
        _array(_texts, info.labels),
    )


def answer(*infos: TypeInfo) -> bytes:
    """All messages up to the end of the look-up, without a ReadyForQuery."""
    return b"".join(
        (
            *(backend.PARSE_COMPLETE, backend.BIND_COMPLETE),
            *map(found, infos),
            *(backend.complete(f"SELECT {len(infos)}"), backend.CLOSE_COMPLETE),
        )
    )


def _oid(number: int) -> bytes:
    return number.to_bytes(4)


def _array(encode: Callable[[Any], Any], items: Sequence[Any]) -> bytes:
    data = encode(list(items))
    assert type(data) is bytes
    return data
