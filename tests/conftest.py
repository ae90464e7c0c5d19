"""Fixtures for the servers that tests talk to, and the settings of Hypothesis.

A server starts when the first test asks for it. Tests that do are marked `server` by
themselves: `pytest -m "not server"` runs what needs none. The tests of the pure cores may
not ask at all. A machine without a PostgreSQL skips, with the reason; PGWIRE_TEST_REQUIRE=1
(set in CI) makes that an error, so that a green run never means that nothing was run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest
from hypothesis import settings

from pgwire import embedded
from tests.support import guards, heap, pgbouncer as poolers, servers, standby
from tests.support.guards import patient as patient

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

SERVER_FIXTURES = {
    "server",
    "dsn",
    "embedded_server",
    "extension_server",
    "fresh_server",
    "newest_tls_server",
    "pair",
    "pgbouncer",
    "pgbouncer_prepared",
    "postgis_server",
    "tls_pgbouncer",
    "tls_server",
}
# Nothing that these tests do should have them given up.
WELL = SERVER_FIXTURES - {"fresh_server", "pair"}
PURE = ("protocol", "pgtypes", "pool/test_core")

settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile(
    "brief", parent=settings.get_profile("quick"), derandomize=True, database=None
)
settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True, database=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "quick")
)

_in_use: dict[str, str] = {}
_dsns: list[str] = []  # of `server`, once it has started


@pytest.fixture(scope="session")
def server() -> Iterator[servers.TestServer]:
    """A PostgreSQL of any origin, for the whole run: do not stop it, or change its settings."""
    with _started("server", servers.any_server()) as found:
        _in_use["server"] = found.origin
        _dsns.append(found.dsn)
        yield found
        _dsns.clear()


@pytest.fixture(scope="module", autouse=True)
def nothing_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """No module leaves queries behind on `server`, for which those after it would have to wait."""
    yield
    of_module = (item for item in request.session.items if item.path == request.path)
    if _dsns and any(item.get_closest_marker("server") for item in of_module):
        guards.wait_until_idle(_dsns[0])


@pytest.fixture(autouse=True)
def _patient_with_servers(request: pytest.FixtureRequest) -> None:
    """One that is well, with nothing in between, is as slow as the machine is busy."""
    names = set(request.fixturenames)
    if names & WELL and "proxy" not in names:
        request.getfixturevalue("patient")


@pytest.fixture(scope="session")
def dsn(server: servers.TestServer) -> str:
    """The connection string of `server`: a superuser, over TCP."""
    return server.dsn


@pytest.fixture(scope="session")
def embedded_server(server: servers.TestServer) -> Iterator[embedded.Server]:
    """An embedded PostgreSQL for the whole run, with `servers.LOGINS` and a Unix socket."""
    if server.embedded is not None:
        yield server.embedded
        return
    with _started("embedded_server", servers.embedded_server()) as own:
        yield own


@pytest.fixture(scope="session")
def tls_server() -> Iterator[embedded.Server]:
    """An embedded PostgreSQL that speaks TLS, for the whole run; `tls_server.tls_url`."""
    with _started("tls_server", servers.embedded_server(tls=True)) as own:
        yield own


@pytest.fixture(scope="session")
def newest_tls_server() -> Iterator[embedded.Server]:
    """Another one, 18 or later, where `tls_server` may be older."""
    with _started("newest_tls_server", servers.newest_tls()) as own:
        yield own


@pytest.fixture(scope="session")
def tls_pgbouncer(tls_server: embedded.Server) -> Iterator[poolers.PgBouncer]:
    """A PgBouncer before `tls_server` that demands TLS, and the password by SCRAM."""
    yield from _pooler("tls_pgbouncer", poolers.pgbouncer(tls_server, tls=True))


@pytest.fixture(scope="session")
def extension_server(embedded_server: embedded.Server) -> embedded.Server:
    """An embedded PostgreSQL that has the extensions hstore, citext, ltree, vector (pgvector)."""
    installation = embedded_server.installation
    missing = {"hstore", "citext", "ltree", "vector"} - servers.extensions(installation)
    if missing:
        _give_up(f"{installation} lacks the extensions {', '.join(sorted(missing))}")
    return embedded_server


@pytest.fixture(scope="session")
def postgis_server() -> Iterator[embedded.Server]:
    """A PostgreSQL that has the extension postgis, for the whole run."""
    if not servers.debian_programs():
        # Nothing that CI could mend: there is no PostGIS for it.
        pytest.skip("PostGIS comes beside Debian's PostgreSQL only, and there is none")
    with _started("postgis_server", servers.postgis_server()) as own:
        yield own


@pytest.fixture(scope="session")
def pgbouncer(embedded_server: embedded.Server) -> Iterator[poolers.PgBouncer]:
    """A PgBouncer in transaction mode before `embedded_server`; connect with prepare=False."""
    yield from _pooler("pgbouncer", poolers.pgbouncer(embedded_server))


@pytest.fixture(scope="session")
def pgbouncer_prepared(embedded_server: embedded.Server) -> Iterator[poolers.PgBouncer]:
    """Another one, 1.21 or later, that sees to prepared statements."""
    starting = poolers.pgbouncer(embedded_server, prepared=100)
    yield from _pooler("pgbouncer_prepared", starting)


def _pooler(
    name: str, starting: contextlib.AbstractContextManager[poolers.PgBouncer]
) -> Iterator[poolers.PgBouncer]:
    if not (shutil.which("pgbouncer") or shutil.which("apt-get")):
        # Nothing that CI could mend: there is no wheel that has it.
        pytest.skip("PgBouncer comes from Debian's packages, and there are none")
    with _started(name, starting) as found:
        _in_use[name] = found.origin
        yield found


@pytest.fixture
def fresh_server() -> Iterator[embedded.Server]:
    """An embedded PostgreSQL for one test, which may stop, kill and start it."""
    with _started("fresh_server", servers.embedded_server()) as own:
        yield own


@pytest.fixture(scope="session")
def lasting_pair() -> Iterator[standby.Pair]:
    """What `pair` is made of."""
    with _started("pair", standby.pair()) as own:
        _in_use["pair"] = str(own.primary.installation)
        yield own


@pytest.fixture
def pair(lasting_pair: standby.Pair) -> standby.Pair:
    """A primary and its standby, which a test may stop, kill and promote."""
    lasting_pair.renew()
    return lasting_pair


@contextlib.contextmanager
def _started(name: str, starting: contextlib.AbstractContextManager[T]) -> Iterator[T]:
    """Enter it; where no server can be had, skip, or fail where one is required."""
    with contextlib.ExitStack() as stack:
        try:
            value = stack.enter_context(starting)
        except embedded.Unavailable as error:
            _give_up(str(error))
        if isinstance(value, embedded.Server):
            _in_use[name] = str(value.installation)
        yield value


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("PGWIRE_TEST_REQUIRE") == "1":
        pytest.fail(f"PGWIRE_TEST_REQUIRE=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_configure() -> None:
    guards.show_here()
    guards.end_forked_children()


def pytest_collection_finish() -> None:
    heap.set_aside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        wanted = SERVER_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if not wanted:
            continue
        item.add_marker(pytest.mark.server)
        if item.path.relative_to(here).as_posix().startswith(PURE):
            raise pytest.UsageError(
                f"{item.nodeid} is a pure core's test, and asks for {sorted(wanted)}"
            )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: tell the process that reports what it has used."""
    told: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["servers"] = dict(_in_use)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """In the process that reports: a worker has ended."""
    _in_use.update(getattr(node, "workeroutput", {}).get("servers", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, origin in _in_use.items():
        terminalreporter.write_line(f"{name}: {origin}")
