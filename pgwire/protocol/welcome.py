"""The usual end of a login, taken in one go: what `Startup` would do message by message.

    AuthenticationSASLFinal AuthenticationOk ParameterStatus…

It must do what the phase tables do, only faster, and leaves to them whatever is not as usual. The
settings that a server reports are the same each time, so what they say is looked up by their bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgwire.errors import ProtocolError
from pgwire.protocol import backend
from pgwire.protocol.events import size_of
from pgwire.protocol.messages import BackendMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgwire.protocol.startup import Startup

# Both with their length: a signature has 44 digits, and Ok nothing behind its code.
_FINAL = b"R\0\0\0\x36\0\0\0\x0cv="
_OK = b"R\0\0\0\x08\0\0\0\0"
_FINAL_LENGTH = 1 + 0x36
_HEADER = 5
_AUTHENTICATION = int(BackendMessage.AUTHENTICATION)
_REPORT = b"S\0\0"  # shorter than 65,536 bytes
_BEHIND_REPORTS = b"K\0\0"

_MOST_KNOWN = 100
_LONGEST = 4_000  # usual is 400 to 500


class _Reports(NamedTuple):
    """A run of ParameterStatus: how many messages it is, and the settings that they report."""

    number: int
    settings: Mapping[str, str]
    size: int  # of the settings, as events.py counts


_known: dict[bytes, _Reports] = {}


def take_welcome(startup: Startup, buffer: bytes, position: int, size: int) -> int:
    """Takes what there is of it, each message whole; returns where it stopped."""
    if buffer.startswith(_FINAL, position):
        end = position + _FINAL_LENGTH
        if startup.phase is not startup.SCRAM_ANSWERED or not buffer.startswith(_OK, end):
            return position
        startup.on_scram_outcome(buffer, position + _HEADER, end)
        position = end
    handler = startup.phase.handlers.get(_AUTHENTICATION)
    if handler is not None and buffer.startswith(_OK, position):
        end = position + len(_OK)
        handler(startup, buffer, position + _HEADER, end)
        position = end
    if startup.phase is startup.STARTING and buffer.startswith(_REPORT, position):
        return _take_reports(startup, buffer, position, size)
    return position


def _take_reports(startup: Startup, buffer: bytes, position: int, size: int) -> int:
    end = buffer.find(_BEHIND_REPORTS, position, min(size, position + _LONGEST))
    if end < 0:
        return position
    run = buffer[position:end]
    reports = _known.get(run) or _read(run)
    if reports is None:
        return position
    count, settings, settings_size = reports
    startup.hear(end - position - count * _HEADER, count)
    session = startup.session
    session.parameters.report_all(settings, settings_size)
    if "TimeZone" in settings:  # which is more than something to be remembered
        session.set_parameter("TimeZone", settings["TimeZone"])
    return end


def _read(run: bytes) -> _Reports | None:
    """What these messages say; None if it is not that, and of the usual kind."""
    count, start, settings = 0, 0, {}
    while run.startswith(_REPORT, start):
        end = start + 1 + int.from_bytes(run[start + 1 : start + _HEADER])
        try:
            name, value = backend.parse_parameter_status(run, start + _HEADER, end)
        except ProtocolError:
            return None
        if name in settings:  # what it was first may be refused
            return None
        settings[name] = value
        count, start = count + 1, end
    if start != len(run) or settings.get("client_encoding", "UTF8") != "UTF8":
        return None
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    reports = _known[run] = _Reports(count, settings, size_of(settings))
    return reports
