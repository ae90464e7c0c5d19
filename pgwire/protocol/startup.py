"""Startup: from the StartupMessage to the first ReadyForQuery (manual: "Start-up").

Authentication is a strict machine: one request, answered as it deserves, and then only what
belongs to it. Once SCRAM has begun nothing but its verified end leads on, so that a server
that does not know the password can neither let us in nor talk us into sending it in clear.
What may be sent is decided by the settings before anything is:

- a cleartext or MD5 password goes over an unencrypted network connection only where
  `allow_cleartext` says so (`exposed` is true for TCP without TLS to another machine);
- with `scram_only` the server may not ask for anything less, nor for nothing.

Before AuthenticationOk the server may send little, and nothing on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgwire.errors import (
    AuthenticationError,
    ConnectionFailed,
    ProgrammingError,
    ProtocolError,
)
from pgwire.protocol import backend, frontend
from pgwire.protocol.messages import SHORT, SHORT_BEFORE_LETTING_IN, BackendMessage
from pgwire.protocol.operation import Operation, Phase, too_long
from pgwire.protocol.saslprep import encode_password
from pgwire.protocol.scram import ScramExchange, md5_password
from pgwire.sqlstate import mixed_in, postgres_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgwire.config import Secret
    from pgwire.errors import PostgresError
    from pgwire.protocol.scram import KeyCache
    from pgwire.protocol.session import Session

OK, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 3, 5, 10, 11, 12
_OTHER_METHODS = {2: "Kerberos V5", 6: "SCM", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}

# Characters, four bytes each at most: below the server's bound, the message around it included.
_LONGEST_PASSWORD = 16_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """What Startup needs to know beyond the startup parameters."""

    user: str
    password: Secret | None = field(repr=False)
    nonce: str = field(repr=False)  # fresh randomness for SCRAM, from the shell
    tls: bool = False
    exposed: bool = True
    allow_cleartext: bool = False
    scram_only: bool = False
    max_iterations: int = 100_000
    keys: KeyCache | None = field(default=None, repr=False)  # what a pool has hashed before


class Startup(Operation):
    """The session is open once this operation is done without an error."""

    takes_asynchronous_messages = False
    usual_length = SHORT_BEFORE_LETTING_IN

    def __init__(self, parameters: Mapping[str, str], credentials: Credentials) -> None:
        self._parameters = parameters
        self._credentials = credentials
        self._scram: ScramExchange | None = None

    def begin(self, session: Session) -> bool:
        session.write(frontend.startup_message(self._parameters))
        self.session = session
        self.phase = self.AUTHENTICATING
        return True

    @property
    def hashes_next(self) -> bool:
        """Whether the next bytes may have it hash for milliseconds, or for longer."""
        return not self.done and self.phase is self.SCRAM_BEGUN

    def check_length(self, code: int, length: int) -> None:
        # Whoever has not let us in yet gets no more memory than it needs.
        super().check_length(code, length)
        if self.phase is not self.STARTING:
            limit = SHORT if code == BackendMessage.ERROR_RESPONSE else SHORT_BEFORE_LETTING_IN
            if length > limit:
                raise too_long(code, length)

    # ---------------------------------------------------------------- authentication

    def on_request(self, buffer: bytes, start: int, end: int) -> None:
        """The first request: it decides how we authenticate, if we are willing to."""
        code, data = backend.parse_authentication(buffer, start, end)
        if code == SASL:
            self._begin_scram(backend.parse_sasl_mechanisms(data))
        elif code == OK:
            if self._credentials.scram_only:
                raise AuthenticationError(
                    "the server let us in without SCRAM, which secure=True demands"
                )
            self._let_in(data)
        elif code == CLEARTEXT and not data:
            self._send_password("a cleartext password")
        elif code == MD5 and len(data) == 4:
            self._send_password("an MD5 password", salt=data)
        elif code in _OTHER_METHODS:
            raise AuthenticationError(
                f"the server asks for {_OTHER_METHODS[code]}, which is not supported"
            )
        elif code in (CLEARTEXT, MD5):
            raise backend.malformed("AUTHENTICATION")
        else:
            raise ProtocolError(f"the server asks for an unknown authentication method ({code})")

    def _password(self) -> Secret:
        password = self._credentials.password
        if password is None:
            raise AuthenticationError("the server asks for a password, and none was given")
        # Found here and not where it is encoded, whose frames would show it in a traceback.
        if "\0" in password.reveal() or len(password.reveal()) > _LONGEST_PASSWORD:
            raise ProgrammingError(
                "the password holds a NUL character, or is longer than PostgreSQL can take"
            )
        return password

    def _send_password(self, what: str, salt: bytes | None = None) -> None:
        credentials = self._credentials
        if credentials.scram_only:
            raise AuthenticationError(f"the server asks for {what}; secure=True allows SCRAM only")
        if credentials.exposed and not credentials.allow_cleartext:
            raise AuthenticationError(
                f"the server asks for {what} over an unencrypted connection; use TLS "
                "(sslmode=require or better), or pass allow_cleartext=True if the network "
                "is trusted"
            )
        password = self._password()
        self.session.write(
            frontend.password_message(
                encode_password(password.reveal())
                if salt is None
                else md5_password(credentials.user, password.reveal(), salt)
            )
        )
        self.phase = self.PASSWORD_SENT

    def _begin_scram(self, mechanisms: list[str]) -> None:
        credentials = self._credentials
        self._scram = ScramExchange(
            mechanisms,
            password=self._password().reveal(),
            nonce=credentials.nonce,
            max_iterations=credentials.max_iterations,
            tls=credentials.tls,
            keys=credentials.keys,
        )
        first = self._scram.client_first()
        self.session.write(frontend.sasl_initial_response(self._scram.mechanism, first))
        self.phase = self.SCRAM_BEGUN

    def on_scram_challenge(self, buffer: bytes, start: int, end: int) -> None:
        assert self._scram is not None
        final = self._scram.client_final(self._expect(SASL_CONTINUE, buffer, start, end))
        self.session.write(frontend.sasl_response(final))
        self.phase = self.SCRAM_ANSWERED

    def on_scram_outcome(self, buffer: bytes, start: int, end: int) -> None:
        assert self._scram is not None
        self._scram.verify(self._expect(SASL_FINAL, buffer, start, end))
        self.phase = self.PASSWORD_SENT

    def on_outcome(self, buffer: bytes, start: int, end: int) -> None:
        self._let_in(self._expect(OK, buffer, start, end))

    @staticmethod
    def _expect(expected: int, buffer: bytes, start: int, end: int) -> bytes:
        """The body of the one request that may come now; anything else ends it here."""
        code, data = backend.parse_authentication(buffer, start, end)
        if code != expected:
            # Not a slip but the way to steal a password: begin with the strong method, then
            # ask for a weaker one, or let the client in without having proved anything.
            raise AuthenticationError(
                "the server left the authentication that it had begun; nothing more was sent"
            )
        return data

    # ---------------------------------------------------------------- after AuthenticationOk

    def _let_in(self, data: bytes) -> None:
        if data:
            raise backend.malformed("AUTHENTICATION")
        self.phase = self.STARTING

    def on_key(self, buffer: bytes, start: int, end: int) -> None:
        if self.session.backend_key is not None:
            raise self.session.unexpected(self, BackendMessage.BACKEND_KEY_DATA)
        self.session.backend_key = backend.parse_backend_key_data(buffer, start, end)

    def on_asynchronous(self, buffer: bytes, start: int, end: int) -> None:
        self.session.receive_asynchronous(buffer[start - 5], buffer, start, end)

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        self._scram = None
        super().on_ready(buffer, start, end)
        self.session.pass_floor()

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        error = postgres_error(backend.parse_fields(buffer, start, end))
        if self._scram is not None:
            self._scram.forget()  # keys that were refused are not to be tried again
        self.session.fail(mixed_in(failure_class(error), error))

    AUTHENTICATING = Phase(
        "AUTHENTICATING",
        {BackendMessage.AUTHENTICATION: on_request, BackendMessage.ERROR_RESPONSE: on_error},
    )
    SCRAM_BEGUN = Phase(
        "SCRAM_BEGUN",
        {
            BackendMessage.AUTHENTICATION: on_scram_challenge,
            BackendMessage.ERROR_RESPONSE: on_error,
        },
    )
    SCRAM_ANSWERED = Phase(
        "SCRAM_ANSWERED",
        {BackendMessage.AUTHENTICATION: on_scram_outcome, BackendMessage.ERROR_RESPONSE: on_error},
    )
    # The password is sent, or SCRAM's end is verified: Ok is all that is missing.
    PASSWORD_SENT = Phase(
        "PASSWORD_SENT",
        {BackendMessage.AUTHENTICATION: on_outcome, BackendMessage.ERROR_RESPONSE: on_error},
    )
    STARTING = Phase(
        "STARTING",
        {
            BackendMessage.BACKEND_KEY_DATA: on_key,
            BackendMessage.PARAMETER_STATUS: on_asynchronous,
            BackendMessage.NOTICE_RESPONSE: on_asynchronous,
            BackendMessage.NOTIFICATION_RESPONSE: on_asynchronous,
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
    )
    PHASES = (AUTHENTICATING, SCRAM_BEGUN, SCRAM_ANSWERED, PASSWORD_SENT, STARTING)


def failure_class(error: PostgresError) -> type[ConnectionFailed]:
    """What a server's refusal means to whoever wanted to connect."""
    return AuthenticationError if error.sqlstate.startswith("28") else ConnectionFailed
