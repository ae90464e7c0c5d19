"""What the settings of TCP make of a connection's socket. Linux only, as they are."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.scripted import LET_IN, Line, ScriptedServer
from tests.support.sockets import sockets_to

if TYPE_CHECKING:
    from tests.shells.conftest import Connect

OPTIONS = {
    "on": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "no delay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
}


def lets_in(line: Line) -> None:
    line.send(LET_IN)
    line.wait_for_hang_up()


def options_of_the_socket(port: int) -> dict[str, int]:
    """Those of this process's connection to the port."""
    for sock in sockets_to("127.0.0.1", port):
        return {option: sock.getsockopt(*where) for option, where in OPTIONS.items()}
    raise AssertionError("there is no such connection")


@pytest.fixture(scope="module")
def usual() -> dict[str, int]:
    """The system's own."""
    with socket.socket() as sock:
        return {option: sock.getsockopt(*where) for option, where in OPTIONS.items()}


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({}, {"on": 1}),
        ({"keepalives": 0, "keepalives_idle": 60, "keepalives_count": 3}, {}),
        (
            {"keepalives_idle": 60, "keepalives_interval": 7, "keepalives_count": 3},
            {"on": 1, "idle": 60, "interval": 7, "count": 3},
        ),
        ({"keepalives_idle": 0, "keepalives_interval": -1}, {"on": 1}),
        ({"tcp_user_timeout": 1500}, {"on": 1, "user timeout": 1500}),
        ({"tcp_user_timeout": 0}, {"on": 1}),
    ],
)
def test_keepalives_and_timeouts(
    connect: Connect, usual: dict[str, int], settings: dict[str, int], changed: dict[str, int]
) -> None:
    """Small messages are never held back."""
    with ScriptedServer(lets_in) as server:
        conn = connect(server.dsn, **settings)
        assert options_of_the_socket(server.port) == {**usual, "no delay": 1, **changed}
        conn.close()


def test_what_the_system_refuses_is_no_connection(connect: Connect) -> None:
    refused: dict[str, Any] = {"keepalives_count": 1_000_000}
    with ScriptedServer(lets_in) as server:
        with pytest.raises(pgwire.ConnectionFailed, match="Invalid argument"):
            connect(server.dsn, **refused)


def test_a_unix_socket_has_none_of_them(connect: Connect) -> None:
    with ScriptedServer(lets_in, unix=True) as server:
        settings = {"keepalives_count": 1_000_000, "tcp_user_timeout": 1500}
        connect(server.dsn, **settings).close()
