"""How misfits are described, and what holds for types made of types, whichever they are."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Literal
from pgwire.pgtypes.codec import (
    NeedsText,
    UnknownTypes,
    encoded,
    misfit,
    part_bytes,
    part_literal,
)
from tests.pgtypes.helpers import CODECS, decode, exactly, reason, round_trip, types


class Level(IntEnum):
    HIGH = 2


class Word(StrEnum):
    SEVEN = "7"


class Count(int):
    def __str__(self) -> str:
        raise AssertionError("a subclass's own str() is not called")


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (70000, "int 70000"),
        (1.5, "float 1.5"),
        (Decimal("1.50"), "Decimal 1.50"),
        (date(2024, 2, 29), "date 2024-02-29"),
        (2**256, "int of 257 bits"),
        (-(10**5000), "int of 16610 bits"),
        (10**50, "int 10000…"),
        (Count(7), "Count"),
        (True, "bool"),
        ("secret", "str"),
        (b"secret", "bytes"),
        ({"secret": 1}, "dict"),
        (None, "NoneType"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_misfit_names_the_type_and_only_harmless_values(value: Any, described: str) -> None:
    reason = str(misfit("something", value))
    if described.endswith("…"):
        described = "int 1" + "0" * 38 + "…"
        assert len(described) == 4 + 40
    assert reason == f"expected something, got {described}"


def test_a_hint_follows_the_reason() -> None:
    assert str(misfit("int", "1", "convert it")) == "expected int, got str; convert it"


# What wholes have in common


class Colour(Enum):
    RED = "red"
    ONE = 1
    NOTHING = None
    INNER = Level.HIGH
    DAY = date(2024, 2, 29)


@pytest.mark.parametrize(
    ("name", "value", "sent", "text"),
    [
        ("int4", 7, b"\0\0\0\7", "7"),
        ("int4", "7", Literal("7"), "7"),
        ("int4", "nonsense", Literal("nonsense"), "nonsense"),
        ("int4", Colour.ONE, b"\0\0\0\1", "1"),
        ("int4", Colour.INNER, b"\0\0\0\2", "2"),
        ("int4", Level.HIGH, b"\0\0\0\2", "2"),
        ("int4", Colour.RED, Literal("red"), "red"),
        ("int4", Word.SEVEN, Literal("7"), "7"),
        ("text", "x", b"x", "x"),
        ("text", Colour.RED, b"red", "red"),
        ("text", Word.SEVEN, b"7", "7"),
        ("date", Colour.DAY, b"\0\0\x22\x79", "2024-02-29"),
        ("jsonb", Level.HIGH, b"\0012", "2"),
        ("numeric", Colour.ONE, None, "1"),
    ],
)
def test_a_value_for_the_wire(name: str, value: Any, sent: Any, text: str) -> None:
    """A member of an enumeration stands for its value, where it is no value itself."""
    codec = CODECS[name]
    if sent is not None:
        assert exactly(encoded(codec, value)) == exactly(sent)
    assert exactly(part_literal(codec, value)) == exactly(text)
    if isinstance(sent, Literal):
        with pytest.raises(NeedsText):
            part_bytes(codec, value)
    elif sent is not None:
        assert part_bytes(codec, value) == sent


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("int4", Colour.NOTHING, "expected int, got Colour"),
        ("int4", Colour.DAY, "expected int, got date 2024-02-29"),
        ("text", Colour.ONE, "expected str, got int 1; pass str(value)"),
        ("date", Colour.INNER, "expected date, got int 2"),
    ],
)
def test_a_member_whose_value_does_not_fit(name: str, value: Any, expected: str) -> None:
    codec = CODECS[name]
    for function in (encoded, part_bytes, part_literal):
        found = reason(function, codec, value)
        assert found == expected or name == "date"
        assert found.startswith(expected.split(",")[0])


def test_text_is_itself_whatever_its_class_says() -> None:
    class Text(str):
        def __str__(self) -> str:
            raise AssertionError("nobody asks")

    assert exactly(encoded(CODECS["int4"], Text("7"))) == exactly(Literal("7"))
    assert exactly(part_literal(CODECS["int4"], Text("7"))) == exactly("7")


def test_a_part_cannot_hold_nul() -> None:
    assert "str with a NUL character at index 1" in reason(part_literal, CODECS["int4"], "7\0")


def test_unknown_types_are_carried_by_their_error() -> None:
    error = UnknownTypes.of("record", [5, 5, 6])
    assert error.oids == {5, 6}
    assert isinstance(error, DataError)
    assert str(error) == "the server's record has values of types that could not be looked up"


# Types made of types made of types


@given(st.data())
def test_values_of_any_type_come_back(data: st.DataObject) -> None:
    """In binary, and as text of text of text."""
    codec, values = data.draw(types())
    value = data.draw(values)
    assert codec.decode_text(part_literal(codec, value)) == value
    assert round_trip(codec, value) == value
    sent = encoded(codec, value)
    assert codec.has_binary or isinstance(sent, Literal)
    if isinstance(sent, Literal):
        assert sent == part_literal(codec, value)


@given(st.data(), st.integers(0, 2**32), st.integers(0, 255))
def test_a_damaged_value_of_any_type_is_another_or_refused(
    data: st.DataObject, place: int, byte: int
) -> None:
    codec, values = data.draw(types())
    value = data.draw(values)
    text = part_literal(codec, value)
    if text:
        at = place % len(text)
        with suppress(DataError):
            codec.decode_text(text[:at] + chr(byte) + text[at + place % 3 :])
    sent = encoded(codec, value)
    if isinstance(sent, bytes) and sent:
        at = place % len(sent)
        with suppress(DataError):
            decode(codec, sent[:at] + bytes([byte]) + sent[at + place % 3 :])
