"""Bytes over sockets: connecting, and the two kinds of channel.

A channel sends and receives plain bytes; whether TLS is between is its own affair. Sockets
block and never have a Python timeout (that would poll before every call): who has a deadline
waits with `wait_readable` first.
"""

from __future__ import annotations

import math
import select
import socket
from contextlib import suppress
from functools import partial
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from pgwire.addresses import not_connected, prepare
from pgwire.errors import ConnectionFailed
from pgwire.protocol.listening import check_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgwire.addresses import Address
    from pgwire.config import Config
    from pgwire.tls import TLSLayer

RECEIVE = 65_536  # more than 128 KiB costs a fresh mapping per call
_SEND = 1_048_576  # takes half the time that pieces of 256 KiB do; larger ones are no faster
_FOR_EVER = 1_000_000.0


class Deadline(Exception):
    """Time is up; whoever set the deadline knows what that means."""

    unsent = b""  # what `pump` could not send any more


def deadline_in(seconds: float) -> float | None:
    """The moment so many seconds from now; None for what no clock and no poll can count.

    Raises ProgrammingError for what is no number.
    """
    if (seconds.__class__ is float or seconds.__class__ is int) and 0 <= seconds < _FOR_EVER:
        return monotonic() + seconds
    checked = check_wait(seconds)
    return None if checked is None else monotonic() + checked


def left(deadline: float | None) -> float | None:
    """Seconds until the deadline; `Deadline` when there are none."""
    if deadline is None:
        return None
    seconds = deadline - monotonic()
    if seconds <= 0:
        raise Deadline
    return seconds


def connect_socket(
    sock: socket.socket, address: Address, config: Config, deadline: float | None
) -> None:
    """Connect a new socket, or raise ConnectionFailed; `Deadline` when time is up."""
    try:
        sock.settimeout(left(deadline))
        sock.connect(address.sockaddr)
        sock.settimeout(None)
        prepare(sock, address, config)
    except TimeoutError:
        left(deadline)
        raise ConnectionFailed(f"{address}: the network timed out") from None
    except OSError as error:
        raise not_connected(address, error) from error


class _Poller(Protocol):
    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]: ...


class _SelectPoller:
    """`select.poll` for platforms without it."""

    def __init__(self, sock: socket.socket, *, writing: bool) -> None:
        self._sock, self._writing = sock, writing

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        writers = [self._sock] if self._writing else []
        reading, writing, _ = select.select([self._sock], writers, [], seconds)
        events = (1 if reading else 0) | (4 if writing else 0)
        return [(self._sock.fileno(), events)] if events else []


def _poller(sock: socket.socket, *, writing: bool = False) -> _Poller:
    if not hasattr(select, "poll"):
        return _SelectPoller(sock, writing=writing)
    poller = select.poll()
    poller.register(sock, select.POLLIN | (select.POLLOUT if writing else 0))
    return poller


