"""Parameters: from Python values to the body of a Bind message.

The plain encoder: one value after the other. A value that does not fit is found here, before
anything is written, and the error names its position, its type and what was given.
"""

from __future__ import annotations

from functools import partial
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes.codec import PACKED_FROM, Literal, encoded
from pgwire.protocol.frontend import pack_int32, pack_uint16
from pgwire.protocol.messages import BINARY, MAX_PARAMETERS, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.pgtypes import Codec

_NULL = pack_int32(-1)
_ALL_BINARY = pack_uint16(1) + pack_uint16(BINARY)


def check_parameters(params: Any) -> Sequence[Any]:
    """The parameters as a sequence that can be counted, or an error that says what to write."""
    if not isinstance(params, (list, tuple)):  # a union of the two would be made by each call
        if isinstance(params, (str, bytes, bytearray, memoryview)):
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
            hint = "" if params is None else "; for a single parameter write [value]"
            raise ProgrammingError(
                f"params must be a sequence of values, not {type(params).__name__}{hint}"
            ) from None
    if len(params) > MAX_PARAMETERS:
        raise ProgrammingError(
            f"{len(params):,} parameters, but the protocol takes {MAX_PARAMETERS:,} at most; "
            "send an array (… = any($1)), or use COPY"
        )
    return params  # type: ignore[no-any-return]


def all_binary(count: int) -> bytes:
    """What stands before so many values in Bind, where all of them are binary."""
    return _ALL_BINARY + pack_uint16(count) if count else b"\0\0\0\0"


def miscounted(count: int, given: int) -> ProgrammingError:
    """The error for a wrong number of values."""
    return ProgrammingError(
        f"the statement has {count} parameter{'s' * (count != 1)}, {given} given"
    )


class ParameterEncoder:
    """Encodes the values of one statement's parameters.

    A value of the very class that its fixed-width type is packed from (an `int` for int4) is
    packed together with its length; everything else goes through its codec.
    """

    __slots__ = ("_all_binary", "_codecs", "_count", "_shortcuts")

    def __init__(self, codecs: Sequence[Codec]) -> None:
        self._codecs = codecs
        self._count = len(codecs)
        self._shortcuts = [_shortcut(codec) for codec in codecs]
        self._all_binary = all_binary(self._count)

    def parts(self, params: Sequence[Any]) -> list[bytes]:
        """Bind's format codes, the number of parameters, and the values; to be joined.

        In parts, so that large values are copied once, with the rest of the message.
        """
        if len(params) != self._count:
            raise miscounted(self._count, len(params))
        parts = [self._all_binary]
        texts: list[int] = []
        number = 0
        for value, (kind, pack), codec in zip(params, self._shortcuts, self._codecs, strict=True):
            number += 1
            if value.__class__ is kind:
                try:
                    parts.append(pack(value))
                    continue
                except (StructError, OverflowError):
                    pass  # out of range: the codec has the words for it
            parts += _encode_value(value, codec, number, texts)
        if texts:
            formats = [TEXT if n in texts else BINARY for n in range(1, self._count + 1)]
            parts[0] = b"".join(map(pack_uint16, (self._count, *formats, self._count)))
        return parts


def _shortcut(codec: Codec) -> tuple[type | None, Callable[[Any], bytes]]:
    """The class of values, and what packs one of them behind its length."""
    kind = PACKED_FROM.get(codec.struct_code or "")
    if kind is None:
        return None, bytes
    packer = Struct("!i" + str(codec.struct_code))
    return kind, partial(packer.pack, packer.size - 4)


def _encode_value(value: Any, codec: Codec, number: int, texts: list[int]) -> tuple[bytes, ...]:
    """Length and value of parameter `number`, from 1; those sent as text are put into `texts`."""
    if value is None:
        if not codec.has_binary:  # the server may have nothing to read it with, not even NULL
            texts.append(number)
        return (_NULL,)
    try:
        data = encoded(codec, value)
    except DataError as error:
        from pgwire.protocol.hints import misfit_hint  # most programs never need it

        hint = misfit_hint(number, value, codec.name)
        reason = f"{error}; {hint}" if hint else str(error)
        raise _misfit(number, codec, reason) from error.__cause__
    if isinstance(data, Literal):
        texts.append(number)
        data = _encode_literal(data, codec, number)
    return pack_int32(len(data)), data


def _encode_literal(text: str, codec: Codec, number: int) -> bytes:
    """PostgreSQL's own literal: the server judges it."""
    if "\0" in text:
        raise _misfit(number, codec, f"str with a NUL character at index {text.index(chr(0))}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _misfit(number, codec, f"str with a lone surrogate at index {error.start}") from None


def _misfit(number: int, codec: Codec, reason: str) -> DataError:
    return DataError(f"parameter ${number} ({codec.name}): {reason}")
