"""Observed sessions: every operation that was asked for is reported, once, as it came to be."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import ConnectionLost, DataError, InterfaceError, QueryTimeout
from pgwire.protocol.cleaning import cleaning
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.events import EVENT_NAMES, ReportsAreThere
from pgwire.protocol.many import QueryMany
from pgwire.protocol.messages import BackendKeyData
from pgwire.protocol.observing import (
    Asked,
    Endpoint,
    ObservedSession,
    QueryReport,
    observe,
    stop_observing,
)
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from pgwire.protocol.streaming import Streaming
from pgwire.protocol.watching import RoleSession
from tests.support import backend
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY, Replay, byte_by_byte, load, whole
from tests.support.scenarios import SCENARIOS

if TYPE_CHECKING:
    from pgwire.protocol.operation import Operation

ENDPOINT = Endpoint("db.example", 5433, "shop", "app")


def observed(session: Session | None = None) -> ObservedSession:
    """A session whose clock ticks once a look, and that somebody observes."""
    session = session or Session(REGISTRY)
    ticks = count()
    observe(session, lambda: float(next(ticks)), ENDPOINT, "pool-1")
    assert isinstance(session, ObservedSession)
    return session


def reports(session: ObservedSession) -> list[QueryReport]:
    """What is to be told, which the events say is there."""
    told = [report for report, _ in session.take_reports()]
    assert (ReportsAreThere in session.events) is bool(told)
    session.events.clear()
    return told


def end(session: Session, *operations: Operation) -> None:
    """Have them answered."""
    server = BackendDouble()
    for operation in operations:
        session.submit(operation)
    run(session, server)


# ---------------------------------------------------------------- what is told


def test_a_query() -> None:
    session = observed()
    session.backend_key = BackendKeyData(4711, b"secret")
    end(session, query := Query("echo", [42]))
    (report,) = reports(session)
    assert query.done
    assert report == QueryReport(
        "query", "echo", 1.0, 1, "SELECT 1", parameterized=True,
        host="db.example", port=5433, database="shop", user="app", backend_pid=4711, pool="pool-1",
    )  # fmt: skip
    assert report.reveal_parameters() == (42,)


def test_a_report_has_all_its_fields_and_can_be_made_anew() -> None:
    session = observed()
    end(session, Query("rows 1"))
    (report,) = reports(session)
    names = [field.name for field in dataclasses.fields(QueryReport)]
    assert vars(report).keys() == set(names)
    assert QueryReport(**vars(report)) == report == pickle.loads(pickle.dumps(report))
    assert dataclasses.replace(report, sql="other").sql == "other"
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.sql = "other"  # type: ignore[misc]


def test_values_are_shown_to_nobody_who_does_not_ask_for_them() -> None:
    session = observed()
    end(session, Query("echo", [987654]))
    (report,) = reports(session)
    shown = [repr(report), str(vars(report)), str(dataclasses.asdict(report)), f"{report}"]
    shown.append(json.dumps(dataclasses.asdict(report), default=repr))
    assert "987654" not in "".join(shown)
    assert copy.copy(report) == report
    assert repr(report) == "<QueryReport query SELECT 1 in 1.000000 s>"


def test_a_query_without_parameters() -> None:
    session = observed()
    end(session, Query("rows 3"))
    (report,) = reports(session)
    assert (report.row_count, report.parameterized, report.reveal_parameters()) == (3, False, None)


def test_many_records_a_script_and_a_prepared_statement() -> None:
    session = observed()
    end(session, QueryMany("echo", [(1,), (2,)]))
    end(session, SimpleQuery("rows 3"))
    end(session, Prepare("echo"))
    many, script, prepare = reports(session)
    assert (many.operation, many.batch_size, many.row_count) == ("query_many", 2, 2)
    assert many.parameterized
    assert (script.operation, script.row_count, script.command_tag) == ("script", 3, "SELECT 3")
    assert (prepare.operation, prepare.row_count, prepare.command_tag) == ("prepare", None, "")
    assert repr(prepare).startswith("<QueryReport prepare done in")


def test_a_script_that_counts_nothing() -> None:
    session = observed()
    end(session, SimpleQuery("begin"), SimpleQuery("empty"))
    begin, empty = reports(session)
    assert (begin.row_count, begin.command_tag) == (None, "BEGIN")
    assert (empty.row_count, empty.command_tag) == (None, "")


@pytest.mark.parametrize("where", ["parse", "bind", "execute", "sync"])
def test_errors_of_the_server(where: str) -> None:
    session = observed()
    end(session, query := Query(f"fail {where}"))
    (report,) = reports(session)
    assert report.error is query.error is not None
    assert (report.row_count, report.command_tag) == (None, "")
    assert type(report.error).__name__ in repr(report)


def test_a_misfit_is_reported_at_once_whatever_is_before_it() -> None:
    session = observed()
    end(session, Query("echo", [0]))
    reports(session)
    session.submit(Query("echo", [1]))
    session.submit(Query("echo", ["x" * 3, "too many"]))
    (report,) = reports(session)
    assert report.error is not None
    session.submit(Query("echo", [object()]))
    (report,) = reports(session)
    assert isinstance(report.error, DataError)
    assert report.pipelined


def test_what_is_refused_because_another_holds_the_session() -> None:
    session = observed()
    copy = CopyOut("COPY t TO STDOUT", holds=True)
    session.submit(copy)
    session.submit(Query("echo", [1]))
    (report,) = reports(session)
    assert isinstance(report.error, InterfaceError)


def test_what_nobody_has_asked_for_is_not_reported() -> None:
    session = observed()
    session.changed = True
    clean = cleaning(session)
    assert clean is not None
    fence = Fence()
    session.raise_fence(fence)
    fence.lower()
    for operation in (Ping(), clean):
        session.submit(operation)
    session.receive_data(backend.ready() * 2)
    assert not session.take_reports()


def test_how_long_it_waited_for_a_connection() -> None:
    session = observed()
    query = Query("rows 1")
    query.asked = Asked(-5.0)
    end(session, query)
    (report,) = reports(session)
    assert (report.waited, report.duration) == (5.0, 6.0)


def test_pipelined() -> None:
    session = observed()
    end(session, Query("rows 1"), Query("rows 2"))
    assert [(r.pipelined, r.row_count) for r in reports(session)] == [(False, 1), (True, 2)]


def test_a_statement_that_was_stale() -> None:
    session, server = observed(), BackendDouble()
    for _ in range(2):
        session.submit(Query("echo", [1]))
        run(session, server)
        server.forget_statements()
    assert [report.retried for report in reports(session)] == [False, True]


# ---------------------------------------------------------------- given up, left and lost


def test_given_up() -> None:
    """Its caller was told of it before the server was."""
    session = observed()
    query = Query("echo", [1])
    session.submit(query)
    query.told = QueryTimeout("time is up")
    query.abandon()
    run(session, BackendDouble())
    (report,) = reports(session)
    assert report.error is query.told


def test_given_up_before_it_was_written() -> None:
    session = observed()
    queries = [Query(f"echo /* {n} */", [n]) for n in range(4)]
    for query in queries:
        session.submit(query)
    for query in queries[1::2]:
        query.told = QueryTimeout("time is up")
        query.abandon()
    run(session, BackendDouble())
    told = {report.sql: report.error for report in reports(session)}
    assert told == {query.sql: query.told for query in queries}
    assert told[queries[3].sql] is queries[3].told is not None


def test_copies() -> None:
    for operation, rows, size in (
        (CopyOut("COPY t TO STDOUT"), 2, 4),
        (CopyIn("COPY t FROM STDIN", b"1\n2\n"), 2, 4),
    ):
        session = observed()
        session.submit(operation)
        direction = backend.message("H" if isinstance(operation, CopyOut) else "G", b"\0\0\0")
        begin = backend.PARSE_COMPLETE + backend.BIND_COMPLETE + direction
        data = backend.message("d", b"1\n2\n") + backend.message("c")
        session.receive_data(begin + (data if isinstance(operation, CopyOut) else b""))
        session.data_to_send()
        session.receive_data(backend.complete("COPY 2") + backend.ready())
        (report,) = reports(session)
        assert (report.operation, report.row_count, report.command_tag, report.byte_count) == (
            operation.kind, rows, "COPY 2", size,
        )  # fmt: skip


def test_a_copy_that_was_left() -> None:
    session = observed()
    session.submit(operation := CopyOut("COPY t TO STDOUT"))
    operation.is_left = True
    operation.abandon()
    session.receive_data(backend.error("57014") + backend.ready())
    (report,) = reports(session)
    assert report.error is None


def test_lost() -> None:
    session = observed()
    session.submit(Query("echo", [1]))
    session.submit(Query("echo", [2]))
    session.receive_eof()
    session.submit(Query("echo", [3]))
    told = reports(session)
    assert len(told) == 3
    assert all(isinstance(report.error, ConnectionLost) for report in told)


# ---------------------------------------------------------------- streams


def stream(session: ObservedSession, status: str) -> Streaming:
    """A stream whose first batch, of one row, has come."""
    session.submit(operation := Streaming("rows", fetch_size=1))
    described = backend.parameter_description() + backend.row_description(backend.column("n"))
    session.receive_data(backend.PARSE_COMPLETE + described)
    session.data_to_send()
    batch = backend.BIND_COMPLETE + backend.row(b"\0\0\0\1") + backend.message("s")
    session.receive_data(batch + (backend.ready(status) if status == "T" else b""))
    return operation


def test_a_stream_of_its_own() -> None:
    session = observed()
    operation = stream(session, "I")
    assert not session.take_reports()
    session.data_to_send()
    session.receive_data(backend.row(b"\0\0\0\2") + backend.complete("SELECT 1"))
    session.data_to_send()
    session.receive_data(backend.ready())
    (report,) = reports(session)
    assert (report.operation, report.row_count, report.error) == ("stream", 2, None)
    assert operation.done


def in_transaction() -> tuple[ObservedSession, Streaming]:
    session = observed()
    session.submit(SimpleQuery("begin"))
    session.receive_data(backend.complete("BEGIN") + backend.ready("T"))
    reports(session)
    return session, stream(session, "T")


def test_a_stream_inside_of_a_transaction_ends_with_its_last_batch() -> None:
    session, operation = in_transaction()
    assert operation.done
    assert not session.take_reports()
    session.submit(Query("rows 1"))
    session.receive_data(backend.error("42601") + backend.ready("T"))
    assert [report.operation for report in reports(session)] == ["query"]
    session.submit(operation.fetch())
    session.receive_data(
        backend.row(b"\0\0\0\2") + backend.complete("SELECT 1") + backend.ready("T")
    )
    (report,) = reports(session)
    assert (report.operation, report.row_count, report.error) == ("stream", 2, None)


def test_a_stream_whose_fetch_fails() -> None:
    session, operation = in_transaction()
    session.submit(fetch := operation.fetch())
    session.receive_data(backend.error("22012") + backend.ready("E"))
    (report,) = reports(session)
    assert report.error is fetch.error is not None


def test_a_stream_whose_fetch_was_given_up() -> None:
    session, operation = in_transaction()
    session.submit(fetch := operation.fetch())
    fetch.told = QueryTimeout("time is up")
    fetch.abandon()
    session.receive_data(backend.error("57014") + backend.ready("E"))
    (report,) = reports(session)
    assert report.error is fetch.told


def test_a_stream_that_was_left_and_one_that_ends_with_its_transaction() -> None:
    session, operation = in_transaction()
    closing = operation.leave()
    assert closing is not None
    session.submit(closing)
    session.receive_data(backend.CLOSE_COMPLETE + backend.ready("T"))
    (report,) = reports(session)
    assert (report.row_count, report.error) == (1, None)
    session, operation = in_transaction()
    session.submit(SimpleQuery("commit"))
    session.receive_data(backend.complete("COMMIT") + backend.ready())
    assert [report.operation for report in reports(session)] == ["script", "stream"]


def test_a_stream_between_two_batches_when_the_connection_is_lost() -> None:
    session, _ = in_transaction()
    session.receive_eof()
    (report,) = reports(session)
    assert report.error is session.failure


# ---------------------------------------------------------------- observed or not


def test_a_session_is_what_it_was_when_nobody_observes_it_any_more() -> None:
    for kind in (Session, RoleSession):
        session = observed(kind(REGISTRY))
        assert type(session).__name__ == f"Observed{kind.__name__}"
        session.submit(Query("rows 1"))
        stop_observing(session)
        run(session, server := BackendDouble())
        assert not session.take_reports()
        plain: Session = session
        plain.submit(Query("rows 1"))
        assert type(plain) is kind
        run(plain, server)
        stop_observing(plain)
        observe(plain, lambda: 0.0, ENDPOINT, None)
        observe(plain, lambda: 1.0, ENDPOINT, None)
        plain.submit(Query("rows 1"))
        run(plain, server)
        assert len(reports(session)) == 1


def test_what_was_asked_before_is_not_reported() -> None:
    session = Session(REGISTRY)
    session.submit(Query("rows 1"))
    session.submit(late := Query("rows 2"))
    late.abandon()
    watched = observed(session)
    run(session, BackendDouble())
    assert not watched.take_reports()


def test_the_mark_among_the_events_survives_a_cleaning() -> None:
    session = observed()
    session.submit(Query("fail parse"))
    session.receive_data(backend.error("42601") + backend.ready())
    session.events.clear()
    session.receive_data(backend.notice())
    assert session.events[-1] is ReportsAreThere
    session.receive_data(b"")
    assert list(session.events).count(ReportsAreThere) == 1
    assert "query" in EVENT_NAMES


# ---------------------------------------------------------------- whatever happens


def asked_of(replay: Replay) -> list[Operation]:
    return [operation for operation in replay.play.operations if operation.kind is not None]


@given(st.data())
def test_each_operation_is_reported_once_whatever_comes(data: st.DataObject) -> None:
    """Recorded conversations, cut short anywhere, with operations given up anywhere."""
    replay = Replay(load(data.draw(st.sampled_from(sorted(SCENARIOS)))), byte_by_byte)
    session = observed(replay.session)
    turns = [turn.data for turn in replay.recording.turns if turn.side == "server"]
    kept = turns[: data.draw(st.integers(0, len(turns)))]
    if kept:
        kept[-1] = kept[-1][: data.draw(st.integers(0, len(kept[-1])))]
    replay.feed(kept)
    for operation in replay.play.operations:
        if not operation.done and data.draw(st.booleans()):
            operation.told = QueryTimeout("time is up")
            operation.abandon()
    session.receive_data(b"")
    session.receive_eof()
    told = [report for report, _ in session.take_reports()]
    assert len(told) == len(asked_of(replay))
    assert sorted(report.sql for report in told) == sorted(o.sql for o in asked_of(replay))


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_observing_changes_nothing(name: str) -> None:
    replay = Replay(load(name), whole)
    session = observed(replay.session)
    outcome = replay.run()
    outcome.events = [event for event in outcome.events if not event.startswith("Mark")]
    assert outcome == load(name).outcome
    assert replay.said == replay.expected
    by_sql: dict[str, Any] = {}
    for report, _ in session.take_reports():
        by_sql.setdefault(report.sql, []).append(report.error)
    for operation in asked_of(replay):
        assert operation.error in by_sql[operation.sql]
