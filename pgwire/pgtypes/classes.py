"""A user's class for the values of a type: what `register_type("address", Address)` means.

Knows how an object is made from a type's own values and taken apart again. Must not know which
types there are, nor import any library of such classes.

- A composite type: the class is called with the attributes as keyword arguments, and its objects
  are read attribute by attribute.
- json and jsonb: a pydantic model validates what was parsed; any other class is called with the
  object's members as keyword arguments (or with the value, where it is no object).
- Any other type: the class is called with the value that the type has by itself, and an object
  must be such a value too (a subclass of `str`, say), or a member of an `Enum` of them.
- `numpy.ndarray` for pgvector's types.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.pgtypes.codec import Codec, Literal


def class_codec(codec: Codec, cls: type, attributes: Sequence[str] | None = None) -> Codec:
    """The codec of a type, with objects of a class for its values.

    `attributes` are those of a composite type, in order.
    """
    if (cls.__module__, cls.__name__) == ("numpy", "ndarray"):
        from pgwire.pgtypes.vectors import numpy_codec

        return numpy_codec(codec, sys.modules["numpy"])
    if attributes is not None:
        return _composite(codec, cls, attributes)
    return _made_by(codec, cls, _json_maker(cls) if codec.is_json else cls)


def _composite(codec: Codec, cls: type, attributes: Sequence[str]) -> Codec:
    def parts(value: Any) -> Any:
        if not isinstance(value, cls) or isinstance(value, Mapping | str):
            return value
        try:
            return tuple([getattr(value, name) for name in attributes])
        except AttributeError:
            return value  # the type's own codec has the words for it

    def encode(value: Any) -> bytes | Literal:
        return codec.encode(parts(value))

    def literal(value: Any) -> str:
        return codec.literal(parts(value))

    def make(row: Any) -> Any:
        return cls(**row._asdict())

    return replace(_made_by(codec, cls, make), encode=encode, literal=literal)


def _json_maker(cls: Any) -> Callable[[Any], Any]:
    validate = getattr(cls, "model_validate", None)  # pydantic's

    def make(value: Any) -> Any:
        if value is None:
            return None  # JSON's null
        if validate is not None:
            return validate(value)
        return cls(**value) if isinstance(value, Mapping) else cls(value)

    return make


def _made_by(codec: Codec, cls: type, make: Callable[[Any], Any]) -> Codec:
    def made(value: Any) -> Any:
        try:
            return make(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a panic of pydantic's, say
            # Its words may hold the value, which is nobody else's business.
            raise DataError(
                f"{cls.__name__} could not be made of a value of type {codec.name}: "
                f"it raised {type(error).__name__}"
            ) from error

    def decode(buffer: bytes, start: int, end: int) -> Any:
        return made(codec.decode(buffer, start, end))

    def decode_text(text: str) -> Any:
        return made(codec.decode_text(text))

    return replace(
        codec,
        decode=decode,
        decode_text=decode_text,
        struct_code=None,
        gives=f"`{cls.__name__}`",
    )
