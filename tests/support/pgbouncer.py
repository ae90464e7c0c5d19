"""A PgBouncer in transaction mode, in front of an embedded PostgreSQL.

`tools/install_test_servers.sh` sees to the program. It listens on a Unix socket alone, in a
folder of its own, and whoever comes there is let in. All its clients share `SERVERS` connections
to the server, so that the next transaction of a client is often on another one.

It belongs to a keeper, a shell process that waits for the end of a pipe of which only we hold
the other side: however we end, it ends PgBouncer and removes the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgwire
from pgwire.embedded import Unavailable
from pgwire.embedded.installation import server_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded

SERVERS = 2

_PORT = 6432  # the name of the socket: no other program can have it
_PATIENCE = 20.0
_KEEPER = """
"$1" "$2/pgbouncer.ini" >"$2/output" 2>&1 &
read -r _
kill "$!"
wait
rm -rf "$2"
"""


@dataclass(frozen=True)
class PgBouncer:
    """A connection string through it, the server's own behind it, and what it is."""

    url: str
    direct: str
    origin: str


@contextlib.contextmanager
def pgbouncer(server: embedded.Server) -> Iterator[PgBouncer]:
    """A PgBouncer that is ready, for the time of the block.

    Raises:
        Unavailable: there is none, or it did not start.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Unavailable("PgBouncer is not installed: apt-get install pgbouncer")
    version = _version(program)
    directory = Path(tempfile.mkdtemp(prefix="pgwire-", dir="/tmp"))
    (directory / "userlist.txt").write_text(f'"{server.user}" ""\n')
    (directory / "pgbouncer.ini").write_text(_settings(server, directory, version))
    with _kept(program, directory):
        url = f"postgresql://{server.user}@/{server.database}?host={directory}&port={_PORT}"
        _wait_until_it_answers(url, directory)
        shown = ".".join(map(str, version))
        yield PgBouncer(url, server.url, f"PgBouncer {shown} ({program})")


def _version(program: str) -> tuple[int, ...]:
    output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", output)
    if found is None:
        raise Unavailable(f"{program} does not run")
    return tuple(map(int, found.groups()))


def _settings(server: embedded.Server, directory: Path, version: tuple[int, ...]) -> str:
    settings = {
        "listen_port": _PORT,
        "unix_socket_dir": directory,
        "auth_type": "trust",
        "auth_file": directory / "userlist.txt",
        "pool_mode": "transaction",
        "default_pool_size": SERVERS,
    }
    if version >= (1, 21):  # as it was before: prepared statements are nobody's
        settings["max_prepared_statements"] = 0
    lines = [f"{name} = {value}" for name, value in settings.items()]
    database = f"* = host={server.directory} port={server.port}"
    return "\n".join(["[databases]", database, "[pgbouncer]", *lines, ""])


@contextlib.contextmanager
def _kept(program: str, directory: Path) -> Iterator[None]:
    """Have it run, as another user where we are root: it refuses that, as PostgreSQL does."""
    account = server_account()
    who: dict[str, Any] = {}
    if account is not None:
        uid, gid = account
        who = {"user": uid, "group": gid, "extra_groups": []}
        for path in (directory, *directory.iterdir()):
            os.chown(path, uid, gid)
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEPER, "keeper", program, directory],
        stdin=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
        **who,
    )
    with keeper:  # leaving it closes the pipe, and waits
        yield


def _wait_until_it_answers(url: str, directory: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            pgwire.connect(url, connect_timeout=_PATIENCE).close()
            return
        except pgwire.ConnectionFailed as error:
            if time.monotonic() > deadline:
                output = (directory / "output").read_text()
                raise Unavailable(f"PgBouncer did not start: {error}; {output}") from error
        time.sleep(0.01)
