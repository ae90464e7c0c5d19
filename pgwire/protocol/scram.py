"""SCRAM-SHA-256, with and without channel binding, and the answer to MD5 requests.

Knows the messages of a SCRAM exchange (RFC 5802, RFC 7677; manual: "SASL Authentication") and
what PostgreSQL allows in them; must not know the messages that carry them, sockets or TLS.
The nonce is an argument.

scramp is the engine: it writes the first message and, whenever it accepts what the server
said, does the arithmetic and verifies the server. It is asked after our own checks, which are
those of PostgreSQL and bound the work. `ScramKeys` is the supplement, for what scramp cannot do
(docs/decisions/0004-scram.md):

- passwords that PostgreSQL prepares in its own way (all but printable ASCII count as such);
- iterations, salts and extensions that PostgreSQL accepts and scramp does not;
- keys that are ready, so that a pool's next connection skips the expensive hash (PBKDF2).

Through a `KeyCache` the first login is scramp's and proves the password, the second derives
the keys, and the third finds them. No login hashes twice.

Secrets live in attributes of objects that hide them in their repr and cannot be copied or
pickled, not in local variables, which tracebacks may show; they go when the exchange ends.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from scramp import ScramClient, ScramException

from pgwire.errors import AuthenticationError, InterfaceError
from pgwire.protocol.saslprep import encode_password, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"

# PostgreSQL takes the user's name from the startup message and ignores the one in here, which
# scramp wants not to be empty.
_USER = "*"

# The most that PostgreSQL's scram_iterations can be, and what PBKDF2 takes.
_MOST_ITERATIONS = 2**31 - 1

# Attributes that RFC 5802 defines are no extensions; m= marks one that must be understood.
_EXTENSIONS = r"(?:,(?![aceimnprsv])[A-Za-z]=[^,\0]+)*"
_SERVER_FIRST = re.compile(rf"r=([^,]+),s=([^,]+),i=([^,]+){_EXTENSIONS}")
# 32 bytes have 43 digits, of which the last has two idle bits: zero, so that one text is right.
_SERVER_FINAL = re.compile(rf"v=([A-Za-z0-9+/]{{42}}[AEIMQUYcgkosw048]=){_EXTENSIONS}")
_NONCE = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_ITERATIONS = re.compile(r"[1-9][0-9]*")


class _Sealed:
    """The base of what holds secrets: not to be seen, copied or pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, contents hidden>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and cannot be copied or pickled")


class ScramKeys(_Sealed):
    """ClientKey and ServerKey (RFC 5802, 3), 32 bytes each: they log in without the password.

    They serve only where password, salt and iterations are those they were derived from: on
    one role of one server and its replicas. There they are as good as the password.
    """

    __slots__ = ("_client_key", "_server_key")

    def __init__(self, client_key: bytes, server_key: bytes) -> None:
        """Raises: InterfaceError: a key is not 32 bytes long."""
        self._client_key = client_key
        self._server_key = server_key
        del client_key, server_key
        if len(self._client_key) != 32 or len(self._server_key) != 32:
            raise InterfaceError("A SCRAM-SHA-256 key has exactly 32 bytes.")

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
        stored_key = hashlib.sha256(self._client_key).digest()
        signature = hmac.digest(stored_key, auth_message, "sha256")
        return bytes(a ^ b for a, b in zip(self._client_key, signature, strict=True))

    def server_signature(self, auth_message: bytes) -> bytes:
        """ServerSignature: what only a server that knows ServerKey can answer."""
        return hmac.digest(self._server_key, auth_message, "sha256")


class KeyCache(_Sealed):
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
        self._entries: dict[bytes, ScramKeys | None] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, fingerprint: bytes) -> bool:
        """Has this password been accepted before? Its keys may not have been derived yet."""
        return fingerprint in self._entries

    def find(self, fingerprint: bytes) -> ScramKeys | None:
        return self._entries.get(fingerprint)

    def keep(self, fingerprint: bytes, keys: ScramKeys | None) -> None:
        """Note that the password was accepted, with its keys if they have been derived."""
        if keys is not None or fingerprint not in self._entries:
            self._entries[fingerprint] = keys
        for oldest in list(self._entries)[: -self._SIZE]:
            self.drop(oldest)

    def drop(self, fingerprint: bytes) -> None:
        self._entries.pop(fingerprint, None)

    def clear(self) -> None:
        """Forget everything, as a pool does when it ends."""
        self._entries.clear()


