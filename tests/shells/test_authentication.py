"""Logins at real servers: bound to certificates of every kind, and by the methods demanded."""

from __future__ import annotations

import re
import subprocess
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import embedded
from pgwire.protocol.scram_keys import ScramKeys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect

_PSS = "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:-1"
_ECDSA = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
CERTIFICATES = {
    "rsa-sha256": "-newkey rsa:2048 -sha256",
    "rsa-sha512": "-newkey rsa:2048 -sha512",
    "rsa-pss-sha384": f"-newkey rsa:2048 -sha384 {_PSS}",
    "ecdsa-sha384": f"{_ECDSA} -sha384",
}
ED25519 = "-newkey ed25519"


@pytest.fixture(scope="module")
def own_server(tls_server: embedded.Server) -> Iterator[embedded.Server]:
    """A server with TLS whose certificate is changed from test to test."""
    logins = {"trusted": "trust", "cleartext": "password", "md5": "md5"}
    with embedded.server(tls=True, logins=logins) as server:
        yield server


def certify(server: embedded.Server, how: str) -> None:
    """Have the server show a certificate that is made like this."""
    files = {name: server.directory / f"server.{name}" for name in ("crt", "key")}
    made = {name: server.directory / f"new.{name}" for name in files}
    subprocess.run(
        f"openssl req -x509 -nodes -days 2 -subj /CN=localhost {how}"
        f" -keyout {made['key']} -out {made['crt']}".split(),
        check=True,
        capture_output=True,
    )
    for name, path in files.items():  # written over, and so their owner and mode stay
        path.write_bytes(made[name].read_bytes())
    server.stop()
    server.start()


@pytest.fixture(scope="module", params=CERTIFICATES)
def certified(own_server: embedded.Server, request: pytest.FixtureRequest) -> embedded.Server:
    certify(own_server, CERTIFICATES[request.param])
    return own_server


@pytest.fixture(scope="module")
def ed25519(own_server: embedded.Server) -> embedded.Server:
    certify(own_server, ED25519)
    return own_server


def works(conn: pgwire.Connection) -> bool:
    return bool(conn.query("select 1").scalar() == 1)


class TestChannelBinding:
    @pytest.mark.parametrize("word", ["disable", "prefer", "require"])
    def test_it_works_with_certificates_of_every_kind(
        self, certified: embedded.Server, connect: Connect, word: str
    ) -> None:
        """With require no other login is accepted, so this one was bound."""
        assert works(connect(certified.url, sslmode="require", channel_binding=word))

    @pytest.mark.parametrize("user", ["trusted", "cleartext", "md5"])
    def test_requiring_it_refuses_every_other_login(
        self, certified: embedded.Server, connect: Connect, user: str
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="channel_binding=require"):
            connect(certified.url_for(user), sslmode="require", channel_binding="require")

    def test_a_certificate_that_has_no_hash_works(
        self, ed25519: embedded.Server, connect: Connect
    ) -> None:
        assert works(connect(ed25519.url, sslmode="require"))
        assert works(connect(ed25519.url, sslmode="require", channel_binding="disable"))

    def test_a_certificate_that_has_no_hash_cannot_be_required_to(
        self, ed25519: embedded.Server, connect: Connect
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="Ed25519"):
            connect(ed25519.url, sslmode="require", channel_binding="require")

    def test_without_tls(self, embedded_server: embedded.Server, connect: Connect) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="needs TLS"):
            connect(embedded_server.url, channel_binding="require")
        with pytest.raises(pgwire.AuthenticationError, match="without channel binding"):
            connect(embedded_server.socket_url, channel_binding="require")

    def test_secure(self, tls_server: embedded.Server, connect: Connect) -> None:
        assert works(connect(tls_server.url, secure=True, sslrootcert=str(tls_server.ca)))
        for user in ("trusted", "cleartext", "md5"):
            with pytest.raises(pgwire.AuthenticationError, match="secure=True"):
                connect(tls_server.url_for(user), secure=True, sslrootcert=str(tls_server.ca))

    def test_logins_of_a_pool_that_finds_its_keys_are_bound_too(
        self, tls_server: embedded.Server
    ) -> None:
        with pgwire.Pool(
            tls_server.url, sslmode="require", channel_binding="require", max_size=1, max_uses=1
        ) as pool:
            pids = {pool.query("select pg_backend_pid()").scalar() for _ in range(4)}
        assert len(pids) == 4


class TestRequireAuth:
    METHODS = {
        "trusted": "none",
        "cleartext": "password",
        "md5": "md5",
        "postgres": "scram-sha-256",
    }

    @pytest.mark.parametrize("user", METHODS)
    def test_the_method_of_the_server_must_be_allowed(
        self, embedded_server: embedded.Server, connect: Connect, user: str
    ) -> None:
        url = embedded_server.url_for(user)
        for method in self.METHODS.values():
            for text, allowed in ((method, True), (f"!{method}", False)):
                if (method == self.METHODS[user]) is allowed:
                    assert works(connect(url, require_auth=text))
                else:
                    with pytest.raises(pgwire.AuthenticationError, match="require_auth does not"):
                        connect(url, require_auth=text)


