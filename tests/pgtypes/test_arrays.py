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

from pgwire.errors import DataError
from pgwire.pgtypes import Array, Interval, Json, Literal, oids
from pgwire.pgtypes.codec import UnknownTypes
from tests.pgtypes.helpers import (
    CODECS,
    REGISTRY,
    decode,
    encode,
    exactly,
    reason,
    refused,
    round_trip,
)

INT4S, TEXTS, UUIDS = CODECS["int4[]"], CODECS["text[]"], CODECS["uuid[]"]

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


def outcome(function: Any, *args: Any) -> Any:
    """What it returns, or what its error says."""
    try:
        return function(*args)
    except DataError as error:
        return str(error)


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
    assert TEXTS.decode_text(UUIDS.literal(value)) == value
    if isinstance(literal, Literal):
        assert literal == UUIDS.literal(value)
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


def test_lower_bounds_are_kept() -> None:
    data = array(ONE, ONE, bounds=((1, -5), (2, 7)))
    for value in (decode(INT4S, data), INT4S.decode_text("[-5:-5][7:8]={{1,1}}")):
        assert exactly(value) == "Array Array([[1, 1]], (-5, 7))"
        assert INT4S.encode(value) == data
        assert INT4S.literal(value) == '[-5:-5][7:8]={{"1","1"}}'


def test_an_array_from_1_on_is_a_plain_list() -> None:
    for value in (decode(INT4S, array(ONE)), INT4S.decode_text("[1:1]={1}")):
        assert exactly(value) == "list [1]"
    assert INT4S.encode(Array([1], [1])) == INT4S.encode([1]) == array(ONE)
    assert INT4S.literal(Array([1], [1])) == '{"1"}'
    assert INT4S.encode(Array([[1]])) == INT4S.encode([[1]])
    assert INT4S.literal(Array([[1]])) == '{{"1"}}'


def test_elements_of_arrays_of_json() -> None:
    codec = CODECS["jsonb[]"]
    value = ['{"a": 1}', {"b": 2}, Json([3]), Json("x"), Json(None), None]
    assert round_trip(codec, value) == [{"a": 1}, {"b": 2}, [3], "x", None, None]
    assert round_trip(codec, [[Json([1])], [Json([])]]) == [[[1]], [[]]]


def test_dates_beyond_python_stand_beside_others() -> None:
    value = [date(2024, 2, 29), "infinity", "0044-03-15 BC", None]
    assert round_trip(CODECS["date[]"], value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bool[]", [True, None, False]),
        ("numeric[]", [Decimal("1.50"), Decimal("-Infinity")]),
        ("interval[]", [Interval(1, 2, 3)]),
        ("uuid[]", [UUID(int=5)]),
        ("bytea[]", [b"\0\xff", b""]),
        ("char[]", ["", "a", "\\351"]),
    ],
)
def test_arrays_of_other_types(name: str, value: list[Any]) -> None:
    assert exactly(round_trip(CODECS[name], value)) == exactly(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "expected list or tuple, got int 5"),
        ({1: 2}, "expected list or tuple, got dict"),
        (iter([1]), "expected list or tuple, got list_iterator"),
        ([[1], [2, 3]], "must all have the same length"),
        ([[1], 2], "must all have the same length"),
        ([[1], None], "must all have the same length"),
        ([1, [2]], "lists or elements, not both side by side"),
        ([None, [2]], "lists or elements, not both side by side"),
        ([[]], "cannot hold empty lists; an empty array is []"),
        ([[], []], "cannot hold empty lists"),
        ([[[[[[[1]]]]]]], "at most 6 dimensions"),
        ([[b"x"], [1]], "element [0][0]: expected int, got bytes"),
        (["x", 1.5], "element [1]: expected int, got float 1.5"),
        (["a\0", 1], "element [0]: str with a NUL character at index 1"),
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
        array(ONE, bounds=((1, 2**31 - 1),)),
        array(ONE, bounds=((1, 1), (1, 2**31 - 1))),
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
    assert "not a valid text[]" in reason(decode, TEXTS, data[:-1])
    header, rest = data[:20], bytearray(data[20:])
    rest[3] = 8  # the first element swallows the second's length
    assert "not a valid text[]" in reason(decode, TEXTS, header + bytes(rest))


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
        "[2147483647:2147483647]={1}",
        "[2147483648:2147483648]={1}",
        "[-2147483649:-2147483649]={1}",
        "[-9999999999:-9999999999]={1}",
        "[1]={1}",
        "=[1:1]={1}",
    ],
    ids=lambda text: text[:20],
)
def test_malformed_array_texts_are_refused(text: str) -> None:
    assert "not a valid text[]" in reason(TEXTS.decode_text, text)


