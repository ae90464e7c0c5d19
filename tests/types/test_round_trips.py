"""Every type of a stock server and its arrays: there and back, with the server's text as judge.

A value is sent, and read in binary. The server's own text of it must then give the same value,
whether that text is read by the server and sent in binary, or read here; and the value that was
read must have the same text when it is sent again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import pgwire
from tests.pgtypes.helpers import exactly
from tests.types.values import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

each_type = pytest.mark.parametrize("name", CASES)
patient = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def conn(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn, settings={"lc_monetary": "C"}) as conn:
        yield conn


def read_back(conn: pgwire.Connection, cast: str, value: Any) -> Any:
    """What comes back of a value, having looked at it from all sides."""
    one = conn.query(f"select $1::{cast}, $1::{cast}::text", [value]).one()
    got, text = one
    again = conn.query(f"select ($1::text)::{cast}", [text]).scalar()
    (result,) = conn.script(f"select {pgwire.quote_literal(text)}::{cast}")
    assert exactly(got) == exactly(again) == exactly(result.scalar())
    sent = pgwire.Json(got) if cast in ("json", "jsonb") else got
    assert conn.query(f"select $1::{cast}::text", [sent]).scalar() == text
    return got


@each_type
def test_null(conn: pgwire.Connection, name: str) -> None:
    cast = CASES[name].cast or name
    sql = f"select $1::{cast}, $2::{cast}[], $3::int"
    assert conn.query(sql, [None, None, 5]).one() == (None, None, 5)
    assert conn.query_many(sql, [[None, None, 5]] * 2).rows == [(None, None, 5)] * 2
    conn.query("drop table if exists pg_temp.nulls")
    conn.query(f"create temp table nulls (a {cast}, b {cast}[], c int)")
    conn.copy_records("nulls", [(None, None, 5), (None, None, None)])
    assert conn.query("table nulls").rows == [(None, None, 5), (None, None, None)]


@each_type
@patient
@given(data=st.data())
def test_values(conn: pgwire.Connection, name: str, data: st.DataObject) -> None:
    case = CASES[name]
    value = data.draw(case.values)
    got = read_back(conn, case.cast or name, value)
    if case.as_sent:
        assert exactly(got) == exactly(value)


LENGTHS = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)


@cache
def of_lengths(name: str, lengths: tuple[int, ...]) -> st.SearchStrategy[Any]:
    """Strategies are kept: to make one anew takes as long as some values of it."""
    nested: st.SearchStrategy[Any] = CASES[name].values | st.none()
    for length in reversed(lengths):
        nested = st.lists(nested, min_size=length, max_size=length)
    return nested | st.just([])


@cache
def lower_bounds(dimensions: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(-3, 3), min_size=dimensions, max_size=dimensions)


@cache
@st.composite
def arrays(draw: st.DrawFn, name: str) -> Any:
    """Arrays of one to three dimensions, with NULLs, and sometimes with other lower bounds."""
    lengths = draw(LENGTHS)
    array: Any = draw(of_lengths(name, lengths))
    if array and draw(st.booleans()):
        bounds = draw(lower_bounds(len(lengths)))
        if set(bounds) != {1}:
            return pgwire.Array(array, bounds)
    return array


@each_type
@patient
@given(data=st.data())
def test_arrays(conn: pgwire.Connection, name: str, data: st.DataObject) -> None:
    case = CASES[name]
    cast = f"{case.cast or name}[]"
    value = data.draw(arrays(name))
    one = conn.query(f"select $1::{cast}, $1::{cast}::text", [value]).one()
    got, text = one
    again = conn.query(f"select ($1::text)::{cast}", [text]).scalar()
    (result,) = conn.script(f"select {pgwire.quote_literal(text)}::{cast}")
    assert exactly(got) == exactly(again) == exactly(result.scalar())
    if name not in ("json", "jsonb"):  # where a list is a dimension
        assert conn.query(f"select $1::{cast}::text", [got]).scalar() == text
    if case.as_sent:
        assert exactly(got) == exactly(value)
