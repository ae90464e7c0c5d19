"""uuid: `uuid.UUID`.

Knows how to make a UUID quickly. Must not know any other type. The manual: "UUID Type".
"""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, SafeUUID

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, Converted, malformed, misfit, wrong_length

# UUID(int=...) checks what sixteen bytes cannot get wrong, and costs more than twice as much
# as filling its two slots. object.__setattr__, which UUID itself uses, would lie between.
_new = UUID.__new__
_set_int = UUID.__dict__["int"].__set__
_set_is_safe = UUID.__dict__["is_safe"].__set__
_UNKNOWN = SafeUUID.unknown
_int_of = int.from_bytes  # big-endian

# UUID() alone would also take braces, "urn:uuid:" and hyphens anywhere.
_is_uuid_text = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch


def _uuid_of(data: bytes) -> UUID:
    value = _new(UUID)
    _set_int(value, _int_of(data))
    _set_is_safe(value, _UNKNOWN)
    return value


def _decode(buffer: bytes, start: int, end: int) -> UUID:
    if end - start != 16:
        raise wrong_length("uuid", end - start)
    return _uuid_of(buffer[start:end])


def _decode_text(text: str) -> UUID:
    if not _is_uuid_text(text):
        raise malformed("uuid")
    return UUID(text)


def _encode(value: Any) -> bytes:
    if not isinstance(value, UUID):
        raise misfit("uuid.UUID, or str", value)
    return value.bytes


def _literal(value: Any) -> str:
    return str(UUID(bytes=_encode(value)))


CODEC = Codec(
    "uuid",
    oids.UUID,
    oids.UUID_ARRAY,
    _decode,
    _decode_text,
    _encode,
    _literal,
    converted=Converted("16s", _decode, _uuid_of),
    gives="`uuid.UUID`",
    takes="`uuid.UUID`",
)