class _Step(Enum):
    """How far an exchange has come; the value completes a sentence."""

    NEW = "has not begun"
    FIRST_SENT = "waits for the server's first message"
    FINAL_SENT = "waits for the server's final message"
    VERIFIED = "is complete"
    FAILED = "has failed"


class ScramExchange(_Sealed):
    """One login by SCRAM: client_first(), client_final(), verify(), in this order, once each.

    `mechanism` is the one chosen. The login is good only when verify() has returned: an
    AuthenticationOk before that comes from a server that has not shown that it knows us.
    """

    __slots__ = (
        "_binding_input",
        "_cache",
        "_client_first_bare",
        "_fingerprint",
        "_fits_scramp",
        "_keys",
        "_max_iterations",
        "_nonce",
        "_password",
        "_scramp",
        "_signature",
        "_step",
        "mechanism",
    )

    def __init__(
        self,
        mechanisms: Sequence[str],
        *,
        password: str,
        nonce: str,
        max_iterations: int = 100_000,
        channel_binding: tuple[str, bytes] | None = None,
        tls: bool = False,
        keys: ScramKeys | KeyCache | None = None,
    ) -> None:
        """Choose among the mechanisms that the server offers, in any order; others are ignored.

        nonce: fresh randomness, printable ASCII without commas.
        max_iterations: refuse to hash more often than this; 0: PostgreSQL's own maximum.
        channel_binding: ("tls-server-end-point", hash of the server's certificate) if this
            connection can be bound, which implies TLS: -PLUS is used where it is offered, and
            the server is told that we could have (gs2 flag "y") where it is not. None: no TLS,
            or binding is disabled, or the certificate has no such hash: never -PLUS, and the
            flag "n". Whoever requires binding checks `mechanism`.
        tls: the connection is encrypted, with or without a binding.
        keys: ready keys, in place of the password (""); or a cache to find them in.

        Raises: AuthenticationError: no offered mechanism can be used, or -PLUS is offered
            without TLS, so that someone has stripped it. InterfaceError: a bad nonce or binding.
        """
        self._password = prepare(password)
        del password
        self._step = _Step.NEW
        self._max_iterations = max_iterations
        self._cache = keys if isinstance(keys, KeyCache) else None
        self._keys = keys if isinstance(keys, ScramKeys) else None
        self._fingerprint = self._signature = self._client_first_bare = b""
        self._nonce = nonce
        bindable = channel_binding is not None
        self.mechanism = self._choose(mechanisms, tls=tls or bindable, bindable=bindable)
        self._fits_scramp = self._password.isascii() and self._password.decode().isprintable()
        self._scramp = self._start_scramp(channel_binding)
        data = b"" if channel_binding is None else channel_binding[1]
        self._binding_input = data if self.mechanism == SCRAM_SHA_256_PLUS else b""

    def __repr__(self) -> str:
        return f"<ScramExchange that {self._step.value}>"

    def client_first(self) -> bytes:
        """The client-first-message, for SASLInitialResponse."""
        self._advance(_Step.NEW, _Step.FIRST_SENT)
        message: str = self._scramp.get_client_first()
        encoded = message.encode("ascii")
        flag, authorization, self._client_first_bare = encoded.split(b",", 2)
        self._binding_input = b"%b,%b,%b" % (flag, authorization, self._binding_input)
        return encoded

    def client_final(self, server_first: bytes) -> bytes:
        """The client-final-message, in answer to the server-first-message.

        Hashes, unless keys are ready: about 1 to 2 ms for the usual 4,096 iterations.

        Raises: AuthenticationError: the message is not one that a PostgreSQL server sends in
            this exchange, or asks for more than max_iterations. Nothing was hashed.
        """
        self._advance(_Step.FIRST_SENT, _Step.FINAL_SENT)
        text = self._text(server_first)
        nonce, salt, iterations = self._parse_server_first(text)
        if self._cache is not None:
            self._fingerprint = _fingerprint(self._password, salt, iterations)
            self._keys = self._cache.find(self._fingerprint)
        if self._keys is None:
            if not self._worth_deriving() and self._scramp_accepts(text):
                message: str = self._scramp.get_client_final()
                return message.encode("ascii")
            self._keys = ScramKeys.derive(self._password, salt, iterations)
        return self._answer(self._keys, nonce.encode("ascii"), server_first)

    def verify(self, server_final: bytes) -> None:
        """Check by the server-final-message that the server knows the password's verifier.

        Raises: AuthenticationError: it does not, or it says that it ended the exchange.
        """
        self._advance(_Step.FINAL_SENT, _Step.FAILED)  # until it is shown to be otherwise
        match = _SERVER_FINAL.fullmatch(self._text(server_final))
        if match is None:
            raise self._failed("The server's final SCRAM message is malformed.")
        if self._keys is None:
            correct = self._scramp_verifies(match[1])
        else:
            correct = hmac.compare_digest(b64decode(match[1]), self._signature)
        if not correct:
            raise self._failed(
                "The server's SCRAM signature is wrong: it has let us in without knowing the "
                "password. It may not be the server that it claims to be."
            )
        if self._cache is not None:
            self._cache.keep(self._fingerprint, self._keys)
        self._step = _Step.VERIFIED
        self._clear()

    def forget(self) -> None:
        """End the exchange as failed: secrets go, and cached keys that it used.

        For an ErrorResponse in place of an answer, say because the password is wrong now.
        After verify() it changes nothing.
        """
        if self._step is not _Step.VERIFIED:
            self._step = _Step.FAILED
            if self._cache is not None:
                self._cache.drop(self._fingerprint)
            self._clear()

    # What scramp does.

    def _start_scramp(self, channel_binding: tuple[str, bytes] | None) -> ScramClient:
        """A scramp client: it picks the gs2 flag by whether a binding is given and used."""
        try:
            return ScramClient(
                [self.mechanism],
                _USER,
                # scramp prepares what it gets; printable ASCII comes out as it went in.
                self._password.decode() if self._fits_scramp else "not used",
                channel_binding=channel_binding,
                c_nonce=self._nonce,
            )
        except ScramException as error:
            reason = str(error)
        # Not inside the except: the context's frames would hold the password.
        self.forget()
        raise InterfaceError(f"A SCRAM exchange cannot begin: {reason}.")

    def _scramp_accepts(self, server_first: str) -> bool:
        """Can scramp go on? What has passed our checks and not its own is ours to do."""
        if not self._fits_scramp:
            return False
        try:
            self._scramp.set_server_first(server_first)
        except ScramException:
            return False
        return True

    def _scramp_verifies(self, signature: str) -> bool:
        try:
            self._scramp.set_server_final(f"v={signature}")
        except ScramException:
            return False
        return True

    # What is ours.

    def _choose(self, mechanisms: Sequence[str], *, tls: bool, bindable: bool) -> str:
        """The best mechanism of those offered that this connection can use."""
        if SCRAM_SHA_256_PLUS in mechanisms:
            if not tls:
                raise self._failed(
                    f"The server offers {SCRAM_SHA_256_PLUS} on a connection without TLS: "
                    "someone in between may have removed the encryption."
                )
            if bindable:
                return SCRAM_SHA_256_PLUS
        if SCRAM_SHA_256 in mechanisms:
            return SCRAM_SHA_256
        offered = _shown(", ".join(mechanisms)) if mechanisms else "nothing"
        wanted = f"{SCRAM_SHA_256} or {SCRAM_SHA_256_PLUS}" if bindable else SCRAM_SHA_256
        raise self._failed(f"The server offers {offered} for SASL, and {wanted} is needed.")

    def _parse_server_first(self, text: str) -> tuple[str, bytes, int]:
        """Nonce, salt and iterations, or an error before anything is hashed."""
        match = _SERVER_FIRST.fullmatch(text)
        if match is None:
            raise self._failed("The server's first SCRAM message is malformed.")
        nonce, encoded_salt, iterations = match.groups()
        if not _NONCE.fullmatch(nonce):
            raise self._failed("The server's SCRAM nonce holds characters that none may hold.")
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise self._failed("The server's SCRAM nonce does not continue the one that we sent.")
        # b64decode by itself lets padding pass that is not due.
        if not _BASE64.fullmatch(encoded_salt):
            raise self._failed("The server's SCRAM salt is not base64.")
        return nonce, b64decode(encoded_salt), self._parse_iterations(iterations)

    def _parse_iterations(self, text: str) -> int:
        if not _ITERATIONS.fullmatch(text):
            raise self._failed("The server's SCRAM iteration count is not a positive integer.")
        # Never int() of any length: it is quadratic, and refuses thousands of digits.
        most = min(self._max_iterations or _MOST_ITERATIONS, _MOST_ITERATIONS)
        if len(text) > len(str(most)) or int(text) > most:
            raise self._failed(
                f"The server asks for {_shown(text)} SCRAM iterations, more than the {most} that "
                f"are allowed (scram_max_iterations={self._max_iterations})."
            )
        return int(text)

    def _worth_deriving(self) -> bool:
        """Has this password been accepted before, so that more logins are likely to follow?"""
        return self._cache is not None and self._fingerprint in self._cache

    def _answer(self, keys: ScramKeys, nonce: bytes, server_first: bytes) -> bytes:
        """RFC 5802, 3: the message, its proof, and the signature to expect."""
        without_proof = b"c=%b,r=%b" % (b64encode(self._binding_input), nonce)
        auth_message = b"%b,%b,%b" % (self._client_first_bare, server_first, without_proof)
        self._signature = keys.server_signature(auth_message)
        return b"%b,p=%b" % (without_proof, b64encode(keys.client_proof(auth_message)))

    def _text(self, message: bytes) -> str:
        """The message as text; a failed exchange if it is none, or reports an error."""
        try:
            text = message.decode()
        except UnicodeDecodeError:
            text = ""
        if not text:
            raise self._failed("A SCRAM message of the server is empty or is not UTF-8.")
        if text.startswith("e="):
            raise self._failed(f"The server ended the SCRAM exchange: {_shown(text[2:])}.")
        return text

    def _advance(self, expected: _Step, following: _Step) -> None:
        if self._step is not expected:
            raise InterfaceError(f"Called out of order: this SCRAM exchange {self._step.value}.")
        self._step = following

    def _failed(self, reason: str) -> AuthenticationError:
        self.forget()
        return AuthenticationError(reason)

    def _clear(self) -> None:
        self._password = b""
        self._keys = None
        self._scramp = None
        self._fingerprint = self._signature = b""


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """The answer to AuthenticationMD5Password, without the NUL that ends it in its message.

    Raises: AuthenticationError: the salt is not exactly 4 bytes long.
    """
    shadow = hashlib.md5(
        encode_password(password) + encode_password(user), usedforsecurity=False
    ).hexdigest()
    del password
    if len(salt) != 4:
        del shadow
        raise AuthenticationError("The server's salt for an MD5 password is not 4 bytes long.")
    digest = hashlib.md5(shadow.encode("ascii") + salt, usedforsecurity=False)
    return b"md5" + digest.hexdigest().encode("ascii")


def _fingerprint(password: bytes, salt: bytes, iterations: int) -> bytes:
    """Where a KeyCache keeps the keys: equal for equal inputs of ScramKeys.derive only."""
    digest = hashlib.sha256(b"%d,%d," % (iterations, len(salt)))
    digest.update(salt)
    digest.update(password)
    return digest.digest()


def _shown(text: str) -> str:
    """The server's text, cut short and with everything unprintable escaped."""
    return repr(text if len(text) <= 100 else text[:100] + "…")
