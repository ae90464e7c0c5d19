"""What an error says to write instead. The errors are as a server sends them, in any language.

`§` marks the error's position in the SQL. What is advised does work: tests/types shows it.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import ipaddress
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

import pgwire
from pgwire.errors import PostgresError
from pgwire.protocol.hints import advise, misfit_hint, type_for
from pgwire.protocol.misplaced import first_word, miscount_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

UTC = datetime.UTC
MOMENT = datetime.datetime(2026, 1, 2, 3, 4)
DATE = MOMENT.date()


def hint(
    sqlstate: str, marked: str, message: str = "?", params: Sequence[Any] = (), **fields: Any
) -> str | None:
    """The hint that such an error has in the end."""
    error = PostgresError(message)
    error.sqlstate, error.message = sqlstate, message
    before, mark, rest = marked.partition("§")
    error.position = len(before) + 1 if mark else None
    vars(error).update(fields)
    advise(error, before + rest, params)
    return error.hint


# The types of values.


class Colour(enum.StrEnum):
    RED = "red"


class Endless(list[Any]):
    pass


ENDLESS = Endless()
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "boolean"),
        (1, "bigint"),
        (2**63, "numeric"),
        (-(2**63) - 1, "numeric"),
        (1.5, "float8"),
        (decimal.Decimal(1), "numeric"),
        ("x", "text"),
        (Colour.RED, "text"),
        (b"x", "bytea"),
        (memoryview(b"x"), "bytea"),
        (DATE, "date"),
        (MOMENT, "timestamp"),
        (MOMENT.replace(tzinfo=UTC), "timestamptz"),
        (datetime.time(1), "time"),
        (datetime.time(1, tzinfo=UTC), "timetz"),
        (datetime.timedelta(1), "interval"),
        (pgwire.Interval(1, 2, 3), "interval"),
        (uuid.UUID(int=1), "uuid"),
        ({"a": 1}, "jsonb"),
        (pgwire.Json([1]), "jsonb"),
        (ipaddress.ip_address("::1"), "inet"),
        (ipaddress.ip_network("10.0.0.0/8"), "cidr"),
        (["x", None], "text[]"),
        ([None, MOMENT], "timestamp[]"),
        ([[1], [2]], "bigint[]"),
        ([], None),
        ([None], None),
        (ENDLESS, None),
        (None, None),
        ((1, 2), None),
        (object(), None),
    ],
)
def test_the_type_of_a_value(value: Any, name: str | None) -> None:
    assert type_for(value) == name


# Parameters without a type.


@pytest.mark.parametrize(
    "message",
    [
        "could not determine data type of parameter $1",
        "konnte Datentyp von Parameter $1 nicht ermitteln",
        "パラメータ$1のデータ型が特定できませんでした",
    ],
)
@pytest.mark.parametrize("state", ["42P18", "42P08"])
def test_a_parameter_without_a_type(message: str, state: str) -> None:
    sql = "select jsonb_build_object('a', $1)"
    assert hint(state, sql, message, ["x"]) == "Write $1::text."
    assert hint(state, sql, message, [MOMENT]) == "Write $1::timestamp."
    assert hint(state, sql, message, [["x"]]) == "Write $1::text[]."
    assert hint(state, sql, message, [None]) == "Write $1::text, or another type."
    assert hint(state, sql, message) == "Write $1::text, or another type."


def test_a_parameter_that_is_not_there() -> None:
    message = "could not determine data type of parameter $1"
    expected = "The SQL has no $1: number the parameters from $1, without gaps."
    assert hint("42P18", "insert into t values ($2, $10)", message, [1, 2]) == expected
    assert hint("42P18", "insert into t values ($1)", "?", [1]) is None


def test_a_parameter_with_two_types() -> None:
    expected = "A parameter has one type: give each of these places a parameter of its own."
    sql = "insert into t(id) select §$1 where exists (select 1 from t where name = $1)"
    message = "inconsistent types deduced for parameter $1"
    assert hint("42P08", sql, message, [1], detail="text versus integer") == expected
    assert hint("42P08", sql.replace("§", ""), message, [1], detail="text versus integer") is None
    assert hint("42P08", "select §$1, $11", message, [1], detail="text versus integer") is None
    assert hint("42804", "update t set id = §$1 where name = $1", params=[1]) == expected
    assert hint("42804", "select §$1[1], $1", params=[[1]]) is None


def test_a_function_that_takes_whatever_comes() -> None:
    message = "could not determine polymorphic type because input has type unknown"
    routine = "enforce_generic_type_consistency"
    cases: list[tuple[str, list[Any], str | None]] = [
        ("select to_json($1)", [1], "Write $1::bigint."),
        ("select array_length( $1 , 1)", [["a"]], "Write $1::text[]."),
        ("select lag(x, $1) over ()", [1], "Write $1::bigint."),
        ("select to_json($1), to_json($2)", [1, 2], None),
        ("select to_json($1)", [None], None),
        ("select to_json($1 || $2)", [1, 2], None),
    ]
    for sql, params, expected in cases:
        assert hint("42804", sql, message, params, routine=routine) == expected
    assert hint("42804", "select f($1)", message, [1]) is None
    assert hint("42804", "select f($1)", message, [1], routine=routine, detail="…") is None


@pytest.mark.parametrize(
    ("marked", "params", "expected"),
    [
        ("select §sum($1)", [1], "Write $1::bigint."),
        ("select §date_trunc('day', $1)", [MOMENT], "Write $1::timestamp."),
        ("select §extract(year from $1)", [DATE], "Write $1::date."),
        ("select §f(n => $1)", [DATE], "Write $1::date."),
        ("select §generate_series($1, $2) x", [1, 2], "Write $1::bigint, $2::bigint."),
        ("select §unnest($1,$2)", [[1], ["x"]], "Write $1::bigint[], $2::text[]."),
        ("select §f($1, $1)", [1], "Write $1::bigint."),
        ("select §f(g($1), $2)", [1, 2.5], "Write $2::float8."),
        ("select §f($1::int, $2)", [1, 2], "Write $2::bigint."),
        ("select §f($1", [1], "Write $1::bigint."),
        ("select §f($1), $2", [1, 2], "Write $1::bigint."),
        ("select §f($1, $2)", [1, None], None),
        ("select §to_char($1, 'x')", ["x"], None),
        ("select §f('a', 'b')", [], None),
        ("select §f($1)", [], None),
        ("select f($1)", [1], None),
    ],
)
def test_several_functions_fit(marked: str, params: list[Any], expected: str | None) -> None:
    assert hint("42725", marked, "Funktion f(unknown) ist nicht eindeutig", params) == expected


@pytest.mark.parametrize(
    ("marked", "operation", "params", "expected"),
    [
        ("select $1 §+ $2", "unknown + unknown", [1, 2], "Write $1::bigint, $2::bigint."),
        ("select $1::int §+ $2", "integer + unknown", [1, 2], "Write $2::bigint."),
        ("select $1§+$2::int", "unknown + integer", [1, 2], "Write $1::bigint."),
        ("select d §+ $1 from t", "date + unknown", [1], "Write $1::integer."),
        (
            "select d §+ $1 from t",
            "date + unknown",
            [datetime.timedelta(1)],
            "Write $1::interval.",
        ),
        ("select '%' §+ $1", "unknown + unknown", ["x"], "Write || to join texts."),
        ("select d §+ $1", "date + unknown", ["1 day"], None),
        ("select 'a' §+ 'b'", "unknown + unknown", [], None),
    ],
)
def test_several_operators_fit(
    marked: str, operation: str, params: list[Any], expected: str | None
) -> None:
    message = f"operator is not unique: {operation}"
    assert hint("42725", marked, message, params) == expected


def test_a_cast_that_is_in_the_way() -> None:
    expected = "Without its cast $1 takes the type that is wanted here."
    assert hint("42804", "insert into t (j) values (§$1::text)") == expected
    assert hint("42804", "select coalesce(id, §$1 :: text) from t") == expected
    assert hint("42804", "insert into t (j) values (§name)") is None
    assert hint("42804", "insert into t (j) values (§$1)") is None


# Placeholders of other drivers.


@pytest.mark.parametrize(
    ("marked", "found"),
    [
        ("select * from t where id = §%s", "%s"),
        ("select * from t where id = §%(id)s", "%(id)s"),
        ("insert into t values (§%s, %s)", "%s"),
        ("select * from t where id = §:id", ":id"),
        ("select * from t where name = §:name::text", ":name"),
        ("select * from t where id = §:1", ":1"),
        ("select * from t where id = §{}", "{}"),
        ("select * from t where id = §{user_id}", "{user_id}"),
        ("select * from t where id = §${id}", "${id}"),
        ("select * from t where id = §$id", "$id"),
        ("select * from t where id = ?§", "?"),
        ("select * from t where id=?§", "?"),
        ("select * from t where id = ? §order by 1", "?"),
        ("insert into t values (?§, ?)", "?"),
        ("?§", "?"),
    ],
)
def test_placeholders_of_other_drivers(marked: str, found: str) -> None:
    assert hint("42601", marked) == f"Placeholders are $1, $2, …, not {found}."


@pytest.mark.parametrize(
    "marked",
    [
        "select * from t where at > 10§:30",
        "select a§:b",
        "select x:§:y",
        "values (§{1,2})",
        "values (§{1})",
        "select * from t where j @? §",
        "select * from t where j ? $1 and j ? §",
        "select §$x$ unfinished",
        "select §form t",
        "select id, §from t",
        "select 1 §",
    ],
)
def test_syntax_errors_that_are_nothing_of_the_kind(marked: str) -> None:
    assert hint("42601", marked) is None


def test_percent_s_that_is_read_as_a_division() -> None:
    expected = "Placeholders are $1, $2, …, not %s."
    assert hint("42703", "select now() - §interval %s") == expected
    assert hint("42703", "select id %§s from t") == expected
    assert hint("42703", "select id % §s from t") is None
    assert hint("42703", "select id %§size from t") is None


def test_a_pattern_without_quotes() -> None:
    marked = "select * from t where name like §%$1%"
    assert hint("42601", marked) == "A pattern is text as well: write '%' || $1 || '%'."


def test_several_statements() -> None:
    expected = "Run them one by one, or with script(), which takes no parameters."
    assert hint("42601", "select 1; select 2") == expected
    assert hint("42601", "select 1 ;\n") is None


# Where no parameter can be.

NAME = "A parameter cannot stand for a name: put pgwire.quote_identifier(name) into the SQL."
LITERAL = (
    "Parameters work in SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES; "
    "here write the value into the SQL, text with pgwire.quote_literal()."
)


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("select * from t where id in §$1", "Write = any($1) and pass a list."),
        ("select * from t where id IN §$12", "Write = any($12) and pass a list."),
        ("select * from t where id not  in §$1", "Write <> all($1) and pass a list."),
        ("select * from t where lower(x) in §$1", "Write = any($1) and pass a list."),
        ("select * from t where f(x, y) in §$1", "Write = any($1) and pass a list."),
        ("select * from t where (id, name) in §$1", None),
        ("select now() - interval §$1", "Write $1::interval."),
        ("select DATE §$1", "Write $1::date."),
        ("select timestamp §$1", "Write $1::timestamp."),
        ("select timestamp with time zone §$1", "Write $1::timestamptz."),
        ("select time without time zone §$1", "Write $1::time."),
        ("insert into t values §$1", "Write values ($1, $2, …), with a parameter for each column."),
        ("select * from t order by id §$1", None),
        ("explain select * from t where id in §$1", "Write = any($1) and pass a list."),
        ("create table x as select interval §$1", "Write $1::interval."),
        ("-- drop\n /* set */ (select interval §$1", "Write $1::interval."),
        ("set x = 1; select interval §$1", "Write $1::interval."),
    ],
)
def test_parameters_in_the_wrong_place(marked: str, expected: str | None) -> None:
    assert hint("42601", marked) == expected


@pytest.mark.parametrize(
    "marked",
    [
        "select * from §$1",
        "select * from public.§$1",
        "select * from t join §$1 on true",
        "select t.§$1 from t",
        "select 1 as §$1",
        "insert into §$1 values (1)",
        "insert into t (a, §$1) values (1)",
        "update §$1 set id = 1",
        "update t set §$1 = 1",
        "update t as x set §$1 = 1",
        "delete from §$1",
        "merge into §$1 using t on true when matched then delete",
        "select * from t for update of §$1",
        "create table §$1 (a int)",
        "create table if not exists §$1 (a int)",
        "create index on §$1 (id)",
        "create user §$1",
        "create database §$1",
        "alter table §$1 add x int",
        "alter table t rename to §$1",
        "alter table public.§$1 add x int",
        "drop table §$1",
        "truncate §$1",
        "listen §$1",
        "savepoint §$1",
        "reset §$1",
        "grant select on t to §$1",
        "vacuum §$1",
    ],
)
def test_parameters_for_names(marked: str) -> None:
    assert hint("42601", marked) == NAME


@pytest.mark.parametrize(
    "marked",
    [
        "create role x password §$1",
        "alter role x password §$1",
        "alter role x set work_mem = §$1",
        "alter database x set work_mem to §$1",
        "comment on table t is §$1",
        "do §$1",
        "copy t from §$1",
        "copy t to §$1",
        "create function f() returns int language sql as §$1",
        "set session characteristics as transaction isolation level §$1",
    ],
)
def test_parameters_for_literals(marked: str) -> None:
    assert hint("42601", marked) == LITERAL


@pytest.mark.parametrize(
    ("marked", "call"),
    [
        ("set search_path = §$1", "set_config('search_path', $1, false)"),
        ("SET LOCAL Work_Mem TO §$1", "set_config('work_mem', $1, true)"),
        ("set session my.thing= §$2", "set_config('my.thing', $2, false)"),
        ("set role §$1", "set_config('role', $1, false)"),
        ("set local time  zone §$1", "set_config('timezone', $1, true)"),
        ("set session authorization §$1", "set_config('session_authorization', $1, false)"),
        ("notify Jobs, §$1", "pg_notify('jobs', $1)"),
        ("notify §$1, 'x'", "pg_notify($1, $2)"),
        ("show §$1", "current_setting($1)"),
    ],
)
def test_functions_that_take_parameters_instead(marked: str, call: str) -> None:
    assert hint("42601", marked) == f"Write select {call}."


def test_there_is_no_parameter() -> None:
    script = "A script takes no parameters: run the statement with query()."
    assert hint("42P02", "select §$1") == script
    assert hint("42P02", "create table x (); insert into t values (§$1)") == script
    assert hint("42P02", "create view v as select §$1") == LITERAL
    assert hint("42P02", "create table x (a int default §$1)") == LITERAL
    assert hint("42P02", "select §$0") == "Parameters begin at $1."
    assert hint("42P02", "select $1") is None
    assert hint("42P02", "create function f() returns int language sql as 'select §$2'") is None
    assert hint("42P02", "prepare p(int) as select §$2") is None


# Quotes.


@pytest.mark.parametrize(
    ("marked", "text"),
    [
        ('select * from t where name = §"Anna"', "'Anna'"),
        ('select * from t where name <> §"Anna"', "'Anna'"),
        ('select * from t where name like §"%a"', "'%a'"),
        ('select * from t where name in (§"A","B")', "'A'"),
        ('insert into t values (§"A")', "'A'"),
        ('insert into t values (1, §"it\'s ""so""")', "'it''s \"so\"'"),
        ('update t set name = §"x y"', "'x y'"),
        ('select name || §" " from t', "' '"),
        ('select j->§"a" from t', "'a'"),
        ('select case when a then §"b" end from t', "'b'"),
    ],
)
def test_strings_in_double_quotes(marked: str, text: str) -> None:
    assert hint("42703", marked) == f"A string stands in single quotes: {text}."


