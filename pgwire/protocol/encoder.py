"""Parameters: from Python values to the body of a Bind message.

The plain encoder: one value after the other. A value that does not fit is found here, before
anything is written, and the error names its position, its type and what was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes.codec import Literal
from pgwire.protocol.frontend import pack_int32, pack_uint16
from pgwire.protocol.messages import BINARY, MAX_PARAMETERS, TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.pgtypes import Codec

_NULL = pack_int32(-1)
_ALL_BINARY = pack_uint16(1) + pack_uint16(BINARY)


def check_parameters(params: Any) -> Sequence[Any]:
    """The parameters as a sequence that can be counted, or an error that says what to write."""
    if not isinstance(params, list | tuple):
        if isinstance(params, str | bytes | bytearray | memoryview):
            raise ProgrammingError(
                f"params must be a sequence of values, not {type(params).__name__}; "
                "for a single parameter write [value]"
            )
        if hasattr(params, "keys") or isinstance(params, set | frozenset):
            raise ProgrammingError(
                f"params must be a sequence of values in the order of $1, $2, …, "
                f"not {type(params).__name__}"
            )
        try:
            params = tuple(params)
        except TypeError:
            raise ProgrammingError(
                f"params must be a sequence of values, not {type(params).__name__}"
            ) from None
    if len(params) > MAX_PARAMETERS:
        raise ProgrammingError(
            f"{len(params):,} parameters, but the protocol takes {MAX_PARAMETERS:,} at most; "
            "send an array (… = any($1)), or use COPY"
        )
    return params  # type: ignore[no-any-return]


def all_binary(count: int) -> bytes:
    """Bind's format codes and number of parameters, where all are binary."""
    return _ALL_BINARY + pack_uint16(count) if count else b"\0\0\0\0"


def encode_parameters(codecs: Sequence[Codec], params: Sequence[Any], head: bytes) -> bytes:
    """Bind's format codes, the number of parameters, and the values.

    `head` is `all_binary(len(codecs))`.
    """
    count = len(codecs)
    if len(params) != count:
        raise ProgrammingError(
            f"the statement has {count} parameter{'s' * (count != 1)}, {len(params)} given"
        )
    parts = [head]
    formats: list[int] | None = None
    for position, (value, codec) in enumerate(zip(params, codecs, strict=True)):
        if value is None:
            parts.append(_NULL)
            continue
        if isinstance(value, str) and not codec.takes_str:
            literal = value
        else:
            try:
                data = codec.encode(value)
            except DataError as error:
                raise _misfit(position, codec, str(error)) from error.__cause__
            if not isinstance(data, Literal):
                parts.append(pack_int32(len(data)))
                parts.append(data)
                continue
            literal = data
        formats = formats or [BINARY] * count
        formats[position] = TEXT
        data = _encode_literal(literal, codec, position)
        parts += (pack_int32(len(data)), data)
    if formats is not None:
        parts[0] = b"".join(map(pack_uint16, (count, *formats, count)))
    return b"".join(parts)


def _encode_literal(text: str, codec: Codec, position: int) -> bytes:
    """PostgreSQL's own literal: the server judges it."""
    if "\0" in text:
        raise _misfit(position, codec, f"str with a NUL character at index {text.index(chr(0))}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _misfit(
            position, codec, f"str with a lone surrogate at index {error.start}"
        ) from None


def _misfit(position: int, codec: Codec, reason: str) -> DataError:
    return DataError(f"parameter ${position + 1} ({codec.name}): {reason}")
