"""Registrations: what users say about the types whose values they want otherwise.

Knows how a user's functions and classes become a codec. Must not know OIDs: types are found by
name, whatever their number and schema are in this or that database.

Registrations stand in layers: those of a connection over those of its pool, and these over those
of the whole program (`GLOBAL`). Whatever is not registered in one is looked for in the next.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal as OneOf, NamedTuple, overload

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes.catalog import Shared
from pgwire.pgtypes.classes import class_codec
from pgwire.pgtypes.codec import Codec, Literal, encoded, misfit, part_literal
from pgwire.pgtypes.enums import member_codec
from pgwire.pgtypes.jsons import json_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pgwire.pgtypes.catalog import TypeInfo
    from pgwire.pgtypes.registry import TypeRegistry

    Format: TypeAlias = OneOf["text", "binary"]

# The names that SQL has for what pg_type calls otherwise.
_SQL_NAMES = {
    "bigint": "int8",
    "boolean": "bool",
    "char": "bpchar",
    "character": "bpchar",
    "character varying": "varchar",
    "dec": "numeric",
    "decimal": "numeric",
    "double precision": "float8",
    "float": "float8",
    "int": "int4",
    "integer": "int4",
    "real": "float4",
    "smallint": "int2",
    "time with time zone": "timetz",
    "time without time zone": "time",
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "bit varying": "varbit",
    '"char"': "char",
}


class Registration(NamedTuple):
    """What `register_type` was given; see `registration()`."""

    python_type: type | None
    decode: Callable[[Any], Any] | None
    encode: Callable[[Any], Any] | None
    is_binary: bool

    def codec(self, codec: Codec, info: TypeInfo | None) -> Codec:
        """The codec of a type, made over."""
        if self.decode is None and self.encode is None:
            assert self.python_type is not None
            if info is not None and info.kind == "e" and issubclass(self.python_type, Enum):
                return member_codec(codec, info.labels, self.python_type)
            attributes = info.attribute_names if info is not None and info.kind == "c" else None
            return class_codec(codec, self.python_type, attributes)
        made = _binary(codec, self) if self.is_binary else _text(codec, self)
        if self.decode is None:
            return replace(made, decode=_another(codec.decode))
        return replace(made, gives="what the registered function makes of it")


def registration(
    name: str,
    python_type: type | None,
    decode: Callable[[Any], Any] | None,
    encode: Callable[[Any], Any] | None,
    format: str,
) -> Registration:
    """Judge what was given to `register_type`; ProgrammingError where it makes no sense."""
    if not isinstance(name, str) or not name or name.endswith("[]"):
        raise ProgrammingError(
            "register_type() wants the name of a type; its arrays, and all else that is made of "
            f"it, follow by themselves: {name!r}"
        )
    if format not in ("text", "binary"):
        raise ProgrammingError(f'format is "text" or "binary", not {format!r}')
    for what, given in (("decode", decode), ("encode", encode)):
        if given is not None and not callable(given):
            raise ProgrammingError(f"{what} must be a function, not {type(given).__name__}")
    if python_type is not None and not isinstance(python_type, type):
        raise ProgrammingError(
            f"the second argument is a class, not {type(python_type).__name__}; "
            "functions go into decode= and encode="
        )
    if python_type is None and decode is None and encode is None:
        raise ProgrammingError("register_type() wants a class, or decode=, encode= or both")
    if python_type is not None and not (decode is None and encode is None):
        raise ProgrammingError("register_type() wants a class or functions, not both")
    return Registration(python_type, decode, encode, format == "binary")


class Registrations(Shared):
    """One layer, over another one or none."""

    def __init__(self, below: Registrations | None = None) -> None:
        super().__init__()
        self._below = below
        self._by_name: dict[str, Registration] = {}

    def join(self, registry: TypeRegistry) -> None:
        super().join(registry)
        if self._below is not None:
            self._below.join(registry)

    def add(self, name: str, registration: Registration) -> None:
        """Register for this name from now on: "mood", "public.mood", "double precision"."""
        key = " ".join(name.split())
        self._by_name[_SQL_NAMES.get(key.lower(), key)] = registration
        self.tell()

    def find(self, schema: str, name: str) -> Registration | None:
        """The registration of a type, that with its schema first."""
        found = self._by_name.get(f"{schema}.{name}") or self._by_name.get(name)
        if found is None and self._below is not None:
            return self._below.find(schema, name)
        return found


GLOBAL = Registrations()


def _called(codec: Codec, what: str, function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return function(value)
    except (DataError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever it is, it is nobody's but this value's
        # Its words may hold the value, which is nobody else's business.
        raise DataError(
            f"the function registered to {what} {codec.name} raised {type(error).__name__}"
        ) from error


def _as_text(base: Codec, buffer: bytes, start: int, end: int) -> str:
    """The text of a binary value; that of JSON unread, for reading may lose what it says."""
    if base.is_json:
        return json_text(buffer, start, end)
    return part_literal(base, base.decode(buffer, start, end))


def _another(decode: Callable[[bytes, int, int], Any]) -> Callable[[bytes, int, int], Any]:
    """The same decoder, not to be known by: `str` would be taken for text and not be encoded."""

    def same(buffer: bytes, start: int, end: int) -> Any:
        return decode(buffer, start, end)

    return same


def _text(base: Codec, given: Registration) -> Codec:
    """The codec whose functions take and give text."""
    codec = base
    if (user_decode := given.decode) is not None:

        def decode_text(text: str) -> Any:
            return _called(base, "decode", user_decode, text)

        def decode(buffer: bytes, start: int, end: int) -> Any:
            # Of use inside of anonymous records only, where a format cannot be chosen.
            return decode_text(_as_text(base, buffer, start, end))

        codec = replace(
            codec,
            decode=decode,
            decode_text=decode_text,
            binary_results=False,
            has_binary=False,
            struct_code=None,
        )
    if (user_encode := given.encode) is not None:

        def literal(value: Any) -> str:
            text = _called(base, "encode", user_encode, value)
            if not isinstance(text, str):
                raise misfit(f"str from the function registered to encode {base.name}", text)
            return text

        def encode(value: Any) -> Literal:
            return Literal(literal(value))

        codec = replace(
            codec,
            encode=encode,
            literal=literal,
            struct_code=None,
            number=None,
            has_binary=False,
        )
    return codec


def _binary(base: Codec, given: Registration) -> Codec:
    """The codec whose functions take and give bytes."""
    codec = replace(base, struct_code=None)
    if (user_decode := given.decode) is not None:

        def decode(buffer: bytes, start: int, end: int) -> Any:
            return _called(base, "decode", user_decode, buffer[start:end])

        def decode_text(text: str) -> Any:
            # The text of JSON is what its codec takes for a value.
            data = encoded(base, text if base.is_json else base.decode_text(text))
            if isinstance(data, Literal):
                raise DataError(f"{base.name} came as text, but its decoder reads binary only")
            return _called(base, "decode", user_decode, data)

        codec = replace(
            codec, decode=decode, decode_text=decode_text, binary_results=True, has_binary=True
        )
    if (user_encode := given.encode) is not None:

        def binary(value: Any) -> bytes:
            data = _called(base, "encode", user_encode, value)
            if not isinstance(data, bytes | bytearray | memoryview):
                raise misfit(f"bytes from the function registered to encode {base.name}", data)
            return bytes(data)

        def encode(value: Any) -> bytes | Literal:
            if isinstance(value, str) and not base.takes_str:  # of a class that is not `str` itself
                return Literal(str.__str__(value))
            return binary(value)

        def literal(value: Any) -> str:
            if not base.has_binary:
                raise DataError(f"{base.name} must be text here, but its encoder gives binary only")
            data = binary(value)
            return _as_text(base, data, 0, len(data))

        codec = replace(codec, encode=encode, literal=literal, number=None)
    return codec


class RegistersTypes:
    """Whatever has `register_type`: the program, a pool, a connection."""

    @overload
    def register_type(self, name: str, python_type: type, /) -> None: ...
    @overload
    def register_type(
        self,
        name: str,
        /,
        *,
        decode: Callable[[str], Any] | None = None,
        encode: Callable[[Any], str] | None = None,
        format: OneOf["text"] = "text",
    ) -> None: ...
    @overload
    def register_type(
        self,
        name: str,
        /,
        *,
        decode: Callable[[bytes], Any] | None = None,
        encode: Callable[[Any], bytes] | None = None,
        format: OneOf["binary"],
    ) -> None: ...
    def register_type(
        self,
        name: str,
        python_type: type | None = None,
        /,
        *,
        decode: Callable[[Any], Any] | None = None,
        encode: Callable[[Any], Any] | None = None,
        format: str = "text",
    ) -> None:
        """Have the values of a PostgreSQL type be something else in Python, from now on.

        `name` is the type's, with its schema or without: "mood", "public.mood", "double
        precision". Whatever is made of it follows: arrays, ranges, composites, domains.

        With a class: an `Enum` for an enumerated type (labels are the members' values, or else
        their names); for a composite type a class that is called with its attributes as keyword
        arguments (dataclass, NamedTuple, pydantic, attrs); for json and jsonb one that the
        parsed value becomes; `numpy.ndarray` for pgvector's types; for any other type one that
        is called with the value that it has by itself.

        With functions: `decode` makes a value of PostgreSQL's text of it, `encode` the text of a
        value; with `format="binary"` both deal in bytes, the type's binary format. NULL is None
        and never gets to them. What they raise becomes the cause of a `DataError`.

        Registered on a connection it holds for that connection (a lease: as long as the lease),
        on a pool for its connections, by `pgwire.register_type` for the whole program; whichever
        is nearer wins. No such type need exist. Raises `ProgrammingError` for what makes no
        sense. Manual: "Data Types", "CREATE TYPE".
        """
        self._register(name, registration(name, python_type, decode, encode, format))

    def _register(self, name: str, registration: Registration) -> None:
        raise NotImplementedError


class _Program(RegistersTypes):
    def _register(self, name: str, registration: Registration) -> None:
        GLOBAL.add(name, registration)


register_type = _Program().register_type
