"""Ranges and multiranges of many types, and every way in which one can be malformed."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Codec, Json, Literal, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.codec import UnknownTypes, encoded
from pgwire.pgtypes.families import RANGES
from pgwire.pgtypes.ranges import Multirange, Range, multirange_codec, range_codec
from pgwire.pgtypes.text import literal_codec
from tests.pgtypes.helpers import CODECS as ALL, REGISTRY, decode, exactly, reason, refused

BOUNDS = ("[]", "[)", "(]", "()")


def range_of(element: Codec) -> Codec:
    return range_codec(f"{element.name}range", 90001, 90002, element)


def multirange_of(element: Codec) -> Codec:
    return multirange_codec(f"{element.name}multirange", 90003, 90004, range_of(element))


def built_in() -> dict[str, Codec]:
    codecs: dict[str, Codec] = {}
    by_oid: dict[int, Codec] = {}
    for name, oid in [(info.name, info.part) for info in RANGES.values()]:
        make = multirange_codec if oid in by_oid else range_codec
        codecs[name] = make(name, *oids.REST[name], by_oid.get(oid) or REGISTRY.codec(oid))
        by_oid[codecs[name].oid] = codecs[name]
    return codecs


CODECS = built_in()
INTS, MULTI = CODECS["int4range"], CODECS["int4multirange"]
TEXTS = range_of(ALL["text"])

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
marks = st.text('"\\,()[]{} \tab', max_size=4)
datetimes = st.datetimes(timezones=st.just(UTC)).map(lambda value: value.replace(fold=0))
ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "int4": st.integers(-(2**31), 2**31 - 1),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "numeric": st.decimals(allow_nan=False, places=2) | st.just(Decimal("NaN")),
    "float8": st.floats(allow_nan=False, allow_infinity=False),
    "date": st.dates() | st.sampled_from(["infinity", "0044-03-15 BC"]),
    "timestamptz": datetimes | st.sampled_from(["-infinity", "10000-01-01 00:00:00+00"]),
    "text": texts | marks,
    "uuid": st.uuids(),
    "bytea": st.binary(max_size=5),
    "bool": st.booleans(),
    "int4[]": st.lists(st.integers(0, 9) | st.none(), max_size=3),
    "jsonb": st.dictionaries(texts, st.integers() | texts, max_size=2),
    "type 5": texts | marks,
}
ELEMENT_CODECS = {**ALL, "type 5": literal_codec("type 5", 5, 0)}
every_element = pytest.mark.parametrize("name", ELEMENTS)


@cache
def ranges_of(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Range[Any]]:
    side = st.none() | bounds
    return st.builds(Range, side, side, st.sampled_from(BOUNDS)) | st.just(Range.empty())


SOME_RANGES = {
    name: st.lists(ranges_of(bounds), min_size=1, max_size=4) for name, bounds in ELEMENTS.items()
}


def check_both_formats(codec: Codec, value: Any) -> None:
    sent = encoded(codec, value)
    if isinstance(sent, Literal):
        assert sent == codec.literal(value)
    else:
        assert codec.has_binary
        assert exactly(decode(codec, sent)) == exactly(value)
    assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


@every_element
@given(data=st.data())
def test_both_formats_round_trip(name: str, data: st.DataObject) -> None:
    element = ELEMENT_CODECS[name]
    values = data.draw(SOME_RANGES[name])
    check_both_formats(range_of(element), values[0])
    check_both_formats(multirange_of(element), Multirange(values))


# From PostgreSQL 18.
UTC_START, UTC_END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)
VECTORS: list[tuple[str, str, str, Any]] = [
    ("int4range", "01", "empty", Range.empty()),
    ("int4range", "0200000004000000010000000400000005", "[1,5)", Range(1, 5)),
    ("int4range", "080000000400000006", "(,6)", Range(None, 6)),
    ("int4range", "120000000480000000", "[-2147483648,)", Range(-(2**31))),
    ("int4range", "18", "(,)", Range()),
    (
        "int8range",
        "02000000088000000000000000000000087fffffffffffffff",
        "[-9223372036854775808,9223372036854775807)",
        Range(-(2**63), 2**63 - 1),
    ),
    (
        "numrange",
        "060000000c0002000000000002000113880000000a00010000000000000002",
        "[1.50,2]",
        Range(Decimal("1.50"), Decimal(2), "[]"),
    ),
    ("numrange", "100000000a00010000000000010001", "(1.0,)", Range(Decimal("1.0"), None, "()")),
    (
        "tsrange",
        "06000000080002b0dfe3d4f000000000080002b578b5940120",
        '["2024-01-01 12:00:00","2024-02-29 00:00:00.5"]',
        Range(datetime(2024, 1, 1, 12), datetime(2024, 2, 29, 0, 0, 0, 500000), "[]"),
    ),
    (
        "tsrange",
        "1000000008ff1af9deec5b2000",
        '("0044-03-15 00:00:00 BC",)',
        Range("0044-03-15 00:00:00 BC", None, "()"),
    ),
    (
        "tstzrange",
        "06000000088000000000000000000000087fffffffffffffff",
        "[-infinity,infinity]",
        Range("-infinity", "infinity", "[]"),
    ),
    (
        "daterange",
        "02000000040000223e000000040000227a",
        "[2024-01-01,2024-03-01)",
        Range(date(2024, 1, 1), date(2024, 3, 1)),
    ),
    ("daterange", "0800000004fff49d7b", '(,"0044-03-15 BC")', Range(None, "0044-03-15 BC")),
    ("int4multirange", "00000000", "{}", Multirange()),
    (
        "int4multirange",
        "00000002000000110200000004000000010000000400000002"
        "000000110200000004000000050000000400000006",
        "{[1,2),[5,6)}",
        Multirange([Range(1, 2), Range(5, 6)]),
    ),
    (
        "int4multirange",
        "000000020000000908000000040000000100000009120000000400000007",
        "{(,1),[7,)}",
        Multirange([Range(None, 1), Range(7)]),
    ),
    ("int4multirange", "000000010000000118", "{(,)}", Multirange([Range()])),
    (
        "int8multirange",
        "000000010000001902000000080000000000000001000000080000000000000002",
        "{[1,2)}",
        Multirange([Range(1, 2)]),
    ),
    (
        "nummultirange",
        "000000010000001f040000000c0002000000000002000113880000000a00010000000000000002",
        "{(1.50,2]}",
        Multirange([Range(Decimal("1.50"), Decimal(2), "(]")]),
    ),
    (
        "tsmultirange",
        "000000010000001906000000080002b0fe10980000000000087fffffffffffffff",
        '{["2024-01-03 00:00:00",infinity]}',
        Multirange([Range(datetime(2024, 1, 3), "infinity", "[]")]),
    ),
    (
        "tstzmultirange",
        "000000010000001906000000080002b0d5d4e94000000000080002b0e9f2c0a000",
        '{["2024-01-01 00:00:00+00","2024-01-02 00:00:00+00"]}',
        Multirange([Range(UTC_START, UTC_END, "[]")]),
    ),
    (
        "datemultirange",
        "000000020000001102000000040000223e000000040000223f"
        "00000011060000000400002242000000047fffffff",
        "{[2024-01-01,2024-01-02),[2024-01-05,infinity]}",
        Multirange(
            [Range(date(2024, 1, 1), date(2024, 1, 2)), Range(date(2024, 1, 5), "infinity", "[]")]
        ),
    ),
]


@pytest.mark.parametrize(("name", "data", "text", "value"), VECTORS)
def test_what_a_server_sent(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    assert exactly(decode(codec, bytes.fromhex(data))) == exactly(value)
    assert exactly(codec.decode_text(text)) == exactly(value)
    sent = encoded(codec, value)
    assert sent.hex() == data if isinstance(sent, bytes) else codec.decode_text(sent) == value


def test_the_built_in_types_are_there() -> None:
    assert set(CODECS) == {name for name, *_ in VECTORS}
    assert set(CODECS) == {name for name in oids.REST if name.endswith("range")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["a""b",c}d)', Range('a"b', "c}d")),
        ('["a\\\\b","\\""]', Range("a\\b", '"', "[]")),
        ('("","""")', Range("", '"', "()")),
        ('[" ","\\a,)")', Range(" ", "a,)")),
        ("[empty,NULL)", Range("empty", "NULL")),
        ("(\xa0,\u3000)", Range("\xa0", "\u3000", "()")),
        ('["a\nb",)', Range("a\nb")),
    ],
)
def test_quoted_and_bare_bounds(text: str, value: Range[str]) -> None:
    assert TEXTS.decode_text(text) == value
    assert multirange_of(ALL["text"]).decode_text(f"{{{text},{text}}}") == (value, value)


