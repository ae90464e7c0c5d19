"""All types that a stock server has, as its own catalogue lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pgtypes import TypeRegistry
from tests.pgtypes.helpers import exactly
from tests.types.values import CASES, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def conn(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn) as conn:
        yield conn


def stock_types(conn: pgwire.Connection) -> list[Any]:
    """What initdb has made, without arrays, and without the row types of tables."""
    return conn.query(
        "select oid, typname::text as name, typarray as array_oid, typtype::text as kind,"
        " typdelim::text as delimiter from pg_type"
        " where oid < 16384 and typtype <> 'c' and not exists"
        " (select from pg_type e where e.typarray = pg_type.oid) order by oid"
    ).rows


def test_every_type_has_values_or_a_reason(conn: pgwire.Connection) -> None:
    """A type of a new server fails here until it has been seen to."""
    domains = {row.name for row in stock_types(conn) if row.kind == "d"}
    names = {row.name for row in stock_types(conn)} - domains
    assert names <= CASES.keys() | REASONS.keys()
    assert not CASES.keys() & REASONS.keys()
    assert domains == {  # of the information schema; read below
        *("cardinal_number", "character_data", "sql_identifier", "time_stamp", "yes_or_no")
    }


def test_the_built_in_types_are_what_the_catalogue_says(conn: pgwire.Connection) -> None:
    registry = TypeRegistry()
    for row in stock_types(conn):
        codec = registry.known(row.oid)
        if codec is None:
            assert REASONS.get(row.name, "pseudo").partition(":")[0].endswith("pseudo-type") or (
                row.kind == "d"
            )
            continue
        assert (codec.oid, codec.name, codec.array_oid) == (row.oid, row.name, row.array_oid)
        assert codec.delimiter == row.delimiter
        if row.array_oid:
            array = registry.known(row.array_oid)
            assert array is not None
            assert (array.oid, array.name) == (row.array_oid, f"{row.name}[]")


def test_binary_is_asked_for_wherever_both_formats_give_the_same(conn: pgwire.Connection) -> None:
    """Which types are text in results, and why, is a list that nobody adds to unawares."""
    registry = TypeRegistry()
    text = {
        codec.name
        for row in stock_types(conn)
        if (codec := registry.known(row.oid)) is not None and not codec.binary_results
    }
    names = {name for name in CASES if name.startswith("reg")}
    # Decoded faster from text; and those whose binary format says less than their text, or
    # nothing that Python has a value for.
    assert text - names == {
        *(
            "numeric",
            "numrange",
            "nummultirange",
            "xml",
            "money",
            "aclitem",
            "tsvector",
            "tsquery",
            "gtsvector",
        ),
        *("pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
        *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
    }


def relations(conn: pgwire.Connection) -> list[str]:
    return conn.query(
        "select oid::regclass::text from pg_class where relkind in ('r', 'v') and relnamespace ="
        " any(array['pg_catalog', 'information_schema']::regnamespace[]) order by 1"
    ).scalars()


def test_every_row_of_the_catalogues_reads_alike_in_both_formats(conn: pgwire.Connection) -> None:
    """All rows, as columns and as one composite value; some 130 tables and views."""
    names = relations(conn)
    assert len(names) > 100
    for name in names:
        if name in ("pg_hba_file_rules", "pg_shmem_allocations_numa"):
            continue  # a file that another test may be writing; what not every machine has
        columns = conn.query(f"select * from {name} limit 0").columns
        chosen = ", ".join(
            # Statistics of any type: in text nothing says which.
            pgwire.quote_identifier(c.name) + ("::text" if c.type_oid == 2277 else "")
            for c in columns
        )
        # Ordered, and in one statement, so that nothing changes in between.
        sql = f"with t as materialized (select {chosen} from {name} limit 30) select * from t"
        binary, (text,) = conn.query(sql).rows, conn.script(sql)
        if name not in _RESTLESS:
            assert exactly(list(map(tuple, binary))) == exactly(list(map(tuple, text.rows))), name


# Whose rows differ from one moment to the next.
_RESTLESS = {
    *("pg_stat_activity", "pg_locks", "pg_stat_io", "pg_stat_database", "pg_stat_wal"),
    *("pg_prepared_statements", "pg_stat_ssl", "pg_stat_gssapi", "pg_shmem_allocations"),
    *("pg_stat_all_tables", "pg_stat_sys_tables", "pg_statio_all_tables", "pg_statio_sys_tables"),
    *("pg_stat_xact_all_tables", "pg_stat_xact_sys_tables", "pg_statio_all_indexes"),
    *("pg_statio_sys_indexes", "pg_stat_all_indexes", "pg_stat_sys_indexes", "pg_backend_memory"),
    *("pg_backend_memory_contexts", "pg_stat_slru", "pg_stat_bgwriter", "pg_stat_checkpointer"),
    *("pg_cursors", "pg_settings", "pg_stat_archiver"),
    *("pg_stats", "pg_statistic", "pg_stats_ext", "pg_timezone_names", "pg_timezone_abbrevs"),
    *("pg_aios", "pg_class"),
}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select adbin from pg_attrdef limit 0", []),
        ("select 'x'::cstring", ["x"]),
        ("select pg_sleep(0)", [None]),
        ("select ''", [""]),
        ("select most_common_vals from pg_stats limit 0", []),
    ],
)
def test_types_without_input(conn: pgwire.Connection, sql: str, expected: list[Any]) -> None:
    (result,) = conn.script(sql)
    assert conn.query(sql).scalars() == result.scalars() == expected


def test_statistics_are_read(conn: pgwire.Connection) -> None:
    """Types that only the server makes values of: as text, in both formats' queries."""
    conn.script(
        "drop table if exists stats; create table stats as"
        " select i % 5 a, i % 5 / 2 b, now() - i * '1 day'::interval c"
        " from generate_series(1, 99) i;"
        "create statistics if not exists on_stats on a, b from stats; analyze stats"
    )
    sql = (
        "select stxdndistinct, stxddependencies, stxdmcv from pg_statistic_ext_data d"
        " join pg_statistic_ext e on e.oid = d.stxoid where e.stxname = 'on_stats'"
    )
    row = conn.query(sql).one()
    assert [type(value) for value in row] == [str, str, str]
    assert tuple(conn.script(sql)[0].one()) == tuple(row)
    sql = (
        "select attname::text, most_common_vals, histogram_bounds from pg_stats"
        " where tablename = 'stats' order by 1"
    )
    by_name = {row[0]: row for row in conn.query(sql).rows}
    assert sorted(by_name["a"].most_common_vals) == [0, 1, 2, 3, 4]
    assert {value.tzinfo is not None for value in by_name["c"].histogram_bounds} == {True}
    (text,) = conn.script(sql)
    assert {type(row.most_common_vals) for row in text.rows} == {str, type(None)}
    conn.query("drop table stats")


def test_the_information_schema_s_domains(conn: pgwire.Connection) -> None:
    row = conn.query(
        "select 1::information_schema.cardinal_number,"
        " array['a']::information_schema.sql_identifier[],"
        " row('YES'::information_schema.yes_or_no, null::information_schema.time_stamp)"
    ).one()
    assert tuple(row) == (1, ["a"], ("YES", None))


def test_records_of_types_that_are_text_only_say_what_to_write(conn: pgwire.Connection) -> None:
    assert conn.query("select row('pg_class'::regclass)").scalar() == ("1259",)
    with pytest.raises(pgwire.DataError, match=r"cast it to text, as in x::text"):
        conn.query("select row('1'::money)")
    assert conn.query("select row('1'::money::text)").scalar() == ("$1.00",)
