"""Prints what is committed in a database, change by change, as lines of JSON.

    python examples/change_printer.py postgresql://app:secret@db/app PUBLICATION [SLOT]

It follows a publication (`create publication PUBLICATION for table …`) by a slot for logical
replication, which it makes if it is not there, and which keeps what is committed while the printer
is away: drop it when it is not wanted any more (`select pg_drop_replication_slot('SLOT')`). A
transaction is acknowledged once its lines are written; after a crash the one that was being written
comes again. The server needs `wal_level=logical`, and the role the attribute `replication`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import Any

import pgwire

PAUSE = 1.0  # seconds, before it is tried again


def line_of(message: pgwire.ReplicationMessage) -> dict[str, Any] | None:
    """What is printed of a message; None for what only frames the changes."""
    match message:
        case pgwire.Insert(relation=table, new=row):
            return {"op": "insert", "table": name_of(table), "new": values_of(row)}
        case pgwire.Update(relation=table, new=row, old=old, key=key):
            before = {"old": values_of(old)} if old is not None else {}
            before |= {"key": values_of(key)} if key is not None else {}
            return {"op": "update", "table": name_of(table), **before, "new": values_of(row)}
        case pgwire.Delete(relation=table, old=None, key=pgwire.Row() as key):
            return {"op": "delete", "table": name_of(table), "key": values_of(key)}
        case pgwire.Delete(relation=table, old=pgwire.Row() as old):
            return {"op": "delete", "table": name_of(table), "old": values_of(old)}
        case pgwire.Truncate(relations=tables):
            return {"op": "truncate", "tables": [name_of(table) for table in tables]}
        case pgwire.Commit(committed_at=moment, end_lsn=place):
            return {"op": "commit", "at": moment, "lsn": str(place)}
    return None


def name_of(table: pgwire.Relation) -> str:
    return f"{table.schema}.{table.name}"


def values_of(row: pgwire.Row) -> dict[str, Any]:
    """By their columns, without those that the log does not hold."""
    return {n: value for n, value in row._asdict().items() if value is not pgwire.UNCHANGED}


async def follow(dsn: str, publication: str, slot: str) -> None:
    """Print changes until the connection is lost, or this is cancelled."""
    async with pgwire.connect_async(dsn, replication="database") as conn:
        with suppress(pgwire.DuplicateObject):
            await conn.create_replication_slot(slot)
        async with conn.replicate(slot, publication) as replication:
            print(f"following {publication} by {slot}", file=sys.stderr, flush=True)
            async for message in replication:
                line = line_of(message)
                if line is not None:
                    print(json.dumps(line, default=str))
                if isinstance(message, pgwire.Commit):
                    sys.stdout.flush()
                    replication.acknowledge(message)


async def main(dsn: str, publication: str, slot: str = "change_printer") -> None:
    """Follow, and begin again when the server has gone, until SIGINT or SIGTERM."""
    this = asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, this.cancel)
    with suppress(asyncio.CancelledError):
        while True:
            try:
                await follow(dsn, publication, slot)
            except (pgwire.ConnectionLost, pgwire.ConnectionFailed, pgwire.ObjectInUse) as error:
                if isinstance(error, pgwire.AuthenticationError):
                    raise
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                await asyncio.sleep(PAUSE)


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except pgwire.Error as error:
        sys.exit(f"{type(error).__name__}: {error}")
