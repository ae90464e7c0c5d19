"""QueryMany: one statement, many records, one Sync."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pgwire.errors import (
    ConnectionLost,
    DataError,
    Error,
    NotSupportedError,
    PostgresError,
    ProgrammingError,
)
from pgwire.protocol import frontend
from pgwire.protocol.many import CHUNK, QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SQL = "insert into t values ($1)"
DESCRIBED = backend.described([23])
INSERTED = backend.BIND_COMPLETE + backend.complete("INSERT 0 1")


class One(NamedTuple):
    number: int


def begun(records: Iterable[Any], session: Session | None = None) -> tuple[Session, QueryMany]:
    """The session and the operation once the statement is described, nothing more written."""
    session = session or Session(REGISTRY)
    operation = QueryMany(SQL, records)
    session.submit(operation)
    assert session.data_to_send().endswith(frontend.FLUSH)
    session.receive_data(DESCRIBED)
    return session, operation


def test_all_records_go_in_one_flight_with_one_sync() -> None:
    session, operation = begun([(1,), (2,), (3,)])
    sent = session.data_to_send()
    assert sent.count(frontend.EXECUTE) == 3
    assert sent.endswith(frontend.SYNC)
    assert sent.count(frontend.SYNC) == 1
    session.receive_data(3 * INSERTED + backend.ready())
    assert operation.done
    assert operation.result.command_tag == "INSERT 0 3"
    assert operation.result.row_count == 3
    assert session.in_step


def test_a_cached_statement_saves_the_first_flight() -> None:
    session, _ = begun([(1,)])
    session.data_to_send()
    session.receive_data(INSERTED + backend.ready())
    operation = QueryMany(SQL, [(2,)])
    session.submit(operation)
    assert session.data_to_send().endswith(frontend.EXECUTE + frontend.SYNC)
    session.receive_data(INSERTED + backend.ready())
    assert operation.result.row_count == 1


def test_without_a_cache_the_statement_is_unnamed_and_not_closed() -> None:
    session, operation = begun([(1,)], Session(REGISTRY, prepare=False))
    assert b"_pgwire" not in session.data_to_send()
    session.receive_data(INSERTED + backend.ready())
    assert operation.error is None
    assert not session.statements.closing


def test_no_records_at_all() -> None:
    session, operation = begun([])
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert operation.result.row_count == 0


def test_rows_come_back_together() -> None:
    session = Session(REGISTRY)
    operation = QueryMany("select $1", [(1,), (2,)])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described([23], [backend.column("n")]))
    session.data_to_send()
    for n in (1, 2):
        session.receive_data(
            backend.BIND_COMPLETE + backend.row(backend.int4(n)) + backend.complete()
        )
    session.receive_data(backend.ready())
    assert operation.result.scalars() == [1, 2]


def test_an_endless_source_is_taken_a_chunk_at_a_time() -> None:
    taken = 0

    def source() -> Iterator[tuple[int]]:
        nonlocal taken
        for n in count():
            taken = n
            yield (n,)

    session, operation = begun(source())
    first = session.data_to_send()
    assert CHUNK <= len(first) < 2 * CHUNK
    after_first = taken
    assert session.data_to_send(more=False) == b""
    assert taken == after_first
    assert len(session.data_to_send()) >= CHUNK
    session.receive_data((taken + 1) * INSERTED)
    operation.abandon()
    end = session.data_to_send()
    assert end.endswith(frontend.SYNC)
    assert end.startswith(b"B")  # the Bind that cannot succeed: nothing must be committed
    session.receive_data(backend.error("26000") + backend.ready())
    assert operation.done
    assert operation.result is None
    assert session.in_step


def test_the_next_operation_waits_for_the_sync() -> None:
    session, operation = begun((n,) for n in range(5000))
    behind = Query("select 1")
    session.submit(behind)
    sent = b""
    while data := session.data_to_send():
        sent += data
    assert sent.index(frontend.SYNC) < sent.index(b"select 1")
    session.receive_data(5000 * INSERTED + backend.ready())
    assert operation.result.row_count == 5000
    assert not behind.done


def test_an_error_names_its_record_and_ends_the_writing() -> None:
    session, operation = begun((n,) for n in count())
    session.data_to_send()
    session.receive_data(2 * INSERTED + backend.error("23505", "duplicate"))
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.sqlstate == "23505"
    assert operation.error.query == SQL
    assert operation.error.record_index == 2
    assert operation.error.__notes__ == ["in record 2"]


def test_an_error_behind_all_records_has_no_number() -> None:
    """A deferred constraint fails at the Sync."""
    session, operation = begun([(1,)])
    session.data_to_send()
    session.receive_data(INSERTED + backend.error("23503") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.record_index is None


@pytest.mark.parametrize(
    ("bad", "kind"),
    [((2.5,), DataError), ((1, 2), ProgrammingError), ("x", ProgrammingError)],
)
def test_a_record_that_does_not_fit_undoes_the_others(bad: Any, kind: type[Error]) -> None:
    session, operation = begun([(1,), bad, (3,)])
    sent = session.data_to_send()
    assert sent.count(frontend.EXECUTE) == 1
    assert b"_pgwire_0" in sent
    session.receive_data(INSERTED + backend.error("26000") + backend.ready())
    assert isinstance(operation.error, kind)
    assert operation.error.record_index == 1
    assert session.in_step


def test_the_sources_own_exception_comes_through() -> None:
    def source() -> Iterator[tuple[int]]:
        yield (1,)
        raise ZeroDivisionError

    session, operation = begun(source())
    assert b"_pgwire_0" in session.data_to_send()
    session.receive_data(INSERTED + backend.error("26000") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)
    assert session.in_step


def test_an_exception_that_takes_no_attributes_comes_through_as_well() -> None:
    @dataclass(frozen=True)
    class Frozen(Exception):
        why: str

    def source() -> Iterator[tuple[int]]:
        yield (1,)
        raise Frozen("its own")

    session, operation = begun(source())
    assert b"_pgwire_0" in session.data_to_send()
    session.receive_data(INSERTED + backend.error("26000") + backend.ready())
    assert operation.error == Frozen("its own")
    assert session.in_step


def test_an_error_in_parse_takes_no_record() -> None:
    records = count()
    session = Session(REGISTRY)
    operation = QueryMany("nonsense", ((n,) for n in records))
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.error("42601"))
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert next(records) == 0


def test_abandoned_before_its_statement_is_described_it_undoes_itself() -> None:
    session = Session(REGISTRY)
    operation = QueryMany(SQL, [(1,)])
    session.submit(operation)
    session.data_to_send()
    operation.abandon()
    session.receive_data(DESCRIBED)
    assert frontend.EXECUTE not in session.data_to_send()
    session.receive_data(backend.error("26000") + backend.ready())
    assert operation.done
    assert session.in_step


def test_closed_statements_are_answered_before_the_records() -> None:
    session = Session(REGISTRY, statement_cache_size=1)
    session.submit(Query("select 1"))
    session.data_to_send()
    session.receive_data(backend.described())
    session.data_to_send()
    session.receive_data(backend.executed())
    session, operation = begun([], session)
    sent = session.data_to_send()
    assert sent.startswith(b"C")
    assert sent.endswith(frontend.SYNC)
    session.receive_data(backend.CLOSE_COMPLETE + backend.ready())
    assert operation.done
    assert operation.error is None


def test_a_fatal_error_ends_it() -> None:
    session, operation = begun([(1,), (2,)])
    session.data_to_send()
    session.receive_data(INSERTED + backend.fatal())
    assert operation.done
    assert isinstance(session.failure, ConnectionLost)
    assert isinstance(operation.error, type(session.failure))


def test_an_answer_too_many_fails_the_session() -> None:
    session, operation = begun((n,) for n in range(10))
    assert operation.phase is QueryMany.BINDING
    session.receive_data(backend.BIND_COMPLETE)  # nothing has been bound yet
    assert session.failure is not None


def test_copy_fails_the_session() -> None:
    session, operation = begun([(1,)])
    session.data_to_send()
    session.receive_data(backend.BIND_COMPLETE + backend.copy_in(0))
    assert isinstance(session.failure, NotSupportedError)
    assert repr(operation.error) == repr(session.failure)


def test_an_empty_statement_over_records() -> None:
    session = Session(REGISTRY)
    operation = QueryMany("", [(), ()])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described())
    session.data_to_send()
    session.receive_data(2 * (backend.BIND_COMPLETE + backend.EMPTY_QUERY) + backend.ready())
    assert operation.result.row_count == 0


def test_a_statement_that_changes_the_session_marks_it() -> None:
    session = Session(REGISTRY)
    operation = QueryMany("select set_config('a.b', $1, false)", [("x",)])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described([25], [backend.column("c", 25)]))
    assert session.changed


def test_abandoned_when_all_is_answered_it_has_no_result() -> None:
    session, operation = begun([(1,)])
    session.data_to_send()
    session.receive_data(INSERTED)
    operation.abandon()
    session.receive_data(backend.ready())
    assert operation.done
    assert operation.result is None


def test_values_follow_the_session_s_time_zone() -> None:
    mars = timezone(timedelta(hours=2))
    session = Session(REGISTRY, zone_of={"UTC": UTC, "Mars": mars}.__getitem__)
    session, _ = begun([(1,)], session)
    session.data_to_send()
    session.receive_data(INSERTED + backend.ready() + backend.parameter_status("TimeZone", "Mars"))
    operation = QueryMany(SQL, [(1,)])
    session.submit(operation)
    assert operation.statement is not None
    assert operation.statement.registry.timezone is mars


def test_where_the_server_found_an_error_is_among_its_notes() -> None:
    session, operation = begun([(1,), (2,)])
    session.data_to_send()
    where = "unnamed portal parameter $1 = '...'"
    session.receive_data(INSERTED + backend.error("22P02", W=where) + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.record_index == 1
    assert where in operation.error.__notes__


def test_given_up_by_its_own_source_it_undoes_itself() -> None:
    """Though that has ended, and said so in the same breath."""

    def source() -> Iterator[tuple[int]]:
        yield (1,)
        operation.abandon()

    session, operation = begun(source())
    assert b"_pgwire_0" in session.data_to_send()
    session.receive_data(INSERTED + backend.error("26000") + backend.ready())
    assert operation.done
    assert operation.result is None
    assert session.in_step


def test_records_are_sequences_of_any_class() -> None:
    session, operation = begun([range(1), iter([1]), One(2), [3], (4,)])
    sent = session.data_to_send()
    assert [sent.count(bytes([0, 0, 0, 4, 0, 0, 0, n])) for n in range(5)] == [1] * 5
    session.receive_data(5 * INSERTED + backend.ready())
    assert operation.result.row_count == 5
