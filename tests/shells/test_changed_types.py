"""Types that are altered while connections know them, and procedures that take new types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from tests.shells.conftest import Connect

SETUP = """
    drop schema if exists changed_types cascade;
    create schema changed_types;
    set search_path to changed_types;
    create type mood as enum ('sad', 'fine');
    create type pair as (a int4, b int4);
    create table log (m mood);
    create procedure note(m mood, inout count int default 0) language plpgsql as $$
    begin
        insert into log values (m);
        commit;
        insert into log values (m);
        count := 2;
    end $$;
"""
PATH = "-csearch_path=changed_types"


@pytest.fixture
def conn(connect: Connect) -> pgwire.Connection:
    connect().script(SETUP)
    return connect(options=PATH)


def pair_of(conn: pgwire.Connection, value: Any, sql: str = "select $1::pair") -> Any:
    return conn.query(sql, [value]).scalar()


def test_a_procedure_that_commits_may_take_a_type_that_is_met_for_the_first_time(
    conn: pgwire.Connection,
) -> None:
    for _ in range(2):
        assert conn.query("/* notes */ call note($1)", ["sad"]).scalar() == 2
        conn.refresh_types()
    assert conn.query("select count(*) from log").scalar() == 4


def test_an_attribute_that_gets_another_type(conn: pgwire.Connection, connect: Connect) -> None:
    other = connect(options=PATH)
    assert pair_of(conn, (1, 2)) == (1, 2)
    for kind, b in (("int8", 2), ("text", "2"), ("int4", 2), ("numeric", 2), ("int8", 2)):
        other.script(f"alter type pair alter attribute b type {kind}")
        assert pair_of(conn, (1, b)) == (1, b)
        # The type may be known from before, the statement not.
        assert pair_of(conn, (1, b), f"select $1::pair -- {kind}") == (1, b)


def test_an_attribute_more_or_less(conn: pgwire.Connection, connect: Connect) -> None:
    other = connect(options=PATH)
    assert pair_of(conn, (1, 2)) == (1, 2)
    for number in range(3):
        other.script("alter type pair add attribute c text")
        assert pair_of(conn, (1, 2, "x"), f"select $1::pair -- {number}") == (1, 2, "x")
        assert conn.script("select (1, 2, 'x')::pair")[0].scalar().c == "x"
        other.script("alter type pair drop attribute c")
        assert conn.script("select (1, 2)::pair")[0].scalar() == (1, 2)
        assert pair_of(conn, (1, 2), "select ($1::pair)") == (1, 2)


def test_a_type_that_is_altered_by_what_is_undone(conn: pgwire.Connection) -> None:
    def alter_and_fail() -> None:
        with conn.transaction():
            conn.script("alter type pair add attribute c text")
            assert pair_of(conn, (1, 2, "x"), "select $1::pair as p") == (1, 2, "x")
            raise LookupError

    assert pair_of(conn, (1, 2)) == (1, 2)
    for _ in range(2):
        with pytest.raises(LookupError):
            alter_and_fail()
        conn.refresh_types()
    with pytest.raises(LookupError):
        alter_and_fail()
    assert pair_of(conn, (1, 2), "select $1::pair as another") == (1, 2)


def test_in_a_transaction_the_second_time(conn: pgwire.Connection, connect: Connect) -> None:
    assert pair_of(conn, (1, 2)) == (1, 2)
    connect(options=PATH).script("alter type pair add attribute c text")
    with conn.transaction(), pytest.raises(pgwire.DataError):
        pair_of(conn, (1, 2, "x"))
    with conn.transaction():
        assert pair_of(conn, (1, 2, "x")) == (1, 2, "x")


STATEMENTS = [
    ("select $1::mood", "sad"),
    ("insert into log values ($1) returning m", "sad"),
    ("select m from log where m = any ($1)", ["sad"]),
    ("select coalesce(m, $1) from log", "sad"),
    ("select ($1::pair).a", (1, 2)),
]


@pytest.mark.parametrize(("sql", "value"), STATEMENTS, ids=[sql for sql, _ in STATEMENTS])
def test_a_search_path_that_leads_to_other_types(
    conn: pgwire.Connection, connect: Connect, sql: str, value: Any
) -> None:
    """As where each customer has a schema. A prepared statement's parameters keep their types."""
    connect().script(SETUP.replace("changed_types", "changed_types_too"))
    try:
        for path in ("changed_types", "changed_types_too") * 2:
            conn.query(f"set search_path = {path}")
            conn.query("insert into log values ('sad')")
            assert conn.query(sql, [value]).rows
    finally:
        connect().query("drop schema changed_types_too cascade")


