"""PostgreSQL for Python without C.

    import pgwire

    with pgwire.Pool("postgresql://app@db/app") as pool:
        pool.query("select * from users where id = $1", [1]).one().name

Names are imported when they are first used, so that a program pays for what it needs only.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pgwire import errors as errors
    from pgwire.aio.connect import connect_async as connect_async
    from pgwire.aio.connection import AsyncConnection as AsyncConnection
    from pgwire.aio.copying import AsyncCopyOutput as AsyncCopyOutput
    from pgwire.aio.notifying import AsyncNotifications as AsyncNotifications
    from pgwire.aio.pipeline import (
        AsyncPipeline as AsyncPipeline,
        AsyncPipelineQuery as AsyncPipelineQuery,
    )
    from pgwire.aio.replicating import AsyncReplication as AsyncReplication
    from pgwire.aio.statement import AsyncStatement as AsyncStatement
    from pgwire.aio.streaming import AsyncStream as AsyncStream
    from pgwire.aio.transaction import AsyncTransaction as AsyncTransaction
    from pgwire.blocking.connect import connect as connect
    from pgwire.blocking.connection import Connection as Connection
    from pgwire.blocking.copying import CopyOutput as CopyOutput
    from pgwire.blocking.notifying import Notifications as Notifications
    from pgwire.blocking.pipeline import Pipeline as Pipeline, PipelineQuery as PipelineQuery
    from pgwire.blocking.replicating import Replication as Replication
    from pgwire.blocking.statement import Statement as Statement
    from pgwire.blocking.streaming import Stream as Stream
    from pgwire.blocking.transaction import Transaction as Transaction
    from pgwire.conninfo import (
        conninfo_to_dict as conninfo_to_dict,
        make_conninfo as make_conninfo,
    )
    from pgwire.errors import (
        Attempt as Attempt,
        AuthenticationError as AuthenticationError,
        ConnectionFailed as ConnectionFailed,
        ConnectionLost as ConnectionLost,
        DatabaseError as DatabaseError,
        DataError as DataError,
        Error as Error,
        IntegrityError as IntegrityError,
        InterfaceError as InterfaceError,
        InternalError as InternalError,
        NoRows as NoRows,
        NotSupportedError as NotSupportedError,
        OperationalError as OperationalError,
        PoolClosed as PoolClosed,
        PoolDeadlock as PoolDeadlock,
        PoolError as PoolError,
        PoolFull as PoolFull,
        PoolTimeout as PoolTimeout,
        PostgresError as PostgresError,
        ProgrammingError as ProgrammingError,
        ProtocolError as ProtocolError,
        QueryTimeout as QueryTimeout,
        TLSError as TLSError,
        TooManyRows as TooManyRows,
        Warning as Warning,
    )
    from pgwire.observing import log_queries as log_queries
    from pgwire.pgtypes import (
        Array as Array,
        Interval as Interval,
        Json as Json,
        register_type as register_type,
    )
    from pgwire.pgtypes.geometry import (
        Box as Box,
        Circle as Circle,
        Line as Line,
        LineSegment as LineSegment,
        Path as Path,
        Point as Point,
        Polygon as Polygon,
    )
    from pgwire.pgtypes.lsn import Lsn as Lsn
    from pgwire.pgtypes.ranges import Multirange as Multirange, Range as Range
    from pgwire.pgtypes.vectors import SparseVector as SparseVector
    from pgwire.pool.aio import AsyncPool as AsyncPool
    from pgwire.pool.aio_lease import AsyncLease as AsyncLease
    from pgwire.pool.aio_listening import AsyncSubscription as AsyncSubscription
    from pgwire.pool.blocking import Pool as Pool
    from pgwire.pool.config import PoolStats as PoolStats
    from pgwire.pool.feeds import NotificationGap as NotificationGap
    from pgwire.pool.lease import Lease as Lease
    from pgwire.pool.subscription import Subscription as Subscription
    from pgwire.protocol.events import ParameterChange as ParameterChange
    from pgwire.protocol.logical import (
        UNCHANGED as UNCHANGED,
        Begin as Begin,
        BeginPrepare as BeginPrepare,
        ColumnType as ColumnType,
        Commit as Commit,
        CommitPrepared as CommitPrepared,
        Delete as Delete,
        Insert as Insert,
        LogicalMessage as LogicalMessage,
        Origin as Origin,
        Prepare as Prepare,
        Relation as Relation,
        RelationColumn as RelationColumn,
        ReplicationMessage as ReplicationMessage,
        RollbackPrepared as RollbackPrepared,
        StreamAbort as StreamAbort,
        StreamCommit as StreamCommit,
        StreamPrepare as StreamPrepare,
        StreamStart as StreamStart,
        StreamStop as StreamStop,
        Truncate as Truncate,
        Unchanged as Unchanged,
        Update as Update,
    )
    from pgwire.protocol.messages import (
        Column as Column,
        Notification as Notification,
        TransactionStatus as TransactionStatus,
    )
    from pgwire.protocol.observing import QueryReport as QueryReport
    from pgwire.protocol.progress import Progress as Progress
    from pgwire.protocol.quoting import (
        quote_identifier as quote_identifier,
        quote_literal as quote_literal,
    )
    from pgwire.protocol.rows import Result as Result, Row as Row
    from pgwire.protocol.two_phase import PreparedTransaction as PreparedTransaction
    from pgwire.protocol.walsender import (
        ReplicationSlot as ReplicationSlot,
        SystemIdentity as SystemIdentity,
    )
    from pgwire.sqlstate import *  # noqa: F403

_MODULES = {
    "pgwire.aio.connect": ("connect_async",),
    "pgwire.aio.connection": ("AsyncConnection",),
    "pgwire.aio.copying": ("AsyncCopyOutput",),
    "pgwire.aio.notifying": ("AsyncNotifications",),
    "pgwire.aio.pipeline": ("AsyncPipeline", "AsyncPipelineQuery"),
    "pgwire.aio.replicating": ("AsyncReplication",),
    "pgwire.aio.statement": ("AsyncStatement",),
    "pgwire.aio.streaming": ("AsyncStream",),
    "pgwire.aio.transaction": ("AsyncTransaction",),
    "pgwire.blocking.connect": ("connect",),
    "pgwire.blocking.connection": ("Connection",),
    "pgwire.blocking.copying": ("CopyOutput",),
    "pgwire.blocking.notifying": ("Notifications",),
    "pgwire.blocking.pipeline": ("Pipeline", "PipelineQuery"),
    "pgwire.blocking.replicating": ("Replication",),
    "pgwire.blocking.statement": ("Statement",),
    "pgwire.blocking.streaming": ("Stream",),
    "pgwire.blocking.transaction": ("Transaction",),
    "pgwire.conninfo": ("conninfo_to_dict", "make_conninfo"),
    "pgwire.errors": (
        "Attempt", "AuthenticationError", "ConnectionFailed", "ConnectionLost", "DataError",
        "DatabaseError", "Error", "IntegrityError", "InterfaceError", "InternalError",
        "NoRows", "NotSupportedError", "OperationalError", "PoolClosed", "PoolDeadlock",
        "PoolError", "PoolFull", "PoolTimeout", "PostgresError", "ProgrammingError",
        "ProtocolError", "QueryTimeout", "TLSError", "TooManyRows", "Warning",
    ),
    "pgwire.observing": ("log_queries",),
    "pgwire.pgtypes": ("Array", "Interval", "Json", "register_type"),
    "pgwire.pgtypes.geometry": (
        "Box", "Circle", "Line", "LineSegment", "Path", "Point", "Polygon",
    ),
    "pgwire.pgtypes.lsn": ("Lsn",),
    "pgwire.pgtypes.ranges": ("Multirange", "Range"),
    "pgwire.pgtypes.vectors": ("SparseVector",),
    "pgwire.pool.aio": ("AsyncPool",),
    "pgwire.pool.aio_lease": ("AsyncLease",),
    "pgwire.pool.aio_listening": ("AsyncSubscription",),
    "pgwire.pool.blocking": ("Pool",),
    "pgwire.pool.config": ("PoolStats",),
    "pgwire.pool.feeds": ("NotificationGap",),
    "pgwire.pool.lease": ("Lease",),
    "pgwire.pool.subscription": ("Subscription",),
    "pgwire.protocol.logical": (
        "UNCHANGED", "Begin", "BeginPrepare", "ColumnType", "Commit", "CommitPrepared", "Delete",
        "Insert", "LogicalMessage", "Origin", "Prepare", "Relation", "RelationColumn",
        "ReplicationMessage", "RollbackPrepared", "StreamAbort", "StreamCommit", "StreamPrepare",
        "StreamStart", "StreamStop", "Truncate", "Unchanged", "Update",
    ),
    "pgwire.protocol.messages": ("Column", "Notification", "TransactionStatus"),
    "pgwire.protocol.observing": ("QueryReport",),
    "pgwire.protocol.progress": ("Progress",),
    "pgwire.protocol.quoting": ("quote_identifier", "quote_literal"),
    "pgwire.protocol.rows": ("Result", "Row"),
    "pgwire.protocol.walsender": ("ReplicationSlot", "SystemIdentity"),
    "pgwire.protocol.events": ("ParameterChange",),
    "pgwire.protocol.two_phase": ("PreparedTransaction",),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", *_HOMES]


# Python's own locks do not keep two threads apart that import parts of one package at once.
_importing = RLock()

if not TYPE_CHECKING:  # a type checker is to know every name, and no other

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first asked for, SQLSTATE classes included."""
        from importlib import import_module

        if name == "errors":
            return import_module("pgwire.errors")
        with _importing:
            home = _HOMES.get(name)
            if home is None:
                sqlstate = import_module("pgwire.sqlstate")
                if name[:1].isupper() and isinstance(getattr(sqlstate, name, None), type):
                    return getattr(sqlstate, name)
                raise AttributeError(f"module 'pgwire' has no attribute {name!r}")
            value = globals()[name] = getattr(import_module(home), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
