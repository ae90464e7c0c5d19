"""A server's part of a login, in steps: between any two of them something can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.protocol.saslprep import prepare
from tests.support import backend
from tests.support.scram_server import Server
from tests.support.scripted import CLEARTEXT, MD5

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.scripted import Line

PASSWORD = "MARKER-password"
SCRAM = backend.sasl("SCRAM-SHA-256")

# Every step of every method.
POINTS = [("scram", n) for n in range(5)] + [
    (method, n) for method in ("cleartext", "md5", "oauth") for n in (1, 2)
]


class Login:
    """A server's part of a login, one step after the other; `said` is what the client answered."""

    def __init__(self, line: Line, *, iterations: int = 4096) -> None:
        self.line = line
        self.said: list[bytes] = []
        self._scram = Server(prepare(PASSWORD), iterations=iterations)

    def _ask(self, request: bytes) -> bytes:
        self.line.send(request)
        self.said += self.line.expect("p")
        return self.said[-1]

    def steps(self, method: str) -> Iterator[None]:
        yield
        if method == "scram":
            first = self._ask(SCRAM).split(b"\0", 1)[1][4:]
            yield
            final = self._ask(backend.authentication(11, self._scram.first(first)))
            yield
            self.line.send(backend.authentication(12, self._scram.final(final)))
        elif method == "oauth":
            self._ask(backend.sasl("OAUTHBEARER"))
        else:
            self._ask(CLEARTEXT if method == "cleartext" else MD5)
        yield
        self.line.send(backend.AUTHENTICATION_OK)
        yield
