"""Startup: from the StartupMessage to the first ReadyForQuery (manual: "Start-up").

Authentication is a strict machine: one request, answered as it deserves, and then only what
belongs to it. Once SCRAM has begun nothing but its verified end leads on, so that a server
that does not know the password can neither let us in nor talk us into sending it in clear.
What may be sent is decided by the settings before anything is: see `credentials`.

The version of the protocol is agreed on before that: the server may answer the newest that we
speak with an older one, once, and that is all that it may have to say about our message.

Before AuthenticationOk the server may send little, and nothing on its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgwire.demands import PROTOCOL_3_0
from pgwire.errors import (
    AuthenticationError,
    ConnectionFailed,
    NotSupportedError,
    ProtocolError,
)
from pgwire.protocol import backend, frontend, oauth
from pgwire.protocol.messages import SHORT, SHORT_BEFORE_LETTING_IN, BackendMessage
from pgwire.protocol.operation import Operation, Phase, too_long
from pgwire.protocol.saslprep import encode_password
from pgwire.protocol.scram import (
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    ScramExchange,
    md5_password,
)
from pgwire.protocol.welcome import take_welcome
from pgwire.sqlstate import mixed_in, postgres_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgwire.errors import PostgresError
    from pgwire.protocol.credentials import Credentials
    from pgwire.protocol.session import Session

OK, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 3, 5, 10, 11, 12
_OTHER_METHODS = {2: "Kerberos V5", 6: "SCM", 7: "GSSAPI", 8: "GSSAPI", 9: "SSPI"}
_INSTEAD = (
    "which pgwire does not speak: have the server's pg_hba.conf ask this client for "
    "scram-sha-256, for a certificate (cert), or for oauth"
)

# What a server mostly offers who can take up this mechanism.
_USUAL_OFFERS = {
    SCRAM_SHA_256: b"SCRAM-SHA-256\0\0",
    SCRAM_SHA_256_PLUS: b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0",
}

# What servers, and poolers in front of them, say to a version that they do not know.
_NOT_UNDERSTOOD = frozenset({"0A000", "08P01"})

# What PgBouncer says to a parameter that it does not know how to keep for its clients.
_PROTOCOL_VIOLATION = "08P01"
# PgBouncer has no other SQLSTATE for a wrong password.
_REFUSED_LOGINS = frozenset({"SASL authentication failed", "password authentication failed"})
_REFUSED_PARAMETER = re.compile(r"unsupported startup parameter(?: in options)?: (\w[\w.]*)")

# What a server may say between letting us in and being ready, each message's bytes and as many
# more as it costs to remember: some 16,000 notices, or one of 16 MB. Usual is less than 20.
_MOST_BEFORE_READY = 16_000_000
_COST = 1_000


class ServerTooOld(ConnectionFailed, NotSupportedError):
    """It does not speak min_protocol_version, and waiting will not change that."""


class ParameterRefused(ConnectionFailed, NotSupportedError):
    """A pooler does not take a parameter of ours, and waiting will not change that."""


class Startup(Operation):
    """The session is open once this operation is done without an error."""

    takes_asynchronous_messages = False
    has_effects = False
    usual_length = SHORT_BEFORE_LETTING_IN

    def __init__(
        self,
        parameters: Mapping[str, str],
        credentials: Credentials,
        versions: tuple[int, int] = (PROTOCOL_3_0, PROTOCOL_3_0),
    ) -> None:
        """`versions`: the oldest and the newest of the protocol that may be spoken."""
        self._parameters = parameters
        self._credentials = credentials
        self._oldest, self._version = versions
        self._scram: ScramExchange | None = None
        self._refusal = ""
        self._is_begun = False
        self._is_challenged = False  # some of a challenge has come, at least
        self._heard = 0  # since we were let in, as `_MOST_BEFORE_READY` counts

    def first_message(self) -> bytes:
        """The StartupMessage, for who sends it himself, before there is a session.

        The server needs longer to start a process for us than we for all that is to be made.
        """
        self._is_begun = True
        return frontend.startup_message(self._parameters, self._version)

    def begin(self, session: Session) -> bool:
        if not self._is_begun:
            session.write(self.first_message())
        self.session = session
        self.phase = self.AUTHENTICATING
        return True

    def use_pause(self) -> None:
        """Do what can be done before the server answers; for who has just sent something.

        It need not be called, and costs no time where the server is slower than this.
        """
        if self._scram is not None:
            self._scram.use_pause()
        elif self.phase is self.AUTHENTICATING and not self.done:
            self._scram = self._credentials.foresee()

    def hashes_long(self, data: bytes) -> bool:
        """Whether these bytes, which have come, may have it hash for longer than a moment.

        A challenge may wherever it does not come at once, as nobody knows here what was in front.
        """
        if not data or self._scram is None or self.phase is not self.SCRAM_BEGUN:
            return False
        goes_on, self._is_challenged = self._is_challenged, True
        return goes_on or self._scram.hashes_long(data)

    def check_length(self, code: int, length: int) -> None:
        # Whoever has not let us in yet gets no more memory than it needs.
        super().check_length(code, length)
        limit = SHORT if code == BackendMessage.ERROR_RESPONSE else SHORT_BEFORE_LETTING_IN
        if self.phase is self.STARTING:
            limit = _MOST_BEFORE_READY
        if length > limit:
            raise too_long(code, length)

    # ---------------------------------------------------------------- the protocol's version

    def on_negotiation(self, buffer: bytes, start: int, end: int) -> None:
        """The server speaks an older version, which it may say once, before anything else."""
        version, options = backend.parse_negotiation(buffer, start, end)
        if options:
            raise ProtocolError("the server refuses an option of the protocol that was not asked")
        if not PROTOCOL_3_0 <= version < self._version or version == PROTOCOL_3_0 + 1:
            raise ProtocolError(
                f"the server answers protocol {_shown(self._version)} with {_shown(version)}"
            )
        if version < self._oldest:
            raise ServerTooOld(
                f"the server speaks protocol {_shown(version)} at most, and "
                f"min_protocol_version={_shown(self._oldest)} demands more"
            )
        self._version = version
        self.phase = self.VERSION_AGREED

    # ---------------------------------------------------------------- authentication

    def on_request(self, buffer: bytes, start: int, end: int) -> None:
        """The first request: it decides how we authenticate, if we are willing to."""
        code, data = backend.parse_authentication(buffer, start, end)
        if code == SASL:
            if self._scram is not None and data == _USUAL_OFFERS[self._scram.mechanism]:
                self._begin_scram(self._scram)
            else:
                self._begin_sasl(backend.parse_sasl_mechanisms(data))
        elif code == OK:
            self._credentials.check_let_in()
            self._let_in(data)
        elif code == CLEARTEXT and not data:
            self._send_cleartext()
        elif code == MD5 and len(data) == 4:
            self._send_md5(data)
        elif code in _OTHER_METHODS:
            raise AuthenticationError(f"the server asks for {_OTHER_METHODS[code]}, {_INSTEAD}")
        elif code in (CLEARTEXT, MD5):
            raise backend.malformed("AUTHENTICATION")
        else:
            raise ProtocolError(f"the server asks for an unknown authentication method ({code})")

    def _send_cleartext(self) -> None:
        password = self._credentials.password_for("password")
        self.session.write(frontend.password_message(encode_password(password.reveal())))
        self.phase = self.PASSWORD_SENT

    def _send_md5(self, salt: bytes) -> None:
        password = self._credentials.password_for("md5")
        self.session.write(
            frontend.password_message(md5_password(self._credentials.user, password.reveal(), salt))
        )
        self.phase = self.PASSWORD_SENT

    def _begin_sasl(self, mechanisms: list[str]) -> None:
        answer = self._credentials.begin_sasl(mechanisms, self._scram)
        if isinstance(answer, ScramExchange):
            self._begin_scram(answer)
        else:
            self.session.write(
                frontend.sasl_initial_response(oauth.OAUTHBEARER, oauth.client_first(answer))
            )
            self.phase = self.TOKEN_SENT

    def _begin_scram(self, exchange: ScramExchange) -> None:
        self._scram = exchange
        first = exchange.client_first()
        self.session.write(frontend.sasl_initial_response(exchange.mechanism, first))
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

    def on_token_outcome(self, buffer: bytes, start: int, end: int) -> None:
        """Ok, or the reason why not; then the server waits for a word before it says so itself."""
        code, data = backend.parse_authentication(buffer, start, end)
        if code == SASL_CONTINUE:
            self._refusal = oauth.parse_refusal(data)
            self.session.write(frontend.sasl_response(oauth.ACKNOWLEDGEMENT))
            self.phase = self.TOKEN_REFUSED
        else:
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
        key = backend.parse_backend_key_data(buffer, start, end)
        if self._version == PROTOCOL_3_0 and len(key.secret) != 4:
            raise backend.malformed("BACKEND_KEY_DATA")
        self.session.backend_key = key
        self.session.statements.tell_apart(key.pid)

    def on_parameter(self, buffer: bytes, start: int, end: int) -> None:
        self.hear(end - start)
        self.session.set_parameter(*backend.parse_parameter_status(buffer, start, end))

    def on_notice(self, buffer: bytes, start: int, end: int) -> None:
        """Nobody can listen yet."""
        self.hear(end - start)
        backend.parse_fields(buffer, start, end, "NOTICE_RESPONSE")

    def on_notification(self, buffer: bytes, start: int, end: int) -> None:
        """The same."""
        self.hear(end - start)
        backend.parse_notification(buffer, start, end)

    def hear(self, size: int, count: int = 1) -> None:
        """So many bytes more, in so many messages, that are not what it waits for."""
        self._heard += size + count * _COST
        if self._heard > _MOST_BEFORE_READY:
            raise ProtocolError("the server says too much, and never that it is ready")

    def on_ready(self, buffer: bytes, start: int, end: int) -> None:
        self._scram = None
        super().on_ready(buffer, start, end)
        self.session.pass_floor()

    def on_error(self, buffer: bytes, start: int, end: int) -> None:
        error = postgres_error(backend.parse_fields(buffer, start, end))
        if self._scram is not None:
            self._scram.forget()  # keys that were refused are not to be tried again
        self._add_hint(error)
        self.session.fail(mixed_in(failure_class(error), error))

    def _add_hint(self, error: PostgresError) -> None:
        """What the server does not say, and may help."""
        hint = self._refusal
        if (
            self.phase is self.AUTHENTICATING
            and self._version > PROTOCOL_3_0
            and error.sqlstate in _NOT_UNDERSTOOD
        ):
            hint = "it may not know this version of the protocol: max_protocol_version=3.0"
        elif refused := _refused_parameter(error):
            hint = (
                f"a pooler refuses {refused}: leave it out here (keywords, service, PG* variables) "
                "and give what it sets to the role (alter role … set …), or have PgBouncer drop it "
                "(ignore_startup_parameters)"
            )
        if hint:
            error.hint = hint if error.hint is None else f"{error.hint}\n{hint}"

    AUTHENTICATING = Phase(
        "AUTHENTICATING",
        {
            BackendMessage.NEGOTIATE_PROTOCOL_VERSION: on_negotiation,
            BackendMessage.AUTHENTICATION: on_request,
            BackendMessage.ERROR_RESPONSE: on_error,
        },
        take_usual=take_welcome,
    )
    # As before, but that the server has said which version it speaks.
    VERSION_AGREED = Phase(
        "VERSION_AGREED",
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
        take_usual=take_welcome,
    )
    # The password is sent, or SCRAM's end is verified: Ok is all that is missing.
    PASSWORD_SENT = Phase(
        "PASSWORD_SENT",
        {BackendMessage.AUTHENTICATION: on_outcome, BackendMessage.ERROR_RESPONSE: on_error},
        take_usual=take_welcome,
    )
    TOKEN_SENT = Phase(
        "TOKEN_SENT",
        {BackendMessage.AUTHENTICATION: on_token_outcome, BackendMessage.ERROR_RESPONSE: on_error},
    )
    # The server has said why it does not take the token: its refusal is all that may follow.
    TOKEN_REFUSED = Phase("TOKEN_REFUSED", {BackendMessage.ERROR_RESPONSE: on_error})
    STARTING = Phase(
        "STARTING",
        {
            BackendMessage.BACKEND_KEY_DATA: on_key,
            BackendMessage.PARAMETER_STATUS: on_parameter,
            BackendMessage.NOTICE_RESPONSE: on_notice,
            BackendMessage.NOTIFICATION_RESPONSE: on_notification,
            BackendMessage.ERROR_RESPONSE: on_error,
            BackendMessage.READY_FOR_QUERY: on_ready,
        },
        take_usual=take_welcome,
    )
    PHASES = (
        AUTHENTICATING,
        VERSION_AGREED,
        SCRAM_BEGUN,
        SCRAM_ANSWERED,
        PASSWORD_SENT,
        TOKEN_SENT,
        TOKEN_REFUSED,
        STARTING,
    )


def failure_class(error: PostgresError) -> type[ConnectionFailed]:
    """What a server's refusal means to whoever wanted to connect."""
    refused = error.sqlstate == _PROTOCOL_VIOLATION and error.message in _REFUSED_LOGINS
    if error.sqlstate.startswith("28") or refused:
        return AuthenticationError
    return ParameterRefused if _refused_parameter(error) else ConnectionFailed


def _refused_parameter(error: PostgresError) -> str:
    """The name of the startup parameter that a pooler does not take; empty for other errors."""
    found = _REFUSED_PARAMETER.match(error.message)
    return found[1] if found and error.sqlstate == _PROTOCOL_VIOLATION else ""


def _shown(version: int) -> str:
    """A version as people write it."""
    return f"{version >> 16}.{version & 0xFFFF}"
