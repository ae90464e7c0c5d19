"""Query: flights, the cache, results, COPY refused. The rest is in test_query_healing.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from pgwire.errors import (
    DataError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    ProtocolError,
)
from pgwire.protocol import frontend
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.sqlstate import (
    UniqueViolation,
)
from tests.support import backend
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY
from tests.support.extended import (
    DESCRIBED,
    EXECUTE_SYNC,
    INT4,
    answer,
    bind,
    parse_describe,
    said,
    submit,
)

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


WORDS = backend.column("word", 25)


def test_what_a_name_stands_for_is_described_each_time() -> None:
    """A cursor of another's shape may have the name by now, and no server tells."""
    session = Session(REGISTRY)
    first, second = Query("fetch all c"), Query("fetch all c")
    submit(session, first, second)
    assert said(session) == parse_describe(b"", b"fetch all c")
    assert b"B" in said(session, backend.described([], [INT4]))
    assert said(session, answer(1)) == parse_describe(b"", b"fetch all c")
    assert b"B" in said(session, backend.described([], [WORDS, INT4]))
    session.receive_data(backend.executed(backend.row(b"one", backend.int4(1))))
    assert first.result.one() == (1,)
    assert second.result.one() == ("one", 1)
    assert len(session.statements) == 0
    assert not session.statements.closing
    assert session.in_step


def test_a_prepared_statement_that_fetches_is_described_each_time() -> None:
    session = Session(REGISTRY)
    prepare = Prepare("execute p")
    submit(session, prepare)
    assert said(session) == parse_describe(b"", b"execute p", frontend.SYNC)
    session.receive_data(backend.described([], [INT4]) + backend.ready())
    statement = prepare.result
    assert [column.name for column in statement.columns] == ["n"]
    for _ in range(2):
        query = Query("execute p", statement=statement)
        submit(session, query)
        assert said(session) == parse_describe(b"", b"execute p")
        assert b"B" in said(session, backend.described([], [WORDS]))
        session.receive_data(backend.executed(backend.row(b"one")))
        assert query.result.scalar() == "one"
    assert statement.newest() is statement  # and so no chain grows
    session.statements.closing.append(statement.name)  # its user closes it
    submit(session, Query("select 1"))
    assert said(session) == parse_describe(b"_pgwire_1", b"select 1")


def test_behind_a_pooler_nothing_is_written_before_the_answer() -> None:
    """At ReadyForQuery the server may get another client, whatever stands behind the Sync."""
    session = Session(REGISTRY, prepare=False)
    first, ping = Query("select $1", [1]), Ping()
    second, misfit = Query("select $1", [2]), Query("select $1", [1.5])
    for operation in (first, ping, misfit, second):
        session.submit(operation)
    assert said(session) == parse_describe(b"", b"select $1")
    assert said(session, DESCRIBED) == bind(b"", 1) + EXECUTE_SYNC
    assert said(session, answer(1)) == frontend.SYNC
    assert said(session, backend.ready()) == parse_describe(b"", b"select $1")
    assert said(session, DESCRIBED) == frontend.SYNC  # of the one that does not fit
    assert said(session, backend.ready()) == parse_describe(b"", b"select $1")
    assert said(session, DESCRIBED) == bind(b"", 2) + EXECUTE_SYNC
    session.receive_data(answer(2))
    assert [query.result.scalar() for query in (first, second)] == [1, 2]
    assert ping.done
    assert isinstance(misfit.error, DataError)
    assert session.in_step


def test_what_falls_out_of_the_cache_is_closed_in_the_flight_that_comes_next() -> None:
    session = Session(REGISTRY, statement_cache_size=1)
    submit(session, Query("a", [1]), Query("b", [2]), Query("c", [3]))
    said(session, DESCRIBED + answer(1))
    assert said(session, DESCRIBED + backend.ready()) == (
        frontend.close_statement(b"_pgwire_1\0")
        + bind(b"_pgwire_2", 2)
        + EXECUTE_SYNC
        + parse_describe(b"_pgwire_3", b"c", frontend.SYNC)
    )
    session.receive_data(backend.CLOSE_COMPLETE + answer(2))
    close = frontend.close_statement(b"_pgwire_2\0")
    assert (
        said(session, DESCRIBED + backend.ready()) == close + bind(b"_pgwire_3", 3) + EXECUTE_SYNC
    )
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
    assert repr(query.error) == repr(session.failure)


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


