"""Credentials: what we have to show, and what of it the settings let us show to whom.

Every request of the server's is judged here before anything is sent:

- `methods` are those that it may use (`require_auth`, `secure`); "none" among them means that
  it may let us in without asking;
- a cleartext or MD5 password goes over an unencrypted network connection only where
  `allow_cleartext` says so (`exposed` is true for TCP without TLS to another machine), a token
  never does;
- with channel_binding=require nothing but SCRAM-SHA-256-PLUS is answered, and with `secure`
  neither, where the server's certificate allows it.

Must not know the messages of a login, and in which order they come (startup.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgwire.demands import ALL_METHODS
from pgwire.errors import AuthenticationError, Error, ProgrammingError
from pgwire.protocol.certificate import end_point
from pgwire.protocol.oauth import OAUTHBEARER, check_token
from pgwire.protocol.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramExchange
from pgwire.protocol.scram_keys import ScramKeys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.config import Secret
    from pgwire.protocol.scram_keys import KeyCache

# Characters, four bytes each at most: below the server's bound, the message around it included.
_LONGEST_PASSWORD = 16_000

_WORDS = {"password": "a cleartext password", "md5": "an MD5 password"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What Startup needs to know beyond the startup parameters."""

    user: str
    password: Secret | None = field(repr=False)
    nonce: str = field(repr=False)  # fresh randomness for SCRAM, from the shell
    tls: bool = False
    certificate: bytes | None = field(default=None, repr=False)  # the server's, as DER
    exposed: bool = True
    allow_cleartext: bool = False
    secure: bool = False
    methods: frozenset[str] = ALL_METHODS
    channel_binding: str = "prefer"
    max_iterations: int = 100_000
    # What a pool has hashed before, or what is there in the password's place.
    keys: KeyCache | ScramKeys | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)  # for OAuth

    def check_let_in(self) -> None:
        """Raises: AuthenticationError: the server may not let us in without asking anything."""
        if self.channel_binding == "require":
            raise AuthenticationError(
                "the server let us in without channel binding, which channel_binding=require "
                "demands"
            )
        if "none" not in self.methods:
            raise AuthenticationError(
                "the server let us in without asking for anything, which "
                f"{self._demand} does not allow"
            )

    def password_for(self, method: str) -> Secret:
        """The password, if it may be sent by this method ("password" or "md5").

        Raises: AuthenticationError: it may not, or there is none. ProgrammingError: no server
            can take it.
        """
        what = _WORDS[method]
        self._check_allowed(method, what)
        if self.exposed and not self.allow_cleartext:
            raise AuthenticationError(
                f"the server asks for {what} over an unencrypted connection; use TLS "
                "(sslmode=require or better), or pass allow_cleartext=True if the network "
                "is trusted"
            )
        return self._checked_password()

    def foresee(self) -> ScramExchange | None:
        """The exchange that the server will most likely ask for, for `begin_sasl`.

        To be made while the server takes its time. None where it would not come to one, which
        is told when it is asked for.
        """
        if self.token is not None or "scram-sha-256" not in self.methods:
            return None
        if self.password is None and not isinstance(self.keys, ScramKeys):
            return None
        both = (SCRAM_SHA_256_PLUS, SCRAM_SHA_256)
        try:
            return self._begin_scram(both if self.tls else (SCRAM_SHA_256,), None)
        except Error:
            return None

    def begin_sasl(
        self, mechanisms: Sequence[str], foreseen: ScramExchange | None = None
    ) -> ScramExchange | Secret:
        """The answer to what the server offers: a SCRAM exchange, or the token for OAuth.

        SCRAM comes first, as it proves the server too, if there is something to do it with. What
        was `foreseen` is used if it is the right one.

        Raises: AuthenticationError: nothing that is offered can be used, or may be.
            ProgrammingError: no server can take the password, or the token.
        """
        offers_scram = SCRAM_SHA_256 in mechanisms or SCRAM_SHA_256_PLUS in mechanisms
        can_scram = self.password is not None or isinstance(self.keys, ScramKeys)
        if OAUTHBEARER in mechanisms:
            prefers_scram = can_scram and "scram-sha-256" in self.methods
            if not offers_scram or (self.token is not None and not prefers_scram):
                return self._checked_token()
        self._check_allowed("scram-sha-256", "SCRAM-SHA-256" if offers_scram else "SASL")
        return self._begin_scram(mechanisms, foreseen)

    def _begin_scram(
        self, mechanisms: Sequence[str], foreseen: ScramExchange | None
    ) -> ScramExchange:
        if foreseen is not None and foreseen.suits(mechanisms):
            return foreseen
        binding = self._binding()
        ready = isinstance(self.keys, ScramKeys)
        exchange = ScramExchange(
            mechanisms,
            password="" if ready else self._checked_password().reveal(),
            nonce=self.nonce,
            max_iterations=self.max_iterations,
            channel_binding=binding,
            tls=self.tls,
            keys=self.keys,
        )
        is_demanded = self.channel_binding == "require" or (self.secure and binding is not None)
        if is_demanded and exchange.mechanism != SCRAM_SHA_256_PLUS:
            exchange.forget()
            demand = "secure=True" if self.secure else "channel_binding=require"
            raise AuthenticationError(
                f"the server does not offer SCRAM-SHA-256-PLUS, which {demand} demands"
            )
        return exchange

    def _binding(self) -> tuple[str, bytes] | None:
        """What binds a login to this connection; None where nothing can, or may."""
        demanded = self.channel_binding == "require"
        if not self.tls and demanded:
            raise AuthenticationError("channel_binding=require needs TLS, and there is none here")
        if not self.tls or self.channel_binding == "disable":
            return None
        data = None if self.certificate is None else end_point(self.certificate)
        if data is None and demanded:
            raise AuthenticationError(
                "channel_binding=require cannot be met: there is no binding to a certificate that "
                "is signed like the server's (by Ed25519, say)"
            )
        return None if data is None else ("tls-server-end-point", data)

    def _check_allowed(self, method: str, what: str) -> None:
        if method not in self.methods:
            raise AuthenticationError(
                f"the server asks for {what}, which {self._demand} does not allow"
            )
        if self.channel_binding == "require" and method != "scram-sha-256":
            raise AuthenticationError(
                f"the server asks for {what}, and channel_binding=require demands "
                "SCRAM-SHA-256-PLUS"
            )

    @property
    def _demand(self) -> str:
        return "secure=True" if self.secure else "require_auth"

    def _checked_password(self) -> Secret:
        password = self.password
        if password is None:
            error = AuthenticationError(
                "the server asks for a password, and none was given, by password=, PGPASSWORD"
                " or a password file"
            )
            error.lacks_password = True
            raise error
        # Found here and not where it is encoded, whose frames would show it in a traceback.
        if "\0" in password.reveal() or len(password.reveal()) > _LONGEST_PASSWORD:
            raise ProgrammingError(
                "the password holds a NUL character, or is longer than PostgreSQL can take"
            )
        return password

    def _checked_token(self) -> Secret:
        self._check_allowed("oauth", "an OAuth token")
        if self.token is None:
            raise AuthenticationError(
                "the server asks for an OAuth token: give oauth_token, a function that fetches one"
            )
        if self.exposed:
            raise AuthenticationError(
                "the server asks for an OAuth token over an unencrypted connection; use TLS "
                "(sslmode=verify-full): whoever gets the token can use it"
            )
        check_token(self.token)
        return self.token
