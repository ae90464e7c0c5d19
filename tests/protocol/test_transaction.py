"""Transactions: what is said, and the rules of nesting."""

from __future__ import annotations

import pytest

from pgwire.errors import InterfaceError, ProgrammingError
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.rows import Result
from pgwire.protocol.transaction import (
    ISOLATION_LEVELS,
    TransactionBlock,
    begin_statement,
    can_be_repeated,
    repeat_delay,
)
from pgwire.sqlstate import InFailedSqlTransaction, postgres_error

IDLE = TransactionStatus.IDLE
OPEN = TransactionStatus.IN_TRANSACTION
FAILED = TransactionStatus.IN_FAILED_TRANSACTION


@pytest.mark.parametrize(
    ("isolation", "read_only", "deferrable", "sql"),
    [
        (None, None, None, "BEGIN"),
        ("serializable", None, None, "BEGIN ISOLATION LEVEL SERIALIZABLE"),
        (None, True, None, "BEGIN READ ONLY"),
        (None, False, None, "BEGIN READ WRITE"),
        (None, None, True, "BEGIN DEFERRABLE"),
        (None, None, False, "BEGIN NOT DEFERRABLE"),
        (
            "repeatable read",
            True,
            True,
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, DEFERRABLE",
        ),
    ],
)
def test_begin(
    isolation: str | None, read_only: bool | None, deferrable: bool | None, sql: str
) -> None:
    assert begin_statement(isolation, read_only, deferrable) == sql


@pytest.mark.parametrize("level", ISOLATION_LEVELS)
def test_isolation_levels(level: str) -> None:
    assert begin_statement(level) == f"BEGIN ISOLATION LEVEL {level.upper()}"


@pytest.mark.parametrize("level", ["SERIALIZABLE", "snapshot", "serializable; drop table t", ""])
def test_levels_that_do_not_exist(level: str) -> None:
    with pytest.raises(ProgrammingError, match="isolation must be one of 'read uncommitted', "):
        begin_statement(level)


def begun(
    stack: list[TransactionBlock], status: TransactionStatus, *modes: bool | str | None
) -> tuple[TransactionBlock, str]:
    block = TransactionBlock(stack, *(*modes, None, None, None)[:3])  # type: ignore[arg-type]
    sql = block.begin(status)
    block.begun()
    return block, sql


def test_blocks_nest_as_savepoints() -> None:
    stack: list[TransactionBlock] = []
    outer, sql = begun(stack, IDLE, "serializable")
    assert sql == "BEGIN ISOLATION LEVEL SERIALIZABLE"
    inner, sql = begun(stack, OPEN)
    assert sql == "SAVEPOINT _pgwire_2"
    innermost, sql = begun(stack, OPEN)
    assert sql == "SAVEPOINT _pgwire_3"
    assert innermost.rollback() == "ROLLBACK TO SAVEPOINT _pgwire_3; RELEASE _pgwire_3"
    assert inner.commit(OPEN) == "RELEASE SAVEPOINT _pgwire_2"
    assert outer.commit(OPEN) == "COMMIT"
    assert stack == []


def test_a_transaction_begun_by_hand_is_the_outermost_one() -> None:
    block, sql = begun([], OPEN)
    assert sql == "SAVEPOINT _pgwire_1"
    assert block.rollback() == "ROLLBACK TO SAVEPOINT _pgwire_1; RELEASE _pgwire_1"


def test_the_outermost_one_is_rolled_back_whole() -> None:
    block, _ = begun([], IDLE)
    assert block.rollback() == "ROLLBACK"


def test_a_savepoint_that_has_failed_is_undone_so_that_the_block_around_it_goes_on() -> None:
    block, _ = begun([], OPEN)
    assert block.commit(FAILED) == "ROLLBACK TO SAVEPOINT _pgwire_1; RELEASE _pgwire_1"


def test_a_failed_transaction_is_committed_and_the_servers_answer_says_what_came_of_it() -> None:
    block, _ = begun([], IDLE)
    assert block.commit(FAILED) == "COMMIT"


@pytest.mark.parametrize("modes", [("serializable",), (None, True), (None, None, False)])
def test_modes_belong_to_the_outermost_one(modes: tuple[str | bool | None, ...]) -> None:
    with pytest.raises(InterfaceError, match="belong to the outermost transaction"):
        begun([], OPEN, *modes)


def test_a_block_ends_once() -> None:
    stack: list[TransactionBlock] = []
    block, _ = begun(stack, IDLE)
    block.commit(OPEN)
    assert block.ended
    with pytest.raises(InterfaceError, match="commit: this transaction has ended already"):
        block.commit(OPEN)
    with pytest.raises(InterfaceError, match="rollback: this transaction has ended already"):
        block.rollback()


def test_the_innermost_one_ends_first() -> None:
    stack: list[TransactionBlock] = []
    outer, _ = begun(stack, IDLE)
    inner, _ = begun(stack, OPEN)
    with pytest.raises(InterfaceError, match="rollback: a transaction begun inside this one"):
        outer.rollback()
    inner.rollback()
    outer.rollback()


def test_a_block_that_has_not_begun_cannot_end() -> None:
    stack: list[TransactionBlock] = []
    begun(stack, IDLE)
    with pytest.raises(InterfaceError, match="commit: this transaction has not begun"):
        TransactionBlock(stack, None, None, None).commit(OPEN)


def test_a_lost_connection_takes_a_block_and_all_inside_it() -> None:
    stack: list[TransactionBlock] = []
    outer, _ = begun(stack, IDLE)
    middle, _ = begun(stack, OPEN)
    begun(stack, OPEN)
    middle.forget()
    assert stack == [outer]
    middle.forget()
    assert stack == [outer]
    assert middle.ended


def answered(*tags: str) -> list[Result[object]]:
    return [Result([], (), tag) for tag in tags]


def test_a_commit_that_is_answered_with_rollback_has_committed_nothing() -> None:
    TransactionBlock.check_committed(answered("COMMIT"))
    TransactionBlock.check_committed(answered("RELEASE"))
    with pytest.raises(InFailedSqlTransaction, match="nothing has been committed") as caught:
        TransactionBlock.check_committed(answered("ROLLBACK"))
    with pytest.raises(InFailedSqlTransaction):  # a savepoint's
        TransactionBlock.check_committed(answered("ROLLBACK", "RELEASE"))
    assert caught.value.sqlstate == "25P02"
    assert caught.value.hint is not None
    assert caught.value.message in str(caught.value)


@pytest.mark.parametrize(
    ("sqlstate", "again"), [("40001", True), ("40P01", True), ("40002", False), ("23505", False)]
)
def test_what_may_succeed_when_it_is_run_again(sqlstate: str, again: bool) -> None:
    assert can_be_repeated(postgres_error({"C": sqlstate})) is again


def test_the_pause_grows_and_is_not_the_same_for_all() -> None:
    assert repeat_delay(0, 0.0) == 0.005
    assert repeat_delay(1, 0.0) == 0.01
    assert repeat_delay(1, 0.5) == 0.02
    assert repeat_delay(50, 0.0) == repeat_delay(6, 0.0) == 0.32


def test_a_begin_that_nobody_waits_for_any_more_is_undone() -> None:
    """A savepoint is not: the transaction around it ends it."""
    outer = TransactionBlock([], None, None, None)
    outer.begin(IDLE)
    assert outer.undo_begin() == "ROLLBACK"
    nested = TransactionBlock([], None, None, None)
    nested.begin(OPEN)
    assert nested.undo_begin() is None
