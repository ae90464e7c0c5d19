"""`with conn.transaction()`: how it ends, how it nests, how it can be misused."""

# ruff: noqa: PT012 (blocks inside of blocks are what this is about)

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

IDLE = TransactionStatus.IDLE


class Mistake(Exception):
    """Raised inside a block by its user."""


@pytest.fixture(autouse=True)
def table(conn: pgwire.Connection) -> None:
    conn.query("create temp table t (a int unique deferrable initially deferred)")


def values(conn: pgwire.Connection) -> list[Any]:
    return conn.query("select a from t order by a").scalars()


def insert(conn: pgwire.Connection, value: int) -> None:
    conn.query("insert into t values ($1)", [value])


class TestEnding:
    def test_success_commits(self, conn: pgwire.Connection) -> None:
        with conn.transaction() as transaction:
            insert(conn, 1)
            assert conn.transaction_status is TransactionStatus.IN_TRANSACTION
            assert transaction.connection is conn
        assert (conn.transaction_status, values(conn)) == (IDLE, [1])

    def test_an_exception_rolls_back_and_comes_through(self, conn: pgwire.Connection) -> None:
        with pytest.raises(Mistake) as caught:
            with conn.transaction():
                insert(conn, 1)
                raise Mistake
        assert not hasattr(caught.value, "__notes__")
        assert (conn.transaction_status, values(conn)) == (IDLE, [])

    def test_a_servers_error_rolls_back_and_comes_through(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.DivisionByZero):
            with conn.transaction():
                insert(conn, 1)
                conn.query("select 1/0")
        assert (conn.transaction_status, values(conn)) == (IDLE, [])

    def test_a_keyboard_interrupt_rolls_back(self, conn: pgwire.Connection) -> None:
        with pytest.raises(KeyboardInterrupt):
            with conn.transaction():
                insert(conn, 1)
                raise KeyboardInterrupt
        assert (conn.transaction_status, values(conn)) == (IDLE, [])

    def test_by_hand(self, conn: pgwire.Connection) -> None:
        with conn.transaction() as transaction:
            insert(conn, 1)
            transaction.rollback()
            assert conn.transaction_status is IDLE
        with conn.transaction() as transaction:
            insert(conn, 2)
            transaction.commit()
            insert(conn, 3)  # on its own
        assert values(conn) == [2, 3]

    def test_an_error_that_was_caught_inside_does_not_pass_for_success(
        self, conn: pgwire.Connection
    ) -> None:
        with pytest.raises(errors.InFailedSqlTransaction, match="nothing has been committed"):
            with conn.transaction():
                insert(conn, 1)
                with pytest.raises(errors.DivisionByZero):
                    conn.query("select 1/0")
        assert (conn.transaction_status, values(conn)) == (IDLE, [])

    def test_what_fails_at_commit(self, conn: pgwire.Connection) -> None:
        with pytest.raises(errors.UniqueViolation):
            with conn.transaction():
                insert(conn, 1)
                insert(conn, 1)
                assert values(conn) == [1, 1]
        assert (conn.transaction_status, values(conn)) == (IDLE, [])

    def test_what_fails_after_the_command_is_no_success_either(
        self, conn: pgwire.Connection
    ) -> None:
        """Outside a block the deferred constraint fails between the tag and ReadyForQuery."""
        insert(conn, 1)
        with pytest.raises(errors.UniqueViolation):
            insert(conn, 1)
        assert values(conn) == [1]


