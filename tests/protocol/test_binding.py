"""Generated Bind messages: what the plain encoder says, they say."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import Error
from pgwire.pgtypes import Json, TypeRegistry
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.pgtypes.generating import OTHER, TEXT
from pgwire.pgtypes.registration import Registrations, registration
from pgwire.protocol import frontend
from pgwire.protocol.binding import bind_source, can_generate
from pgwire.protocol.statement import Statement

REGISTRY = TypeRegistry()
# bool, int8, int2, int4, text, oid, float8, varchar: packed as they are
# date, time, timestamp, timestamptz: packed from a number
# bytea, timetz, numeric, uuid, jsonb, int4[], inet: what they are encoded to
OIDS = [16, 20, 21, 23, 25, 26, 701, 1043, 1082, 1083, 1114, 1184]
OIDS += [17, 1266, 1700, 2950, 3802, 1007, 869]


class Color(Enum):
    RED = "red"


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-4, 4),
    st.floats(),
    st.text(),
    st.sampled_from(["", "nul\0", "\ud800", "x" * 100]),
    st.sampled_from(
        [
            *(dt.date(2020, 1, 1), dt.time(1, 2), dt.time(1, tzinfo=dt.UTC)),
            *(dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC), b"x", [1, None]),
            *(Decimal("1.5"), UUID(int=5), {"a": 1}, [1, "2"], ip_address("1.2.3.4"), Color.RED),
            *(Json(None), Path("x"), b"x" * 1_000_001),
        ]
    ),
)


def outcome(bind: Any, params: Any) -> Any:
    try:
        return bind(params)
    except (Error, OverflowError) as error:
        return type(error), str(error)


def statement(oids: list[int]) -> Statement:
    made = Statement(b"s\0", "select", tuple(oids), (), REGISTRY)
    made.generate()
    return made


@given(st.lists(st.sampled_from(OIDS), max_size=6), st.data())
def test_the_same_message_or_the_same_error(oids: list[int], data: st.DataObject) -> None:
    own = statement(oids)
    count = data.draw(st.sampled_from([len(oids)] * 9 + [len(oids) + 1]))
    params = data.draw(st.lists(VALUES, min_size=count, max_size=count))
    plain = outcome(own.bind, params)
    for bind, behind in (
        (own.bind_query, frontend.EXECUTE + frontend.SYNC),
        (own.bind_record, frontend.EXECUTE),
    ):
        expected = plain + behind if isinstance(plain, bytes) else plain
        assert outcome(bind, params) == expected
        assert outcome(bind, tuple(params)) == expected


FITTING = {
    16: st.booleans(),
    20: st.integers(-(2**63), 2**63 - 1),
    21: st.integers(-(2**15), 2**15 - 1),
    23: st.integers(-(2**31), 2**31 - 1),
    25: st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    26: st.integers(0, 2**32 - 1),
    701: st.floats(),
    1043: st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    1082: st.dates(),
    1083: st.times(),
    1114: st.datetimes(),
    1184: st.datetimes(timezones=st.just(dt.UTC)),
    17: st.binary(),
    1266: st.times(timezones=st.just(dt.UTC)),
    1700: st.decimals(allow_nan=False, places=2),
    2950: st.uuids(),
    3802: st.dictionaries(st.text(), st.integers()),
    1007: st.lists(st.integers(-4, 4)),
    869: st.ip_addresses(),
}


@given(st.lists(st.sampled_from(OIDS), min_size=1, max_size=6), st.data())
def test_values_that_fit(oids: list[int], data: st.DataObject) -> None:
    own = statement(oids)
    params = [data.draw(FITTING[oid]) for oid in oids]
    assert own.bind_query(params) == own.bind(params) + frontend.EXECUTE + frontend.SYNC


def test_a_long_text_goes_the_plain_way() -> None:
    own = statement([25, 25])
    params = ["é" * 1_000_000, "x"]
    assert own.bind_query(params) == own.bind(params) + frontend.EXECUTE + frontend.SYNC


@pytest.mark.parametrize(
    ("kinds", "possible"),
    [([], False), (["i"], True), (["i", OTHER], True), (["i"] * 33, False), (["q<", TEXT], True)],
)
def test_what_can_be_generated(kinds: list[str], possible: bool) -> None:
    assert can_generate(kinds) is possible


def test_the_source_is_made_for_eyes() -> None:
    source, codes = bind_source(["i", "text", "q"])
    assert codes == ["ci{head}siii", "iq{tail}s"]
    assert source == (
        "def bind(params):\n"
        "    if len(params) == 3:\n"
        "        value_0, value_1, value_2, = params\n"
        "        if value_0.__class__ is int and value_1.__class__ is str"
        " and value_2.__class__ is int:\n"
        "            try:\n"
        "                text_1 = value_1.encode()\n"
        "                length_1 = len(text_1)\n"
        "                if 0 not in text_1 and length_1 < 30000000:\n"
        '                    return b"".join((pack_0(b"B", length + length_1, head, 4, value_0,'
        " length_1), text_1, pack_1(8, value_2, tail)))\n"
        "            except (StructError, OverflowError, ValueError, DataError):\n"
        "                pass\n"
        "    return plain(params)\n"
    )
    assert bind_source(["?", "d"])[1] == ["{head}si?id{tail}s"]


class Words(str):
    """A `str` like any other, with an attribute."""

    n = 5


@pytest.mark.parametrize("name", ["uuid", "bytea", "pair", "pair of a class"])
def test_what_is_a_str_is_a_literal_whatever_else_it_is(name: str) -> None:
    """Generated code asked for the class `str` alone, and then for bytes."""
    registrations = Registrations()
    for of_bytes in ("uuid", "bytea"):
        given = registration(of_bytes, None, None, str.encode, "binary")
        registrations.add(of_bytes, given)
    registry = TypeRegistry(registrations=registrations)
    pair = TypeInfo(90_000, "public", "pair", "c", attribute_names=("n",), attribute_types=(23,))
    registry.catalog.learn([pair])
    if name == "pair of a class":
        registrations.add("pair", registration("pair", Words, None, None, "text"))
    oid = {"uuid": 2950, "bytea": 17}.get(name, 90_000)
    statement = Statement(b"s\0", "select $1", (oid,), (), registry)
    value = Words("(7)")
    message = statement.bind_query([value])
    assert b"\0\0\0\3(7)" in message
    statement.generate()
    assert statement.bind_query([value]) == message


def test_many_parameters_go_the_plain_way() -> None:
    own = statement([23] * 33)
    params = list(range(33))
    assert own.bind_query(params) == own.bind(params) + frontend.EXECUTE + frontend.SYNC


@pytest.mark.parametrize(
    ("oid", "value", "copies"),
    [(17, bytes(2_000_000), 1), (25, "x" * 2_000_000, 2), (3802, "1" + " " * 2_000_000, 2)],
)
def test_a_large_value_is_copied_into_its_message_and_no_more(
    oid: int, value: Any, copies: int
) -> None:
    """By generated code, and by the plain way, which a `str` for jsonb takes."""
    own = statement([oid])
    for _ in range(2):
        tracemalloc.start()
        message = own.bind_query([value])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(message) > 2_000_000
        assert peak < copies * 2_000_000 + 100_000
        own.generate()
