"""Two-phase commit: a transaction that outlives its session, until somebody decides on it.

The manual: "Two-Phase Transactions", "PREPARE TRANSACTION", "pg_prepared_xacts". The server has
to allow it (`max_prepared_transactions`, which is 0 as it comes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgwire.errors import InterfaceError
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.quoting import quote_literal
from pgwire.protocol.transaction import TransactionBlock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any

    from pgwire.protocol.rows import Result


class PreparedTransaction(NamedTuple):
    """A transaction that waits for `commit_prepared` or `rollback_prepared`.

    Both are possible in the `database` that it was prepared in, for its `owner` and superusers.
    """

    gid: str
    prepared: datetime
    owner: str
    database: str


LIST_PREPARED = "select gid, prepared, owner, database from pg_prepared_xacts order by prepared"


def prepare_statement(
    blocks: Sequence[TransactionBlock], status: TransactionStatus, gid: str
) -> str:
    """What prepares the transaction whose blocks are open; none are if it was begun by hand.

    `status` is the session's.
    """
    if status is TransactionStatus.IDLE:  # the server would answer with a warning and ROLLBACK
        raise InterfaceError("prepare_transaction: no transaction is open")
    if len(blocks) > 1 or (blocks and blocks[0].is_nested):
        raise InterfaceError(
            "prepare_transaction: a transaction begun inside this one has not ended"
        )
    return f"PREPARE TRANSACTION {quote_literal(gid)}"


def commit_statement(gid: str) -> str:
    return f"COMMIT PREPARED {quote_literal(gid)}"


def rollback_statement(gid: str) -> str:
    return f"ROLLBACK PREPARED {quote_literal(gid)}"


def note_prepared(
    blocks: Sequence[TransactionBlock],
    status: TransactionStatus,
    results: Sequence[Result[Any]] | None,
) -> None:
    """The statement was answered, or has failed (`results` is None then).

    Either way the server has mostly ended the transaction, and its block with it; if not, what
    is left is for the end of the block.
    """
    if blocks and status is TransactionStatus.IDLE:
        blocks[0].forget()
    if results is not None:
        TransactionBlock.check_committed(results, "PREPARE TRANSACTION")
