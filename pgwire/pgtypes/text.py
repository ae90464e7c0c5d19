"""The types whose values are text, "char", void, and every type that pgwire does not know.

Knows UTF-8 and what PostgreSQL's text cannot hold. Must not know any other type.

Text and its binary format are the same bytes. PostgreSQL stores neither the character NUL
nor lone surrogates; both are refused here, where the reason can be given, and never by
replacing anything. Nothing but `str` counts as text: `str(value)` would turn a forgotten
conversion into data. The manual: "Character Types".
"""

from __future__ import annotations

import re
from typing import Any

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, Converted, malformed, misfit, text_only, wrong_length

# "char" is one byte, without an encoding: PostgreSQL prints the upper half in octal.
_is_octal_char = re.compile(r"\\[2-3][0-7]{2}", re.ASCII).fullmatch


def encode_text(value: Any) -> bytes:
    """The text in UTF-8; `DataError` where it holds what PostgreSQL's text cannot."""
    if type(value) is not str:
        if hasattr(value, "__fspath__"):
            value = value.__fspath__()
        if not isinstance(value, str):
            raise misfit("str", value, _instead(value))
        value = str.__str__(value)  # a subclass may have an opinion of its own about encode()
    if "\0" in value:
        raise DataError(f"text cannot hold NUL, and there is one at index {value.index(chr(0))}")
    try:
        encoded: bytes = value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"text cannot hold a lone surrogate, and there is one at index {error.start}"
        ) from None
    return encoded


def _instead(value: Any) -> str:
    """What to pass for a value that is no text."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "decode it first"
    if isinstance(value, list | tuple | set | frozenset):
        return ""  # its str() is Python's notation, and of use to nobody
    return "pass json.dumps(value)" if isinstance(value, dict) else "pass str(value)"


def decode_utf8(buffer: bytes, start: int, end: int) -> str:
    """The bytes as text, whatever the type."""
    try:
        return buffer[start:end].decode()
    except UnicodeDecodeError:
        raise malformed("text in UTF-8") from None


def _same(text: str) -> str:
    return text


def _char_of(byte: int) -> str:
    if byte == 0:
        return ""
    return chr(byte) if byte < 0x80 else f"\\{byte:03o}"


_CHARS = [_char_of(byte) for byte in range(256)]


def _decode_char(buffer: bytes, start: int, end: int) -> str:
    if end - start != 1:
        raise wrong_length('"char"', end - start)
    return _CHARS[buffer[start]]


def _char_byte(text: str) -> int | None:
    """The byte that "char" prints as this text, or None."""
    if not text:
        return 0
    if len(text) == 1:
        return ord(text) if "\0" < text < "\x80" else None
    return int(text[1:], 8) if _is_octal_char(text) else None


def _decode_char_text(text: str) -> str:
    if _char_byte(text) is None:
        raise malformed('"char"')
    return text


def _encode_char(value: Any) -> bytes:
    byte = _char_byte(str.__str__(value)) if isinstance(value, str) else None
    if byte is None:
        raise misfit(
            'str of at most one ASCII character, or of an octal escape like "\\351"', value
        )
    return bytes((byte,))


def _char_literal(value: Any) -> str:
    return _char_of(_encode_char(value)[0])


def text_literal(value: Any) -> str:
    """The text as it is; `DataError` as from `encode_text`."""
    return encode_text(value).decode()


def _decode_void(_buffer: bytes, start: int, end: int) -> None:
    if start != end:
        raise wrong_length("void", end - start)


def _decode_void_text(text: str) -> None:
    if text:
        raise malformed("void")


def _literal_only(value: Any) -> str:
    raise misfit("str, PostgreSQL's literal of the type", value)


def literal_codec(name: str, oid: int, array_oid: int, delimiter: str = ",") -> Codec:
    """The codec of a type that pgwire has no values for: PostgreSQL's literals, as `str`."""

    def decode(_buffer: bytes, _start: int, _end: int) -> str:
        raise DataError(
            f"pgwire does not read the binary format of {name}; cast it to text, as in x::text"
        )

    return Codec(
        name,
        oid,
        array_oid,
        decode,
        _same,
        text_only(_literal_only),
        _literal_only,
        binary_results=False,
        has_binary=False,
        delimiter=delimiter,
        gives="`str`, PostgreSQL's literal",
    )


def text_codec(name: str, oid: int, array_oid: int) -> Codec:
    """The codec of a type whose values are text like any other."""
    return Codec(
        name,
        oid,
        array_oid,
        decode_utf8,
        _same,
        encode_text,
        text_literal,
        takes_str=True,
        gives="`str`",
        takes="`pathlib.Path`",
    )


CODECS = (
    text_codec("text", oids.TEXT, oids.TEXT_ARRAY),
    text_codec("varchar", oids.VARCHAR, oids.VARCHAR_ARRAY),
    text_codec("bpchar", oids.BPCHAR, oids.BPCHAR_ARRAY),
    text_codec("name", oids.NAME, oids.NAME_ARRAY),
    text_codec("unknown", oids.UNKNOWN, 0),
    Codec(
        "char",
        oids.CHAR,
        oids.CHAR_ARRAY,
        _decode_char,
        _decode_char_text,
        _encode_char,
        _char_literal,
        takes_str=True,
        converted=Converted("B", _decode_char, _CHARS.__getitem__),
        gives='`str`: nothing, one ASCII character, or an octal escape like "\\\\351"',
    ),
    Codec(
        "void",
        oids.VOID,
        0,
        _decode_void,
        _decode_void_text,
        text_only(_literal_only),
        _literal_only,
        gives="`None`",
    ),
)