@pytest.mark.parametrize(
    ("codec", "value", "literal"),
    [
        (INTS, Range(1, 5), '["1","5")'),
        (INTS, Range(None, 5, "[]"), '(,"5"]'),
        (INTS, Range(), "(,)"),
        (INTS, Range.empty(), "empty"),
        (TEXTS, Range('a"b', "c\\d", "()"), '("a""b","c\\\\d")'),
        (MULTI, [Range(1, 2), Range.empty(), Range(5)], '{["1","2"),empty,["5",)}'),
        (MULTI, (), "{}"),
    ],
)
def test_literals(codec: Codec, value: Any, literal: str) -> None:
    assert codec.literal(value) == literal


class Size(Enum):
    SMALL = 1
    NOTHING = None


def test_a_bound_that_is_text_makes_all_text() -> None:
    assert INTS.encode(Range("1", 5)) == Literal('["1","5")')
    assert MULTI.encode([Range(1, 2), Range(3, "4")]) == Literal('{["1","2"),["3","4")}')
    assert MULTI.encode(["[1,2)", Range(3)]) == Literal('{[1,2),["3",)}')
    assert type(INTS.encode(Range("1", 5))) is Literal
    days = range_of(replace(ALL["date"], has_binary=False))
    assert days.encode(Range(date(2024, 1, 1))) == Literal('["2024-01-01",)')
    assert not days.has_binary
    assert not days.binary_results
    many = multirange_codec("m", 1, 2, days)
    assert many.encode([]) == Literal("{}")
    assert not many.has_binary
    assert not many.binary_results


