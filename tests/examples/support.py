"""What the tests of the examples share: environments, and the web service as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

import pgwire
from tests.pool.support import PATIENCE, ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = "examples/web_service.py"
APPLICATION = "web_service"

_UVICORN = "-m uvicorn --factory --app-dir examples web_service:create_app --loop asyncio --port 0"
_ADDRESS = re.compile(r"Uvicorn running on http://([\d.]+):(\d+)")


def environment(dsn: str) -> dict[str, str]:
    """What `dsn` says, as PG* variables."""
    given = pgwire.conninfo_to_dict(dsn)
    return {f"PG{name.upper().replace('DBNAME', 'DATABASE')}": given[name] for name in given}


class Service:
    """The example as a process that serves, on a free port."""

    def __init__(self, dsn: str, loop: str) -> None:
        """As its docstring has it: as a script (which takes uvloop), or by uvicorn (asyncio)."""
        if loop == "uvloop":
            arguments, settings = [SCRIPT, dsn], {"PORT": "0"}
        else:
            arguments, settings = _UVICORN.split(), environment(dsn)
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a line for each request
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | settings,
        )
        self.log = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log += line

    def wait_for_address(self) -> tuple[str, int]:
        until(lambda: self.process.poll() is not None or _ADDRESS.search(self.log))
        found = _ADDRESS.search(self.log)
        assert found, self.log
        return found[1], int(found[2])

    def ask_to_stop(self) -> None:
        """Returns once nobody can connect any more."""
        address = self.wait_for_address()
        self.process.send_signal(signal.SIGTERM)
        until(lambda: not _is_open(address))

    def wait_for_end(self) -> int:
        """Its exit status; all that it had to say is in the log then."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def http(self) -> httpx.AsyncClient:
        host, port = self.wait_for_address()
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=PATIENCE, limits=limits)


def _is_open(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def serving(dsn: str, loop: str = "uvloop") -> Iterator[Service]:
    """The service, which must end well, and without a complaint."""
    service = Service(dsn, loop)
    try:
        service.wait_for_address()
        yield service
        if service.process.poll() is None:
            service.process.terminate()
        # uvicorn ends by the signal that it has been sent, after it has obeyed it.
        assert service.wait_for_end() == -signal.SIGTERM, service.log
        assert "ERROR" not in service.log, service.log
        assert "Application shutdown complete." in service.log
    finally:
        service.process.kill()
        service.process.wait()


# ---------------------------------------------------------------- the database's side


def backends(conn: pgwire.Connection, *, locked: bool = False) -> list[int]:
    """The service's backends in this database; those that wait for a lock."""
    found = conn.query(
        "select pid from pg_stat_activity where application_name = $1"
        " and datname = current_database() and (wait_event_type = 'Lock' or not $2)",
        [APPLICATION, locked],
    )
    return found.scalars()


@contextmanager
def books_locked(dsn: str) -> Iterator[None]:
    """Nobody else can read books, or write any.

    By a connection of its own: inside a transaction pg_stat_activity stays as it was.
    """
    with pgwire.connect(dsn) as conn, conn.transaction():
        conn.query("lock table book in access exclusive mode")
        yield
