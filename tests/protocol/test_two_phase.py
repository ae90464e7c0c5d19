"""Two-phase commit: what is said, and what becomes of the blocks."""

from __future__ import annotations

import pytest

from pgwire.errors import InterfaceError
from pgwire.protocol import two_phase
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.rows import Result
from pgwire.protocol.transaction import Blocks, TransactionBlock
from pgwire.sqlstate import InFailedSqlTransaction

IDLE = TransactionStatus.IDLE
OPEN = TransactionStatus.IN_TRANSACTION
FAILED = TransactionStatus.IN_FAILED_TRANSACTION
PREPARED: list[Result[object]] = [Result([], (), "PREPARE TRANSACTION")]


def begun(stack: Blocks, status: TransactionStatus = IDLE) -> TransactionBlock:
    block = TransactionBlock(stack, None, None, None)
    block.begin(status)
    block.answered()
    return block


def test_names_are_literals() -> None:
    assert two_phase.prepare_statement([], OPEN, "a'b") == "PREPARE TRANSACTION 'a''b'"
    assert two_phase.commit_statement("x") == "COMMIT PREPARED 'x'"
    assert two_phase.rollback_statement("x") == "ROLLBACK PREPARED 'x'"


def test_there_has_to_be_a_transaction() -> None:
    with pytest.raises(InterfaceError, match="no transaction is open"):
        two_phase.prepare_statement([], IDLE, "x")


def test_only_the_outermost_block_can_be_prepared() -> None:
    stack = Blocks()
    begun(stack)
    assert two_phase.prepare_statement(stack, OPEN, "x") == "PREPARE TRANSACTION 'x'"
    begun(stack, OPEN)
    with pytest.raises(InterfaceError, match="inside this one has not ended"):
        two_phase.prepare_statement(stack, OPEN, "x")


def test_a_savepoint_in_a_transaction_begun_by_hand_is_not_the_outermost() -> None:
    stack = Blocks()
    begun(stack, OPEN)
    with pytest.raises(InterfaceError, match="inside this one has not ended"):
        two_phase.prepare_statement(stack, OPEN, "x")


def test_the_block_has_ended_with_it() -> None:
    stack = Blocks()
    block = begun(stack)
    two_phase.note_prepared(stack, IDLE, PREPARED)
    assert (block.ended, stack) == (True, [])
    two_phase.note_prepared(stack, IDLE, PREPARED)  # one begun by hand has no block


def test_a_failure_that_has_undone_it_ends_the_block_too() -> None:
    stack = Blocks()
    block = begun(stack)
    two_phase.note_prepared(stack, IDLE, None)
    assert block.ended


def test_a_failure_that_has_not_leaves_the_block_its_end() -> None:
    stack = Blocks()
    block = begun(stack)
    two_phase.note_prepared(stack, FAILED, None)
    assert (block.ended, stack) == (False, [block])


def test_rollback_for_an_answer_is_an_error() -> None:
    stack = Blocks()
    block = begun(stack)
    with pytest.raises(InFailedSqlTransaction, match="nothing has been prepared"):
        two_phase.note_prepared(stack, IDLE, [Result([], (), "ROLLBACK")])
    assert block.ended