def test_a_bound_may_be_a_member_of_an_enumeration() -> None:
    assert decode(INTS, INTS.encode(Range(Size.SMALL, 5))) == Range(1, 5)  # type: ignore[arg-type]
    assert INTS.literal(Range(Size.SMALL)) == '["1",)'
    assert refused(INTS, Range(Size.NOTHING)) == "lower bound: expected int, got Size"


@pytest.mark.parametrize(
    ("codec", "value", "expected"),
    [
        (INTS, (1, 5), "expected pgwire.Range, got tuple; pass pgwire.Range(lower, upper)"),
        (INTS, range(5), "expected pgwire.Range, got range"),
        (INTS, None, "expected pgwire.Range, got NoneType"),
        (INTS, Range(1.5, 2), "lower bound: expected int, got float 1.5"),
        (INTS, Range(1, 2**31), "upper bound: expected int from -2147483648 to 2147483647, got"),
        (INTS, Range(1, "\0"), "upper bound: str with a NUL character at index 0"),
        (TEXTS, Range("a\0"), "lower bound: text cannot hold NUL"),
        (MULTI, Range(1, 2), "got Range; pass a list of it"),
        (MULTI, {Range(1, 2)}, "expected pgwire.Multirange, or a list or tuple of pgwire.Range"),
        (MULTI, [Range(1, 2), None], "range 1: expected pgwire.Range, got NoneType"),
        (MULTI, [(1, 2)], "range 0: expected pgwire.Range, got tuple"),
        (MULTI, [Range(1), Range(2, 1.5)], "range 1: upper bound: expected int, got float 1.5"),
    ],
)
def test_misfits_are_refused_with_their_place(codec: Codec, value: Any, expected: str) -> None:
    assert expected in refused(codec, value)
    assert reason(codec.literal, value) == refused(codec, value)


def flagged(flags: int, *bounds: bytes) -> bytes:
    """A binary range, as wrong as is wanted."""
    return bytes((flags,)) + b"".join(struct.pack(">i", len(b)) + b for b in bounds)


ONE = struct.pack(">i", 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        flagged(0x01) + b"x",
        flagged(0x00),
        flagged(0x02, ONE),
        flagged(0x02, ONE, ONE) + b"x",
        flagged(0x02, ONE, ONE)[:-1],
        flagged(0x02, ONE)[:-5],
        flagged(0x18, ONE),
        flagged(0x08, ONE, ONE),
        flagged(0x0A, ONE),  # unbounded, and inclusive
        flagged(0x14, ONE),
        flagged(0x03, ONE, ONE),
        flagged(0x19),
        flagged(0x22, ONE, ONE),
        flagged(0x42, ONE, ONE),
        flagged(0x82, ONE, ONE),
        flagged(0x81),
        b"\x12\xff\xff\xff\xff",
        b"\x12\x7f\xff\xff\xff" + ONE,
        flagged(0x12, ONE[:-1]),
    ],
    ids=bytes.hex,
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    assert "not a valid int4" in reason(decode, INTS, data)
    whole = struct.pack(">ii", 1, len(data)) + data
    assert "not a valid int4" in reason(decode, MULTI, whole)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(3),
        bytes(4) + b"x",
        b"\xff\xff\xff\xff",
        b"\0\0\0\1",
        b"\0\0\0\1\0\0\0\0",
        b"\0\0\0\1\0\0\0\2\1",
        b"\0\0\0\1\xff\xff\xff\xff\1",
        b"\0\0\0\1\0\0\0\1\1x",
        b"\0\0\0\2\0\0\0\2\0\0\0\0\0\1",
        b"\0\0\0\2\0\0\0\7" + flagged(0x18) + bytes(6),
        b"\0\0\0\2" + struct.pack(">i", 9) + flagged(0x12, ONE) + b"x",
        b"\x7f\xff\xff\xff" + b"\0\0\0\1\1" * 2,
    ],
    ids=bytes.hex,
)
def test_malformed_bytes_of_multiranges_are_refused(data: bytes) -> None:
    assert "not a valid int4" in reason(decode, MULTI, data)


