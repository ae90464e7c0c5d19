"""Keys of SCRAM-SHA-256, which log in without the password, and the cache that holds a pool's.

Knows how they are derived and what they prove (RFC 5802, 3); must not know the messages of an
exchange (scram.py). Objects with secrets hide them in their repr and cannot be copied or pickled.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn

from pgwire.errors import InterfaceError


class Sealed:
    """The base of what holds secrets: not to be seen, copied or pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, contents hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and cannot be copied or pickled")


class ScramKeys(Sealed):
    """ClientKey and ServerKey (RFC 5802, 3), 32 bytes each: they log in without the password.

    They serve only where password, salt and iterations are those they were derived from: on
    one role of one server and its replicas. There they are as good as the password.
    """

    __slots__ = ("_client_key", "_server_key", "_stored_key")

    def __init__(self, client_key: bytes, server_key: bytes) -> None:
        """Raises: InterfaceError: a key is not 32 bytes long."""
        self._client_key = client_key
        self._server_key = server_key
        del client_key, server_key
        if len(self._client_key) != 32 or len(self._server_key) != 32:
            raise InterfaceError("A SCRAM-SHA-256 key has exactly 32 bytes.")
        self._stored_key = hashlib.sha256(self._client_key).digest()

    @classmethod
    def derive(cls, password: bytes, salt: bytes, iterations: int) -> ScramKeys:
        """The keys of a prepared password. Expensive by design: 0.2 to 0.4 µs per iteration."""
        salted_password = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        return cls(
            hmac.digest(salted_password, b"Client Key", "sha256"),
            hmac.digest(salted_password, b"Server Key", "sha256"),
        )

    def client_proof(self, auth_message: bytes) -> bytes:
        """ClientProof: shows that we know ClientKey to a server that knows only its hash."""
        signature = hmac.digest(self._stored_key, auth_message, "sha256")
        both = int.from_bytes(self._client_key, "big") ^ int.from_bytes(signature, "big")
        return both.to_bytes(32, "big")

    def server_signature(self, auth_message: bytes) -> bytes:
        """ServerSignature: what only a server that knows ServerKey can answer."""
        return hmac.digest(self._server_key, auth_message, "sha256")


class KeyCache(Sealed):
    """The keys of accepted passwords, for a pool: 16 at most, the oldest goes first.

    Looked up by a fingerprint of password, salt and iterations, so that a new password, salt
    or iteration count finds nothing; the password itself is not kept. An entry is made when
    the server has proved that it knows the keys, and dropped when a login with it fails.
    The fingerprint is a fast hash: whoever reads the memory may test guesses against it.

    May be shared by threads: each step on the dict is atomic, and at worst one hashes again.
    """

    __slots__ = ("_entries",)

    _SIZE = 16

    def __init__(self) -> None:
        self._entries: dict[bytes, ScramKeys] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, fingerprint: bytes) -> bool:
        return fingerprint in self._entries

    def find(self, fingerprint: bytes) -> ScramKeys | None:
        return self._entries.get(fingerprint)

    def keep(self, fingerprint: bytes, keys: ScramKeys) -> None:
        """Note that the password was accepted."""
        self._entries[fingerprint] = keys
        for oldest in list(self._entries)[: -self._SIZE]:
            self.drop(oldest)

    def drop(self, fingerprint: bytes) -> None:
        self._entries.pop(fingerprint, None)

    def clear(self) -> None:
        """Forget everything, as a pool does when it ends."""
        self._entries.clear()


def fingerprint(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Where a KeyCache keeps the keys: equal for equal inputs of ScramKeys.derive only."""
    return hashlib.sha256(b"%d,%d,%b%b" % (iterations, len(salt), salt, password)).digest()
