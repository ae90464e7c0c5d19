"""The catalogs' types: numbers of transactions and places, names, and what is text only.

The vectors are those of PostgreSQL 18.
"""

from __future__ import annotations

from contextlib import suppress
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.system import CODECS as ALL
from tests.pgtypes.helpers import decode, encode, exactly, reason, refused, round_trip

CODECS = {codec.name: codec for codec in ALL}
UINT32, UINT64 = 2**32 - 1, 2**64 - 1
INTEGERS = {"xid": UINT32, "cid": UINT32, "xid8": UINT64}
SNAPSHOTS = ["txid_snapshot", "pg_snapshot"]
NAMES = [
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regclass",
    "regtype",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regrole",
    "regcollation",
]
TEXT_ONLY = [
    "money",
    "aclitem",
    "tsvector",
    "tsquery",
    "gtsvector",
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
]
LITERALS_ONLY = {
    "tid": 'str like "(0,1)"',
    "txid_snapshot": 'str like "10:20:10,14,15"',
    "pg_snapshot": 'str like "10:20:10,14,15"',
    "jsonpath": 'str like "$.a[*]"',
    "xml": "str",
}
EACH = pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)

THREE_RUNNING = "00000003" + "".join(f"{number:016x}" for number in (10, 20, 10, 14, 15))
VECTORS: list[tuple[str, str, str, Any]] = [
    ("xid", "00000000", "0", 0),
    ("xid", "ffffffff", "4294967295", 4294967295),
    ("cid", "00000001", "1", 1),
    ("cid", "ffffffff", "4294967295", 4294967295),
    ("xid8", "0000000000000000", "0", 0),
    ("xid8", "ffffffffffffffff", "18446744073709551615", 18446744073709551615),
    ("tid", "000000000000", "(0,0)", "(0,0)"),
    ("tid", "000000000001", "(0,1)", "(0,1)"),
    ("tid", "ffffffffffff", "(4294967295,65535)", "(4294967295,65535)"),
    ("pg_lsn", "0000000000000000", "0/0", "0/0"),
    ("pg_lsn", "00000016b374d848", "16/B374D848", "16/B374D848"),
    ("pg_lsn", "ffffffffffffffff", "FFFFFFFF/FFFFFFFF", "FFFFFFFF/FFFFFFFF"),
    ("pg_lsn", "0000000001c60d80", "0/1C60D80", "0/1C60D80"),
    ("txid_snapshot", THREE_RUNNING, "10:20:10,14,15", "10:20:10,14,15"),
    ("pg_snapshot", THREE_RUNNING, "10:20:10,14,15", "10:20:10,14,15"),
    ("pg_snapshot", "0000000000000000000000010000000000000001", "1:1:", "1:1:"),
    (
        "pg_snapshot",
        "000000007fffffffffffffff7fffffffffffffff",
        "9223372036854775807:9223372036854775807:",
        "9223372036854775807:9223372036854775807:",
    ),
    ("jsonpath", "01242e2261225b2a5d3f2840203e203129", '$."a"[*]?(@ > 1)', '$."a"[*]?(@ > 1)'),
    ("jsonpath", "01242e22c3bc22", '$."ü"', '$."ü"'),
    ("refcursor", "", "", ""),
    ("refcursor", "c3bc", "ü", "ü"),
    ("cstring", "78", "x", "x"),
]


