"""Which statements may leave something behind in their session."""

from __future__ import annotations

import time

import pytest

from pgwire.protocol.changes import changes_session, is_fleeting

KEEPS = [
    "select 1",
    "SELECT * FROM t WHERE a = $1;",
    "  \n\t insert into t values (1) ; \n ;",
    "update t set a = 1",
    "delete from t",
    "merge into t using s on t.a = s.a when matched then delete",
    "values (1)",
    "table t",
    "with x as (select 1) select * from x",
    "explain analyze select 1",
    "show search_path",
    "copy t from stdin",
    "lock t",
    "begin",
    "BEGIN ISOLATION LEVEL SERIALIZABLE",
    "start transaction read only",
    "commit",
    "end",
    "rollback",
    "rollback to savepoint s",
    "abort",
    "savepoint s",
    "release s",
    "set transaction read only",
    "set local work_mem = '1MB'",
    "set constraints all deferred",
    "((select 1) union (select 2))",
    "-- a comment\nselect 1",
    "-- a comment\r select 1",
    "/* one */ /* two\n * lines */select 1",
    "/**/select 1",
    "/***/select 1",
    "/* ; set x = 1 */ select 1".replace(";", ","),
    "select 1 ;;",
    'select u & 1, u &"a" from t',
    "select E'\\t' || 'temperature', template from t",
]

CHANGES = [
    "",
    "-- nothing but a comment",
    "/* never ended select 1",
    "set search_path = s",
    "SET SESSION work_mem = '1MB'",
    "reset all",
    "listen news",
    "unlisten *",
    "declare c cursor with hold for select 1",
    "prepare p as select 1",
    "deallocate all",
    "discard plans",
    "create table t (a int)",
    "create temp table t (a int)",
    "do $$begin end$$",
    "call p()",
    "load 'x'",
    "select set_config('a', 'b', false)",
    "update pg_settings set setting = '1MB' where name = 'work_mem'",
    "select set_limit(0.5)",
    'select "set_config"(1)',
    "select pg_advisory_lock(1)",
    "select pg_catalog.PG_TRY_ADVISORY_LOCK(1)",
    "select setseed(0.5)",
    # Any name may be written in numbers, with any sign in front of them.
    "select U&\"set\\005Fconfig\"('a', 'b', false)",
    "select pg_catalog.u&\"pg!005Fadvisory!005Flock\" uescape '!' (1)",
    "select query_to_xml(U&'select set\\005Fconfig(1)', true, true, '')",
    "select SET_CONF\u0130G('a', 'b', false)",  # a capital i, in some of the server's encodings
    "select dblink_connect('x')",
    "select 1 into temp t",
    "select 1 into TEMPORARY t",
    "select * from pg_temp.t",
    "select 1; set x = 1",
    "begin; set x = 1; commit",
    "selection",
    "settings",
    "set\u00a0 x",
    # Settings of somebody's own, in classes whose names are keywords or begin with one.
    "set local.x = 1",
    "set transaction . x = 1",
    "set constraints/**/.x = 1",
    "set local$.x = 1",
    "set local\u00b7.x = 1",
    # PostgreSQL's comments nest, and its line comments end at a carriage return as well.
    "/* /* */ select */ set x = 1",
    "/* a /* b */ c */ select 1",
    "-- select\rset x = 1",
    "--\rset role to\nshow",
]


@pytest.mark.parametrize("sql", KEEPS)
def test_queries_plain_dml_and_transaction_control_keep_the_session_as_it_was(sql: str) -> None:
    assert not changes_session(sql)
    assert not changes_session(sql.upper())


@pytest.mark.parametrize("sql", CHANGES)
def test_everything_else_may_have_changed_it(sql: str) -> None:
    assert changes_session(sql)
    assert changes_session(sql.upper())


@pytest.mark.parametrize(
    "sql",
    [
        *("fetch all c", "FETCH 1 from c", "/* x */ execute p", "Execute p(1)", "-- y\nfetch c"),
        *("/* a /* b */ c */ fetch all c", ";fetch all c", "-- y\n ; /* x */ ;execute p"),
    ],
)
def test_what_names_a_cursor_or_a_prepared_statement_is_fleeting(sql: str) -> None:
    assert is_fleeting(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 'now'::timestamptz",
        "select * from t where d >= ' Yesterday ' and d < date 'TODAY'",
        "select timestamp E'tomorrow 10:00'",
        "select $$today$$::date",
        "select $a$ now$a$::timetz",
        "select '[today,)'::daterange",
        "select '{\"Now\"}'::timestamptz[]",
        "select 'a''b', '{[2020-01-01,tomorrow)}'::datemultirange",
        "select '10:00 today'::timestamp",
        "select 'today10:00'::timestamp",
        "select E'it\\'s', 'today'::date",
        "select like'%\\', 'today'::date",
        r"select e'a''\' today'",
        "select a$b, $b$ today $b$",
        "select \"it's\", 'today'::date",
        "select 1 -- it's\n, 'today'::date",
        "/* it's */ select 'today'::date",
        "select /* a /* it's */ b */ 'today'::date",
    ],
)
def test_what_is_read_once_is_fleeting(sql: str) -> None:
    assert is_fleeting(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "fetched",
        "declare c cursor for select 1",
        "",
        "move c",
        "select now()",
        "select 'nowhere', today",
        "select now() as now, 'a' as \"today\"",
        "select 'a', today /* 'now' */ -- 'now'",
        "select $1::date as today, a$now$ from b where c = 'd'",
        "do $$ begin perform now(); end $$",
    ],
)
def test_nothing_else_is_fleeting(sql: str) -> None:
    assert not is_fleeting(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "/*" * 100_000,
        "/* a */" * 50_000,
        "--\n" * 50_000,
        "(" * 100_000,
        " " * 100_000,
        "/*" + "*" * 100_000,
    ],
)
def test_no_text_takes_long(sql: str) -> None:
    begun = time.process_time()
    changes_session(sql)
    is_fleeting(sql)
    is_fleeting(f"today {sql}")
    assert time.process_time() - begun < 1