def test_answers_that_come_together_are_told_apart_wherever_they_are_cut() -> None:
    tags = ["SELECT 1", "SELECT 1", "INSERT 0 1", "UPDATE 10", "SELECT 1"]
    one = backend.row(backend.int4(1))
    pieces = [
        backend.BIND_COMPLETE + one * (tag[0] == "S") + backend.complete(tag) + backend.ready()
        for tag in tags
    ]
    data = b"".join(pieces)
    for cut in range(len(data)):
        session = Session(REGISTRY)
        submit(session, Query("select", [1]))
        session.receive_data(DESCRIBED + pieces[0])
        queries = [Query("select", [number]) for number in range(5)]
        submit(session, *queries)
        session.receive_data(data[:cut])
        session.receive_data(data[cut:])
        assert [query.result.command_tag for query in queries] == tags
        assert [len(query.result) for query in queries] == [1, 1, 0, 0, 1]
        assert not session.pending


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


def test_a_query_behind_a_script_waits_for_its_end() -> None:
    """The script may have to look types up once it has shown what they are."""
    session = Session(REGISTRY)
    script, query = SimpleQuery("select 1"), Query("select 2")
    submit(session, script, query)
    assert said(session) == frontend.query(b"select 1\0")
    assert said(session, backend.complete() + backend.ready()) == parse_describe(
        b"_pgwire_1", b"select 2"
    )


@pytest.mark.parametrize(
    ("sql", "status", "traces"),
    [
        ("select $1", "I", False),
        ("begin -- $1", "T", True),
        ("set application_name = 'x' -- $1", "I", True),
    ],
)
def test_whether_it_leaves_traces(sql: str, status: str, traces: bool) -> None:
    session = Session(REGISTRY)
    query = Query(sql, [1])
    submit(session, query)
    said(session, DESCRIBED)
    session.receive_data(backend.executed()[:-1] + status.encode())
    assert query.done
    assert query.leaves_traces is traces


def test_what_was_never_written_leaves_no_traces() -> None:
    session = Session(REGISTRY)
    submit(session, Query("select $1", [1]))
    session.receive_data(DESCRIBED + answer(1))
    misfit = Query("select $1", [1.5])
    submit(session, misfit)
    assert isinstance(misfit.error, DataError)
    assert misfit.leaves_traces is False


@dataclass
class Named:
    n: int


def test_what_rows_are_to_become_is_judged_before_the_statement_is_run() -> None:
    session = Session(REGISTRY)
    with pytest.raises(InterfaceError, match="row must be a class"):
        Query("select $1", [1], None, 5)  # type: ignore[arg-type]
    query = Query("select $1", [1], None, Named)
    submit(session, query)
    said(session)
    assert said(session, DESCRIBED).endswith(EXECUTE_SYNC)
    assert said(session, answer(7)) == b""
    assert query.result.mapped(Named).rows == [Named(7)]
    for sql in ("select $1", "not cached"):
        query = Query(sql, [1], None, Session)
        submit(session, query)
        if said(session):
            assert said(session, DESCRIBED) == frontend.SYNC
            session.receive_data(backend.ready())
        assert isinstance(query.error, InterfaceError)
        assert session.in_step


@pytest.mark.parametrize(("count", "generated"), [(10, False), (5_000, True)])
def test_many_rows_have_their_decoder_compiled_at_once(count: int, generated: bool) -> None:
    """Few wait until the statement is used again."""
    session, query = Session(REGISTRY), Query("select $1", [1])
    submit(session, query)
    said(session)
    said(session, DESCRIBED)
    rows = [backend.row(backend.int4(number)) for number in range(count)]
    session.receive_data(backend.executed(*rows))
    assert query.result.scalars() == list(range(count))
    assert query.statement is not None
    assert query.statement.is_generated is generated
