"""hstore: `dict[str, str | None]`.

Knows the text and binary formats of hstore. Must not know any other type.

Keys and values are text; only a value can be NULL. A server sends each key once, in an order of
its own. The manual: "hstore".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.codec import Codec, malformed, wrong_length
from pgwire.pgtypes.text import decode_utf8, encode_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_length = struct.Struct(">i")
_NULL = b"\xff\xff\xff\xff"

_quoted = r'"((?:[^"\\]++|\\["\\])*+)"'
_match_pair = re.compile(f"{_quoted}=>(?:NULL|{_quoted})(?:, (?!$)|$)", re.DOTALL).match
_unescape = re.compile(r"\\(.)", re.DOTALL).sub
_escape = re.compile(r'(["\\])').sub


def _decode(buffer: bytes, start: int, end: int) -> dict[str, str | None]:
    if end - start < 4:
        raise wrong_length("hstore", end - start)
    (count,) = _length.unpack_from(buffer, start)
    at = start + 4
    if not 0 <= count <= (end - at) // 8:
        raise malformed("hstore")
    found: dict[str, str | None] = {}
    for _ in range(count):
        key, at = _read_text(buffer, at, end)
        value, at = _read_text(buffer, at, end)
        if key is None or key in found:
            raise malformed("hstore")
        found[key] = value
    if at != end:
        raise malformed("hstore")
    return found


def _read_text(buffer: bytes, at: int, end: int) -> tuple[str | None, int]:
    """A text behind its length, or None, and where it ends."""
    if at + 4 > end:
        raise malformed("hstore")
    (length,) = _length.unpack_from(buffer, at)
    at += 4
    if length == -1:
        return None, at
    if not 0 <= length <= end - at:
        raise malformed("hstore")
    return decode_utf8(buffer, at, at + length), at + length


def _decode_text(text: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        match = _match_pair(text, at)
        if match is None:
            raise malformed("hstore")
        key, value = match.groups()
        key = _unescape(r"\1", key)
        if key in found:
            raise malformed("hstore")
        found[key] = None if value is None else _unescape(r"\1", value)
        at = match.end()
    return found


def _pairs(mapping: Any) -> Iterator[tuple[bytes, bytes | None]]:
    """The keys and values in UTF-8. No error shows any of them: they may be secret."""
    if not isinstance(mapping, Mapping):
        raise DataError(f"expected a dict of str to str or None, got {type(mapping).__name__}")
    for key, value in mapping.items():
        text = None if value is None else _utf8("a value", "str or None", value)
        yield _utf8("a key", "str", key), text


def _utf8(what: str, expected: str, text: Any) -> bytes:
    if not isinstance(text, str):
        raise DataError(f"expected {expected} as {what} of hstore, got {type(text).__name__}")
    try:
        return encode_text(text)
    except DataError as error:
        raise DataError(f"{what} of hstore: {error}") from None


def _encode(value: Any) -> bytes:
    pairs = list(_pairs(value))
    pieces = [_length.pack(len(pairs))]
    for key, text in pairs:
        pieces += (_length.pack(len(key)), key)
        pieces += (_NULL,) if text is None else (_length.pack(len(text)), text)
    return b"".join(pieces)


def _literal(value: Any) -> str:
    return ", ".join([f"{_quote(key)}=>{_quote(text)}" for key, text in _pairs(value)])


def _quote(text: bytes | None) -> str:
    return "NULL" if text is None else '"' + _escape(r"\\\1", text.decode()) + '"'


def hstore_codec(oid: int, array_oid: int) -> Codec:
    return Codec(
        "hstore",
        oid,
        array_oid,
        _decode,
        _decode_text,
        _encode,
        _literal,
        gives="`dict[str, str | None]`",
        takes="`dict` and any other `Mapping` of `str` to `str` or `None`",
    )
