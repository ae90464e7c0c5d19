"""examples/change_printer.py prints every change, through the loss of its connection."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from queue import Queue
from typing import IO, TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded

SCRIPT = "examples/change_printer.py"
SLOT = "printed"


@pytest.fixture
def admin(embedded_server: embedded.Server) -> Iterator[pgwire.Connection]:
    with pgwire.connect(embedded_server.url) as conn:
        conn.script(
            "create table parcel (id int primary key, weight numeric, notes text);"
            "alter table parcel alter notes set storage external;"
            "create publication parcels for table parcel"
        )
        yield conn
        conn.query("select pg_drop_replication_slot(slot_name) from pg_replication_slots")
        conn.script("drop publication parcels; drop table parcel")


def confirmed(admin: pgwire.Connection) -> pgwire.Lsn:
    return pgwire.Lsn(admin.query("select confirmed_flush_lsn from pg_replication_slots").scalar())


class Printer:
    """The example as a process. `take` waits for its next lines."""

    def __init__(self, dsn: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, SCRIPT, dsn, "parcels", SLOT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.lines: Queue[str] = Queue()
        self.told: Queue[str] = Queue()
        self._readers = []
        for source, queue in ((self.process.stdout, self.lines), (self.process.stderr, self.told)):
            reader = threading.Thread(target=self._read, args=(source, queue), daemon=True)
            reader.start()
            self._readers.append(reader)

    @staticmethod
    def _read(source: IO[str], queue: Queue[str]) -> None:
        with source:
            for line in source:
                queue.put(line)

    def take(self, count: int) -> list[dict[str, Any]]:
        return [json.loads(self.lines.get(timeout=PATIENCE)) for _ in range(count)]

    def end(self) -> int:
        status = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status


@contextmanager
def printing(dsn: str) -> Iterator[Printer]:
    printer = Printer(dsn)
    try:
        assert printer.told.get(timeout=PATIENCE) == f"following parcels by {SLOT}\n"
        yield printer
    finally:
        printer.process.kill()
        printer.end()


def test_every_change_is_printed(
    admin: pgwire.Connection, embedded_server: embedded.Server
) -> None:
    with printing(embedded_server.url) as printer:
        with admin.transaction():
            admin.query("insert into parcel values (1, 2.5, repeat('x', 5000))")
            admin.query("update parcel set id = 2")
            admin.query("delete from parcel")
        lines = printer.take(4)
        commit = lines.pop()
        assert commit["op"] == "commit"
        table = {"table": "public.parcel"}
        assert lines == [
            {"op": "insert", **table, "new": {"id": 1, "weight": "2.5", "notes": "x" * 5000}},
            {"op": "update", **table, "key": {"id": 1}, "new": {"id": 2, "weight": "2.5"}},
            {"op": "delete", **table, "key": {"id": 2}},
        ]
        admin.script("alter table parcel replica identity full; truncate parcel")
        assert printer.take(2)[0] == {"op": "truncate", "tables": ["public.parcel"]}
        admin.script("insert into parcel values (1); update parcel set id = 2; delete from parcel")
        old = {"id": 2, "weight": None, "notes": None}
        *lines, commit = printer.take(4)
        assert [line.get("old") for line in lines] == [None, old | {"id": 1}, old]
        until(lambda: confirmed(admin) >= pgwire.Lsn(commit["lsn"]))  # else it would come again

        # The connection is lost, and what is committed meanwhile comes after that.
        admin.query("select pg_terminate_backend(active_pid, 20000) from pg_replication_slots")
        admin.query("insert into parcel values (7)")
        insert, commit = printer.take(2)
        assert insert["new"]["id"] == 7
        assert "ConnectionLost" in printer.told.get(timeout=PATIENCE)

        printer.process.send_signal(signal.SIGTERM)
        assert printer.end() == 0
        assert printer.lines.empty()
    until(lambda: not admin.query("select 1 from pg_replication_slots where active").rows)
    assert confirmed(admin) >= pgwire.Lsn(commit["lsn"])


def test_what_it_says_when_it_cannot(embedded_server: embedded.Server) -> None:
    wrong = embedded_server.url.replace(embedded_server.password, "wrong")
    for arguments, said in (
        ([], "Prints what is committed"),
        ([wrong, "parcels"], "InvalidPassword"),
    ):
        command = [sys.executable, SCRIPT, *arguments]
        found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert found.returncode == 1
        assert said in found.stderr
        assert "Traceback" not in found.stderr
