"""Streaming: what is asked for ahead, who may speak meanwhile, and how it ends."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from pgwire.errors import (
    DataError,
    InterfaceError,
    NotSupportedError,
    PostgresError,
    ProgrammingError,
)
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol import frontend
from pgwire.protocol.fetching import ClosePortal
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.protocol.streaming import Streaming
from tests.support import backend
from tests.support.catalogue import MOOD, answer as found
from tests.support.conversations import REGISTRY
from tests.support.extended import DESCRIBED, said, submit

SQL = "select n from t where n > $1"
SUSPENDED = backend.message("s")
PORTAL = b"_pgwire_2\0"
FETCH = frontend.execute(PORTAL, 2) + frontend.FLUSH
STEP = frontend.execute(PORTAL, 2) + frontend.SYNC


class Number(NamedTuple):
    n: int


class Other(NamedTuple):
    m: int


def numbers(*values: int) -> bytes:
    return b"".join(backend.row(backend.int4(value)) for value in values)


def begun(status: str = "I", **options: Any) -> tuple[Session, Streaming]:
    """A stream whose first batch is being computed, outside or inside of a transaction."""
    session = Session(REGISTRY)
    if status != "I":
        submit(session, Ping())
        session.data_to_send()
        session.receive_data(backend.ready(status))
    operation = Streaming(SQL, [0], fetch_size=2, **options)
    submit(session, operation)
    assert b"P" in said(session)
    written = said(session, DESCRIBED)
    assert written.startswith(b"B")
    assert written.endswith(FETCH if status == "I" else STEP)
    return session, operation


def taken(operation: Streaming) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in operation.make_rows(operation.take())]


# Outside of a transaction.


def test_a_batch_is_asked_for_ahead_and_no_more() -> None:
    session, operation = begun()
    assert said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED) == FETCH
    assert said(session, numbers(3, 4) + SUSPENDED) == b""
    assert repr(operation) == "Streaming(WAITING)"
    assert taken(operation) == [(1,), (2,)]
    assert said(session) == FETCH
    assert taken(operation) == [(3,), (4,)]
    assert not operation.is_ready
    assert said(session, numbers(5) + backend.complete("SELECT 5")) == frontend.SYNC
    assert taken(operation) == [(5,)]
    session.receive_data(backend.ready())
    assert operation.done
    assert operation.is_exhausted
    assert not operation.lives_on
    assert session.in_step
    assert operation.leave() is None


@pytest.mark.parametrize(
    ("row", "made"),
    [(dict, {"n": 7}), (tuple, (7,)), (Number, Number(7)), (lambda row: row.n + 1, 8)],
)
def test_rows_of_another_shape(row: Any, made: Any) -> None:
    session, operation = begun(row=row)
    said(session, backend.BIND_COMPLETE + numbers(7, 8) + SUSPENDED)
    assert operation.make_rows(operation.take())[0] == made
    said(session, numbers(7) + backend.complete() + backend.ready())
    assert operation.make_rows(operation.take()) == [made]


def test_what_makes_a_row_may_raise() -> None:
    """It says in which one: of the batch, and where that begins."""

    def make(row: Any) -> Any:
        return 1 // (row.n - 5)

    class NoNotes(Exception):
        add_note = None  # type: ignore[assignment]

    def refuse(row: Any) -> Any:
        raise NoNotes

    for row, error, notes in (
        (make, ZeroDivisionError, ["in row 2 of 2", "of a batch behind 2 rows"]),
        (refuse, NoNotes, []),
    ):
        session, operation = begun(row=row)
        said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
        said(session, numbers(3, 5) + SUSPENDED)
        if row is make:
            assert operation.make_rows(operation.take()) == [-1, -1]
        with pytest.raises(error) as caught:
            operation.make_rows(operation.take())
        assert getattr(caught.value, "__notes__", []) == notes
        assert not operation.done


@pytest.mark.parametrize("status", ["I", "T"])
def test_what_cannot_be_made_of_the_columns_is_told_before_it_is_run(status: str) -> None:
    session = Session(REGISTRY)
    if status != "I":
        submit(session, Ping())
        session.data_to_send()
        session.receive_data(backend.ready(status))
    operation = Streaming(SQL, [0], row=Other)
    submit(session, operation)
    session.data_to_send()
    assert said(session, DESCRIBED) == frontend.SYNC
    said(session, backend.ready(status))
    assert isinstance(operation.error, InterfaceError)
    assert "rows cannot become Other" in str(operation.error)
    assert session.in_step
    with pytest.raises(InterfaceError, match="row must be a class"):
        Streaming(SQL, [0], row=7)  # type: ignore[arg-type]


def test_what_was_given_up_meanwhile_has_nothing_to_take() -> None:
    """By another thread, after somebody has seen that it is ready."""
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    assert operation.is_ready
    operation.abandon()
    assert taken(operation) == []


@pytest.mark.parametrize("rows", [b"", numbers(1), numbers(1, 2)])
def test_few_rows_come_at_once(rows: bytes) -> None:
    session, operation = begun()
    answer = backend.BIND_COMPLETE + rows + (SUSPENDED if rows.count(b"D") == 2 else b"")
    said(session, answer)
    assert said(session, backend.complete("SELECT 2")).endswith(frontend.SYNC)
    session.receive_data(backend.ready())
    assert operation.done
    assert sum(len(taken(operation)) for _ in tuple(operation.batches)) == rows.count(b"D")


def test_an_empty_statement_has_no_rows() -> None:
    session, operation = begun()
    assert said(session, backend.BIND_COMPLETE + backend.EMPTY_QUERY) == frontend.SYNC
    session.receive_data(backend.ready())
    assert operation.done
    assert operation.error is None


def test_nobody_else_may_ask_for_anything_until_the_end_is_there() -> None:
    session, operation = begun()
    refused = Ping()
    submit(session, refused)
    assert isinstance(refused.error, InterfaceError)
    session.receive_data(backend.BIND_COMPLETE + numbers(1) + backend.complete("SELECT 1"))
    behind = Ping()
    submit(session, behind)
    assert said(session) == frontend.SYNC * 2
    session.receive_data(backend.ready() * 2)
    assert behind.done
    assert taken(operation) == [(1,)]


def test_the_columns_are_known_with_the_statement() -> None:
    session, operation = begun()
    assert operation.columns is not None
    assert [column.name for column in operation.columns] == ["n"]
    assert Streaming(SQL).columns is None
    session.fail(InterfaceError("over"))


def test_leaving_while_the_server_waits() -> None:
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    said(session, numbers(3, 4) + SUSPENDED)
    operation.abandon()
    assert said(session) == frontend.SYNC
    submit(session, Ping())
    session.data_to_send()
    session.receive_data(backend.ready() * 2)
    assert operation.done
    assert not operation.is_ready
    assert session.in_step


@pytest.mark.parametrize("end", [SUSPENDED, backend.complete("SELECT 4")])
def test_leaving_while_rows_are_on_their_way(end: bytes) -> None:
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + numbers(3))
    operation.abandon()
    assert said(session) == frontend.SYNC
    assert said(session, numbers(4) + end) == b""
    session.receive_data(backend.ready())
    assert operation.done
    assert session.in_step


def test_leaving_before_it_has_begun() -> None:
    session = Session(REGISTRY)
    operation = Streaming(SQL, [0])
    submit(session, operation)
    operation.abandon()
    assert said(session, DESCRIBED).endswith(frontend.SYNC)
    session.receive_data(backend.ready())
    assert operation.done
    assert session.in_step


@pytest.mark.parametrize("answer", [b"", backend.BIND_COMPLETE, backend.BIND_COMPLETE + numbers(1)])
def test_an_error_of_the_first_batch(answer: bytes) -> None:
    session, operation = begun()
    assert said(session, answer + backend.error("22012")) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.query == SQL
    assert not operation.is_ready
    assert session.in_step


def test_an_error_of_a_later_batch_comes_behind_the_rows_before_it() -> None:
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    assert said(session, numbers(3) + backend.error("22012")) == frontend.SYNC
    session.receive_data(backend.ready())
    assert taken(operation) == [(1,), (2,)]
    assert not operation.is_ready
    assert isinstance(operation.error, PostgresError)


def test_an_error_while_the_server_waits_ends_it() -> None:
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    said(session, numbers(3, 4) + SUSPENDED)
    session.receive_data(backend.fatal())
    assert session.failure is not None
    assert operation.done


def test_rows_that_cannot_be_read_end_it() -> None:
    session, operation = begun()
    answer = backend.BIND_COMPLETE + backend.row(b"three") + SUSPENDED
    assert said(session, answer) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, DataError)
    assert session.in_step


def test_a_stale_statement_heals() -> None:
    session, operation = begun()
    said(session, backend.BIND_COMPLETE + backend.complete())
    session.receive_data(backend.ready())
    operation = Streaming(SQL, [0], fetch_size=2)
    submit(session, operation)
    assert said(session).endswith(frontend.FLUSH)
    assert said(session, backend.error("0A000")) == frontend.SYNC
    assert said(session, backend.ready()).startswith(b"C")
    said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    session.receive_data(backend.BIND_COMPLETE + numbers(7) + backend.complete())
    session.receive_data(backend.ready())
    assert taken(operation) == [(7,)]
    assert operation.error is None


def test_a_statement_that_the_server_cannot_parse() -> None:
    session = Session(REGISTRY)
    operation = Streaming("select")
    submit(session, operation)
    session.data_to_send()
    assert said(session, backend.error("42601")) == frontend.SYNC
    submit(session, Ping())
    session.data_to_send()
    session.receive_data(backend.ready() * 2)
    assert isinstance(operation.error, PostgresError)
    assert session.in_step


def test_what_begins_anew_has_not_given_anything_yet() -> None:
    """A cancel request that was meant for another one may have hit it."""
    from pgwire.protocol.simple import Fence

    session, operation = begun()
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    session.raise_fence(fence := Fence())
    fence.requests = 1
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert taken(operation) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("refused", "answered"),
    [
        (backend.copy_in(0), backend.error("57014")),
        (backend.copy_out(0) + backend.copy_data(b"1") + backend.COPY_DONE, backend.complete()),
        (backend.copy_out(0) + backend.copy_data(b"1"), backend.error("22012")),
    ],
)
@pytest.mark.parametrize("status", ["I", "T"])
def test_copy_has_calls_of_its_own(status: str, refused: bytes, answered: bytes) -> None:
    session, operation = begun(status)
    written = said(session, backend.BIND_COMPLETE + refused)
    written += said(session, answered)
    assert written.count(frontend.SYNC) == (1 if status == "I" or b"f" in written else 0)
    submit(session, Ping())
    session.data_to_send()
    session.receive_data(backend.ready(status) * 2)
    assert isinstance(operation.error, NotSupportedError)
    assert session.in_step


@pytest.mark.parametrize("size", [0, -1, 1.5, True, 2**31, None])
def test_a_fetch_size_that_makes_no_sense(size: Any) -> None:
    with pytest.raises(ProgrammingError, match="fetch_size"):
        Streaming(SQL, fetch_size=size)


def test_a_misfit_is_found_before_anything_is_sent() -> None:
    session, _ = begun()
    said(session, backend.BIND_COMPLETE + backend.complete())
    session.receive_data(backend.ready())
    operation = Streaming(SQL, ["x" * 3, 1])
    submit(session, operation)
    assert operation.done
    assert operation.error is not None
    assert session.in_step


# Types that are not known yet.


def stream_of_records(status: str) -> tuple[Session, Streaming]:
    session = Session(TypeRegistry())
    if status != "I":
        submit(session, Ping())
        session.data_to_send()
        session.receive_data(backend.ready(status))
    operation = Streaming("select row(m) from t", fetch_size=1)
    submit(session, operation)
    session.data_to_send()
    said(session, backend.described([], [backend.column("r", 2249)]))
    return session, operation


def record(label: bytes) -> bytes:
    return backend.row(backend.int4(1) + backend.int4(MOOD.oid) + backend.int4(len(label)) + label)


def test_types_in_the_rows_are_asked_for_before_they_are_handed_on() -> None:
    session, operation = stream_of_records("I")
    asked = said(session, backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    assert asked.startswith(b"P")
    assert asked.endswith(frontend.FLUSH)
    assert not operation.is_ready
    assert said(session, found(MOOD)) == (frontend.execute(operation.portal, 1) + frontend.FLUSH)
    assert operation.make_rows(operation.take())[0][0][0] == "ok"
    said(session, record(b"sad") + backend.complete())
    session.receive_data(backend.ready())
    assert operation.make_rows(operation.take())[0][0][0] == "sad"
    assert session.in_step


def test_types_that_cannot_be_found_are_an_error() -> None:
    session, operation = stream_of_records("I")
    said(session, backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    assert said(session, backend.error("42501")) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert session.in_step


def test_types_that_nobody_knows_are_an_error() -> None:
    session, operation = stream_of_records("I")
    said(session, backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    assert said(session, found()) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, DataError)
    assert session.in_step


def test_leaving_while_types_are_asked_for() -> None:
    session, operation = stream_of_records("I")
    said(session, backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    operation.abandon()
    assert said(session, found(MOOD)) == frontend.SYNC
    session.receive_data(backend.ready())
    assert operation.done
    assert session.in_step


def test_types_in_the_rows_inside_of_a_transaction() -> None:
    session, operation = stream_of_records("T")
    session.receive_data(backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    assert said(session, backend.ready("T")).endswith(frontend.SYNC)
    session.receive_data(found(MOOD) + backend.ready("T"))
    assert operation.make_rows(operation.take())[0][0][0] == "ok"
    assert operation.lives_on


# Inside of a transaction.


def test_each_step_is_an_operation_of_its_own() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    assert operation.done
    assert operation.lives_on
    assert taken(operation) == [(1,), (2,)]
    between = Ping()
    submit(session, between)
    fetch = operation.fetch()
    submit(session, fetch)
    assert said(session) == frontend.SYNC + STEP
    session.receive_data(backend.ready("T") + numbers(3, 4) + SUSPENDED + backend.ready("T"))
    assert (between.done, fetch.done, operation.lives_on) == (True, True, True)
    assert taken(operation) == [(3,), (4,)]
    last = operation.fetch()
    submit(session, last)
    session.receive_data(backend.complete("SELECT 0") + backend.ready("T"))
    assert last.done
    assert not operation.is_ready
    assert not operation.lives_on


def test_all_at_once_inside_of_a_transaction() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1) + backend.complete())
    session.receive_data(backend.ready("T"))
    assert taken(operation) == [(1,)]
    assert not operation.lives_on


def test_the_transaction_has_ended_and_the_portal_with_it() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    fetch = operation.fetch()
    submit(session, fetch)
    session.receive_data(backend.error("34000") + backend.ready("I"))
    assert isinstance(fetch.error, InterfaceError)
    assert "has ended" in str(fetch.error)
    assert not operation.lives_on


def test_an_error_of_a_step() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    fetch = operation.fetch()
    submit(session, fetch)
    session.receive_data(numbers(3) + backend.error("22012") + backend.ready("E"))
    assert isinstance(fetch.error, PostgresError)
    assert fetch.error.query == SQL
    assert not operation.lives_on


def test_a_step_that_nobody_waits_for() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    taken(operation)
    fetch = operation.fetch()
    submit(session, fetch)
    fetch.abandon()
    session.receive_data(numbers(3, 4) + SUSPENDED + backend.ready("T"))
    assert not operation.is_ready
    assert not operation.lives_on


def test_rows_of_a_step_that_hold_types_that_are_not_known() -> None:
    session, operation = stream_of_records("T")
    session.receive_data(backend.BIND_COMPLETE + SUSPENDED + backend.ready("T"))
    fetch = operation.fetch()
    submit(session, fetch)
    session.data_to_send()
    session.receive_data(record(b"ok") + SUSPENDED)
    assert said(session, backend.ready("T")).endswith(frontend.SYNC)
    session.receive_data(found(MOOD) + backend.ready("T"))
    assert fetch.error is None
    assert operation.make_rows(operation.take())[0][0][0] == "ok"


def test_a_portal_that_nobody_wants_is_closed_with_the_next_flight() -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    operation.close_portal()
    operation.close_portal()
    submit(session, query := Query(SQL, [1]))
    assert said(session).startswith(frontend.close_portal(PORTAL) + b"B")
    session.receive_data(backend.CLOSE_COMPLETE + backend.executed(status="T"))
    assert query.error is None
    assert session.in_step


@pytest.mark.parametrize("status", ["T", "E", "I"])
def test_leaving_closes_the_portal_if_it_is_still_there(status: str) -> None:
    session, operation = begun("T")
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready(status))
    closing = operation.leave()
    assert operation.leave() is None
    operation.close_portal()
    assert not session.statements.closing
    if status == "I":
        assert closing is None
        return
    assert closing is not None
    submit(session, closing)
    assert said(session) == frontend.close_portal(PORTAL) + frontend.SYNC
    session.receive_data(backend.CLOSE_COMPLETE + backend.ready(status))
    assert closing.done


def test_leaving_inside_of_a_transaction_before_anything_has_come() -> None:
    session, operation = begun("T")
    operation.abandon()
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED + backend.ready("T"))
    assert operation.done
    submit(session, Query(SQL, [1]))
    assert said(session).startswith(frontend.close_portal(PORTAL))


def test_a_portal_is_closed_at_once() -> None:
    session = Session(REGISTRY)
    operation = ClosePortal(PORTAL)
    submit(session, operation)
    assert said(session) == frontend.close_portal(PORTAL) + frontend.SYNC
    session.receive_data(backend.CLOSE_COMPLETE + backend.ready("T"))
    assert operation.done
    assert operation.error is None


# Behind others, whose answers tell where it is.


@pytest.mark.parametrize("status", ["I", "T"])
@pytest.mark.parametrize("cached", [False, True])
def test_behind_others_it_waits_for_their_answers(status: str, cached: bool) -> None:
    session = Session(REGISTRY)
    if cached:
        submit(session, Query(SQL, [1]))
        said(session)
        said(session, DESCRIBED)
        session.receive_data(backend.executed())
    before, operation, behind = Ping(), Streaming(SQL, [0], fetch_size=2), Ping()
    submit(session, before, operation, behind)
    assert said(session) == frontend.SYNC
    written = said(session, backend.ready(status))
    if not cached:
        written = said(session, DESCRIBED)
    end = frontend.FLUSH if status == "I" else frontend.SYNC * 2  # the last is that of who waits
    assert written.endswith(frontend.execute(operation.portal, 2) + end)
    said(session, backend.BIND_COMPLETE + numbers(1) + backend.complete())
    session.receive_data(backend.ready(status) * 2)
    assert behind.done
    assert taken(operation) == [(1,)]


def test_a_misfit_behind_others() -> None:
    session = Session(REGISTRY)
    submit(session, Query(SQL, [1]))
    said(session)
    said(session, DESCRIBED)
    session.receive_data(backend.executed())
    operation = Streaming(SQL, [object()])
    submit(session, Ping(), operation)
    assert said(session) == frontend.SYNC
    assert said(session, backend.ready()) == b""
    assert isinstance(operation.error, DataError)
    assert session.in_step


def test_leaving_while_others_are_waited_for() -> None:
    session = Session(REGISTRY)
    operation = Streaming(SQL, [0])
    submit(session, Ping(), operation)
    said(session)
    operation.abandon()
    assert said(session, backend.ready()) == b""
    assert operation.done
    assert session.in_step


def test_who_listens_is_told_of_batches_and_of_the_end() -> None:
    session, operation = begun()
    heard: list[tuple[int, bool]] = []
    operation.listener = lambda: heard.append((len(operation.batches), operation.done))
    session.receive_data(backend.BIND_COMPLETE + numbers(1, 2) + SUSPENDED)
    session.receive_data(backend.complete("SELECT 2") + backend.ready())
    assert heard == [(1, False), (1, True)]
    session, operation = begun()
    operation.listener = lambda: heard.append((0, operation.done))
    operation.abandon()
    assert heard[-1] == (0, False)


def test_what_changes_the_session_is_noted() -> None:
    session = Session(REGISTRY)
    operation = Streaming("listen news")
    submit(session, operation)
    said(session)
    said(session, backend.described())
    assert session.changed
    said(session, backend.BIND_COMPLETE + backend.complete("LISTEN"))
    session.receive_data(backend.ready())
    assert operation.command_tag == "LISTEN"


def test_abandoned_while_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C strikes anywhere: before it has written anything, or is in any phase."""

    def interrupted(_data: bytes) -> None:
        raise KeyboardInterrupt

    session, _ = begun()
    said(session, backend.BIND_COMPLETE + backend.complete())
    session.receive_data(backend.ready())
    monkeypatch.setattr(session, "write", interrupted)
    operation = Streaming(SQL, [7], fetch_size=2)
    with pytest.raises(KeyboardInterrupt):
        session.submit(operation)
    operation.abandon()
    assert operation.abandoned
    assert session.data_to_send() == b""
