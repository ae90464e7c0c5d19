"""SimpleQuery and Ping."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError, NotSupportedError, ProgrammingError, ProtocolError
from pgwire.protocol import frontend
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.sqlstate import DivisionByZero
from tests.support import backend
from tests.support.conversations import REGISTRY

COLUMN = backend.row_description(backend.column("n"))


def begun(sql: str = "select 1") -> tuple[Session, SimpleQuery]:
    session, script = Session(REGISTRY), SimpleQuery(sql)
    session.submit(script)
    assert session.data_to_send() == frontend.query(sql.encode() + b"\0")
    return session, script


def test_a_result_for_each_statement() -> None:
    session, script = begun()
    session.receive_data(COLUMN + backend.row(b"1") + backend.row(None) + backend.complete())
    session.receive_data(backend.complete("INSERT 0 2") + COLUMN + backend.complete("SELECT 0"))
    assert not script.done
    session.receive_data(backend.ready("T"))
    assert [result.command_tag for result in script.result] == [
        "SELECT 1",
        "INSERT 0 2",
        "SELECT 0",
    ]
    assert [result.rows for result in script.result] == [[(1,), (None,)], [], []]
    assert [len(result.columns) for result in script.result] == [1, 0, 1]
    assert session.in_step


def test_a_statement_that_a_rule_has_made_several_of() -> None:
    """Their results follow each other, as libpq takes them; the statement's tag ends the last."""
    session, script = begun()
    other = backend.row_description(backend.column("word", 25))
    session.receive_data(COLUMN + backend.row(b"1") + other + backend.row(b"two"))
    session.receive_data(backend.complete("INSERT 0 0") + backend.ready())
    assert [result.rows for result in script.result] == [[(1,)], [("two",)]]
    assert [result.command_tag for result in script.result] == ["", "INSERT 0 0"]
    assert session.in_step


def test_of_several_one_that_cannot_be_read_is_the_scripts_error() -> None:
    session, script = begun()
    other = backend.row_description(backend.column("word", 25))
    session.receive_data(COLUMN + backend.row(b"one") + other + backend.row(b"two"))
    session.receive_data(backend.complete("INSERT 0 0") + backend.ready())
    assert isinstance(script.error, DataError)
    assert script.result == []
    assert session.in_step


def outcome(session: Session, script: SimpleQuery) -> tuple[object, ...]:
    tags = [(result.command_tag, result.rows, result.columns) for result in script.result]
    errors = [repr(error) for error in (script.error, session.failure)]
    return script.done, session.transaction_status, tags, errors, session.in_step, session.changed


@given(
    st.lists(
        st.sampled_from(
            [
                backend.complete("BEGIN"),
                backend.complete("COMMIT"),
                backend.complete("x" * 300),
                backend.complete("DISCARD ALL"),
                backend.message("C", b"no end"),
                backend.message("C", b"two\0ends\0"),
                backend.message("C", b"\xff\0"),
                backend.ready("T"),
                backend.ready("E"),
                backend.ready("x"),
                backend.message("Z", b"II"),
                backend.notice(),
                backend.error("22012"),
                COLUMN + backend.row(b"1"),
            ]
        ),
        max_size=4,
    ),
    st.sampled_from(["BEGIN", "COMMIT", "ROLLBACK", "set x.y = 1; commit"]),
    st.booleans(),
)
@example([backend.complete("BEGIN"), backend.ready("T")], "BEGIN", False)
@example([backend.complete("BEGIN"), backend.ready("T")], "BEGIN", True)
@example([backend.complete("ROLLBACK"), backend.ready("I"), backend.notice()], "COMMIT", False)
def test_an_answer_that_comes_as_a_whole_is_what_it_is_byte_by_byte(
    answer: list[bytes], sql: str, abandoned: bool
) -> None:
    outcomes = []
    for _ in range(2):  # what has been met once is known by its bytes
        for parts in ([b"".join(answer)], [bytes((byte,)) for byte in b"".join(answer)]):
            session, script = begun(sql)
            if abandoned:
                script.abandon()
            for part in parts:
                session.receive_data(part)
            outcomes.append(outcome(session, script))
    assert outcomes == outcomes[:1] * 4


def test_values_are_decoded_as_in_a_query_in_whatever_format_they_come() -> None:
    """Text nearly always; a cursor that was declared BINARY gives binary rows."""
    session, script = begun()
    columns = backend.column("a", 1700), backend.column("b", 23, 1)
    session.receive_data(backend.row_description(*columns))
    session.receive_data(backend.row(b"1.50", backend.int4(7)))
    session.receive_data(backend.complete() + backend.ready())
    assert [str(value) for value in script.result[0].rows[0]] == ["1.50", "7"]


def test_text_that_is_not_utf_8_spoils_its_own_result() -> None:
    session, script = begun()
    session.receive_data(COLUMN + backend.row(b"\xff") + backend.complete() + backend.ready())
    assert type(script.error).__name__ == "DataError"
    assert session.in_step


def test_an_empty_statement_has_no_result() -> None:
    session, script = begun("")
    session.receive_data(backend.EMPTY_QUERY + backend.ready())
    assert script.result == []
    assert script.error is None


