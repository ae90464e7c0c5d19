"""Composite types and anonymous records: what fields may be, and what may be wrong with them."""

from __future__ import annotations

import struct
from collections import UserDict
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from time import perf_counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Literal, TypeRegistry, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.pgtypes.composites import Field, composite_codec
from pgwire.pgtypes.row import row_class
from pgwire.pgtypes.text import literal_codec
from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused, round_trip

OID, ARRAY_OID = 80_000, 80_001
INT4, TEXT, RECORD = CODECS["int4"], CODECS["text"], CODECS["record"]
PAIR = composite_codec("pair", OID, ARRAY_OID, [Field("n", INT4), Field("word", TEXT)])
ONLY_TEXT = composite_codec("odd", 80_002, 0, [Field("shape", literal_codec("shape", 80_003, 0))])
EMPTY = composite_codec("nothing", 80_004, 0, [])
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def row(*fields: tuple[int, bytes | None]) -> bytes:
    """A binary row, each field with its type."""
    data = struct.pack(">i", len(fields))
    for oid, value in fields:
        data += struct.pack(">Ii", oid, -1 if value is None else len(value)) + (value or b"")
    return data


@dataclass
class Pair:
    n: int | None
    word: str | None


class NamedPair(NamedTuple):
    n: int
    word: str


class Turned(NamedTuple):
    word: str
    n: int


class Slotted:
    __slots__ = ("n", "word")


SEVEN = b"\0\0\0\7"
BOTH = row((oids.INT4, SEVEN), (oids.TEXT, b"x"))


def unknown(function: Any, *arguments: Any) -> frozenset[int]:
    with pytest.raises(UnknownTypes) as caught:
        function(*arguments)
    return caught.value.oids


def test_a_composite_is_a_row() -> None:
    for value in (decode(PAIR, BOTH), PAIR.decode_text("(7,x)")):
        assert value == (7, "x")
        assert (value.n, value["word"]) == (7, "x")
        assert repr(value) == "Row(n=7, word='x')"
        assert type(value) is row_class(("n", "word"))


@given(st.none() | st.integers(-(2**31), 2**31 - 1), st.none() | texts)
@example(None, "")
@example(1, None)
@example(2, '"\\,()')
@example(3, "NULL")
@example(4, " a\n")
def test_values_come_back(number: int | None, word: str | None) -> None:
    value = (number, word)
    assert exactly(tuple(round_trip(PAIR, value))) == exactly(value)
    assert exactly(tuple(PAIR.decode_text(PAIR.literal(value)))) == exactly(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(,)", (None, None)),
        ('(,"")', (None, "")),
        ('(7,"a ""b"" \\\\ c, (d)")', (7, 'a "b" \\ c, (d)')),
        ('(7,"a \\"b\\" ")', (7, 'a "b" ')),
        ("(7,NULL)", (7, "NULL")),
        ("(7, a b )", (7, " a b ")),
        ('(7,"\n")', (7, "\n")),
        ("(7,{})", (7, "{}")),
    ],
)
def test_text_is_read_as_the_server_quotes_it(text: str, value: Any) -> None:
    assert PAIR.decode_text(text) == value


def test_text_is_written_in_quotes() -> None:
    assert PAIR.literal((7, 'a"b\\')) == '("7","a""b\\\\")'
    assert PAIR.literal((None, "")) == '(,"")'


@pytest.mark.parametrize(
    "value", [Turned("x", 7), row_class(("word", "n"))(("x", 7))], ids=["named tuple", "Row"]
)
def test_a_tuple_with_the_attributes_names_gives_them_by_name(value: Any) -> None:
    """A row that was selected in another order is still the same value."""
    assert encode(PAIR, value) == BOTH
    assert PAIR.literal(value) == '("7","x")'


