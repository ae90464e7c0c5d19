"""`query` and `script`: parameters, results, the shapes of rows, errors."""

from __future__ import annotations

import datetime
import decimal
import pickle
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pydantic
import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from tests.shells.conftest import Connect


@dataclass
class Point:
    x: int
    y: int


class Pair(NamedTuple):
    x: int
    y: int


def in_step(conn: pgwire.Connection) -> bool:
    """Whether the connection answers what it is asked."""
    return bool(conn.query("select $1::text", ["marker"]).scalar() == "marker")


class TestParameters:
    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            ("bool", True),
            ("int2", -32768),
            ("int4", 2**31 - 1),
            ("int8", -(2**63)),
            ("float8", 1.5),
            ("numeric", decimal.Decimal("12345678901234567890.000100")),
            ("text", "snow ☃ and 'quotes' \\ $1"),
            ("bytea", bytes(range(256))),
            ("date", datetime.date(2026, 2, 28)),
            ("time", datetime.time(1, 2, 3, 4)),
            ("timestamp", datetime.datetime(2026, 2, 28, 1, 2, 3, 4)),
            ("timestamptz", datetime.datetime(2026, 2, 28, 1, 2, 3, tzinfo=datetime.UTC)),
            ("uuid", uuid.UUID(int=7)),
            ("jsonb", {"a": [1, None, "x"]}),
            ("int4[]", [1, None, 3]),
            ("text[]", [["a", "b"], ["c", "d"]]),
            ("interval", pgwire.Interval(months=1, days=-2, microseconds=3)),
        ],
    )
    def test_values_come_back_as_they_went(
        self, conn: pgwire.Connection, type_: str, value: Any
    ) -> None:
        for params in ([value], (value,)):
            back = conn.query(f"select $1::{type_} as v", params).scalar()
            assert back == value
            assert type(back) is type(value)

    def test_null_in_every_position(self, conn: pgwire.Connection) -> None:
        sql = "select $1::int4, $2::text, $3::bytea, $4::int4[]"
        for index in range(4):
            params: list[Any] = [1, "a", b"b", [2]]
            params[index] = None
            assert tuple(conn.query(sql, params).one()) == tuple(params)

    def test_a_str_is_taken_for_every_type(self, conn: pgwire.Connection) -> None:
        assert conn.query("select $1::int4 + 1", ["41"]).scalar() == 42
        with pytest.raises(errors.InvalidTextRepresentation):
            conn.query("select $1::int4", ["many"])
        assert in_step(conn)

    def test_no_parameters(self, conn: pgwire.Connection) -> None:
        assert conn.query("select 1").scalar() == 1
        assert conn.query("select 1", []).scalar() == 1


class TestResults:
    def test_of_a_select(self, conn: pgwire.Connection) -> None:
        result = conn.query("select i as a, i * 2 as b from generate_series(1, 3) i")
        assert result.command == "SELECT"
        assert result.command_tag == "SELECT 3"
        assert result.row_count == 3
        assert len(result) == 3
        assert result
        assert [tuple(row) for row in result] == [(1, 2), (2, 4), (3, 6)]
        assert result[-1] == (3, 6)
        assert result[:2] == result.rows[:2]
        assert [column.name for column in result.columns] == ["a", "b"]
        assert {column.type_oid for column in result.columns} == {23}
        assert result.scalars() == [1, 2, 3]
        assert result.dicts()[0] == {"a": 1, "b": 2}
        assert result.first() == (1, 2)

    def test_of_commands(self, conn: pgwire.Connection) -> None:
        created = conn.query("create temp table t (a int)")
        assert (created.command, created.row_count, created.columns) == ("CREATE TABLE", None, ())
        inserted = conn.query("insert into t select generate_series(1, 5)")
        assert (inserted.command, inserted.row_count, len(inserted)) == ("INSERT", 5, 0)
        assert not inserted
        returned = conn.query("delete from t where a > 3 returning a")
        assert (returned.row_count, sorted(returned.scalars())) == (2, [4, 5])

    def test_an_empty_query(self, conn: pgwire.Connection) -> None:
        result = conn.query("  -- nothing")
        assert (result.rows, result.command_tag, result.row_count) == ([], "", None)
        assert in_step(conn)

    def test_rows_without_columns(self, conn: pgwire.Connection) -> None:
        assert conn.query("select from generate_series(1, 3)").rows == [(), (), ()]

    def test_one_and_first_and_scalar_of_nothing(self, conn: pgwire.Connection) -> None:
        none = conn.query("select 1 where false")
        assert none.first() is None
        assert none.scalar() is None
        with pytest.raises(pgwire.NoRows):
            none.one()
        with pytest.raises(pgwire.TooManyRows):
            conn.query("select generate_series(1, 2)").one()

    def test_rows_are_tuples_with_names(self, conn: pgwire.Connection) -> None:
        row = conn.query('select 1 as a, 2 as "count", 3 as "a b", 4 as twice, 5 as twice').one()
        assert isinstance(row, tuple)
        assert (row.a, row["a b"], row["twice"], row.twice) == (1, 3, 5, 5)
        assert getattr(row, "count") == 2  # noqa: B009 (the checker means the tuple's method)
        assert row[3] == 4
        assert row._asdict() == {"a": 1, "count": 2, "a b": 3, "twice": 5}
        copy = pickle.loads(pickle.dumps(row))
        assert copy == row
        assert copy["a b"] == 3
        with pytest.raises(AttributeError, match="no column 'b'"):
            _ = row.b
        with pytest.raises(KeyError, match="no column 'b'"):
            row["b"]


