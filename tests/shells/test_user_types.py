"""Types that users make: enums, composites, domains, ranges, and arrays of all of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import pgwire
from pgwire.pgtypes.registration import GLOBAL
from pgwire.protocol import looking_up

if TYPE_CHECKING:
    from tests.shells.conftest import Connect

SETUP = """
    drop schema if exists user_types cascade;
    create schema user_types;
    set search_path to user_types;
    create type mood as enum ('sad', 'so so', 'hap"py,}');
    create domain amount as numeric(10, 2) check (value >= 0);
    create domain total as amount;
    create type address as (street text, "No." int4, moods mood[], price total);
    create type person as (name text, home address, others address[]);
    create type floats as range (subtype = float8);
"""
HOME = ('Ährenweg, "1" \\ (x)', 5, ["sad", None, 'hap"py,}'], Decimal("1.50"))


@pytest.fixture
def conn(connect: Connect) -> pgwire.Connection:
    conn = connect()
    conn.script(SETUP)
    return conn


def both(conn: pgwire.Connection, expression: str) -> Any:
    """The value in binary (as far as it can be), having compared it with that in text."""
    value = conn.query(f"select {expression}").scalar()
    ((row,),) = (result.rows for result in conn.script(f"select {expression}"))
    assert repr(row[0]) == repr(value)
    return value


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The types that each look-up has asked for, from now on."""
    asked: list[set[int]] = []
    real = looking_up.lookup_messages

    def spy(session: Any, name: bytes, wanted: Any) -> bytes:
        asked.append(set(wanted))
        return real(session, name, wanted)

    monkeypatch.setattr(looking_up, "lookup_messages", spy)
    return asked


class TestWhatTheyAre:
    def test_an_enum_is_its_label(self, conn: pgwire.Connection) -> None:
        assert both(conn, "'so so'::mood") == "so so"
        assert both(conn, """array['sad', null, 'hap"py,}']::mood[]""") == HOME[2]
        assert conn.query("select $1::mood", ["sad"]).scalar() == "sad"
        assert conn.query("select $1::mood[]", [HOME[2]]).scalar() == HOME[2]
        with pytest.raises(pgwire.errors.InvalidTextRepresentation):
            conn.query("select $1::mood", ["glad"])

    def test_a_domain_is_what_it_is_made_of(self, conn: pgwire.Connection) -> None:
        assert both(conn, "1.5::total") == Decimal("1.50")
        assert both(conn, "array[1.5, null]::total[]") == [Decimal("1.50"), None]
        result = conn.query("select $1::total, $2::total[]", [1.5, [2, None]])
        assert result.one() == (Decimal("1.50"), [Decimal("2.00"), None])
        with pytest.raises(pgwire.errors.CheckViolation):
            conn.query("select $1::total", [-1])

    def test_a_composite_is_a_row(self, conn: pgwire.Connection) -> None:
        value = conn.query("select $1::address", [HOME]).scalar()
        assert value == HOME
        assert type(value).__mro__[1] is pgwire.Row
        assert (value.street, value["No."], value.moods, value.price) == HOME
        assert both(conn, "row(null, null, null, null)::address") == (None,) * 4
        assert both(conn, "null::address") is None

    def test_composites_in_composites_and_arrays(self, conn: pgwire.Connection) -> None:
        person = ("Ann", HOME, [HOME, None, (None,) * 4])
        result = conn.query("select $1::person, $2::person[]", [person, [person, None]])
        assert result.one() == (person, [person, None])
        conn.query("create table people (p person)")
        conn.query("insert into people values ($1)", [person])
        assert both(conn, "p from people") == person
        assert both(conn, "people from people") == (person,)

    def test_what_a_composite_may_be_given_as(self, conn: pgwire.Connection) -> None:
        @dataclass
        class Address:
            street: str
            moods: list[str]
            price: int

        conn.query('alter type address drop attribute "No."')
        text = '("a b",{sad},1.00)'
        for value in (
            ("a b", ["sad"], 1),
            {"price": 1, "street": "a b", "moods": ["sad"]},
            Address("a b", ["sad"], 1),
            text,
        ):
            assert conn.query("select $1::address::text", [value]).scalar() == text
        for wrong, words in (
            (("a",), r"expected 3 fields \(street, moods, price\), got 1 of them"),
            ({"street": "a"}, "it lacks moods, price"),
            (("a", ["sad"], object()), "field price: expected Decimal, int or float, got object"),
            (5, "expected a tuple, dict, or object with the attributes street"),
        ):
            with pytest.raises(pgwire.DataError, match=words):
                conn.query("select $1::address::text", [wrong])

    def test_dropped_columns_are_not_there(self, conn: pgwire.Connection) -> None:
        conn.script(
            "create table t (a int, gone text, b mood); insert into t values (1, 'x', 'sad');"
            "alter table t drop column gone"
        )
        row = both(conn, "t from t")
        assert row == (1, "sad")
        assert row._asdict() == {"a": 1, "b": "sad"}

    def test_ranges_and_multiranges(self, conn: pgwire.Connection) -> None:
        half_open = pgwire.Range(1.5, None)
        assert both(conn, "'[1.5,)'::floats") == half_open
        assert both(conn, "array['[1.5,)', 'empty', null]::floats[]") == [
            half_open,
            pgwire.Range.empty(),
            None,
        ]
        value = pgwire.Multirange([pgwire.Range(1.0, 2.0), pgwire.Range(3.0, None)])
        if conn.server_version >= 140000:
            name = conn.query(
                "select typname::text from pg_type where oid = (select rngmultitypid"
                " from pg_range where rngtypid = 'floats'::regtype)"
            ).scalar()
            assert both(conn, f"'{{[1,2),[3,)}}'::{name}") == value
            assert conn.query(f"select $1::{name}, $2::floats", [value, half_open]).one() == (
                value,
                half_open,
            )

    def test_an_anonymous_record_has_typed_fields(self, conn: pgwire.Connection) -> None:
        value = conn.query("select row(1, 'sad'::mood, array['sad']::mood[], null)").scalar()
        assert value == (1, "sad", ["sad"], None)
        rows = conn.query("select array_agg(r) from (select 1 a, 'sad'::mood b) r").scalar()
        assert rows == [(1, "sad")]

    def test_two_schemas_may_have_types_of_one_name(self, conn: pgwire.Connection) -> None:
        conn.script(
            "drop schema if exists user_types_2 cascade; create schema user_types_2;"
            "create type user_types_2.mood as (a int)"
        )
        result = conn.query("select 'sad'::mood, row(1)::user_types_2.mood")
        assert result.one() == ("sad", (1,))


