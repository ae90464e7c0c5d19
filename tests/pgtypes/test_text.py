"""The text types, "char", void, and types that pgwire does not know."""

from __future__ import annotations

from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.pgtypes.text import encode_text
from tests.pgtypes.helpers import CODECS, REGISTRY, decode, exactly, reason, refused, round_trip

TEXT_TYPES = ("text", "varchar", "bpchar", "name", "unknown")
CHAR = CODECS["char"]


class Colour(StrEnum):
    RED = "red"


class Loud(str, Enum):  # noqa: UP042 - its str() is not its value, which is the point
    RED = "red"


class Opinionated(str):
    __slots__ = ()

    def encode(self, *_arguments: Any) -> bytes:
        raise AssertionError("a subclass's own encode() is not called")

    __str__ = __iter__ = __contains__ = encode  # type: ignore[assignment]


@pytest.mark.parametrize("name", TEXT_TYPES)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_text_round_trips(name: str, value: str) -> None:
    codec = CODECS[name]
    assert codec.takes_str
    assert codec.encode(value) == value.encode()
    assert round_trip(codec, value) == codec.decode_text(value) == value


@pytest.mark.parametrize("value", [Colour.RED, Loud.RED, Opinionated("red")], ids=type)
def test_subclasses_of_str_count_by_their_characters(value: str) -> None:
    assert encode_text(value) == b"red"


def test_nul_is_refused_with_its_place() -> None:
    assert refused(CODECS["text"], "ab\0") == ("text cannot hold NUL, and there is one at index 2")


def test_lone_surrogates_are_refused_with_their_place() -> None:
    assert refused(CODECS["text"], "secret\udc80") == (
        "text cannot hold a lone surrogate, and there is one at index 6"
    )


@pytest.mark.parametrize("value", [b"secret", bytearray(b"secret"), memoryview(b"secret")])
def test_bytes_are_to_be_decoded_first(value: Any) -> None:
    kind = type(value).__name__
    assert refused(CODECS["text"], value) == f"expected str, got {kind}; decode it first"


def test_nothing_is_turned_into_text_silently() -> None:
    assert refused(CODECS["text"], 5) == "expected str, got int 5; pass str(value)"
    assert refused(CODECS["text"], {"a": 1}) == "expected str, got dict; pass json.dumps(value)"
    for several in (["a"], ("a",), {"a"}):  # of which str() is no text that anybody wants
        assert refused(CODECS["text"], several) == f"expected str, got {type(several).__name__}"


@pytest.mark.parametrize("name", TEXT_TYPES)
def test_bytes_that_are_not_utf8_are_refused(name: str) -> None:
    assert "not a valid text in UTF-8" in reason(decode, CODECS[name], b"\xff")


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_char_round_trips(byte: int) -> None:
    value = decode(CHAR, bytes((byte,)))
    assert CHAR.encode(value) == bytes((byte,))
    assert CHAR.decode_text(value) == value
    assert exactly(value) == exactly("" if not byte else chr(byte) if byte < 128 else value)


@pytest.mark.parametrize("value", ["ab", "é", "\0", "\\101", "\\400", "\\38x", "\udc80", 5, b"a"])
def test_what_is_no_single_byte_is_no_char(value: Any) -> None:
    assert "str of at most one ASCII character" in refused(CHAR, value)
    if isinstance(value, str):
        assert 'not a valid "char"' in reason(CHAR.decode_text, value)


def test_char_takes_subclasses_of_str() -> None:
    assert CHAR.encode(Opinionated("x")) == b"x"


@pytest.mark.parametrize("data", [b"", b"ab"])
def test_char_is_one_byte(data: bytes) -> None:
    assert 'not a valid "char"' in reason(decode, CHAR, data)


def test_void_is_none() -> None:
    void = CODECS["void"]
    assert decode(void, b"") is None
    assert void.decode_text("") is None
    assert "not a valid void" in reason(decode, void, b"x")
    assert "not a valid void" in reason(void.decode_text, "x")
    assert "expected str" in refused(void, 1)


def test_unknown_types_are_literals() -> None:
    codec = REGISTRY.codec(12345)
    assert (codec.name, codec.oid, codec.array_oid) == ("type 12345", 12345, 0)
    assert not codec.binary_results
    assert not codec.takes_str  # a str is sent as it is
    assert not codec.has_binary
    assert codec.decode_text("(1,2)") == "(1,2)"
    assert refused(codec, 5) == "expected str, PostgreSQL's literal of the type, got int 5"
    assert "does not read the binary format of type 12345" in reason(decode, codec, b"(1,2)")


def test_a_path_is_its_text() -> None:
    assert encode_text(PurePosixPath("/a/b c")) == b"/a/b c"
    assert CODECS["text"].literal(PurePosixPath("/a")) == "/a"

    class Bytes:
        def __fspath__(self) -> bytes:
            return b"/a"

    assert "expected str, got bytes" in reason(encode_text, Bytes())
