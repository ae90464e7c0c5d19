"""The embedded PostgreSQL, seen through raw sockets: these tests need no driver."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("embedded_server")]

# AuthenticationRequest's codes (manual: "Message Formats").
OK, CLEARTEXT, MD5, SASL = 0, 3, 5, 10


@contextlib.contextmanager
def dialled(server: embedded.Server, unix: bool = False) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as client:
        client.settimeout(10)
        path = str(server.directory / f".s.PGSQL.{server.port}")
        client.connect(path if unix else (server.host, server.port))
        yield client


def read_exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        assert piece, f"the server hung up after {data!r}"
        data += piece
    return data


def read_message(client: socket.socket) -> tuple[bytes, bytes]:
    kind, length = struct.unpack("!cI", read_exactly(client, 5))
    return kind, read_exactly(client, length - 4)


def log_in(client: socket.socket, user: str) -> tuple[int, bytes]:
    """Send a StartupMessage; returns the code and the rest of what the server asks for."""
    body = b"\0\3\0\0" + b"user\0" + user.encode() + b"\0database\0postgres\0\0"
    client.sendall(struct.pack("!I", len(body) + 4) + body)
    kind, answer = read_message(client)
    assert kind == b"R", answer
    return struct.unpack("!I", answer[:4])[0], answer[4:]


def asked_of(server: embedded.Server, user: str, unix: bool = False) -> int:
    with dialled(server, unix) as client:
        return log_in(client, user)[0]


def reported_by(server: embedded.Server) -> list[bytes]:
    """The settings that it reports to a new session."""
    with dialled(server, unix=True) as client:
        log_in(client, server.user)
        reported = []
        while (message := read_message(client))[0] != b"Z":
            reported.append(message[1])
        return reported


def answer_to_ssl_request(client: socket.socket) -> bytes:
    client.sendall(struct.pack("!II", 8, 80877103))
    return read_exactly(client, 1)


def listens(port: int) -> bool:
    """Whether anybody serves this port: the sign of a server that is alive."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + 30
    while directory.exists():
        assert time.monotonic() < deadline, f"{directory} is still there"
        time.sleep(0.01)


class TestLogins:
    def test_tcp_asks_for_scram(self, embedded_server: embedded.Server) -> None:
        with dialled(embedded_server) as client:
            assert log_in(client, embedded_server.user) == (SASL, b"SCRAM-SHA-256\0\0")

    def test_the_unix_socket_trusts(self, embedded_server: embedded.Server) -> None:
        assert asked_of(embedded_server, embedded_server.user, unix=True) == OK

    @pytest.mark.parametrize(
        ("user", "code"), [("trusted", OK), ("cleartext", CLEARTEXT), ("md5", MD5)]
    )
    def test_a_login_is_asked_for_what_its_method_says(
        self, embedded_server: embedded.Server, user: str, code: int
    ) -> None:
        assert asked_of(embedded_server, user) == code

    def test_the_folder_is_closed_to_others(self, embedded_server: embedded.Server) -> None:
        assert embedded_server.directory.stat().st_mode & 0o077 == 0

    def test_urls_carry_everything_that_a_login_takes(
        self, embedded_server: embedded.Server
    ) -> None:
        address = f"127.0.0.1:{embedded_server.port}/postgres"
        password = embedded_server.password
        assert embedded_server.url == f"postgresql://postgres:{password}@{address}"
        assert (
            embedded_server.url_for("a b", sslmode="disable")
            == f"postgresql://a%20b:{password}@{address}?sslmode=disable"
        )
        folder = str(embedded_server.directory).replace("/", "%2F")
        port = embedded_server.port
        assert embedded_server.socket_url == (
            f"postgresql://postgres@/postgres?host={folder}&port={port}"
        )

    def test_the_repr_keeps_the_password(self, embedded_server: embedded.Server) -> None:
        assert str(embedded_server.port) in repr(embedded_server)
        assert embedded_server.password not in repr(embedded_server)


