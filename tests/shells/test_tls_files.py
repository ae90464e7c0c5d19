"""Certificates of clients, revoked ones of servers, and how TLS begins."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, NamedTuple

import pytest

import pgwire
from pgwire import embedded
from pgwire.protocol import frontend
from tests.shells.test_tls import uses_tls
from tests.shells.test_tls_scripted import TLSLine
from tests.support import backend
from tests.support.authority import Authority, found
from tests.support.leaks import all_that_shows
from tests.support.scripted import LET_IN, TERMINATE, Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.shells.conftest import Connect


class Files(NamedTuple):
    server: embedded.Server
    certificate: Path
    key: Path
    encrypted_key: Path
    key_in_der: Path
    stranger: Path  # the certificate of somebody else
    none_revoked: Path
    server_revoked: Path


@pytest.fixture(scope="module")
def files(tls_server: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """A server that lets `certified` in by certificate alone, and what its authority has made."""
    hba = ["hostssl all certified all cert", "hostssl all trusted all trust"]
    logins = {"certified": "trust", "trusted": "trust"}
    with embedded.server(tls=True, logins=logins, hba=hba) as server:
        authority = Authority(server.directory, tmp_path_factory.mktemp("authority"))
        certificate, key = authority.issue("certified")
        encrypted = authority.encrypt(key, "MARKER")
        stranger, _ = authority.issue("stranger")
        none_revoked = authority.revocations("none.crl")
        authority.revoke(server.directory / "server.crt")
        revoked = authority.revocations("server.crl")
        der = authority.in_der(key)
        yield Files(server, certificate, key, encrypted, der, stranger, none_revoked, revoked)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's ~/.postgresql, empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".postgresql"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def no_other_files(home: Path) -> None:
    """The user's own are not for these tests."""


class TestClientCertificates:
    def test_it_lets_us_in(self, files: Files, connect: Connect) -> None:
        url = files.server.url_for("certified")
        conn = connect(url, sslmode="require", sslcert=files.certificate, sslkey=files.key)
        assert uses_tls(conn)
        assert conn.query("select current_user::text").scalar() == "certified"
        with pytest.raises(pgwire.AuthenticationError):
            connect(url, sslmode="require")

    def test_the_default_files(self, files: Files, connect: Connect, home: Path) -> None:
        url = files.server.url_for("certified")
        (home / "postgresql.crt").write_bytes(files.certificate.read_bytes())
        with pytest.raises(pgwire.TLSError, match="set sslkey"):
            connect(url, sslmode="require")
        key = home / "postgresql.key"
        key.touch(0o600)
        key.write_bytes(files.key.read_bytes())
        assert uses_tls(connect(url, sslmode="require"))
        with pytest.raises(pgwire.AuthenticationError):
            connect(url, sslmode="require", sslcertmode="disable")

    def test_a_key_with_a_password(self, files: Files, connect: Connect) -> None:
        url = files.server.url_for("certified")
        parameters = {"sslcert": files.certificate, "sslkey": files.encrypted_key}
        assert uses_tls(connect(url, sslmode="require", sslpassword="MARKER", **parameters))
        for wrong, what in (("MARKER-2", "not its password"), (None, "not set")):
            reason = f"the key is encrypted, and sslpassword is {what}"
            with pytest.raises(pgwire.TLSError, match=reason) as caught:
                connect(url, sslmode="require", sslpassword=wrong, **parameters)
            assert "MARKER" not in all_that_shows(caught.value)

    def test_a_name_without_a_file_keeps_the_default_back(
        self, files: Files, connect: Connect, home: Path
    ) -> None:
        (home / "postgresql.crt").write_text("garbage")
        url = files.server.url_for("trusted")
        with pytest.raises(pgwire.TLSError):
            connect(url, sslmode="require")
        assert uses_tls(connect(url, sslmode="require", sslcert=home / "missing"))

    @pytest.mark.parametrize("mode", ["prefer", "require"])
    def test_files_that_are_of_no_use_end_it(
        self, files: Files, connect: Connect, tmp_path: Path, mode: str
    ) -> None:
        url = files.server.url_for("trusted")
        garbage = tmp_path / "garbage"
        garbage.touch(0o600)
        for certificate, key in (
            (garbage, files.key),
            (files.certificate, tmp_path / "missing"),
            (files.certificate, garbage),
            (files.certificate, tmp_path),
            (files.stranger, files.key),
            (files.certificate, files.key_in_der),
        ):
            with pytest.raises(pgwire.TLSError, match="sslcert, sslkey") as caught:
                connect(url, sslmode=mode, sslcert=certificate, sslkey=key)
            assert len(caught.value.attempts) == 1

    def test_a_key_in_another_format_than_pem(self, files: Files, connect: Connect) -> None:
        """libpq reads DER, Python does not."""
        parameters = {"sslcert": files.certificate, "sslkey": files.key_in_der}
        with pytest.raises(pgwire.TLSError, match="one of the two is no PEM file"):
            connect(files.server.url_for("certified"), sslmode="require", **parameters)

    def test_what_the_server_needs_in_between_is_sent_along(
        self, files: Files, connect: Connect, tmp_path: Path
    ) -> None:
        """It knows the authority that vouches for the one that has signed ours."""
        branch = Authority(files.server.directory, tmp_path).branch(tmp_path / "branch")
        certificate, key = branch.issue("certified")
        chain = tmp_path / "chain.crt"
        chain.write_bytes(certificate.read_bytes() + (branch.source / "ca.crt").read_bytes())
        url = files.server.url_for("certified")
        assert uses_tls(connect(url, sslmode="require", sslcert=chain, sslkey=key))
        with pytest.raises(pgwire.ConnectionFailed):  # the server may be gone before it says why
            connect(url, sslmode="require", sslcert=certificate, sslkey=key)

    @pytest.mark.parametrize(
        ("mode", "fine"),
        [(0o600, True), (0o400, True), (0o640, os.getuid() == 0), (0o660, False), (0o604, False)],
    )
    def test_who_else_may_read_the_key(
        self, files: Files, connect: Connect, tmp_path: Path, mode: int, fine: bool
    ) -> None:
        key = tmp_path / "key"
        key.write_bytes(files.key.read_bytes())
        key.chmod(mode)
        url = files.server.url_for("certified")
        parameters = {"sslmode": "require", "sslcert": files.certificate, "sslkey": key}
        if fine:
            assert uses_tls(connect(url, **parameters))
        else:
            with pytest.raises(pgwire.TLSError, match="others have access to the key"):
                connect(url, **parameters)


