"""Several hosts, several addresses, roles, and the passwords that belong to each host."""

from __future__ import annotations

import os
import pwd
import secrets
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import addresses, errors
from pgwire.aio import opening as aio_opening
from pgwire.blocking import opening as blocking_opening
from pgwire.opening import OpenerBase, settings
from tests.support import backend
from tests.support.leaks import all_that_shows
from tests.support.scripted import CLEARTEXT, Line, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgwire import embedded
    from pgwire.config import HostSpec
    from tests.shells.conftest import Connect

    Script = Callable[[Line], object]
    Start = Callable[..., list[ScriptedServer]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server for each script."""
    with ExitStack() as stack:
        yield lambda *scripts: [stack.enter_context(ScriptedServer(each)) for each in scripts]


def at(servers: list[ScriptedServer]) -> dict[str, str]:
    """The parameters that lead to these servers, in this order."""
    return {
        "host": ",".join(server.host for server in servers),
        "port": ",".join(str(server.port) for server in servers),
        "user": "u",
        "dbname": "d",
        "sslmode": "disable",
    }


def in_role(standby: str, read_only: str = "off") -> Script:
    """A server of today's, which tells its role by itself."""

    def script(line: Line) -> None:
        line.send(
            backend.AUTHENTICATION_OK,
            backend.parameter_status("in_hot_standby", standby),
            backend.parameter_status("default_transaction_read_only", read_only),
            backend.key_data(),
            backend.ready(),
        )
        line.wait_for_hang_up()

    return script


def older(standby: bytes, read_only: bytes) -> Script:
    """A server from before PostgreSQL 14, which has to be asked."""

    def script(line: Line) -> None:
        line.let_in()
        serve(
            line,
            {
                "SELECT pg_catalog.pg_is_in_recovery()": (
                    backend.column("pg_is_in_recovery", 16),
                    [standby],
                ),
                "SHOW transaction_read_only": (
                    backend.column("transaction_read_only", 25),
                    [read_only],
                ),
            },
        )

    return script


def down(line: Line) -> None:
    line.send(backend.fatal("57P03", "the database system is starting up"))


STANDBY, PRIMARY, READ_ONLY = in_role("on"), in_role("off"), in_role("off", "on")
OLD_STANDBY, OLD_PRIMARY = older(b"t", b"on"), older(b"f", b"off")


class TestRoles:
    @pytest.mark.parametrize(
        ("scripts", "target", "chosen"),
        [
            ((STANDBY, PRIMARY), "any", 0),
            ((PRIMARY, STANDBY), "any", 0),
            ((STANDBY, PRIMARY), "read-write", 1),
            ((PRIMARY, STANDBY), "read-write", 0),
            ((STANDBY, PRIMARY), "primary", 1),
            ((PRIMARY, STANDBY), "standby", 1),
            ((STANDBY, PRIMARY), "read-only", 0),
            ((PRIMARY, STANDBY), "read-only", 1),
            ((PRIMARY, STANDBY), "prefer-standby", 1),
            ((PRIMARY, PRIMARY), "prefer-standby", 0),
            ((down, PRIMARY), "prefer-standby", 1),
            ((READ_ONLY, PRIMARY), "read-write", 1),
            ((READ_ONLY, PRIMARY), "read-only", 0),
            ((READ_ONLY, PRIMARY), "primary", 0),
            ((down, STANDBY, PRIMARY), "read-write", 2),
            ((OLD_STANDBY, OLD_PRIMARY), "read-write", 1),
            ((OLD_STANDBY, OLD_PRIMARY), "primary", 1),
            ((OLD_PRIMARY, OLD_STANDBY), "standby", 1),
            ((OLD_PRIMARY, OLD_STANDBY), "read-only", 1),
            ((OLD_PRIMARY, OLD_STANDBY), "prefer-standby", 1),
            ((OLD_PRIMARY, OLD_PRIMARY), "prefer-standby", 0),
        ],
    )
    def test_the_first_server_in_the_role_is_taken(
        self, connect: Connect, start: Start, scripts: list[Script], target: str, chosen: int
    ) -> None:
        servers = start(*scripts)
        conn = connect("", target_session_attrs=target, **at(servers))
        assert not conn.closed
        assert conn.transaction_status is pgwire.TransactionStatus.IDLE
        tried = [server.connections > 0 for server in servers]
        first_wins = target != "prefer-standby"
        assert tried[: chosen + 1] == [True] * (chosen + 1)
        assert not (first_wins and any(tried[chosen + 1 :]))
        conn.close()

    @pytest.mark.parametrize(
        ("scripts", "target"),
        [
            ((STANDBY, STANDBY), "read-write"),
            ((STANDBY, OLD_STANDBY), "primary"),
            ((PRIMARY, OLD_PRIMARY), "standby"),
            ((PRIMARY, PRIMARY), "read-only"),
            ((READ_ONLY,), "standby"),
            ((READ_ONLY, STANDBY), "read-write"),
        ],
    )
    def test_without_one_each_is_told_of(
        self, connect: Connect, start: Start, scripts: list[Script], target: str
    ) -> None:
        servers = start(*scripts)
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("", target_session_attrs=target, **at(servers))
        attempts = caught.value.attempts
        assert [a.address for a in attempts] == [f"127.0.0.1:{s.port}" for s in servers]
        for attempt in attempts:
            assert str(attempt.error).endswith(f"and target_session_attrs asks for {target}")

    def test_a_server_that_is_passed_by_is_told_so(self, connect: Connect, start: Start) -> None:
        said: list[bytes] = []

        def script(line: Line) -> None:
            line.send(
                backend.AUTHENTICATION_OK,
                backend.parameter_status("in_hot_standby", "on"),
                backend.ready(),
            )
            said.append(line.wait_for_hang_up())

        servers = start(script)
        with pytest.raises(pgwire.ConnectionFailed):
            connect("", target_session_attrs="primary", **at(servers))
        assert said == [backend.message("X")]

    @pytest.mark.parametrize(
        "reply",
        [
            backend.error("42501", "you may not know"),
            backend.complete() + backend.ready(),
            b"garbage",
            b"",
        ],
    )
    def test_one_that_gives_no_answer_is_passed_by(
        self, connect: Connect, start: Start, reply: bytes
    ) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.expect("Q")
            line.send(reply + backend.ready() if reply[:1] == b"E" else reply)
            line.finish()

        servers = start(script, PRIMARY)
        connect("", target_session_attrs="primary", **at(servers)).close()
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("", target_session_attrs="primary", **at(servers[:1]))
        assert len(caught.value.attempts) == 1

    def test_the_time_for_asking_counts(self, connect: Connect, start: Start) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        servers = start(script, PRIMARY)
        parameters = {"target_session_attrs": "read-write", "connect_timeout": 0.1}
        connect("", **parameters, **at(servers)).close()
        with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
            connect("", **parameters, **at(servers[:1]))

    @pytest.mark.parametrize("target", ["read-write", "primary", "prefer-standby"])
    def test_a_real_server(self, dsn: str, connect: Connect, target: str) -> None:
        conn = connect(dsn, target_session_attrs=target)
        assert conn.query("select 1").scalar() == 1
        with pytest.raises(pgwire.ConnectionFailed, match="the server is not a standby"):
            connect(dsn, target_session_attrs="standby")


class TestAddresses:
    @pytest.fixture
    def names(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[ScriptedServer]]:
        """What names stand for; whatever else is looked up does not exist."""
        names: dict[str, list[ScriptedServer]] = {}

        def look_up(host: HostSpec) -> list[addresses.Address]:
            if host.host not in names:
                raise addresses.not_resolved(host, OSError("no such name"))
            found = [(2, 1, 6, "", ("127.0.0.1", server.port)) for server in names[host.host]]
            return addresses.addresses(host, found)

        async def look_up_in_loop(loop: object, host: HostSpec) -> list[addresses.Address]:
            return look_up(host)

        monkeypatch.setattr(blocking_opening, "look_up", lambda host, *_: look_up(host))
        monkeypatch.setattr(aio_opening, "look_up", look_up_in_loop)
        return names

    def test_the_addresses_of_a_name_are_tried_in_turn(
        self, connect: Connect, start: Start, names: dict[str, list[ScriptedServer]]
    ) -> None:
        names["db"] = start(down, PRIMARY, PRIMARY)
        connect("host=db user=u sslmode=disable").close()
        assert [server.connections > 0 for server in names["db"]][:2] == [True, True]

    def test_a_name_that_does_not_exist_gives_way_to_the_next_host(
        self, connect: Connect, start: Start, names: dict[str, list[ScriptedServer]]
    ) -> None:
        names["db"] = start(PRIMARY)
        connect("host=gone,db user=u sslmode=disable").close()
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("host=gone,away user=u sslmode=disable")
        assert [attempt.address for attempt in caught.value.attempts] == ["gone", "away"]

    def test_a_kind_of_address_that_this_machine_has_not(
        self, connect: Connect, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """IPv6 where it is switched off, say."""
        (server,) = start(PRIMARY)
        found = [
            addresses.Address(family, ("127.0.0.1", server.port), "db")
            for family in (9999, 9999, socket.AF_INET)
        ]

        async def look_up_in_loop(*_: object) -> list[addresses.Address]:
            return list(found)

        monkeypatch.setattr(blocking_opening, "look_up", lambda *_: list(found))
        monkeypatch.setattr(aio_opening, "look_up", look_up_in_loop)
        connect("host=db user=u sslmode=disable").close()
        del found[2]
        with pytest.raises(pgwire.ConnectionFailed, match="not supported") as caught:
            connect("host=db user=u sslmode=disable")
        assert len(caught.value.attempts) == 2
        del found[1]
        with pytest.raises(pgwire.ConnectionFailed, match="not supported"):
            connect("host=db user=u sslmode=disable")

    def test_one_server_in_another_role_stands_for_all_addresses_of_its_name(
        self, connect: Connect, start: Start, names: dict[str, list[ScriptedServer]]
    ) -> None:
        names["standby"] = start(STANDBY, PRIMARY)
        names["primary"] = start(PRIMARY)
        conn = connect(
            "host=standby,primary user=u sslmode=disable", target_session_attrs="primary"
        )
        assert names["primary"][0].connections == 1
        conn.close()

    def test_a_role_that_is_not_found_behind_any_address(
        self, connect: Connect, start: Start, names: dict[str, list[ScriptedServer]]
    ) -> None:
        names["db"] = start(down, STANDBY)
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            connect("host=db user=u sslmode=disable target_session_attrs=primary")
        assert len(caught.value.attempts) == 2


class TestBalancing:
    def test_hosts_and_addresses_are_shuffled(
        self, connect: Connect, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Dice:
            def shuffle(self, items: list[object]) -> None:
                items.reverse()

        monkeypatch.setattr(secrets, "SystemRandom", Dice)
        servers = start(PRIMARY, PRIMARY, PRIMARY)
        connect("", load_balance_hosts="random", **at(servers)).close()
        assert [server.connections for server in servers] == [0, 0, 1]

    def test_every_host_gets_its_share(self, connect: Connect, start: Start) -> None:
        """Once in a thousand million runs one of them gets none."""
        servers = start(PRIMARY, PRIMARY, PRIMARY)
        for _ in range(60):
            connect("", load_balance_hosts="random", **at(servers)).close()
        assert all(server.connections for server in servers)
        assert sum(server.connections for server in servers) == 60

    def test_hosts_that_are_down_are_passed_by(self, connect: Connect, start: Start) -> None:
        servers = start(down, down, PRIMARY)
        for _ in range(4):
            connect("", load_balance_hosts="random", **at(servers)).close()
        assert servers[2].connections == 4


class TestPeers:
    """Who runs the server behind a Unix socket."""

    def test_the_right_one_is_let_in(self, connect: Connect) -> None:
        with ScriptedServer(PRIMARY, unix=True) as server:
            connect(server.dsn, requirepeer=pwd.getpwuid(os.getuid()).pw_name).close()

    def test_another_one_gets_not_a_word(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[bytes] = []

        def script(line: Line) -> None:
            heard.append(line.wait_for_hang_up())

        with ScriptedServer(script, unix=True, raw=True) as server:
            with pytest.raises(pgwire.AuthenticationError, match="is run by the user"):
                connect(server.dsn, requirepeer="nobody-of-this-name")
            monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
            with pytest.raises(pgwire.AuthenticationError, match=f"number {os.getuid()}"):
                connect(server.dsn, requirepeer="root")
        assert not any(heard)

    def test_where_it_cannot_be_known(
        self, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(socket, "SO_PEERCRED")
        with ScriptedServer(PRIMARY, unix=True) as server:
            with pytest.raises(pgwire.AuthenticationError, match="cannot be checked"):
                connect(server.dsn, requirepeer="root")

    def test_over_tcp_it_does_not_matter(self, connect: Connect, start: Start) -> None:
        connect("", requirepeer="nobody-of-this-name", **at(start(PRIMARY))).close()


@pytest.mark.parametrize(
    ("hosts", "connect_timeout", "timeout", "limit"),
    [
        ("a", None, None, None),
        ("a", 3, None, 3),
        ("a", None, 30, 30),
        ("a,b,c", None, 30, 10),
        ("a,b,c", 5, 30, 5),
        ("a,b,c", 20, 30, 10),
        (",".join("x" * 60), None, 30, 2),
        ("a,b", None, 1, 1),
    ],
)
def test_a_pool_leaves_time_for_the_other_hosts(
    hosts: str, connect_timeout: float | None, timeout: float | None, limit: float | None
) -> None:
    """A host that is silent must not cost the whole time of whoever waits for a connection."""
    config = settings("", {"host": hosts, "connect_timeout": connect_timeout})
    assert OpenerBase(config).limit(timeout) == limit


class TestPasswordFiles:
    @pytest.fixture
    def passfile(self, tmp_path: Path) -> Path:
        path = tmp_path / "pgpass"
        path.touch(0o600)
        return path

    def test_each_host_gets_its_own_password_and_no_other(
        self, connect: Connect, start: Start, passfile: Path
    ) -> None:
        heard: list[bytes] = []

        def script(line: Line) -> None:
            line.send(CLEARTEXT)
            heard.extend(line.expect("p"))
            down(line)

        servers = start(script, script)
        first, second = servers
        passfile.write_text(
            f"127.0.0.1:{second.port}:d:u:for the second\n127.0.0.1:*:*:*:for the first\n"
        )
        with pytest.raises(pgwire.ConnectionFailed):
            connect("", passfile=passfile, **at(servers))
        assert heard == [b"for the first\0", b"for the second\0"]
        assert first.connections == second.connections == 1

    def test_a_password_that_is_given_is_the_one(
        self, connect: Connect, start: Start, passfile: Path
    ) -> None:
        heard: list[bytes] = []

        def script(line: Line) -> None:
            line.send(CLEARTEXT)
            heard.extend(line.expect("p"))
            line.let_in()
            line.wait_for_hang_up()

        passfile.write_text("*:*:*:*:of the file\n")
        connect("", passfile=passfile, password="given", **at(start(script))).close()
        assert heard == [b"given\0"]

    def test_a_real_login(
        self, connect: Connect, embedded_server: embedded.Server, passfile: Path
    ) -> None:
        server = embedded_server
        where = {"host": server.host, "port": server.port, "user": server.user}
        passfile.write_text(f"{server.host}:{server.port}:*:{server.user}:{server.password}\n")
        conn = connect("", passfile=passfile, dbname=server.database, **where)
        assert conn.query("select 1").scalar() == 1
        passfile.write_text("*:*:*:*:MARKER\n")
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect("", passfile=passfile, dbname=server.database, **where)
        assert isinstance(caught.value, errors.InvalidPassword)
        assert f"the password was read from the file {str(passfile)!r}" in str(caught.value)
        assert "MARKER" not in all_that_shows(caught.value)

    def test_one_that_others_may_read_is_of_no_use(
        self, connect: Connect, start: Start, passfile: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def script(line: Line) -> None:
            line.send(CLEARTEXT)
            line.wait_for_hang_up()

        passfile.write_text("*:*:*:*:pw\n")
        passfile.chmod(0o644)
        with pytest.raises(pgwire.AuthenticationError, match="none was given") as caught:
            connect("", passfile=passfile, **at(start(script)))
        assert "chmod 0600" in caplog.text
        assert "chmod 0600" in str(caught.value)  # the log may go nowhere

    def test_the_environment_names_one(
        self,
        connect: Connect,
        embedded_server: embedded.Server,
        passfile: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        server = embedded_server
        passfile.write_text(f"*:*:*:*:{server.password}\n")
        monkeypatch.setenv("PGPASSFILE", str(passfile))
        connect("", host=server.host, port=server.port, user=server.user).close()


def test_the_files_in_the_users_home(
    connect: Connect,
    embedded_server: embedded.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = embedded_server
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGPASSFILE")
    passfile = tmp_path / ".pgpass"
    passfile.touch(0o600)
    passfile.write_text(f"*:{server.port}:*:{server.user}:{server.password}\n")
    (tmp_path / ".pg_service.conf").write_text(
        f"[mine]\nhost={server.host}\nport={server.port}\nuser={server.user}\n"
    )
    assert connect("service=mine").query("select 1").scalar() == 1


def test_a_service(
    connect: Connect,
    embedded_server: embedded.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = embedded_server
    file = tmp_path / "services"
    file.write_text(
        f"[mine]\nhost={server.host}\nport={server.port}\nuser={server.user}\n"
        f"password={server.password}\ndbname={server.database}\napplication_name=service\n"
    )
    conn = connect("service=mine", servicefile=file)
    assert conn.parameters["application_name"] == "service"
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGSERVICE", "mine")
    assert connect("application_name=string").parameters["application_name"] == "string"
    with pytest.raises(pgwire.ProgrammingError, match=f"'other' is not defined in {file}"):
        connect("postgresql://?service=other")
