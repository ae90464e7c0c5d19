"""What a server says: builders of backend messages, one function or constant for each.

Written from the manual ("Message Formats") and not from our parsers, so that a shared
mistake is unlikely. Lengths are always right here; tests that want wrong ones use `message`.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from pgwire.pgtypes import oids
from pgwire.protocol.messages import Column

if TYPE_CHECKING:
    from collections.abc import Sequence


def message(code: str, body: bytes = b"") -> bytes:
    return code.encode() + pack("!i", len(body) + 4) + body


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def authentication(code: int, data: bytes = b"") -> bytes:
    return message("R", pack("!i", code) + data)


def sasl(*mechanisms: str) -> bytes:
    return authentication(10, b"".join(map(string, mechanisms)) + b"\0")


def negotiation(version: int, *options: str) -> bytes:
    """NegotiateProtocolVersion: the version to speak, and options that the server has not."""
    names = b"".join(map(string, options))
    return message("v", int4(version) + int4(len(options)) + names)


def key_data(pid: int = 4242, secret: bytes = b"key!") -> bytes:
    return message("K", pack("!i", pid) + secret)


def ready(status: str = "I") -> bytes:
    return message("Z", status.encode())


def parameter_status(name: str, value: str) -> bytes:
    return message("S", string(name) + string(value))


def _fields(severity: str, sqlstate: str, text: str, more: dict[str, str]) -> bytes:
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": text, **more}
    return b"".join(key.encode() + string(value) for key, value in fields.items()) + b"\0"


def error(sqlstate: str, text: str = "no", severity: str = "ERROR", **more: str) -> bytes:
    return message("E", _fields(severity, sqlstate, text, more))


def fatal(sqlstate: str = "57P01", text: str = "shutting down") -> bytes:
    return error(sqlstate, text, "FATAL")


def notice(text: str = "by the way", sqlstate: str = "00000") -> bytes:
    return message("N", _fields("NOTICE", sqlstate, text, {}))


def notification(channel: str = "news", payload: str = "", pid: int = 7) -> bytes:
    return message("A", pack("!i", pid) + string(channel) + string(payload))


def parameter_description(*type_oids: int) -> bytes:
    return message("t", pack(f"!H{len(type_oids)}I", len(type_oids), *type_oids))


def column(name: str = "a", type_oid: int = oids.INT4, fmt: int = 0) -> Column:
    return Column(name, type_oid, format=fmt)


def row_description(*columns: Column) -> bytes:
    body = pack("!H", len(columns))
    for c in columns:
        body += string(c.name) + pack(
            "!IhIhih",
            c.table_oid,
            c.column_number,
            c.type_oid,
            c.type_size,
            c.type_modifier,
            c.format,
        )
    return message("T", body)


def row(*values: bytes | None) -> bytes:
    body = pack("!H", len(values))
    for value in values:
        body += pack("!i", -1) if value is None else pack("!i", len(value)) + value
    return message("D", body)


def int4(value: int) -> bytes:
    """An int4 in binary format."""
    return pack("!i", value)


def complete(tag: str = "SELECT 1") -> bytes:
    return message("C", string(tag))


def _copy_response(code: str, formats: Sequence[int]) -> bytes:
    return message(code, pack(f"!bH{len(formats)}h", 0, len(formats), *formats))


def copy_in(*formats: int) -> bytes:
    return _copy_response("G", formats)


def copy_out(*formats: int) -> bytes:
    return _copy_response("H", formats)


def copy_both(*formats: int) -> bytes:
    return _copy_response("W", formats)


def copy_data(data: bytes) -> bytes:
    return message("d", data)


BIND_COMPLETE = message("2")
CLOSE_COMPLETE = message("3")
COPY_DONE = message("c")
EMPTY_QUERY = message("I")
NO_DATA = message("n")
PARSE_COMPLETE = message("1")

AUTHENTICATION_OK = authentication(0)


def described(parameters: Sequence[int] = (), columns: Sequence[Column] = ()) -> bytes:
    """The answers to Parse and Describe."""
    answer = PARSE_COMPLETE + parameter_description(*parameters)
    return answer + (row_description(*columns) if columns else NO_DATA)


def executed(*rows: bytes, tag: str | None = None, status: str = "I") -> bytes:
    """The answers to Bind, Execute and Sync."""
    tag = f"SELECT {len(rows)}" if tag is None else tag
    return BIND_COMPLETE + b"".join(rows) + complete(tag) + ready(status)


def split(data: bytes) -> list[bytes]:
    """Backend messages one by one; what is not a whole one comes last."""
    messages = []
    while len(data) >= 5 and (end := 1 + int.from_bytes(data[1:5])) <= len(data):
        messages.append(data[:end])
        data = data[end:]
    return [*messages, data] if data else messages