@pytest.mark.parametrize(("name", "data", "text", "value"), VECTORS)
def test_both_formats_give_the_same_value(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    assert exactly(decode(codec, bytes.fromhex(data))) == exactly(value)
    assert exactly(codec.decode_text(text)) == exactly(value)
    assert codec.binary_results
    assert codec.has_binary


def test_all_types_of_the_module_are_known_here() -> None:
    known = [*INTEGERS, *NAMES, *TEXT_ONLY, *LITERALS_ONLY, "pg_lsn", "refcursor", "cstring"]
    assert sorted(CODECS) == sorted(known)


# xid, cid, xid8


@pytest.mark.parametrize("name", INTEGERS)
@given(data=st.data())
def test_integers_come_back(name: str, data: st.DataObject) -> None:
    codec, value = CODECS[name], data.draw(st.integers(0, INTEGERS[name]))
    assert exactly(round_trip(codec, value)) == exactly(value)
    assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


def test_whatever_has_an_index_is_an_integer() -> None:
    seven = IntEnum("Seven", {"SEVEN": 7}).SEVEN  # type: ignore[attr-defined]
    assert encode(CODECS["xid"], seven) == b"\0\0\0\7"
    assert CODECS["xid"].literal(seven) == CODECS["regclass"].literal(seven) == "7"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("xid", -1, "expected int from 0 to 4294967295, got int -1"),
        ("cid", 2**32, "expected int from 0 to 4294967295, got int 4294967296"),
        ("xid8", 2**64, "expected int from 0 to 18446744073709551615, got int"),
        pytest.param("xid8", 1 << 100_000, "got int of 100001 bits", id="long"),
        ("xid", True, "expected int, got bool; pass int(value)"),
        ("xid", 1.0, "expected int, got float 1.0"),
        ("xid", "1", "expected int, got str"),
        ("pg_lsn", -1, 'str like "16/B374D848", or int from 0 to 18446744073709551615, got int'),
        ("pg_lsn", b"", 'expected str like "16/B374D848", or int, got bytes'),
        ("regclass", 2**32, "expected str, or int (the OID) from 0 to 4294967295, got int"),
        ("regtype", int, "expected str, or int (the OID), got type"),
        ("regtype", False, "expected str, or int (the OID), got bool; pass int(value)"),
    ],
)
def test_other_values_are_no_integers(name: str, value: Any, message: str) -> None:
    assert message in refused(CODECS[name], value)
    assert reason(CODECS[name].literal, value) == refused(CODECS[name], value)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "01",
        "1_0",
        " 1",
        "1\n",
        "\u0661",
        "x",
        "18446744073709551616",
        pytest.param("9" * 9999, id="long"),
    ],
)
def test_malformed_integers_are_refused(name: str, text: str) -> None:
    codec = CODECS[name]
    assert reason(codec.decode_text, text) == f"the server's value is not a valid {name}"
    assert "it has 7 bytes" in reason(decode, codec, bytes(7))


# tid and pg_lsn


@given(block=st.integers(0, UINT32), offset=st.integers(0, 0xFFFF))
def test_a_place_of_a_row_is_the_same_in_both_formats(block: int, offset: int) -> None:
    text = f"({block},{offset})"
    data = block.to_bytes(4, "big") + offset.to_bytes(2, "big")
    assert decode(CODECS["tid"], data) == CODECS["tid"].decode_text(text) == text


@given(number=st.integers(0, UINT64))
def test_a_place_in_the_log_is_the_same_however_it_is_padded(number: int) -> None:
    codec = CODECS["pg_lsn"]
    text = codec.literal(number)
    assert round_trip(codec, number) == codec.decode_text(text) == text
    assert codec.decode_text(f"{number >> 32:X}/{number & UINT32:08X}") == text
    assert f"{int(text.split('/')[0], 16):08X}{int(text.split('/')[1], 16):08X}" == f"{number:016X}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tid", ""),
        ("tid", "0,1"),
        ("tid", "(0,1) "),
        ("tid", "(0, 1)"),
        ("tid", "(00,1)"),
        ("tid", "(-1,1)"),
        ("tid", "(4294967296,1)"),
        ("tid", "(1,65536)"),
        ("tid", "(\u0661,1)"),
        ("pg_lsn", ""),
        ("pg_lsn", "0"),
        ("pg_lsn", "/0"),
        ("pg_lsn", "0/"),
        ("pg_lsn", "0/a"),
        ("pg_lsn", "0/0\n"),
        ("pg_lsn", "0/100000000"),
        ("pg_lsn", "000000000/0"),
        ("pg_lsn", "+1/0"),
    ],
)
def test_malformed_places_are_refused(name: str, text: str) -> None:
    expected = f"the server's value is not a valid {name}"
    assert reason(CODECS[name].decode_text, text) == expected


@pytest.mark.parametrize(
    ("name", "length"), [("tid", 0), ("tid", 5), ("tid", 7), ("pg_lsn", 4), ("pg_lsn", 9)]
)
def test_places_have_one_length(name: str, length: int) -> None:
    assert f"it has {length} bytes" in reason(decode, CODECS[name], bytes(length))


# snapshots


@pytest.mark.parametrize("name", SNAPSHOTS)
@given(
    xmin=st.integers(0, 2**63 - 1),
    xmax=st.integers(0, 2**63 - 1),
    running=st.lists(st.integers(0, 2**63 - 1), max_size=5),
)
def test_snapshots_are_the_same_in_both_formats(
    name: str, xmin: int, xmax: int, running: list[int]
) -> None:
    numbers = (xmin, xmax, *running)
    data = len(running).to_bytes(4, "big") + b"".join(n.to_bytes(8, "big") for n in numbers)
    text = f"{xmin}:{xmax}:{','.join(map(str, running))}"
    assert decode(CODECS[name], data) == CODECS[name].decode_text(text) == text


