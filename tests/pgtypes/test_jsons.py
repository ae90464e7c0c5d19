"""json and jsonb, with the user's own functions too."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import partial
from math import inf, nan
from typing import Any, NamedTuple

import numpy
import orjson
import pytest
from hypothesis import given, strategies as st

from pgwire.pgtypes import Json, TypeRegistry, oids
from pgwire.pgtypes.jsons import codecs, plain
from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused

JSON, JSONB = CODECS["json"], CODECS["jsonb"]
FINITE = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Panic(BaseException):
    """What no program catches: functions that are written in other languages may raise such."""


def raising(error: BaseException) -> Any:
    def function(_argument: Any) -> Any:
        raise error

    return function


@given(VALUES)
def test_any_value_round_trips_in_its_wrapper(value: Any) -> None:
    for codec in (JSON, JSONB):
        data = codec.encode(Json(value))
        assert isinstance(data, bytes)
        assert exactly(decode(codec, data)) == exactly(value)
        assert exactly(codec.decode_text(json.dumps(value))) == exactly(value)


def test_a_str_is_json_text() -> None:
    assert JSON.takes_str
    assert JSONB.takes_str
    assert JSON.encode('"x"') == b'"x"'
    assert JSONB.encode('{"a": 1}') == b'\x01{"a": 1}'


def test_other_values_need_no_wrapper() -> None:
    assert JSON.encode({"a": [1, None]}) == b'{"a": [1, null]}'
    assert JSON.encode([1]) == b"[1]"
    assert JSON.encode(5) == b"5"


def test_the_wrapper_marks_a_string_and_null() -> None:
    assert JSON.encode(Json("x")) == b'"x"'
    assert JSON.encode(Json(None)) == b"null"


def test_the_wrapper_is_a_value() -> None:
    assert Json([1]) == Json([1]) != Json([2])
    assert hash(Json(1)) == hash(Json(1))
    assert repr(Json("x")) == "Json('x')"
    assert pickle.loads(pickle.dumps(Json([1]))) == Json([1])


@pytest.mark.parametrize("text", ["a\0", '"\udc80"'])
def test_text_that_cannot_be_sent_is_refused(text: str) -> None:
    assert "text cannot hold" in refused(JSON, text)


def test_values_that_are_no_json_are_refused_with_the_reason() -> None:
    assert refused(JSON, b"secret") == (
        "not a value for JSON: Object of type bytes is not JSON serializable; "
        "convert it, or give a json_dumps that does"
    )
    endless: list[Any] = []
    endless.append(endless)
    assert "Circular reference" in refused(JSON, endless)
    deep: Any = 1
    for _ in range(100_000):
        deep = (deep,)
    assert "not a value for JSON" in refused(JSON, deep)


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_json_has_neither_nan_nor_infinities(number: float) -> None:
    for codec in (JSON, JSONB):
        for value in (number, Json(number), {"a": [number]}):
            assert "not a value for JSON: Out of range float values" in refused(codec, value)
            assert "not a value for JSON" in reason(codec.literal, value)


@dataclass
class Point:
    x: int
    tags: list[str] = field(default_factory=list)


@dataclass
class Line:
    ends: tuple[Point, Point]
    made_of: Any = None


class Model:
    """As pydantic's are."""

    def __init__(self, **members: Any) -> None:
        self.members = members

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        assert mode == "json"
        return self.members


class Attr(NamedTuple):
    name: str


ONE = {"x": 1, "tags": []}


class Attrs:
    """As those of attrs are."""

    __attrs_attrs__ = (Attr("a"), Attr("_b"))

    def __init__(self) -> None:
        self.a, self._b = 1, Json("x")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Point(1, ["a"]), {"x": 1, "tags": ["a"]}),
        ([Line((Point(1), Point(2)))], [{"ends": [ONE, {"x": 2, "tags": []}], "made_of": None}]),
        (Model(a=Point(1), b=Model()), {"a": ONE, "b": {}}),
        ({"a": Attrs()}, {"a": {"a": 1, "_b": "x"}}),
        (Json(Attrs()), {"a": 1, "_b": "x"}),
        ({"a": Json(None), "b": [Json([Json("x")])]}, {"a": None, "b": [["x"]]}),
        (Json(Json("x")), "x"),
    ],
)
def test_objects_of_the_usual_kinds_are_written(value: Any, written: Any) -> None:
    for codec in (JSON, JSONB):
        assert decode(codec, encode(codec, value)) == written
        assert json.loads(codec.literal(value)) == written
    with_own = TypeRegistry(json_dumps=partial(json.dumps, default=plain)).codec(oids.JSON)
    assert json.loads(encode(with_own, value)) == written


