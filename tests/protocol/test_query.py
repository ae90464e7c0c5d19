"""Query and Prepare: flights, the cache, healing, errors, COPY refused."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import DataError, NotSupportedError, ProgrammingError, ProtocolError
from pgwire.protocol import frontend
from pgwire.protocol.query import Prepare, Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.protocol.statement import Statement
from pgwire.sqlstate import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
    UniqueViolation,
)
from tests.support import backend
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY

INT4 = backend.column("n")
DESCRIBED = backend.described([23], [INT4])
EXECUTE_SYNC = b"E\0\0\0\x09\0\0\0\0\0" + b"S\0\0\0\x04"


def parse_describe(name: bytes, sql: bytes, end: bytes = frontend.FLUSH) -> bytes:
    parse = frontend.parse(name + b"\0", sql + b"\0")
    return parse + frontend.describe_statement(name + b"\0") + end


def bind(name: bytes, value: int) -> bytes:
    """Bind of one int4, for one int4, both in binary format."""
    formats = b"\0\1\0\1\0\1\0\0\0\4" + value.to_bytes(4) + b"\0\1\0\1"
    return frontend.bind(b"\0" + name + b"\0" + formats)


def answer(value: int) -> bytes:
    return backend.executed(backend.row(backend.int4(value)))


def said(session: Session, data: bytes = b"") -> bytes:
    session.receive_data(data)
    return session.data_to_send()


def submit(session: Session, *operations: Any) -> None:
    for operation in operations:
        session.submit(operation)


# Flights.


def test_the_first_time_takes_two_flights_and_the_second_time_one() -> None:
    session = Session(REGISTRY)
    first, second = Query("select $1", [1]), Query("select $1", [2])
    submit(session, first)
    assert said(session) == parse_describe(b"_pgwire_1", b"select $1")
    assert said(session, DESCRIBED) == bind(b"_pgwire_1", 1) + EXECUTE_SYNC
    assert said(session, answer(1)) == b""
    submit(session, second)
    assert said(session) == bind(b"_pgwire_1", 2) + EXECUTE_SYNC
    assert said(session, answer(2)) == b""
    assert [first.result.scalar(), second.result.scalar()] == [1, 2]
    assert session.in_step


def test_the_same_query_submitted_twice_is_prepared_once() -> None:
    session = Session(REGISTRY)
    first, second = Query("select $1", [1]), Query("select $1", [2])
    submit(session, first, second)
    assert said(session) == parse_describe(b"_pgwire_1", b"select $1")
    assert said(session, DESCRIBED) == (
        bind(b"_pgwire_1", 1) + EXECUTE_SYNC + bind(b"_pgwire_1", 2) + EXECUTE_SYNC
    )
    session.receive_data(answer(1) + answer(2))
    assert [first.result.scalar(), second.result.scalar()] == [1, 2]


def test_without_a_cache_the_unnamed_statement_is_used_each_time() -> None:
    session = Session(REGISTRY, prepare=False)
    for value in (1, 2):
        submit(session, Query("select $1", [value]))
        assert said(session) == parse_describe(b"", b"select $1")
        assert said(session, DESCRIBED) == bind(b"", value) + EXECUTE_SYNC
        assert said(session, answer(value)) == b""
    assert len(session.statements) == 0
    assert not session.statements.closing


def test_what_falls_out_of_the_cache_is_closed_in_the_flight_that_comes_next() -> None:
    session = Session(REGISTRY, statement_cache_size=1)
    submit(session, Query("a", [1]), Query("b", [2]), Query("c", [3]))
    said(session, DESCRIBED + answer(1))
    assert said(session, DESCRIBED) == (
        frontend.close_statement(b"_pgwire_1\0")
        + bind(b"_pgwire_2", 2)
        + EXECUTE_SYNC
        + parse_describe(b"_pgwire_3", b"c")
    )
    session.receive_data(backend.CLOSE_COMPLETE + answer(2))
    close = frontend.close_statement(b"_pgwire_2\0")
    assert said(session, DESCRIBED) == close + bind(b"_pgwire_3", 3) + EXECUTE_SYNC
    session.receive_data(backend.CLOSE_COMPLETE + answer(3))
    assert session.in_step


def test_statements_are_closed_in_front_of_a_parse_too() -> None:
    session = Session(REGISTRY)
    session.statements.closing += [b"x\0", b"y\0"]
    submit(session, Prepare("select 1"))
    closes = frontend.close_statement(b"x\0") + frontend.close_statement(b"y\0")
    assert said(session) == closes + parse_describe(b"_pgwire_1", b"select 1", frontend.SYNC)
    session.receive_data(backend.CLOSE_COMPLETE * 2 + backend.described() + backend.ready())
    assert session.in_step


def test_a_close_complete_too_many() -> None:
    session = Session(REGISTRY)
    submit(session, Query("select 1"))
    session.receive_data(backend.CLOSE_COMPLETE)
    assert str(session.failure) == "CLOSE_COMPLETE not expected by Query in phase PARSING"


def test_a_parse_that_cannot_be_built_leaves_the_statements_to_close_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SQL longer than a message may be, say."""

    def refuse(_name: bytes, _sql: bytes) -> bytes:
        raise DataError("too long")

    session = Session(REGISTRY)
    session.statements.closing.append(b"x\0")
    with monkeypatch.context() as patch:
        patch.setattr(frontend, "parse", refuse)
        query = Query("select 1")
        submit(session, query)
    assert isinstance(query.error, DataError)
    submit(session, Ping(), Query("select 2"))
    assert said(session).startswith(b"S\0\0\0\x04" + frontend.close_statement(b"x\0"))


