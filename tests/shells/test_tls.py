"""TLS against a real server: every sslmode, certificates, large data, cancelling."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import embedded, errors
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.shells.conftest import Connect


@pytest.fixture(scope="module")
def choosy_server(tls_server: embedded.Server) -> Iterator[embedded.Server]:
    """A server that lets `tls_only` in by TLS alone, and `plain_only` without alone."""
    with embedded.server(
        tls=True,
        logins={"tls_only": "trust", "plain_only": "trust"},
        hba=["hostnossl all tls_only all reject", "hostssl all plain_only all reject"],
    ) as server:
        yield server


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority that has signed nothing."""
    path = tmp_path_factory.mktemp("stranger") / "ca.crt"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=stranger -keyout /dev/null -out {path}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return path


@pytest.fixture(autouse=True)
def no_default_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own root certificate is not for these tests."""
    monkeypatch.setenv("HOME", str(tmp_path))


def root_of(server: embedded.Server) -> str:
    assert server.ca is not None
    return str(server.ca)


def uses_tls(conn: pgwire.Connection) -> bool:
    """What the server says, which must be what the connection says."""
    sql = "select ssl from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()"
    encrypted = bool(conn.query(sql).scalar())
    assert encrypted is (conn.tls is not None)
    return encrypted


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "encrypted"),
        [("disable", False), ("allow", False), ("prefer", True), ("require", True)],
    )
    def test_what_they_choose_where_both_are_possible(
        self, tls_server: embedded.Server, connect: Connect, mode: str, encrypted: bool
    ) -> None:
        assert uses_tls(connect(tls_server.url, sslmode=mode)) is encrypted

    @pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
    def test_verifying(self, tls_server: embedded.Server, connect: Connect, mode: str) -> None:
        root = root_of(tls_server)
        assert uses_tls(connect(tls_server.url, sslmode=mode, sslrootcert=root))

    @pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
    def test_a_server_without_tls_is_fine_where_it_is_not_demanded(
        self, embedded_server: embedded.Server, connect: Connect, mode: str
    ) -> None:
        assert connect(embedded_server.url, sslmode=mode).tls is None

    @pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
    def test_a_server_without_tls_is_refused_where_it_is(
        self,
        embedded_server: embedded.Server,
        tls_server: embedded.Server,
        mode: str,
        connect: Connect,
    ) -> None:
        with pytest.raises(pgwire.TLSError, match="does not offer TLS") as caught:
            connect(embedded_server.url, sslmode=mode, sslrootcert=root_of(tls_server))
        assert len(caught.value.attempts) == 1

    @pytest.mark.parametrize(
        ("mode", "user", "encrypted"),
        [
            ("disable", "plain_only", False),
            ("allow", "plain_only", False),
            ("allow", "tls_only", True),
            ("prefer", "plain_only", False),
            ("prefer", "tls_only", True),
            ("require", "tls_only", True),
        ],
    )
    def test_what_they_choose_where_one_is_possible(
        self,
        choosy_server: embedded.Server,
        connect: Connect,
        mode: str,
        user: str,
        encrypted: bool,
    ) -> None:
        assert uses_tls(connect(choosy_server.url_for(user, sslmode=mode))) is encrypted

    @pytest.mark.parametrize(("mode", "user"), [("disable", "tls_only"), ("require", "plain_only")])
    def test_they_never_choose_what_was_excluded(
        self,
        choosy_server: embedded.Server,
        mode: str,
        user: str,
        connect: Connect,
    ) -> None:
        with pytest.raises(errors.InvalidAuthorizationSpecification) as caught:
            connect(choosy_server.url_for(user, sslmode=mode))
        assert isinstance(caught.value, pgwire.ConnectionFailed)
        assert len(caught.value.attempts) == 1

    def test_a_wrong_password_is_not_tried_again_in_clear(
        self,
        tls_server: embedded.Server,
        connect: Connect,
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect(tls_server.url, password="wrong", sslmode="prefer")
        assert len(caught.value.attempts) == 1


class TestCertificates:
    @pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
    def test_an_authority_that_did_not_sign(
        self,
        tls_server: embedded.Server,
        stranger: Path,
        mode: str,
        connect: Connect,
    ) -> None:
        """Where a root is given, `require` checks it too, as libpq does."""
        with pytest.raises(pgwire.TLSError, match="not trusted"):
            connect(tls_server.url, sslmode=mode, sslrootcert=stranger)

    def test_require_without_a_root_asks_nobody(
        self, tls_server: embedded.Server, connect: Connect
    ) -> None:
        assert uses_tls(connect(tls_server.url, sslmode="require"))

    def test_the_default_root_certificate(
        self, tls_server: embedded.Server, connect: Connect, tmp_path: Path, stranger: Path
    ) -> None:
        default = tmp_path / ".postgresql" / "root.crt"
        with pytest.raises(pgwire.TLSError, match="sslrootcert"):
            connect(tls_server.url, sslmode="verify-ca")
        default.parent.mkdir()
        default.write_bytes(stranger.read_bytes())
        with pytest.raises(pgwire.TLSError, match="not trusted"):
            connect(tls_server.url, sslmode="verify-ca")
        assert tls_server.ca is not None
        default.write_bytes(tls_server.ca.read_bytes())
        assert uses_tls(connect(tls_server.url, sslmode="verify-ca"))

    @pytest.mark.parametrize("error", [RuntimeError("no home"), PermissionError(13, "denied")])
    def test_a_home_that_cannot_be_looked_into_has_no_root_certificate(
        self,
        tls_server: embedded.Server,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        def fail() -> Path:
            raise error

        monkeypatch.setattr("pathlib.Path.home", fail)
        assert uses_tls(connect(tls_server.url, sslmode="require"))

    @pytest.mark.parametrize("host", ["a..b", "x" * 64])
    def test_a_host_name_that_tls_cannot_send(
        self, tls_server: embedded.Server, connect: Connect, host: str
    ) -> None:
        with pytest.raises(pgwire.TLSError, match="host name"):
            connect(tls_server.url, sslmode="require", host=host, hostaddr=tls_server.host)

    def test_a_name_that_the_certificate_does_not_have(
        self, tls_server: embedded.Server, connect: Connect
    ) -> None:
        """127.0.0.2 leads to no certificate's name, though hostaddr leads to the server."""
        wrong = {"host": "elsewhere.example", "hostaddr": tls_server.host}
        root = root_of(tls_server)
        assert uses_tls(connect(tls_server.url, sslmode="verify-ca", sslrootcert=root, **wrong))
        with pytest.raises(pgwire.TLSError, match="elsewhere"):
            connect(tls_server.url, sslmode="verify-full", sslrootcert=root, **wrong)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_the_names_that_it_has(
        self, tls_server: embedded.Server, connect: Connect, host: str
    ) -> None:
        root = root_of(tls_server)
        conn = connect(
            tls_server.url,
            host=host,
            hostaddr=tls_server.host,
            sslmode="verify-full",
            sslrootcert=root,
        )
        assert uses_tls(conn)

    @pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca"])
    def test_a_root_certificate_that_cannot_be_read(
        self,
        tls_server: embedded.Server,
        tmp_path: Path,
        connect: Connect,
        mode: str,
    ) -> None:
        """It is not as if none had been named: nothing is tried in clear."""
        with pytest.raises(pgwire.TLSError, match="missing"):
            connect(tls_server.url, sslmode=mode, sslrootcert=tmp_path / "missing")
        (tmp_path / "broken").write_text("no certificate")
        with pytest.raises(pgwire.TLSError, match="broken"):
            connect(tls_server.url, sslmode=mode, sslrootcert=tmp_path / "broken")

    def test_the_systems_authorities_have_not_signed_ours(
        self,
        tls_server: embedded.Server,
        connect: Connect,
    ) -> None:
        with pytest.raises(pgwire.TLSError, match="not trusted"):
            connect(tls_server.url, sslrootcert="system")

    def test_the_systems_authorities_are_whom_the_environment_names(
        self, tls_server: embedded.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And the host is verified, though nothing says so."""
        monkeypatch.setenv("SSL_CERT_FILE", root_of(tls_server))
        assert uses_tls(connect(tls_server.url, sslrootcert="system"))
        with pytest.raises(pgwire.TLSError, match="elsewhere"):
            connect(
                tls_server.url,
                sslrootcert="system",
                host="elsewhere.example",
                hostaddr=tls_server.host,
            )


class TestOwnContext:
    def test_it_is_used_and_tls_demanded(
        self, tls_server: embedded.Server, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        context = ssl.create_default_context(cafile=root_of(tls_server))
        assert uses_tls(connect(tls_server.url, ssl_context=context))
        with pytest.raises(pgwire.TLSError):
            connect(embedded_server.url, ssl_context=context)

    def test_what_it_does_not_trust_is_not_trusted(
        self, tls_server: embedded.Server, connect: Connect
    ) -> None:
        with pytest.raises(pgwire.TLSError):
            connect(tls_server.url, ssl_context=ssl.create_default_context())

    @pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
    def test_it_chooses_the_version(
        self, tls_server: embedded.Server, connect: Connect, version: str
    ) -> None:
        context = ssl.create_default_context(cafile=root_of(tls_server))
        member = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}[version]
        context.minimum_version = context.maximum_version = member
        conn = connect(tls_server.url, ssl_context=context)
        assert conn.tls is not None
        assert conn.tls.version == version
        assert repr(conn.tls) == f"<TLSLayer {version} {conn.tls.cipher}>"
        sql = "select version, cipher from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()"
        assert tuple(conn.query(sql).one()) == (version, conn.tls.cipher)

    def test_it_contradicts_disable(self, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="disable"):
            connect("", ssl_context=ssl.create_default_context(), sslmode="disable")


class TestData:
    @pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
    def conn(
        self, tls_server: embedded.Server, connect: Connect, request: pytest.FixtureRequest
    ) -> pgwire.Connection:
        context = ssl.create_default_context(cafile=root_of(tls_server))
        if request.param == "TLSv1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return connect(tls_server.url, ssl_context=context)

    def test_ten_megabytes_both_ways_at_once(self, conn: pgwire.Connection) -> None:
        data = bytes(range(256)) * 40_960
        assert conn.query("select $1::bytea", [data]).scalar() == data
        assert conn.query("select 1").scalar() == 1

    def test_many_rows(self, conn: pgwire.Connection) -> None:
        sql = "select i, repeat('x', i % 50) from generate_series(1, 20000) i"
        rows = conn.query(sql).rows
        assert [row[0] for row in rows] == list(range(1, 20_001))

    def test_a_timeout_and_on(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.QueryTimeout):
            conn.query("select pg_sleep(20)", timeout=0.1)
        assert conn.query("select 1").scalar() == 1


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_a_cancel_request_is_encrypted_where_the_connection_is(
    choosy_server: embedded.Server, connect: Connect, mode: str
) -> None:
    """Another one would not be heard, and the connection be given up."""
    user = "tls_only" if mode == "require" else "plain_only"
    conn = connect(choosy_server.url_for(user, sslmode=mode))
    with pytest.raises(pgwire.QueryTimeout):
        conn.query("select pg_sleep(20)", timeout=0.05)
    assert conn.query("select 1").scalar() == 1


def test_a_login_whose_records_come_byte_by_byte(
    tls_server: embedded.Server, connect: Connect
) -> None:
    """So that what is read is no message yet, and mostly nothing at all."""
    with Proxy(tls_server.host, tls_server.port) as proxy:
        proxy.split = True
        conn = connect(tls_server.url, sslmode="require", host="127.0.0.1", port=proxy.port)
        assert uses_tls(conn)
        conn.close()
