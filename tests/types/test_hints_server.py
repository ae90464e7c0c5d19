"""What a server says of the mistakes that are made all the time, and that the hint does help."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol.hints import advise

if TYPE_CHECKING:
    from collections.abc import Iterator

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
A_DAY = datetime.timedelta(1)
NAME = "A parameter cannot stand for a name: put pgwire.quote_identifier(name) into the SQL."
LITERAL = (
    "Parameters work in SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES; "
    "here write the value into the SQL, text with pgwire.quote_literal()."
)
AGAIN = "Run it again, the whole transaction if it is in one: pgwire prepares it anew."


@pytest.fixture(scope="module")
def conn(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn) as connection:
        connection.script(
            "create temp table t (id int, name text, at timestamptz, d date, j jsonb, u uuid,"
            " tags text[], flag bool);"
            'insert into t values (1, \'Anna\', now(), current_date, \'{"a": "x", "n": 4}\','
            " '00000000-0000-0000-0000-000000000001', '{a}', true)"
        )
        yield connection


def told(error: pgwire.errors.PostgresError, sql: str, params: list[Any]) -> str:
    """The end of the hint: what is not the server's own."""
    advise(error, sql, params)  # twice is as good as once
    return error.hint or ""


# The mistake, its parameters; the hint; what it advises, and the parameters of that if others.
Case = tuple[str, list[Any], str, str] | tuple[str, list[Any], str, str, list[Any]]
CASES: list[Case] = [
    # Parameters without a type.
    (
        "select jsonb_build_object('a', $1)",
        ["x"],
        "Write $1::text.",
        "select jsonb_build_object('a', $1::text)",
    ),
    ("select concat($1)", [MOMENT], "Write $1::timestamptz.", "select concat($1::timestamptz)"),
    (
        "select * from t where $1 is null or id = $1",
        [None],
        "Write $1::text, or another type.",
        "select * from t where $1::int is null or id = $1",
    ),
    ("select $1 is null", [[1.5]], "Write $1::float8[].", "select $1::float8[] is null"),
    (
        "insert into t (id) values ($2)",
        [1, 2],
        "The SQL has no $1: number the parameters from $1, without gaps.",
        "insert into t (id) values ($1)",
        [2],
    ),
    (
        "insert into t (id) select $1 where exists (select from t where name = $1)",
        [1],
        "A parameter has one type: give each of these places a parameter of its own.",
        "insert into t (id) select $1 where exists (select from t where name = $2)",
        [1, "x"],
    ),
    (
        "update t set id = $1 where name = $1",
        [1],
        "A parameter has one type: give each of these places a parameter of its own.",
        "update t set id = $1 where name = $2",
        [1, "x"],
    ),
    ("select to_json($1)", [{"a": 1}], "Write $1::jsonb.", "select to_json($1::jsonb)"),
    ("select cardinality($1)", [["a"]], "Write $1::text[].", "select cardinality($1::text[])"),
    ("select sum($1)", [1], "Write $1::bigint.", "select sum($1::bigint)"),
    (
        "select date_trunc('day', $1)",
        [MOMENT],
        "Write $1::timestamptz.",
        "select date_trunc('day', $1::timestamptz)",
    ),
    (
        "select extract(year from $1)",
        [MOMENT.date()],
        "Write $1::date.",
        "select extract(year from $1::date)",
    ),
    (
        "select generate_series($1, $2)",
        [1, 2],
        "Write $1::bigint, $2::bigint.",
        "select generate_series($1::bigint, $2::bigint)",
    ),
    (
        "select * from unnest($1, $2) as u(a, b)",
        [[1], ["x"]],
        "Write $1::bigint[], $2::text[].",
        "select * from unnest($1::bigint[], $2::text[]) as u(a, b)",
    ),
    ("select $1 + $2", [1, 2], "Write $1::bigint, $2::bigint.", "select $1::bigint + $2::bigint"),
    ("select d + $1 from t", [1], "Write $1::integer.", "select d + $1::integer from t"),
    (
        "select current_date + $1",
        [A_DAY],
        "Write $1::interval.",
        "select current_date + $1::interval",
    ),
    (
        "insert into t (j) values ($1::text)",
        ["{}"],
        "Without its cast $1 takes the type that is wanted here.",
        "insert into t (j) values ($1)",
    ),
    (
        "select coalesce(id, $1::text) from t",
        [1],
        "Without its cast $1 takes the type that is wanted here.",
        "select coalesce(id, $1) from t",
    ),
    # Placeholders of other drivers.
    *[
        (
            f"select * from t where id = {found} order by id",
            [1],
            f"Placeholders are $1, $2, …, not {found}.",
            "select * from t where id = $1 order by id",
        )
        for found in ("%s", "%(id)s", "?", ":id", ":1", "{}", "{id}", "${id}", "$id")
    ],
    (
        "insert into t (id, name) values (?, ?)",
        [1, "x"],
        "Placeholders are $1, $2, …, not ?.",
        "insert into t (id, name) values ($1, $2)",
    ),
    (
        "select now() - interval %s",
        [A_DAY],
        "Placeholders are $1, $2, …, not %s.",
        "select now() - $1::interval",
    ),
    (
        "select * from t where name like %$1%",
        ["n"],
        "A pattern is text as well: write '%' || $1 || '%'.",
        "select * from t where name like '%' || $1 || '%'",
    ),
    # Parameters in the wrong place.
    (
        "select * from t where id in $1",
        [[1]],
        "Write = any($1) and pass a list.",
        "select * from t where id = any($1)",
    ),
    (
        "select * from t where id not in $1",
        [[1]],
        "Write <> all($1) and pass a list.",
        "select * from t where id <> all($1)",
    ),
    ("select interval $1", ["1 day"], "Write $1::interval.", "select $1::interval"),
    (
        "select timestamp with time zone $1",
        [MOMENT],
        "Write $1::timestamptz.",
        "select $1::timestamptz",
    ),
    (
        "insert into t (id, name) values $1",
        [(1, "x")],
        "Write values ($1, $2, …), with a parameter for each column.",
        "insert into t (id, name) values ($1, $2)",
        [1, "x"],
    ),
    ("select * from $1", ["t"], NAME, f"select * from {pgwire.quote_identifier('t')}", []),
    ("select t.$1 from t", ["id"], NAME, f"select t.{pgwire.quote_identifier('id')} from t", []),
    ("listen $1", ["x"], NAME, f"listen {pgwire.quote_identifier('x')}", []),
    (
        "comment on column t.id is $1",
        ["it's"],
        LITERAL,
        f"comment on column t.id is {pgwire.quote_literal(chr(39))}",
        [],
    ),
    (
        "set search_path = $1",
        ["public"],
        "Write select set_config('search_path', $1, false).",
        "select set_config('search_path', $1, false)",
    ),
    (
        "set local time zone $1",
        ["UTC"],
        "Write select set_config('timezone', $1, true).",
        "select set_config('timezone', $1, true)",
    ),
    (
        "set session authorization $1",
        ["postgres"],
        "Write select set_config('session_authorization', $1, false).",
        "select set_config('session_authorization', current_user, false)",
        [],
    ),
    ("notify a, $1", ["x"], "Write select pg_notify('a', $1).", "select pg_notify('a', $1)"),
    ("show $1", ["work_mem"], "Write select current_setting($1).", "select current_setting($1)"),
    ("select $0", [], "Parameters begin at $1.", "select $1", ["x"]),
    # Quotes.
    (
        'select * from t where name = "Anna"',
        [],
        "A string stands in single quotes: 'Anna'.",
        "select * from t where name = 'Anna'",
    ),
    (
        'insert into t (id, name) values (1, "it\'s")',
        [],
        "A string stands in single quotes: 'it''s'.",
        "insert into t (id, name) values (1, 'it''s')",
    ),
    # Operators and functions.
    (
        "select * from t where id = $1::int[]",
        [[1]],
        "Write = any($1::int[]).",
        "select * from t where id = any($1::int[])",
    ),
    (
        "select * from t where id not in ($1::int[])",
        [[1]],
        "Write <> all($1::int[]).",
        "select * from t where id <> all($1::int[])",
    ),
    (
        "select * from t where tags = $1::text",
        ["a"],
        "The array stands on the right: write value = any(array).",
        "select * from t where $1::text = any(tags)",
    ),
    (
        "select * from t where id = any($1::text[])",
        [["1"]],
        "Write $1::integer[].",
        "select * from t where id = any($1::integer[])",
        [[1]],
    ),
    (
        "select * from t where u = $1::text",
        [str(uuid.UUID(int=1))],
        "Write $1::uuid.",
        "select * from t where u = $1::uuid",
    ),
    (
        "select * from t where at > $1::text",
        ["2026-01-01"],
        "Write $1::timestamp with time zone.",
        "select * from t where at > $1::timestamp with time zone",
    ),
    (
        "select * from t where name = 1",
        [],
        "Cast one side: ::integer behind the left one, or ::text behind the right one.",
        "select * from t where name = 1::text",
    ),
    (
        "select * from t where u = name",
        [],
        "Cast one side: ::text behind the left one, or ::uuid behind the right one.",
        "select * from t where u::text = name",
    ),
    (
        "select * from t where id like $1",
        ["1%"],
        "Write ::text behind the left side.",
        "select * from t where id::text like $1",
    ),
    ("select name + 'x' from t", [], "Write || to join texts.", "select name || 'x' from t"),
    (
        "select * from t where name like '%' + $1",
        ["a"],
        "Write || to join texts.",
        "select * from t where name like '%' || $1",
    ),
    (
        "select * from t where flag = 1",
        [],
        "Write true or false for 1 or 0.",
        "select * from t where flag = true",
    ),
    (
        "select at - 7 from t",
        [],
        "Write - make_interval(days => …) for a number of days.",
        "select at - make_interval(days => 7) from t",
    ),
    (
        "select * from t where j->'a' = name",
        [],
        "Write ->> in place of ->: it gives text.",
        "select * from t where j->>'a' = name",
    ),
    (
        "select * from t where j->'a' = 'x'",
        [],
        "Write ->> in place of ->: it gives text.",
        "select * from t where j->>'a' = 'x'",
    ),
    (
        "select * from t where j->'n' > 3",
        [],
        "Write ->> in place of ->, which gives text, and cast that: (… ->> …)::integer.",
        "select * from t where (j->>'n')::integer > 3",
    ),
    (
        "select * from t where id = $1 and d = $2",
        ["1", "yesterday, perhaps"],
        "It is the value of $2.",
        "select * from t where id = $1 and d = $2",
        ["1", "yesterday"],
    ),
    (
        "insert into t (tags) values ($1)",
        ["a"],
        "For $1 pass a list: a str is PostgreSQL's literal of the whole array.",
        "insert into t (tags) values ($1)",
        [["a"]],
    ),
    (
        "insert into t (j) values ($1)",
        ["hello"],
        "A str is JSON text: for a JSON string pass pgwire.Json(text).",
        "insert into t (j) values ($1)",
        [pgwire.Json("hello")],
    ),
    (
        "select round(1.25::float8, 1)",
        [],
        "Only numeric is rounded to digits: write round(…::numeric, …).",
        "select round(1.25::float8::numeric, 1)",
    ),
    (
        "select row(acldefault('r', 10))",
        [],
        "Cast the column to text, which every type can become: (…)::text.",
        "select row(acldefault('r', 10))::text",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_hint_helps(conn: pgwire.Connection, case: Case) -> None:
    wrong, params, hint, right = case[:4]
    with pytest.raises(pgwire.errors.PostgresError) as caught:
        conn.query(wrong, params)
    assert told(caught.value, wrong, params).endswith(hint)
    assert hint in str(caught.value)
    with conn.transaction():
        conn.query(right, case[4] if len(case) == 5 else params)


def test_several_statements(conn: pgwire.Connection) -> None:
    sql = "select 1; select 2"
    with pytest.raises(pgwire.errors.PostgresError) as caught:
        conn.query(sql)
    assert told(caught.value, sql, []).startswith("Run them one by one, or with script()")
    assert len(conn.script(sql)) == 2


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("select $1", "A script takes no parameters: run the statement with query()."),
        ("create temp table x (); select $1", "A script takes no parameters"),
        ("create temp view v as select $1", LITERAL),
        ("create temp table x (a int default $1)", LITERAL),
        ("set work_mem = $1", "Write select set_config('work_mem', $1, false)."),
    ],
)
def test_scripts(conn: pgwire.Connection, sql: str, hint: str) -> None:
    with pytest.raises(pgwire.errors.PostgresError) as caught:
        conn.script(sql)
    assert told(caught.value, sql, []).startswith(hint)


