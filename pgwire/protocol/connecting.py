"""Connecting: what to try, when to give up, and what to tell (manual: "SSL Session Encryption").

`EncryptionPlan` turns an sslmode into the attempts to make at one address, in order; every
attempt is a connection of its own. `read_ssl_answer` judges the single byte that answers an
SSLRequest. The settings decide, never the other end: nothing here falls back to less than
the sslmode allows. `Attempts` collects what went wrong and makes the one error of it. In which
order hosts are tried is in `hosts`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pgwire.errors import (
    Attempt,
    AuthenticationError,
    ConnectionFailed,
    ConnectionLost,
    Error,
    InterfaceError,
    NotSupportedError,
    PostgresError,
    ProgrammingError,
    ProtocolError,
    TLSError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Encryption(Enum):
    PLAIN = "no TLS"
    TLS_IF_OFFERED = "TLS if the server has it"
    TLS = "TLS or nothing"
    DIRECT = "TLS from the first byte on"


_PLANS = {
    "disable": (Encryption.PLAIN,),
    "allow": (Encryption.PLAIN, Encryption.TLS),
    "prefer": (Encryption.TLS_IF_OFFERED, Encryption.PLAIN),
    "require": (Encryption.TLS,),
    "verify-ca": (Encryption.TLS,),
    "verify-full": (Encryption.TLS,),
}

# pg_hba.conf has no line for this user, database and kind of connection.
_NO_SUCH_LINE = "28000"


class EncryptionPlan:
    """The attempts at one address. Iterate; tell how each is `connected`, and if it `failed`."""

    def __init__(self, sslmode: str, *, unix_socket: bool, direct: bool = False) -> None:
        # There is no TLS over a Unix socket, whatever the mode: nobody is in between.
        if unix_socket:
            self._attempts: tuple[Encryption, ...] = (Encryption.PLAIN,)
        else:
            self._attempts = (Encryption.DIRECT,) if direct else _PLANS[sslmode]
        self._go_on = True
        self._was_plain = False

    def __iter__(self) -> Iterator[Encryption]:
        for attempt in self._attempts:
            if not self._go_on or (attempt is Encryption.PLAIN and self._was_plain):
                return
            self._go_on = False
            yield attempt

    def connected(self, *, tls: bool) -> None:
        """Whether the attempt goes on by TLS: after one without it another would be the same."""
        self._was_plain = not tls

    def failed(self, error: Error) -> None:
        """The attempt failed: the next one is made only if encryption may be the reason."""
        if isinstance(error, TLSError):
            self._go_on = not error.is_final
        else:
            self._go_on = getattr(error, "sqlstate", None) == _NO_SUCH_LINE


def read_ssl_answer(answer: bytes, encryption: Encryption) -> bool:
    """The answer to SSLRequest, exactly one byte: whether TLS begins now.

    Whatever else the other end says is not shown: it comes from somebody unknown.
    """
    if answer == b"S":
        return True
    if answer == b"N":
        if encryption is Encryption.TLS:
            raise TLSError("the server does not offer TLS, and sslmode demands it")
        return False
    if not answer:  # it says nothing about TLS, so there is no reason to try without
        raise ConnectionFailed("the server closed the connection instead of answering about TLS")
    if answer == b"E":  # it cannot start a process for us, say
        raise ConnectionFailed("the server answered the request for TLS with an error")
    raise ProtocolError("the answer to the request for TLS is not PostgreSQL's")


def spoken_too_soon() -> TLSError:
    """What to raise for bytes behind the answer: they came before TLS had begun.

    Nobody knows who sent them, and nobody may take them for the server's (CVE-2021-23222).
    """
    return final(TLSError("the server, or somebody in between, spoke before TLS had begun"))


def final(error: TLSError) -> TLSError:
    """The same error, after which nothing is tried without TLS."""
    error.is_final = True
    return error


# 42501: this role may not connect to this database. 3D000: there is no such database.
_NOT_MENDED_BY_WAITING = frozenset({"42501", "3D000"})


def waiting_may_help(error: BaseException) -> bool:
    """Whether the same attempt may succeed later, or at another host.

    A server that is down, starting, full or slow may come round. A wrong password, a missing
    database, a certificate that does not verify, or settings that make no sense will not.
    """
    if isinstance(error, AuthenticationError | TLSError | ProgrammingError | NotSupportedError):
        return False
    if isinstance(error, InterfaceError):
        return isinstance(error, ProtocolError)
    return getattr(error, "sqlstate", "") not in _NOT_MENDED_BY_WAITING


# What ends an attempt, and nothing else; all other exceptions are not about the server.
FAILURES = (ConnectionFailed, ConnectionLost, PostgresError, ProtocolError, OSError)

_WRONG_PASSWORD = "28P01"
# Those of the server itself: a pooler has other limits.
_FULL = "53300"
_COUNTS_CONNECTIONS = frozenset(
    {"InitProcess", "InitPostgres", "InitializeSessionUserId", "CheckMyDatabase"}
)
_SHARE = (
    "Close connections that are not needed, or share a few in a Pool; max_connections, and limits"
    " of roles and databases, say how many there may be."
)


def failed_attempt(
    address: str, error: Exception, passfile: str | None = None, ignored: str | None = None
) -> ConnectionFailed:
    """What to say of an attempt that ended with this error.

    `passfile` is where a password came from, if one was sent; `ignored` why none did.
    """
    if isinstance(error, AuthenticationError) and error.lacks_password and ignored is not None:
        return AuthenticationError(f"{error}; {ignored}")
    if isinstance(error, ConnectionFailed):
        if (
            passfile is not None
            and isinstance(error, PostgresError)
            and error.sqlstate == _WRONG_PASSWORD
        ):
            source = f"the password was read from the file {passfile!r}"
            error.hint = source if error.hint is None else f"{error.hint}\n{source}"
        elif (
            isinstance(error, PostgresError)
            and error.sqlstate == _FULL
            and error.routine in _COUNTS_CONNECTIONS
            and error.hint is None
        ):
            error.hint = _SHARE
        return error
    what = "is there a PostgreSQL server? " if isinstance(error, ProtocolError) else ""
    failure = ConnectionFailed(f"{address}: {what}{error}")
    failure.__cause__ = error
    return failure


class Attempts:
    """Every try at connecting, and why it failed."""

    def __init__(self) -> None:
        self._attempts: list[Attempt] = []

    def failed(self, address: str, error: Exception) -> None:
        self._attempts.append(Attempt(address, error))

    def error(self) -> ConnectionFailed:
        """What to raise: a single attempt its own class, several one that lists them."""
        attempts = tuple(self._attempts)
        if not attempts:
            return ConnectionFailed("there is no address to connect to")
        errors = [attempt.error for attempt in attempts]
        if len(attempts) == 1 and isinstance(errors[0], ConnectionFailed):
            failure = errors[0]
        else:
            text = "; ".join(map(_told, attempts))
            failure = _common_class(errors)(text)
            failure.__cause__ = errors[-1]
        failure.attempts = attempts
        return failure


def _told(attempt: Attempt) -> str:
    """What went wrong and where, which most errors say by themselves."""
    text = str(attempt.error)
    return text if attempt.address in text else f"{attempt.address}: {text}"


def _common_class(errors: list[Exception]) -> type[ConnectionFailed]:
    for failure in (AuthenticationError, TLSError):
        if all(isinstance(error, failure) for error in errors):
            return failure
    return ConnectionFailed