@pytest.mark.parametrize(
    "marked",
    [
        'select §"Id" from t',
        'select * from t where §"Name" = 1',
        'select * from t where a = §"x"."y"',
        'select * from t where a = §"f"(1)',
        "select * from t where a = §Anna",
        'select * from t where a = "x"',
    ],
)
def test_what_may_well_be_a_column(marked: str) -> None:
    assert hint("42703", marked) is None


def test_a_column_that_the_server_knows_better() -> None:
    server = 'Perhaps you meant to reference the column "t.Name".'
    assert hint("42703", 'select * from t where a = §"Nmae"', hint=server) == server


# Operators and functions.

SIDES = "Cast one side: ::{} behind the left one, or ::{} behind the right one."


@pytest.mark.parametrize(
    ("marked", "operation", "expected"),
    [
        ("a §= $1::int[]", "integer = integer[]", "Write = any($1::int[])."),
        ("a §=($1::int[])", "integer = bigint[]", "Write = any($1::int[])."),
        ("a §in ($1::int[])", "integer = integer[]", "Write = any($1::int[])."),
        ("a §<> $1", "integer <> integer[]", "Write <> all($1)."),
        ("a §not in ($1::int[])", "integer <> integer[]", "Write <> all($1::int[])."),
        ("a §= b", "text = text[]", "Write = any(array)."),
        ("a §= b", "uuid = text[]", None),
        ("a §= b", "text[] = integer[]", None),
        (
            "b §= 'x'::text",
            "text[] = text",
            "The array stands on the right: write value = any(array).",
        ),
        ("b §<> c", "text[] <> text", "The array stands on the right: write value <> all(array)."),
        ("a §@> b", "text[] @> integer[]", None),
        ("a §= any($1::text[])", "integer = text", "Write $1::integer[]."),
        ("a §= any(b)", "integer = text", None),
        ("a §+ 'x'", "text + unknown", "Write || to join texts."),
        ("a §+ b", "character varying + text", "Write || to join texts."),
        ("a §+ b", "integer + text", None),
        ("a §= 1", "boolean = integer", "Write true or false for 1 or 0."),
        (
            "a §+ 1",
            "timestamp with time zone + integer",
            "Write + make_interval(days => …) for a number of days.",
        ),
        (
            "a §- 7",
            "timestamp without time zone - integer",
            "Write - make_interval(days => …) for a number of days.",
        ),
        ("a §+ 1.5", "date + numeric", None),
        ("j->'a' §= b", "jsonb = text", "Write ->> in place of ->: it gives text."),
        ("j->'a'->1 §like 'x%'", "jsonb ~~ unknown", "Write ->> in place of ->: it gives text."),
        (
            "j -> $1 §> 3",
            "json > integer",
            "Write ->> in place of ->, which gives text, and cast that: (… ->> …)::integer.",
        ),
        ("j->'a' §= now()", "jsonb = timestamp with time zone", None),
        ("j §= 'x'::text", "jsonb = text", SIDES.format("text", "jsonb")),
        ("a §like $1", "integer ~~ unknown", "Write ::text behind the left side."),
        ("a §~ 'x'", "integer ~ unknown", "Write ::text behind the left side."),
        ("a §~ 1", "text ~ integer", None),
        ("a §= $1::text", "uuid = text", "Write $1::uuid."),
        ("a §>= $1::text", "date >= text", "Write $1::date."),
        ("a §= b", "uuid = text", SIDES.format("text", "uuid")),
        ("a §= 1", "character varying = integer", SIDES.format("integer", "text")),
        ("a §in (1, 'x'::text)", "integer = text", None),
        ("case $1 §when 1 then 2 end", "text = integer", None),
        ("a §= b", "unknown = text", None),
        ("a §= b", "date = integer", None),
        ("a §= b", "text = character varying", None),
        ("a §|| b", "integer[] || text", None),
        ("a = b", "uuid = text", None),
        ("id = §? + 1", "? integer", None),
    ],
)
def test_operators(marked: str, operation: str, expected: str | None) -> None:
    server = "No operator matches the given name and argument types."
    for words in ("operator does not exist:", "Operator existiert nicht:", "opérateur : "):
        message = f"{words} {operation}"
        told = hint("42883", f"select * from t where {marked}", message, hint=server)
        assert told == (f"{server} {expected}" if expected else server)


