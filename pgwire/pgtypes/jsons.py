"""json and jsonb: parsed on the way in, written on the way out.

Knows which values are JSON text already. Must not know how JSON is read and written: the
two functions for that are arguments.

A `str` is JSON text, as it is for PostgreSQL; everything else is a value. `Json` marks what
would be taken for something else: a `str` that is a JSON string, None that is a JSON null
(and not NULL), in arrays a list that is one element. The manual: "JSON Types".
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length
from pgwire.pgtypes.text import decode_utf8, encode_text

if TYPE_CHECKING:
    from collections.abc import Callable

_JSONB_VERSION = 1
_GIVES = "what `json_loads` makes of it: `dict`, `list`, `str`, `int`, `float`, `bool`, `None`"
_TAKES = (
    "`pgwire.Json(value)`, any value but `str` that `json_dumps` takes; objects of dataclasses,"
    " pydantic and attrs"
)


class Json:
    """A value to be sent as JSON, whatever its Python type.

    `Json("x")` is the JSON string "x", while "x" alone would be (wrong) JSON text;
    `Json(None)` is JSON's null, while None is NULL; in an array of json, `Json([1, 2])` is
    one element. The value must be one that the registry's `json_dumps` takes.
    """

    # No dataclass: some writers of JSON take any of those for an object with its fields.
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Json({self.value!r})"

    def __eq__(self, other: object) -> bool:
        return self.value == other.value if isinstance(other, Json) else NotImplemented

    def __hash__(self) -> int:
        return hash((Json, self.value))


def plain(value: Any) -> Any:
    """What JSON has instead of a dataclass, a pydantic model, or an attrs object."""
    if isinstance(value, Json):
        return value.value
    if isinstance(value, Enum):
        return value.value
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    raise TypeError(
        f"Object of type {type(value).__name__} is not JSON serializable; convert it, or give a "
        "json_dumps that does"
    )


# All that json.loads does with text that has no blanks around it; it takes as long once more to
# find that out (CPython 3.11).
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # since Python 2.6

# JSON has neither NaN nor infinities.
dumps = json.JSONEncoder(default=plain, allow_nan=False).encode


def json_text(buffer: bytes, start: int, end: int) -> str:
    """The text of a binary json or jsonb; no text begins with a byte like jsonb's version."""
    return decode_utf8(buffer, start + (buffer[start:end][:1] == b"\x01"), end)


def _scanning(plain: Callable[[bytes, int, int], Any], skip: int) -> Callable[..., Any]:
    """What `plain` does with json.loads, without a call for each of its steps.

    `skip` is 1 where a version comes first. What is not as usual, blanks around the text or an
    error, is left to `plain`.
    """

    def decode(buffer: bytes, start: int, end: int) -> Any:
        try:
            if not skip or buffer[start] == _JSONB_VERSION:
                text = buffer[start + skip : end].decode()
                value, stop = _scan(text, 0)
                if stop == len(text):
                    return value
        except Exception:
            pass
        return plain(buffer, start, end)

    return decode


# Of what json_dumps raises: what is about the value, and what is the user's own, but for what would
# end more than the query.
_MISFITS = (TypeError, ValueError, AttributeError, RecursionError)
_LEFT_ALONE = (Exception, KeyboardInterrupt)


def codecs(
    json_loads: Callable[[str], Any], json_dumps: Callable[[Any], str | bytes]
) -> tuple[Codec, Codec]:
    """The codecs of json and jsonb on these two functions."""

    def decode_text(text: str) -> Any:
        try:
            return json_loads(text)
        # The function is the user's: what it raises, be it RecursionError, is not ours to say.
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise DataError(f"the server's JSON could not be read: {error}") from error

    def decode_json(buffer: bytes, start: int, end: int) -> Any:
        return decode_text(decode_utf8(buffer, start, end))

    def decode_jsonb(buffer: bytes, start: int, end: int) -> Any:
        if start == end:
            raise wrong_length("jsonb", 0)
        if buffer[start] != _JSONB_VERSION:
            raise malformed(f"jsonb: its version is {buffer[start]}, not {_JSONB_VERSION}")
        return decode_text(decode_utf8(buffer, start + 1, end))

    is_usual = json_loads is json.loads

    def encode_json(value: Any) -> bytes:
        if isinstance(value, str):
            return encode_text(value)
        if isinstance(value, Json):
            value = value.value
        try:
            text = json_dumps(value)
        except BaseException as error:
            if isinstance(error, _LEFT_ALONE) and not isinstance(error, _MISFITS):
                raise
            raise DataError(f"not a value for JSON: {error}") from error
        if isinstance(text, bytes):
            return text
        if not isinstance(text, str):
            raise misfit("str or bytes from json_dumps", text)
        return encode_text(text)

    def encode_jsonb(value: Any) -> bytes:
        return b"\x01" + encode_json(value)

    def literal(value: Any) -> str:
        return decode_utf8(data := encode_json(value), 0, len(data))

    return (
        Codec(
            "json",
            oids.JSON,
            oids.JSON_ARRAY,
            _scanning(decode_json, 0) if is_usual else decode_json,
            decode_text,
            encode_json,
            literal,
            takes_str=True,
            is_json=True,
            gives=_GIVES,
            takes=_TAKES,
        ),
        Codec(
            "jsonb",
            oids.JSONB,
            oids.JSONB_ARRAY,
            _scanning(decode_jsonb, 1) if is_usual else decode_jsonb,
            decode_text,
            encode_jsonb,
            literal,
            takes_str=True,
            is_json=True,
            gives=_GIVES,
            takes=_TAKES,
        ),
    )
