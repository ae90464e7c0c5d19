"""Enumerated types: labels, and members of Python's enumerations for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.codec import encoded
from pgwire.pgtypes.enums import enum_codec, member_codec
from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused, round_trip

LABELS = ("sad", "OK", "very happy", "")
MOOD = enum_codec("mood", 60_000, 60_001, LABELS)


class Mood(Enum):
    """By value, by name, and one that the type does not have."""

    SAD = "sad"
    OK = 2
    HAPPY = "very happy"
    NEW = "new"


class Text(StrEnum):
    SAD = "sad"
    OK = "okay"  # by name
    NOTHING = ""
    NEW = "new"


class Number(IntEnum):
    sad = 1
    OK = 2


class Mixed(str, Enum):  # noqa: UP042  # as they were before StrEnum
    SAD = "sad"
    OK = "okay"

    def __str__(self) -> str:
        raise AssertionError("nobody asked for it")


def test_a_label_is_a_str() -> None:
    for label in LABELS:
        assert encode(MOOD, label) == label.encode()
        assert decode(MOOD, label.encode()) == MOOD.decode_text(label) == label
        assert MOOD.literal(label) == label
    assert MOOD.takes_str
    assert (MOOD.name, MOOD.oid, MOOD.array_oid) == ("mood", 60_000, 60_001)


def test_the_server_judges_labels() -> None:
    """One may have been added since."""
    assert encode(MOOD, "new") == encode(MOOD, Text.NEW) == b"new"
    assert decode(MOOD, b"new") == MOOD.decode_text("new") == "new"


@pytest.mark.parametrize(
    ("member", "label"),
    [
        (Mood.SAD, "sad"),
        (Mood.OK, "OK"),
        (Mood.HAPPY, "very happy"),
        (Text.SAD, "sad"),
        (Text.OK, "OK"),
        (Text.NOTHING, ""),
        (Mixed.SAD, "sad"),
        (Mixed.OK, "OK"),
        (Number.sad, "sad"),
        (Number.OK, "OK"),
    ],
)
def test_a_member_stands_for_its_label(member: Any, label: str) -> None:
    assert encode(MOOD, member) == encoded(MOOD, member) == label.encode()
    assert MOOD.literal(member) == label
    assert round_trip(array_codec(MOOD), [member, None]) == [label, None]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Mood.NEW, "none of the labels sad, OK, very happy,  is the value or name of Mood.NEW"),
        (1, "expected str or a member of an Enum, got int 1"),
        (b"secret", "expected str or a member of an Enum, got bytes"),
        (Mood, "expected str or a member of an Enum, got EnumType"),
        ("a\0", "text cannot hold NUL"),
        ("\udc80", "text cannot hold a lone surrogate"),
    ],
)
def test_misfits_are_refused(value: Any, expected: str) -> None:
    assert expected in refused(MOOD, value)
    assert expected in reason(MOOD.literal, value)


def test_malformed_labels_are_refused() -> None:
    for codec in (MOOD, member_codec(MOOD, LABELS, Mood)):
        assert "not a valid text in UTF-8" in reason(decode, codec, b"\xff")


# Registered enumerations


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (Mood, {"sad": Mood.SAD, "OK": Mood.OK, "very happy": Mood.HAPPY}),
        (Text, {"sad": Text.SAD, "OK": Text.OK, "": Text.NOTHING}),
        (Number, {"sad": Number.sad, "OK": Number.OK}),
        (Mixed, {"sad": Mixed.SAD, "OK": Mixed.OK}),
    ],
)
def test_members_come_and_go(members: type[Enum], expected: dict[str, Enum]) -> None:
    codec = member_codec(MOOD, LABELS, members)
    for label, member in expected.items():
        assert decode(codec, label.encode()) is codec.decode_text(label) is member
        assert encode(codec, member) == label.encode()
        assert codec.literal(member) == label
    for label in {*LABELS, "added"} - set(expected):
        for function, argument in ((codec.decode_text, label), (decode, label.encode())):
            arguments = (codec, argument) if function is decode else (argument,)
            assert reason(function, *arguments) == (
                f"the label {label!r} of mood has no member in {members.__name__}"
            )
    values = [*expected.values(), None]
    assert exactly(round_trip(array_codec(codec), values)) == exactly(values)
    assert codec.gives == f"`{members.__name__}`"


def test_a_label_may_be_sent_all_the_same() -> None:
    codec = member_codec(MOOD, LABELS, Mood)
    assert encode(codec, "sad") == b"sad"
    assert codec.literal("sad") == "sad"
    assert encode(codec, Number.OK) == b"OK"  # of another enumeration
    assert "none of the labels" in refused(codec, Mood.NEW)
    assert "expected str or a member" in refused(codec, 1)


def test_a_value_is_a_better_label_than_a_name() -> None:
    class Both(Enum):
        A = "a"
        B = "A"

    class Twice(Enum):
        A = "a"

    both = member_codec(enum_codec("e", 1, 2, ("A", "a", "B")), ("A", "a", "B"), Both)
    assert [both.decode_text(label) for label in "aAB"] == [Both.A, Both.B, Both.B]
    assert [both.literal(member) for member in Both] == ["a", "A"]
    twice = member_codec(enum_codec("e", 1, 2, ("a", "A")), ("a", "A"), Twice)
    assert twice.decode_text("a") is twice.decode_text("A") is Twice.A
    assert twice.literal(Twice.A) == "a"


def test_aliases_are_names_too() -> None:
    class Aliased(Enum):
        first = 1
        second = 1

    codec = member_codec(enum_codec("e", 1, 2, ("second",)), ("second",), Aliased)
    assert codec.decode_text("second") is Aliased.first
    assert codec.literal(Aliased.first) == "second"


def test_members_need_not_be_hashable() -> None:
    @dataclass
    class Point:
        x: int

    class Points(Point, Enum):
        ORIGIN = 0

    codec = member_codec(enum_codec("e", 1, 2, ("ORIGIN",)), ("ORIGIN",), Points)
    assert codec.decode_text("ORIGIN") is Points.ORIGIN
    assert codec.literal(Points.ORIGIN) == "ORIGIN"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), unique=True))
def test_any_labels_can_be_members(labels: list[str]) -> None:
    labels = [label for label in labels if "\0" not in label]
    members: Any = Enum("members", {f"member_{n}": label for n, label in enumerate(labels)})  # type: ignore[misc]
    codec = member_codec(enum_codec("e", 1, 2, labels), labels, members)
    for label in labels:
        assert codec.literal(codec.decode_text(label)) == label


def test_text_takes_members_by_value_only() -> None:
    assert encoded(CODECS["text"], Mood.SAD) == b"sad"
    assert encoded(CODECS["int4"], Mood.OK) == b"\0\0\0\2"