def test_rounding() -> None:
    expected = "Only numeric is rounded to digits: write round(…::numeric, …)."
    for kind in ("double precision", "real"):
        for words in ("function {} does not exist", "関数{}は存在しません"):
            message = words.format(f"round({kind}, integer)")
            assert hint("42883", "select §round(a, 2)", message) == expected
    own = "function my.round(real, integer) does not exist"
    assert hint("42883", "select §my.round(a, 2)", own) is None
    assert hint("42883", "select §f(a)", "function f(integer) does not exist") is None


def test_types_without_a_binary_form() -> None:
    message = "no binary output function available for type aclitem"
    expected = "Cast the column to text, which every type can become: (…)::text."
    assert hint("42883", "select row(x)", message, routine="array_send") == expected
    assert hint("42883", "select row(x)", message) is None
    assert hint("42883", "select §row(x)", message, routine="array_send") is None


def test_json() -> None:
    routine = "json_errsave_error"
    where = "JSON data, line 1: hello\nunnamed portal parameter $1"
    expected = "A str is JSON text: for a JSON string pass pgwire.Json(text)."
    sql = "insert into t (j) values ($1)"
    assert hint("22P02", sql, params=["hello"], where=where, routine=routine) == expected
    assert hint("22P02", sql, params=["hello"], where=where) is None
    assert hint("22P02", sql, params=[' {"a":'], where=where, routine=routine) is None
    assert hint("22P02", sql, params=[1], where=where, routine=routine) is None
    assert hint("22P02", sql, params=["hello"], routine=routine) is None
    assert hint("22P02", sql, params=[], where=where, routine=routine) is None
    marked = "select * from t where j->'a' = §'x'"
    assert hint("22P02", marked, routine=routine) == "Write ->> in place of ->: it gives text."


