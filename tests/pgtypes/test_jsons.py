"""json and jsonb, with the user's own functions too."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.pgtypes import Json, TypeRegistry, oids
from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused

JSON, JSONB = CODECS["json"], CODECS["jsonb"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def raising(error: Exception) -> Any:
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
    assert repr(Json("x")) == "Json(value='x')"
    assert pickle.loads(pickle.dumps(Json([1]))) == Json([1])


@pytest.mark.parametrize("text", ["a\0", '"\udc80"'])
def test_text_that_cannot_be_sent_is_refused(text: str) -> None:
    assert "text cannot hold" in refused(JSON, text)


def test_values_that_are_no_json_are_refused_with_the_reason() -> None:
    assert refused(JSON, b"secret") == (
        "not a value for JSON: Object of type bytes is not JSON serializable"
    )
    endless: list[Any] = []
    endless.append(endless)
    assert "Circular reference" in refused(JSON, endless)
    deep: Any = 1
    for _ in range(100_000):
        deep = (deep,)
    assert "not a value for JSON" in refused(JSON, deep)


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
