"""json and jsonb: parsed on the way in, written on the way out.

Knows which values are JSON text already. Must not know how JSON is read and written: the
two functions for that are arguments.

A `str` is JSON text, as it is for PostgreSQL; everything else is a value. `Json` marks what
would be taken for something else: a `str` that is a JSON string, None that is a JSON null
(and not NULL), in arrays a list that is one element. The manual: "JSON Types".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length
from pgwire.pgtypes.text import decode_utf8, encode_text

if TYPE_CHECKING:
    from collections.abc import Callable

_JSONB_VERSION = 1


@dataclass(frozen=True, slots=True)
class Json:
    """A value to be sent as JSON, whatever its Python type.

    `Json("x")` is the JSON string "x", while "x" alone would be (wrong) JSON text;
    `Json(None)` is JSON's null, while None is NULL; in an array of json, `Json([1, 2])` is
    one element. The value must be one that the registry's `json_dumps` takes.
    """

    value: Any


def codecs(
    json_loads: Callable[[str], Any], json_dumps: Callable[[Any], str | bytes]
) -> tuple[Codec, Codec]:
    """The codecs of json and jsonb on these two functions."""

    def decode_text(text: str) -> Any:
        try:
            return json_loads(text)
        # The function is the user's: what it raises, be it RecursionError, is not ours to say.
        except Exception as error:
            raise DataError(f"the server's JSON could not be read: {error}") from error

    def decode_json(buffer: bytes, start: int, end: int) -> Any:
        return decode_text(decode_utf8(buffer, start, end))

    def decode_jsonb(buffer: bytes, start: int, end: int) -> Any:
        if start == end:
            raise wrong_length("jsonb", 0)
        if buffer[start] != _JSONB_VERSION:
            raise malformed(f"jsonb: its version is {buffer[start]}, not {_JSONB_VERSION}")
        return decode_text(decode_utf8(buffer, start + 1, end))

    def encode_json(value: Any) -> bytes:
        if isinstance(value, str):
            return encode_text(value)
        if isinstance(value, Json):
            value = value.value
        try:
            text = json_dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"not a value for JSON: {error}") from error
        if isinstance(text, bytes):
            return text
        if not isinstance(text, str):
            raise misfit("str or bytes from json_dumps", text)
        return encode_text(text)

    def encode_jsonb(value: Any) -> bytes:
        return b"\x01" + encode_json(value)

    return (
        Codec(
            "json",
            oids.JSON,
            oids.JSON_ARRAY,
            decode_json,
            decode_text,
            encode_json,
            takes_str=True,
        ),
        Codec(
            "jsonb",
            oids.JSONB,
            oids.JSONB_ARRAY,
            decode_jsonb,
            decode_text,
            encode_jsonb,
            takes_str=True,
        ),
    )
