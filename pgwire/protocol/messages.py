"""The vocabulary of the frontend/backend protocol, version 3.

Names are those of the manual (chapter "Message Formats"). The two directions keep its words
as well: a frontend message is one that we send, a backend message one that we receive.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

TEXT = 0
BINARY = 1

MAX_PARAMETERS = 65_535
# Of a result; a server that is none of PostgreSQL's may have more.
MAX_COLUMNS = 1_664


class BackendMessage(IntEnum):
    """The first byte of every message that the server may send."""

    AUTHENTICATION = ord("R")
    BACKEND_KEY_DATA = ord("K")
    BIND_COMPLETE = ord("2")
    CLOSE_COMPLETE = ord("3")
    COMMAND_COMPLETE = ord("C")
    COPY_BOTH_RESPONSE = ord("W")
    COPY_DATA = ord("d")
    COPY_DONE = ord("c")
    COPY_IN_RESPONSE = ord("G")
    COPY_OUT_RESPONSE = ord("H")
    DATA_ROW = ord("D")
    EMPTY_QUERY_RESPONSE = ord("I")
    ERROR_RESPONSE = ord("E")
    FUNCTION_CALL_RESPONSE = ord("V")
    NEGOTIATE_PROTOCOL_VERSION = ord("v")
    NO_DATA = ord("n")
    NOTICE_RESPONSE = ord("N")
    NOTIFICATION_RESPONSE = ord("A")
    PARAMETER_DESCRIPTION = ord("t")
    PARAMETER_STATUS = ord("S")
    PARSE_COMPLETE = ord("1")
    PORTAL_SUSPENDED = ord("s")
    READY_FOR_QUERY = ord("Z")
    ROW_DESCRIPTION = ord("T")


# Most messages are short. What may be longer than this is listed below; a longer one of any
# other type means that we have lost step with the server, and waiting for its end would be
# waiting for ever.
SHORT = 30_000
LONG_MESSAGES = frozenset(
    {
        BackendMessage.COPY_DATA,
        BackendMessage.DATA_ROW,
        BackendMessage.ERROR_RESPONSE,
        BackendMessage.NOTICE_RESPONSE,
        BackendMessage.NOTIFICATION_RESPONSE,
        BackendMessage.PARAMETER_DESCRIPTION,
        BackendMessage.PARAMETER_STATUS,  # search_path is reported since 18, of any length
        BackendMessage.ROW_DESCRIPTION,
    }
)
# Before the server has let us in it gets no more memory than it needs, an error's text apart.
SHORT_BEFORE_LETTING_IN = 2_000


class TransactionStatus(Enum):
    """Where the session stands, as the last ReadyForQuery reported it."""

    IDLE = "I"
    IN_TRANSACTION = "T"
    IN_FAILED_TRANSACTION = "E"


TRANSACTION_STATUS = {ord(status.value): status for status in TransactionStatus}


class Column(NamedTuple):
    """One column of a result (manual: RowDescription).

    `table_oid` and `column_number` are 0 where the column is not one of a table;
    `type_size` is negative for types of variable width; `type_modifier` is -1 without one.
    """

    name: str
    type_oid: int
    type_modifier: int = -1
    table_oid: int = 0
    column_number: int = 0
    type_size: int = -1
    format: int = TEXT


class BackendKeyData(NamedTuple):
    """What a cancel request must show. The key is secret, hence the short repr."""

    pid: int
    secret: bytes

    def __repr__(self) -> str:
        return f"BackendKeyData(pid={self.pid})"


class Notification(NamedTuple):
    """A message sent by NOTIFY: where, what, and the process id of the sending backend."""

    channel: str
    payload: str
    pid: int


def message_name(code: int) -> str:
    """The manual's name of a backend message, for texts that people read."""
    try:
        return BackendMessage(code).name
    except ValueError:
        return f"unknown message {bytes([code])!r}"
