"""A PostgreSQL that starts, stops, is killed, and starts again on the same port.

Knows the server's address, logins and settings, and the life of its postmaster. Must not
know where the programs came from, or what lies in the folder.

Two signs need no client. A postmaster that is ready says so in its pid file. And all its
processes inherit the writing end of a pipe, so that the end of this pipe means that the last
of them is gone; a stop is over only then.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import time
from typing import IO, TYPE_CHECKING, Final, Literal
from urllib.parse import quote, urlencode

from pgwire.embedded.cluster import DATABASE, Cluster, complaint, identifier, workplace
from pgwire.embedded.installation import Unavailable, find_installation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_HOST: Final = "127.0.0.1"
_STOP_TIMEOUT: Final = 15.0

_SETTINGS: Final = {
    "listen_addresses": _HOST,
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}

_HBA: Final = (
    "local all,replication all trust",
    "host all,replication all all scram-sha-256",
)


@contextlib.contextmanager
def server(
    *,
    tls: bool = False,
    user: str = "postgres",
    password: str | None = None,
    settings: Mapping[str, str] | None = None,
    logins: Mapping[str, str] | None = None,
    hba: Sequence[str] = (),
    need: str = "",
    timeout: float = 60.0,
) -> Iterator[Server]:
    """Start a PostgreSQL with an empty database, and remove every trace of it at the end.

    Args:
        tls: Serve TLS too, with a certificate for localhost and 127.0.0.1 that `Server.ca`
            has signed. Takes a PostgreSQL built with OpenSSL.
        user: The superuser.
        password: Its password, and that of all `logins`; None makes one up.
        settings: Server settings (manual: "Server Configuration"); they win over ours.
        logins: Further roles that may log in over TCP, each with the method that the server
            asks of it: "trust", "password", "md5", … (manual: "Authentication Methods").
            They are no superusers, as "trust" lets in everybody on this machine.
        hba: Lines for pg_hba.conf that come before all others.
        need: Words that the programs' `pg_config --configure` must hold, such as "icu".
        timeout: Seconds that a start may take.

    Raises:
        Unavailable: there are no programs, or the server did not start.
    """
    installation = find_installation(f"openssl {need}".strip() if tls else need)
    password = password or secrets.token_urlsafe(12)
    logins = logins or {}
    by_login = [f"host all {identifier(name)} all {method}" for name, method in logins.items()]
    owner = os.getpid()
    with workplace() as directory:
        cluster = Cluster(installation, directory)
        cluster.initialize(user, [*hba, *by_login, *_HBA])
        certificates = cluster.make_certificates() if tls else {}
        sockets = {"unix_socket_directories": str(directory)}
        options = _SETTINGS | sockets | certificates | dict(settings or {})
        arguments = [f"--{name}={value}" for name, value in options.items()]
        cluster.create_roles(user, password, logins, arguments)
        own = Server(cluster, arguments, user, password, tls=tls, timeout=timeout)
        try:
            own.start()
            yield own
        finally:
            if os.getpid() == owner:  # a forked child that unwinds must not stop it
                own.stop("immediate")


@contextlib.contextmanager
def standby(
    primary: Server, *, settings: Mapping[str, str] | None = None, timeout: float = 60.0
) -> Iterator[Server]:
    """Start a standby that streams from a running server, and remove every trace of it at the end.

    It has the same settings, roles and passwords, and answers queries (manual: "Hot Standby"). Its
    block must lie inside that of the primary, whose programs it uses. Where writes are to be
    acknowledged only once they are here, the primary has to be told: it needs
    `synchronous_commit` and `synchronous_standby_names`.

    Args:
        primary: What `server()` started.
        settings: Server settings; they win over those of the primary.
        timeout: Seconds that a start may take.

    Raises:
        Unavailable: the primary could not be copied, or the standby did not start.
    """
    owner = os.getpid()
    with workplace() as directory:
        cluster = Cluster(primary.installation, directory, primary._cluster)
        options = {"unix_socket_directories": str(directory)} | dict(settings or {})
        own = primary._twin(cluster, options, timeout)
        try:
            own.follow(primary)
            yield own
        finally:
            if os.getpid() == owner:  # as above
                own.stop("immediate")


class Server:
    """A PostgreSQL that `server()` or `standby()` started. Its attributes outlast a stop.

    Attributes:
        installation: The programs in use.
        directory: The folder with everything in it, the Unix socket too.
        host, port: Where it listens; a restart keeps the port.
        user, password, database: The superuser, its password, and the database of the URLs.
        ca: The file with the authority's certificate; None without TLS.
        pid: The postmaster's process id.
    """

    def __init__(
        self,
        cluster: Cluster,
        arguments: Sequence[str],
        user: str,
        password: str,
        *,
        tls: bool,
        timeout: float,
    ) -> None:
        self.installation = cluster.installation
        self.directory = cluster.directory
        self.host = _HOST
        self.port = 0
        self.user = user
        self.password = password
        self.database = DATABASE
        self.ca = cluster.directory / "ca.crt" if tls else None
        self.pid = 0
        self._cluster = cluster
        self._arguments = arguments
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._alive: IO[bytes] | None = None

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.running else "stopped"
        return f"<Server {self.installation}, port {self.port}, {state}>"

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """The superuser over TCP, by SCRAM-SHA-256."""
        return self.url_for(self.user)

    @property
    def socket_url(self) -> str:
        """The superuser over the Unix socket, without a password."""
        query = urlencode({"host": str(self.directory), "port": self.port})
        return f"postgresql://{quote(self.user, safe='')}@/{self.database}?{query}"

    @property
    def tls_url(self) -> str:
        """The superuser over TCP and TLS, with the server's certificate and name verified.

        Raises:
            Unavailable: the server was started without `tls=True`.
        """
        if self.ca is None:
            raise Unavailable("this server does not speak TLS: start it with server(tls=True)")
        return self.url_for(self.user, sslmode="verify-full", sslrootcert=str(self.ca))

    def url_for(self, user: str, **parameters: str) -> str:
        """A role's login over TCP, with further connection parameters such as `sslmode`."""
        login = f"{quote(user, safe='')}:{quote(self.password, safe='')}"
        query = f"?{urlencode(parameters)}" if parameters else ""
        return f"postgresql://{login}@{self.host}:{self.port}/{self.database}{query}"

    def log(self) -> str:
        """What the server has written so far, over all its starts."""
        return self._cluster.log_file.read_text(errors="replace")

    def start(self) -> None:
        """Start it, again on the port that it had. Nothing happens if it is running.

        Raises:
            Unavailable: it did not start; the message is the server's own.
        """
        if self.running:
            return
        for _ in range(1 if self.port else 5):  # somebody may take a new port before us
            port = self.port or _free_port()
            seen = len(self.log())
            if self._launch(port):
                self.port = port
                return
            reason = complaint(self.log()[seen:])
            if "could not create any TCP/IP sockets" not in reason:
                break
        raise Unavailable(f"PostgreSQL did not start: {reason}")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut it down as `pg_ctl stop` does. Nothing happens if it is down.

        "smart" waits for the clients to leave, "fast" sends them away (57P01), "immediate"
        drops them and leaves the next start to recover. Returns when all processes are gone.
        """
        signals = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        self._end(signals[mode], None if mode == "smart" else _STOP_TIMEOUT)

    def kill(self) -> None:
        """Kill the postmaster (SIGKILL). Returns when the others have noticed, and are gone."""
        self._end(signal.SIGKILL, _STOP_TIMEOUT)

    def follow(self, primary: Server) -> None:
        """Begin anew as a standby of another server, with its data. What was here is given up.

        Returns when it answers queries. It need not stream yet: see `pg_stat_replication`.

        Raises:
            Unavailable: the other one could not be copied, or this one did not start.
        """
        self.stop("immediate")
        self._cluster.copy(primary.socket_url)
        self.start()

    def promote(self) -> None:
        """Make it, which is a standby, a primary, as `pg_ctl promote` does; returns when it is.

        Raises:
            Unavailable: it is no standby, or it did not come off.
        """
        self._cluster.promote()

    def _twin(self, cluster: Cluster, options: Mapping[str, str], timeout: float) -> Server:
        """Another one of its kind, not started: these settings are its own."""
        arguments = [*self._arguments, *(f"--{name}={value}" for name, value in options.items())]
        twin = Server(cluster, arguments, self.user, self.password, tls=False, timeout=timeout)
        twin.ca = self.ca  # its certificate, too, is for localhost
        return twin

    def _launch(self, port: int) -> bool:
        """Start a postmaster: True when it is ready, False when it gave up."""
        self._end(signal.SIGKILL, _STOP_TIMEOUT)  # what an earlier one left behind
        alive, inherited = os.pipe()
        self._alive = os.fdopen(alive, "rb", buffering=0)
        try:
            self._process = self._cluster.launch([f"--port={port}", *self._arguments], inherited)
        finally:
            os.close(inherited)
        self.pid = self._process.pid
        deadline = time.monotonic() + self._timeout
        while self.running:
            if self._cluster.ready():
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"PostgreSQL was not ready after {self._timeout:g} s")
            time.sleep(0.01)
        return False

    def _end(self, how: signal.Signals, timeout: float | None) -> None:
        """End the postmaster, wait for all its processes, and remove what it left behind."""
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._alive is not None:
            pipe = select.poll()
            pipe.register(self._alive)
            pipe.poll(_STOP_TIMEOUT * 1000)
            self._alive.close()
            self._alive = None
        # One who was killed leaves this file. Its number may soon be another process's.
        self._cluster.pid_file.unlink(missing_ok=True)


def _free_port() -> int:
    """A port below those that the system gives to clients: a restart will find it free."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((_HOST, port))
            return port
