"""The parsers of single messages: what they give is what was said, or they refuse it all."""

from __future__ import annotations

import pickle
import re
from struct import pack
from typing import TYPE_CHECKING, Any

from pgwire.errors import ConnectionLost, DataError, ProtocolError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol import backend as parsers
from pgwire.protocol.pgoutput import PgOutput, UnreadableValue
from pgwire.sqlstate import mixed_in, postgres_error
from tests.fuzz.feed import Feed
from tests.support import backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Parse = Callable[[bytes, int, int], Any]


def _check_copy(buffer: bytes, start: int, end: int) -> None:
    parsers.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")


def _mechanisms(buffer: bytes, start: int, end: int) -> list[str]:
    return parsers.parse_sasl_mechanisms(buffer[start:end])


def _body(message: bytes) -> bytes:
    return message[5:]


# Each parser, and what builds the message again from what it gives.
PARSERS: dict[str, tuple[Parse, Callable[[Any], bytes] | None]] = {
    "authentication": (
        parsers.parse_authentication,
        lambda said: _body(backend.authentication(*said)),
    ),
    "mechanisms": (
        _mechanisms,
        lambda names: _body(backend.sasl(*names))[4:],
    ),
    "parameter status": (
        parsers.parse_parameter_status,
        lambda pair: _body(backend.parameter_status(*pair)),
    ),
    "notification": (
        parsers.parse_notification,
        lambda n: _body(backend.notification(n.channel, n.payload, n.pid)),
    ),
    "key data": (
        parsers.parse_backend_key_data,
        lambda key: _body(backend.key_data(key.pid, key.secret)),
    ),
    "parameter description": (
        parsers.parse_parameter_description,
        lambda oids: _body(backend.parameter_description(*oids)),
    ),
    "row description": (
        parsers.parse_row_description,
        lambda columns: _body(backend.row_description(*columns)),
    ),
    "negotiation": (
        parsers.parse_negotiation,
        lambda said: pack("!ii", said[0], len(said[1])) + b"".join(map(backend.string, said[1])),
    ),
    "command tag": (parsers.parse_command_tag, backend.string),
    "copy response": (_check_copy, None),
    "error": (parsers.parse_fields, None),
}
_NAMES = tuple(PARSERS)


def _outcome(parse: Parse, buffer: bytes, start: int, end: int) -> Any:
    try:
        return parse(buffer, start, end)
    except ProtocolError as error:
        return str(error)


def message(data: bytes) -> None:
    """One message's body, by itself and with other bytes around it."""
    feed = Feed(data)
    parse, build = PARSERS[feed.choose(_NAMES)]
    before = feed.below(5)
    body = feed.rest()
    said = _outcome(parse, body, 0, len(body))
    inside = bytes(before) + body + b"x\0\0\0\1x\0"
    assert _outcome(parse, inside, before, before + len(body)) == said
    if isinstance(said, str) and said.startswith("the server sent a malformed"):
        return
    # What is no UTF-8 is shown by its escapes, and so cannot be built again.
    if build is not None and not any("\\" in text for text in _texts(said)):
        assert build(said) == body


def _texts(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, tuple | list):
        for part in said:
            yield from _texts(part)


def error_fields(data: bytes) -> None:
    """An ErrorResponse: whatever it says can be shown, and shows nothing that steers a terminal."""
    feed = Feed(data)
    query = feed.text()
    body = feed.long()
    try:
        fields = parsers.parse_fields(body, 0, len(body))
    except ProtocolError:
        return
    assert all(len(letter) == 1 for letter in fields)
    error = postgres_error(fields)
    assert error.position is None or error.position > 0
    both: tuple[Any, ...] = error, mixed_in(ConnectionLost, error)
    for shown in both:
        shown.query = query
        text = str(shown)
        assert all(character.isprintable() or character in "\n\t" for character in text)
        # Of the query one line is shown, and of that not all.
        assert len(text) <= 700 + 10 * sum(map(len, fields.values()))
        again = pickle.loads(pickle.dumps(shown))
        assert (type(again), str(again), vars(again)) == (type(shown), text, vars(shown))


def replication(data: bytes) -> None:
    """Messages of pgoutput, each behind its length: refused as a whole, or read to the end."""
    feed = Feed(data)
    reader = PgOutput(TypeRegistry)
    for _ in range(_MOST_MESSAGES):
        body = feed.piece()
        if not body:
            return
        try:
            read = reader.parse(Lsn(7), body)
        except UnreadableValue as unreadable:
            assert isinstance(unreadable.error, DataError)
        except ProtocolError:
            continue
        else:
            assert repr(read)
            assert pickle.loads(pickle.dumps(read)) == read or "nan" in repr(read).lower()


_MOST_MESSAGES = 16


def place(data: bytes) -> None:
    """A place in the write-ahead log: read by both who read such texts, and written the same."""
    text = data.decode(errors="replace")
    try:
        position = Lsn(text)
    except DataError:
        assert not re.fullmatch("[0-9A-F]{1,8}/[0-9A-F]{1,8}", text)
        return
    high, low = text.split("/")
    assert position == int(high, 16) * 2**32 + int(low, 16)
    assert Lsn(str(position)) == position
