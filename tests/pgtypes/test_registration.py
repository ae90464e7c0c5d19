"""What users register: functions and classes, by name, in layers."""

from __future__ import annotations

import json
import struct
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes import Literal, TypeRegistry, oids, register_type
from pgwire.pgtypes.codec import encoded
from pgwire.pgtypes.registration import (
    _SQL_NAMES,
    GLOBAL,
    RegistersTypes,
    Registrations,
    registration,
)
from tests.pgtypes.helpers import (
    ADDRESS,
    BOXES,
    BOXES_ARRAY,
    INT4RANGE,
    MOOD,
    MOODS,
    OTHER_MOOD,
    POSITIVE,
    RECORD,
    Layer,
    decode,
    encode,
    exactly,
    reason,
    refused,
    round_trip,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def layer() -> Layer:
    return Layer()


@pytest.fixture
def clean_global() -> Iterator[None]:
    before = dict(GLOBAL._by_name)
    yield
    GLOBAL._by_name.clear()
    GLOBAL._by_name.update(before)
    GLOBAL.tell()


def record(*fields: tuple[int, bytes]) -> bytes:
    parts = [struct.pack(">Ii", oid, len(data)) + data for oid, data in fields]
    return struct.pack(">i", len(parts)) + b"".join(parts)


class Shouting:
    """A value that only its own functions understand."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Shouting({self.text!r})"

    @staticmethod
    def lowered(value: Any) -> str:
        return str(value.text.lower())

    @staticmethod
    def lowered_bytes(value: Any) -> bytes:
        return str(value.text.lower()).encode()

    @staticmethod
    def of_bytes(data: bytes) -> Shouting:
        assert type(data) is bytes
        return Shouting(data.decode().upper())

    @staticmethod
    def of_text(text: str) -> Shouting:
        assert type(text) is str
        return Shouting(text.upper())


SAD = Shouting("SAD")


# Functions of text


def test_functions_of_text(layer: Layer) -> None:
    layer.register_type("mood", decode=Shouting.of_text, encode=Shouting.lowered)
    codec = layer[MOOD.oid]
    assert exactly(codec.decode_text("sad")) == exactly(SAD)
    assert exactly(codec.encode(SAD)) == exactly(Literal("sad"))
    assert codec.literal(SAD) == "sad"
    assert (codec.binary_results, codec.has_binary) == (False, False)
    assert codec.gives == "what the registered function makes of it"


def test_whatever_is_made_of_the_type_follows(layer: Layer) -> None:
    layer.register_type("mood", decode=Shouting.of_text, encode=Shouting.lowered)
    moods, address = layer[MOODS.oid], layer[ADDRESS.oid]
    assert not moods.binary_results
    assert not address.binary_results
    assert exactly(round_trip(moods, [SAD, None])) == exactly([SAD, None])
    value = round_trip(address, ("Main", SAD, [1, 2]))
    assert exactly(tuple(value)) == exactly(("Main", SAD, [1, 2]))


def test_a_range_follows_its_bounds(layer: Layer) -> None:
    layer.register_type("int4", decode=Decimal, encode=str)
    value = layer[INT4RANGE].decode_text("[1,5)")
    assert exactly((value.lower, value.upper)) == exactly((Decimal(1), Decimal(5)))
    assert not layer[INT4RANGE].binary_results
    assert exactly(round_trip(layer[INT4RANGE], value)) == exactly(value)


def test_in_a_record_the_value_is_text_made_of_binary(layer: Layer) -> None:
    layer.register_type("mood", decode=Shouting.of_text)
    layer.register_type("int4", decode=lambda text: f"<{text}>")
    layer.register_type("date", decode=str.split)
    layer.register_type("jsonb", decode=lambda text: json.loads(text, parse_float=Decimal))
    layer.register_type("json", decode=str.strip)
    data = record(
        (MOOD.oid, b"sad"),
        (oids.INT4, b"\0\0\0\7"),
        (oids.DATE, b"\x7f\xff\xff\xff"),
        (oids.DATE, bytes(4)),
        (oids.JSONB, b'\1["x", 1.10]'),
        (oids.JSONB, b'\1"x"'),
        (oids.JSON, b' "x"'),
    )
    sad, *values = decode(layer[RECORD], data)
    assert exactly(sad) == exactly(SAD)
    assert exactly(values) == exactly(
        ["<7>", ["infinity"], ["2000-01-01"], ["x", Decimal("1.10")], "x", '"x"']
    )
    for wrong in (b"", b"\xff"):
        with pytest.raises(DataError):
            decode(layer[RECORD], record((oids.JSONB, wrong)))


def test_a_type_without_binary_in_a_record_is_an_error(layer: Layer) -> None:
    layer.register_type("box3d", decode=str)
    assert "does not read the binary format of box3d" in reason(
        decode, layer[RECORD], record((BOXES.oid, b"x"))
    )


def test_decode_alone(layer: Layer) -> None:
    layer.register_type("int4", decode=Decimal)
    codec = layer[oids.INT4]
    assert exactly(codec.decode_text("7")) == exactly(Decimal(7))
    assert codec.struct_code is None
    assert encode(codec, 7) == b"\0\0\0\7"
    assert exactly(layer[oids.INT4_ARRAY].decode_text("{7}")) == exactly([Decimal(7)])
    assert exactly(layer[oids.INT4_ARRAY].encode([7])) == exactly(Literal('{"7"}'))


def test_encode_alone(layer: Layer) -> None:
    layer.register_type("int4", encode=lambda value: str(len(value)))
    codec = layer[oids.INT4]
    assert exactly(codec.encode([1, 2])) == exactly(Literal("2"))
    assert decode(codec, b"\0\0\0\7") == 7
    assert codec.struct_code is None  # or values would be packed without being asked
    assert codec.binary_results
    codec = layer[oids.INT4_ARRAY]
    assert not codec.binary_results
    assert codec.encode([{1}, None]) == '{"1",NULL}'


def test_a_registered_function_need_not_deal_with_str(layer: Layer) -> None:
    layer.register_type("int4", encode=lambda value: str(int(value)))
    assert exactly(encoded(layer[oids.INT4], "x")) == exactly(Literal("x"))
    layer.register_type("text", encode=str.upper)
    assert exactly(encoded(layer[oids.TEXT], "x")) == exactly(Literal("X"))


# Functions of bytes


def test_functions_of_bytes(layer: Layer) -> None:
    layer.register_type(
        "mood", decode=Shouting.of_bytes, encode=Shouting.lowered_bytes, format="binary"
    )
    codec = layer[MOOD.oid]
    assert exactly(decode(codec, b"sad")) == exactly(SAD)
    assert exactly(codec.decode_text("sad")) == exactly(SAD)
    assert codec.encode(SAD) == b"sad"
    assert codec.literal(SAD) == "sad"
    assert (codec.binary_results, codec.has_binary) == (True, True)
    assert exactly(round_trip(layer[MOODS.oid], [SAD, None])) == exactly([SAD, None])
    assert layer[MOODS.oid].literal([SAD]) == '{"sad"}'
    value = round_trip(layer[ADDRESS.oid], ("Main", SAD, None))
    assert exactly(tuple(value)) == exactly(("Main", SAD, None))
    assert exactly(decode(layer[RECORD], record((MOOD.oid, b"sad")))) == exactly((SAD,))


@pytest.mark.parametrize("made", [bytes, bytearray, memoryview])
def test_bytes_are_whatever_is_like_bytes(layer: Layer, made: Any) -> None:
    layer.register_type("int4", encode=lambda value: made(bytes(4)), format="binary")
    assert exactly(layer[oids.INT4].encode(...)) == exactly(bytes(4))
    assert layer[oids.INT4].literal(...) == "0"
    assert layer[oids.INT4_ARRAY].encode([...]) == layer[oids.INT4_ARRAY].encode([0])


def test_binary_functions_for_a_type_of_literals(layer: Layer) -> None:
    layer.register_type("box3d", decode=bytes.hex, encode=bytes, format="binary")
    codec = layer[BOXES.oid]
    assert (codec.binary_results, codec.has_binary) == (True, True)
    assert decode(codec, b"\1\2") == "0102"
    assert codec.encode([1, 2]) == b"\1\2"
    assert layer[BOXES_ARRAY.oid].binary_results
    assert decode(layer[RECORD], record((BOXES.oid, b"\1"))) == ("01",)
    assert reason(codec.decode_text, "x") == "box3d came as text, but its decoder reads binary only"
    assert reason(codec.literal, [1]) == (
        "box3d must be text here, but its encoder gives binary only"
    )


def test_a_binary_encoder_alone_does_not_make_results_binary(layer: Layer) -> None:
    layer.register_type("box3d", encode=lambda value: b"\1", format="binary")
    codec, array = layer[BOXES.oid], layer[BOXES_ARRAY.oid]
    assert codec.encode(1) == b"\1"
    assert not codec.binary_results
    assert not array.binary_results
    assert array.decode_text("{x}") == ["x"]
    assert "its encoder gives binary only" in refused(array, [1])


def test_text_for_a_binary_decoder_is_made_binary(layer: Layer) -> None:
    """As `script()` has it: a decoder of bytes gets what it would have got otherwise."""
    for name in ("json", "jsonb", "date", "int4"):
        layer.register_type(name, decode=bytes, format="binary")
    assert layer[oids.JSON].decode_text('"x"') == b'"x"'
    assert layer[oids.JSONB].decode_text(' {"a": 1.10}') == b'\1 {"a": 1.10}'
    assert layer[oids.JSONB].decode_text("null") == b"\1null"
    assert layer[oids.INT4].decode_text("7") == b"\0\0\0\7"
    assert layer[oids.DATE].decode_text("2000-01-02") == b"\0\0\0\1"
    assert "not a valid int4" in reason(layer[oids.INT4].decode_text, "x")
    assert reason(layer[oids.DATE].decode_text, "infinity") == (
        "date came as text, but its decoder reads binary only"
    )


@pytest.mark.parametrize(("name", "head"), [("json", b""), ("jsonb", b"\1")])
def test_the_text_of_json_that_was_encoded_as_binary(layer: Layer, name: str, head: bytes) -> None:
    layer.register_type(name, encode=lambda value: head + b'"\xc3\xbc"', format="binary")
    codec = layer[oids.JSON if name == "json" else oids.JSONB]
    assert codec.encode(...) == head + b'"\xc3\xbc"'
    assert codec.literal(...) == '"ü"'


# Functions that raise, or give what they should not


@pytest.mark.parametrize("format", ["text", "binary"])
def test_what_a_function_raises_is_the_cause_and_not_in_the_words(
    layer: Layer, format: Any
) -> None:
    def raising(value: Any) -> Any:
        raise KeyError(f"a secret: {value}")

    layer.register_type("mood", decode=raising, encode=raising, format=format)
    codec = layer[MOOD.oid]
    calls: list[tuple[Any, Any, str]] = [
        (codec.decode_text, "sad", "decode"),
        (lambda data: decode(codec, data), b"sad", "decode"),
        (codec.encode, "sad", "encode"),
        (codec.literal, "sad", "encode"),
    ]
    for function, argument, what in calls:
        with pytest.raises(DataError) as caught:
            function(argument)
        assert str(caught.value) == f"the function registered to {what} mood raised KeyError"
        assert isinstance(caught.value.__cause__, KeyError)


class Panic(BaseException):
    """What no program catches."""


@pytest.mark.parametrize("format", ["text", "binary"])
def test_it_may_raise_what_no_program_catches_but_ctrl_c(layer: Layer, format: Any) -> None:
    """Else a connection would be left in the middle of something, by a value."""
    raised: list[BaseException] = []

    def raising(_value: Any) -> Any:
        raise raised[-1]

    layer.register_type("mood", decode=raising, encode=raising, format=format)
    raised.append(Panic())
    assert reason(layer[MOOD.oid].decode_text, "sad").endswith("raised Panic")
    assert refused(layer[MOOD.oid], 1).endswith("raised Panic")
    raised.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        layer[MOOD.oid].encode(1)


@pytest.mark.parametrize("format", ["text", "binary"])
def test_a_data_error_of_a_function_is_left_as_it_is(layer: Layer, format: Any) -> None:
    def raising(_value: Any) -> Any:
        raise DataError("my words")

    layer.register_type("mood", decode=raising, encode=raising, format=format)
    assert reason(layer[MOOD.oid].decode_text, "sad") == "my words"
    assert refused(layer[MOOD.oid], 1) == "my words"
    assert refused(layer[MOODS.oid], [1]) == "element [0]: my words"


def test_an_encoder_must_give_what_its_format_is_of(layer: Layer) -> None:
    layer.register_type("int4", encode=lambda value: 5)  # type: ignore[arg-type,return-value]
    for function in (layer[oids.INT4].encode, layer[oids.INT4].literal):
        assert reason(function, 1) == "expected str from the function registered to encode int4, " \
            "got int 5"  # fmt: skip
    layer.register_type("int4", encode=str, format="binary")  # type: ignore[call-overload]
    assert refused(layer[oids.INT4], 1) == (
        "expected bytes from the function registered to encode int4, got str"
    )


def test_a_binary_encoder_that_gives_nonsense_where_text_is_wanted(layer: Layer) -> None:
    layer.register_type("int4", encode=lambda value: b"123", format="binary")
    assert "not a valid int4" in reason(layer[oids.INT4].literal, 1)


# Names


@pytest.mark.parametrize(("alias", "name"), _SQL_NAMES.items())
def test_the_names_of_sql(layer: Layer, alias: str, name: str) -> None:
    layer.register_type(f"  {alias.replace(' ', '  ')} ", decode=lambda text: ("mine", text))
    oid = getattr(oids, name.upper(), None) or oids.REST[name][0]
    assert layer[oid].decode_text("x") == ("mine", "x")


def test_names_of_sql_in_capitals(layer: Layer) -> None:
    layer.register_type("DOUBLE PRECISION", decode=str)
    assert layer[oids.FLOAT8].decode_text("x") == "x"
    layer.register_type("Mood", decode=Shouting.of_text)  # that is "Mood", and not mood
    assert layer[MOOD.oid].decode_text("sad") == "sad"


def test_a_schema_is_part_of_a_name(layer: Layer) -> None:
    layer.register_type("other.mood", decode=lambda text: "other")
    assert layer[MOOD.oid].decode_text("sad") == "sad"
    assert layer[OTHER_MOOD.oid].decode_text("sad") == "other"
    layer.register_type("mood", decode=lambda text: "any")
    assert layer[MOOD.oid].decode_text("sad") == "any"
    assert layer[OTHER_MOOD.oid].decode_text("sad") == "other"
    layer.register_type("pg_catalog.int4", decode=lambda text: "built in")
    assert layer[oids.INT4].decode_text("7") == "built in"
    assert layer[POSITIVE.oid].decode_text("7") == "built in"


def test_a_domain_may_differ_from_its_base(layer: Layer) -> None:
    layer.register_type("positive", decode=lambda text: -int(text))
    assert layer[POSITIVE.oid].decode_text("7") == -7
    assert layer[oids.INT4].decode_text("7") == 7


def test_a_type_need_not_exist(layer: Layer) -> None:
    layer.register_type("nonsense", decode=str)
    assert layer[MOOD.oid].decode_text("sad") == "sad"


@pytest.mark.parametrize("name", ["", "mood[]", "int4[]", None, 5, b"mood"])
def test_what_is_no_name_is_refused(layer: Layer, name: Any) -> None:
    with pytest.raises(ProgrammingError, match="wants the name of a type; its arrays"):
        layer.register_type(name, decode=str)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((None, None, None, "text"), "wants a class, or decode=, encode= or both"),
        ((str, str, None, "text"), "wants a class or functions, not both"),
        ((str, None, str, "text"), "wants a class or functions, not both"),
        ((None, str, None, "json"), 'format is "text" or "binary", not \'json\''),
        ((None, 5, None, "text"), "decode must be a function, not int"),
        ((None, str, "x", "text"), "encode must be a function, not str"),
        (
            (repr, None, None, "text"),
            "the second argument is a class, not builtin_function_or_meth",
        ),
        (("Mood", None, None, "text"), "functions go into decode= and encode="),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: Any, expected: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        registration("mood", *arguments)
    assert expected in str(caught.value)


# Layers


def test_the_nearer_layer_wins() -> None:
    program, pool = Layer(), Layer()
    pool = Layer(program.registrations)
    connection = Layer(pool.registrations)
    program.register_type("mood", decode=lambda text: "program")
    for layer in (program, pool, connection):
        assert layer[MOOD.oid].decode_text("sad") == "program"
    pool.register_type("mood", decode=lambda text: "pool")
    program.register_type("int4", decode=lambda text: "number")
    assert program[MOOD.oid].decode_text("sad") == "program"
    assert connection[MOOD.oid].decode_text("sad") == "pool"
    assert connection[oids.INT4].decode_text("7") == "number"
    connection.register_type("mood", decode=lambda text: "connection")
    assert pool[MOOD.oid].decode_text("sad") == "pool"
    assert connection[MOOD.oid].decode_text("sad") == "connection"


def test_a_schema_further_away_loses_against_a_name_that_is_nearer() -> None:
    pool = Layer()
    connection = Layer(pool.registrations)
    pool.register_type("public.mood", decode=lambda text: "pool")
    assert connection[MOOD.oid].decode_text("sad") == "pool"
    connection.register_type("mood", decode=lambda text: "connection")
    assert connection[MOOD.oid].decode_text("sad") == "connection"


def test_a_registration_holds_from_then_on(layer: Layer) -> None:
    epoch, codec = layer.registry.epoch, layer[MOODS.oid]
    layer.register_type("mood", decode=Shouting.of_text)
    assert layer.registry.epoch is not epoch
    assert layer[MOODS.oid] is not codec
    layer.register_type("mood", decode=str)
    assert layer[MOODS.oid].decode_text("{sad}") == ["sad"]


@pytest.mark.usefixtures("clean_global")
def test_the_whole_program() -> None:
    registry = TypeRegistry()
    connection = Layer(GLOBAL)
    register_type("date", decode=lambda text: f"<{text}>")
    assert registry.codec(oids.DATE).decode_text("x") == "<x>"
    assert connection[oids.DATE].decode_text("x") == "<x>"
    connection.register_type("date", decode=lambda text: "own")
    assert connection[oids.DATE].decode_text("x") == "own"
    variant = registry.variant(registrations=Registrations())
    assert variant.codec(oids.DATE).decode_text("2000-01-01") == date(2000, 1, 1)


def test_nothing_is_left_of_that() -> None:
    assert TypeRegistry().codec(oids.DATE).decode_text("2000-01-01") == date(2000, 1, 1)


def test_there_is_no_registering_without_a_place() -> None:
    with pytest.raises(NotImplementedError):
        RegistersTypes().register_type("mood", decode=str)
