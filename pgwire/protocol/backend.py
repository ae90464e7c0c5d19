"""Reads the rarer messages of the server (manual: "Message Formats").

Each function gets the whole buffer and the bounds of one body, takes that body up to its
last byte, and raises `ProtocolError` for anything else: a server that says something we
understand only in part is not understood. Rows are not read here (see `decoder`).
"""

from __future__ import annotations

from struct import Struct, error as StructError

from pgwire.errors import ProtocolError
from pgwire.protocol.messages import BackendKeyData, Column, Notification

_int32 = Struct("!i")
_uint16 = Struct("!H")
# table OID, column number, type OID, type size, type modifier, format
_field = Struct("!IhIhih")


def malformed(what: str) -> ProtocolError:
    return ProtocolError(f"the server sent a malformed {what}")


def _string(buffer: bytes, start: int, end: int, what: str) -> tuple[str, int]:
    """One String from `start`, and where the next field begins."""
    stop = buffer.find(0, start, end)
    if stop < 0:
        raise malformed(what)
    # What a server says must never be hidden by an encoding error, so nothing is refused.
    return buffer[start:stop].decode(errors="backslashreplace"), stop + 1


def parse_fields(
    buffer: bytes, start: int, end: int, what: str = "ERROR_RESPONSE"
) -> dict[str, str]:
    """ErrorResponse and NoticeResponse: field letters to texts, unknown letters included."""
    fields: dict[str, str] = {}
    while start < end and buffer[start] != 0:
        letter = chr(buffer[start])
        fields[letter], start = _string(buffer, start + 1, end, what)
    if start != end - 1 or not fields:
        raise malformed(what)
    return fields


def parse_parameter_status(buffer: bytes, start: int, end: int) -> tuple[str, str]:
    parts = buffer[start:end].split(b"\0")
    if len(parts) != 3 or parts[2]:
        raise malformed("PARAMETER_STATUS")
    return parts[0].decode(errors="backslashreplace"), parts[1].decode(errors="backslashreplace")


def parse_notification(buffer: bytes, start: int, end: int) -> Notification:
    if end - start < 4:
        raise malformed("NOTIFICATION_RESPONSE")
    (pid,) = _int32.unpack_from(buffer, start)
    channel, start = _string(buffer, start + 4, end, "NOTIFICATION_RESPONSE")
    payload, start = _string(buffer, start, end, "NOTIFICATION_RESPONSE")
    if start != end:
        raise malformed("NOTIFICATION_RESPONSE")
    return Notification(channel, payload, pid)


def parse_backend_key_data(buffer: bytes, start: int, end: int) -> BackendKeyData:
    # Four bytes of key in protocol 3.0; up to 256 from 3.2 on.
    if not 8 <= end - start <= 260:
        raise malformed("BACKEND_KEY_DATA")
    (pid,) = _int32.unpack_from(buffer, start)
    return BackendKeyData(pid, buffer[start + 4 : end])


def parse_parameter_description(buffer: bytes, start: int, end: int) -> tuple[int, ...]:
    """The OID of every parameter's type."""
    if end - start < 2:
        raise malformed("PARAMETER_DESCRIPTION")
    (count,) = _uint16.unpack_from(buffer, start)
    if end - start != 2 + 4 * count:
        raise malformed("PARAMETER_DESCRIPTION")
    return Struct(f"!{count}I").unpack_from(buffer, start + 2)


def parse_row_description(buffer: bytes, start: int, end: int) -> tuple[Column, ...]:
    try:
        (count,) = _uint16.unpack_from(buffer, start)
        start += 2
        columns = []
        for _ in range(count):
            name, start = _string(buffer, start, end, "ROW_DESCRIPTION")
            table, number, oid, size, modifier, fmt = _field.unpack_from(buffer, start)
            start += _field.size
            if fmt not in (0, 1):
                raise malformed("ROW_DESCRIPTION")
            columns.append(Column(name, oid, modifier, table, number, size, fmt))
    except StructError:
        raise malformed("ROW_DESCRIPTION") from None
    if start != end:
        raise malformed("ROW_DESCRIPTION")
    return tuple(columns)


def check_copy_response(buffer: bytes, start: int, end: int, what: str) -> None:
    """CopyInResponse and CopyOutResponse: the overall format, and one for each column."""
    if end - start < 3 or end - start != 3 + 2 * _uint16.unpack_from(buffer, start + 1)[0]:
        raise malformed(what)


# The same few tags come all the time.
command_tags: dict[bytes, str] = {}
_MAX_TAGS = 1000
_LONGEST_TAG = 64


def parse_command_tag(buffer: bytes, start: int, end: int) -> str:
    raw = buffer[start:end]
    tag = command_tags.get(raw)
    if tag is None:
        tag, stop = _string(buffer, start, end, "COMMAND_COMPLETE")
        if stop != end:
            raise malformed("COMMAND_COMPLETE")
        if len(command_tags) < _MAX_TAGS and len(raw) <= _LONGEST_TAG:
            command_tags[raw] = tag
    return tag


def parse_authentication(buffer: bytes, start: int, end: int) -> tuple[int, bytes]:
    """The request's code, and whatever belongs to it."""
    if end - start < 4:
        raise malformed("AUTHENTICATION")
    return _int32.unpack_from(buffer, start)[0], buffer[start + 4 : end]


def parse_negotiation(buffer: bytes, start: int, end: int) -> tuple[int, list[str]]:
    """NegotiateProtocolVersion: a version, and the names of the options that it has not."""
    what = "NEGOTIATE_PROTOCOL_VERSION"
    if end - start < 8:
        raise malformed(what)
    version, count = _int32.unpack_from(buffer, start)[0], _int32.unpack_from(buffer, start + 4)[0]
    start += 8
    if not 0 <= count <= end - start:
        raise malformed(what)
    names = []
    for _ in range(count):
        name, start = _string(buffer, start, end, what)
        names.append(name)
    if start != end:
        raise malformed(what)
    return version, names


def parse_sasl_mechanisms(data: bytes) -> list[str]:
    """AuthenticationSASL: names that end with NUL each, and an empty one behind them."""
    *names, end, rest = data.split(b"\0") if data.count(0) > 1 else (b"", b"", b"")
    if not all(names) or end or rest:
        raise malformed("AUTHENTICATION")
    return [name.decode(errors="backslashreplace") for name in names]