class Waker:
    """Lets other threads wake one that waits for a socket."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    def wake(self) -> None:
        """Never waits; more than once does no harm."""
        with suppress(OSError):  # it has been told often enough, or waits no more
            self._theirs.send(b"\0")

    def wait(self, socks: Iterable[socket.socket], seconds: float | None) -> None:
        """Wait until one of the sockets can be read, it is woken, or time is up."""
        filenos = [self._ours.fileno()]
        filenos += [n for sock in socks if (n := sock.fileno()) >= 0]  # else it has been closed
        if hasattr(select, "poll"):
            poller = select.poll()
            for fileno in filenos:
                poller.register(fileno, select.POLLIN)
            poller.poll(None if seconds is None else math.ceil(seconds * 1000))
        else:
            select.select(filenos, [], [], seconds)
        with suppress(BlockingIOError):
            self._ours.recv(RECEIVE)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # there never were any
            self.close()


_READABLE = ~getattr(select, "POLLOUT", 4)


class Channel:
    """A connected socket without TLS."""

    tls: TLSLayer | None = None

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._poll = _poller(sock).poll
        # Whether there are bytes, the end of the stream, or an error to be read.
        self.is_readable: Callable[[], object] = partial(self._poll, 0)
        # Attributes and not methods: a query calls each of them once.
        # Send all of it; for what fits a socket's buffer (see `pump`).
        self.send: Callable[[bytes], None] = sock.sendall
        # Wait for bytes; empty at the end of the stream. None where what came holds none yet
        # (TLS: half a record, a ticket).
        self.receive: Callable[[], bytes | None] = partial(sock.recv, RECEIVE)
        # The same as an iterator, for a `for` that takes one: that is no call, so Ctrl-C cannot
        # strike between reading bytes and having them. None where that cannot be had.
        self.arriving: Iterator[bytes] | None = map(sock.recv, repeat(RECEIVE))

    def receive_nowait(self) -> bytes | None:
        """Bytes that are there already; None if none are, empty at the end of the stream."""
        while self.is_readable():
            if (data := self.receive()) is not None:
                return data
        return None

    def send_nowait(self, data: bytes) -> bool:
        """Send without waiting; False if not all of it could be taken."""
        self.sock.setblocking(False)
        try:
            return self.sock.send(data) == len(data)
        except BlockingIOError:
            return False
        finally:
            self.sock.setblocking(True)

    def wait_readable(self, deadline: float | None) -> None:
        """Wait until there is something to read; `Deadline` when time is up."""
        if deadline is None:
            self._poll(None)
            return
        milliseconds = (deadline - monotonic()) * 1000  # `poll` rounds it up
        if milliseconds <= 0 or not self._poll(milliseconds):
            raise Deadline

    def pump(
        self,
        data: bytes,
        feed: Callable[[bytes], bytes],
        more: Callable[[], bytes],
        deadline: float | None,
    ) -> None:
        """Send much while reading what comes, so that neither side waits for the other.

        `feed` gets what was received and returns what is to be sent behind the rest; once
        all is sent, `more` gives the next, and ends it by giving nothing.
        """
        poll = _poller(self.sock, writing=True).poll
        rest = memoryview(data)
        self.sock.setblocking(False)
        try:
            while rest or (rest := memoryview(more())):
                seconds = left(deadline)
                events = poll(-1 if seconds is None else math.ceil(seconds * 1000))
                if any(event & _READABLE for _, event in events):
                    received = self.sock.recv(RECEIVE)
                    answer = feed(received)
                    if not received:
                        return
                    if answer:
                        rest = memoryview(bytes(rest) + answer)
                else:
                    try:
                        rest = rest[self.sock.send(rest[:_SEND]) :]
                    except BlockingIOError:
                        continue
        except Deadline as deadline_met:
            deadline_met.unsent = bytes(rest)
            raise
        finally:
            self.sock.setblocking(True)

    def shut_down(self) -> None:
        """Cut the line: whoever waits on this socket, in any thread, sees its end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()


class TLSChannel(Channel):
    """A connected socket with TLS on it; the handshake is done."""

    def __init__(self, sock: socket.socket, layer: TLSLayer) -> None:
        super().__init__(sock)
        self.tls: TLSLayer = layer
        self._receive_wire = partial(sock.recv, RECEIVE)
        self.send = self._encrypt_and_send
        self.receive = self._receive_and_decrypt
        self.is_readable = self._holds_bytes
        self.arriving = None
        self._early = layer.decrypt()  # what came along with the end of the handshake

    def _encrypt_and_send(self, data: bytes) -> None:
        self.tls.encrypt(data)
        self.sock.sendall(self.tls.take_wire())

    def send_nowait(self, data: bytes) -> bool:
        self.tls.encrypt(data)
        return super().send_nowait(self.tls.take_wire())

    def _receive_and_decrypt(self) -> bytes | None:
        if self._early:
            plain, self._early = self._early, b""
            return plain
        if self.tls.closed:
            return b""
        wire = self._receive_wire()
        if not wire:
            return b""  # without a close_notify; the caller hears of the end all the same
        self.tls.feed(wire)
        plain = self.tls.decrypt()
        if answer := self.tls.take_wire():  # TLS's own talk: a key update, an alert
            self.sock.sendall(answer)
        return plain if plain or self.tls.closed else None

    def _holds_bytes(self) -> bool:
        return bool(self._early) or self.tls.closed or bool(self._poll(0))

    def wait_readable(self, deadline: float | None) -> None:
        if not (self._early or self.tls.closed):
            super().wait_readable(deadline)

    def pump(
        self,
        data: bytes,
        feed: Callable[[bytes], bytes],
        more: Callable[[], bytes],
        deadline: float | None,
    ) -> None:
        def feed_plain(wire: bytes) -> bytes:
            if wire:
                self.tls.feed(wire)
            plain = self.tls.decrypt() if wire else b""
            if plain or not wire or self.tls.closed:
                self.tls.encrypt(feed(plain))
            return self.tls.take_wire()  # in its place: behind the records that are on their way

        def more_wire() -> bytes:
            self.tls.encrypt(more())
            return self.tls.take_wire()

        self.tls.encrypt(data)
        super().pump(self.tls.take_wire(), feed_plain, more_wire, deadline)