def test_a_malformed_element_is_refused() -> None:
    assert "not a valid int4" in reason(INT4S.decode_text, "{1,x}")
    assert INT4S.decode_text('{"1",NULL}') == [1, None]
    assert "not a valid int4" in reason(INT4S.decode_text, '{"NULL"}')


@given(st.lists(texts, min_size=1))
def test_elements_without_quotes_may_hold_any_other_character(words: list[str]) -> None:
    assume(not any(set(word) & set('{},"\\ \t\n\r\v\f') or not word for word in words))
    assume("NULL" not in words)
    assert TEXTS.decode_text("{" + ",".join(words) + "}") == words


def test_arrays_of_numeric_come_as_text() -> None:
    codec = CODECS["numeric[]"]
    assert (codec.binary_results, codec.has_binary) == (False, True)
    assert codec.decode_text("{1.50,NULL,NaN}")[:2] == [Decimal("1.50"), None]
    assert "not a valid numeric" in reason(codec.decode_text, "{1,x}")


WIDE = {
    "uuid": [bytes(16), b"\xff" * 16],
    "date": [bytes(4), struct.pack(">i", -365)],
    "timestamptz": [bytes(8), struct.pack(">q", 10**15)],
    "interval": [bytes(16)],
    "int8": [bytes(8), b"\xff" * 8],
}
ODD = [None, b"", b"\x7f", b"\x7f" * 4, b"\x7f\xff\xff\xfe", b"\x7f" * 8, bytes(16)]


@pytest.mark.parametrize("name", WIDE)
@given(st.data())
def test_elements_of_one_width_are_what_each_is_by_itself(name: str, data: st.DataObject) -> None:
    element, codec = CODECS[name], CODECS[f"{name}[]"]
    values = data.draw(st.lists(st.sampled_from(WIDE[name]) | st.sampled_from(ODD), max_size=8))
    found, expected = [
        outcome(lambda read: [read(value) for value in values], read)
        for read in (
            lambda value: None if value is None else decode(element, value),
            lambda value: decode(codec, array(value, oid=element.oid))[0],
        )
    ]
    assert found == expected
    bounds = None if values else ()
    assert outcome(decode, codec, array(*values, bounds=bounds, oid=element.oid)) == expected


NUMBERS = {
    "int2": st.integers(-(2**15), 2**15 - 1),
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "float8": st.floats(),
    "float4": st.floats(width=32),
    "oid": st.integers(0, 2**32 - 1),
}
ODD_NUMBERS = st.sampled_from([None, True, 2**15, -(2**31) - 1, 2**63, 7, 1.5, Decimal(1)])


@pytest.mark.parametrize("name", NUMBERS)
@given(st.data())
def test_numbers_are_written_as_each_is_by_itself(name: str, data: st.DataObject) -> None:
    element, codec = CODECS[name], CODECS[f"{name}[]"]
    odd = ODD_NUMBERS if data.draw(st.booleans()) else NUMBERS[name]
    values = data.draw(st.lists(NUMBERS[name] | odd, min_size=1, max_size=8))
    pieces: list[bytes | None] = []
    for n, value in enumerate(values):
        one = None if value is None else outcome(encode, element, value)
        if isinstance(one, str):
            assert reason(encode, codec, values) == f"element [{n}]: {one}"
            return
        pieces.append(one)
    expected = array(*pieces, oid=element.oid, has_null=int(None in values))
    assert encode(codec, values) == expected