@pytest.mark.parametrize(
    "sql", ["insert into sums values ($1) returning n", "select n from sums where n = $1"]
)
def test_a_column_that_gets_another_type(
    conn: pgwire.Connection, connect: Connect, sql: str
) -> None:
    conn.script("create table sums (n int); insert into sums values (1)")
    assert conn.query(sql, [1]).scalar() == 1
    connect(options=PATH).script("alter table sums alter n type text")
    for _ in range(2):
        with pytest.raises(pgwire.DataError, match=r"\$1 \(text\): expected str, got int"):
            conn.query(sql, [1])
        assert conn.query(sql, ["1"]).scalar() == "1"


def test_a_plan_that_the_server_takes_for_good(conn: pgwire.Connection, connect: Connect) -> None:
    """Another connection knows of the change, this one's values are right, its plan is not."""
    for _ in range(10):  # then the plan is the same for all values
        assert pair_of(conn, (1, 2), "select ($1::pair).b") == 2
    connect(options=PATH).script("alter type pair alter attribute b type int8")
    assert pair_of(conn, (1, 2)) == (1, 2)
    with pytest.raises(pgwire.errors.DatatypeMismatch):
        pair_of(conn, (1, 2), "select ($1::pair).b")
    assert pair_of(conn, (1, 2), "select ($1::pair).b") == 2


def test_a_plan_with_a_type_that_was_made_anew(conn: pgwire.Connection, connect: Connect) -> None:
    """The server takes it for good as well."""
    other = connect(options=PATH)
    sql = "select row('sad'::mood)"
    for _ in range(2):
        assert conn.query(sql).scalar() == ("sad",)
        other.script("drop type mood cascade; create type mood as enum ('sad')")
        with pytest.raises(pgwire.PostgresError, match="cache lookup failed for type"):
            conn.query(sql)
    assert conn.query(sql).scalar() == ("sad",)


def test_a_domain_that_was_made_anew(conn: pgwire.Connection, connect: Connect) -> None:
    other = connect(options=PATH)
    other.script("create domain total as int")
    for _ in range(3):
        assert conn.query("select 5::total, $1::total", [6]).one() == (5, 6)
        assert conn.query("select 5::total").scalar() == 5
        other.script("drop domain total; create domain total as int")


def test_many_records_go_the_second_time(conn: pgwire.Connection, connect: Connect) -> None:
    records = [[(1, 2)], [(3, 4)]]
    assert conn.query_many("select $1::pair", records).scalars() == [(1, 2), (3, 4)]
    connect(options=PATH).script("alter type pair alter attribute b type int8")
    with pytest.raises(pgwire.errors.DatatypeMismatch):
        conn.query_many("select $1::pair", records)
    assert conn.query_many("select $1::pair", records).scalars() == [(1, 2), (3, 4)]


def test_records_that_are_copied(conn: pgwire.Connection, connect: Connect) -> None:
    """They did not fit the first time, and what an iterator had given was gone."""
    other = connect(options=PATH)
    other.script("create table pairs (p pair)")
    assert conn.copy_records("pairs", [[(1, 2)]]) == 1
    other.script("alter type pair add attribute c text cascade")
    wider: list[list[Any]] = [[(1, 2, "x")], [(3, 4, None)]]
    assert conn.copy_records("pairs", iter(wider)) == 2
    other.script("alter type pair drop attribute c cascade")
    with conn.transaction():
        assert conn.copy_records("pairs", [[(5, 6)]]) == 1
    assert conn.query("select (p).b from pairs order by 1").scalars() == [2, 2, 4, 6]


def test_records_that_only_the_server_finds_wrong_go_the_second_time(
    conn: pgwire.Connection, connect: Connect
) -> None:
    """They never did."""
    other = connect(options=PATH)
    other.script("create table pairs (p pair)")
    assert conn.copy_records("pairs", [[(1, 2)]]) == 1
    other.script("drop table pairs; alter type pair alter attribute b type int8")
    other.script("create table pairs (p pair)")
    with pytest.raises(pgwire.errors.DatatypeMismatch):
        conn.copy_records("pairs", [[(1, 2)]])
    assert conn.copy_records("pairs", [[(1, 2)]]) == 1


def test_a_row_is_taken_by_its_names(conn: pgwire.Connection) -> None:
    turned = conn.query("select 2 as b, 1 as a").one()
    assert pair_of(conn, turned) == (1, 2)
    assert conn.query("select $1::pair[]", [[turned]]).scalar() == [(1, 2)]
    assert conn.query("select $1::pair", [conn.query("select 1, 2").one()]).scalar() == (1, 2)
