"""copy_records on a real server: values of every type, and whom an error names."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect


@pytest.fixture
def table(conn: pgwire.Connection) -> pgwire.Connection:
    conn.query("create temp table copied (id int primary key, name text, at timestamptz)")
    return conn


def rows(conn: pgwire.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.query("select * from copied order by id")]


RECORDS = [(n, f"näme {n}", datetime(2024, 2, 29, 12, n, tzinfo=UTC)) for n in range(60)]


def test_what_goes_in_comes_out(table: pgwire.Connection) -> None:
    assert table.copy_records("copied", RECORDS) == 60
    assert rows(table) == RECORDS


def test_a_lot(table: pgwire.Connection) -> None:
    assert table.copy_records("copied", ((n, "x" * (n % 50), None) for n in range(100_000))) == 1e5
    total = table.query("select count(*), sum(length(name)) from copied").one()
    assert total == (100_000, sum(n % 50 for n in range(100_000)))


def test_some_columns_in_another_order_and_rows_as_records(table: pgwire.Connection) -> None:
    found = table.query("select 'a' as name, 1 as id union all select 'b', 2").rows
    assert table.copy_records("copied", found, columns=("name", "id")) == 2
    assert rows(table) == [(1, "a", None), (2, "b", None)]


def test_names_that_must_be_quoted(conn: pgwire.Connection) -> None:
    conn.script(
        'drop schema if exists "Odd.One" cascade; create schema "Odd.One"; '
        'create table "Odd.One"."ta""ble" ("Se lect" int, "b""ä" text)'
    )
    try:
        assert conn.copy_records('ta"ble', [(1, "a")], schema="Odd.One") == 1
        columns = ['b"ä', "Se lect"]
        assert conn.copy_records('ta"ble', [("b", 2)], columns=columns, schema="Odd.One") == 1
        found = conn.query('select * from "Odd.One"."ta""ble" order by 1')
        assert [tuple(row) for row in found] == [(1, "a"), (2, "b")]
        with pytest.raises(pgwire.UndefinedTable):
            conn.copy_records('ta"ble', [(1, "a")])
    finally:
        conn.script('drop schema "Odd.One" cascade')


def test_the_insertable_columns(conn: pgwire.Connection) -> None:
    """Generated ones take no data; identities do, and dropped columns are gone."""
    conn.script(
        "create temp table copied (id int generated always as identity, gone int, a int, "
        "twice int generated always as (a * 2) stored, b text default 'x'); "
        "alter table copied drop column gone"
    )
    assert conn.copy_records("copied", [(7, 1, "a"), (8, 2, None)]) == 2
    assert rows(conn) == [(7, 1, 2, "a"), (8, 2, 4, None)]
    assert conn.copy_records("copied", [(3,)], columns=["a"]) == 1
    assert rows(conn)[0] == (1, 3, 6, "x")
    with pytest.raises(pgwire.ProgrammingError, match="generated"):
        conn.copy_records("copied", [(3,)], columns=["twice"])


def test_a_view_with_a_trigger_and_a_partitioned_table(conn: pgwire.Connection) -> None:
    conn.script(
        "create temp table parts (a int, b text) partition by list (a); "
        "create temp table part_1 partition of parts for values in (1); "
        "create temp table part_2 partition of parts for values in (2)"
    )
    assert conn.copy_records("parts", [(1, "a"), (2, "b"), (1, "c")]) == 3
    assert conn.query("select b from part_1 order by b").scalars() == ["a", "c"]
    with pytest.raises(pgwire.IntegrityError) as caught:
        conn.copy_records("parts", [(1, "a"), (3, "b")])
    assert caught.value.record_index == 1
    conn.query("create temp view looked_at as select b, a from parts")
    with pytest.raises(pgwire.Error, match="cannot copy to view"):
        conn.copy_records("looked_at", [("a", 1)])


def test_types_of_the_user(conn: pgwire.Connection, connect: Connect, dsn: str) -> None:
    conn.script(
        "drop type if exists copied_pair; drop type if exists copied_mood; "
        "create type copied_mood as enum ('sad', 'fine'); "
        "create type copied_pair as (a int, moods copied_mood[])"
    )
    try:
        other = connect(dsn)
        other.script(
            "create domain pg_temp.positive as int check (value > 0); create temp table copied "
            "(id positive, mood copied_mood, pair copied_pair, moods copied_mood[], net inet)"
        )
        record = (1, "sad", (2, ["fine", None]), ["sad"], "10.0.0.0/8")
        assert other.copy_records("copied", [record, (2, None, None, [], None)]) == 2
        found = other.query("select id, mood, pair, moods, net::text from copied order by id")
        assert tuple(found.rows[0]) == record
        assert tuple(found.rows[1]) == (2, None, None, [], None)
        columns = ["id", "mood", "pair"]
        records: list[tuple[Any, ...]] = [(3, "fine", (1, [])), (4, "sad", None)]
        assert other.copy_records("copied", records, columns=columns) == 2
        with pytest.raises(pgwire.CheckViolation):
            other.copy_records("copied", [(0,)], columns=["id"])
        with pytest.raises(pgwire.DataError):
            other.copy_records("copied", [(1, "merry")], columns=["id", "mood"])
        other.close()
    finally:
        conn.script("drop type copied_pair; drop type copied_mood")


def test_a_column_that_has_become_another(table: pgwire.Connection) -> None:
    """int4 and float4 have the same length: nothing may be taken for what it is not."""
    assert table.copy_records("copied", [(1, "a", None)]) == 1
    table.script("alter table copied alter id type float4")
    assert table.copy_records("copied", [(2, "b", None)]) == 1
    assert table.query("select id from copied order by id").scalars() == [1.0, 2.0]


class TestText:
    """What only PostgreSQL itself can read."""

    def test_literals(self, table: pgwire.Connection) -> None:
        records = [("1", "a\tb\\c\nd\re", "2024-02-29 12:00+00"), ("2", "\\N", None), (3, "", None)]
        assert table.copy_records("copied", records) == 3
        at = datetime(2024, 2, 29, 12, tzinfo=UTC)
        assert rows(table) == [(1, "a\tb\\c\nd\re", at), (2, "\\N", None), (3, "", None)]

    def test_from_a_later_record_on(self, table: pgwire.Connection) -> None:
        records = (((n if n < 20_000 else str(n)), "x", None) for n in range(25_000))
        assert table.copy_records("copied", records) == 25_000
        assert table.query("select sum(id) from copied").scalar() == sum(range(25_000))

    def test_both_parts_are_undone(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.DataError) as caught:
            table.copy_records("copied", [(1, "a", None), ("2", "b", None), ("x", "c", None)])
        assert caught.value.record_index == 2
        assert rows(table) == []

    def test_types_that_are_always_text(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table copied (id int, net inet, flags bit varying)")
        records = [(1, "10.0.0.0/8", "0101"), (2, None, None)]
        assert conn.copy_records("copied", records) == 2
        assert conn.query("select net::text from copied order by id").scalars()[0] == "10.0.0.0/8"


class TestErrors:
    @pytest.mark.parametrize(
        ("bad", "error", "index"),
        [
            ((1, "twice", None), pgwire.UniqueViolation, 2),
            ((2.5, "x", None), pgwire.DataError, 2),
            ((2, "x"), pgwire.ProgrammingError, 2),
            ("abc", pgwire.ProgrammingError, 2),
            ((2, 5, None), pgwire.DataError, 2),
            ((2, "x", datetime(2024, 1, 1)), pgwire.DataError, 2),
        ],
    )
    def test_one_that_fails_undoes_them_all(
        self, table: pgwire.Connection, bad: Any, error: type[pgwire.Error], index: int
    ) -> None:
        with pytest.raises(error) as caught:
            table.copy_records("copied", [(0, "a", None), (1, "b", None), bad, (9, "c", None)])
        assert caught.value.record_index == index
        assert f"in record {index}" in caught.value.__notes__
        assert rows(table) == []

    @pytest.mark.parametrize(
        ("records", "index", "column"),
        [
            ([(1, "a", None), (2.5, "b", None)], 1, "id"),
            ([(1, "a", None), (2, "b\0", None)], 1, "name"),
            ([(1, "a", "soon")], 0, "at"),  # the server's to judge
            ([(1, "a", None), (2, "b", "soon")], 1, "at"),
            ([(1, "a", None), (1, "b", None)], 1, None),  # of no column
        ],
    )
    def test_the_column_is_named(
        self, table: pgwire.Connection, records: Any, index: int, column: str | None
    ) -> None:
        with pytest.raises(pgwire.Error) as caught:
            table.copy_records("copied", records)
        assert (caught.value.record_index, caught.value.record_column) == (index, column)
        said = f"{caught.value} {caught.value.__notes__}"
        assert column is None or column in said

    def test_where_the_server_found_it_is_kept(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.UniqueViolation) as caught:
            table.copy_records("copied", ((n % 30_000, "x", None) for n in count()))
        assert caught.value.where == "COPY copied, line 30001"
        assert caught.value.record_index == 30_000
        assert caught.value.constraint == "copied_pkey"

    @pytest.mark.parametrize("after", [0, 1, 20_000])
    def test_a_raising_source_undoes_them_all(self, table: pgwire.Connection, after: int) -> None:
        def source() -> Iterator[tuple[Any, ...]]:
            for n in range(after):
                yield n, "x", None
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            table.copy_records("copied", source())
        assert rows(table) == []

    def test_an_endless_source_is_stopped_by_the_timeout(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.QueryTimeout):
            table.copy_records("copied", ((n, "x", None) for n in count()), timeout=0.2)
        assert rows(table) == []

    def test_in_a_transaction_that_has_failed(self, table: pgwire.Connection) -> None:
        table.script("begin")
        with pytest.raises(pgwire.DataError):
            table.copy_records("copied", [(2.5, "x", None)])
        with pytest.raises(pgwire.InFailedSqlTransaction):
            table.copy_records("copied", [(1, "x", None)])
        table.script("rollback")
        assert rows(table) == []

    def test_what_cannot_be(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.UndefinedColumn):
            table.copy_records("copied", [(1,)], columns=["nothing"])
        with pytest.raises(pgwire.UndefinedTable):
            table.copy_records("nowhere", [(1,)])
        with pytest.raises(pgwire.ProgrammingError, match="sequence of names"):
            table.copy_records("copied", [(1,)], columns="id")
        with pytest.raises(pgwire.DuplicateColumn):
            table.copy_records("copied", [(1, 1)], columns=["id", "id"])
        assert rows(table) == []