UNNAMED = "unnamed portal parameter ${} = '...'"


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ("22P02", UNNAMED.format(2)),
        ("22007", UNNAMED.format(2)),
        ("22008", "unbenanntes Portal, Parameter $2 = '...'"),
        ("22003", "portal \"_pgwire_a_21\" parameter $2 = '...'"),
        ("22023", "unnamed portal parameter $2 = 'it''s $1\nand \"more\"'"),
        ("22P02", "JSON data, line 1: [\nunnamed portal parameter $2"),
    ],
)
def test_whose_literal_is_bad(state: str, where: str) -> None:
    sql = "select $1::text, $2::int"
    assert hint(state, sql, params=["a", "["], where=where) == "It is the value of $2."
    assert hint(state, "select $2", params=["a", "["], where=where) is None  # there is no other


@pytest.mark.parametrize(
    "where",
    [
        "unnamed portal with parameters: $1 = '2', $2 = '0'",  # it failed later on
        'SQL statement "select a = $2 from t"',
        'PL/pgSQL function "a $2"() line 1 at RETURN',
        UNNAMED.format(3),
        UNNAMED.format(20),
        "?",
        "",
    ],
)
def test_what_fails_elsewhere_is_no_bad_literal(where: str) -> None:
    assert hint("22P02", "select $1::int / $2", params=["2", "0"], where=where) is None