def test_a_stale_plan_in_a_transaction(conn: pgwire.Connection) -> None:
    conn.query("create temp table changing (a int)")
    sql = "select * from changing"
    conn.query(sql)
    with conn.transaction() as transaction:
        conn.query("alter table changing add b int")
        with pytest.raises(pgwire.errors.PostgresError) as caught:
            conn.query(sql)
        transaction.rollback()
    assert caught.value.sqlstate == "0A000"
    assert told(caught.value, sql, []) == AGAIN
    with conn.transaction():
        conn.query("alter table changing add c int")
        conn.query(sql)


def test_a_statement_that_is_gone_in_a_transaction(conn: pgwire.Connection) -> None:
    sql = "select 'gone'"
    conn.query(sql)
    find = "select name from pg_prepared_statements where statement = $1"
    name = conn.query(find, [sql]).scalar()
    with conn.transaction() as transaction:
        conn.script(f"deallocate {name}")
        with pytest.raises(pgwire.errors.PostgresError) as caught:
            conn.query(sql)
        transaction.rollback()
    assert caught.value.sqlstate == "26000"
    assert told(caught.value, sql, []).startswith(AGAIN)
    with conn.transaction():
        assert conn.query(sql).scalar() == "gone"
    with pytest.raises(pgwire.errors.PostgresError) as own:
        conn.query("execute missing")
    assert told(own.value, "execute missing", []) == ""


@pytest.mark.parametrize(
    "sql",
    [
        "select id, from t",
        "select * form t",
        "select * from nowhere",
        "select nme from t",
        'select "Id" from t',
        "select * from t where at > 10:30",
        "select values({1})",
        "select distinct '{}'::json",
        "select * from t order by point(1, 2)",
        "select sum(name) from t",
        "select 'x' = 1",
        "do $$ begin execute 'select %s'; end $$",
        "do $$ begin execute 'select $1'; end $$",
        "create function pg_temp.f() returns int language sql as 'select $2'",
    ],
)
def test_no_hint_is_better_than_a_wrong_one(conn: pgwire.Connection, sql: str) -> None:
    with pytest.raises(pgwire.errors.PostgresError) as caught:
        conn.query(sql)
    before = caught.value.hint
    assert told(caught.value, sql, []) == (before or "")
    assert not (before or "").endswith(("SQL.", "quotes.", "not %s."))
