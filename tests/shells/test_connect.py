"""`connect()` against real servers: where settings come from, and every way to log in."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded
    from tests.shells.conftest import Connect


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


class TestWhereSettingsComeFrom:
    def test_a_uri(self, embedded_server: embedded.Server, connect: Connect) -> None:
        conn = connect(embedded_server.url)
        assert conn.query("select current_user::text").scalar() == embedded_server.user
        assert conn.transaction_status is TransactionStatus.IDLE
        assert conn.tls is None
        assert not conn.closed

    def test_keywords_and_values_in_a_string(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        server = embedded_server
        conn = connect(
            f"host={server.host} port={server.port} user={server.user} "
            f"password='{server.password}' dbname={server.database}"
        )
        assert conn.query("select 1").scalar() == 1

    def test_keyword_arguments(self, embedded_server: embedded.Server, connect: Connect) -> None:
        server = embedded_server
        conn = connect(
            "",
            host=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            database=server.database,
        )
        assert conn.query("select current_database()::text").scalar() == server.database

    def test_the_environment(
        self,
        embedded_server: embedded.Server,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        server = embedded_server
        for name, value in {
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": server.user,
            "PGPASSWORD": server.password,
            "PGDATABASE": server.database,
            "PGAPPNAME": "from the environment",
            "PGTZ": "Asia/Tokyo",
        }.items():
            monkeypatch.setenv(name, value)
        conn = connect("")
        assert conn.parameters["application_name"] == "from the environment"
        assert conn.parameters["TimeZone"] == "Asia/Tokyo"
        assert connect("", application_name="mine").parameters["application_name"] == "mine"

    def test_the_nearer_source_wins(
        self, dsn: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGAPPNAME", "environment")
        glue = "&" if "?" in dsn else "?"
        from_string = connect(f"{dsn}{glue}application_name=string")
        assert from_string.parameters["application_name"] == "string"
        from_keyword = connect(f"{dsn}{glue}application_name=string", application_name="keyword")
        assert from_keyword.parameters["application_name"] == "keyword"

    def test_options_and_settings_reach_the_server(self, connect: Connect) -> None:
        conn = connect(options="-c work_mem=7MB", settings={"statement_timeout": "12s"})
        assert conn.query("show work_mem").scalar() == "7MB"
        assert conn.query("show statement_timeout").scalar() == "12s"

    def test_a_unix_socket(self, embedded_server: embedded.Server, connect: Connect) -> None:
        conn = connect(embedded_server.socket_url)
        assert conn.query("select inet_client_addr() is null").scalar() is True
        assert conn.tls is None

    def test_sslmode_does_not_matter_on_a_unix_socket(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        conn = connect(embedded_server.socket_url, sslmode="require")
        assert conn.query("select 1").scalar() == 1

    def test_an_unknown_parameter_is_named_with_its_neighbour(self, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError, match=r"usr.*'user'"):
            connect("", usr="x")


class TestLoggingIn:
    @pytest.mark.parametrize("user", ["trusted", "cleartext", "md5"])
    def test_each_method_lets_the_right_password_in(
        self, embedded_server: embedded.Server, connect: Connect, user: str
    ) -> None:
        conn = connect(embedded_server.url_for(user))
        assert conn.query("select current_user::text").scalar() == user

    @pytest.mark.parametrize("user", ["cleartext", "md5", "postgres"])
    def test_a_wrong_password_is_an_authentication_error_with_its_sqlstate(
        self,
        embedded_server: embedded.Server,
        user: str,
        connect: Connect,
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect(embedded_server.url_for(user), password="wrong")
        error = caught.value
        assert isinstance(error, errors.InvalidPassword)
        assert error.sqlstate == "28P01"
        assert error.severity == "FATAL"
        assert [type(attempt.error) for attempt in error.attempts] == [type(error)]
        assert "wrong" not in str(error)

    def test_no_password_where_one_is_asked_for(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        with pytest.raises(pgwire.AuthenticationError, match="password"):
            connect(
                "", host=embedded_server.host, port=embedded_server.port, user=embedded_server.user
            )

    def test_the_password_may_be_a_callable_called_for_each_connection(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        calls: list[None] = []

        def password() -> str:
            calls.append(None)
            return embedded_server.password

        server = embedded_server
        for _ in range(2):
            connect("", host=server.host, port=server.port, user=server.user, password=password)
        assert len(calls) == 2

    def test_an_exception_of_the_password_callable_comes_through(
        self, dsn: str, connect: Connect
    ) -> None:
        def password() -> str:
            raise LookupError("the vault is closed")

        with pytest.raises(LookupError, match="vault"):
            connect(dsn, password=password)

    def test_a_password_callable_must_give_a_str(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.InterfaceError, match="bytes"):
            connect(dsn, password=lambda: b"x")

    def test_secure_refuses_to_be_let_in_without_scram(
        self, tls_server: embedded.Server, connect: Connect
    ) -> None:
        assert tls_server.ca is not None
        root = str(tls_server.ca)
        conn = connect(tls_server.url_for(tls_server.user), sslrootcert=root, secure=True)
        assert conn.tls is not None
        for user in ("trusted", "cleartext", "md5"):
            with pytest.raises(pgwire.AuthenticationError, match="secure"):
                connect(tls_server.url_for(user), sslrootcert=root, secure=True)


class TestWhatGoesWrong:
    def test_an_unknown_database(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect(dsn, dbname="nowhere")
        assert isinstance(caught.value, errors.InvalidCatalogName)
        assert caught.value.sqlstate == "3D000"
        assert pgwire.AuthenticationError not in type(caught.value).__mro__

    def test_a_role_that_may_not_connect(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.AuthenticationError):
            connect(dsn, user="nobody_of_this_name", password="x")

    def test_a_setting_that_the_server_refuses(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect(dsn, settings={"work_mem": "much"})
        assert isinstance(caught.value, pgwire.PostgresError)
        assert caught.value.sqlstate == "22023"

    def test_nobody_listens(self, closed_port: int, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match=r"refused.*is the server running") as e:
            connect("", host="127.0.0.1", port=closed_port)
        assert [attempt.address for attempt in e.value.attempts] == [f"127.0.0.1:{closed_port}"]
        assert isinstance(e.value.attempts[0].error.__cause__, ConnectionRefusedError)

    def test_no_socket_in_the_directory(self, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match=r"/nonexistent/\.s\.PGSQL\.5432"):
            connect("", host="/nonexistent")

    def test_a_name_that_does_not_resolve(self, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match=r"nowhere\.invalid"):
            connect("", host="nowhere.invalid")

    def test_a_path_longer_than_a_socket_can_have(self, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed, match="too long"):
            connect("", host="/" + "x" * 200)

    def test_hosts_are_tried_in_order_until_one_answers(
        self, embedded_server: embedded.Server, connect: Connect, closed_port: int
    ) -> None:
        server = embedded_server
        conn = connect(
            "",
            host=f"127.0.0.1,{server.host}",
            port=f"{closed_port},{server.port}",
            user=server.user,
            password=server.password,
        )
        assert conn.query("select inet_server_port()").scalar() == server.port

    def test_all_hosts_that_failed_are_listed(self, closed_port: int, connect: Connect) -> None:
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("", host="127.0.0.1,/nonexistent,nowhere.invalid", port=closed_port)
        addresses = [attempt.address for attempt in caught.value.attempts]
        assert addresses == [
            f"127.0.0.1:{closed_port}",
            f"/nonexistent/.s.PGSQL.{closed_port}",
            "nowhere.invalid",
        ]
        for attempt in caught.value.attempts:
            assert isinstance(attempt.error, pgwire.ConnectionFailed)
            assert str(attempt.error) in str(caught.value)

    def test_what_another_host_would_not_mend_ends_the_search(
        self,
        embedded_server: embedded.Server,
        closed_port: int,
        connect: Connect,
    ) -> None:
        server = embedded_server
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect(
                "",
                host="127.0.0.1,127.0.0.1",
                port=f"{server.port},{closed_port}",
                user=server.user,
                password="wrong",
            )
        assert len(caught.value.attempts) == 1

    def test_a_server_that_is_full(
        self, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        admin = connect(embedded_server.socket_url)
        admin.query("create role lonely login connection limit 0")
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect(embedded_server.socket_url, user="lonely")
        admin.query("drop role lonely")
        assert isinstance(caught.value, errors.TooManyConnections)


def test_the_state_of_a_new_connection(dsn: str, connect: Connect) -> None:
    conn = connect(dsn)
    assert conn.parameters["client_encoding"] == "UTF8"
    assert conn.server_version == int(conn.query("show server_version_num").scalar())
    assert conn.backend_pid == conn.query("select pg_backend_pid()").scalar()
    assert repr(conn).endswith(f"Connection pid={conn.backend_pid} IDLE>")