class TestRevocations:
    def test_a_certificate_that_has_been_revoked(self, files: Files, connect: Connect) -> None:
        url, root = files.server.url_for("trusted"), files.server.ca
        for mode in ("require", "verify-ca", "verify-full"):
            rest = {"sslmode": mode, "sslrootcert": root}
            assert uses_tls(connect(url, sslcrl=files.none_revoked, **rest))
            with pytest.raises(pgwire.TLSError, match="revoked"):
                connect(url, sslcrl=files.server_revoked, **rest)

    def test_a_directory_of_them(self, files: Files, connect: Connect) -> None:
        authority = Authority(files.server.directory, files.none_revoked.parent)
        url, root = files.server.url_for("trusted"), files.server.ca
        for revocations, fine in ((files.none_revoked, True), (files.server_revoked, False)):
            directory = revocations.parent / f"{revocations.name}.d"
            if not directory.exists():
                authority.directory_of(revocations)
            rest = {"sslmode": "verify-ca", "sslrootcert": root, "sslcrldir": directory}
            if fine:
                assert uses_tls(connect(url, **rest))
            else:
                with pytest.raises(pgwire.TLSError, match="revoked"):
                    connect(url, **rest)

    def test_a_list_of_another_authoritys_says_nothing(
        self, files: Files, connect: Connect, tmp_path: Path
    ) -> None:
        """Nobody knows then whether the certificate has been revoked."""
        other = found(tmp_path).revocations("other.crl")
        rest = {"sslmode": "verify-ca", "sslrootcert": files.server.ca, "sslcrl": other}
        with pytest.raises(pgwire.TLSError, match="not trusted: unable to get certificate CRL"):
            connect(files.server.url_for("trusted"), **rest)

    def test_the_default_file(self, files: Files, connect: Connect, home: Path) -> None:
        url, root = files.server.url_for("trusted"), files.server.ca
        (home / "root.crl").write_bytes(files.server_revoked.read_bytes())
        with pytest.raises(pgwire.TLSError, match="revoked"):
            connect(url, sslmode="verify-ca", sslrootcert=root)

    def test_files_that_are_of_no_use(self, files: Files, connect: Connect, tmp_path: Path) -> None:
        url = files.server.url_for("trusted")
        rest = {"sslmode": "verify-ca", "sslrootcert": files.server.ca}
        with pytest.raises(pgwire.TLSError, match=r"sslcrl: .*missing"):
            connect(url, sslcrl=tmp_path / "missing", **rest)
        with pytest.raises(pgwire.TLSError, match=r"sslcrldir: .*missing"):
            connect(url, sslcrldir=tmp_path / "missing", **rest)
        with pytest.raises(pgwire.TLSError, match="sslcrl means nothing without sslrootcert"):
            connect(url, sslmode="require", sslcrl=files.none_revoked)


