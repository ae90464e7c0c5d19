"""COPY in both directions on a real server: whatever goes wrong, the connection is in step."""

from __future__ import annotations

import io
import tracemalloc
from itertools import count, repeat
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

IN = "copy copied (id, name) from stdin"
NUMBERS = "copy (select n from generate_series(1, {}) n) to stdout"
MANY = NUMBERS.format(3_000_000)  # more than fits any buffer


# How soon a server that is busy stops sending, once it is asked to, is not the subject.
pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def table(conn: pgwire.Connection) -> pgwire.Connection:
    conn.query("create temp table copied (id int primary key, name text)")
    return conn


def names(conn: pgwire.Connection) -> list[str | None]:
    return conn.query("select name from copied order by id").scalars()


def is_in_step(conn: pgwire.Connection) -> bool:
    return bool(conn.query("select $1::int", [7]).scalar() == 7)


class TestIn:
    @pytest.mark.parametrize(
        "source",
        [
            "1\ta\n2\té\n",
            "1\ta\n2\té\n".encode(),
            bytearray("1\ta\n2\té\n".encode()),
            ["1\ta", b"\n2\t", "é", "\n"],
            (b"1\ta\n", "2\té\n"),
        ],
    )
    def test_whatever_the_source_is(self, table: pgwire.Connection, source: Any) -> None:
        assert table.copy_in(IN, source) == 2
        assert names(table) == ["a", "é"]

    def test_from_files(self, table: pgwire.Connection) -> None:
        assert table.copy_in(IN, io.BytesIO(b"1\ta\n")) == 1
        assert table.copy_in(IN, io.StringIO("2\tb\n")) == 1

    def test_in_other_formats(self, table: pgwire.Connection) -> None:
        assert table.copy_in(f"{IN} (format csv, header)", 'id,name\n1,"a,b"\n') == 1
        assert names(table) == ["a,b"]

    def test_a_lot(self, table: pgwire.Connection) -> None:
        rows = (f"{n}\tname {n}\n" for n in range(200_000))
        assert table.copy_in(IN, rows) == 200_000
        assert table.query("select sum(id) from copied").scalar() == sum(range(200_000))

    def test_an_error_ends_an_endless_source(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.DataError) as caught:
            table.copy_in(IN, (f"{n if n != 70_000 else 'x'}\ty\n" for n in count()))
        assert isinstance(caught.value, pgwire.PostgresError)
        assert str(caught.value.where).startswith("COPY copied, line 70001, column id")
        assert caught.value.where in caught.value.__notes__  # for tracebacks
        assert names(table) == []

    @pytest.mark.parametrize("after", [0, 1, 50_000])
    def test_a_raising_source_undoes_it(self, table: pgwire.Connection, after: int) -> None:
        def source() -> Iterator[str]:
            for n in range(after):
                yield f"{n}\tx\n"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            table.copy_in(IN, source())
        assert names(table) == []
        assert table.transaction_status is TransactionStatus.IDLE

    def test_an_endless_source_is_stopped_by_the_timeout(self, table: pgwire.Connection) -> None:
        with pytest.raises(pgwire.QueryTimeout):
            table.copy_in(IN, (f"{n}\tx\n" for n in count()), timeout=0.2)
        assert names(table) == []

    def test_inside_a_transaction_it_joins_it(self, table: pgwire.Connection) -> None:
        with table.transaction():
            table.copy_in(IN, "1\ta\n")
            with pytest.raises(pgwire.UniqueViolation), table.transaction():
                table.copy_in(IN, "2\tb\n1\tc\n")
        assert names(table) == ["a"]

    @pytest.mark.parametrize(
        ("sql", "error"),
        [
            ("insert into copied values (1)", pgwire.ProgrammingError),
            ("copy copied to stdout", pgwire.ProgrammingError),
            ("copy copied (id) from program 'echo 1'", pgwire.ProgrammingError),
            ("copy copied from stdin; delete from copied", pgwire.ProgrammingError),
            ("copy nowhere from stdin", pgwire.ProgrammingError),
            ("copy", pgwire.ProgrammingError),
        ],
    )
    def test_another_statement(self, table: pgwire.Connection, sql: str, error: Any) -> None:
        with pytest.raises(error):
            table.copy_in(sql, "1\ta\n")
        assert names(table) == []

    def test_another_source(self, table: pgwire.Connection) -> None:
        for source in (7, [7], [("a", "b")]):
            with pytest.raises(pgwire.ProgrammingError):
                table.copy_in(IN, source)  # type: ignore[arg-type]
        assert names(table) == []

    def test_in_query_and_script_it_is_refused(self, table: pgwire.Connection) -> None:
        for refused in (table.query, table.script):
            with pytest.raises(pgwire.NotSupportedError, match=r"copy_in\(\)"):
                refused("copy copied from stdin")
        assert is_in_step(table)


