"""A PgBouncer in transaction mode, in front of an embedded PostgreSQL.

`tools/install_test_servers.sh` sees to the programs: the machine's own, and where that is older
than 1.21 another one, below .venv, that knows prepared statements. It listens on a Unix socket, in
a folder of its own, and whoever comes there is let in; or it demands TLS and a password. All its
clients share `SERVERS` connections to the server, so that the next transaction of a client is
often on another one.

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
from pgwire.embedded.installation import everyone_reaches, server_account
from pgwire.embedded.launcher import _free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgwire import embedded

SERVERS = 2

_PORT = 6432  # the name of the socket: no other program can have it
_PATIENCE = 20.0
_UNPACKED = Path(__file__).parents[2] / ".venv/servers/pgbouncer"
_PREPARED_SINCE = (1, 21)
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
    directory: Path


@contextlib.contextmanager
def pgbouncer(
    server: embedded.Server,
    *,
    prepared: int = 0,
    tls: bool = False,
) -> Iterator[PgBouncer]:
    """A PgBouncer that is ready, for the time of the block.

    Args:
        server: What is behind it.
        prepared: How many prepared statements it keeps on each server connection; 0 is none, as
            before 1.21, when they were nobody's.
        tls: It listens on 127.0.0.1 instead, demands TLS (with `server`'s certificate), and asks
            for the password by SCRAM.

    Raises:
        Unavailable: there is none, or it did not start.
    """
    program, version = _find(_PREPARED_SINCE if prepared else (0,))
    directory = Path(tempfile.mkdtemp(prefix="pgwire-", dir="/tmp"))
    (directory / "userlist.txt").write_text(f'"{server.user}" "{server.password}"\n')
    port = _free_port() if tls else _PORT
    own: dict[str, Any] = {
        "listen_port": port,
        "unix_socket_dir": directory,
        "auth_type": "trust",
        "auth_file": directory / "userlist.txt",
        "pool_mode": "transaction",
        "default_pool_size": SERVERS,
    }
    if version >= _PREPARED_SINCE:
        own["max_prepared_statements"] = prepared
    if tls:
        own |= _tls(server, directory)
    (directory / "pgbouncer.ini").write_text(_configuration(server, own))
    with _kept(program, directory):
        if tls:
            login = f"{server.user}:{server.password}"
            url = f"postgresql://{login}@127.0.0.1:{port}/{server.database}?sslmode=require"
        else:
            host = f"?host={directory}&port={port}"
            url = f"postgresql://{server.user}@/{server.database}{host}"
        _wait_until_it_answers(url, directory)
        shown = ".".join(map(str, version))
        origin = f"PgBouncer {shown} ({program}), prepared statements: {prepared or 'none'}"
        yield PgBouncer(url, server.url, origin, directory)


def _find(oldest: tuple[int, ...]) -> tuple[Path, tuple[int, ...]]:
    own = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    unpacked = _UNPACKED / "usr/sbin/pgbouncer"
    programs = [Path(own)] if own else []
    for program in [*programs, *([unpacked] if unpacked.exists() else [])]:
        version = _version(program)
        if version >= oldest:
            return program, version
    wanted = ".".join(map(str, oldest)) if any(oldest) else "any version"
    raise Unavailable(
        f"PgBouncer ({wanted}) is not installed: apt-get install pgbouncer, "
        "or tools/install_test_servers.sh"
    )


def _version(program: Path) -> tuple[int, ...]:
    output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", output)
    if found is None:
        raise Unavailable(f"{program} does not run")
    return tuple(map(int, found.groups()))


def _tls(server: embedded.Server, directory: Path) -> dict[str, Any]:
    for name in ("server.crt", "server.key"):
        shutil.copy(server.directory / name, directory)
    return {
        "listen_addr": "127.0.0.1",
        "auth_type": "scram-sha-256",
        "client_tls_sslmode": "require",
        "client_tls_cert_file": directory / "server.crt",
        "client_tls_key_file": directory / "server.key",
    }


def _configuration(server: embedded.Server, settings: Mapping[str, Any]) -> str:
    lines = [f"{name} = {value}" for name, value in settings.items()]
    database = f"* = host={server.directory} port={server.port}"
    return "\n".join(["[databases]", database, "[pgbouncer]", *lines, ""])


@contextlib.contextmanager
def _kept(program: Path, directory: Path) -> Iterator[None]:
    """Have it run, as another user where we are root: it refuses that, as PostgreSQL does."""
    account = server_account()
    who: dict[str, Any] = {}
    if account is not None:
        uid, gid = account
        who = {"user": uid, "group": gid, "extra_groups": []}
        if program.is_relative_to(_UNPACKED) and not everyone_reaches(program.parent):
            shutil.copytree(_UNPACKED, directory / "program", symlinks=True)
            program = directory / "program" / program.relative_to(_UNPACKED)
        subprocess.run(["chown", "-hR", f"{uid}:{gid}", directory], check=True)
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
