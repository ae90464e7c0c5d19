"""What is said between two leases."""

from __future__ import annotations

import pytest

from pgwire.errors import ConnectionLost
from pgwire.protocol import frontend
from pgwire.protocol.cleaning import RESET, Clean, cleaning
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.sqlstate import ActiveSqlTransaction, AdminShutdown
from tests.support import backend
from tests.support.conversations import REGISTRY

ADVISORY = backend.row_description(backend.column("pg_advisory_unlock_all", 2278))


def in_state(status: str) -> Session:
    session = Session(REGISTRY)
    session.submit(Ping())
    session.data_to_send()
    session.receive_data(backend.ready(status))
    return session


@pytest.mark.parametrize(
    ("status", "changed", "reset", "said"),
    [
        ("T", False, None, "ROLLBACK"),
        ("E", True, False, "ROLLBACK"),
        ("I", True, None, RESET),
        ("I", False, True, RESET),
        ("T", True, None, f"ROLLBACK; {RESET}"),
    ],
)
def test_what_is_said(status: str, changed: bool, reset: bool | None, said: str) -> None:
    session = in_state(status)
    session.changed = changed
    clean = cleaning(session, reset)
    assert clean is not None
    session.submit(clean)
    assert session.data_to_send() == frontend.query(said.encode() + b"\0")
    # Said in advance: the next lease finds a session without a past.
    assert session.transaction_status is TransactionStatus.IDLE
    assert session.changed is False


@pytest.mark.parametrize(("changed", "reset"), [(False, None), (False, False), (True, False)])
def test_a_session_that_is_fit_is_left_alone(changed: bool, reset: bool | None) -> None:
    session = in_state("I")
    session.changed = changed
    assert cleaning(session, reset) is None


def test_everything_that_discard_all_does_but_for_prepared_statements() -> None:
    for command in ("CLOSE ALL", "UNLISTEN *", "RESET SESSION AUTHORIZATION", "RESET ALL"):
        assert command in RESET
    for command in ("pg_advisory_unlock_all", "DISCARD TEMP", "DISCARD SEQUENCES"):
        assert command in RESET
    assert "DEALLOCATE" not in RESET
    assert "DISCARD ALL" not in RESET


def begun(status: str = "T") -> tuple[Session, Clean]:
    session = in_state(status)
    clean = cleaning(session, reset=True)
    assert clean is not None
    session.submit(clean)
    session.data_to_send()
    return session, clean


def test_the_next_query_is_written_without_waiting_and_gets_its_own_answer() -> None:
    session, clean = begun()
    query = Query("select 1")
    session.submit(query)
    assert session.data_to_send() != b""
    session.receive_data(backend.notice("the last lease's") + backend.complete("ROLLBACK"))
    session.receive_data(ADVISORY + backend.row(b"") + backend.complete() + backend.ready())
    assert clean.done
    assert not session.events
    described = backend.described((), [backend.column()])
    session.receive_data(described + backend.ready())
    assert session.data_to_send() != b""
    session.receive_data(backend.executed(backend.row(backend.int4(7))))
    assert query.result.scalar() == 7
    assert not session.changed


def test_what_the_cleaning_returns_is_not_decoded() -> None:
    session, clean = begun()
    columns = backend.row_description(backend.column("n", 23))
    session.receive_data(columns + backend.row(b"no number") + backend.complete())
    session.receive_data(backend.ready())
    assert (clean.done, clean.error) == (True, None)
    assert session.in_step


@pytest.mark.parametrize("behind", [0, 2])
def test_where_cleaning_fails_nobody_may_go_on(behind: int) -> None:
    session, clean = begun()
    queries = [Query(f"select {n}") for n in range(behind)]
    for query in queries:
        session.submit(query)
    session.receive_data(backend.complete("ROLLBACK") + backend.error("25001") + backend.ready())
    assert isinstance(clean.error, ActiveSqlTransaction)
    assert type(session.failure) is ConnectionLost
    assert str(session.failure) == "the session could not be cleaned after its last lease"
    assert repr(session.failure.__cause__) == repr(clean.error)
    assert all(isinstance(query.error, ConnectionLost) for query in queries)


@pytest.mark.parametrize("status", ["T", "E"])
def test_where_the_transaction_is_still_open_nobody_may_go_on(status: str) -> None:
    session, clean = begun()
    session.receive_data(backend.complete("ROLLBACK") + backend.ready(status))
    assert clean.error is None
    assert type(session.failure) is ConnectionLost


def test_a_fatal_error_while_cleaning() -> None:
    session, clean = begun()
    session.receive_data(backend.fatal())
    assert isinstance(session.failure, AdminShutdown)
    assert repr(clean.error) == repr(session.failure)
