"""SQL without its values: literals and comments go, names and parameters stay."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pgwire.protocol.quoting import quote_identifier, quote_literal
from pgwire.sqltext import redacted, summary


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select 'a''b', $1, \"it's\"", 'select ?, $1, "it\'s"'),
        (r"select E'a\'b', e'c', U&'d', u&'e', X'1F', b'01', n'f'", "select ?, ?, ?, ?, ?, ?, ?"),
        ("select $$a$$, $t$ b $$ c $t$, $1::int", "select ?, ?, $1::int"),
        ("select 1, 2.5, .5, 1e10, 0xFF, 1_000, -3", "select ?, ?, ?, ?, ?, ?, -?"),
        ("select a1, t2.b3, c$4, $12", "select a1, t2.b3, c$4, $12"),
        ("select 1 -- secret\n, 2 /* secret\n */", "select ?  \n, ?  "),
        ("alter role app password 'hunter2'", "alter role app password ?"),
        ("select 'unterminated", "select ?"),
        ("select $$unterminated", "select ?"),
        ("select 1 /* unterminated", "select ?  "),
        ("select E'unterminated\\", "select ?"),
        ('select U&"d\\0061t", "a""b"', 'select U&"d\\0061t", "a""b"'),
        ("/* a /* b */ secret */ select 1 /**/ + /* /* */*/ 2", "  select ?   +   ?"),
        ("select 1 /* a /* b */ secret", "select ?  "),
        ("select 1 " + "/*" * 9 + " */ secret" * 9, "select ?  "),
        (r"select a like'%\' and b = 'secret'", "select a like? and b = ?"),
        ("select a$b$&1, 'secret', c$b$", "select a$b$&?, ?, c$b$"),
        ("", ""),
    ],
)
def test_without_literals(sql: str, expected: str) -> None:
    assert redacted(sql) == expected


def dollar_quoted(text: str) -> str:
    return f"$q${text}$q$"


def commented(text: str) -> str:
    return f"/* {text.replace('*', '').replace('/', '')} */ 1"


QUOTINGS = st.sampled_from([quote_literal, dollar_quoted, commented])


@given(st.lists(st.tuples(QUOTINGS, st.text("'\\$\"-/*xyz; \n"))), st.text("ab\"'$ "))
def test_nothing_of_a_value_is_left(values: list[tuple[object, str]], name: str) -> None:
    quoted = [quote(f"{text.replace('$q$', '')}7M{text}7") for quote, text in values]  # type: ignore[operator]
    column = quote_identifier(f"c{name}")
    left = redacted(f"select {', '.join([column, '$1', *quoted])} from t")
    assert "7" not in left
    assert left.startswith(f"select {column}, $1")
    assert left.endswith(" from t")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from users where id = $1", "SELECT users"),
        ("Select 1", "SELECT"),
        ("insert into shipping (a) select b from orders o join customers c on true",
         "INSERT shipping SELECT orders customers"),
        ("update only t set a = 1 where b in (select c from d) returning *", "UPDATE t SELECT d"),
        ("delete from \"My Table\" where a = 'from secret'", 'DELETE "My Table"'),
        ("select * from s.t for update", "SELECT s.t"),
        ("insert into t values (1) on conflict do update set a = 2", "INSERT t"),
        ("merge into t using u on true", "MERGE t"),
        ("create or replace temporary view v as select 1", "CREATE VIEW v SELECT"),
        ("create unique index concurrently if not exists i on t (a)", "CREATE INDEX i"),
        ("drop table if exists t", "DROP TABLE t"),
        ("truncate table t", "TRUNCATE t"),
        ("copy t from stdin", "COPY t"),
        ("copy (select 1) to stdout", "COPY SELECT"),
        ("call f($1)", "CALL f"),
        ("select * from (select 1) x", "SELECT SELECT"),
        ("begin", "BEGIN"),
        ("set a = 'secret'", "SET"),
        ("/* who */ select 1", "SELECT"),
        ("", ""),
        ("'secret'", ""),
    ],
)  # fmt: skip
def test_in_brief(sql: str, expected: str) -> None:
    assert summary(sql) == expected


def test_in_brief_it_is_short() -> None:
    brief = summary("select 1 from " + " join ".join(f"table_number_{n}" for n in range(100)))
    assert 200 < len(brief) <= 255
    assert brief.startswith("SELECT table_number_0 table_number_1")
    assert summary('select * from "' + "x" * 300 + '"') == "SELECT"