@pytest.mark.parametrize(
    "value",
    [
        (7, "x"),
        NamedPair(7, "x"),
        row_class(("a", "b"))((7, "x")),
        {"word": "x", "n": 7},
        UserDict(n=7, word="x"),
        Pair(7, "x"),
        SimpleNamespace(n=7, word="x", more=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_composite_may_be(value: Any) -> None:
    assert encode(PAIR, value) == BOTH
    assert PAIR.literal(value) == '("7","x")'


FIELDS = "expected a tuple, dict, or object with the attributes n, word, got"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((7,), "expected 2 fields (n, word), got 1 of them"),
        ((7, "x", 1), "expected 2 fields (n, word), got 3 of them"),
        ((), "expected 2 fields (n, word), got 0 of them"),
        ({"n": 7}, "expected a dict with the keys n, word, got dict; it lacks word"),
        ({"secret": 7, "n": 1}, "got dict; it lacks word"),
        ({"n": 7, "word": "x", "secret": 1}, "got dict; it has others too"),
        ({}, "got dict; it lacks n, word"),
        ({1: 2, ...: 3}, "got dict; it lacks n, word"),
        ([7, "x"], f"{FIELDS} list"),
        ({7, "x"}, f"{FIELDS} set"),
        (frozenset(), f"{FIELDS} frozenset"),
        (b"secret", f"{FIELDS} bytes"),
        (7, f"{FIELDS} int 7"),
        (1.5, f"{FIELDS} float 1.5"),
        (True, f"{FIELDS} bool"),
        (object(), f"{FIELDS} object; it has no n"),
        (SimpleNamespace(n=1), f"{FIELDS} SimpleNamespace; it has no word"),
        (Slotted(), f"{FIELDS} Slotted; it has no n"),
        ((b"", "x"), "field n: expected int, got bytes"),
        ((7, b"secret"), "field word: expected str, got bytes; decode it first"),
        ((2**31, ""), "field n: expected int from -2147483648 to 2147483647, got int 2147483648"),
        (("1\0", ""), "field n: str with a NUL character at index 1"),
        ((1, "secret\0"), "field word: text cannot hold NUL, and there is one at index 6"),
    ],
)
def test_misfits_are_refused_with_their_field(value: Any, expected: str) -> None:
    for function in (PAIR.encode, PAIR.literal):
        if value != ("1\0", "") or function is PAIR.literal:
            assert expected in reason(function, value)
            assert "secret" not in reason(function, value)


def test_a_str_among_the_fields_makes_it_text() -> None:
    literal = PAIR.encode(("7", 'a"'))
    assert exactly(literal) == exactly(Literal('("7","a""")'))
    assert PAIR.decode_text(PAIR.literal(("7", 'a"'))) == (7, 'a"')
    assert "field n: str with a NUL" in refused(PAIR, ("\0", ""))


def test_a_field_that_can_be_text_only_makes_it_text() -> None:
    assert not ONLY_TEXT.has_binary
    assert not ONLY_TEXT.binary_results
    assert exactly(ONLY_TEXT.encode(("x",))) == exactly(Literal('("x")'))
    assert ONLY_TEXT.decode_text('("x y")') == ("x y",)
    assert "field shape: expected str" in refused(ONLY_TEXT, (1,))
    assert not array_codec(ONLY_TEXT).has_binary


def test_a_composite_without_fields() -> None:
    assert encode(EMPTY, ()) == encode(EMPTY, {}) == encode(EMPTY, object()) == bytes(4)
    assert decode(EMPTY, bytes(4)) == EMPTY.decode_text("()") == ()
    assert EMPTY.literal(()) == "()"
    one = composite_codec("one", 80_005, 0, [Field("word", TEXT)])
    assert one.decode_text("()") == (None,)
    assert one.decode_text('("")') == ("",)


class Colour(Enum):
    RED = "red"
    PAIR = (7, "x")


def test_members_of_enumerations_stand_for_their_values() -> None:
    assert encode(PAIR, (7, Colour.RED)) == row((oids.INT4, SEVEN), (oids.TEXT, b"red"))
    assert PAIR.literal((7, Colour.RED)) == '("7","red")'
    pairs = array_codec(PAIR)
    assert pairs.encode([Colour.PAIR]) == pairs.encode([(7, "x")])


@pytest.mark.parametrize(
    "data",
    [
        row((oids.INT4, SEVEN)),
        row((oids.INT4, SEVEN), (oids.TEXT, b"x"), (oids.TEXT, b"x")),
        row((oids.INT8, SEVEN), (oids.TEXT, b"x")),
        row((oids.INT8, None), (oids.TEXT, None)),
        row((oids.TEXT, b"x"), (oids.INT4, SEVEN)),
        row(),
    ],
)
def test_an_altered_type_is_to_be_looked_up_again(data: bytes) -> None:
    assert unknown(decode, PAIR, data) == {OID}


@pytest.mark.parametrize("text", ["()", "(1)", "(1,2,3)", "(,,)"])
def test_an_altered_type_is_noticed_in_text(text: str) -> None:
    assert unknown(PAIR.decode_text, text) == {OID}


def test_an_altered_type_inside_of_others_is_the_one_to_be_looked_up() -> None:
    outer = composite_codec("outer", 80_006, 0, [Field("pairs", array_codec(PAIR))])
    array = struct.pack(">iiIiii", 1, 0, OID, 1, 1, 4) + bytes(4)
    assert unknown(decode, outer, row((ARRAY_OID, array))) == {OID}
    assert unknown(outer.decode_text, '("{""(1)""}")') == {OID}


MALFORMED = [
    b"",
    BOTH[:3],
    BOTH[:-1],
    BOTH + b"x",
    BOTH[:4],
    struct.pack(">i", -1) + BOTH[4:],
    struct.pack(">i", 2**31 - 1) + BOTH[4:],
    BOTH[:8] + struct.pack(">i", -2) + BOTH[12:],
    BOTH[:8] + struct.pack(">i", 2**31 - 1) + BOTH[12:],
    BOTH[:8] + struct.pack(">i", 8) + BOTH[12:],
    BOTH[:8] + struct.pack(">i", 12) + BOTH[12:],
    struct.pack(">iIi", 2, oids.INT4, 8) + bytes(8),
]


@pytest.mark.parametrize("data", MALFORMED, ids=bytes.hex)
def test_malformed_rows_are_refused(data: bytes) -> None:
    for codec in (PAIR, RECORD):
        assert "not a valid" in reason(decode, codec, data)


def test_a_field_that_swallows_the_next_is_noticed() -> None:
    data = struct.pack(">iIi", 2, oids.TEXT, 8) + b"12345678"
    assert "not a valid record" in reason(decode, RECORD, data)


@pytest.mark.parametrize(
    "text",
    ["", "7", "(", ")", "(7", "7)", '(7,"x)', '(7,"x"y)', '(7,x"y")', "(7,(x))", "(7,x))",
     " (7,x)", "(7,x) ", "(7,x\\)", '(7,"\\', "(7,x", '("', "((((", "(" * 100_000,
     '("' + '"' * 99_999, '("' + "\\" * 99_999, '("' + "a\\a" * 50_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_malformed_texts_are_refused(text: str) -> None:
    for codec in (PAIR, RECORD):
        assert f"not a valid {codec.name}" in reason(codec.decode_text, text)


@given(st.lists(st.none() | texts, min_size=1, max_size=5))
def test_a_malformed_field_is_refused(words: list[str | None]) -> None:
    """Neither do fields run into each other."""
    many = composite_codec("many", 80_007, 0, [Field(f"f{n}", TEXT) for n in range(len(words))])
    assert many.decode_text(many.literal(tuple(words))) == tuple(words)
    assert round_trip(many, tuple(words)) == tuple(words)
    assert "not a valid int4" in reason(PAIR.decode_text, "(x,y)")
    assert "not a valid int4" in reason(decode, PAIR, row((oids.INT4, b"1"), (oids.TEXT, b"")))


# Anonymous records


def test_a_record_is_a_tuple_of_typed_fields() -> None:
    inner = row((oids.BOOL, b"\1"), (oids.TEXT, None))
    data = row((oids.INT4, SEVEN), (RECORD.oid, inner), (oids.TEXT, None), (oids.UNKNOWN, b"x"))
    assert exactly(decode(RECORD, data)) == exactly((7, (True, None), None, "x"))
    assert exactly(decode(RECORD, row())) == "tuple ()"
    records = CODECS["record[]"]
    array = struct.pack(">iiIiii", 1, 0, RECORD.oid, 1, 1, len(inner)) + inner
    assert exactly(decode(records, array)) == exactly([(True, None)])
    assert RECORD.is_open
    assert records.is_open


def test_in_text_the_fields_are_text() -> None:
    assert exactly(RECORD.decode_text('(1,"a ""b""",,"")')) == exactly(("1", 'a "b"', None, ""))
    assert CODECS["record[]"].decode_text('{"(1,\\"a b\\")",NULL}') == [("1", "a b"), None]


def test_a_record_cannot_be_sent() -> None:
    for function in (RECORD.encode, RECORD.literal):
        assert reason(function, (1,)) == (
            "expected str, got tuple; the server takes no anonymous records"
        )


def test_unknown_types_are_all_named_at_once() -> None:
    data = row((99_997, b"x"), (oids.INT4, b"damaged"), (99_998, None), (99_997, b""))
    assert "not a valid int4" in reason(decode, RECORD, data)
    data = row((99_997, b"x"), (oids.INT4, SEVEN), (99_998, None), (99_997, b""))
    assert unknown(decode, RECORD, data) == {99_997, 99_998}
    assert unknown(decode, RECORD, row((99_999, None), (RECORD.oid, data))) == {99_997, 99_998}


def nested_records(depth: int, inside: bytes) -> bytes:
    """Records in records, made from the outermost on, as each would be copied otherwise."""
    heads = [
        struct.pack(">iIi", 1, RECORD.oid, 12 * left + len(inside))
        for left in range(depth - 1, -1, -1)
    ]
    return b"".join(heads) + inside


def test_records_may_be_nested() -> None:
    value = decode(RECORD, nested_records(50, BOTH))
    for _ in range(50):
        (value,) = value
    assert value == (7, "x")


def test_records_nested_without_an_end_are_refused_at_once() -> None:
    data = nested_records(10_000, BOTH)
    before = perf_counter()
    assert reason(decode, RECORD, data) == "the server's records are nested too deeply"
    assert perf_counter() - before < 5


def test_records_in_composites_in_records_are_refused_as_well() -> None:
    catalog_row = composite_codec("holder", 80_008, 0, [Field("inside", RECORD)])
    registry = TypeRegistry()
    record = registry.codec(RECORD.oid)
    registry._codecs[80_008] = composite_codec("holder", 80_008, 0, [Field("inside", record)])
    assert catalog_row.is_open
    pairs = 5_000
    heads = []
    for left in range(pairs - 1, -1, -1):
        heads.append(struct.pack(">iIi", 1, 80_008, 24 * left + 12 + len(BOTH)))
        heads.append(struct.pack(">iIi", 1, RECORD.oid, 24 * left + len(BOTH)))
    data = b"".join(heads) + BOTH
    assert "nested too deeply" in reason(decode, record, data)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_but_a_data_error(data: bytes) -> None:
    for codec in (PAIR, RECORD, EMPTY):
        for prefix in (b"", struct.pack(">i", len(data) // 8), BOTH[:8], BOTH[:16]):
            with suppress(DataError):
                decode(codec, prefix + data)


@given(st.text('(),"\\ab \n\0'))
def test_no_text_raises_anything_but_a_data_error(text: str) -> None:
    for codec in (PAIR, RECORD, EMPTY):
        with suppress(DataError):
            codec.decode_text(f"({text})")