@pytest.mark.parametrize(
    "text",
    [
        *["", "Empty", "emptyx", " empty", "[1,5", "1,5)", "[1 ,5)", "[1, 5)", "[1,5) ", "[1)"],
        *["[1,2,3)", "[,5)", "[1,]", "[,]", "[[1,5)", "[1,5))", "{1,5)", '["1,5)', '["1"2,5)'],
        *['[1"2",5)', "[1\\2,5)", "[\t1,5)", '["\\",5)', "[a,b)", '["",5)'],
        *["[1," + '"' * 99_999, "[" * 100_000],
    ],
    ids=lambda text: text[:20],
)
def test_malformed_texts_are_refused(text: str) -> None:
    assert "not a valid int4" in reason(INTS.decode_text, text)
    assert "not a valid int4" in reason(MULTI.decode_text, f"{{{text}}}" if text else "{")


@pytest.mark.parametrize(
    "text",
    [
        *["", "{", "}", "empty", "[1,2)", "{[1,2)", "{[1,2),}", "{,[1,2)}", "{[1,2) ,[3,4)}"],
        *["{[1,2)[3,4)}", "{[1,2)}}", "{{[1,2)}}", "{[1,2)},", ",[1,2)}", '{"[1,2)"}', "{} "],
        "{" + "[1,2)," * 50_000 + "}",
    ],
    ids=lambda text: text[:20],
)
def test_malformed_texts_of_multiranges_are_refused(text: str) -> None:
    assert "not a valid int4" in reason(MULTI.decode_text, text)


@pytest.mark.parametrize("name", ["int4", "text", "numeric"])
@given(data=st.binary(max_size=40))
def test_any_bytes_are_a_value_or_refused(name: str, data: bytes) -> None:
    for codec in (range_of(ALL[name]), multirange_of(ALL[name])):
        try:
            value = decode(codec, data)
        except DataError:
            continue
        check_both_formats(codec, value)


@pytest.mark.parametrize("name", ["int4", "text", "numeric"])
@given(text=st.text('{}[](),"\\ 12a', max_size=20) | st.text())
def test_any_text_is_a_value_or_refused(name: str, text: str) -> None:
    for codec in (range_of(ALL[name]), multirange_of(ALL[name])):
        try:
            value = codec.decode_text(text)
        except DataError:
            continue
        assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


def test_a_bound_that_is_null_in_json_is_refused() -> None:
    codec = range_of(ALL["jsonb"])
    expected = "jsonbrange has a bound that is None in Python; cast it to text"
    assert reason(decode, codec, encoded(codec, Range(Json(None), Json(1)))) == expected
    assert reason(codec.decode_text, "[null,1)") == expected


def test_what_the_bounds_are_shows_in_the_codec() -> None:
    numbers = CODECS["numrange"]
    assert (numbers.binary_results, numbers.has_binary) == (False, True)
    assert INTS.binary_results
    assert not INTS.is_open

    def unknown(*_: Any) -> Any:
        raise UnknownTypes.of("thing", [5])

    element = replace(
        ALL["int4"], decode=unknown, decode_text=unknown, struct_code=None, is_open=True
    )
    for codec, text in ((range_of(element), "[1,2)"), (multirange_of(element), "{[1,2)}")):
        assert codec.is_open
        data = b"\0\0\0\1\0\0\0\x09" + flagged(0x12, ONE)
        with pytest.raises(UnknownTypes):
            decode(codec, data if codec.depth else flagged(0x12, ONE))
        with pytest.raises(UnknownTypes):
            codec.decode_text(text)


@given(st.lists(ranges_of(st.integers(-9, 9)) | st.none(), max_size=4))
def test_ranges_stand_in_arrays(value: list[Range[int] | None]) -> None:
    check_both_formats(array_codec(INTS), value)
    check_both_formats(array_codec(INTS), [value, value] if value else [])
    many = array_codec(MULTI)
    ranges = [Multirange(item for item in value if item is not None), None]
    check_both_formats(many, ranges)
    check_both_formats(many, [ranges, ranges])
    lists = [None if item is None else list(item) for item in ranges]
    assert many.encode(lists) == many.encode(ranges)
