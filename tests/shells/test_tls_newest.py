"""TLS with a PostgreSQL that is new enough for all of it: `sslnegotiation=direct`, protocol 3.2.

And certificates that have expired, or that are another host's; and PgBouncer's TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import embedded
from tests.shells.test_authentication import CERTIFICATES, ED25519, certify, works
from tests.shells.test_tls import no_default_root as no_default_root, uses_tls
from tests.support.authority import Authority, found
from tests.support.servers import newest_tls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.shells.conftest import Connect
    from tests.support.pgbouncer import PgBouncer


class TestDirect:
    """The first byte is one of TLS, and ALPN says that it is PostgreSQL's."""

    DIRECT: Any = {"sslnegotiation": "direct", "min_protocol_version": "3.2"}

    def test_it_is_verified_and_bound(
        self, newest_tls_server: embedded.Server, connect: Connect
    ) -> None:
        conn = connect(newest_tls_server.tls_url, secure=True, **self.DIRECT)
        assert uses_tls(conn)
        assert conn.server_version >= 180_000
        with pytest.raises(pgwire.QueryTimeout):
            conn.query("select pg_sleep(60)", timeout=0.02)
        assert works(conn)

    def test_a_pool(self, newest_tls_server: embedded.Server) -> None:
        options: Any = {"channel_binding": "require", "max_size": 1, "max_uses": 1, **self.DIRECT}
        with pgwire.Pool(newest_tls_server.tls_url, **options) as pool:
            pids = {pool.query("select pg_backend_pid()").scalar() for _ in range(3)}
        assert len(pids) == 3

    def test_a_server_without_tls(self, embedded_server: embedded.Server, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed):
            connect(embedded_server.url, sslmode="require", sslnegotiation="direct")


@pytest.fixture(scope="module")
def recertified(
    newest_tls_server: embedded.Server,
) -> Iterator[embedded.Server]:
    """One whose certificate is changed from test to test."""
    with newest_tls() as server:
        yield server


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_logins_are_bound_wherever_the_certificate_allows_it(
    recertified: embedded.Server, connect: Connect, negotiation: str
) -> None:
    options = {"sslmode": "require", "sslnegotiation": negotiation, "max_protocol_version": "3.2"}
    for how in (CERTIFICATES["rsa-sha256"], CERTIFICATES["ecdsa-sha384"]):
        certify(recertified, how)
        assert works(connect(recertified.url, channel_binding="require", **options))
    certify(recertified, ED25519)
    assert works(connect(recertified.url, **options))
    with pytest.raises(pgwire.AuthenticationError, match="Ed25519"):
        connect(recertified.url, channel_binding="require", **options)


LOCAL = "subjectAltName = DNS:localhost, IP:127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return found(tmp_path_factory.mktemp("authority"))


class TestBadCertificates:
    """A real server that shows one; `sslmode=require` alone does not look at it."""

    def shown(self, server: embedded.Server, pair: tuple[Path, Path]) -> None:
        for path, name in zip(pair, ("crt", "key"), strict=True):
            (server.directory / f"server.{name}").write_bytes(path.read_bytes())
        server.stop()
        server.start()

    @pytest.mark.parametrize("negotiation", ["postgres", "direct"])
    def test_one_that_has_expired(
        self, recertified: embedded.Server, authority: Authority, connect: Connect, negotiation: str
    ) -> None:
        self.shown(recertified, authority.issue("expired", extension=LOCAL, days=-1))
        root = authority.source / "ca.crt"
        options: Any = {"sslnegotiation": negotiation}
        for mode in ("verify-ca", "verify-full"):
            with pytest.raises(pgwire.TLSError, match="expired"):
                connect(recertified.url, sslmode=mode, sslrootcert=root, **options)
        assert uses_tls(connect(recertified.url, sslmode="require", **options))

    @pytest.mark.parametrize("negotiation", ["postgres", "direct"])
    def test_one_of_another_host(
        self, recertified: embedded.Server, authority: Authority, connect: Connect, negotiation: str
    ) -> None:
        elsewhere = "subjectAltName = DNS:elsewhere.example"
        self.shown(recertified, authority.issue("elsewhere", extension=elsewhere))
        options: Any = {"sslrootcert": authority.source / "ca.crt", "sslnegotiation": negotiation}
        assert uses_tls(connect(recertified.url, sslmode="verify-ca", **options))
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(pgwire.TLSError, match=host):
                connect(
                    recertified.url,
                    host=host,
                    hostaddr="127.0.0.1",
                    sslmode="verify-full",
                    **options,
                )


class TestPooler:
    """PgBouncer speaks TLS with its clients, and SCRAM; it has no binding."""

    def test_scram_over_tls(
        self, tls_pgbouncer: PgBouncer, tls_server: embedded.Server, connect: Connect
    ) -> None:
        root = tls_server.ca
        conn = connect(tls_pgbouncer.url, sslmode="verify-full", sslrootcert=root, prepare=False)
        assert conn.tls is not None
        for n in range(3):
            assert conn.query("select $1::int", [n]).scalar() == n
        conn.cancel()
        assert works(conn)

    def test_a_wrong_password(
        self, tls_pgbouncer: PgBouncer, tls_server: embedded.Server, connect: Connect
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="authentication failed"):
            connect(tls_pgbouncer.url, password="wrong", sslmode="require")

    def test_it_is_refused_without(self, tls_pgbouncer: PgBouncer, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match="SSL required"):
            connect(tls_pgbouncer.url, sslmode="disable")

    @pytest.mark.parametrize("demand", [{"channel_binding": "require"}, {"secure": True}])
    def test_a_binding_cannot_be_had(
        self,
        tls_pgbouncer: PgBouncer,
        tls_server: embedded.Server,
        connect: Connect,
        demand: dict[str, Any],
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="SCRAM-SHA-256-PLUS"):
            connect(tls_pgbouncer.url, sslmode="verify-full", sslrootcert=tls_server.ca, **demand)

    def test_direct_negotiation_is_refused(
        self, tls_pgbouncer: PgBouncer, tls_server: embedded.Server, connect: Connect
    ) -> None:
        with pytest.raises(pgwire.ConnectionFailed):
            connect(tls_pgbouncer.url, sslmode="require", sslnegotiation="direct")
