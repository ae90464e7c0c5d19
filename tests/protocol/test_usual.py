"""Usual answers taken in one go: the same comes of them as message by message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.conversations import REGISTRY
from tests.support.extended import DESCRIBED, answer

INTO = backend.described([23], [])
ANSWERS = {
    "one": backend.BIND_COMPLETE + backend.complete("INSERT 0 1"),
    "none": backend.BIND_COMPLETE + backend.complete("INSERT 0 0"),
    "two": backend.BIND_COMPLETE + backend.complete("INSERT 0 2"),
    "update": backend.BIND_COMPLETE + backend.complete("UPDATE 1"),
    "notice": backend.notice() + backend.BIND_COMPLETE + backend.complete("INSERT 0 1"),
    "inside": backend.BIND_COMPLETE + backend.notice() + backend.complete("INSERT 0 1"),
}
KINDS = st.sampled_from([*["one"] * 8, "none", "two", "update", "notice", "inside"])


def outcome_of_many(pieces: list[bytes], count: int, *, before: int) -> Any:
    session = Session(REGISTRY)
    operation = QueryMany("insert", [[n] for n in range(count)])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(INTO)
    session.data_to_send()
    for piece in pieces:
        session.receive_data(piece)
    assert (operation._answered, operation.done) == (before, True)
    tag = None if operation.result is None else operation.result.command_tag
    error: Any = operation.error
    return (
        tag,
        str(error),
        getattr(error, "record_index", None),
        len(session.events),
        session.in_step,
    )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[i:j] for i, j in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(
    st.lists(KINDS, min_size=1, max_size=40),
    st.none() | st.integers(0, 40),
    st.lists(st.integers(0, 10_000), max_size=6),
)
@example(["one"] * 40, None, [100])
@example(["one"] * 20 + ["none"] + ["one"] * 19, None, [60, 61, 65, 66, 300])
def test_records(kinds: list[str], failing: int | None, places: list[int]) -> None:
    answers = [ANSWERS[kind] for kind in kinds]
    if failing is not None and failing < len(answers):
        answers[failing:] = [backend.error("23505")]
    data = b"".join(answers) + backend.ready()
    before = len(answers) - (failing is not None and failing < len(kinds))
    whole = outcome_of_many(cut(data, places), len(kinds), before=before)
    single = outcome_of_many([data[i : i + 1] for i in range(len(data))], len(kinds), before=before)
    assert whole == single


def test_more_answers_than_records_are_a_violation() -> None:
    session = Session(REGISTRY)
    operation = QueryMany("insert", [[1], [2], [3]])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(INTO)
    session.data_to_send()
    session.receive_data(ANSWERS["one"])
    session.receive_data(ANSWERS["one"] * 5)
    assert "BIND_COMPLETE not expected" in str(session.failure)


TAGS = ["SELECT 1", "SELECT 2", "INSERT 0 1", "BEGIN", "DEALLOCATE ALL", "x" * 70, "ü"]


@given(st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from("ITE")), max_size=6), st.data())
def test_queries(answers: list[tuple[str, str]], data: st.DataObject) -> None:
    """The end of an answer is known by its bytes once it has come before."""
    outcomes = []
    for whole in (True, False):
        session = Session(REGISTRY)
        first = Query("select $1", [0])
        session.submit(first)
        session.data_to_send()
        session.receive_data(DESCRIBED + answer(0))
        seen = []
        for number, (tag, status) in enumerate(answers):
            query = Query("select $1", [number])
            session.submit(query)
            session.data_to_send()
            if not query.done and session.pending and query.phase is not query.BINDING:
                session.receive_data(DESCRIBED)  # the server had forgotten the statement
            reply = backend.executed(backend.row(backend.int4(number)), tag=tag, status=status)
            places = data.draw(st.lists(st.integers(0, 200), max_size=3)) if whole else []
            pieces = cut(reply, places) if whole else [reply[i : i + 1] for i in range(len(reply))]
            for piece in pieces:
                session.receive_data(piece)
            seen.append((query.result.command_tag, query.result.rows, session.transaction_status))
        outcomes.append(seen)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("status", ["?", ""])
def test_a_status_that_makes_no_sense(status: str) -> None:
    session = Session(REGISTRY)
    session.submit(Query("select $1", [0]))
    session.data_to_send()
    session.receive_data(DESCRIBED)
    session.receive_data(answer(1)[: -len(backend.ready())] + backend.ready(status))
    assert "READY_FOR_QUERY" in str(session.failure)