class TestPreparedPasswords:
    """SASLprep as PostgreSQL reads it: what it refuses is taken as it is."""

    PASSWORDS = {
        "IX": (["IX", "I\u00adX", "\u2168"], ["ix", "I X"]),
        "a": (["a", "\u00aa"], ["b"]),
        "\u00aa": (["a", "\u00aa"], ["A"]),
        "foo\u0007bar": (["foo\u0007bar"], ["foobar"]),
        "foo\u06271bar": (["foo\u06271bar"], ["foo1\u0627bar", "foobar"]),
        "x\u200by": (["x\u200by", "x y", "x\u00a0y"], ["xy"]),
        "\U0001f600": (["\U0001f600"], [" "]),
        "\u00ad": (["\u00ad"], [" "]),
    }

    @pytest.mark.parametrize("password", PASSWORDS)
    def test_what_counts_as_the_same(
        self, embedded_server: embedded.Server, connect: Connect, password: str
    ) -> None:
        admin = connect(embedded_server.url)
        admin.script("set password_encryption = 'scram-sha-256'; drop role if exists prepared")
        admin.script(f"create role prepared login password {pgwire.quote_literal(password)}")
        where = {"host": embedded_server.host, "port": embedded_server.port, "user": "prepared"}
        same, different = self.PASSWORDS[password]
        for given in same:
            assert works(connect("", **where, dbname=embedded_server.database, password=given))
        for given in different:
            with pytest.raises(pgwire.AuthenticationError, match="password authentication failed"):
                connect("", **where, dbname=embedded_server.database, password=given)

    def test_bytes_that_are_no_utf8_come_from_the_environment(
        self, embedded_server: embedded.Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A terminal in Latin-1, say: libpq sends what it finds there, and so do we."""
        password, salt = "pä55".encode("latin-1"), b"0123456789abcdef"
        keys = ScramKeys.derive(password, salt, 4096)
        stored, server = (b64encode(key).decode() for key in (keys._stored_key, keys._server_key))
        verifier = f"SCRAM-SHA-256$4096:{b64encode(salt).decode()}${stored}:{server}"
        admin = connect(embedded_server.url)
        admin.script(f"drop role if exists latin; create role latin login password '{verifier}'")
        monkeypatch.setenv("PGPASSWORD", password.decode("utf-8", "surrogateescape"))
        where = {"host": embedded_server.host, "port": embedded_server.port}
        conn = connect("", **where, user="latin", dbname=embedded_server.database)
        assert conn.query("select current_user::text").scalar() == "latin"
        conn.close()
        admin.script("drop role latin")


class TestKeys:
    def test_they_log_in_without_the_password(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        admin = connect(embedded_server.url)
        secret = admin.query("select rolpassword from pg_authid where rolname = 'postgres'")
        match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.*)\$.*:.*", secret.scalar())
        assert match is not None
        keys = ScramKeys.derive(
            embedded_server.password.encode(), b64decode(match[2]), int(match[1])
        )
        client, server = (
            b64encode(getattr(keys, name)).decode() for name in ("_client_key", "_server_key")
        )
        where = {"host": embedded_server.host, "port": embedded_server.port}
        login = {"user": "postgres", "dbname": embedded_server.database}
        assert works(
            connect("", **where, **login, scram_client_key=client, scram_server_key=server)
        )
        with pytest.raises(pgwire.AuthenticationError, match="password authentication failed"):
            connect("", **where, **login, scram_client_key=server, scram_server_key=server)
        with pytest.raises(pgwire.AuthenticationError, match="signature"):
            connect("", **where, **login, scram_client_key=client, scram_server_key=client)


class TestVersions:
    @pytest.mark.parametrize("newest", ["3.0", "3.2", "latest"])
    def test_both_work_with_every_server(self, dsn: str, connect: Connect, newest: str) -> None:
        assert works(connect(dsn, max_protocol_version=newest))

    def test_a_long_key_cancels(self, embedded_server: embedded.Server, connect: Connect) -> None:
        conn = connect(embedded_server.url, min_protocol_version="3.2")
        with pytest.raises(pgwire.QueryTimeout):
            conn.query("select pg_sleep(20)", timeout=0.05)
        assert works(conn)

    def test_a_server_from_before_it(self, tls_server: embedded.Server, connect: Connect) -> None:
        if connect(tls_server.url).server_version >= 180000:
            pytest.skip("this server is not from before 18, where 3.2 begins")
        assert works(connect(tls_server.url, max_protocol_version="3.2"))
        with pytest.raises(pgwire.ConnectionFailed, match="demands more"):
            connect(tls_server.url, min_protocol_version="3.2")