@pytest.mark.parametrize(
    "value", [Point, Model, Attrs, object(), {1}, {"a": {1}}, {(1, 2): 3}, ...]
)
def test_other_objects_are_not(value: Any) -> None:
    assert "not a value for JSON" in refused(JSON, value)


def test_an_object_without_all_of_its_members_is_refused() -> None:
    point = Point(1)
    del point.x
    assert "not a value for JSON: 'Point' object has no attribute 'x'" in refused(JSON, point)


def test_literals_are_the_same_text() -> None:
    for codec in (JSON, JSONB):
        assert codec.literal('{"a": 1}') == '{"a": 1}'
        assert codec.literal(Json("ü")) == '"\\u00fc"'
        assert "text cannot hold NUL" in reason(codec.literal, "\0")


@pytest.mark.parametrize("oid", [oids.JSON, oids.JSONB])
def test_the_users_own_functions_are_used(oid: int) -> None:
    codec = TypeRegistry(
        json_loads=partial(json.loads, parse_float=Decimal),
        json_dumps=lambda value: repr(value).encode(),
    ).codec(oid)
    assert encode(codec, {1}).endswith(b"{1}")
    assert exactly(codec.decode_text("1.50")) == exactly(Decimal("1.50"))


def test_whatever_json_loads_raises_is_a_data_error() -> None:
    codec = TypeRegistry(json_loads=raising(KeyError("nonsense"))).codec(oids.JSON)
    assert "could not be read: 'nonsense'" in reason(codec.decode_text, "1")


def test_so_is_what_no_program_catches_and_ctrl_c_is_not() -> None:
    """Else a connection would be left in the middle of something, by a value."""
    registry = TypeRegistry(json_loads=raising(Panic("oh")), json_dumps=raising(Panic("oh")))
    for codec in (registry.codec(oids.JSON), registry.codec(oids.JSONB)):
        assert "could not be read: oh" in reason(codec.decode_text, "1")
        assert refused(codec, {}) == "not a value for JSON: oh"
    struck = TypeRegistry(
        json_loads=raising(KeyboardInterrupt()), json_dumps=raising(KeyboardInterrupt())
    ).codec(oids.JSON)
    with pytest.raises(KeyboardInterrupt):
        struck.decode_text("1")
    with pytest.raises(KeyboardInterrupt):
        struck.encode({})


def test_json_dumps_must_give_text() -> None:
    codec = TypeRegistry(json_dumps=lambda _value: 5).codec(oids.JSON)  # type: ignore[arg-type,return-value]
    assert refused(codec, {}) == "expected str or bytes from json_dumps, got int 5"


def test_a_foreign_error_of_json_dumps_is_left_alone() -> None:
    codec = TypeRegistry(json_dumps=raising(KeyError("bug"))).codec(oids.JSON)
    with pytest.raises(KeyError):
        codec.encode({})


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, "9" * 5000])
def test_malformed_json_is_refused(text: str) -> None:
    for function, argument in (
        (JSON.decode_text, text),
        (partial(decode, JSON), text.encode()),
        (partial(decode, JSONB), b"\x01" + text.encode()),
    ):
        assert "JSON could not be read" in reason(function, argument)


def test_jsonb_has_a_version() -> None:
    assert "it has 0 bytes" in reason(decode, JSONB, b"")
    assert "its version is 2, not 1" in reason(decode, JSONB, b"\x02{}")


def test_json_is_utf8() -> None:
    assert "not a valid text in UTF-8" in reason(decode, JSON, b'"\xff"')
    assert "not a valid text in UTF-8" in reason(decode, JSONB, b'\x01"\xff"')


def test_enums_and_numpy_s_values_inside_of_others() -> None:
    class Color(Enum):
        RED = "red"

    value = {"a": Color.RED, "b": numpy.int64(5), "c": [numpy.array([1.5, 2.5])]}
    assert JSON.encode(value) == b'{"a": "red", "b": 5, "c": [[1.5, 2.5]]}'
    assert JSON.encode(Color.RED) == b'"red"'


def test_the_wrapper_is_taken_for_nothing_else() -> None:
    """A writer of JSON that takes dataclasses would write its field."""
    orjson_codec, _ = codecs(json.loads, orjson.dumps)
    assert orjson_codec.encode(Json({"a": 1})) == b'{"a":1}'
    assert "not JSON serializable" in reason(orjson_codec.encode, [Json(1)])
    assert Json(1) != 1
