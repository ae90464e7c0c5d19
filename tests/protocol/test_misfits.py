"""Queries that do not fit, and so are never sent, among many that are written meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import ConnectionLost, Error, ProgrammingError
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.observing import Endpoint, ObservedSession, observe
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.extended import DESCRIBED, INT4, answer

SQL = "select $1"
HELD_UP_BY = backend.described([], [INT4])


class Compared(Query):
    """It counts how often one was looked for among others."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return self is other

    __hash__ = Query.__hash__


def started(*, is_observed: bool = False) -> Session:
    """A session that knows the statement, and whose floor is taken."""
    session = Session(TypeRegistry())
    if is_observed:
        observe(session, lambda: 0.0, Endpoint(), None)
    session.submit(Query(SQL, [0]))
    session.data_to_send()
    session.receive_data(DESCRIBED)
    session.data_to_send()
    session.receive_data(answer(0))
    session.submit(Query("select 2", []))
    session.data_to_send()
    return session


def queued(session: Session, fits: str) -> list[Compared]:
    operations = [Compared(SQL, [number] if fit == "+" else []) for number, fit in enumerate(fits)]
    for operation in operations:
        session.submit(operation)
    return operations


def answered(session: Session, operations: list[Compared]) -> list[Any]:
    """What they come to, once the server has answered what was sent."""
    sent = session.data_to_send()
    binds = [message for message in backend.split(sent) if message[:1] == b"B"]
    assert len(binds) == 1 + sum(not operation.done for operation in operations)
    session.receive_data(answer(2))
    for operation in operations:
        if not operation.done:
            session.receive_data(answer(operation._params[0]))
    assert session.in_step
    return [operation.error or operation.result.scalar() for operation in operations]


PATTERNS = {"one by one": "+-", "at the end": "+" * 50 + "-" * 50, "first": "-" * 50 + "+" * 50}


@pytest.mark.parametrize("fits", [PATTERNS[name] for name in PATTERNS], ids=list(PATTERNS))
@pytest.mark.parametrize("size", [2, 100, 1000])
def test_each_has_its_own_answer_or_error(fits: str, size: int) -> None:
    session = started()
    fits = (fits * size)[:size]
    operations = queued(session, fits)
    session.receive_data(HELD_UP_BY)
    for number, outcome in enumerate(answered(session, operations)):
        if fits[number] == "+":
            assert outcome == number
        else:
            assert isinstance(outcome, ProgrammingError)


@pytest.mark.parametrize("is_observed", [False, True])
@pytest.mark.parametrize("fits", [PATTERNS[name] for name in PATTERNS], ids=list(PATTERNS))
def test_what_it_costs_to_withdraw_them_is_in_proportion_to_their_number(
    fits: str, is_observed: bool
) -> None:
    """Each was looked for among all that had been written."""
    size = 4000
    session = started(is_observed=is_observed)
    operations = queued(session, fits * (size // len(fits)))
    Compared.times = 0
    session.receive_data(HELD_UP_BY)
    assert Compared.times < 4 * size
    if isinstance(session, ObservedSession):
        answered(session, operations)
        assert len(session.take_reports()) == 2 + size


def test_who_takes_the_floor_among_them_has_those_behind_wait() -> None:
    session = started()
    before = queued(session, "+-" * 50)
    session.submit(third := Query("select 3", []))
    behind = queued(session, "-+" * 50)
    session.receive_data(HELD_UP_BY)
    assert all(operation.done == (not operation._params) for operation in before)
    assert not any(operation.done for operation in behind)
    session.data_to_send()
    session.receive_data(answer(2) + b"".join(answer(op._params[0]) for op in before[::2]))
    session.receive_data(HELD_UP_BY + backend.ready())  # asked for behind others, with a Sync
    assert [op.done for op in behind] == [True, False] * 50
    session.data_to_send()
    session.receive_data(answer(3) + b"".join(answer(op._params[0]) for op in behind[1::2]))
    assert session.in_step
    assert third.result is not None
    assert [op.result.scalar() for op in behind[1::2] if op.result] == list(range(1, 100, 2))


def test_what_is_asked_for_by_one_that_is_encoded_comes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = started()
    asked: list[Compared] = []
    begin = Compared.begin

    def ask(operation: Compared, session: Session) -> bool:
        if operation is operations[60] and not asked:
            asked.extend(queued(session, "+"))
        return begin(operation, session)

    operations = queued(session, "+-" * 50)
    monkeypatch.setattr(Compared, "begin", ask)
    session.receive_data(HELD_UP_BY)
    outcomes = answered(session, [*operations, *asked])
    assert outcomes[:100:2] == list(range(0, 100, 2))
    assert outcomes[-1] == 0


@pytest.mark.parametrize("at", [10, 60])
def test_a_session_that_is_given_up_by_one_of_them_tells_them_all(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    session = started()
    begin = Compared.begin

    def give_up(operation: Compared, session: Session) -> bool:
        if operation is operations[at]:
            session.fail(ConnectionLost("gone"))
            return False
        return begin(operation, session)

    operations = queued(session, "+-" * 50)
    monkeypatch.setattr(Compared, "begin", give_up)
    session.receive_data(HELD_UP_BY)
    assert all(operation.done and isinstance(operation.error, Error) for operation in operations)