@pytest.mark.parametrize("routine", ["array_in", "ReadArrayToken"])
def test_a_str_for_an_array(routine: str) -> None:
    expected = "For $1 pass a list: a str is PostgreSQL's literal of the whole array."
    where = UNNAMED.format(1)
    sql = "insert into t (tags) values ($1)"
    assert hint("22P02", sql, params=["a"], where=where, routine=routine) == expected
    assert hint("22P02", "select '{'::int[]", routine=routine) is None


# Statements that are stale.


def test_a_type_that_was_dropped() -> None:
    message, where = "cache lookup failed for type 16386", "unnamed portal parameter $1"
    expected = "Run it again, the whole transaction if it is in one: pgwire prepares it anew."
    assert hint("XX000", "select $1::ty", message, [(1,)], where=where) == expected
    assert hint("XX000", "select 'sad'::mood", message) == expected
    assert hint("XX000", "select f()", message, where="PL/pgSQL function f()") is None
    assert hint("XX000", "select 1", "cache lookup failed for relation 1") is None


def test_stale_statements() -> None:
    again = "Run it again, the whole transaction if it is in one: pgwire prepares it anew."
    pooler = (
        " Behind a pooler that changes servers connect with prepare=False, or have it see to"
        " prepared statements (PgBouncer 1.21 and later: max_prepared_statements)."
    )
    assert hint("0A000", "select * from t", routine="RevalidateCachedQuery") == again
    assert hint("0A000", "select 1 for update", routine="transformLockingClause") is None
    ours = 'prepared statement "_pgwire_3" does not exist'
    assert hint("26000", "select 1", ours) == again + pooler
    assert hint("42P05", "select 1", ours.replace("does not", "already")) == again + pooler
    assert hint("26000", "execute x", 'prepared statement "x" does not exist') is None


