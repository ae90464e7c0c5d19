"""Every type of a stock server and its arrays by COPY: what a query makes of it, COPY does too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import pgwire
from tests.types.test_round_trips import arrays
from tests.types.values import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

patient = settings(suppress_health_check=list(HealthCheck), max_examples=15)
# No column can be of these: they are for parameters, or have no values of their own.
_NO_COLUMNS = {"record", "anyarray", "cstring", "void", "unknown"}


@pytest.fixture(scope="module")
def conn(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn, settings={"lc_monetary": "C"}, prepare=False) as conn:
        yield conn


@pytest.mark.parametrize("name", [name for name in CASES if name not in _NO_COLUMNS])
@patient
@given(data=st.data())
def test_values_and_arrays(conn: pgwire.Connection, name: str, data: st.DataObject) -> None:
    case = CASES[name]
    cast = case.cast or name
    values: list[Any] = data.draw(st.lists(st.none() | case.values, min_size=1, max_size=3))
    array = data.draw(st.none() | arrays(name))
    with conn.transaction() as transaction:
        conn.script(f"create temp table copied (n serial, one {cast}, many {cast}[])")
        records = [(value, array) for value in values]
        assert conn.copy_records("copied", records, columns=["one", "many"]) == len(records)
        found = conn.query("select one::text, many::text from copied order by n").rows
        for row, record in zip(found, records, strict=True):
            for text, value, of in zip(row, record, (cast, f"{cast}[]"), strict=True):
                if value is None:
                    assert text is None
                else:
                    assert text == conn.query(f"select $1::{of}::text", [value]).scalar()
        transaction.rollback()