class TestOut:
    def test_to_a_file(self, conn: pgwire.Connection) -> None:
        binary, text = io.BytesIO(), io.StringIO()
        sql = "copy (select n, 'é' from generate_series(1, 3) n) to stdout"
        assert conn.copy_out(sql, binary) == conn.copy_out(sql, text) == 3
        assert binary.getvalue().decode() == text.getvalue() == "1\té\n2\té\n3\té\n"

    def test_a_lot(self, conn: pgwire.Connection) -> None:
        expected = "".join(f"{n}\n" for n in range(1, 300_001)).encode()
        file = io.BytesIO()
        assert conn.copy_out(NUMBERS.format(300_000), file) == 300_000
        assert file.getvalue() == expected
        assert b"".join(conn.copy_out(NUMBERS.format(300_000))) == expected

    def test_the_binary_format_comes_back_in(self, table: pgwire.Connection) -> None:
        table.copy_in(IN, "1\ta\n2\t\\N\n")
        file = io.BytesIO()
        table.copy_out("copy copied to stdout (format binary)", file)
        table.query("truncate copied")
        file.seek(0)
        assert table.copy_in(f"{IN} (format binary)", file) == 2
        assert names(table) == ["a", None]

    @pytest.mark.parametrize("after", [0, 3])
    def test_a_raising_sink(self, conn: pgwire.Connection, after: int) -> None:
        class Sink:
            def __init__(self) -> None:
                self.left = after

            def write(self, data: bytes) -> None:
                if not self.left:
                    raise ZeroDivisionError
                self.left -= 1

        with pytest.raises(ZeroDivisionError):
            conn.copy_out(MANY, Sink())
        assert is_in_step(conn)

    def test_an_error_in_the_middle(self, conn: pgwire.Connection) -> None:
        sql = "copy (select 1 / (200000 - n) from generate_series(1, 300000) n) to stdout"
        file = io.BytesIO()
        with pytest.raises(pgwire.DivisionByZero):
            conn.copy_out(sql, file)
        assert file.getvalue()
        with pytest.raises(pgwire.DivisionByZero):
            list(conn.copy_out(sql))
        assert is_in_step(conn)

    def test_time_runs_out(self, conn: pgwire.Connection) -> None:
        sql = "copy (select pg_sleep(0.02) from generate_series(1, 1000)) to stdout"
        for ending in (
            lambda: conn.copy_out(sql, io.BytesIO(), timeout=0.1),
            lambda: list(conn.copy_out(sql, timeout=0.1)),
        ):
            with pytest.raises(pgwire.QueryTimeout):
                ending()
            assert is_in_step(conn)

    @pytest.mark.parametrize(
        "sql",
        [
            "select 1",
            "copy copied from stdin",
            "copy copied to stdout; select 1",
            "copy x to stdout",
        ],
    )
    def test_another_statement(self, table: pgwire.Connection, sql: str) -> None:
        with pytest.raises(pgwire.ProgrammingError):
            table.copy_out(sql, io.BytesIO())
        with pytest.raises(pgwire.ProgrammingError):
            list(table.copy_out(sql))
        assert is_in_step(table)

    def test_another_sink(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="an open file, not str"):
            conn.copy_out(MANY, "/tmp/numbers")  # type: ignore[call-overload]
        assert is_in_step(conn)

    def test_in_a_transaction(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            assert list(conn.copy_out("copy (select 1) to stdout")) == [b"1\n"]
            assert is_in_step(conn)


class TestIterating:
    def test_how_many_rows_there_were(self, conn: pgwire.Connection) -> None:
        output = conn.copy_out("copy (values (1), (2)) to stdout")
        counts = [output.row_count]
        assert list(output) == [b"1\n2\n"]
        counts.append(output.row_count)
        assert counts == [None, 2]
        assert list(output) == []
        output.close()

    def test_nothing_happens_before_it_is_asked(self, conn: pgwire.Connection) -> None:
        output = conn.copy_out("copy nowhere to stdout")
        assert is_in_step(conn)
        with pytest.raises(pgwire.UndefinedTable):
            next(output)
        assert list(output) == []
        with pytest.raises(pgwire.UndefinedTable), conn.copy_out("copy nowhere to stdout"):
            pass
        output.close()
        conn.copy_out("copy nowhere to stdout").close()

    def test_it_holds_the_connection(self, conn: pgwire.Connection) -> None:
        with conn.copy_out(MANY) as output:
            next(output)
            for refused in (
                lambda: conn.query("select 1"),
                lambda: conn.script("select 1"),
                lambda: conn.copy_in("copy t from stdin", b""),
                lambda: conn.copy_out("copy (select 1) to stdout", io.BytesIO()),
                lambda: next(conn.copy_out("copy (select 1) to stdout")),
                conn.ping,
            ):
                with pytest.raises(pgwire.InterfaceError, match="held by an open iteration"):
                    refused()
            assert next(output)
        assert list(output) == []
        assert output.row_count is None
        assert is_in_step(conn)

    def test_inside_of_a_transaction_too(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            with conn.copy_out(NUMBERS.format(10)) as output:
                assert list(output)
            assert is_in_step(conn)
            transaction = conn.transaction()
            transaction.__enter__()
            with conn.copy_out(MANY) as output:
                next(output)
            with pytest.raises(pgwire.InFailedSqlTransaction):  # canceled is failed
                conn.query("select 1")
            transaction.rollback()
            transaction.__exit__(None, None, None)
            assert is_in_step(conn)

    def test_what_is_left_is_canceled_before_whatever_comes_next(
        self, conn: pgwire.Connection
    ) -> None:
        for _ in range(3):
            for data in conn.copy_out(MANY):
                assert data
                break
            assert is_in_step(conn)

    def test_an_exception_of_the_body_comes_through(self, conn: pgwire.Connection) -> None:
        def leave() -> None:
            with conn.copy_out(MANY) as output:
                next(output)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            leave()
        assert is_in_step(conn)

    def test_a_cancel_request_ends_it(self, conn: pgwire.Connection) -> None:
        output = conn.copy_out(MANY)
        next(output)
        conn.cancel()
        with pytest.raises(pgwire.QueryCanceled):
            list(output)
        assert is_in_step(conn)

    def test_closing_the_connection_ends_it(self, conn: pgwire.Connection) -> None:
        output = conn.copy_out(MANY)
        next(output)
        conn.close()
        assert conn.closed
        with pytest.raises(pgwire.InterfaceError):
            list(output)

    def test_so_does_the_connections_loss(self, connect: Connect, dsn: str) -> None:
        conn, other = connect(dsn), connect(dsn)
        output = conn.copy_out(MANY)
        next(output)
        other.query("select pg_terminate_backend($1)", [conn.backend_pid])
        with pytest.raises(pgwire.ConnectionLost):
            list(output)
        assert conn.closed


class TestMemory:
    """Some tens of megabytes each way."""

    def peak(self, work: Any) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_in(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table wide (a text)")
        line = "x" * 9_999 + "\n"
        assert self.peak(lambda: conn.copy_in("copy wide from stdin", repeat(line, 3_000))) < 2e6
        large = [line * 100] * 20
        assert self.peak(lambda: conn.copy_in("copy wide from stdin", large)) < 6e6

    def test_records(self, conn: pgwire.Connection) -> None:
        conn.query("create temp table wide (a text, b int)")
        records = ((("x" * 20_000), n) for n in range(1_500))
        assert self.peak(lambda: conn.copy_records("wide", records)) < 3e6
        records = ((("x" * 200), n) for n in range(50_000))
        assert self.peak(lambda: conn.copy_records("wide", records)) < 3e6

    def test_out(self, conn: pgwire.Connection) -> None:
        class Nowhere:
            def write(self, data: bytes) -> None: ...

        sql = "copy (select repeat('x', 10000) from generate_series(1, 3000)) to stdout"

        def iterate() -> None:
            for _ in conn.copy_out(sql):
                pass

        # uvloop reads 256 KiB at a time, the others 64.
        assert self.peak(lambda: conn.copy_out(sql, Nowhere())) < 3e6
        assert self.peak(iterate) < 3e6


def test_statements_that_copy_do_not_harm_what_is_prepared(
    table: pgwire.Connection, shell: Shell
) -> None:
    with table.prepare("select $1::int") as statement:
        table.copy_in(IN, "1\ta\n")
        table.copy_records("copied", [(2, "b")])
        assert statement.query([7]).scalar() == 7
    assert names(table) == ["a", "b"]
