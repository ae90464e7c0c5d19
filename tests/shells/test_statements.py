"""Prepared statements: the cache, what makes it stale, and `prepare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from tests.shells.conftest import Connect


def prepared(conn: pgwire.Connection) -> list[str]:
    """The statements that the server keeps, seen without leaving one."""
    (result,) = conn.script("select statement from pg_prepared_statements order by prepare_time")
    return result.scalars()


class TestTheCache:
    def test_a_statement_is_prepared_once(self, conn: pgwire.Connection) -> None:
        for i in range(10):
            assert conn.query("select $1::int", [i]).scalar() == i
        assert prepared(conn) == ["select $1::int"]

    def test_the_server_sees_no_more_than_its_size(self, connect: Connect) -> None:
        conn = connect(statement_cache_size=3)
        for i in range(10):
            conn.query(f"select {i}")
            assert len(prepared(conn)) <= 4  # the last one out is closed by the next flight
        conn.query("select 9")
        assert prepared(conn) == ["select 7", "select 8", "select 9"]

    def test_what_is_used_again_stays_longer(self, connect: Connect) -> None:
        """The fourth puts out the first; the second was used since, so the third goes next."""
        conn = connect(statement_cache_size=3)
        for number in (1, 2, 3, 4, 2, 5, 5):
            conn.query(f"select {number}")
        assert prepared(conn) == ["select 2", "select 4", "select 5"]

    @pytest.mark.parametrize("off", [{"prepare": False}, {"statement_cache_size": 0}])
    def test_without_it_nothing_is_left(self, connect: Connect, off: dict[str, int]) -> None:
        conn = connect(**off)
        for i in range(3):
            assert conn.query("select $1::int", [i]).scalar() == i
            with pytest.raises(errors.DivisionByZero):
                conn.query("select 1 / $1::int", [0])
        assert prepared(conn) == []

    def test_what_cannot_be_prepared_is_not_kept(self, conn: pgwire.Connection) -> None:
        for _ in range(3):
            with pytest.raises(errors.UndefinedTable):
                conn.query("select * from nowhere")
        assert prepared(conn) == []

    def test_wrong_values_keep_the_statement(self, conn: pgwire.Connection) -> None:
        for _ in range(3):
            with pytest.raises(pgwire.DataError):
                conn.query("select $1::int4", [2**40])
        assert prepared(conn) == ["select $1::int4"]

    def test_closing_takes_no_round_trip_of_its_own(self, connect: Connect) -> None:
        """The Close travels in the flight of the next statement."""

        def script(line: Line) -> None:
            line.let_in()
            text = [backend.column("v", 25)]
            line.answer(text, backend.row(b"a"))
            for number, name in (b"1", b"b"), (b"2", b"c"):
                line.expect("PDH")
                line.send(backend.described(columns=text))
                closed, *_ = line.expect("CBES")
                assert closed == b"S_pgwire_1092_" + number + b"\0"  # of the process 4242
                line.send(backend.CLOSE_COMPLETE, backend.executed(backend.row(name)))
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn, statement_cache_size=1)
            assert [conn.query(f"select {name}").scalar() for name in "abc"] == ["a", "b", "c"]
            conn.close()


@pytest.fixture
def table(conn: pgwire.Connection) -> str:
    conn.query("create temp table t (a int)")
    conn.query("insert into t values (1)")
    conn.query("select * from t")  # cached from here on
    return "t"


@pytest.mark.usefixtures("table")
class TestStaleStatements:
    ALTER = "alter table t add column b text default 'new'"

    def test_a_changed_result_heals_unseen(self, conn: pgwire.Connection) -> None:
        conn.query(self.ALTER)
        result = conn.query("select * from t")
        assert result.rows == [(1, "new")]
        assert [column.name for column in result.columns] == ["a", "b"]
        assert prepared(conn).count("select * from t") <= 2
        conn.query("select 1")
        assert prepared(conn).count("select * from t") == 1

    @pytest.mark.parametrize(
        ("column", "value"), [("bigint", 2**40), ("bigint", "9999999999"), ("text", "x")]
    )
    @pytest.mark.parametrize("way", ["query", "stream", "query_many", "pipeline", "statement"])
    def test_a_column_of_another_type_takes_its_values_the_next_time(
        self, conn: pgwire.Connection, way: str, column: str, value: object
    ) -> None:
        """The server goes on with the parameter's type as it was, and converts that."""
        sql = "insert into t values ($1) returning a"
        statement = conn.prepare(sql)

        def insert(value: object) -> list[Any]:
            if way == "statement":
                return statement.query([value]).scalars()
            if way == "stream":
                return [row.a for row in conn.stream(sql, [value])]
            if way == "query_many":
                return conn.query_many(sql, [[value]]).scalars()
            if way == "query":
                return conn.query(sql, [value]).scalars()
            with conn.pipeline() as pipeline:
                return pipeline.query(sql, [value]).result().scalars()

        assert insert(1) == [1]
        conn.query(f"alter table t alter column a type {column}")
        with pytest.raises(pgwire.DataError):
            insert(value)
        assert [str(inserted) for inserted in insert(value)] == [str(value)]

    def test_inside_a_transaction_it_is_reported(self, conn: pgwire.Connection) -> None:
        conn.query(self.ALTER)
        with pytest.raises(errors.FeatureNotSupported, match="cached plan"):
            with conn.transaction():
                conn.query("select * from t")
        assert conn.transaction_status is TransactionStatus.IDLE
        with conn.transaction():
            assert conn.query("select * from t").rows == [(1, "new")]

    @pytest.mark.parametrize("sql", ["deallocate all", "discard all", "discard plans"])
    @pytest.mark.parametrize("how", ["query", "script"])
    def test_forgotten_by_the_server(self, conn: pgwire.Connection, sql: str, how: str) -> None:
        conn.query("select 1")
        getattr(conn, how)(sql)
        assert conn.query("select 1").scalar() == 1
        with conn.transaction():
            assert conn.query("select 1").scalar() == 1

    def test_forgotten_behind_our_back(self, conn: pgwire.Connection) -> None:
        """By a function, say, whose command tag does not tell."""
        conn.query("select 1")
        conn.script("do $$ begin execute 'deallocate all'; end $$")
        assert conn.query("select 1").scalar() == 1
        conn.script("do $$ begin execute 'deallocate all'; end $$")
        with pytest.raises(errors.InvalidSqlStatementName):
            with conn.transaction():
                conn.query("select 1")
        assert conn.query("select 1").scalar() == 1

    def test_a_0A000_of_another_kind_is_not_tried_again_for_ever(
        self, conn: pgwire.Connection
    ) -> None:
        conn.script(
            "create function pg_temp.f() returns int language plpgsql as "
            "$$ begin raise feature_not_supported; end $$"
        )
        for _ in range(3):
            with pytest.raises(errors.FeatureNotSupported):
                conn.query("select pg_temp.f()")
        assert conn.query("select 1").scalar() == 1

    def test_a_name_that_is_taken(self, connect: Connect) -> None:
        conn = connect()
        conn.script(f"prepare _pgwire_{conn.backend_pid:x}_1 as select 'mine'")
        assert conn.query("select 'ours'").scalar() == "ours"