# Results.


def test_a_result_has_rows_columns_and_the_tag() -> None:
    session = Session(REGISTRY)
    query = Query("select", [1])
    submit(session, query)
    session.receive_data(DESCRIBED)
    rows = [backend.row(backend.int4(n)) for n in (5, 6)] + [backend.row(None)]
    session.receive_data(backend.executed(*rows))
    assert query.result.rows == [(5,), (6,), (None,)]
    assert query.result.columns == (INT4._replace(format=1),)
    assert query.result.command_tag == "SELECT 3"


def test_a_result_is_final_at_ready_for_query_and_not_before() -> None:
    """A deferred constraint fails behind CommandComplete."""
    session = Session(REGISTRY)
    query = Query("insert", [1])
    submit(session, query)
    session.receive_data(DESCRIBED + backend.BIND_COMPLETE + backend.complete("INSERT 0 1"))
    assert query.result is None
    assert not query.done
    session.receive_data(backend.error("23505"))
    assert not query.done
    session.receive_data(backend.ready())
    assert isinstance(query.error, UniqueViolation)
    assert query.result is None


def test_a_malformed_ready_for_query_leaves_no_result_behind() -> None:
    session = Session(REGISTRY)
    query = Query("insert", [1])
    submit(session, query)
    session.receive_data(DESCRIBED + backend.BIND_COMPLETE + backend.complete("INSERT 0 1"))
    session.receive_data(backend.ready("x"))
    assert query.result is None
    assert query.error is session.failure


def test_an_empty_query_has_an_empty_tag() -> None:
    session = Session(REGISTRY)
    query = Query("")
    submit(session, query)
    reply = backend.described() + backend.BIND_COMPLETE + backend.EMPTY_QUERY + backend.ready()
    session.receive_data(reply)
    assert (query.result.command_tag, query.result.rows) == ("", [])


def test_the_usual_answer_with_anything_between_its_messages() -> None:
    """Notices, notifications and changed parameters, wherever a server may put them."""
    pieces = [
        backend.BIND_COMPLETE,
        backend.row(backend.int4(1)),
        backend.row(backend.int4(2)),
        backend.complete("SELECT 2"),
        backend.ready(),
    ]
    between = [backend.notice(), backend.notification(), backend.parameter_status("a", "b")]
    for place in range(len(pieces) + 1):
        for message in between:
            for joined in (True, False):
                session = Session(REGISTRY)
                query = Query("select", [1])
                submit(session, query)
                session.receive_data(DESCRIBED)
                stream = [*pieces[:place], message, *pieces[place:]]
                for data in [b"".join(stream)] if joined else stream:
                    session.receive_data(data)
                assert query.result.scalars() == [1, 2]
                assert len(session.events) == 1
                assert session.failure is None


