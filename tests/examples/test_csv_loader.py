"""examples/csv_loader.py loads all of a file or nothing, and says which field is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.examples.support import environment
from tests.pool.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = "examples/csv_loader.py"
HEADER = "id,what,price,since,sold,at\n"


@pytest.fixture
def conn(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn) as conn:
        conn.script("""
            drop table if exists csv_loaded;
            create table csv_loaded (
                at timestamptz, id int primary key, what text, price numeric check (price > 0),
                since date, sold boolean, place point);
        """)
        yield conn
        conn.query("drop table csv_loaded")


def load(dsn: str, path: Path, text: str, *, table: str = "csv_loaded") -> tuple[int, str, str]:
    """Its exit status, what it printed, and what stands on standard error."""
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, table, str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment(dsn),
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_it_loads_typed_values(conn: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    text = HEADER + ('1,"a ""b"",\nc",1.50,2024-02-29,yes,2024-02-29T12:00:00+01:00\n2,,,,NO,\n')
    status, out, shown = load(dsn, tmp_path / "some.csv", text)
    assert (status, out) == (0, "2 records loaded\n")
    assert re.search(r"100%  2 records", shown)
    found = conn.query("select id, what, price, since, sold, at from csv_loaded order by id").rows
    at = datetime(2024, 2, 29, 11, tzinfo=UTC)
    assert found == [
        (1, 'a "b",\nc', Decimal("1.50"), date(2024, 2, 29), True, at),
        (2, None, None, None, False, None),
    ]


def test_what_is_no_type_of_ours_is_the_servers_to_read(
    conn: pgwire.Connection, dsn: str, tmp_path: Path
) -> None:
    assert load(dsn, tmp_path / "some.csv", 'place,id\n"(1,2)",7\n')[0] == 0
    assert conn.query("select place[0] from csv_loaded where id = 7").scalar() == 1


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (
            '1,"a\nb",1,,,\n2,c,cheap,,,\n',
            "record 2 (up to line 4), column 'price': 'cheap' is no numeric",
        ),
        ("1,a,1,,maybe,\n", "record 1 (up to line 2), column 'sold': 'maybe' is no boolean"),
        ("1,a,1,,,\n1234567890123,a,1,,,\n", "record 2, column 'id', DataError: column 'id'"),
        ("1,a,1,,,\n2,a\n", "record 2, ProgrammingError: 2 values for 6 columns"),
        ("1,a,1,,,\n2,a,-1,,,\n", "record 2, CheckViolation: new row for relation"),
        ("1,a,1,,,\n2,a,1,,,\n1,b,1,,,\n", "record 3, UniqueViolation: duplicate key"),
    ],
)
def test_an_error_names_record_and_column(
    conn: pgwire.Connection, dsn: str, tmp_path: Path, lines: str, complaint: str
) -> None:
    status, out, shown = load(dsn, tmp_path / "some.csv", HEADER + lines)
    assert (status, out) == (1, "")
    assert shown.lstrip("\n").rpartition("records\n")[2].startswith(complaint)
    assert conn.query("select count(*) from csv_loaded").scalar() == 0


def test_the_servers_own_column(conn: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    status, _, shown = load(dsn, tmp_path / "some.csv", "id,place\n1,here\n")
    assert status == 1
    assert "record 1, column 'place', InvalidTextRepresentation: invalid input" in shown


def test_mistakes(conn: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    assert load(dsn, path, "id,size\n")[2] == "the table 'csv_loaded' has no column 'size'\n"
    assert load(dsn, path, "id\n", table="no where")[2].startswith("UndefinedTable: ")
    assert load(dsn, path, "id\n")[:2] == (0, "0 records loaded\n")