@pytest.mark.parametrize("name", SNAPSHOTS)
@pytest.mark.parametrize(
    "data",
    [
        "00000001" + "00" * 16,
        "00000000" + "00" * 24,
        "00000001" + "00" * 23,
        "ffffffff" + "00" * 16,
        "00000000" + "80" + "00" * 15,
        "00000000" + "00" * 8 + "ff" * 8,
        "00000001" + "00" * 16 + "ff" * 8,
    ],
)
def test_malformed_snapshots_are_refused(name: str, data: str) -> None:
    expected = f"the server's value is not a valid {name}"
    assert reason(decode, CODECS[name], bytes.fromhex(data)) == expected
    assert "it has 19 bytes" in reason(decode, CODECS[name], bytes(19))


@pytest.mark.parametrize("name", SNAPSHOTS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:2",
        "1:2:,",
        "1:2:1,",
        "1:2: 1",
        "1:2:1\n",
        "01:2:",
        "-1:2:",
        "1:9223372036854775808:",
        "1:2:9223372036854775808",
        "\u0661:2:",
    ],
)
def test_malformed_texts_of_snapshots_are_refused(name: str, text: str) -> None:
    expected = f"the server's value is not a valid {name}"
    assert reason(CODECS[name].decode_text, text) == expected


# names


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_and_parameters_may_be_oids(name: str) -> None:
    codec = CODECS[name]
    assert not codec.binary_results
    assert not codec.has_binary
    assert not codec.takes_str
    assert codec.decode_text("pg_class") == "pg_class"
    assert encode(codec, 1259) == b"\0\0\4\xeb"
    assert codec.literal(1259) == "1259"
    # What is left in a record, where the server cannot be asked for text:
    assert exactly(decode(codec, b"\0\0\4\xeb")) == "str '1259'"
    assert decode(codec, b"\xff" * 4) == "4294967295"
    assert "it has 3 bytes" in reason(decode, codec, bytes(3))


# text


@pytest.mark.parametrize("name", ["refcursor", "cstring"])
@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_text_like_any_other(name: str, value: str) -> None:
    codec = CODECS[name]
    assert codec.takes_str
    assert round_trip(codec, value) == codec.decode_text(codec.literal(value)) == value


@pytest.mark.parametrize("data", [b"", b"\0$", b"\2$"])
def test_jsonpath_has_a_version(data: bytes) -> None:
    expected = "the server's value is not a valid jsonpath"
    assert reason(decode, CODECS["jsonpath"], data) == expected


@pytest.mark.parametrize("name", ["jsonpath", "xml", "refcursor", "cstring"])
def test_text_is_utf8(name: str) -> None:
    assert "not a valid text in UTF-8" in reason(decode, CODECS[name], b"\1\xff")


def test_xml_is_asked_for_as_text_and_read_in_both_formats() -> None:
    codec = CODECS["xml"]
    assert not codec.binary_results
    assert not codec.has_binary
    assert decode(codec, b"<a/>") == codec.decode_text("<a/>") == "<a/>"


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_what_is_text_only_says_so_where_there_is_no_text(name: str) -> None:
    codec = CODECS[name]
    assert not codec.binary_results
    assert not codec.has_binary
    assert codec.decode_text("'a':1 'b':2A") == "'a':1 'b':2A"
    why = reason(decode, codec, b"\0\0\0\0\0\0\0\1")
    assert name in why
    assert "cast it to text, as in x::text" in why


@pytest.mark.parametrize("name", [*TEXT_ONLY, *LITERALS_ONLY])
@pytest.mark.parametrize("value", [1, 1.5, b"x", "x", ["x"], None, object()])
def test_a_parameter_can_only_be_a_literal(name: str, value: Any) -> None:
    codec = CODECS[name]
    expected = LITERALS_ONLY.get(name, "str, PostgreSQL's literal of the type")
    assert not codec.takes_str
    assert refused(codec, value).startswith(f"expected {expected}, got {type(value).__name__}")
    assert reason(codec.literal, value) == refused(codec, value)


def test_money_says_what_to_do_with_numbers() -> None:
    assert "write $1::numeric::money" in refused(CODECS["money"], 5)


# whatever comes


@EACH
@given(data=st.binary(max_size=30))
def test_any_bytes_are_a_value_or_a_data_error(codec: Any, data: bytes) -> None:
    with suppress(DataError):
        value = decode(codec, data)
        assert exactly(codec.decode_text(str(value))) == exactly(value)


@EACH
@given(text=st.text(max_size=30) | st.text("0123456789ABCDEF:,()/", max_size=30))
def test_any_text_is_a_value_or_a_data_error(codec: Any, text: str) -> None:
    with suppress(DataError):
        assert isinstance(codec.decode_text(text), int if codec.name in INTEGERS else str)
