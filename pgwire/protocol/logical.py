"""What logical replication tells, as objects (manual: "Logical Replication Message Formats").

Knows what each message says. Must not know how it is written (`pgoutput`), nor any connection.

Each has `lsn`, where in the log it comes from (0/0 where the server does not say). What ends a
transaction has `end_lsn` as well, which is what can be acknowledged. In a transaction that is
streamed before it ends, `xid` says whose a change is; elsewhere it is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pgwire.pgtypes.lsn import Lsn

if TYPE_CHECKING:
    from datetime import datetime

    from pgwire.protocol.rows import Row


class Unchanged(Enum):
    """The class of `UNCHANGED`."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return "UNCHANGED"


# In a row: a long value (TOAST) that the update has not touched, and the log does not hold.
UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True)
class ReplicationMessage:
    """The base of all that a replication gives."""

    lsn: Lsn


# ---------------------------------------------------------------- transactions


@dataclass(frozen=True, slots=True)
class Begin(ReplicationMessage):
    """A transaction follows, up to its `Commit`: `commit_lsn` is where that is."""

    commit_lsn: Lsn
    committed_at: datetime
    xid: int


@dataclass(frozen=True, slots=True)
class Commit(ReplicationMessage):
    """The end of the transaction that the last `Begin` began."""

    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class Origin(ReplicationMessage):
    """The transaction has come from another server, which this one replicates from."""

    origin_lsn: Lsn
    name: str


@dataclass(frozen=True, slots=True)
class LogicalMessage(ReplicationMessage):
    """What pg_logical_emit_message() has written, where `messages=True` asks for it.

    One that is not `transactional` belongs to no transaction: it comes at once, and can be
    acknowledged by itself.
    """

    transactional: bool
    prefix: str
    content: bytes
    xid: int | None = None

    @property
    def end_lsn(self) -> Lsn | None:
        """What is to be acknowledged for it not to come again; None inside of a transaction."""
        return None if self.transactional else Lsn(self.lsn + 1)


# ---------------------------------------------------------------- tables and types


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column of a published table; `is_key` if it is part of the replica identity."""

    name: str
    type_oid: int
    type_modifier: int = -1
    is_key: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Relation(ReplicationMessage):
    """What a table looks like: before the first change of it, and whenever it has been altered.

    `replica_identity` is "default", "nothing", "full" or "index"; `columns` are those published.
    """

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]
    xid: int | None = None

    def __repr__(self) -> str:  # short, as each change has one
        columns = ", ".join(column.name for column in self.columns)
        return f"<Relation {self.schema}.{self.name} ({columns})>"


@dataclass(frozen=True, slots=True)
class ColumnType(ReplicationMessage):
    """The name of a type that is not built in: columns of the next `Relation` have it."""

    oid: int
    schema: str
    name: str
    xid: int | None = None


# ---------------------------------------------------------------- changes


@dataclass(frozen=True, slots=True)
class Insert(ReplicationMessage):
    """A row is new."""

    relation: Relation
    new: Row
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Update(ReplicationMessage):
    """A row is `new` now. A value in it may be `UNCHANGED`.

    `old` is all of it as it was, where the table's replica identity is full. Else `key` is the
    replica identity as it was, if that has changed.
    """

    relation: Relation
    new: Row
    old: Row | None = None
    key: Row | None = None
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Delete(ReplicationMessage):
    """A row is gone: `old` is all of it where the replica identity is full, else `key` is that."""

    relation: Relation
    old: Row | None = None
    key: Row | None = None
    xid: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate(ReplicationMessage):
    """Tables are empty now."""

    relations: tuple[Relation, ...]
    cascade: bool
    restart_identity: bool
    xid: int | None = None


# ---------------------------------------------------------------- streamed transactions


@dataclass(frozen=True, slots=True)
class StreamStart(ReplicationMessage):
    """Some of a large transaction that has not ended yet: up to `StreamStop`; `first` or more."""

    xid: int
    first: bool


@dataclass(frozen=True, slots=True)
class StreamStop(ReplicationMessage):
    """Other transactions may come now, or more of this one."""


@dataclass(frozen=True, slots=True)
class StreamCommit(ReplicationMessage):
    """A transaction that has been streamed is committed."""

    xid: int
    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: datetime


@dataclass(frozen=True, slots=True)
class StreamAbort(ReplicationMessage):
    """What was streamed of `sub_xid` never happened: a savepoint's, or all where it is `xid`.

    `abort_lsn` and `aborted_at` are told with `streaming="parallel"` only.
    """

    xid: int
    sub_xid: int
    abort_lsn: Lsn | None = None
    aborted_at: datetime | None = None


# ---------------------------------------------------------------- two-phase commit


@dataclass(frozen=True, slots=True)
class BeginPrepare(ReplicationMessage):
    """A transaction follows, up to its `Prepare`."""

    prepare_lsn: Lsn
    prepare_end_lsn: Lsn
    prepared_at: datetime
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class Prepare(ReplicationMessage):
    """The transaction is prepared under the name `gid`; what becomes of it is told later."""

    prepare_lsn: Lsn
    end_lsn: Lsn
    prepared_at: datetime
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class CommitPrepared(ReplicationMessage):
    """A transaction that was prepared is committed."""

    commit_lsn: Lsn
    end_lsn: Lsn
    committed_at: datetime
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class RollbackPrepared(ReplicationMessage):
    """A transaction that was prepared, up to `prepare_end_lsn`, never happened."""

    prepare_end_lsn: Lsn
    end_lsn: Lsn
    prepared_at: datetime
    rolled_back_at: datetime
    xid: int
    gid: str


@dataclass(frozen=True, slots=True)
class StreamPrepare(ReplicationMessage):
    """A transaction that has been streamed is prepared under the name `gid`."""

    prepare_lsn: Lsn
    end_lsn: Lsn
    prepared_at: datetime
    xid: int
    gid: str


def end_of(message: ReplicationMessage) -> Lsn | None:
    """Up to where all has been told with this message; None in the middle of a transaction."""
    return getattr(message, "end_lsn", None)
