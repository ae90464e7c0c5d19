"""Users' classes for the values of a type."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from pgwire.errors import DataError
from pgwire.pgtypes import oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.classes import class_codec
from pgwire.pgtypes.codec import encoded
from pgwire.pgtypes.composites import Field, composite_codec
from tests.pgtypes import helpers
from tests.pgtypes.helpers import (
    CODECS,
    MOOD,
    MOODS,
    POSITIVE,
    Layer,
    decode,
    encode,
    exactly,
    reason,
    refused,
    round_trip,
)

NAMES = ("street", "no")
ADDRESS = composite_codec(
    "address", 50_000, 50_001, [Field("street", CODECS["text"]), Field("no", CODECS["int4"])]
)
DATA = encode(ADDRESS, ("Main", 7))


@dataclass
class Address:
    street: str
    no: int


class Turned(NamedTuple):
    no: int
    street: str


class Keywords:
    """What it is made of cannot be read off it."""

    def __init__(self, **attributes: Any) -> None:
        self.attributes = attributes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keywords) and other.attributes == self.attributes


class Refusing:
    def __init__(self, *_values: Any, **_attributes: Any) -> None:
        raise RuntimeError("a secret")


class Model:
    """As pydantic's are."""

    value: Any

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if value == "wrong":
            raise ValueError("a secret: wrong")
        made = cls()
        made.value = value
        return made

    def model_dump(self, *, mode: str) -> Any:
        assert mode == "json"
        return self.value


# Composite types


@pytest.mark.parametrize(
    "value", [Address("Main", 7), Turned(7, "Main"), SimpleNamespace(street="Main", no=7)]
)
def test_a_class_is_called_with_the_attributes(value: Any) -> None:
    codec = class_codec(ADDRESS, type(value), NAMES)
    assert exactly(decode(codec, DATA)) == exactly(value)
    assert exactly(codec.decode_text('(Main,"7")')) == exactly(value)
    assert encode(codec, value) == DATA
    assert codec.literal(value) == '("Main","7")'
    assert round_trip(array_codec(codec), [value, None]) == [value, None]
    assert codec.gives == f"`{type(value).__name__}`"


@pytest.mark.parametrize("value", [("Main", 7), {"no": 7, "street": "Main"}, Address("Main", 7)])
def test_what_else_a_composite_may_be_can_still_be_sent(value: Any) -> None:
    assert encode(class_codec(ADDRESS, Turned, NAMES), value) == DATA


def test_dict_may_be_the_class() -> None:
    codec = class_codec(ADDRESS, dict, NAMES)
    value = decode(codec, DATA)
    assert exactly(value) == exactly({"street": "Main", "no": 7})
    assert encode(codec, value) == DATA


def test_a_class_that_takes_no_keywords_is_refused_by_name() -> None:
    codec = class_codec(ADDRESS, tuple, NAMES)
    assert reason(decode, codec, DATA) == (
        "tuple could not be made of a value of type address: it raised TypeError"
    )
    assert encode(codec, ("Main", 7)) == DATA


def test_an_object_without_the_attributes_is_refused() -> None:
    codec = class_codec(ADDRESS, Keywords, NAMES)
    value = decode(codec, DATA)
    assert value == Keywords(street="Main", no=7)
    assert refused(codec, value) == (
        "expected a tuple, dict, or object with the attributes street, no, got Keywords; "
        "it has no street"
    )
    assert "it has no street" in reason(codec.literal, value)


def test_what_a_class_raises_is_the_cause_and_not_in_the_words() -> None:
    codec = class_codec(ADDRESS, Refusing, NAMES)
    for function, arguments in (
        (codec.decode, (DATA, 0, len(DATA))),
        (codec.decode_text, ("(,)",)),
    ):
        with pytest.raises(DataError) as caught:
            function(*arguments)
        assert str(caught.value) == (
            "Refusing could not be made of a value of type address: it raised RuntimeError"
        )
        assert str(caught.value.__cause__) == "a secret"


@pytest.mark.parametrize("stop", [GeneratorExit, KeyboardInterrupt])
def test_a_class_may_raise_what_no_program_catches_but_ctrl_c(stop: type[BaseException]) -> None:
    """Else a connection would be left in the middle of something, by a value."""

    class Panicking:
        def __init__(self, **_fields: Any) -> None:
            raise stop

    expected = KeyboardInterrupt if stop is KeyboardInterrupt else DataError
    with pytest.raises(expected):
        class_codec(ADDRESS, Panicking, NAMES).decode_text("(,)")


# json and jsonb