# The same names for one thing after the other; the first two have 4 bytes each.
SHAPES: list[tuple[str, list[tuple[object, ...]]]] = [
    ("select 1", [(1,)]),
    ("select 1.5::float4", [(1.5,)]),
    ("select 'word', null::int union all select 'b', 2", [("word", None), ("b", 2)]),
    ("select", [()]),
    ("select 7::int8", [(7,)]),
]


class TestWhatANameStandsFor:
    """FETCH and EXECUTE give what their cursor or statement has, whatever it had before."""

    def answers(self, conn: pgwire.Connection, sql: str, prepare: pgwire.Statement) -> Any:
        yield lambda: conn.query(sql).rows
        yield lambda: list(conn.stream(sql))
        yield lambda: conn.query_many(sql, [()]).rows
        yield lambda: conn.script(sql)[0].rows
        yield lambda: prepare.query().rows
        yield lambda: list(prepare.stream())

    def test_execute(self, conn: pgwire.Connection) -> None:
        conn.query("prepare p as select 'first'")
        with conn.prepare("execute p") as statement:
            for select, expected in SHAPES:
                conn.query("deallocate p")
                conn.query(f"prepare p as {select}")
                for ask in self.answers(conn, "execute p", statement):
                    assert [tuple(row) for row in ask()] == expected
        assert conn.query("select 1").scalar() == 1

    def test_fetch(self, conn: pgwire.Connection) -> None:
        statement = None
        for select, expected in SHAPES:
            with conn.transaction():
                conn.query(f"declare c scroll cursor for {select}")
                statement = statement or conn.prepare("fetch all c")
                for ask in self.answers(conn, "fetch all c", statement):
                    assert [tuple(row) for row in ask()] == expected
                    conn.query("move absolute 0 c")

    def test_in_a_pipeline(self, conn: pgwire.Connection) -> None:
        with conn.transaction(), conn.pipeline() as p:
            asked = []
            for select, expected in SHAPES:
                p.query(f"declare c cursor for {select}")
                asked.append((p.query("fetch all c"), expected))
                p.query("close c")
        for query, expected in asked:
            assert [tuple(row) for row in query.result().rows] == expected