def test_a_vector_is_a_list_whose_indexes_begin_at_0() -> None:
    vector = CODECS["int2vector"]
    data = struct.pack(">iiIiiihih", 1, 0, oids.INT2, 2, 0, 2, 7, 2, -8)
    assert encode(vector, [7, -8]) == encode(vector, (7, -8)) == data
    assert exactly(decode(vector, data)) == exactly(vector.decode_text("7 -8")) == "list [7, -8]"
    assert vector.literal([7, -8]) == "7 -8"


@pytest.mark.parametrize("name", ["int2vector", "oidvector"])
def test_an_empty_vector_has_a_dimension_of_length_0(name: str) -> None:
    codec = CODECS[name]
    element = oids.INT2 if name == "int2vector" else oids.OID
    data = struct.pack(">iiIii", 1, 0, element, 0, 0)
    # The server takes such a one as text only.
    assert exactly(codec.encode([])) == exactly(codec.encode(())) == exactly(Literal(""))
    assert decode(codec, data) == decode(codec, data[:3] + bytes(5) + data[8:12]) == []
    assert codec.literal([]) == ""
    assert codec.decode_text("") == []
    assert f"not a valid {name}" in reason(decode, codec, data + b"x")
    assert f"not a valid {name}" in reason(decode, codec, data[:-5] + b"\1" + data[-4:])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[1]], "int2vector has one dimension, not 2"),
        ([1, None], "int2vector has no NULLs"),
        ([1, 2**15], "element [1]: expected int from -32768 to 32767, got int 32768"),
        (1, "expected list or tuple, got int 1"),
    ],
)
def test_misfits_in_vectors_are_refused(value: Any, expected: str) -> None:
    assert expected in refused(CODECS["int2vector"], value)


def test_malformed_vectors_are_refused() -> None:
    assert "not a valid int2" in reason(CODECS["int2vector"].decode_text, "1  2")
    assert "not a valid oid" in reason(CODECS["oidvector"].decode_text, "-1")


def test_a_vector_with_text_is_text() -> None:
    codec = CODECS["int2vector"]
    assert exactly(codec.encode(["1", 2])) == exactly(Literal("1 2"))
    assert codec.literal(["1", 2]) == "1 2"
    assert "element [1]: expected int, got float 1.5" in refused(codec, ["1", 1.5])
    assert "element [1]: expected int, got float 1.5" in reason(codec.literal, [1, 1.5])


# anyarray


def test_an_anyarray_says_what_it_holds() -> None:
    codec = CODECS["anyarray"]
    assert codec.is_open
    assert decode(codec, array(ONE, None)) == [1, None]
    assert decode(codec, array(b"a", oid=oids.TEXT)) == ["a"]
    assert codec.decode_text("{1,NULL}") == "{1,NULL}"
    for function in (codec.encode, codec.literal):
        assert reason(function, [1]) == "expected str, PostgreSQL's literal, got list"


def test_an_anyarray_of_an_unknown_type_says_so() -> None:
    with pytest.raises(UnknownTypes) as caught:
        decode(CODECS["anyarray"], array(b"x", oid=99_999))
    assert caught.value.oids == {99_999}
    assert "could not be looked up" in str(caught.value)


def test_malformed_anyarrays_are_refused() -> None:
    codec = CODECS["anyarray"]
    assert "not a valid anyarray: it has 11 bytes" in reason(decode, codec, array()[:11])
    assert "not a valid int4[]" in reason(decode, codec, array(ONE) + b"x")


def test_arrays_of_anyarray_without_an_end_are_refused() -> None:
    deep = b"".join(
        array(oid=oids.REST["anyarray"][0], bounds=((1, 1),)) + struct.pack(">i", 24 * left)
        for left in range(10_000, 0, -1)
    )
    assert "nested too deeply" in reason(decode, CODECS["anyarray"], deep + array(ONE))


def test_the_codec_of_an_array_describes_itself() -> None:
    codec = REGISTRY.codec(oids.INT4_ARRAY)
    assert (codec.name, codec.oid, codec.array_oid) == ("int4[]", oids.INT4_ARRAY, 0)
    assert codec.binary_results
    assert not codec.takes_str
    assert codec.struct_code is None
