"""A gate on the server: a query that runs until the test says so, however busy the machine is.

In place of `pg_sleep(0.3)`, which hopes that everything else is done by then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

import pytest

import pgwire
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator


class Gate:
    """Shut until `open` is called, or a block of it ends. It has a connection of its own.

    `with conn.pipeline() as p, gate:` lets the pipeline end where the test fails.
    """

    def __init__(self, dsn: str) -> None:
        self._conn = pgwire.connect(dsn)
        self._key = self._conn.backend_pid  # no other gate has it
        self._conn.query("select pg_advisory_lock($1)", [self._key])
        self.waiting = f"pg_advisory_xact_lock({self._key})"
        """For a FROM clause: the query's answer comes when the gate is open."""

    def wait_for_somebody(self) -> None:
        """Return once a query stands before it."""
        sql = "select count(*) from pg_locks where locktype = 'advisory' and objid = $1::int8::oid"
        end = time.monotonic() + LATE
        while not self._conn.query(f"{sql} and not granted", [self._key]).scalar():
            assert time.monotonic() < end, "nobody has come"
            time.sleep(0.002)

    def open(self) -> None:
        self._conn.query("select pg_advisory_unlock($1)", [self._key])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._conn.close()


@pytest.fixture
def gate(dsn: str) -> Iterator[Gate]:
    """One on the test server."""
    with Gate(dsn) as gate:
        yield gate
