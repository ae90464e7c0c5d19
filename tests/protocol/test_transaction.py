"""Transactions: what is said, and the rules of nesting."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import InterfaceError, ProgrammingError, ProtocolError
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.rows import Result
from pgwire.protocol.transaction import (
    ISOLATION_LEVELS,
    Blocks,
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


@pytest.mark.parametrize("given", ["no", 0, 1, []])
def test_modes_are_yes_or_no(given: Any) -> None:
    """What is true to Python may say no: a word, say, that comes from a file."""
    for name in ("read_only", "deferrable"):
        with pytest.raises(ProgrammingError, match=f"{name} must be True, False or None, not"):
            begin_statement(**{name: given})


def begun(
    stack: Blocks, status: TransactionStatus, *modes: bool | str | None
) -> tuple[TransactionBlock, str]:
    block = TransactionBlock(stack, *(*modes, None, None, None)[:3])  # type: ignore[arg-type]
    sql = block.begin(status)
    block.answered()
    return block, sql


def test_blocks_nest_as_savepoints() -> None:
    stack = Blocks()
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
    block, sql = begun(Blocks(), OPEN)
    assert sql == "SAVEPOINT _pgwire_1"
    assert block.rollback() == "ROLLBACK TO SAVEPOINT _pgwire_1; RELEASE _pgwire_1"


def test_the_outermost_one_is_rolled_back_whole() -> None:
    block, _ = begun(Blocks(), IDLE)
    assert block.rollback() == "ROLLBACK"


def test_a_savepoint_that_has_failed_is_undone_so_that_the_block_around_it_goes_on() -> None:
    block, _ = begun(Blocks(), OPEN)
    assert block.commit(FAILED) == "ROLLBACK TO SAVEPOINT _pgwire_1; RELEASE _pgwire_1"


def test_a_failed_transaction_is_committed_and_the_servers_answer_says_what_came_of_it() -> None:
    block, _ = begun(Blocks(), IDLE)
    assert block.commit(FAILED) == "COMMIT"


@pytest.mark.parametrize("modes", [("serializable",), (None, True), (None, None, False)])
def test_modes_belong_to_the_outermost_one(modes: tuple[str | bool | None, ...]) -> None:
    with pytest.raises(InterfaceError, match="belong to the outermost transaction"):
        begun(Blocks(), OPEN, *modes)


def test_a_block_ends_once() -> None:
    stack = Blocks()
    block, _ = begun(stack, IDLE)
    block.commit(OPEN)
    assert block.ended
    with pytest.raises(InterfaceError, match="commit: this transaction has ended already"):
        block.commit(OPEN)
    with pytest.raises(InterfaceError, match="rollback: this transaction has ended already"):
        block.rollback()


def test_the_innermost_one_ends_first() -> None:
    stack = Blocks()
    outer, _ = begun(stack, IDLE)
    inner, _ = begun(stack, OPEN)
    with pytest.raises(InterfaceError, match="rollback: a transaction begun inside this one"):
        outer.rollback()
    inner.rollback()
    outer.rollback()


def test_a_block_that_has_not_begun_cannot_end() -> None:
    stack = Blocks()
    begun(stack, IDLE)
    with pytest.raises(InterfaceError, match="commit: this transaction has not begun"):
        TransactionBlock(stack, None, None, None).commit(OPEN)


def test_a_block_whose_transaction_was_ended_by_sql_cannot_commit() -> None:
    stack = Blocks()
    block, _ = begun(stack, IDLE)
    with pytest.raises(InterfaceError, match="ended inside of its block"):
        block.commit(IDLE)
    assert block.ended
    assert not stack
    assert TransactionBlock(stack, None, None, None).begin(IDLE) == "BEGIN"


def test_a_lost_connection_takes_a_block_and_all_inside_it() -> None:
    stack = Blocks()
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
    nested = "this nested transaction was rolled back: .*, and nothing of it remains"
    with pytest.raises(InFailedSqlTransaction, match=nested):
        TransactionBlock.check_committed(answered("ROLLBACK", "RELEASE"))
    assert caught.value.sqlstate == "25P02"
    assert caught.value.hint is not None
    assert caught.value.message in str(caught.value)


def test_a_commit_that_is_answered_with_nothing() -> None:
    with pytest.raises(ProtocolError, match="COMMIT was answered without"):
        TransactionBlock.check_committed([])


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
    outer = TransactionBlock(Blocks(), None, None, None)
    outer.begin(IDLE)
    assert outer.undo_begin() == "ROLLBACK"
    nested = TransactionBlock(Blocks(), None, None, None)
    nested.begin(OPEN)
    assert nested.undo_begin() is None


def test_who_begins_before_a_begin_is_answered_is_inside_of_it() -> None:
    """Another task, or thread: the session's status is still that of before."""
    stack = Blocks()
    first, second = (TransactionBlock(stack, None, None, None) for _ in range(2))
    assert first.begin(IDLE) == "BEGIN"
    assert second.begin(IDLE) == "SAVEPOINT _pgwire_2"
    first.answered()
    second.answered()
    assert (first.is_innermost, second.is_innermost) == (False, True)
    assert second.commit(OPEN) == "RELEASE SAVEPOINT _pgwire_2"
    assert first.commit(OPEN) == "COMMIT"


def test_who_begins_before_an_end_is_answered_is_not() -> None:
    stack = Blocks()
    first, _ = begun(stack, IDLE)
    first.commit(OPEN)
    second = TransactionBlock(stack, None, None, None)
    assert second.begin(OPEN) == "BEGIN"
    first.answered()  # which says nothing of the second
    third = TransactionBlock(stack, None, None, None)
    assert third.begin(IDLE) == "SAVEPOINT _pgwire_2"


def test_an_end_that_nobody_waits_for_is_known_by_the_status() -> None:
    stack = Blocks()
    first, _ = begun(stack, IDLE)
    first.rollback()
    assert stack.expected(OPEN) is IDLE
    assert stack.expected(IDLE) is IDLE
    assert stack.expected(OPEN) is OPEN  # somebody has begun one by hand


def test_a_begin_that_has_failed_is_no_transaction() -> None:
    stack = Blocks()
    first = TransactionBlock(stack, None, None, None)
    first.begin(IDLE)
    first.not_begun()
    first.not_begun()  # once is enough
    assert (stack, first.ended, first.is_innermost) == ([], True, False)
    assert begun(stack, IDLE)[1] == "BEGIN"


def test_behind_a_begin_that_is_undone_there_is_none() -> None:
    stack = Blocks()
    first = TransactionBlock(stack, None, None, None)
    first.begin(IDLE)
    assert first.undo_begin() == "ROLLBACK"
    assert begun(stack, OPEN)[1] == "BEGIN"


def test_what_was_begun_inside_of_a_savepoint_that_is_given_up_goes_on() -> None:
    """It is open, and what is around it must not end before it."""
    stack = Blocks()
    outer, given_up, inner = (TransactionBlock(stack, None, None, None) for _ in range(3))
    for block in (outer, given_up, inner):
        block.begin(IDLE)
    assert (outer.bears_others, given_up.bears_others, inner.bears_others) == (True, False, False)
    assert given_up.undo_begin() is None
    assert stack == [outer, inner]
    assert (given_up.ended, outer.is_innermost, inner.is_innermost) == (True, False, True)
    assert inner.commit(OPEN) == "RELEASE SAVEPOINT _pgwire_3"
    assert outer.commit(OPEN) == "COMMIT"
