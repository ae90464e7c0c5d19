"""A proxy that does to connections what networks do to them.

`Proxy(host, port)` listens on a port of its own and relays every connection to that address.
Faults are set by the test while it runs. Some hit the links that there are (`cut`, `reset`,
`swallow`), some all present and future ones (`stall`, `split`, `delay`), some the next ones
(`hold`, `refuse`, `break_after`).

A link that is swallowed is half-open: its sockets stay, the kernel acknowledges what is sent,
nobody answers, and no end is ever passed on. A stalled one reads nothing, until `flow`.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_PATIENCE = 20.0


class Link:
    """One relayed connection: two sockets, and how many bytes have come from the server."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.server: socket.socket | None = None
        self.swallowed = False
        self.received = 0
        self.threads: list[threading.Thread] = []

    def cut(self) -> None:
        """End it in order: both sides read the end of the stream."""
        for sock in (self.client, self.server):
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End it with an RST to the client; the server reads an end."""
        with suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The other thread may wait in recv(), and keeps the connection alive until it is woken.
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RD)
        self.client.close()
        if self.server is not None:
            with suppress(OSError):
                self.server.shutdown(socket.SHUT_RDWR)


class Proxy:
    """See the module. `split`: one byte at a time. `delay`: seconds before every piece."""

    def __init__(self, host: str, port: int) -> None:
        self.split = False
        self.delay = 0.0
        self.accepted = 0
        self._address = host, port
        self.links: list[Link] = []  # in order of arrival
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._holding = 0
        self._let_go = threading.Event()
        self._break_after: int | None = None
        self._break: Callable[[Link], None] = Link.cut
        self._listener: socket.socket | None = None
        self._reserved: socket.socket | None = None  # what keeps the port while nobody listens
        self.port = 0
        self.accept()

    def dsn(self, dsn: str) -> str:
        """The same login, by way of the proxy."""
        return f"{dsn}{'&' if '?' in dsn else '?'}host=127.0.0.1&port={self.port}&sslmode=disable"

    # Faults

    def cut(self) -> None:
        """End all links in order."""
        for link in self.links:
            link.cut()

    def reset(self) -> None:
        """End all links with an RST to the client; it is there when this returns."""
        for link in self.links:
            link.reset()
        for link in self.links:
            for thread in link.threads:
                thread.join(_PATIENCE)  # who waits in recv() keeps the socket open

    def swallow(self) -> None:
        """All links are half-open from now on, and for ever."""
        for link in self.links:
            link.swallowed = True

    def stall(self) -> None:
        """Nothing is relayed, until `flow`; sockets stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Go on where `stall` or `hold` stopped."""
        self._flowing.set()
        self._holding = 0
        self._let_go.set()

    def hold(self, count: int = 1_000_000) -> None:
        """The next connections are accepted, and no server is behind them, until `flow`."""
        self._let_go.clear()
        self._holding = count

    def break_after(self, size: int, how: Callable[[Link], None] = Link.cut) -> None:
        """The next link, and only that, breaks when so many bytes have come from the server."""
        self._break_after, self._break = size, how

    def refuse(self) -> None:
        """The port is closed, until `accept`; nobody else gets it meanwhile."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self._reserved = self._bound()

    def accept(self) -> None:
        """Listen, again on the same port."""
        listener, self._reserved = self._reserved or self._bound(), None
        listener.listen(64)
        self._listener = listener
        self.port = int(listener.getsockname()[1])
        self._start(self._accept, listener)

    def _bound(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self.port))
        return bound

    # Relaying

    def _start(self, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                link = Link(listener.accept()[0])
                self.accepted += 1
                limit, self._break_after = self._break_after, None
                self.links.append(link)
                held = self._holding > 0
                self._holding -= held
                link.threads.append(self._start(self._connect, link, held, limit))

    def _connect(self, link: Link, held: bool, limit: int | None) -> None:
        if held:
            self._let_go.wait()
        try:
            link.server = server = socket.create_connection(self._address)
        except OSError:
            link.cut()
            return
        for sock in (link.client, server):
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.threads.append(self._start(self._relay, link, link.client, server, None))
        self._relay(link, server, link.client, limit)

    def _relay(
        self, link: Link, source: socket.socket, target: socket.socket, limit: int | None
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait()
                if link.swallowed:
                    continue
                if limit is not None and link.received + len(data) > limit:
                    target.sendall(data[: limit - link.received])
                    self._break(link)
                    return
                if source is link.server:
                    link.received += len(data)
                self._pass_on(target, data)
            if not link.swallowed:
                target.shutdown(socket.SHUT_WR)

    def _pass_on(self, target: socket.socket, data: bytes) -> None:
        if self.delay:
            time.sleep(self.delay)
        if self.split:
            for byte in data:
                target.sendall(bytes([byte]))
        else:
            target.sendall(data)

    # The end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        if self._reserved is not None:
            self._reserved.close()
        self.flow()
        self.cut()
        for thread in self._threads:  # one of a link that was held may still start another
            thread.join(_PATIENCE)
            assert not thread.is_alive(), "a thread of the proxy hangs"
        for link in self.links:
            link.client.close()
            if link.server is not None:
                link.server.close()