class TestVersions:
    @pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
    def test_bounds(self, files: Files, connect: Connect, version: str) -> None:
        bounds = {f"ssl_{which}_protocol_version": version for which in ("min", "max")}
        conn = connect(files.server.url_for("trusted"), sslmode="require", **bounds)
        assert conn.tls is not None
        assert conn.tls.version == version

    def test_no_lower_bound(self, files: Files, connect: Connect) -> None:
        url = files.server.url_for("trusted")
        conninfo = f"{url}?sslmode=require&ssl_min_protocol_version="
        assert uses_tls(connect(conninfo))

    def test_a_server_that_is_too_old(self, files: Files, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.read_untyped()
            line.send(b"S")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(
                files.server.directory / "server.crt", files.server.directory / "server.key"
            )
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises(ssl.SSLError):
                TLSLine(line, context)

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.TLSError, match="handshake failed"):
                connect(server.dsn, sslmode="require", ssl_min_protocol_version="TLSv1.3")


def server_context(server: embedded.Server, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.directory / "server.crt", server.directory / "server.key")
    context.set_alpn_protocols(protocols)
    return context


class TestDirect:
    def test_tls_begins_with_the_first_byte(self, files: Files, connect: Connect) -> None:
        context = server_context(files.server, "postgresql")
        cancels: list[bytes] = []

        def script(line: Line) -> None:
            tls = TLSLine(line, context)
            first = tls.read(8)
            if first[4:] == (80877102).to_bytes(4):
                cancels.append(tls.read(int.from_bytes(first[:4]) - 8))
                return
            tls.read(int.from_bytes(first[:4]) - 8)
            line.send(tls.records(LET_IN))
            while (message := tls.read(5)) != TERMINATE:
                assert message == frontend.SYNC  # behind the cancel request, in an event loop
                line.send(tls.records(backend.ready()))

        with ScriptedServer(script, raw=True) as server:
            root = files.server.ca
            conn = connect(
                server.dsn, sslmode="verify-full", sslrootcert=root, sslnegotiation="direct"
            )
            assert conn.tls is not None
            conn.cancel()
            assert len(cancels) == 1
            conn.close()

    def test_the_server_must_agree_to_speak_postgresql(
        self, files: Files, connect: Connect
    ) -> None:
        """Else it may be another service with the same certificate."""

        def script(line: Line) -> None:
            TLSLine(line, server_context(files.server))
            line.wait_for_hang_up()

        with ScriptedServer(script, raw=True) as server:
            with pytest.raises(pgwire.TLSError, match="did not agree"):
                connect(server.dsn, sslmode="require", sslnegotiation="direct")

    def test_a_server_that_knows_nothing_of_it(self, files: Files, connect: Connect) -> None:
        """PostgreSQL before 17 takes it for a start-up packet without sense, and hangs up."""
        url = files.server.url_for("trusted")
        if connect(url).server_version < 170000:
            with pytest.raises(pgwire.ConnectionFailed):
                connect(url, sslmode="require", sslnegotiation="direct")
        else:
            assert uses_tls(connect(url, sslmode="require", sslnegotiation="direct"))


@pytest.mark.parametrize(
    ("host", "sni", "sent"),
    [("localhost", True, "localhost"), ("localhost", False, None), ("127.0.0.1", True, None)],
)
def test_the_name_that_is_sent_in_clear(
    files: Files, connect: Connect, host: str, sni: bool, sent: str | None
) -> None:
    """An address is none: the server knows its own."""
    heard: list[str | None] = []

    def script(line: Line) -> None:
        line.read_untyped()
        line.send(b"S")
        context = server_context(files.server, "postgresql")
        context.sni_callback = lambda sock, name, ctx: heard.append(name)
        tls = TLSLine(line, context)
        tls.read_startup()
        line.send(tls.records(LET_IN))
        tls.read_messages(1)  # Terminate

    with ScriptedServer(script, raw=True) as server:
        connect(server.dsn, host=host, sslmode="require", sslsni=sni).close()
    assert heard == [sent]


def test_a_pool_takes_files_as_they_are_now(files: Files, tmp_path: Path) -> None:
    revocations = tmp_path / "now.crl"
    revocations.write_bytes(files.none_revoked.read_bytes())
    pool = pgwire.Pool(
        files.server.url_for("trusted"),
        max_size=1,
        sslmode="verify-ca",
        sslrootcert=str(files.server.ca),
        sslcrl=str(revocations),
    )
    with pool:
        assert pool.query("select 1").scalar() == 1
        revocations.write_bytes(files.server_revoked.read_bytes())
        assert pool.query("select 2").scalar() == 2  # what is open stays
        pool.expire()
        with pytest.raises(pgwire.TLSError, match="revoked"):
            pool.query("select 3")
        revocations.write_bytes(files.none_revoked.read_bytes())
        assert pool.query("select 4").scalar() == 4
        revocations.write_text("nonsense")
        pool.expire()
        for _ in range(2):
            with pytest.raises(pgwire.TLSError, match="sslcrl"):
                pool.query("select 5")