class TestWhatIsReadOnce:
    """The server reads `'now'` when it prepares a statement, as the time of that transaction."""

    SQL = (
        "select 'now'::timestamptz = now() and date 'today' = current_date "
        "and '{[today,)}'::datemultirange = datemultirange(daterange(current_date, null)) "
        "and '{\"now\"}'::timestamptz[] = array[now()]"
    )

    def test_it_is_read_each_time(self, conn: pgwire.Connection) -> None:
        with conn.prepare(self.SQL) as statement:
            for _ in range(3):
                assert conn.query(self.SQL).scalar() is True
                assert conn.query_many(self.SQL, [()]).scalars() == [True]
                assert [row[0] for row in conn.stream(self.SQL)] == [True]
                assert statement.query().scalar() is True
                with conn.transaction():
                    assert conn.query(self.SQL).scalar() is True

    def test_in_a_pipeline(self, conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            asked = [p.query(self.SQL) for _ in range(5)]
        assert [query.result().scalar() for query in asked] == [True] * 5


class TestPrepare:
    def test_it_knows_its_types(self, conn: pgwire.Connection) -> None:
        statement = conn.prepare("select $1::int8 as a, $2::text[] as b")
        assert statement.parameter_types == ("int8", "text[]")
        assert [column.name for column in statement.columns] == ["a", "b"]
        assert statement.query([1, ["x"]]).one() == (1, ["x"])

    def test_it_keeps_its_place_outside_the_cache(self, connect: Connect) -> None:
        conn = connect(statement_cache_size=1)
        statement = conn.prepare("select $1::int")
        for i in range(5):
            conn.query(f"select {i}")
        assert statement.query([7]).scalar() == 7
        assert "select $1::int" in prepared(conn)

    def test_it_works_without_a_cache(self, connect: Connect) -> None:
        statement = connect(prepare=False).prepare("select $1::int")
        assert [statement.query([i]).scalar() for i in range(3)] == [0, 1, 2]

    def test_an_error_in_it(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.UndefinedColumn) as caught:
            conn.prepare("select nothing")
        assert "^" in str(caught.value)
        assert conn.query("select 1").scalar() == 1

    def test_close(self, conn: pgwire.Connection) -> None:
        statement = conn.prepare("select 1")
        statement.close()
        statement.close()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            statement.query()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            _ = statement.columns
        conn.query("select 2")
        assert prepared(conn) == ["select 2"]
        with conn.prepare("select 3") as other:
            assert other.query().scalar() == 3
        with pytest.raises(pgwire.InterfaceError):
            other.query()

    def test_it_heals(self, conn: pgwire.Connection, table: str) -> None:
        statement = conn.prepare(f"select * from {table}")
        assert statement.query().rows == [(1,)]
        conn.query("alter table t add column b int")
        assert statement.query().rows == [(1, None)]
        assert [column.name for column in statement.columns] == ["a", "b"]
        conn.query("deallocate all")
        assert statement.query().rows == [(1, None)]
        statement.close()
        conn.query("select 1")
        assert prepared(conn) == ["select 1"]

    @pytest.mark.parametrize("stream", [True, False])
    def test_it_goes_on_with_what_a_stream_has_healed(
        self, conn: pgwire.Connection, table: str, *, stream: bool
    ) -> None:
        """It kept what was closed by then: each use healed anew, and failed in a transaction."""
        statement = conn.prepare(f"select * from {table} where a > $1")
        conn.query("alter table t add column b int")
        rows = list(statement.stream([0])) if stream else statement.query([0]).rows
        assert rows == [(1, None)]
        assert [column.name for column in statement.columns] == ["a", "b"]
        with conn.transaction():
            assert statement.query([0]).rows == [(1, None)]
            assert list(statement.stream([0])) == [(1, None)]
        assert prepared(conn).count(statement.sql) == 1
        statement.close()
        conn.query("select 1")
        assert statement.sql not in prepared(conn)

    @pytest.mark.parametrize("way", ["query", "stream", "query_many"])
    def test_where_it_cannot_heal_it_does_so_the_next_time(
        self, conn: pgwire.Connection, table: str, way: str
    ) -> None:
        """In a transaction it never came to its end, and nor did `query_many` anywhere."""

        def use() -> list[pgwire.Row]:
            if way == "query":
                return statement.query([0]).rows
            if way == "stream":
                return list(statement.stream([0]))
            return statement.query_many([(0,), (0,)]).rows[1:]

        def ours() -> list[str]:
            return [sql for sql in prepared(conn) if sql.startswith(statement.sql)]

        statement = conn.prepare(f"select * from {table} where a > $1")
        for columns in ["ab", "abc"]:
            conn.query(f"alter table t add column {columns[-1]} int")
            with pytest.raises(errors.FeatureNotSupported):
                with conn.transaction():
                    use()
            for _ in range(2):
                with conn.transaction():
                    rows = use()
                assert "".join(rows[0]._asdict()) == columns
        assert len(ours()) == 1
        statement.close()
        conn.query("select 1")
        assert not ours()

    def test_with_a_timeout_that_is_too_short_nothing_is_left(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        """The server waits for the lock while it parses."""
        conn.query("create table for_the_lock (a int)")
        try:
            other = connect()
            with conn.transaction():
                conn.query("lock table for_the_lock")
                with pytest.raises(pgwire.QueryTimeout):
                    other.prepare("select * from for_the_lock", timeout=0.05)
                assert other.query("select 1").scalar() == 1
                assert prepared(other) == ["select 1"]
        finally:
            conn.query("drop table for_the_lock")
