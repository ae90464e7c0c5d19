"""What a real server said, replayed: whole, byte by byte, cut at random, and cut short.

The recordings and what is in them: tests/support/scenarios.py.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import Error
from pgwire.protocol.session import Session
from tests.support.conversations import FOLDER, REGISTRY, Replay, byte_by_byte, load, whole
from tests.support.scenarios import SCENARIOS, Play

if TYPE_CHECKING:
    from collections.abc import Iterable

NAMES = sorted(SCENARIOS)
by_name = pytest.mark.parametrize("name", NAMES)


def test_every_scenario_has_been_recorded() -> None:
    assert [path.stem for path in sorted(FOLDER.glob("*.jsonl"))] == NAMES


@by_name
def test_replayed_whole(name: str) -> None:
    """The client says what it said to the server, byte for byte, and it comes to the same."""
    replay = Replay(load(name), whole)
    assert replay.run() == load(name).outcome
    assert replay.said == replay.expected


@by_name
def test_replayed_byte_by_byte(name: str) -> None:
    replay = Replay(load(name), byte_by_byte)
    assert replay.run() == load(name).outcome
    assert replay.said == replay.expected


@given(st.data())
def test_replayed_with_random_cuts(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))

    def cut(said: bytes) -> Iterable[bytes]:
        ends = data.draw(st.lists(st.integers(0, len(said)), max_size=8).map(sorted))
        return (said[i:j] for i, j in zip([0, *ends], [*ends, len(said)], strict=True))

    replay = Replay(load(name), cut)
    assert replay.run() == load(name).outcome
    assert replay.said == replay.expected


@by_name
def test_in_step_at_the_end(name: str) -> None:
    replay = Replay(load(name))
    failure = replay.run().failure
    assert replay.session.in_step is not bool(failure)
    assert not replay.session.pending
    assert replay.session.data_to_send() == b""


@by_name
def test_the_recorded_outcomes_are_of_the_kind_that_the_scenario_is_about(name: str) -> None:
    """A recording that went wrong when it was made would otherwise prove nothing."""
    text = json.dumps(vars(load(name).outcome))
    for word in WORDS.get(name, ()):
        assert word in text


WORDS = {
    "login_wrong_password": ["AuthenticationError_InvalidPassword"],
    "login_no_such_database": ["InvalidCatalogName"],
    "error_in_parse": ["PostgresSyntaxError", "one=1"],
    "error_in_bind": ["InvalidDatetimeFormat", "date(2024, 2, 29)"],
    "error_in_execute": ["DivisionByZero", "n=2"],
    "error_at_sync": ["ForeignKeyViolation"],
    "error_in_transaction": ["InFailedSqlTransaction", "ROLLBACK", '"status": "IDLE"'],
    "error_timeout": ["QueryCanceled"],
    "script_error": ["DivisionByZero: division by zero after", "a=1", "c=3"],
    "notices": ["one", "two", "row 3"],
    "notifications_and_parameters": ["channel='news', payload='he said", "Europe/Berlin"],
    "client_encoding": ["InterfaceError: client_encoding was set to 'LATIN1'"],
    "stale_plan": ["b='new'"],
    "stale_plan_in_transaction": ["FeatureNotSupported", "b='new'"],
    "stale_plan_in_pipeline": ["FeatureNotSupported", "b='new'"],
    "stale_statement": ["n=2", "n=3"],
    "prepared": ["n=3", "n=4"],
    "copy_in_query": ["NotSupportedError", "one=1"],
    "copy_in_pipeline": ["NotSupportedError: COPY FROM STDIN in a pipeline"],
    "copy_in_script_in_pipeline": ["NotSupportedError: COPY FROM STDIN needs copy_in()"],
    "copy_out_query": ["NotSupportedError", "one=1"],
    "copy_out_script": ["NotSupportedError", "one=1"],
    "copy_in": ['"3"', "InvalidTextRepresentation", "UndefinedTable", "a=[1, 2, 3]"],
    "copy_in_given_up": ["OperationalError: its own", "InFailedSqlTransaction", "n=0"],
    "copy_in_deferred": ["ForeignKeyViolation", "n=0"],
    "copy_other_ways": ["use copy_out()", "use query()", "SELECT 0", "one=1", "multiple commands"],
    "copy_out": ['"100"', "UndefinedTable", "one=1", "DivisionByZero", '"0"'],
    "copy_records": ["b='b\\\\tc'", "n=2", "UndefinedTable", "UndefinedColumn"],
    "copy_records_as_text": ["c='10.0.0.1/32'", "InvalidTextRepresentation"],
    "copy_records_failing": ["DataError: column 'a'", "UniqueViolation", "InFailedSqlTr", "n=0"],
    "cleaning": ["one=1", "gone=None", '"events": []'],
    "terminated_in_query": ["ConnectionLost_AdminShutdown"],
    "terminated_when_idle": ["one=1", "ConnectionLost_AdminShutdown"],
}


@by_name
def test_the_end_at_any_byte_ends_every_operation(name: str) -> None:
    """After EOF nothing is pending, and whatever was not answered has an error of ours."""
    turns = [turn.data for turn in load(name).turns if turn.side == "server"]
    for number, turn in enumerate(turns):
        # The last byte of a large row is no different from any other.
        for end in range(len(turn) + 1) if len(turn) < 3000 else (1, 1000, len(turn) - 1):
            replay = Replay(load(name))
            replay.feed([*turns[:number], turn[:end]])
            answered = sum(operation.done for operation in replay.play.operations)
            replay.session.receive_eof()
            replay.session.receive_eof()
            assert replay.session.failure is not None
            assert not replay.session.pending
            for operation in replay.play.operations[answered:]:
                assert operation.done
                assert isinstance(operation.error, Error)
                assert operation.result is None or isinstance(operation.result, list)


def test_a_scenario_says_itself_whether_it_logs_in() -> None:
    assert [name for name in NAMES if SCENARIOS[name].logs_in] == [
        name for name in NAMES if name.startswith("login_")
    ]
    assert isinstance(Play(Session(REGISTRY)).session, Session)