class TestTLS:
    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
    def test_the_certificate_verifies(self, tls_server: embedded.Server, name: str) -> None:
        context = ssl.create_default_context(cafile=str(tls_server.ca))
        if sys.version_info < (3, 13):  # there it is the default
            context.verify_flags |= ssl.VERIFY_X509_STRICT
        with dialled(tls_server) as client:
            assert answer_to_ssl_request(client) == b"S"
            with context.wrap_socket(client, server_hostname=name) as encrypted:
                code, mechanisms = log_in(encrypted, tls_server.user)
        assert (code, mechanisms) == (SASL, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")

    def test_the_url_verifies_too(self, tls_server: embedded.Server) -> None:
        ca = str(tls_server.ca).replace("/", "%2F")
        assert tls_server.tls_url == f"{tls_server.url}?sslmode=verify-full&sslrootcert={ca}"

    def test_none_was_asked_for(self, embedded_server: embedded.Server) -> None:
        with dialled(embedded_server) as client:
            assert answer_to_ssl_request(client) == b"N"
        with pytest.raises(embedded.Unavailable, match=r"server\(tls=True\)"):
            _ = embedded_server.tls_url


class TestStartAndStop:
    def test_a_stopped_server_comes_back_on_its_port(self, fresh_server: embedded.Server) -> None:
        port, pid = fresh_server.port, fresh_server.pid
        fresh_server.stop()
        assert not fresh_server.running
        with pytest.raises(ConnectionRefusedError), dialled(fresh_server):
            pass
        fresh_server.stop()  # nothing happens
        fresh_server.start()
        fresh_server.start()  # nothing happens
        assert (fresh_server.port, fresh_server.running) == (port, True)
        assert fresh_server.pid != pid
        assert asked_of(fresh_server, "trusted") == OK
        assert fresh_server.log().count("ready to accept connections") == 2

    def test_a_fast_stop_tells_the_clients(self, fresh_server: embedded.Server) -> None:
        with dialled(fresh_server) as client:
            log_in(client, "trusted")
            while read_message(client)[0] != b"Z":
                pass
            fresh_server.stop()
            kind, fields = read_message(client)
            assert (kind, b"C57P01\0" in fields) == (b"E", True)
            assert client.recv(1) == b""

    def test_a_kill_takes_the_sessions_with_it(self, fresh_server: embedded.Server) -> None:
        with dialled(fresh_server) as client:
            log_in(client, "trusted")
            while read_message(client)[0] != b"Z":
                pass
            fresh_server.kill()
            while client.recv(1000):  # the end comes, after a word on why
                pass
        fresh_server.start()
        assert asked_of(fresh_server, "trusted") == OK
        assert "was not properly shut down" in fresh_server.log()

    def test_it_starts_again_after_a_kill_by_somebody_else(
        self, fresh_server: embedded.Server
    ) -> None:
        os.kill(fresh_server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while fresh_server.running:
            assert time.monotonic() < deadline
        fresh_server.start()
        assert asked_of(fresh_server, "trusted") == OK

    def test_settings_win_over_ours(self) -> None:
        with embedded.server(settings={"timezone": "Asia/Tokyo"}) as server:
            assert b"TimeZone\0Asia/Tokyo\0" in reported_by(server)

    def test_names_and_passwords_may_hold_anything(self) -> None:
        name, other, password = "me & you @:/?", 'it\'s "me"', "o'neil @:/?"
        with embedded.server(user=name, password=password, logins={other: "trust"}) as server:
            assert asked_of(server, name) == SASL
            assert asked_of(server, other) == OK

    def test_lines_for_pg_hba_come_first(self) -> None:
        with embedded.server(hba=["host all postgres all password"]) as server:
            assert asked_of(server, server.user) == CLEARTEXT


STANDBY, PRIMARY = b"in_hot_standby\0on\0", b"in_hot_standby\0off\0"


class TestStandby:
    def test_it_is_promoted_and_the_other_follows(self, fresh_server: embedded.Server) -> None:
        with embedded.standby(fresh_server) as standby:
            assert standby.port != fresh_server.port
            assert STANDBY in reported_by(standby)
            assert asked_of(standby, "trusted") == OK
            fresh_server.kill()
            standby.promote()
            assert PRIMARY in reported_by(standby)
            port = fresh_server.port
            fresh_server.follow(standby)
            assert STANDBY in reported_by(fresh_server)
            assert fresh_server.port == port
        assert STANDBY in reported_by(fresh_server)  # and waits for a primary

    def test_settings_win_over_those_of_the_primary(self, fresh_server: embedded.Server) -> None:
        with embedded.standby(fresh_server, settings={"timezone": "Asia/Tokyo"}) as standby:
            assert b"TimeZone\0Asia/Tokyo\0" in reported_by(standby)

    def test_it_speaks_tls_where_the_primary_does(self, tls_server: embedded.Server) -> None:
        with embedded.standby(tls_server) as standby:
            context = ssl.create_default_context(cafile=str(standby.ca))
            assert standby.tls_url.startswith(f"{standby.url}?sslmode=verify-full")
            with dialled(standby) as client:
                assert answer_to_ssl_request(client) == b"S"
                context.wrap_socket(client, server_hostname="localhost").close()

    def test_what_cannot_be(self, fresh_server: embedded.Server) -> None:
        with pytest.raises(embedded.Unavailable, match="not in standby mode"):
            fresh_server.promote()
        fresh_server.stop()
        with (
            pytest.raises(embedded.Unavailable, match="pg_basebackup failed: connection to server"),
            embedded.standby(fresh_server),
        ):
            pass


class TestNothingIsLeft:
    def test_after_the_block(self) -> None:
        with embedded.server() as server, embedded.standby(server) as standby:
            both = server, standby
            assert [listens(each.port) for each in both] == [True, True]
        assert [listens(each.port) for each in both] == [False, False]
        assert [each.directory.exists() for each in both] == [False, False]

    @pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
    def test_after_an_exception(self, problem: type[BaseException]) -> None:
        with pytest.raises(problem), embedded.server() as server:
            raise problem
        wait_until_gone(server.directory)
        assert not listens(server.port)

    @pytest.mark.parametrize(
        ("settings", "hba", "reason"),
        [
            ({"no_such_setting": "1"}, [], r"unrecognized .*no_such_setting"),
            ({}, ["nonsense"], r"did not start: could not load .*pg_hba\.conf"),
        ],
        ids=["before the start", "at the start"],
    )
    def test_after_a_start_that_fails(
        self,
        monkeypatch: pytest.MonkeyPatch,
        settings: dict[str, str],
        hba: list[str],
        reason: str,
    ) -> None:
        made: list[str] = []
        make = tempfile.mkdtemp

        def remembering(*, prefix: str, dir: str) -> str:
            made.append(make(prefix=prefix, dir=dir))
            return made[-1]

        monkeypatch.setattr(tempfile, "mkdtemp", remembering)
        with (
            pytest.raises(embedded.Unavailable, match=reason),
            embedded.server(settings=settings, hba=hba),
        ):
            pass
        assert [Path(folder).exists() for folder in made] == [False]

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
    def test_after_our_own_sudden_end(self, how: signal.Signals) -> None:
        with subprocess.Popen(
            script("print(server.directory, server.port, flush=True); time.sleep(60)"),
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            directory, port = process.stdout.readline().split()
            process.send_signal(how)
        wait_until_gone(Path(directory))
        assert not listens(int(port))

    def test_a_forked_child_that_leaves_the_block_leaves_the_server_alone(self) -> None:
        code = """
            child = os.fork()
            if child == 0:
                sys.exit(0)  # leaves the block
            os.waitpid(child, 0)
            print(server.running, server.directory.exists(), os.kill(server.pid, 0))
        """
        done = subprocess.run(script(code), capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["True", "True", "None"]


def script(body: str) -> list[str]:
    """A command that runs these lines of Python beside a server."""
    head = "import os, sys, time\nfrom pgwire import embedded\nwith embedded.server() as server:\n"
    return [sys.executable, "-c", head + textwrap.indent(textwrap.dedent(body), "    ")]


STRUCK_BEFORE_WAITING = """
import os, select, signal
from collections import deque
from functools import partial
from operator import call
from pgwire.embedded.__main__ import wait_for_interrupt

def struck(wait, *args):
    deque(map(call, [partial(os.killpg, 0, signal.SIGINT), partial(wait, *args)]), maxlen=0)

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pause = partial(struck, signal.pause)
select.select = partial(struck, select.select)
try:
    wait_for_interrupt()
except KeyboardInterrupt:
    print("interrupted")
"""


class TestCommand:
    def test_it_prints_the_url_and_runs_until_interrupted(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "pgwire.embedded"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("postgresql://postgres:")
            process.send_signal(signal.SIGINT)
            rest = process.communicate()
        assert (process.returncode, rest[0]) == (0, "")
        assert rest[1].startswith("PostgreSQL ")

    def test_an_interruption_just_before_it_waits_is_seen(self) -> None:
        """In one call of C code: a signal, and the waiting. Python looks for signals behind it."""
        done = subprocess.run(
            [sys.executable, "-c", STRUCK_BEFORE_WAITING],
            capture_output=True,
            text=True,
            timeout=60,
            start_new_session=True,  # it strikes its process group
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")

    def test_it_says_in_one_line_what_is_missing(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pgwire.embedded"],
            env=os.environ | {"PG_BIN": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"PG_BIN={tmp_path} holds no PostgreSQL that runs: unset PG_BIN\n"


class TestFindInstallation:
    def test_what_it_finds_can_run(self) -> None:
        found = embedded.find_installation()
        assert (found.programs / "postgres").exists()
        assert found.version[0].isdigit()
        assert str(found) == f"PostgreSQL {found.version} ({found.origin})"

    def test_pg_bin_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        programs = embedded.find_installation().programs
        monkeypatch.setenv("PG_BIN", str(programs))
        assert embedded.find_installation().origin == "PG_BIN"

    def test_a_build_that_nobody_has_is_named(self) -> None:
        with pytest.raises(embedded.Unavailable, match="built with sorcery is installed: apt-get"):
            embedded.find_installation("sorcery")
