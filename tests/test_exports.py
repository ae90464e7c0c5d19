"""What `pgwire` exports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pgwire
from pgwire import errors, sqlstate

PUBLIC = {
    "Box", "Circle", "Line", "LineSegment", "Multirange", "Path", "Point", "Polygon", "Range",
    "SparseVector",
    "AsyncCopyOutput", "CopyOutput", "AsyncNotifications", "Notifications", "AsyncStream", "Stream",
    "AsyncSubscription", "NotificationGap", "Subscription",
    "AsyncPipeline", "AsyncPipelineQuery", "Pipeline", "PipelineQuery",
    "UNCHANGED", "AsyncReplication", "Begin", "BeginPrepare", "ColumnType", "Commit",
    "CommitPrepared", "Delete", "Insert", "LogicalMessage", "Lsn", "Origin", "Prepare", "Relation",
    "RelationColumn", "Replication", "ReplicationMessage", "ReplicationSlot", "RollbackPrepared",
    "StreamAbort", "StreamCommit", "StreamPrepare", "StreamStart", "StreamStop", "SystemIdentity",
    "Truncate", "Unchanged", "Update",
    "AsyncConnection", "AsyncLease", "AsyncPool", "AsyncStatement", "AsyncTransaction",
    "connect_async",
    "Array", "Attempt", "AuthenticationError", "Column", "Connection", "ConnectionFailed",
    "ConnectionLost",
    "DataError", "DatabaseError", "Error", "IntegrityError", "InterfaceError", "InternalError",
    "Interval", "Json", "Lease", "NoRows", "NotSupportedError", "Notification",
    "OperationalError", "ParameterChange", "Pool", "PoolClosed", "PoolDeadlock", "PoolError",
    "PoolFull", "PoolStats", "PoolTimeout", "PostgresError", "PreparedTransaction",
    "ProgrammingError", "Progress",
    "ProtocolError",
    "QueryTimeout", "Result", "Row", "Statement", "TLSError", "TooManyRows", "Transaction",
    "TransactionStatus", "Warning", "__version__", "conninfo_to_dict", "connect",
    "QueryReport", "log_queries",
    "make_conninfo", "quote_identifier", "quote_literal", "register_type",
}  # fmt: skip


def test_the_public_names() -> None:
    assert set(pgwire.__all__) == PUBLIC
    assert set(dir(pgwire)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_name_is_there(name: str) -> None:
    assert getattr(pgwire, name) is not None


def test_exceptions_are_in_errors_as_well() -> None:
    for name in PUBLIC:
        value = getattr(pgwire, name)
        if isinstance(value, type) and issubclass(value, Exception):
            assert getattr(errors, name) is value


def test_every_sqlstate_class_can_be_had_from_the_top() -> None:
    for cls in sqlstate.CLASSES.values():
        assert getattr(pgwire, cls.__name__) is cls
    assert issubclass(pgwire.UniqueViolation, pgwire.IntegrityError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = pgwire.Nonsense  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import pgwire", ["pgwire.blocking", "pgwire.pool", "ssl", "socket"]),
        ("from pgwire import Pool, connect", ["asyncio", "opentelemetry", "pgwire.embedded"]),
        ("from pgwire import Pool, connect", ["scramp", "ssl", "zoneinfo"]),
        ("from pgwire import AsyncPool", ["scramp", "zoneinfo"]),
        ("import pgwire.pool.core", ["pgwire.blocking", "ssl", "asyncio"]),
    ],
)
def test_nobody_pays_for_what_is_not_used(program: str, absent: list[str]) -> None:
    check = f"{program}\nimport sys\nprint([n for n in {absent!r} if n in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_the_module_of_errors_is_there_without_being_asked_for() -> None:
    program = "import pgwire; print(pgwire.errors.UniqueViolation.sqlstate)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "23505\n"