@pytest.mark.parametrize(
    "tag", ["", "SELECT 1", "x" * 250, "x" * 251, "x" * 252, "x" * 255, "x" * 300, "x" * 29_000]
)
def test_command_tags_of_any_length(tag: str) -> None:
    data = backend.BIND_COMPLETE + backend.complete(tag) + backend.ready()
    for end in {len(data), *range(len(data) - 9, len(data))}:
        session = Session(REGISTRY)
        query = Query("select", [1])
        submit(session, query)
        session.receive_data(DESCRIBED)
        session.receive_data(data[:end])
        assert query.done is (end == len(data))
        session.receive_data(data[end:])
        assert query.result.command_tag == tag


# Values that do not fit.


def test_a_misfit_of_a_cached_statement_is_found_before_anything_is_said() -> None:
    session, server = Session(REGISTRY), BackendDouble()
    run(session, server, Query("echo", [1]))
    query = Query("echo", [1.5])
    submit(session, query)
    assert query.done
    assert said(session) == b""
    assert str(query.error) == "parameter $1 (int4): expected int, got float 1.5"


def test_a_misfit_between_the_flights_is_answered_with_a_sync_and_the_statement_stays() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", [1.5])
    submit(session, query)
    said(session)
    assert said(session, DESCRIBED) == b"S\0\0\0\x04"
    assert not query.done
    session.receive_data(backend.ready())
    assert isinstance(query.error, DataError)
    assert session.statements.get("select $1") is not None


def test_a_wrong_number_of_parameters() -> None:
    session, server = Session(REGISTRY), BackendDouble()
    for _ in range(2):
        query = Query("echo", [])
        run(session, server, query)
        assert isinstance(query.error, ProgrammingError)
        assert "the statement has 1 parameter, 0 given" in str(query.error)


@pytest.mark.parametrize("params", ["abc", b"abc", {"a": 1}, {1, 2}, 7, None])
def test_parameters_that_are_no_sequence_are_refused_at_once(params: Any) -> None:
    with pytest.raises(ProgrammingError, match="params must be a sequence"):
        Query("select $1", params)


def test_sql_that_cannot_be_sent() -> None:
    session = Session(REGISTRY)
    query, ping = Query("select '\0'"), Ping()
    submit(session, query, ping)
    assert isinstance(query.error, ProgrammingError)
    assert said(session) == b"S\0\0\0\x04"


# Errors, and statements that are stale.


def test_errors_carry_the_sql() -> None:
    session, server = Session(REGISTRY), BackendDouble()
    for stage in ("parse", "bind", "execute", "sync"):
        query = Query(f"fail {stage}")
        run(session, server, query)
        assert query.error.query == f"fail {stage}"  # type: ignore[union-attr]
        assert query.result is None


def cached(**options: Any) -> Session:
    session = Session(REGISTRY, **options)
    submit(session, Query("select $1", [1]))
    session.receive_data(DESCRIBED + answer(1))
    session.data_to_send()
    return session


@pytest.mark.parametrize("sqlstate", ["0A000", "26000"])
def test_a_stale_statement_heals(sqlstate: str) -> None:
    """Nothing was carried out, so it is prepared under a new name and run once more."""
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    said(session)
    assert said(session, backend.error(sqlstate)) == b""
    assert said(session, backend.ready()) == (
        frontend.close_statement(b"_pgwire_1\0") + parse_describe(b"_pgwire_2", b"select $1")
    )
    assert not query.done
    assert said(session, backend.CLOSE_COMPLETE + DESCRIBED) == bind(b"_pgwire_2", 2) + EXECUTE_SYNC
    session.receive_data(answer(2))
    assert (query.error, query.result.scalar()) == (None, 2)
    assert session.in_step


@pytest.mark.parametrize("sqlstate", ["0A000", "26000"])
def test_a_statement_that_is_stale_again_is_not_tried_a_third_time(sqlstate: str) -> None:
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    session.receive_data(backend.error(sqlstate) + backend.ready())
    session.receive_data(backend.CLOSE_COMPLETE + DESCRIBED + backend.error(sqlstate, "again"))
    session.receive_data(backend.ready())
    assert query.done
    assert str(query.error) == "again"


@pytest.mark.parametrize("status", ["T", "E"])
def test_in_a_transaction_a_stale_statement_is_an_error_and_forgotten(status: str) -> None:
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    said(session)
    assert said(session, backend.error("0A000") + backend.ready(status)) == b""
    assert isinstance(query.error, FeatureNotSupported)
    assert session.statements.get("select $1") is None


