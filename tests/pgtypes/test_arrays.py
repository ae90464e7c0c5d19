"""Arrays of any dimension, and every way in which one can be malformed."""

from __future__ import annotations

import struct
from datetime import date
from decimal import Decimal
from math import prod
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given, strategies as st

from pgwire.pgtypes import Interval, Json, Literal, oids
from tests.pgtypes.helpers import CODECS, REGISTRY, decode, exactly, reason, refused, round_trip

INT4S, TEXTS, UUIDS = CODECS["_int4"], CODECS["_text"], CODECS["_uuid"]

shapes = st.lists(st.integers(1, 3), min_size=1, max_size=6).filter(lambda s: prod(s) <= 12)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)


def nested(shape: list[int], leaves: Any) -> Any:
    """Lists of this shape, filled from an iterator."""
    if not shape:
        return next(leaves)
    return [nested(shape[1:], leaves) for _ in range(shape[0])]


def array(
    *elements: bytes | None,
    bounds: tuple[tuple[int, int], ...] | None = None,
    oid: int = oids.INT4,
    has_null: int = 0,
    dimensions: int | None = None,
) -> bytes:
    """A binary array, as wrong as is wanted."""
    bounds = ((len(elements), 1),) if bounds is None else bounds
    data = struct.pack(">iiI", len(bounds) if dimensions is None else dimensions, has_null, oid)
    data += b"".join(struct.pack(">ii", *bound) for bound in bounds)
    for element in elements:
        data += struct.pack(">i", -1 if element is None else len(element)) + (element or b"")
    return data


ONE = struct.pack(">i", 1)


@given(shapes, st.data())
def test_arrays_of_every_shape_round_trip(shape: list[int], data: st.DataObject) -> None:
    for codec, leaf in ((INT4S, st.integers(-(2**31), 2**31 - 1)), (TEXTS, texts)):
        with_null = data.draw(st.booleans())
        leaves = iter(lambda: data.draw(st.none() | leaf if with_null else leaf), ...)  # noqa: B023
        value = nested(shape, leaves)
        assert round_trip(codec, value) == value


@given(shapes, st.data())
def test_the_text_of_an_array_is_read(shape: list[int], data: st.DataObject) -> None:
    """Text arrays, quoted as the server may quote them."""
    value = nested(shape, iter(lambda: data.draw(st.none() | texts), ...))

    def written(item: Any) -> str:
        if item is None:
            return "NULL"
        if isinstance(item, str):
            bare = item.upper() != "NULL" and not set(item) & set('{},"\\ \t\n\r\v\f') and item
            return item if bare else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return "{" + ",".join(map(written, item)) + "}"

    bounds = "".join(f"[{low}:{low + length - 1}]" for low, length in enumerate(shape, -2))
    assert TEXTS.decode_text(written(value)) == value
    assert TEXTS.decode_text(f"{bounds}={written(value)}") == value


@given(shapes, st.data())
def test_text_for_other_types_is_sent_as_one_literal(shape: list[int], data: st.DataObject) -> None:
    value = nested(shape, iter(lambda: data.draw(st.none() | texts), ...))
    literal = UUIDS.encode(value)
    if isinstance(literal, Literal):
        assert TEXTS.decode_text(literal) == value
    else:  # nothing but NULL
        assert round_trip(UUIDS, value) == value
        assert set(exactly(value)) <= set("list [None, ]")


def test_the_literal_is_quoted() -> None:
    literal = UUIDS.encode([['a"b', "c\\d"], [None, "NULL"]])
    assert type(literal) is Literal
    assert literal == '{{"a\\"b","c\\\\d"},{NULL,"NULL"}}'


def test_empty_arrays_have_no_dimensions() -> None:
    assert INT4S.encode([]) == INT4S.encode(()) == bytes(8) + struct.pack(">I", oids.INT4)
    assert round_trip(INT4S, []) == INT4S.decode_text("{}") == []


def test_tuples_are_lists() -> None:
    assert round_trip(INT4S, ((1, 2), [3, 4])) == [[1, 2], [3, 4]]


def test_arrays_of_nulls_only() -> None:
    assert round_trip(INT4S, [None, None]) == [None, None]
    assert round_trip(TEXTS, [[None], [None]]) == [[None], [None]]


def test_lower_bounds_are_dropped() -> None:
    assert decode(INT4S, array(ONE, ONE, bounds=((1, -5), (2, 7)))) == [[1, 1]]
    assert INT4S.decode_text("[-5:-5][7:8]={{1,1}}") == [[1, 1]]


def test_elements_of_arrays_of_json() -> None:
    codec = CODECS["_jsonb"]
    value = ['{"a": 1}', {"b": 2}, Json([3]), Json("x"), Json(None), None]
    assert round_trip(codec, value) == [{"a": 1}, {"b": 2}, [3], "x", None, None]
    assert round_trip(codec, [[Json([1])], [Json([])]]) == [[[1]], [[]]]