def test_an_error_ends_the_script_and_the_results_before_it_stay() -> None:
    session, script = begun()
    session.receive_data(COLUMN + backend.row(b"1") + backend.complete())
    session.receive_data(COLUMN + backend.row(b"2") + backend.error("22012") + backend.ready())
    assert isinstance(script.error, DivisionByZero)
    assert script.error.query == "select 1"
    assert script.error.results is script.result
    assert [result.rows for result in script.result] == [[(1,)]]


def test_an_error_in_front_of_ready_for_query() -> None:
    """The implicit transaction fails to commit."""
    session, script = begun()
    session.receive_data(backend.complete("INSERT 0 1") + backend.error("22012") + backend.ready())
    assert isinstance(script.error, DivisionByZero)


def test_after_an_error_nothing_but_the_end_may_come() -> None:
    session, _ = begun()
    session.receive_data(backend.error("22012") + backend.complete())
    assert str(session.failure) == "COMMAND_COMPLETE not expected by SimpleQuery in phase FAILED"


def test_a_decoding_error_keeps_the_results_before_it() -> None:
    session, script = begun()
    session.receive_data(COLUMN + backend.row(b"1") + backend.complete())
    session.receive_data(COLUMN + backend.row(b"x") + backend.complete() + COLUMN)
    session.receive_data(backend.row(b"3") + backend.complete() + backend.ready())
    assert "int4" in str(script.error)
    assert vars(script.error)["results"] is script.result
    assert [result.rows for result in script.result] == [[(1,)]]


def test_an_abandoned_script_is_drained() -> None:
    session, script = begun()
    session.receive_data(COLUMN + backend.row(b"1"))
    script.abandon()
    session.receive_data(backend.row(b"2") + backend.complete() + backend.ready())
    assert script.done
    assert session.in_step


def test_sql_that_cannot_be_sent() -> None:
    session, script = Session(REGISTRY), SimpleQuery("select '\0'")
    session.submit(script)
    assert isinstance(script.error, ProgrammingError)
    assert session.in_step


def test_copy_from_stdin_is_refused() -> None:
    session, script = begun()
    session.receive_data(backend.complete("BEGIN") + backend.copy_in(0, 0))
    assert session.data_to_send() == frontend.copy_fail("COPY FROM STDIN in a script")
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(script.error, NotSupportedError)
    assert [result.command_tag for result in script.result] == ["BEGIN"]


def test_copy_from_stdin_in_front_of_a_ping_is_refused() -> None:
    """The server would skip its Sync, and both would wait; so it is not written before."""
    session, script = begun()
    ping = Ping()
    session.submit(ping)
    session.data_to_send()
    session.receive_data(backend.copy_in(0))
    assert session.data_to_send() == frontend.copy_fail("COPY FROM STDIN in a script")
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(script.error, NotSupportedError)
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert ping.done
    assert ping.error is None


def test_copy_to_stdout_is_read_to_its_end_and_the_statements_behind_it_too() -> None:
    session, script = begun()
    session.receive_data(backend.copy_out(0) + backend.copy_data(b"1\n") + backend.COPY_DONE)
    session.receive_data(backend.complete("COPY 1") + COLUMN + backend.row(b"1"))
    session.receive_data(backend.complete() + backend.ready())
    assert isinstance(script.error, NotSupportedError)
    assert script.result == []
    assert session.in_step


def test_copy_to_stdout_that_fails_on_its_way() -> None:
    session, script = begun()
    session.receive_data(backend.copy_out(0) + backend.error("22012") + backend.ready())
    assert isinstance(script.error, NotSupportedError)
    assert session.in_step


# Ping.


def test_a_ping_is_a_sync_and_its_answer() -> None:
    session, ping = Session(REGISTRY), Ping()
    session.submit(ping)
    assert session.data_to_send() == b"S\0\0\0\4"
    session.receive_data(backend.ready())
    assert (ping.done, ping.error) == (True, None)


def test_a_cancel_request_that_comes_late_hits_the_ping_and_nothing_else() -> None:
    session, ping = Session(REGISTRY), Ping()
    session.submit(ping)
    session.data_to_send()
    session.receive_data(backend.error("57014") + backend.ready())
    assert (ping.done, ping.error) == (True, None)
    assert session.in_step


def test_any_other_error_in_answer_to_a_sync_is_a_violation() -> None:
    session, ping = Session(REGISTRY), Ping()
    session.submit(ping)
    session.receive_data(backend.error("22012", "how?"))
    assert isinstance(session.failure, ProtocolError)
    assert str(session.failure) == "an error in answer to a Sync alone: how?"


@pytest.mark.parametrize("sqlstate", ["57014", "57P01"])
def test_a_fatal_error_in_answer_to_a_ping(sqlstate: str) -> None:
    session, ping = Session(REGISTRY), Ping()
    session.submit(ping)
    session.receive_data(backend.fatal(sqlstate))
    assert repr(ping.error) == repr(session.failure)
    assert getattr(ping.error, "sqlstate", None) == sqlstate
