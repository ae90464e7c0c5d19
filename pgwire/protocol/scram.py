"""SCRAM-SHA-256, with and without channel binding, and the answer to MD5 requests.

Knows the messages of a SCRAM exchange (RFC 5802, RFC 7677; manual: "SASL Authentication") and
what PostgreSQL allows in them; must not know the messages that carry them, sockets or TLS.
The nonce is an argument.

scramp is the engine: whenever it accepts what the server said, it does the arithmetic and
verifies the server. It is asked after our own checks, which are those of PostgreSQL and bound the
work, and imported when it is needed, as that takes long. `ScramKeys` is the supplement, for what
scramp cannot do (docs/decisions/0004-scram.md):

- passwords that PostgreSQL prepares in its own way (all but printable ASCII count as such);
- iterations, salts and extensions that PostgreSQL accepts and scramp does not;
- keys that are ready, or are to be, so that a pool's next connection skips the expensive hash
  (PBKDF2). Through a `KeyCache` the first login derives them, and the second finds them.

Secrets live in attributes of objects that are sealed (see `scram_keys`), not in local variables,
which tracebacks may show; they go when the exchange ends.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import a2b_base64
from enum import Enum
from typing import TYPE_CHECKING

from pgwire.errors import AuthenticationError, InterfaceError
from pgwire.protocol.saslprep import encode_password, prepare
from pgwire.protocol.scram_keys import KeyCache, ScramKeys, Sealed, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scramp import ScramClient

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"

# PostgreSQL takes the user's name from the startup message and ignores the one in here, which
# scramp wants not to be empty.
_USER = "*"

# The most that PostgreSQL's scram_iterations can be, and what PBKDF2 takes.
_MOST_ITERATIONS = 2**31 - 1

# PostgreSQL's default, which takes about a millisecond.
_QUICKLY_HASHED = 4_096
_HASHES = re.compile(rb",i=([0-9]+)")

# Attributes that RFC 5802 defines are no extensions; m= marks one that must be understood.
_EXTENSIONS = r"(?:,(?![aceimnprsv])[A-Za-z]=[^,\0]+)*"
_SERVER_FIRST = re.compile(rf"r=([^,]+),s=([^,]+),i=([^,]+){_EXTENSIONS}")
# 32 bytes have 43 digits, of which the last has two idle bits: zero, so that one text is right.
_SERVER_FINAL = re.compile(rf"v=([A-Za-z0-9+/]{{42}}[AEIMQUYcgkosw048]=){_EXTENSIONS}")
_NONCE = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_ITERATIONS = re.compile(r"[1-9][0-9]*")
# All of that at once, as it mostly comes; what it is that does not match, the others tell.
_USUAL_FIRST = re.compile(rf"r=({_NONCE.pattern}),s=({_BASE64.pattern}),i=([1-9][0-9]{{0,8}})")


class _Step(Enum):
    """How far an exchange has come; the value completes a sentence."""

    NEW = "has not begun"
    FIRST_SENT = "waits for the server's first message"
    FINAL_SENT = "waits for the server's final message"
    VERIFIED = "is complete"
    FAILED = "has failed"


class ScramExchange(Sealed):
    """One login by SCRAM: client_first(), client_final(), verify(), in this order, once each.

    `mechanism` is the one chosen. The login is good only when verify() has returned: an
    AuthenticationOk before that comes from a server that has not shown that it knows us.
    """

    __slots__ = (
        "_auth_message",
        "_binding",
        "_cache",
        "_client_first_bare",
        "_fingerprint",
        "_gs2_header",
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
        self._auth_message = b""
        self._max_iterations = max_iterations
        self._cache = keys if isinstance(keys, KeyCache) else None
        self._keys = keys if isinstance(keys, ScramKeys) else None
        self._fingerprint = self._signature = self._client_first_bare = b""
        self._nonce = nonce
        bindable = channel_binding is not None
        self.mechanism = self._choose(mechanisms, tls=tls or bindable, bindable=bindable)
        self._binding = self._checked(channel_binding)
        if self.mechanism == SCRAM_SHA_256_PLUS:
            self._gs2_header = b"p=tls-server-end-point,,"
        else:
            self._gs2_header = b"y,," if bindable else b"n,,"
        self._scramp = self._start_scramp()

    def __repr__(self) -> str:
        return f"<ScramExchange that {self._step.value}>"

    def suits(self, mechanisms: Sequence[str]) -> bool:
        """Whether it is the one that would be made for these."""
        if self.mechanism == SCRAM_SHA_256_PLUS:
            return SCRAM_SHA_256_PLUS in mechanisms
        return SCRAM_SHA_256 in mechanisms and SCRAM_SHA_256_PLUS not in mechanisms

    def client_first(self) -> bytes:
        """The client-first-message, for SASLInitialResponse."""
        self._advance(_Step.NEW, _Step.FIRST_SENT)
        self._client_first_bare = f"n={_USER},r={self._nonce}".encode("ascii")
        return self._gs2_header + self._client_first_bare

    def hashes_long(self, server_first: bytes) -> bool:
        """Whether its answer may take longer than `_QUICKLY_HASHED` iterations do.

        Some of the message will do, and what is around it does no harm.
        """
        match = _HASHES.search(server_first)
        return match is None or len(match[1]) > 5 or int(match[1]) > _QUICKLY_HASHED

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
            self._fingerprint = fingerprint(self._password, salt, iterations)
            self._keys = self._cache.find(self._fingerprint)
        if self._keys is None:
            if self._scramp is not None and (final := self._scramp_answers(text)) is not None:
                return final
            self._keys = ScramKeys.derive(self._password, salt, iterations)
        return self._answer(self._keys, nonce.encode("ascii"), server_first)

    def use_pause(self) -> None:
        """Do what can be done before the server's final message is there."""
        if self._step is _Step.FINAL_SENT and self._scramp is None:
            self._expect_signature()

    def _expect_signature(self) -> None:
        """What the server has to show, as base64, which has one form only."""
        if not self._signature:
            assert self._keys is not None
            self._signature = b64encode(self._keys.server_signature(self._auth_message))

    def verify(self, server_final: bytes) -> None:
        """Check by the server-final-message that the server knows the password's verifier.

        Raises: AuthenticationError: it does not, or it says that it ended the exchange.
        """
        self._advance(_Step.FINAL_SENT, _Step.FAILED)  # until it is shown to be otherwise
        match = _SERVER_FINAL.fullmatch(self._text(server_final))
        if match is None:
            raise self._failed("The server's final SCRAM message is malformed.")
        if self._scramp is not None:
            correct = self._scramp_verifies(match[1])
        else:
            self._expect_signature()
            correct = hmac.compare_digest(match[1].encode("ascii"), self._signature)
        if not correct:
            raise self._failed(
                "The server's SCRAM signature is wrong: it has let us in without knowing the "
                "password. It may not be the server that it claims to be."
            )
        if self._cache is not None and self._keys is not None:
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

    def _start_scramp(self) -> ScramClient | None:
        """scramp's client; None for what is ours to do."""
        if self._keys is not None or self._cache is not None:
            return None
        if not (self._password.isascii() and self._password.decode().isprintable()):
            return None
        # Imported here because that takes as long as some ten logins, and pools need none of it.
        from scramp import ScramClient

        # scramp picks the gs2 flag by whether a binding is given and used, and so says what we
        # say. It prepares what it gets; printable ASCII comes out as it went in.
        binding = None if self._binding is None else ("tls-server-end-point", self._binding)
        client = ScramClient(
            [self.mechanism],
            _USER,
            self._password.decode(),
            channel_binding=binding,
            c_nonce=self._nonce,
        )
        client.get_client_first()
        return client

    def _scramp_answers(self, server_first: str) -> bytes | None:
        """scramp's final message; None if it refuses to go on, where we do not."""
        from scramp import ScramException

        assert self._scramp is not None
        try:
            self._scramp.set_server_first(server_first)
        except ScramException:
            self._scramp = None
            return None
        message: str = self._scramp.get_client_final()
        return message.encode("ascii")

    def _scramp_verifies(self, signature: str) -> bool:
        from scramp import ScramException

        assert self._scramp is not None
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

    def _checked(self, channel_binding: tuple[str, bytes] | None) -> bytes | None:
        """The data of a binding, if there is one."""
        reason = ""
        if not _NONCE.fullmatch(self._nonce):
            reason = "the nonce has no characters, or some that none may have"
        elif channel_binding is not None and channel_binding[0] != "tls-server-end-point":
            reason = "there is no channel binding but tls-server-end-point"
        elif channel_binding is not None and not channel_binding[1]:
            reason = "the channel binding is empty"
        if reason:
            self.forget()
            raise InterfaceError(f"A SCRAM exchange cannot begin: {reason}.")
        return None if channel_binding is None else channel_binding[1]

    def _parse_server_first(self, text: str) -> tuple[str, bytes, int]:
        """Nonce, salt and iterations, or an error before anything is hashed."""
        match = _USUAL_FIRST.fullmatch(text)
        if (
            match is not None
            and match[2]
            and match[1].startswith(self._nonce)
            and len(match[1]) > len(self._nonce)
            and int(match[3]) <= (self._max_iterations or _MOST_ITERATIONS)
        ):
            return match[1], a2b_base64(match[2]), int(match[3])
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

    def _answer(self, keys: ScramKeys, nonce: bytes, server_first: bytes) -> bytes:
        """RFC 5802, 3: the message and its proof."""
        binding = self._gs2_header
        if self._binding is not None and self.mechanism == SCRAM_SHA_256_PLUS:
            binding += self._binding
        without_proof = b"c=%b,r=%b" % (b64encode(binding), nonce)
        message = b"%b,%b,%b" % (self._client_first_bare, server_first, without_proof)
        self._auth_message = message
        return b"%b,p=%b" % (without_proof, b64encode(keys.client_proof(message)))

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
        self._fingerprint = self._signature = self._auth_message = b""


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


def _shown(text: str) -> str:
    """The server's text, cut short and with everything unprintable escaped."""
    return repr(text if len(text) <= 100 else text[:100] + "…")
