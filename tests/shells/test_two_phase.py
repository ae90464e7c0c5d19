"""Two-phase commit: prepared on one connection, decided on by another."""

# ruff: noqa: PT012 (blocks inside of blocks are what this is about)

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect

IDLE = TransactionStatus.IDLE


@pytest.fixture
def table(conn: pgwire.Connection) -> Iterator[str]:
    """A table that other sessions see; what was prepared and forgotten is undone at the end."""
    name = f"two_phase_{uuid4().hex}"
    conn.query(f"create table {name} (a int unique deferrable initially deferred)")
    yield name
    for each in conn.list_prepared():
        if each.gid.startswith(name):
            conn.rollback_prepared(each.gid)
    conn.query(f"drop table {name}")


@pytest.fixture
def gid(table: str) -> str:
    return f"{table} it's"


def values(conn: pgwire.Connection, table: str) -> list[int]:
    return conn.query(f"select a from {table} order by a").scalars()


def prepare(conn: pgwire.Connection, table: str, gid: str, value: int = 1) -> None:
    with conn.transaction():
        conn.query(f"insert into {table} values ($1)", [value])
        conn.prepare_transaction(gid)


def names(conn: pgwire.Connection, table: str) -> list[str]:
    return [each.gid for each in conn.list_prepared() if each.gid.startswith(table)]


def test_prepared_here_and_committed_there(
    conn: pgwire.Connection, connect: Connect, table: str, gid: str
) -> None:
    with connect() as first:
        prepare(first, table, gid)
        assert first.transaction_status is IDLE
        assert values(first, table) == []
    conn.commit_prepared(gid)
    assert values(conn, table) == [1]
    assert names(conn, table) == []


def test_prepared_here_and_rolled_back_there(
    conn: pgwire.Connection, connect: Connect, table: str, gid: str
) -> None:
    with connect() as first:
        prepare(first, table, gid)
    conn.rollback_prepared(gid)
    assert values(conn, table) == []


def test_what_is_prepared_is_listed(conn: pgwire.Connection, table: str) -> None:
    for number in (1, 2):
        prepare(conn, table, f"{table} {number}", number)
    found = [each for each in conn.list_prepared() if each.gid.startswith(table)]
    assert [each.gid for each in found] == [f"{table} 1", f"{table} 2"]
    user, database = conn.query("select current_user, current_database()").one()
    assert {(each.owner, each.database) for each in found} == {(user, database)}
    now = conn.query("select now()").scalar()
    assert isinstance(now, datetime)
    assert all(timedelta(0) <= now - each.prepared < timedelta(hours=1) for each in found)
    assert isinstance(found[0], pgwire.PreparedTransaction)


def test_a_transaction_begun_by_hand(conn: pgwire.Connection, table: str, gid: str) -> None:
    conn.query("begin")
    conn.query(f"insert into {table} values (7)")
    conn.prepare_transaction(gid)
    conn.commit_prepared(gid)
    assert values(conn, table) == [7]


def test_the_end_of_the_block_does_nothing_more(
    conn: pgwire.Connection, table: str, gid: str
) -> None:
    notices: list[object] = []
    conn.on("notice", notices.append)
    with conn.transaction() as transaction:
        conn.prepare_transaction(gid)
        with pytest.raises(errors.InterfaceError, match="ended already"):
            transaction.commit()
        conn.query(f"insert into {table} values (3)")  # by itself
    assert notices == []
    conn.rollback_prepared(gid)
    assert values(conn, table) == [3]


def test_an_exception_after_it_does_not_undo_it(
    conn: pgwire.Connection, table: str, gid: str
) -> None:
    with pytest.raises(KeyError), conn.transaction():
        conn.query(f"insert into {table} values (1)")
        conn.prepare_transaction(gid)
        raise KeyError
    conn.commit_prepared(gid)
    assert values(conn, table) == [1]


def test_not_from_a_nested_block(conn: pgwire.Connection, table: str, gid: str) -> None:
    with conn.transaction():
        with conn.transaction():
            with pytest.raises(errors.InterfaceError, match="has not ended"):
                conn.prepare_transaction(gid)
        conn.query(f"insert into {table} values (1)")
        conn.prepare_transaction(gid)
    assert names(conn, table) == [gid]


def test_a_caught_error_leaves_nothing_to_prepare(
    conn: pgwire.Connection, table: str, gid: str
) -> None:
    with conn.transaction():
        with pytest.raises(errors.DivisionByZero):
            conn.query("select 1/0")
        with pytest.raises(errors.InFailedSqlTransaction, match="nothing has been prepared"):
            conn.prepare_transaction(gid)
        assert conn.transaction_status is IDLE
    assert names(conn, table) == []


def test_what_fails_at_the_end_fails_here(conn: pgwire.Connection, table: str, gid: str) -> None:
    notices: list[object] = []
    conn.on("notice", notices.append)
    with pytest.raises(errors.UniqueViolation), conn.transaction():
        conn.query(f"insert into {table} values (1), (1)")
        conn.prepare_transaction(gid)
    assert (conn.transaction_status, notices) == (IDLE, [])
    assert names(conn, table) == []


@pytest.mark.parametrize("length", [199, 200])
def test_how_long_a_name_may_be(conn: pgwire.Connection, table: str, length: int) -> None:
    gid = table.ljust(length, "x")
    if length < 200:
        prepare(conn, table, gid)
        assert names(conn, table) == [gid]
        return
    with pytest.raises(errors.InvalidParameterValue, match="too long"):
        prepare(conn, table, gid)
    assert (conn.transaction_status, values(conn, table)) == (IDLE, [])


def test_outside_of_a_transaction(conn: pgwire.Connection, gid: str) -> None:
    with pytest.raises(errors.InterfaceError, match="no transaction is open"):
        conn.prepare_transaction(gid)
    for decide in (conn.commit_prepared, conn.rollback_prepared):
        with pytest.raises(errors.UndefinedObject):
            decide(gid)


def test_deciding_inside_of_one(conn: pgwire.Connection, table: str, gid: str) -> None:
    prepare(conn, table, gid)
    with pytest.raises(errors.ActiveSqlTransaction), conn.transaction():
        conn.commit_prepared(gid)
    assert names(conn, table) == [gid]