def test_a_stale_statement_with_another_operation_behind_it_is_an_error() -> None:
    """Run again it would be overtaken."""
    session = cached()
    query, ping = Query("select $1", [2]), Ping()
    submit(session, query, ping)
    said(session)
    assert said(session, backend.error("26000") + backend.ready()) == b""
    assert isinstance(query.error, InvalidSqlStatementName)
    session.receive_data(backend.ready())
    assert ping.error is None
    assert session.in_step


def test_what_is_submitted_while_a_query_heals_waits_for_it() -> None:
    session = cached()
    query, ping = Query("select $1", [2]), Ping()
    submit(session, query)
    session.receive_data(backend.error("26000") + backend.ready())
    said(session)
    submit(session, ping)
    assert said(session) == b""
    assert said(session, backend.CLOSE_COMPLETE + DESCRIBED).endswith(b"S\0\0\0\x04" * 2)
    session.receive_data(answer(2) + backend.ready())
    assert query.result.scalar() == 2
    assert session.in_step


def test_an_abandoned_stale_query_is_not_run_again() -> None:
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    said(session)
    query.abandon()
    assert said(session, backend.error("26000") + backend.ready()) == b""
    assert query.done


def test_an_error_behind_a_stale_one_does_not_hide_it() -> None:
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    session.receive_data(backend.error("26000", "first") + backend.error("XX000"))
    session.receive_data(backend.ready("T"))
    assert str(query.error) == "first"


def test_any_other_error_of_a_cached_statement_keeps_it() -> None:
    session = cached()
    query = Query("select $1", [2])
    submit(session, query)
    session.receive_data(backend.error("22P02") + backend.ready())
    assert query.done
    assert session.statements.get("select $1") is not None


def test_0a000_of_a_statement_that_was_just_prepared_is_an_error_of_its_own() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", [2])
    submit(session, query)
    session.receive_data(DESCRIBED + backend.error("0A000") + backend.ready())
    assert isinstance(query.error, FeatureNotSupported)
    assert session.statements.get("select $1") is not None


def test_a_name_that_is_taken_is_tried_once_with_another() -> None:
    """Somebody else's statement, behind a pooler; where it goes on so, we do not."""
    session = Session(REGISTRY)
    query = Query("select $1", [1])
    submit(session, query)
    said(session)
    assert said(session, backend.error("42P05")) == b"S\0\0\0\x04"
    assert said(session, backend.ready()) == parse_describe(b"_pgwire_2", b"select $1")
    assert said(session, backend.error("42P05")) == b"S\0\0\0\x04"
    assert said(session, backend.ready()) == b""
    assert isinstance(query.error, DuplicatePreparedStatement)
    assert session.in_step


def test_healing_in_the_middle_of_a_pipeline_passes_the_floor_on() -> None:
    session = Session(REGISTRY)
    query, ping = Query("select $1", [1]), Ping()
    submit(session, query, ping)
    said(session)
    assert said(session, backend.error("42P05")) == b"S\0\0\0\x04" * 2
    session.receive_data(backend.ready() * 2)
    assert isinstance(query.error, DuplicatePreparedStatement)
    assert ping.done


# Statements of one's own.


def prepared(session: Session, sql: str = "select $1") -> Statement:
    prepare = Prepare(sql)
    submit(session, prepare)
    session.receive_data(DESCRIBED + backend.ready())
    session.data_to_send()
    assert isinstance(prepare.result, Statement)
    return prepare.result


def test_prepare_takes_one_flight_and_its_statement_is_outside_of_the_cache() -> None:
    session = Session(REGISTRY)
    prepare = Prepare("select $1")
    submit(session, prepare)
    assert said(session) == parse_describe(b"_pgwire_1", b"select $1", frontend.SYNC)
    session.receive_data(DESCRIBED)
    assert not prepare.done
    session.receive_data(backend.ready())
    assert prepare.result.parameter_types == ("int4",)
    assert prepare.result.columns == (INT4._replace(format=1),)
    assert len(session.statements) == 0


