"""The exceptions of pgwire: PEP 249's names at the top, PostgreSQL's conditions below.

    Warning
    Error
    ├─ InterfaceError              the caller's mistake; nothing was sent
    │  └─ ProtocolError            the server spoke nonsense; the connection is closed
    └─ DatabaseError
       ├─ DataError
       │  ├─ NoRows, TooManyRows   Result.one() and its like
       ├─ OperationalError
       │  ├─ ConnectionFailed      no connection came about; .attempts says why
       │  │  ├─ AuthenticationError
       │  │  └─ TLSError
       │  ├─ ConnectionLost        a connection that was open is gone
       │  ├─ QueryTimeout          (also TimeoutError)
       │  └─ PoolError
       │     ├─ PoolTimeout        (also TimeoutError)
       │     ├─ PoolClosed         (also InterfaceError)
       │     ├─ PoolFull
       │     └─ PoolDeadlock
       ├─ IntegrityError, InternalError, ProgrammingError, NotSupportedError
       └─ PostgresError            whatever the server reports; one class per SQLSTATE
                                   (pgwire.sqlstate), each below one of PEP 249's as well

The classes per SQLSTATE can be asked for here too (`pgwire.errors.UniqueViolation`); they are
read in when the first of them is. Otherwise this module imports nothing of pgwire, so that every
layer may raise from it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Warning(Exception):
    """PEP 249's Warning; pgwire itself raises no warnings of this class."""


class Error(Exception):
    """The base of everything that pgwire raises on purpose. All of it can be pickled.

    `record_index` is the number, from 0, of the record that failed in `query_many` or COPY, and
    `record_column` the name of its column in `copy_records`, where it is known;
    `results` holds the `Result`s of the statements before the one that failed in a `script`.
    """

    record_index: int | None = None
    record_column: str | None = None
    results: Sequence[Any] = ()

    def __reduce__(self) -> tuple[Callable[..., Error], tuple[Any, ...], dict[str, Any]]:
        # The attributes come last, as they may lead back here (`attempts`).
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[Error], args: tuple[Any, ...]) -> Error:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class InterfaceError(Error):
    """The library was used in a way that it cannot serve; nothing was sent."""


class DatabaseError(Error):
    """The base of what has to do with the database rather than with the call."""


class DataError(DatabaseError):
    """A value does not fit, on our side or on the server's."""


class OperationalError(DatabaseError):
    """Something outside the program's control: network, server, resources, time."""


class IntegrityError(DatabaseError):
    """A constraint was violated."""


class InternalError(DatabaseError):
    """The database reports that something is wrong with itself or with the transaction."""


class ProgrammingError(DatabaseError):
    """Wrong SQL, unknown names, wrong parameters, an unreadable connection string."""


class NotSupportedError(DatabaseError):
    """The server, or this version of pgwire, cannot do what was asked."""


class NoRows(DataError):
    """One row was asked for and there was none."""


class TooManyRows(DataError):
    """One row was asked for and there were more."""


class ProtocolError(InterfaceError):
    """The server sent what the protocol does not allow; the connection has been closed."""


class Attempt(NamedTuple):
    """One try to connect: the address that was tried, and what went wrong."""

    address: str
    error: Exception


class ConnectionFailed(OperationalError):
    """No connection came about. `attempts` holds every address tried, and why it failed."""

    attempts: Sequence[Attempt] = ()


class AuthenticationError(ConnectionFailed):
    """The server refused the login, or asked for something that the settings forbid.

    `lacks_password`: it asked for a password, and there was none to give.
    """

    lacks_password = False


class TLSError(ConnectionFailed):
    """TLS was refused, could not be set up, or the certificate did not verify.

    `is_final`: nothing is to be tried without TLS, even where sslmode would allow that.
    """

    is_final = False


class ConnectionLost(OperationalError):
    """The connection is gone.

    `sent`: whether the operation, or part of it, may have reached the server: then nobody knows
    whether it was carried out. What was not sent was not, and may be asked for again.
    """

    sent = True


class QueryTimeout(OperationalError, TimeoutError):
    """The query's own `timeout` ran out; the server was asked to cancel it."""


class PoolError(OperationalError):
    """The base of the pool's own errors."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection could be handed over in time. `stats` is the pool at that moment."""

    stats: Any = None


class PoolClosed(PoolError, InterfaceError):
    """The pool has been ended, or is ending, and takes no new requests."""


class PoolFull(PoolError):
    """`max_waiting` requests are already queued."""


class PoolDeadlock(PoolError):
    """Everyone who holds a connection waits for another one, without a deadline."""


class PostgresError(DatabaseError):
    """An error that the server reported (manual: "Error and Notice Message Fields").

    Attributes that the server did not send are None; `position` counts characters from 1.
    `query` is the SQL that was running, where it is known. `str()` is the message with a
    caret under the position, detail and hint; control characters are escaped there, while
    the attributes hold the server's text as it came.

    `stray` is true of a `QueryCanceled` that was meant for another query on the same connection,
    written before this one, whose time had run out or whose caller had given up: it is no fault of
    this query's, and says nothing against asking again.
    """

    sqlstate: str = ""
    severity: str = "ERROR"
    message: str = ""
    detail: str | None = None
    hint: str | None = None
    position: int | None = None
    internal_position: int | None = None
    internal_query: str | None = None
    where: str | None = None
    schema: str | None = None
    table: str | None = None
    column: str | None = None
    data_type: str | None = None
    constraint: str | None = None
    file: str | None = None
    line: str | None = None
    routine: str | None = None
    query: str | None = None
    stray: bool = False

    def __str__(self) -> str:
        lines = [_printable(self.message or (str(self.args[0]) if self.args else ""))]
        if self.query is not None and self.position is not None:
            lines += _caret(self.query, self.position)
        elif self.internal_query is not None and self.internal_position is not None:
            lines += _caret(self.internal_query, self.internal_position)
        if self.detail is not None:
            lines.append(f"DETAIL: {_printable(self.detail)}")
        if self.hint is not None:
            lines.append(f"HINT: {_printable(self.hint)}")
        return "\n".join(lines)


_CARET_WIDTH = 100


def _printable(text: str) -> str:
    """The text with control characters escaped (a server must not steer a terminal)."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def _caret(query: str, position: int) -> list[str]:
    """The line of the query that holds the position, and a line with a caret under it."""
    if not 1 <= position <= len(query) + 1:
        return []
    start = query.rfind("\n", 0, position - 1) + 1
    end = query.find("\n", position - 1)
    line = query[start : end if end >= 0 else len(query)]
    column = position - 1 - start
    prefix = f"LINE {query.count(chr(10), 0, position - 1) + 1}: "
    if len(line) > _CARET_WIDTH:  # keep what is around the caret
        cut = max(0, min(column - _CARET_WIDTH // 2, len(line) - _CARET_WIDTH))
        line, column, prefix = line[cut : cut + _CARET_WIDTH], column - cut, prefix + "…"
    # Tabs stay tabs below the line, so that the caret stands where the reader sees it.
    blanks = "".join("\t" if c == "\t" else " " for c in line[:column])
    shown = "".join(c if c.isprintable() or c == "\t" else " " for c in line)
    return [prefix + shown, " " * len(prefix) + blanks + "^"]


if TYPE_CHECKING:
    from pgwire.sqlstate import *  # noqa: F403
else:

    def __getattr__(name: str) -> type[PostgresError]:
        """Finds the classes per SQLSTATE, which cost more to make than most programs need."""
        found = getattr(importlib.import_module("pgwire.sqlstate"), name, None)
        if isinstance(found, type) and issubclass(found, PostgresError):
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