def test_dates_beyond_python_stand_beside_others() -> None:
    value = [date(2024, 2, 29), "infinity", "0044-03-15 BC", None]
    assert round_trip(CODECS["_date"], value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_bool", [True, None, False]),
        ("_numeric", [Decimal("1.50"), Decimal("-Infinity")]),
        ("_interval", [Interval(1, 2, 3)]),
        ("_uuid", [UUID(int=5)]),
        ("_bytea", [b"\0\xff", b""]),
        ("_char", ["", "a", "\\351"]),
    ],
)
def test_arrays_of_other_types(name: str, value: list[Any]) -> None:
    assert exactly(round_trip(CODECS[name], value)) == exactly(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "expected list or tuple, got int 5"),
        ({1, 2}, "expected list or tuple, got set"),
        ([[1], [2, 3]], "must all have the same length"),
        ([[1], 2], "must all have the same length"),
        ([[1], None], "must all have the same length"),
        ([1, [2]], "lists or elements, not both side by side"),
        ([None, [2]], "lists or elements, not both side by side"),
        ([[]], "cannot hold empty lists; an empty array is []"),
        ([[], []], "cannot hold empty lists"),
        ([[[[[[[1]]]]]]], "at most 6 dimensions"),
        ([["x"], [1]], "element [0][0]: expected int, got str"),
        ([[1, 2], [3, 2**31]], "element [1][1]: expected int from -2147483648 to 2147483647, got"),
        ([1, None, 1.5], "element [2]: expected int, got float 1.5"),
    ],
)
def test_misfits_are_refused_with_their_place(value: Any, expected: str) -> None:
    assert expected in refused(INT4S, value)


def test_endless_lists_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "at most 6 dimensions" in refused(INT4S, endless)
    wide: list[Any] = []
    wide.extend([wide] * 20_000)
    assert "at most 6 dimensions and 134217727 elements" in refused(INT4S, wide)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        array()[:11],
        array(dimensions=0) + b"x",
        array(dimensions=-1, bounds=()),
        array(dimensions=7, bounds=((1, 1),) * 7),
        array(dimensions=2**31 - 1, bounds=()),
        array(dimensions=2, bounds=((1, 1),)),
        array(ONE, has_null=2),
        array(ONE, oid=oids.INT8),
        array(bounds=((0, 1),)),
        array(bounds=((-1, 1),)),
        array(bounds=((-1, 1), (-1, 1))),
        array(bounds=((2**31 - 1, 1),) * 6),
        array(ONE, bounds=((2, 1),)),
        array(ONE, ONE, bounds=((1, 1),)),
        array(ONE) + b"x",
        array(ONE)[:-1],
        array(ONE, None, ONE)[:-1],
        array(ONE, None, bounds=((3, 1),)),
        array(b"123"),
        array(b"12345", b"123"),
        array(b"")[:-4] + struct.pack(">i", -2),
        array(b"1234")[:-8] + struct.pack(">i", 2**31 - 1) + b"1234",
        array(None, ONE) + bytes(4),
        array(b"", b"", None, b"12345678"),
    ],
    ids=bytes.hex,
)
def test_malformed_binary_arrays_are_refused(data: bytes) -> None:
    assert "not a valid" in reason(decode, INT4S, data)


def test_a_length_that_lies_beyond_the_last_element_is_refused() -> None:
    """Elements of no fixed width take the general way."""
    data = array(b"abcd", b"", oid=oids.TEXT)
    assert decode(TEXTS, data) == ["abcd", ""]
    assert "not a valid _text" in reason(decode, TEXTS, data[:-1])
    header, rest = data[:20], bytearray(data[20:])
    rest[3] = 8  # the first element swallows the second's length
    assert "not a valid _text" in reason(decode, TEXTS, header + bytes(rest))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "{",
        "}",
        "{1",
        "{1}}",
        "{1}{2}",
        "{1},{2}",
        "{1}2",
        "{,}",
        "{1,}",
        "{,1}",
        "{1,,2}",
        "{1{2}}",
        "{{1}2}",
        '{"1}',
        '{"1"2}',
        '{1"2"}',
        '{"1\\"}',
        "{1 ,2}",
        " {1}",
        "{1\\2}",
        "{{}}",
        "{{1},{2,3}}",
        "{1,{2}}",
        "{" * 7 + "1" + "}" * 7,
        "{" * 100_000,
        "[1:1]",
        "[1:2]={1}",
        "[1:1]={{1}}",
        "[1:1][1:1]={1}",
        "[1:0]={}",
        "[1]={1}",
        "=[1:1]={1}",
    ],
    ids=lambda text: text[:20],
)
def test_malformed_array_texts_are_refused(text: str) -> None:
    assert "not a valid _text" in reason(TEXTS.decode_text, text)


def test_a_malformed_element_is_refused() -> None:
    assert "not a valid int4" in reason(INT4S.decode_text, "{1,x}")
    assert INT4S.decode_text('{"1",NULL}') == [1, None]
    assert "not a valid int4" in reason(INT4S.decode_text, '{"NULL"}')


@given(st.lists(texts, min_size=1))
def test_elements_without_quotes_may_hold_any_other_character(words: list[str]) -> None:
    assume(not any(set(word) & set('{},"\\ \t\n\r\v\f') or not word for word in words))
    assume("NULL" not in words)
    assert TEXTS.decode_text("{" + ",".join(words) + "}") == words


def test_the_codec_of_an_array_describes_itself() -> None:
    codec = REGISTRY.codec(oids.INT4_ARRAY)
    assert (codec.name, codec.oid, codec.array_oid) == ("_int4", oids.INT4_ARRAY, 0)
    assert codec.binary_results
    assert not codec.takes_str
    assert codec.struct_code is None
