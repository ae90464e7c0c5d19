"""Addresses: what a host of the settings stands for, and what is wrong when none answers.

What both shells need before and beside their sockets; nothing here waits for the network.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgwire.config import Config, HostSpec

# Where servers put their sockets: Debian's place, then upstream's.
_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")
_LOOPBACK = re.compile(r"(::ffff:)?127\..*|::1")


class Address(NamedTuple):
    """One place to connect to; `host` is the name that was asked for."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int] | str
    host: str | None

    @property
    def is_unix(self) -> bool:
        return isinstance(self.sockaddr, str)

    @property
    def is_loopback(self) -> bool:
        return self.is_unix or _LOOPBACK.fullmatch(str(self.sockaddr[0])) is not None

    def __str__(self) -> str:
        if isinstance(self.sockaddr, str):
            return self.sockaddr.replace("\0", "@")
        ip, port = self.sockaddr[:2]
        shown = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        return shown if self.host in (None, ip) else f"{self.host} ({shown})"


def is_unix(spec: HostSpec) -> bool:
    """Whether a host of the settings is a Unix socket's directory, or an abstract one's name."""
    return spec.hostaddr is None and (spec.host is None or spec.host.startswith(("/", "@")))


def lookup_arguments(spec: HostSpec) -> Mapping[str, Any]:
    """What `getaddrinfo` is to be asked for one host of the settings."""
    return {
        "host": spec.hostaddr or spec.host,
        "port": spec.port,
        "type": socket.SOCK_STREAM,
        "flags": socket.AI_NUMERICHOST if spec.hostaddr else 0,
    }


def addresses(spec: HostSpec, found: Iterable[tuple[Any, ...]]) -> list[Address]:
    """The addresses that `getaddrinfo` has found, in the order to try them."""
    return [Address(family, sockaddr, spec.host) for family, _, _, _, sockaddr in found]


def not_resolved(spec: HostSpec, error: Exception) -> ConnectionFailed:
    """What to raise where it has found none."""
    return ConnectionFailed(
        f"the host name {spec.hostaddr or spec.host!r} could not be resolved: {error}"
    )


def unix_addresses(spec: HostSpec) -> list[Address]:
    """The sockets that may be meant; nothing is looked up."""
    host, port = spec.host, spec.port
    if not hasattr(socket, "AF_UNIX"):
        raise ConnectionFailed("there are no Unix sockets on this platform: set host=localhost")
    if host is None:
        directories = [d for d in _SOCKET_DIRECTORIES if Path(d, f".s.PGSQL.{port}").exists()]
        directories = directories or [_SOCKET_DIRECTORIES[0]]
    else:
        directories = ["\0" + host[1:] if host.startswith("@") else host]
    return [Address(socket.AF_UNIX, f"{d}/.s.PGSQL.{port}", None) for d in directories]


def not_connected(address: Address, error: OSError) -> ConnectionFailed:
    """What to raise where the system could not connect to an address."""
    nobody = isinstance(error, ConnectionRefusedError | FileNotFoundError)
    hint = "; is the server running there?" if nobody else ""
    # The system's words: those of asyncio say no more than that it did not work.
    reason = os.strerror(error.errno) if error.errno else error
    return ConnectionFailed(f"{address}: {reason}{hint}")


def tune(sock: socket.socket, config: Config) -> None:
    """What the settings want of a TCP socket."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if config.keepalives:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", config.keepalives_idle),
            ("TCP_KEEPINTVL", config.keepalives_interval),
            ("TCP_KEEPCNT", config.keepalives_count),
        ):
            if value and hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if config.tcp_user_timeout and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, config.tcp_user_timeout)


if sys.platform == "win32":  # pragma: no cover
    _SOCKET_DIRECTORIES = ()