class TestThatTheyChange:
    """What is true of a type now is what counts."""

    @pytest.mark.parametrize(
        ("sql", "value"),
        [
            ("select $1::mood", "sad"),
            ("select $1::mood[]", ["sad"]),
            ("select row($1::mood)", "sad"),
            ("insert into t values ($1) returning m", "sad"),
        ],
    )
    def test_dropped_and_made_anew(self, conn: pgwire.Connection, sql: str, value: Any) -> None:
        for _ in range(3):
            conn.script(
                "drop type mood cascade; create type mood as enum ('new', 'sad');"
                "drop table if exists t; create table t (m mood)"
            )
            for _ in range(2):
                conn.query(sql, [value])

    def test_made_anew_as_something_else(self, conn: pgwire.Connection) -> None:
        assert conn.query("select $1::mood", ["sad"]).scalar() == "sad"
        conn.script("drop type mood cascade; create type mood as (a int, b text)")
        assert conn.query("select $1::mood", [(1, "x")]).scalar() == (1, "x")
        conn.script("drop type mood cascade; create domain mood as int[]")
        assert conn.query("select $1::mood", [[1, 2]]).scalar() == [1, 2]

    def test_an_attribute_is_added_and_dropped(self, conn: pgwire.Connection) -> None:
        conn.script("create type pair as (a int, b text)")
        read = "select case when true then row(1, 'x')::pair end"
        assert conn.query(read).scalar() == (1, "x")
        conn.query("create table pairs (p pair)")
        conn.query("insert into pairs values ($1)", [(1, "x")])
        conn.query("select p from pairs")
        conn.query("alter type pair add attribute c mood")
        assert conn.query("select p from pairs").scalar()._asdict() == {"a": 1, "b": "x", "c": None}
        conn.query("insert into pairs values ($1)", [(2, "y", "sad")])
        conn.query("alter type pair drop attribute a")
        assert conn.query("select p from pairs").scalars() == [("x", None), ("y", "sad")]

    def test_a_label_is_added(self, conn: pgwire.Connection) -> None:
        assert conn.query("select $1::mood", ["sad"]).scalar() == "sad"
        conn.query("alter type mood add value 'new'")
        assert conn.query("select $1::mood", ["new"]).scalar() == "new"

    def test_an_attribute_s_new_name_needs_a_refresh(self, conn: pgwire.Connection) -> None:
        conn.query("create type one as (a int)")
        assert conn.query("select row(1)::one").scalar().a == 1
        conn.query("alter type one rename attribute a to z")
        conn.refresh_types()
        assert conn.query("select row(1)::one").scalar().z == 1

    def test_inside_of_a_transaction(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            conn.script("create type inner_mood as enum ('a')")
            assert conn.query("select $1::inner_mood", ["a"]).scalar() == "a"
            assert conn.query("select row('a'::inner_mood)").scalar() == ("a",)
            assert conn.script("select 'a'::inner_mood")[0].scalar() == "a"


class TestTheLookUp:
    def test_each_type_once(self, conn: pgwire.Connection, lookups: list[set[int]]) -> None:
        for _ in range(3):
            for sql in ("select 'sad'::mood", "select null::address", "select row('sad'::mood)"):
                conn.query(sql)
                conn.script(sql)
        assert len(lookups) == 4  # mood; address, then its attributes' types, then their parts
        assert len(set.union(*lookups)) == sum(map(len, lookups))

    def test_none_for_the_types_that_every_server_has(
        self, conn: pgwire.Connection, lookups: list[set[int]]
    ) -> None:
        conn.query("select 1, 'x'::text, now(), '{}'::int4[], '[1,2)'::int4range, '1.1.1.1'::inet")
        assert lookups == []

    def test_nothing_on_the_search_path_gets_in_between(self, conn: pgwire.Connection) -> None:
        conn.script(
            "create table pg_type (oid oid); create table pg_range (oid oid);"
            "create function wrong(oid, oid) returns bool language sql as 'select 1/0 = 1';"
            "create operator = (leftarg = oid, rightarg = oid, function = wrong);"
            "create function wrong2(int2, int4) returns bool language sql as 'select 1/0 = 1';"
            "create operator > (leftarg = int2, rightarg = int4, function = wrong2);"
            "set search_path to user_types, pg_catalog"
        )
        assert conn.query("select row('a', 1, null, 2)::address").scalar().price == Decimal("2.00")

    def test_without_prepared_statements(self, connect: Connect, conn: pgwire.Connection) -> None:
        other = connect(prepare=False, options="-csearch_path=user_types")
        assert other.query("select $1::address, row('sad'::mood)", [HOME]).one() == (HOME, ("sad",))
        assert other.query("select $1::mood", ["sad"]).scalar() == "sad"

    def test_a_prepared_statement_names_its_types(self, conn: pgwire.Connection) -> None:
        conn.query("create table t (a address, m mood[], n total)")
        with conn.prepare("insert into t values ($1, $2, $3)") as statement:
            assert statement.parameter_types == ("address", "mood[]", "total")
            statement.query([HOME, ["sad"], 1])
            statement.query_many([[HOME, ["sad"], 1], [None, None, None]])
        assert conn.query("select count(*) from t").scalar() == 3

    def test_many_records_at_once(self, conn: pgwire.Connection) -> None:
        conn.query("create table t (m mood)")
        result = conn.query_many(
            "insert into t values ($1) returning row(m)", [["sad"], ["so so"], [None]]
        )
        assert result.scalars() == [("sad",), ("so so",), (None,)]


class Mood(enum.Enum):
    SAD = "sad"
    MEDIUM = "so so"
    HAPPY = 'hap"py,}'


class Size(enum.Enum):
    small = 1
    large = 2


class Pair(NamedTuple):
    b: str
    a: int


@dataclass
class Point3:
    x: float
    y: float
    z: float = 0.0


class TestRegistered:
    def test_a_python_enum(self, conn: pgwire.Connection) -> None:
        conn.register_type("mood", Mood)
        assert both(conn, "'sad'::mood") is Mood.SAD
        assert both(conn, "array['so so']::mood[]") == [Mood.MEDIUM]
        assert conn.query("select $1::mood", [Mood.HAPPY]).scalar() is Mood.HAPPY
        assert conn.query("select $1::mood", ["sad"]).scalar() is Mood.SAD
        conn.query("alter type mood add value 'MEDIUM'")  # which is a member's name
        assert conn.query("select 'MEDIUM'::mood").scalar() is Mood.MEDIUM
        conn.query("alter type mood add value 'new'")
        with pytest.raises(pgwire.DataError, match=r"'new' of mood has no member in Mood"):
            conn.query("select 'new'::mood")

    def test_its_names_are_labels_where_its_values_are_not(self, conn: pgwire.Connection) -> None:
        conn.query("create type size as enum ('small', 'large')")
        assert conn.query("select $1::size", [Size.large]).scalar() == "large"  # even so
        conn.register_type("user_types.size", Size)
        assert conn.query("select $1::size", [Size.large]).scalar() is Size.large

    def test_a_class_for_a_composite(self, conn: pgwire.Connection) -> None:
        conn.script(
            "create type pair as (a int, b text);"
            "create type point3 as (x float8, y float8, z float8)"
        )
        conn.register_type("pair", Pair)
        conn.register_type("point3", Point3)
        assert both(conn, "row(1, 'x')::pair") == Pair(a=1, b="x")
        value = conn.query("select $1::pair[], $2::point3", [[Pair("x", 1)], Point3(1, 2)]).one()
        assert value == ([Pair("x", 1)], Point3(1.0, 2.0, 0.0))
        assert conn.query("select $1::pair", [(1, "x")]).scalar() == Pair("x", 1)

    def test_text_functions(self, conn: pgwire.Connection) -> None:
        conn.register_type("mood", decode=str.upper, encode=str.lower)
        conn.register_type("numeric", decode=float)
        assert both(conn, "array['sad']::mood[]") == ["SAD"]
        assert both(conn, "row('a', 1, array['sad']::mood[], 1.5)::address") == (
            "a",
            1,
            ["SAD"],
            1.5,
        )
        assert conn.query("select row('sad'::mood, 1.5)").scalar() == ("SAD", 1.5)
        assert conn.query("select $1::numeric", [Decimal("0.1")]).scalar() == 0.1

    def test_binary_functions(self, conn: pgwire.Connection) -> None:
        conn.register_type("uuid", decode=bytes.hex, encode=bytes.fromhex, format="binary")
        text = "0123456789abcdef0123456789abcdef"
        assert both(conn, f"'{text}'::uuid") == text
        assert conn.query("select $1::uuid[]", [[text]]).scalar() == [text]

    def test_what_a_registered_function_raises(self, conn: pgwire.Connection) -> None:
        def fail(_: str) -> None:
            raise RuntimeError("secret")

        conn.register_type("mood", decode=fail)
        with pytest.raises(pgwire.DataError, match="to decode mood raised RuntimeError") as caught:
            conn.query("select 'sad'::mood")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert conn.query("select 1").scalar() == 1

    def test_a_statement_that_was_cached_before(self, conn: pgwire.Connection) -> None:
        for _ in range(3):
            assert conn.query("select 'sad'::mood, $1::mood", ["sad"]).one() == ("sad", "sad")
        conn.register_type("mood", Mood)
        for _ in range(3):
            assert conn.query("select 'sad'::mood, $1::mood", ["sad"]).one() == (Mood.SAD, Mood.SAD)

    def test_json_as_a_class(self, conn: pgwire.Connection) -> None:
        conn.register_type("jsonb", Point3)
        assert both(conn, """'{"x": 1, "y": 2}'::jsonb""") == Point3(1, 2)
        assert conn.query("select $1::jsonb", [Point3(1, 2, 3)]).scalar() == Point3(1, 2, 3)
        assert conn.query("select $1::jsonb::text", [Point3(1, 2, 3)]).scalar() == (
            '{"x": 1, "y": 2, "z": 3}'
        )
        assert conn.query("select 'null'::jsonb").scalar() is None

    def test_on_one_connection_only(self, connect: Connect, conn: pgwire.Connection) -> None:
        conn.register_type("mood", Mood)
        other = connect(options="-csearch_path=user_types")
        assert other.query("select 'sad'::mood").scalar() == "sad"

    def test_for_the_whole_program(
        self, connect: Connect, conn: pgwire.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(GLOBAL, "_by_name", {})
        assert conn.query("select 'sad'::mood").scalar() == "sad"
        pgwire.register_type("mood", Mood)
        assert conn.query("select 'sad'::mood").scalar() is Mood.SAD
        conn.register_type("mood", decode=str.upper)
        assert conn.query("select 'sad'::mood").scalar() == "SAD"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"name": "mood"}, "wants a class, or decode="),
            ({"name": "mood[]", "python_type": str}, "its arrays, and all else"),
            ({"name": "mood", "python_type": len}, "the second argument is a class, not builtin"),
            ({"name": "mood", "python_type": str, "decode": str}, "a class or functions, not both"),
            ({"name": "mood", "decode": 5}, "decode must be a function, not int"),
            ({"name": "mood", "decode": str, "format": "json"}, 'format is "text" or "binary"'),
        ],
    )
    def test_what_makes_no_sense(
        self, conn: pgwire.Connection, arguments: dict[str, Any], words: str
    ) -> None:
        arguments = dict(arguments)
        positional = [arguments.pop(n) for n in ("name", "python_type") if n in arguments]
        with pytest.raises(pgwire.ProgrammingError, match=words.replace("[", r"\[")):
            conn.register_type(*positional, **arguments)