# All of them.


def test_the_servers_own_hint_stays() -> None:
    told = hint("42601", "select §%s", hint="Look closer.")
    assert told == "Look closer. Placeholders are $1, $2, …, not %s."


def test_twice_is_as_good_as_once() -> None:
    error = PostgresError("?")
    error.sqlstate, error.position = "42601", 8
    for _ in range(2):
        advise(error, "select %s")
        assert error.hint == "Placeholders are $1, $2, …, not %s."


@pytest.mark.parametrize("fields", [{"where": "function f"}, {"internal_query": "select %s"}])
def test_what_fails_inside_of_a_function_is_not_about_the_sql(fields: dict[str, str]) -> None:
    assert hint("42601", "select §%s", **fields) is None


@pytest.mark.parametrize("position", [None, 0, -1, 10, 2**31, 2**70])
def test_positions_that_are_nowhere(position: int | None) -> None:
    for state in STATES:
        assert hint(state, "select %s", position=position) is None
    assert hint("42P02", "", "", position=position) is None


def test_other_errors() -> None:
    assert hint("23505", "insert into t values ($1)", "duplicate key", [1]) is None


def test_a_value_that_cannot_be_looked_at() -> None:
    class Bad(datetime.datetime):
        @property
        def tzinfo(self) -> Any:
            raise RuntimeError

    value = Bad(2026, 1, 1)
    assert hint("42P18", "select f($1)", "type of parameter $1", [value]) is None