def test_a_statement_that_fails_to_be_prepared() -> None:
    session = Session(REGISTRY)
    prepare = Prepare("nonsense")
    submit(session, prepare)
    session.receive_data(backend.error("42601") + backend.ready())
    assert prepare.error.query == "nonsense"  # type: ignore[union-attr]
    assert prepare.result is None
    assert session.in_step is False
    assert said(session) != b""
    assert session.in_step


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_statement_that_nobody_gets_is_closed(abandoned: bool) -> None:
    """Abandoned, or an error behind it: its name is known to nobody."""
    session = Session(REGISTRY)
    prepare = Prepare("select $1")
    submit(session, prepare)
    session.receive_data(DESCRIBED)
    if abandoned:
        prepare.abandon()
        session.receive_data(backend.ready())
    else:
        session.receive_data(backend.error("57014") + backend.ready())
    assert prepare.result is None
    assert session.statements.closing == [b"_pgwire_1\0"]


def test_a_stale_statement_of_ones_own_heals_with_a_name_of_its_own() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", [2], prepared(session))
    submit(session, query)
    assert said(session) == bind(b"_pgwire_1", 2) + EXECUTE_SYNC
    assert b"_pgwire_2" in said(session, backend.error("0A000") + backend.ready())
    session.receive_data(backend.CLOSE_COMPLETE + DESCRIBED + answer(2))
    assert query.result.scalar() == 2
    assert query.statement is not None
    assert query.statement.name == b"_pgwire_2\0"
    assert len(session.statements) == 0


def test_a_statement_of_ones_own_has_a_name_where_nothing_is_cached() -> None:
    session = Session(REGISTRY, prepare=False)
    query = Query("select $1", [2], prepared(session))
    submit(session, query)
    said(session)
    assert b"_pgwire_2" in said(session, backend.error("26000") + backend.ready())


# COPY.


def test_copy_from_stdin_is_refused_with_a_second_sync() -> None:
    """The server takes the first one for data that it skips."""
    session = Session(REGISTRY)
    query = Query("copy t from stdin", [1])
    submit(session, query)
    said(session, DESCRIBED)
    refusal = frontend.copy_fail("use copy_in()") + b"S\0\0\0\x04"
    assert said(session, backend.BIND_COMPLETE + backend.copy_in(0)) == refusal
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(query.error, NotSupportedError)
    assert session.in_step


def test_copy_from_stdin_with_something_behind_it_ends_the_session() -> None:
    session = Session(REGISTRY)
    query, ping = Query("copy t from stdin", [1]), Ping()
    submit(session, query, ping)
    said(session, DESCRIBED)
    assert said(session, backend.BIND_COMPLETE + backend.copy_in(0)) == b""
    assert isinstance(session.failure, NotSupportedError)
    assert isinstance(query.error, NotSupportedError)
    assert ping.done


@pytest.mark.parametrize("abandoned", [False, True])
def test_copy_to_stdout_is_read_to_its_end(abandoned: bool) -> None:
    session = Session(REGISTRY)
    query = Query("copy t to stdout", [1])
    submit(session, query)
    said(session, DESCRIBED)
    if abandoned:
        query.abandon()
    session.receive_data(backend.BIND_COMPLETE + backend.copy_out(0) + backend.copy_data(b"1\n"))
    session.receive_data(backend.copy_data(b"") + backend.COPY_DONE + backend.complete("COPY 2"))
    session.receive_data(backend.ready())
    assert isinstance(query.error, NotSupportedError)
    assert query.result is None
    assert session.in_step


def test_copy_to_stdout_that_fails_on_its_way() -> None:
    session = Session(REGISTRY)
    query = Query("copy t to stdout", [1])
    submit(session, query)
    said(session, DESCRIBED)
    session.receive_data(backend.BIND_COMPLETE + backend.copy_out(0) + backend.error("22012"))
    session.receive_data(backend.ready())
    assert isinstance(query.error, NotSupportedError)
    assert session.in_step


# What is not taken for an answer.


def test_rows_of_another_width_are_a_violation() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", [1])
    submit(session, query)
    session.receive_data(DESCRIBED + backend.executed(backend.row(None, None)))
    assert isinstance(query.error, ProtocolError)
    assert str(query.error) == "the server sent a malformed DATA_ROW"


def test_a_query_behind_a_script_waits_for_nobody() -> None:
    session = Session(REGISTRY)
    script, query = SimpleQuery("select 1"), Query("select 2")
    submit(session, script, query)
    assert said(session) == frontend.query(b"select 1\0") + parse_describe(
        b"_pgwire_1", b"select 2"
    )
