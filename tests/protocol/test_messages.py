"""The vocabulary: codes, names, and what must not be shown."""

from __future__ import annotations

import pytest

from pgwire.protocol.messages import (
    LONG_MESSAGES,
    TRANSACTION_STATUS,
    BackendKeyData,
    BackendMessage,
    Column,
    TransactionStatus,
    message_name,
)


def test_codes_are_single_printable_bytes_and_differ() -> None:
    assert len({int(code) for code in BackendMessage}) == len(BackendMessage)
    assert all(chr(code).isascii() and chr(code).isprintable() for code in BackendMessage)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (ord("Z"), "READY_FOR_QUERY"),
        (BackendMessage.DATA_ROW, "DATA_ROW"),
        (0, "unknown message b'\\x00'"),
        (ord("x"), "unknown message b'x'"),
        (255, "unknown message b'\\xff'"),
    ],
)
def test_every_code_has_a_name_for_people(code: int, name: str) -> None:
    assert message_name(code) == name


def test_what_carries_data_or_text_may_be_long() -> None:
    """A server's error text has no bound; its ReadyForQuery has one byte."""
    for code in (BackendMessage.DATA_ROW, BackendMessage.ERROR_RESPONSE, BackendMessage.COPY_DATA):
        assert code in LONG_MESSAGES
    for code in (BackendMessage.READY_FOR_QUERY, BackendMessage.AUTHENTICATION):
        assert code not in LONG_MESSAGES


def test_transaction_status_by_the_byte_of_ready_for_query() -> None:
    assert {
        ord("I"): TransactionStatus.IDLE,
        ord("T"): TransactionStatus.IN_TRANSACTION,
        ord("E"): TransactionStatus.IN_FAILED_TRANSACTION,
    } == TRANSACTION_STATUS


def test_the_key_that_cancels_queries_is_not_shown() -> None:
    key = BackendKeyData(42, b"secret!!")
    assert repr(key) == str(key) == "BackendKeyData(pid=42)"
    assert f"{key}" == "BackendKeyData(pid=42)"


def test_a_column_that_is_no_tables() -> None:
    assert Column("n", 23) == Column("n", 23, -1, 0, 0, -1, 0)
