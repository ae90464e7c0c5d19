"""What the tests of the codecs share: the codecs by name, and equality that sees everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError
from pgwire.pgtypes import Codec, TypeRegistry, oids

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRY = TypeRegistry()
OIDS = {name: oid for name, oid in vars(oids).items() if name.isupper()}
CODECS = {codec.name: codec for codec in map(REGISTRY.codec, OIDS.values())}


def decode(codec: Codec, data: bytes) -> Any:
    """The value, read from the middle of a larger buffer."""
    return codec.decode(b"\xff" + data + b"\xff\xff", 1, 1 + len(data))


def encode(codec: Codec, value: Any) -> bytes:
    """The value in binary."""
    data = codec.encode(value)
    assert type(data) is bytes
    return data


def round_trip(codec: Codec, value: Any) -> Any:
    """What comes back of a value that is sent in binary."""
    return decode(codec, encode(codec, value))


def exactly(value: Any) -> str:
    """A text that differs wherever values do: 1 and 1.0 and True, 0.0 and -0.0, 1.5 and 1.50."""
    return f"{type(value).__name__} {value!r}"


def refused(codec: Codec, value: Any) -> str:
    """The reason why the value is refused as a parameter."""
    return reason(codec.encode, value)


def reason(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return str(caught.value)
