"""The server's side of SCRAM, and what tests of the client's side share."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scramp import ScramMechanism

from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram import SCRAM_SHA_256, ScramExchange
from pgwire.protocol.scram_keys import ScramKeys

if TYPE_CHECKING:
    import pytest

AuthInfo = Callable[[str], tuple[bytes, bytes, bytes, int]]

NONCE = "fyko+d2lbbFgONRv9qkxdawL"
SALT = b"0123456789abcdef"
SECRET = "hunter2-hunter2"

# scramp serves the first, the supplement the second.
EITHER_ENGINE = ["plain", "pass😀word"]


class Server:
    """The server's side by the letter of RFC 5802, for any password, salt and iterations."""

    def __init__(
        self,
        password: bytes,
        *,
        salt: bytes = SALT,
        iterations: int = 4096,
        binding: bytes = b"",
        extensions: str = "",
    ) -> None:
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        client_key = hmac.new(salted, b"Client Key", "sha256").digest()
        self.stored_key = hashlib.sha256(client_key).digest()
        self.server_key = hmac.new(salted, b"Server Key", "sha256").digest()
        self.salt = salt
        self.iterations = iterations
        self.binding = binding
        self.extensions = extensions

    def auth_info(self, user: str) -> tuple[bytes, bytes, bytes, int]:
        """What scramp's server wants to know."""
        return self.salt, self.stored_key, self.server_key, self.iterations

    def first(self, client_first: bytes) -> bytes:
        flag, _, self.client_first_bare = client_first.split(b",", 2)
        self.gs2_header = flag + b",,"
        self.nonce = self.client_first_bare.split(b",r=")[1] + b"3rfcNHYJY1ZVvWVs7j"
        salt = b64encode(self.salt)
        self.server_first = b"r=%b,s=%b,i=%d" % (self.nonce, salt, self.iterations)
        self.server_first += self.extensions.encode()
        return self.server_first

    def final(self, client_final: bytes) -> bytes:
        without_proof, proof = client_final.split(b",p=")
        expected = b64encode(self.gs2_header + self.binding)
        assert without_proof == b"c=%b,r=%b" % (expected, self.nonce)
        message = b",".join((self.client_first_bare, self.server_first, without_proof))
        signature = hmac.new(self.stored_key, message, "sha256").digest()
        key = bytes(a ^ b for a, b in zip(b64decode(proof), signature, strict=True))
        if hashlib.sha256(key).digest() != self.stored_key:
            raise PermissionError
        return b"v=" + b64encode(hmac.new(self.server_key, message, "sha256").digest())


def exchange(password: str = SECRET, **options: Any) -> ScramExchange:
    return ScramExchange([SCRAM_SHA_256], password=password, nonce=NONCE, **options)


def log_in(client: ScramExchange, server: Server) -> None:
    client.verify(server.final(client.client_final(server.first(client.client_first()))))


def log_in_at_scramp(
    client: ScramExchange, auth_info: AuthInfo, binding: tuple[str, bytes] | None = None
) -> None:
    """The same with scramp's server, which refuses by raising ScramException."""
    mechanism = ScramMechanism(client.mechanism)
    scramp = mechanism.make_server(auth_info, channel_binding=binding, s_nonce="x")
    scramp.set_client_first(client.client_first().decode())
    scramp.set_client_final(client.client_final(scramp.get_server_first().encode()).decode())
    client.verify(scramp.get_server_final().encode())


def at_final(password: str = SECRET, **options: Any) -> tuple[ScramExchange, bytes]:
    """An exchange that waits for the final message, and the right one."""
    client = exchange(password, **options)
    server = Server(prepare(password), iterations=1 if password == "quick" else 4096)
    return client, server.final(client.client_final(server.first(client.client_first())))


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on, the iterations of every PBKDF2 that runs, scramp's and ours."""
    counts: list[int] = []
    original = hashlib.pbkdf2_hmac

    def counting(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        counts.append(iterations)
        return original(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting)
    return counts


def forbid_supplement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever logs in from now on does it through scramp."""

    def refuse(*_: object) -> ScramKeys:
        raise AssertionError("the supplement was used")

    monkeypatch.setattr(ScramKeys, "derive", refuse)