class TestShapesOfRows:
    SQL = "select 1 as x, 2 as y"

    def test_a_dataclass(self, conn: pgwire.Connection) -> None:
        assert conn.query(self.SQL, row=Point).rows == [Point(1, 2)]

    def test_a_named_tuple(self, conn: pgwire.Connection) -> None:
        pair = conn.query(self.SQL, row=Pair).one()
        assert (type(pair), pair) == (Pair, Pair(1, 2))

    def test_dict_and_tuple(self, conn: pgwire.Connection) -> None:
        assert conn.query(self.SQL, row=dict).rows == [{"x": 1, "y": 2}]
        assert [type(row) for row in conn.query(self.SQL, row=tuple)] == [tuple]

    def test_any_callable_gets_the_row(self, conn: pgwire.Connection) -> None:
        assert conn.query(self.SQL, row=lambda row: row.x + row.y).rows == [3]

    def test_a_factory_that_raises_leaves_the_connection_in_step(
        self, conn: pgwire.Connection
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            conn.query(self.SQL, row=lambda row: row.x / 0)
        assert in_step(conn)

    def test_a_class_that_does_not_fit_is_refused_before_the_statement_is_run(
        self, conn: pgwire.Connection
    ) -> None:
        conn.query("create temp table t (x int)")
        insert = "insert into t values (1) returning x, 1 as z"
        with conn.prepare(insert) as statement:
            for _ in range(2):  # not cached yet, and cached
                for query in (conn.query, lambda _, row: statement.query(row=row)):
                    with pytest.raises(pgwire.InterfaceError) as caught:
                        query(insert, row=Point)
                    assert str(caught.value) == (
                        "rows cannot become Point: it has no field for column 'z'; "
                        "field 'y' has no column (columns: x, z; fields: x, y)"
                    )
        with pytest.raises(pgwire.InterfaceError, match="row must be a class, or a function"):
            conn.query(insert, row=5)  # type: ignore[call-overload]
        assert conn.query("select count(*) from t").scalar() == 0

    def test_classes_of_other_libraries(self, conn: pgwire.Connection) -> None:
        sql = "select 1 as x, '{\"a\": 2}'::jsonb as y"

        class Inner(pydantic.BaseModel):
            a: int

        class Model(pydantic.BaseModel):
            x: int
            y: Inner

        @attrs.define
        class Attrs:
            x: int
            y: dict[str, int]
            z: str = "z"

        assert conn.query(sql, row=Model).one() == Model(x=1, y=Inner(a=2))
        assert conn.query(sql, row=Attrs).one() == Attrs(1, {"a": 2}, "z")
        with pytest.raises(pydantic.ValidationError) as caught:
            conn.query("select 1 as x, 'y' as y", row=Model)
        assert "row 1" in str(caught.value.__notes__)
        assert in_step(conn)


class TestErrors:
    def test_a_syntax_error_shows_where(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.PostgresSyntaxError) as caught:
            conn.query("select 1,\n  2 form t")
        error = caught.value
        assert (error.sqlstate, error.severity) == ("42601", "ERROR")
        assert isinstance(error, pgwire.ProgrammingError)
        assert error.query == "select 1,\n  2 form t"
        lines = str(error).splitlines()
        assert lines[1] == "LINE 2:   2 form t"
        assert lines[2].index("^") == lines[1].index("t", 14)

    def test_a_violation_names_the_constraint(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int constraint only_once unique)")
        conn.query("insert into t values (1)")
        with pytest.raises(errors.UniqueViolation) as caught:
            conn.query("insert into t values ($1)", [1])
        error = caught.value
        assert isinstance(error, pgwire.IntegrityError)
        assert (error.constraint, error.table) == ("only_once", "t")
        assert error.detail is not None
        assert error.detail in str(error)
        assert in_step(conn)

    def test_they_can_be_pickled(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.UndefinedTable) as caught:
            conn.query("select * from nowhere")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is errors.UndefinedTable
        assert str(copy) == str(caught.value)
        assert vars(copy) == vars(caught.value)

    def test_the_parameters_are_not_in_them(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.DivisionByZero) as caught:
            conn.query("select 1 / $1::int", [0])
        assert caught.value.query == "select 1 / $1::int"

    def test_an_error_in_the_middle_of_the_rows(self, conn: pgwire.Connection) -> None:
        for _ in range(2):  # fresh, and from the cache
            with pytest.raises(errors.DivisionByZero):
                conn.query("select 1 / (500 - i) from generate_series(1, 1000) i")
            assert in_step(conn)

    def test_two_statements_in_one_query(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.PostgresSyntaxError, match="multiple commands"):
            conn.query("select 1; select 2")
        assert in_step(conn)

    def test_a_decoder_that_raises_spoils_its_own_result_only(self, connect: Connect) -> None:
        def loads(text: str) -> Any:
            raise LookupError(text)

        conn = connect(json_loads=loads)
        for sql in ("select '1'::jsonb", "select '1'::json from generate_series(1, 5000)"):
            for _ in range(2):
                with pytest.raises(pgwire.DataError) as caught:
                    conn.query(sql)
                assert isinstance(caught.value.__cause__, LookupError)
                assert in_step(conn)
        with pytest.raises(pgwire.DataError, match="JSON"):
            conn.script("select 1; select '1'::json")
        assert in_step(conn)

    def test_client_encoding_is_not_to_be_changed(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.InterfaceError, match="UTF8"):
            conn.query("set client_encoding to latin1")
        assert conn.closed


class TestScripts:
    def test_a_result_for_every_statement(self, conn: pgwire.Connection) -> None:
        results = conn.script(
            "create temp table t (a int, b timestamptz); insert into t values (1, 'epoch');"
            "; select * from t; -- the end"
        )
        assert [result.command for result in results] == ["CREATE TABLE", "INSERT", "SELECT"]
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        assert results[2].rows == [(1, epoch)]

    def test_nothing_gives_no_results(self, conn: pgwire.Connection) -> None:
        assert conn.script("") == []
        assert conn.script(" ; -- x") == []

    def test_values_are_decoded_as_in_query(self, conn: pgwire.Connection) -> None:
        sql = (
            "select true, 1::int2, 1.5::float8, 1.50::numeric, 'x'::bytea, '1 day'::interval, "
            "array[1,null], '{\"a\":1}'::jsonb, null::int, 'epoch'::timestamp"
        )
        (result,) = conn.script(sql)
        assert result.rows == conn.query(sql).rows
        assert list(map(type, result[0])) == list(map(type, conn.query(sql)[0]))

    def test_an_error_carries_the_results_before_it(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.DivisionByZero) as caught:
            conn.script("select 1; select 2; select 1/0; select 3")
        results = pickle.loads(pickle.dumps(caught.value)).results
        assert [result.scalar() for result in results] == [1, 2]
        assert in_step(conn)

    def test_a_statement_that_a_rule_has_made_several_of(self, conn: pgwire.Connection) -> None:
        conn.script(
            "create temp table t (a int); create rule r as on insert to t"
            " do instead (select 5 as five; select 'x' as a, 6 as b)"
        )
        one, two, three = conn.script("insert into t values (1); select 7")
        assert (one.rows, two.rows, three.rows) == ([(5,)], [("x", 6)], [(7,)])
        assert (one.command_tag, two.command_tag) == ("", "INSERT 0 0")

    def test_a_script_is_one_transaction(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int)")
        with pytest.raises(errors.DivisionByZero):
            conn.script("insert into t values (1); select 1/0")
        assert conn.query("select count(*) from t").scalar() == 0

    def test_it_may_open_a_transaction(self, conn: pgwire.Connection) -> None:
        conn.script("begin; select 1")
        assert conn.transaction_status is TransactionStatus.IN_TRANSACTION
        (rolled_back,) = conn.script("rollback")
        assert rolled_back.command_tag == "ROLLBACK"


class TestCopy:
    """COPY has calls of its own; elsewhere it is refused, and the connection stays usable."""

    @pytest.fixture(autouse=True)
    def table(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table t (a int)")

    @pytest.mark.parametrize(
        "sql", ["copy t from stdin", "copy (select generate_series(1, 5000)) to stdout"]
    )
    @pytest.mark.parametrize("prepared", [True, False])
    def test_in_a_query(
        self, conn: pgwire.Connection, connect: Connect, sql: str, prepared: bool
    ) -> None:
        if not prepared:
            conn = connect(prepare=False)
            conn.query("create temp table t (a int)")
        for _ in range(2):
            with pytest.raises(pgwire.NotSupportedError, match="copy_"):
                conn.query(sql)
            assert in_step(conn)
        assert conn.query("select count(*) from t").scalar() == 0

    @pytest.mark.parametrize("sql", ["copy t from stdin", "copy (select 1) to stdout"])
    def test_in_a_script(self, conn: pgwire.Connection, sql: str) -> None:
        for script in (sql, f"select 1; {sql}; select 2"):
            with pytest.raises(pgwire.NotSupportedError):
                conn.script(script)
            assert in_step(conn)

    def test_inside_a_transaction(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.NotSupportedError):
            with conn.transaction():
                conn.query("copy t from stdin")
        assert in_step(conn)
        assert conn.transaction_status is TransactionStatus.IDLE

    def test_a_copy_that_fails_by_itself(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.UndefinedTable):
            conn.query("copy nowhere from stdin")
        assert in_step(conn)

    def test_a_copy_of_a_file_on_the_server_is_none_of_our_business(
        self, conn: pgwire.Connection
    ) -> None:
        result = conn.query("copy (select generate_series(1, 3)) to program 'cat >/dev/null'")
        assert (result.command, result.row_count) == ("COPY", 3)
