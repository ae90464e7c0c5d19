"""Builds the messages that we send (manual: "Message Formats").

Every function returns finished bytes. What the server would answer with a broken
connection is refused here: a NUL that would end a string early, and messages longer than
the server takes (it then drops the connection without a readable error).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pgwire.demands import PROTOCOL_3_0
from pgwire.errors import DataError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The server's own bounds, on the length word (PQ_LARGE_MESSAGE_LIMIT and its like).
MAX_LARGE_MESSAGE = 0x3FFFFFFE
MAX_SMALL_MESSAGE = 10_000
MAX_PASSWORD_MESSAGE = 65_535

_int32 = Struct("!i")
pack_int32 = _int32.pack
pack_uint16 = Struct("!H").pack

SYNC = b"S\0\0\0\x04"
FLUSH = b"H\0\0\0\x04"
TERMINATE = b"X\0\0\0\x04"
SSL_REQUEST = _int32.pack(8) + _int32.pack(80877103)
# The unnamed portal, without a limit on rows.
EXECUTE = b"E" + _int32.pack(9) + b"\0" + _int32.pack(0)


def cstring(text: str, what: str) -> bytes:
    """The text as the protocol's String; `what` names it in the error."""
    if not isinstance(text, str):
        raise ProgrammingError(f"{what} must be a str, not {type(text).__name__}")
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ProgrammingError(
            f"{what} holds a lone surrogate at index {error.start}; it cannot be sent as UTF-8"
        ) from None
    if b"\0" in data:
        raise ProgrammingError(
            f"{what} holds a NUL character at index {text.index(chr(0))}; PostgreSQL cannot take it"
        )
    return data + b"\0"


def too_long(length: int, limit: int = MAX_LARGE_MESSAGE) -> DataError:
    return DataError(f"a message of {length:,} bytes is more than the server takes ({limit:,})")


def _message(code: bytes, body: bytes, limit: int = MAX_LARGE_MESSAGE) -> bytes:
    length = len(body) + 4
    if length > limit:
        raise too_long(length, limit)
    return code + pack_int32(length) + body


def startup_message(parameters: Mapping[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """StartupMessage. A NUL inside a value would smuggle in further parameters."""
    body = pack_int32(version)
    for name, value in parameters.items():
        if not name:
            raise ProgrammingError("a startup parameter has an empty name")
        body += cstring(name, "the name of a startup parameter")
        body += cstring(value, f"the startup parameter {name!r}")
    return _message(b"", body + b"\0", MAX_SMALL_MESSAGE)


def cancel_request(pid: int, secret: bytes) -> bytes:
    """CancelRequest: goes out on a connection of its own and gets no answer."""
    return _message(b"", pack_int32(80877102) + pack_int32(pid) + secret, MAX_SMALL_MESSAGE)


def password_message(password: bytes) -> bytes:
    """PasswordMessage, for cleartext and MD5 passwords."""
    return _message(b"p", password + b"\0", MAX_PASSWORD_MESSAGE)


def sasl_initial_response(mechanism: str, data: bytes) -> bytes:
    body = cstring(mechanism, "the SASL mechanism") + pack_int32(len(data)) + data
    return _message(b"p", body, MAX_PASSWORD_MESSAGE)


def sasl_response(data: bytes) -> bytes:
    return _message(b"p", data, MAX_PASSWORD_MESSAGE)


def query(sql: bytes) -> bytes:
    """Query, the simple protocol; `sql` comes from `cstring`."""
    return _message(b"Q", sql)


def parse(name: bytes, sql: bytes) -> bytes:
    """Parse; both end with NUL. The server infers every parameter's type."""
    return _message(b"P", name + sql + b"\0\0")


def describe_statement(name: bytes) -> bytes:
    return _message(b"D", b"S" + name, MAX_SMALL_MESSAGE)


def close_statement(name: bytes) -> bytes:
    """Close. Unlike DEALLOCATE it works in a failed transaction and never fails."""
    return _message(b"C", b"S" + name, MAX_SMALL_MESSAGE)


def execute(portal: bytes, most: int) -> bytes:
    """Execute for at most so many rows; the portal's name ends with NUL."""
    return _message(b"E", portal + pack_int32(most), MAX_SMALL_MESSAGE)


def close_portal(name: bytes) -> bytes:
    """Close. A portal that is gone already is no error."""
    return _message(b"C", b"P" + name, MAX_SMALL_MESSAGE)


def bind(body: bytes) -> bytes:
    return _message(b"B", body)


def copy_fail(reason: str) -> bytes:
    return _message(b"f", cstring(reason, "the reason"), MAX_SMALL_MESSAGE)


# A Bind of a statement that cannot exist (numbers of statements begin at 1): the server fails, and
# with it all that it has done since the last Sync.
POISON = bind(b"\0_pgwire_0\0" + b"\0\0" * 3)
