"""hstore: text by text, NULL as a value only, each key once."""

from __future__ import annotations

from collections import UserDict
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.extensions import EXTENSIONS
from tests.pgtypes.helpers import decode, encode, exactly, reason, refused

CODEC = EXTENSIONS["hstore"](70_000, 70_001)
# As hstore_send and hstore_out of PostgreSQL 18 write them.
SENT = {
    "": {},
    '"a"=>"1"': {"a": "1"},
    '"a"=>"1", "b"=>NULL': {"a": "1", "b": None},
    '""=>"", "nul"=>"NULL"': {"": "", "nul": "NULL"},
    '"a"=>"x\\"\\\\y", "k,\\""=>"n\nl"': {"a": 'x"\\y', 'k,"': "n\nl"},
    '"=>"=>", ", "é"=>"\N{PILE OF POO}"': {"=>": ", ", "é": "\N{PILE OF POO}"},
}
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TRICKY = st.text(st.sampled_from('"\\=>, NULa'), max_size=6)


class Colour(StrEnum):
    RED = "red"


class Shouting(str):
    __slots__ = ()

    def encode(self, *_arguments: Any) -> bytes:
        raise AssertionError("this is not for the driver")


@given(st.dictionaries(TEXTS | TRICKY, st.none() | TEXTS | TRICKY))
def test_both_formats_give_the_dict(value: dict[str, str | None]) -> None:
    for got in (decode(CODEC, encode(CODEC, value)), CODEC.decode_text(CODEC.literal(value))):
        assert exactly(got) == exactly(value)


@pytest.mark.parametrize(("text", "value"), SENT.items())
def test_the_servers_text_is_read_and_written(text: str, value: dict[str, str | None]) -> None:
    assert exactly(CODEC.decode_text(text)) == exactly(value)
    assert CODEC.literal(value) == text


def test_the_servers_bytes_are_read_and_written() -> None:
    data = b"\0\0\0\2\0\0\0\1a\0\0\0\0011\0\0\0\1b\xff\xff\xff\xff"
    assert decode(CODEC, data) == {"a": "1", "b": None}
    assert encode(CODEC, {"a": "1", "b": None}) == data
    assert decode(CODEC, bytes(4)) == {}
    assert encode(CODEC, {}) == bytes(4)


@pytest.mark.parametrize(
    "value",
    [UserDict(a="1"), MappingProxyType({"a": "1"}), {Shouting("a"): Shouting("1")}],
)
def test_any_mapping_of_text_is_taken(value: Any) -> None:
    assert encode(CODEC, value) == encode(CODEC, {"a": "1"})
    assert CODEC.literal(value) == '"a"=>"1"'


def test_members_of_a_str_enum_are_text() -> None:
    assert CODEC.literal({Colour.RED: Colour.RED}) == '"red"=>"red"'


def test_a_str_is_a_literal() -> None:
    assert not CODEC.takes_str
    assert CODEC.has_binary


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "expected a dict of str to str or None, got int"),
        ([("a", "secret")], "expected a dict of str to str or None, got list"),
        ({31415: "secret"}, "expected str as a key of hstore, got int"),
        ({None: "secret"}, "expected str as a key of hstore, got NoneType"),
        ({b"secret": "1"}, "expected str as a key of hstore, got bytes"),
        ({"secret": 31415}, "expected str or None as a value of hstore, got int"),
        ({"secret": ["secret"]}, "expected str or None as a value of hstore, got list"),
        ({"se\0cret": "1"}, "a key of hstore: text cannot hold NUL, and there is one at index 2"),
        ({"a": "\ud800"}, "a value of hstore: text cannot hold a lone surrogate"),
    ],
)
def test_others_are_refused_without_showing_them(value: Any, words: str) -> None:
    assert words in refused(CODEC, value)
    assert reason(CODEC.literal, value) == refused(CODEC, value)
    assert "secret" not in refused(CODEC, value)
    assert "31415" not in refused(CODEC, value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\1",
        b"\xff\xff\xff\xff",  # as many pairs as that
        b"\x7f\xff\xff\xff\0\0\0\1a\0\0\0\0011",  # more pairs than bytes
        b"\0\0\0\1\0\0\0\1a\0\0\0\1",  # the value is cut off
        b"\0\0\0\1\0\0\0\5aaaaa",  # there is no value
        b"\0\0\0\1\0\0\0\1a\0\0\0\0011x",  # something follows
        b"\0\0\0\1\xff\xff\xff\xff\0\0\0\0",  # the key is NULL
        b"\0\0\0\1\0\0\0\0\xff\xff\xff\xfe",  # a length below that of NULL
        b"\0\0\0\2\0\0\0\1a\0\0\0\0011\0\0\0\1a\0\0\0\0012",  # a key twice
        b"\0\0\0\1\0\0\0\1\xff\0\0\0\0011",  # no UTF-8
    ],
)
def test_malformed_bytes_are_refused(data: bytes) -> None:
    assert "not a valid" in reason(decode, CODEC, data)


@pytest.mark.parametrize(
    "text",
    [
        "a=>1",
        '"a"',
        '"a"=>',
        '"a"=>"1',
        '"a"=>"1",',
        '"a"=>"1", ',
        '"a"=>"1","b"=>"2"',
        '"a"=>"1", "a"=>"2"',
        ' "a"=>"1"',
        '"a"=>"1" ',
        '"a"=>"1"\n',
        '"a"=>null',
        'NULL=>"1"',
        '"a"=>"\\n"',
        '"a"=>"\\"',
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    assert reason(CODEC.decode_text, text) == "the server's value is not a valid hstore"


@given(
    st.binary(max_size=40)
    | st.lists(
        st.sampled_from([b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\2", b"\xff\xff\xff\xff", b"a", b"b"]),
        max_size=12,
    ).map(b"".join)
)
def test_any_bytes_give_a_dict_or_a_data_error(data: bytes) -> None:
    try:
        value = decode(CODEC, data)
    except DataError:
        return
    assert encode(CODEC, value) == data


@given(
    st.text()
    | st.lists(st.sampled_from(['"a"', '"b"', "=>", ", ", '"', "\\", "NULL", "c"])).map("".join)
)
def test_any_text_gives_a_dict_or_a_data_error(text: str) -> None:
    try:
        value = CODEC.decode_text(text)
    except DataError:
        return
    # Whatever of it could be stored; a server sends no NUL and no surrogates.
    assert all(type(key) is str for key in value)


def test_reading_text_takes_linear_time() -> None:
    assert "not a valid" in reason(CODEC.decode_text, '"' + "a\\\\" * 200_000)
    assert len(CODEC.decode_text('"' + "a\\\\" * 200_000 + '"=>NULL')) == 1
