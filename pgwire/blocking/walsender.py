"""Replicates: what a connection says to a server that sends its log."""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgwire.handle import Handle
from pgwire.protocol import walsender
from pgwire.protocol.simple import SimpleQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.blocking.replicating import Replication
    from pgwire.pgtypes.lsn import Lsn
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.walsender import (
        ChangeStreaming,
        ReplicationSlot,
        Snapshot,
        SystemIdentity,
    )


class Replicates(Handle):
    """The commands of a connection for replication, as a part of `Connection`."""

    def _run(self, operation: Operation, timeout: float | None) -> Any:
        raise NotImplementedError

    def identify_system(self, *, timeout: float | None = None) -> SystemIdentity:
        """Which cluster this is, and how far its log is; connect with `replication="database"`.

        Manual: "Streaming Replication Protocol", IDENTIFY_SYSTEM.
        """
        command = SimpleQuery(walsender.IDENTIFY_SYSTEM)
        return walsender.system_identity(self._run(command, timeout))

    def create_replication_slot(
        self,
        name: str,
        *,
        plugin: str = "pgoutput",
        temporary: bool = False,
        snapshot: Snapshot = "nothing",
        two_phase: bool = False,
        failover: bool = False,
        timeout: float | None = None,
    ) -> ReplicationSlot:
        """Make a slot for logical replication; connect with `replication="database"`.

        The server keeps all log that the slot has not acknowledged, however much that becomes,
        until it is dropped; a `temporary` one goes with the connection. With `snapshot="export"`
        other sessions can see what was committed before, until this connection does anything else;
        with "use" the transaction does that this is the first command of. It waits for
        transactions that are open. `two_phase` is for PostgreSQL 15 and later, `failover` for 17.
        Manual: "Streaming Replication Protocol", CREATE_REPLICATION_SLOT.
        """
        sql = walsender.create_replication_slot(
            name,
            plugin,
            self.server_version,
            temporary=temporary,
            snapshot=snapshot,
            two_phase=two_phase,
            failover=failover,
        )
        return walsender.replication_slot(self._run(SimpleQuery(sql), timeout))

    def drop_replication_slot(
        self, name: str, *, wait: bool = False, timeout: float | None = None
    ) -> None:
        """Drop a slot: with `wait` once nobody uses it any more, else that is an error.

        Manual: "Streaming Replication Protocol", DROP_REPLICATION_SLOT.
        """
        self._run(SimpleQuery(walsender.drop_replication_slot(name, wait=wait)), timeout)

    def replicate(
        self,
        slot: str,
        publications: str | Sequence[str],
        *,
        start: Lsn | int | str = 0,
        streaming: ChangeStreaming = False,
        two_phase: bool = False,
        messages: bool = False,
        binary: bool = False,
        origin: str | None = None,
        proto_version: int | None = None,
        status_interval: float | None = 10.0,
    ) -> Replication:
        """Take the changes of publications as they are made, by a slot of the plugin pgoutput.

        An iterator of messages and a context manager (`Replication`, which says what it holds and
        what is acknowledged); connect with `replication="database"`. It begins where the slot was
        acknowledged up to, or at `start` where that is later. `streaming` sends large transactions
        before they end, as `StreamStart` … `StreamStop` (True: PostgreSQL 14, "parallel": 16);
        `two_phase` those that are prepared (15); `messages` what pg_logical_emit_message() writes
        (14); `binary` values in binary format (14); `origin="none"` nothing that has come from
        elsewhere (16). `proto_version` is the oldest that has what is asked for. The server is told
        how far we are every `status_interval` seconds, and when it asks; None: only then.

        Raises `ProgrammingError` for what makes no sense together; what the server refuses (a slot
        that is not there, or in use) is raised when it begins, and a publication that does not
        exist, before PostgreSQL 18, with the first change. Manual: "Logical Streaming Replication
        Protocol".
        """
        from pgwire.blocking.replicating import Replication  # few programs need it
        from pgwire.protocol.replicating import replicating

        operation = replicating(
            slot,
            publications,
            start,
            status_interval=status_interval,
            clock=monotonic,
            wall_clock=time.time,
            proto_version=proto_version,
            streaming=streaming,
            two_phase=two_phase,
            messages=messages,
            binary=binary,
            origin=origin,
        )
        return Replication(self, operation)
