"""A server that follows a script: it expects, sends, splits, stalls, lies and hangs up.

`ScriptedServer(script)` listens, on TCP or on a Unix socket, and runs `script(line)` in a
thread of its own for every connection but those that bring a CancelRequest: these go to
`on_cancel`. What a script raises comes out when the server is left; a client that hangs up is
no reason to complain, as many tests make it do so.

`Line` is the server's end of one connection; what to say on it is built by `backend`. Nothing
here sleeps: `wait_until_read` tells by the socket's own account that the client has taken
everything in (Unix sockets only).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support import backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from pgwire.protocol.messages import Column

SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102
TERMINATE = backend.message("X")
_SIOCOUTQ = 0x5411
_PATIENCE = 20.0

CLEARTEXT = backend.authentication(3)
MD5 = backend.authentication(5, b"salt")
LET_IN = (
    backend.AUTHENTICATION_OK
    + backend.parameter_status("client_encoding", "UTF8")
    + backend.parameter_status("server_version", "18.6")
    + backend.key_data()
    + backend.ready()
)


class HungUp(Exception):
    """The client closed the connection."""


class Line:
    """The server's end of one connection; `startup` holds the client's parameters."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.startup: dict[str, str] = {}

    def read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                received = self.sock.recv(size - len(data))
            except OSError:
                raise HungUp from None
            if not received:
                raise HungUp
            data += received
        return data

    def read_untyped(self) -> tuple[int, bytes]:
        """StartupMessage, SSLRequest or CancelRequest: its code, and what follows."""
        length, code = struct.unpack("!ii", self.read_exactly(8))
        return code, self.read_exactly(length - 8)

    def read_message(self) -> tuple[str, bytes]:
        code, length = struct.unpack("!ci", self.read_exactly(5))
        return code.decode(), self.read_exactly(length - 4)

    def expect(self, codes: str) -> list[bytes]:
        """Read a message for each letter; the bodies."""
        bodies = []
        for index, wanted in enumerate(codes):
            code, body = self.read_message()
            assert code == wanted, f"message {index} of {codes!r} is {code!r}: {body!r}"
            bodies.append(body)
        return bodies

    def send(self, *messages: bytes) -> None:
        try:
            self.sock.sendall(b"".join(messages))
        except OSError:
            raise HungUp from None

    def let_in(self) -> None:
        self.send(LET_IN)

    def answer(self, columns: Sequence[Column], *rows: bytes) -> None:
        """Serve one query whose statement is not cached."""
        self.expect("PDH")
        self.send(backend.described(columns=columns))
        self.expect("BES")
        self.send(backend.executed(*rows))

    def wait_until_read(self) -> None:
        """Return once the client has read all that was sent. Unix sockets only."""
        none = struct.pack("i", 0)
        while struct.unpack("i", fcntl.ioctl(self.sock, _SIOCOUTQ, none))[0]:
            pass

    def wait_for_hang_up(self) -> bytes:
        """Read to the client's end or its Terminate; what it still said."""
        said = b""
        with suppress(OSError):
            while not said.endswith(TERMINATE) and (data := self.sock.recv(65_536)):
                said += data
        return said

    def finish(self) -> None:
        """Close our half; then read to the client's end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.wait_for_hang_up()

    def cut(self) -> None:
        """Close this end, in order."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close this end with an RST. TCP only."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def serve(
    line: Line,
    answers: Mapping[str, tuple[Column, Sequence[bytes]]],
    say: Callable[[bytes], None] | None = None,
) -> None:
    """Serve queries until Terminate: for each SQL its column, and the values of its rows.

    `say` sends an answer; it may do so in pieces, slowly, or not at all.
    """
    say = say or line.send
    statements: dict[bytes, str] = {}
    out = sql = b""
    while True:
        code, body = line.read_message()
        match code:
            case "P":
                name, sql, _ = body.split(b"\0", 2)
                statements[name] = sql.decode()
                out += backend.PARSE_COMPLETE
            case "D":
                column, _ = answers[statements[body[1:-1]]]
                out += backend.parameter_description() + backend.row_description(column)
            case "B":
                portal = statements[body.split(b"\0", 2)[1]]
                out += backend.BIND_COMPLETE
            case "E":
                _, values = answers[portal]
                out += b"".join(map(backend.row, values))
                out += backend.complete(f"SELECT {len(values)}")
            case "C":
                out += backend.CLOSE_COMPLETE
            case "Q":
                column, values = answers[body[:-1].decode()]
                rows = b"".join(map(backend.row, values))
                tag = backend.complete(f"SELECT {len(values)}")
                out += backend.row_description(column) + rows + tag + backend.ready()
            case "S":
                out += backend.ready()
            case "X":
                return
        if code in "HSQ":
            say(out)
            out = b""


class ScriptedServer:
    """See the module. `raw`: the script reads the start-up packet itself.

    A CancelRequest is answered as PostgreSQL does, by closing, unless `on_cancel` says else.
    """

    def __init__(
        self,
        script: Callable[[Line], object],
        *,
        on_cancel: Callable[[Line], object] = Line.cut,
        unix: bool = False,
        raw: bool = False,
    ) -> None:
        self._script = script
        self._on_cancel = on_cancel
        self._raw = raw
        self._threads: list[threading.Thread] = []
        self._lines: list[Line] = []
        self._errors: list[BaseException] = []
        self._directory = tempfile.TemporaryDirectory(dir="/tmp") if unix else None
        if self._directory is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.host, self.port = "127.0.0.1", int(self._listener.getsockname()[1])
        else:
            self.host, self.port = self._directory.name, 5432
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(Path(self.host, ".s.PGSQL.5432")))
            self._listener.listen()
        self.cancels: list[bytes] = []
        self._start(self._accept)

    @property
    def dsn(self) -> str:
        return f"host={self.host} port={self.port} user=u dbname=d sslmode=disable"

    @property
    def connections(self) -> int:
        """How many connections were accepted so far, cancel requests included."""
        return len(self._lines)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line = Line(self._listener.accept()[0])
                self._lines.append(line)
                self._start(self._serve, line)

    def _serve(self, line: Line) -> None:
        try:
            if self._raw or self._greet(line):
                self._script(line)
        except (HungUp, ConnectionError):
            pass
        except BaseException as error:
            self._errors.append(error)
        finally:
            line.cut()

    def _greet(self, line: Line) -> bool:
        """Read the start-up packet; False if there is no session to follow."""
        code, body = line.read_untyped()
        while code == SSL_REQUEST:
            line.send(b"N")
            code, body = line.read_untyped()
        if code == CANCEL_REQUEST:
            self.cancels.append(body)
            self._on_cancel(line)
            return False
        words = body.decode().split("\0")
        line.startup = dict(zip(words[::2], words[1::2], strict=False))
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in tuple(self._lines):
            with suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)
        for thread in tuple(self._threads):
            thread.join(_PATIENCE)
            assert not thread.is_alive(), "a script has not come to its end"
        if self._directory is not None:
            self._directory.cleanup()
        if self._errors and kind is None:
            raise self._errors[0]
