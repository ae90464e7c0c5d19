"""bytea: bytes, in PostgreSQL's two text formats too.

Knows the formats "hex" and "escape" of the setting `bytea_output`. Must not know any other
type. The manual: "Binary Data Types".
"""

from __future__ import annotations

import binascii
import re
from typing import Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit

_is_escape_format = re.compile(rb"(?:[^\\]|\\\\|\\[0-3][0-7]{2})*", re.DOTALL).fullmatch
_substitute_escapes = re.compile(rb"\\(\\|[0-3][0-7]{2})").sub


def _decode(buffer: bytes, start: int, end: int) -> bytes:
    return buffer[start:end]


def _unescaped(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return escaped if escaped == b"\\" else bytes((int(escaped, 8),))


def _decode_text(text: str) -> bytes:
    try:
        # In the escape format a backslash is doubled: "\x" can only be the other one.
        if text.startswith("\\x"):
            return binascii.unhexlify(text[2:])
        escaped = text.encode("ascii")
    except ValueError:
        raise malformed("bytea") from None
    if not _is_escape_format(escaped):
        raise malformed("bytea")
    return _substitute_escapes(_unescaped, escaped)


def _encode(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise misfit("bytes, bytearray or memoryview", value)


def _literal(value: Any) -> str:
    return f"\\x{_encode(value).hex()}"


CODEC = Codec(
    "bytea",
    oids.BYTEA,
    oids.BYTEA_ARRAY,
    _decode,
    _decode_text,
    _encode,
    _literal,
    gives="`bytes`",
    takes="`bytes`, `bytearray`, `memoryview`",
)