@pytest.mark.parametrize("name", ["json", "jsonb"])
def test_a_class_for_json(name: str) -> None:
    codec = class_codec(CODECS[name], Address)
    value = Address("Main", 7)
    assert round_trip(codec, value) == value
    assert codec.decode_text('{"no": 7, "street": "Main"}') == value
    assert codec.decode_text("null") is None
    assert "it raised TypeError" in reason(codec.decode_text, '{"no": 7}')
    assert class_codec(CODECS[name], set).decode_text("[1, 1]") == {1}


@pytest.mark.parametrize("name", ["json", "jsonb"])
def test_a_model_for_json(name: str) -> None:
    codec = class_codec(CODECS[name], Model)
    for value in ({"a": [1]}, [1], 1, False):
        model = Model.model_validate(value)
        assert type(made := round_trip(codec, model)) is Model
        assert made.value == value
    assert codec.decode_text("null") is None
    assert reason(codec.decode_text, '"wrong"') == (
        f"Model could not be made of a value of type {name}: it raised ValueError"
    )
    assert "JSON could not be read" in reason(codec.decode_text, "{")


# Any other type


class Email(str):
    __slots__ = ()


class Level(Enum):
    LOW = 1
    HIGH = 2


class Celsius(float):
    pass


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("text", Email("a@b"), "a@b"),
        ("int4", Level.HIGH, "2"),
        ("float8", Celsius(1.5), "1.5"),
    ],
)
def test_a_class_is_called_with_the_value(name: str, value: Any, text: str) -> None:
    codec = class_codec(CODECS[name], type(value))
    assert exactly(round_trip(codec, value)) == exactly(value)
    assert exactly(codec.decode_text(text)) == exactly(value)
    assert codec.struct_code is None
    assert exactly(round_trip(array_codec(codec), [value])) == exactly([value])


def test_a_value_without_a_member_is_refused() -> None:
    codec = class_codec(CODECS["int4"], Level)
    assert reason(codec.decode_text, "3") == (
        "Level could not be made of a value of type int4: it raised ValueError"
    )
    assert encoded(codec, 3) == b"\0\0\0\3"
    assert "not a valid int4" in reason(codec.decode_text, "x")


def test_numpys_arrays_stand_for_vectors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No real NumPy is needed to find that out."""
    cls = type("ndarray", (), {"__module__": "numpy"})
    monkeypatch.setitem(sys.modules, "numpy", ModuleType("numpy"))
    codec = class_codec(CODECS["int4"], cls)
    for function, argument in ((codec.encode, 1), (codec.literal, 1), (codec.decode_text, "1")):
        assert "numpy.ndarray is registered for int4" in reason(function, argument)
    other = type("ndarray", (), {"__module__": "other"})
    assert "could not be made" in reason(class_codec(CODECS["int4"], other).decode_text, "1")


# Registered


def test_an_enum_for_an_enumerated_type() -> None:
    layer = Layer()

    class Mood(Enum):
        SAD = "sad"
        ok = 2

    layer.register_type("mood", Mood)
    assert decode(layer[MOOD.oid], b"ok") is Mood.ok
    assert round_trip(layer[MOODS.oid], [Mood.SAD, Mood.ok]) == [Mood.SAD, Mood.ok]


def test_another_class_for_an_enumerated_type() -> None:
    layer = Layer()

    class Label(str):
        __slots__ = ()

    layer.register_type("mood", Label)
    assert exactly(round_trip(layer[MOOD.oid], Label("sad"))) == exactly(Label("sad"))


def test_a_class_for_a_composite_type_and_one_for_its_field() -> None:
    layer = Layer()

    @dataclass
    class Address:
        street: str
        mood: Any
        numbers: list[Any]

    layer.register_type("public.address", Address)
    value = Address("Main", "sad", [1])
    data = encode(layer[helpers.ADDRESS.oid], value)
    assert round_trip(layer[helpers.ADDRESS.oid], value) == value
    assert layer[helpers.ADDRESS.oid].decode_text('(Main,sad,"{1}")') == value
    layer.register_type("mood", list)
    value.mood = ["s", "a", "d"]
    assert decode(layer[helpers.ADDRESS.oid], data) == value


def test_an_enum_for_a_type_that_is_none() -> None:
    layer = Layer()

    class Level(Enum):
        LOW = 1

    layer.register_type("positive", Level)
    layer.register_type("date", Level)
    assert layer[POSITIVE.oid].decode_text("1") is Level.LOW
    assert encoded(layer[POSITIVE.oid], Level.LOW) == b"\0\0\0\1"
    assert "could not be made" in reason(layer[oids.DATE].decode_text, "2000-01-01")
