"""Every decoder made to raise at every value of every recorded conversation.

The error is the query's whose value it was, and nothing else changes: not one byte that the
client says, not one other outcome, and the next query's answer is its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from tests.support import backend
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY, Replay, byte_by_byte, describe, load, whole
from tests.support.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.pgtypes import Codec


class Spoilt(Exception):
    """What the decoder raises; no class that anybody could expect."""


class RaisingRegistry(TypeRegistry):
    """The real types, but the value with this number (from 1) cannot be decoded."""

    def __init__(self, number: int = 0) -> None:
        super().__init__()
        self.number = number
        self.count = 0
        self.error = Spoilt()

    def codec(self, oid: int) -> Codec:
        codec = REGISTRY.codec(oid)
        return replace(
            codec, decode=self._counted(codec.decode), decode_text=self._counted(codec.decode_text)
        )

    def _counted(self, decode: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.number:
                raise self.error
            return decode(*arguments)

        return counted


def values_in(name: str) -> int:
    registry = RaisingRegistry()
    Replay(load(name), whole, registry).run()
    return registry.count


VALUES = {name: values_in(name) for name in SCENARIOS}
WITH_ROWS = [name for name, count in VALUES.items() if count]


def test_most_conversations_have_values() -> None:
    assert len(WITH_ROWS) > len(SCENARIOS) / 2
    assert sum(VALUES.values()) > 200


@pytest.mark.parametrize("name", WITH_ROWS)
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_a_decoding_error_spoils_its_own_result_only(name: str, cut: Any) -> None:
    recording = load(name)
    numbers = range(1, VALUES[name] + 1)
    for number in numbers if cut is whole else numbers[:30]:
        registry = RaisingRegistry(number)
        replay = Replay(recording, cut, registry)
        outcome = replay.run()
        assert replay.said == replay.expected

        operations = replay.play.operations
        (spoilt,) = [o for o in operations if o.error is registry.error]
        expected = list(recording.outcome.operations)
        expected[operations.index(spoilt)] = describe(spoilt)
        assert outcome.operations == expected
        assert outcome.status == recording.outcome.status
        assert spoilt.result is None or isinstance(spoilt, SimpleQuery)
        assert registry.error.__notes__[0].startswith("while decoding ")

        if not outcome.failure:
            _check_next_query(replay.session)


def _check_next_query(session: Session) -> None:
    assert session.in_step
    marker = Query("echo /* marker */", [7_654_321])
    run(session, BackendDouble(), marker)
    assert marker.error is None
    assert marker.result.scalars() == [7_654_321]


def test_the_note_says_which_row() -> None:
    registry = RaisingRegistry(6)
    session = Session(registry)
    query = Query("select")
    session.submit(query)
    columns = [backend.column("a", 25), backend.column("b", 25)]
    session.receive_data(backend.described((), columns))
    rows = backend.row(b"1", b"2") * 2 + backend.row(None, b"3") + backend.row(b"4", b"5")
    session.receive_data(backend.executed(rows))
    assert registry.error.__notes__[0].endswith("row 4")


def test_lengths_that_are_wrong_are_the_servers_fault_even_where_a_decoder_raises() -> None:
    """The session fails with a ProtocolError, and so does the query."""
    session = Session(RaisingRegistry(1))
    query = Query("select")
    session.submit(query)
    session.receive_data(backend.described((), [backend.column("a", 25)]))
    malformed = backend.message("D", b"\0\1\0\0\0\7x")
    session.receive_data(backend.BIND_COMPLETE + backend.row(b"1") + malformed)
    assert str(session.failure) == "the server sent a malformed DATA_ROW"
    assert repr(query.error) == repr(session.failure)
