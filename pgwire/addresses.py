"""Addresses: what a host of the settings stands for, and what is wrong when none answers.

What both shells need before and beside their sockets; nothing here waits for the network.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.config import DEFAULT_SOCKET_DIRECTORIES
from pgwire.errors import AuthenticationError, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgwire.config import Config, HostSpec

_SOCKET_DIRECTORIES: tuple[str, ...] = DEFAULT_SOCKET_DIRECTORIES
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


def without_lookup(spec: HostSpec) -> list[Address] | None:
    """The addresses of a host that need not be looked up; None of one that has a name."""
    if is_unix(spec):
        return unix_addresses(spec)
    address = _of_numbers(spec)
    return None if address is None else [address]


@lru_cache(maxsize=64)
def _of_numbers(spec: HostSpec) -> Address | None:
    """The address that is written in numbers; None of a name."""
    ip = spec.hostaddr or spec.host or ""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, ip)
        except (OSError, ValueError):
            continue
        four = family == socket.AF_INET
        return Address(family, (ip, spec.port) if four else (ip, spec.port, 0, 0), spec.host)
    return None


def is_quick(spec: HostSpec) -> bool:
    """Whether looking the name up cannot take long: this machine knows its own."""
    return spec.host == "localhost" or spec.hostaddr is not None


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


def too_late(place: object, limit: float) -> ConnectionFailed:
    """What to raise where `connect_timeout` has run out."""
    return ConnectionFailed(f"{place}: no connection within {limit:g} s (connect_timeout)")


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
        directories = [d for d in _SOCKET_DIRECTORIES if os.path.exists(f"{d}/.s.PGSQL.{port}")]
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


def check_peer(sock: socket.socket, address: Address, wanted: str) -> None:
    """Refuses the server behind a Unix socket if another user runs it than `requirepeer` says."""
    if not hasattr(socket, "SO_PEERCRED"):
        raise AuthenticationError(f"{address}: requirepeer cannot be checked on this platform")
    # Imported here because few programs need it, and not every platform has it.
    import pwd

    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"number {uid}"
    if name != wanted:
        raise AuthenticationError(
            f"{address}: the server is run by the user {name}, not by the one in requirepeer"
        )


def prepare(sock: socket.socket, address: Address, config: Config) -> None:
    """What the settings want of a socket that has just been connected."""
    if not address.is_unix:
        tune(sock, config)
    elif config.requirepeer is not None:
        check_peer(sock, address, config.requirepeer)


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