STATES = ["0A000", "22P02", "26000", "42601", "42703", "42725", "42804", "42883", "42P05"]
STATES += ["42P02", "42P08", "42P18", "22003", "22007", "22008", "22023", "XX000"]
PIECES = ["$1", "$0", "$99999", " ", "%s", "?", "(", ")", ",", "'", '"', "/*", "*/", "--", "\n"]
PIECES += [";", "in", "set", "from", "::", "[]", "=", "+", "->", "text", "unknown", "☃", ":", "{}"]
TEXT = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@given(
    state=st.sampled_from(STATES),
    sql=TEXT,
    message=TEXT,
    position=st.none() | st.integers(-2, 60),
    params=st.lists(st.none() | st.integers() | st.text(), max_size=2),
    where=st.none() | TEXT,
    routine=st.sampled_from([None, "json_x", "enforce_generic_type_consistency"]),
)
def test_whatever_comes(sql: str, state: str, params: list[Any], **fields: Any) -> None:
    told = hint(state, sql.replace("§", ""), params=params, **fields)
    assert told is None or (told[0].isupper() and told.endswith("."))


@pytest.mark.parametrize(
    "sql",
    ["(" * 50_000, "--" * 50_000, "-- \n" * 30_000, "/*" * 50_000, "/**/" * 30_000, " in" * 50_000],
)
def test_long_sql_takes_no_time(sql: str) -> None:
    """Would take minutes if it went back and forth."""
    for state in STATES:
        for position in (1, len(sql) // 2, len(sql)):
            hint(state, sql, sql[:10_000], [1], position=position)
    assert first_word(sql) in ("", "in")


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select 1", "select"),
        ("\n ( SELECT 1)", "select"),
        ("-- drop\n/* set * / */ insert", "insert"),
        ("-- drop", ""),
        ("/* drop", ""),
        ("/* a -- b */ values", "values"),
        ("", ""),
        ("1", ""),
    ],
)
def test_the_first_word(sql: str, word: str) -> None:
    assert first_word(sql) == word


# What is found on our side.


@pytest.mark.parametrize(
    ("value", "codec", "expected"),
    [
        ([1], "int4", "to compare with the elements of a list write = any($3)"),
        (["x"], "text", "to compare with the elements of a list write = any($3)"),
        ((1,), "int4", "to compare with the elements of a tuple write = any($3)"),
        ({"x"}, "text", "to compare with the elements of a set write = any($3)"),
        ((1,), "record", "write $3::type, with the name of its type"),
        ([1], "int4[]", ""),
        ([1], "jsonb", ""),
        (1, "text", "where the SQL leaves the type open, write $3::bigint"),
        ({"a": 1}, "text", "where the SQL leaves the type open, write $3::jsonb"),
        (object(), "text", ""),
        ("x", "text", ""),
        (1, "date", ""),
    ],
)
def test_a_value_that_does_not_fit(value: Any, codec: str, expected: str) -> None:
    assert misfit_hint(3, value, codec) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from t where id = '$1'", "write placeholders without quotes: $1, not '$1'"),
        ("select * from t where id = '%s'", "write placeholders without quotes: $1, not '%s'"),
        (
            "select * from t where name like '%$1%'",
            "a placeholder in quotes is text: write '%' || $1 || '%' for a pattern, "
            "$1 * interval '1 day' for a span",
        ),
        ("select * from t where id = @id", "placeholders are $1, $2, …, not @id"),
        ("create view v as select $1", LITERAL[0].lower() + LITERAL[1:-1]),
        ("select 'it''s $', a @> b, @@x, 'a@b'", ""),
        ("create table x ()", ""),
        ("select 1", ""),
    ],
)
def test_more_parameters_than_the_statement_has(sql: str, expected: str) -> None:
    assert miscount_hint(sql, 0) == expected


def test_a_placeholder_in_quotes_that_is_one_elsewhere() -> None:
    assert miscount_hint("select $1, 'it costs $1'", 1) == ""
    assert "in quotes is text" in miscount_hint("select $1, interval '$2 days'", 1)
