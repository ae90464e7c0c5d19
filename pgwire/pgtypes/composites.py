"""Composite types and anonymous records: tuples whose fields have types of their own.

Knows the binary and text formats of rows inside of rows. Must not know any field's type; all it
has is the fields' codecs.

A composite type gives a `Row`, as results have it; an anonymous record (`select row(1, 'a')`) a
plain tuple. The binary format names the type of each field, so that a type that has been altered
since it was looked up is noticed, and a record can be read at all. The text format does neither:
there a record's fields stay text. The manual: "Composite Types"; binary format: `record_send` in
PostgreSQL's sources.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import DataError
from pgwire.pgtypes import fields as generated
from pgwire.pgtypes.codec import (
    Codec,
    UnknownTypes,
    binary_or_text,
    malformed,
    misfit,
    part_bytes,
    part_literal,
    wrong_length,
)
from pgwire.pgtypes.row import Row, row_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_count = struct.Struct(">i")
_field = struct.Struct(">Ii")  # type, length
_NULL = -1
# So many layouts of anonymous records are remembered.
_MOST_LAYOUTS = 64
# A field's text: between quotes, or bare, or nothing for NULL.
_match_field = re.compile(r'"((?:[^"\\]++|""|\\.)*+)"|([^"\\(),]*)', re.DOTALL).match
_unescape = re.compile(r"""\\(.)|""()""", re.DOTALL).sub


class Field(NamedTuple):
    """One attribute of a composite type."""

    name: str
    codec: Codec


def composite_codec(name: str, oid: int, array_oid: int, fields: Sequence[Field]) -> Codec:
    """The codec of a composite type with these attributes, dropped ones left out."""
    row = row_class(tuple([field.name for field in fields]))
    codecs = [field.codec for field in fields]
    type_oids = [codec.oid for codec in codecs]
    decoders = [codec.decode for codec in codecs]
    has_binary = all(codec.has_binary for codec in codecs)

    def decode(buffer: bytes, start: int, end: int) -> Any:
        found = _binary_fields(name, buffer, start, end)
        if [type_oid for type_oid, _, _ in found] != type_oids:
            raise UnknownTypes.of(name, [oid])  # it has been altered
        parts = zip(decoders, found, strict=True)
        return row([None if at < 0 else read(buffer, at, stop) for read, (_, at, stop) in parts])

    def decode_text(text: str) -> Any:
        texts = _text_fields(name, text)
        if texts == [None] and not codecs:
            texts = []
        if len(texts) != len(codecs):
            raise UnknownTypes.of(name, [oid])
        pairs = zip(codecs, texts, strict=True)
        return row([None if t is None else codec.decode_text(t) for codec, t in pairs])

    def binary(value: Any) -> bytes:
        if value.__class__ is tuple and len(value) == len(fields):
            return write(value)
        return write(_values(name, fields, value))

    def literal(value: Any) -> str:
        return _text(fields, _values(name, fields, value))

    write = generated.encoder(codecs, partial(_encoded, fields))
    return Codec(
        name,
        oid,
        array_oid,
        generated.decoder(type_oids, codecs, row, decode),
        decode_text,
        binary_or_text(has_binary, binary, literal),
        literal,
        binary_results=has_binary,
        has_binary=has_binary,
        takes_tuple=True,
        is_open=True,
        gives="`pgwire.Row`",
        takes="`tuple`, `dict`, or any object that has the attributes",
    )


def record_codec(oid: int, array_oid: int, codec_of: Callable[[int], Codec | None]) -> Codec:
    """The codec of anonymous records. `codec_of` gives None for a type that is not known."""

    layouts = _Layouts(codec_of)

    def decode(buffer: bytes, start: int, end: int) -> Any:
        try:
            return layouts.decoder_of(buffer[start : start + 8], layouts.decode)(buffer, start, end)
        except RecursionError:
            raise DataError("the server's records are nested too deeply") from None

    def decode_text(text: str) -> Any:
        return tuple(_text_fields("record", text))

    def literal(value: Any) -> str:
        raise misfit("str", value, "the server takes no anonymous records")

    return Codec(
        "record",
        oid,
        array_oid,
        decode,
        decode_text,
        literal,  # type: ignore[arg-type]  # it never returns
        literal,
        takes_tuple=True,
        is_open=True,
        gives="`tuple`, its fields typed (from `script()`: of `str`)",
    )


class _Layouts:
    """Reads anonymous records, whose layouts come with them, and so are learned.

    `decoder_of` finds by the first eight bytes of a record, which are the number of its fields and
    the type of the first, what reads such as the last one was that began like this.
    """

    def __init__(self, codec_of: Callable[[int], Codec | None]) -> None:
        self._codec_of = codec_of
        self._decoders: dict[tuple[int, ...], Any] = {}  # by the types of all fields
        self._by_head: dict[bytes, Any] = {}
        self.decoder_of = self._by_head.get

    def decode(self, buffer: bytes, start: int, end: int) -> tuple[Any, ...]:
        """Any record; the specification."""
        unknown = set()
        codecs = []
        values = []
        found = _binary_fields("record", buffer, start, end)
        for type_oid, at, stop in found:
            codec = self._codec_of(type_oid)
            if codec is None:
                unknown.add(type_oid)
            else:
                codecs.append(codec)
                values.append(None if at < 0 else codec.decode(buffer, at, stop))
        if unknown:
            raise UnknownTypes.of("record", unknown)
        type_oids = tuple([type_oid for type_oid, _, _ in found])
        decoder = self._decoders.get(type_oids)
        if decoder is None:
            if len(self._decoders) >= _MOST_LAYOUTS:
                self._decoders.clear()
                self._by_head.clear()
            decoder = generated.decoder(type_oids, codecs, None, self.decode)
            self._decoders[type_oids] = decoder
        if found:  # else these bytes are those of whatever stands behind it
            self._by_head[buffer[start : start + 8]] = decoder
        return tuple(values)


def _binary_fields(name: str, buffer: bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """For each field its type, and where its value begins (below 0 for NULL) and ends."""
    if end - start < 4:
        raise wrong_length(name, end - start)
    (count,) = _count.unpack_from(buffer, start)
    at = start + 4
    if not 0 <= count <= (end - at) // 8:
        raise malformed(name)
    fields = []
    for _ in range(count):
        if at + 8 > end:
            raise malformed(name)
        type_oid, length = _field.unpack_from(buffer, at)
        at += 8
        if length == _NULL:
            fields.append((type_oid, -1, at))
            continue
        if not 0 <= length <= end - at:
            raise malformed(name)
        fields.append((type_oid, at, at + length))
        at += length
    if at != end:
        raise malformed(name)
    return fields


def _text_fields(name: str, text: str) -> list[str | None]:
    """The fields of "(1,"a b",)", each `str` or None."""
    if not text.startswith("("):
        raise malformed(name)
    texts: list[str | None] = []
    at = 0
    while True:
        match = _match_field(text, at + 1)
        assert match is not None  # if only of nothing
        at = match.end()
        quoted, bare = match.groups()
        if quoted is not None:
            texts.append(_unescape(lambda m: m[1] or '"', quoted))
        else:
            texts.append(bare or None)
        if text[at : at + 1] != ",":
            break
    if text[at:] != ")":
        raise malformed(name)
    return texts


def _values(name: str, fields: Sequence[Field], value: Any) -> Sequence[Any]:
    """A value's fields in order; `DataError` where they are not the type's."""
    names = [field.name for field in fields]
    if isinstance(value, tuple):
        if len(value) != len(names):
            raise DataError(
                f"expected {len(names)} fields ({', '.join(names)}), got {len(value)} of them"
            )
        # A row of a query, or a named tuple, may have the same names in another order.
        own = getattr(value, "_names" if isinstance(value, Row) else "_fields", None)
        if own is None or own == tuple(names) or set(own) != set(names):
            return value
        return [value[own.index(name)] for name in names]
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        if missing or len(value) != len(names):
            hint = f"it lacks {', '.join(missing)}" if missing else "it has others too"
            raise misfit(f"a dict with the keys {', '.join(names)}", value, hint)
        return [value[name] for name in names]
    if isinstance(value, str | list | set | frozenset | bytes | int | float):
        raise misfit(f"a tuple, dict, or object with the attributes {', '.join(names)}", value)
    try:
        return [getattr(value, name) for name in names]
    except AttributeError as error:
        raise misfit(
            f"a tuple, dict, or object with the attributes {', '.join(names)}",
            value,
            f"it has no {error.name}",
        ) from None


def _encoded(fields: Sequence[Field], values: Sequence[Any]) -> bytes:
    pieces = [_count.pack(len(fields))]
    for (name, codec), value in zip(fields, values, strict=True):
        if value is None:
            pieces.append(_field.pack(codec.oid, _NULL))
            continue
        try:
            data = part_bytes(codec, value)
        except DataError as error:
            raise DataError(f"field {name}: {error}") from None
        pieces.append(_field.pack(codec.oid, len(data)))
        pieces.append(data)
    return b"".join(pieces)


def _text(fields: Sequence[Field], values: Sequence[Any]) -> str:
    texts = []
    for (name, codec), value in zip(fields, values, strict=True):
        if value is None:
            texts.append("")
            continue
        try:
            text = part_literal(codec, value)
        except DataError as error:
            raise DataError(f"field {name}: {error}") from None
        texts.append('"' + text.replace("\\", "\\\\").replace('"', '""') + '"')
    return f"({','.join(texts)})"