class TestNesting:
    def test_an_inner_block_is_undone_alone(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            insert(conn, 1)
            with pytest.raises(errors.DivisionByZero):
                with conn.transaction():
                    insert(conn, 2)
                    conn.query("select 1/0")
            with conn.transaction():
                insert(conn, 3)
                with conn.transaction() as innermost:
                    insert(conn, 4)
                    innermost.rollback()
                insert(conn, 5)
        assert values(conn) == [1, 3, 5]

    def test_the_outer_one_undoes_the_inner(self, conn: pgwire.Connection) -> None:
        with pytest.raises(Mistake):
            with conn.transaction():
                with conn.transaction():
                    insert(conn, 1)
                raise Mistake
        assert values(conn) == []

    def test_blocks_inside_a_transaction_begun_by_hand(self, conn: pgwire.Connection) -> None:
        conn.query("begin")
        with pytest.raises(Mistake):
            with conn.transaction():
                insert(conn, 1)
                raise Mistake
        insert(conn, 2)
        assert conn.transaction_status is TransactionStatus.IN_TRANSACTION
        conn.query("commit")
        assert values(conn) == [2]

    def test_a_caught_error_spoils_the_inner_block_only(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            insert(conn, 1)
            with pytest.raises(errors.InFailedSqlTransaction):
                with conn.transaction():
                    with pytest.raises(errors.DivisionByZero):
                        conn.query("select 1/0")
            insert(conn, 2)
        assert values(conn) == [1, 2]

    def test_twenty_deep(self, conn: pgwire.Connection) -> None:
        def nest(depth: int) -> None:
            with conn.transaction():
                insert(conn, depth)
                if depth < 20:
                    nest(depth + 1)

        nest(1)
        assert values(conn) == list(range(1, 21))


class TestModes:
    @pytest.mark.parametrize(
        "level", ["read uncommitted", "read committed", "repeatable read", "serializable"]
    )
    def test_isolation(self, conn: pgwire.Connection, level: Any) -> None:
        with conn.transaction(isolation=level):
            assert conn.query("show transaction_isolation").scalar() == level

    def test_read_only(self, conn: pgwire.Connection, connect: Connect) -> None:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            with conn.transaction(read_only=True):
                conn.query("create table never (a int)")
        careful = connect(options="-c default_transaction_read_only=on")
        with careful.transaction(read_only=False):
            assert careful.query("show transaction_read_only").scalar() == "off"
        with careful.transaction():
            assert careful.query("show transaction_read_only").scalar() == "on"

    def test_deferrable(self, conn: pgwire.Connection) -> None:
        modes: Any = {"isolation": "serializable", "read_only": True}
        with conn.transaction(**modes, deferrable=True):
            assert conn.query("show transaction_deferrable").scalar() == "on"
        with conn.transaction(**modes, deferrable=False):
            assert conn.query("show transaction_deferrable").scalar() == "off"

    def test_unknown_isolation(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="chaos"):
            conn.transaction(isolation="chaos")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "modes", [{"isolation": "serializable"}, {"read_only": True}, {"deferrable": False}]
    )
    def test_they_belong_to_the_outermost_block(
        self, conn: pgwire.Connection, modes: dict[str, Any]
    ) -> None:
        with conn.transaction():
            insert(conn, 1)
            with pytest.raises(pgwire.InterfaceError, match="outermost"):
                with conn.transaction(**modes):
                    raise AssertionError("not reached")
        assert values(conn) == [1]


class TestMisuse:
    def test_ending_twice(self, conn: pgwire.Connection) -> None:
        with conn.transaction() as transaction:
            transaction.commit()
            with pytest.raises(pgwire.InterfaceError, match="ended already"):
                transaction.commit()
            with pytest.raises(pgwire.InterfaceError, match="ended already"):
                transaction.rollback()
        with pytest.raises(pgwire.InterfaceError, match="ended already"):
            transaction.rollback()

    @pytest.mark.parametrize(("sql", "kept"), [("commit", [1, 2]), ("rollback", [2])])
    def test_ending_it_by_sql(self, conn: pgwire.Connection, sql: str, kept: list[int]) -> None:
        """What came after that was no transaction, and who left the block must hear of it."""
        with pytest.raises(pgwire.InterfaceError, match="ended inside of its block"):
            with conn.transaction():
                insert(conn, 1)
                conn.query(sql)
                insert(conn, 2)
        assert values(conn) == kept
        with conn.transaction():
            insert(conn, 3)
        assert values(conn) == [*kept, 3]

    def test_ending_it_by_sql_and_beginning_another(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            insert(conn, 1)
            conn.script("commit; begin")
            insert(conn, 2)
        assert values(conn) == [1, 2]

    def test_ending_while_an_inner_block_is_open(self, conn: pgwire.Connection) -> None:
        with conn.transaction() as outer:
            insert(conn, 1)
            with conn.transaction():
                with pytest.raises(pgwire.InterfaceError, match="inside this one"):
                    outer.commit()
                insert(conn, 2)
        assert values(conn) == [1, 2]

    @pytest.mark.parametrize("error", [None, Mistake()])
    def test_leaving_it_while_an_inner_block_is_open(
        self, connect: Connect, error: Exception | None
    ) -> None:
        """As tasks that share a connection do: nobody can tell what belongs to which of them."""
        conn, other = connect(), connect()
        other.script("drop table if exists interleaved; create table interleaved (a int)")
        outer, inner = conn.transaction(), conn.transaction()
        outer.__enter__()
        conn.query("insert into interleaved values (1)")
        inner.__enter__()
        conn.query("insert into interleaved values (2)")
        if error is None:
            with pytest.raises(pgwire.InterfaceError, match="before one that was begun inside it"):
                outer.__exit__(None, None, None)
        else:
            outer.__exit__(Mistake, error, None)
            assert "could not be rolled back" in error.__notes__[0]
        assert conn.closed
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            conn.query("insert into interleaved values (3)")
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            inner.__exit__(None, None, None)
        assert other.query("select * from interleaved").rows == []
        other.query("drop table interleaved")

    def test_entering_twice(self, conn: pgwire.Connection) -> None:
        transaction = conn.transaction()
        with transaction:
            with pytest.raises(pgwire.InterfaceError, match="once"):
                transaction.__enter__()
        with pytest.raises(pgwire.InterfaceError, match="once"):
            transaction.__enter__()
        assert conn.transaction_status is IDLE

    def test_ending_before_it_began(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.InterfaceError):
            conn.transaction().commit()
        assert conn.transaction_status is IDLE

    def test_on_a_closed_connection(self, connect: Connect) -> None:
        other = connect()
        other.close()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            with other.transaction():
                raise AssertionError("not reached")


def the_loss(error: BaseException, shell: Shell) -> BaseException | None:
    """An event loop hears of a loss by itself; who comes later is told what it was."""
    return error if shell.is_blocking else error.__cause__


class TestALostConnection:
    def test_the_bodys_own_exception_comes_through(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        other = connect()
        with pytest.raises(Mistake):
            with other.transaction():
                conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
                raise Mistake
        assert other.closed

    def test_the_loss_comes_through(
        self, conn: pgwire.Connection, connect: Connect, shell: Shell
    ) -> None:
        other = connect()
        with pytest.raises(pgwire.ConnectionLost) as caught:
            with other.transaction():
                conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
                other.query("select 1")
        assert isinstance(the_loss(caught.value, shell), errors.AdminShutdown)
        assert other.closed

    def test_a_loss_before_the_commit_does_not_pass_for_success(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        other = connect()
        with pytest.raises(pgwire.ConnectionLost):
            with other.transaction():
                conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])

    def test_a_loss_that_was_seen_and_caught_does_not_either(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        other = connect()
        with pytest.raises(pgwire.ConnectionLost):
            with other.transaction():
                with other.transaction():
                    conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
                    with pytest.raises(pgwire.ConnectionLost):
                        other.ping()

    def test_closed_inside(self, connect: Connect) -> None:
        other = connect()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            with other.transaction():
                other.close()

    def test_a_server_over_a_unix_socket_says_why_too(
        self, connect: Connect, embedded_server: embedded.Server, shell: Shell
    ) -> None:
        """Writing fails there at once; the server's last words are read all the same."""
        url = embedded_server.socket_url
        admin, other = connect(url), connect(url)
        admin.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
        with pytest.raises(pgwire.ConnectionLost) as caught:
            other.query("select 1")
        assert isinstance(the_loss(caught.value, shell), errors.AdminShutdown)
