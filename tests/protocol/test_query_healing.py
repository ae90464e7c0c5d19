"""Query and Prepare: errors, statements that are stale and heal, statements of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError
from pgwire.protocol import frontend
from pgwire.protocol.many import QueryMany
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.protocol.statement import Statement
from pgwire.protocol.streaming import Streaming
from pgwire.sqlstate import (
    DuplicatePreparedStatement,
    FeatureNotSupported,
    InvalidSqlStatementName,
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation

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
    session.receive_data(backend.error("53200") + backend.ready())
    assert query.done
    assert session.statements.get("select $1") is not None


def many(sql: str, params: list[Any]) -> QueryMany:
    return QueryMany(sql, [params])


@pytest.mark.parametrize("make", [Query, Streaming, many])
def test_a_value_that_does_not_fit_has_the_next_query_ask_for_the_types_again(
    make: Callable[[str, list[Any]], Operation],
) -> None:
    """A parameter has the type that its column had: the value may fit what it is now."""
    session = cached()
    misfit = make("select $1", [2**31])
    submit(session, misfit)
    if said(session):  # it was too late for nothing to be sent
        session.receive_data(backend.error("26000") + backend.ready())
    assert isinstance(misfit.error, DataError)
    submit(session, Query("select $1", [2**31]))
    assert said(session) == (
        frontend.close_statement(b"_pgwire_1\0") + parse_describe(b"_pgwire_2", b"select $1")
    )


@pytest.mark.parametrize("sqlstate", ["22003", "22P02"])
@pytest.mark.parametrize("make", [Query, Streaming, many])
def test_so_has_one_that_the_server_refuses(
    make: Callable[[str, list[Any]], Operation], sqlstate: str
) -> None:
    session = cached()
    misfit = make("select $1", ["1e5"])
    submit(session, misfit)
    said(session)
    session.receive_data(backend.error(sqlstate) + backend.ready())
    assert misfit.done
    assert session.statements.get("select $1") is None


def test_a_value_that_does_not_fit_a_statement_just_prepared_keeps_it() -> None:
    session = Session(REGISTRY)
    query = Query("select $1", ["x"])
    submit(session, query)
    session.receive_data(DESCRIBED + backend.error("22P02") + backend.ready())
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


WAYS: list[Callable[[Statement], Operation]] = [
    lambda statement: Query("select $1", [2], statement),
    lambda statement: Streaming("select $1", [2], statement),
    lambda statement: QueryMany("select $1", [[2]], statement),
]


@pytest.mark.parametrize("use", WAYS, ids=["query", "stream", "query_many"])
def test_one_that_could_not_heal_is_prepared_anew_the_next_time(
    use: Callable[[Statement], Operation],
) -> None:
    """Its user kept what had been closed by then: in transactions he never got any further."""
    session = Session(REGISTRY)
    statement = prepared(session)
    session.transaction_status = TransactionStatus.IN_TRANSACTION
    submit(session, stale := use(statement))
    assert statement.name in said(session)
    said(session, backend.error("0A000") + backend.ready("E"))
    assert isinstance(stale.error, FeatureNotSupported)

    session.transaction_status = TransactionStatus.IN_TRANSACTION  # the next one
    submit(session, anew := use(statement.newest()))
    assert said(session).startswith(frontend.close_statement(statement.name) + b"P")
    bound = said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    newest = statement.newest()
    assert newest is not statement
    assert newest.name in bound
    row = backend.row(backend.int4(2))
    said(session, backend.executed(row, status="T"))
    assert (anew.done, anew.error) == (True, None)
    assert len(session.statements) == 0

    for given in newest, statement:  # the other was asked for before
        submit(session, again := use(given))
        bound = said(session)
        assert newest.name in bound
        assert not bound.startswith(b"P")
        said(session, backend.executed(row, status="T"))
        assert (again.done, again.error) == (True, None)
    assert session.in_step


def test_one_that_its_user_closes_is_closed_once() -> None:
    session = Session(REGISTRY)
    statement = prepared(session)
    for _ in range(2):
        session.statements.forget(statement)
    assert session.statements.closing == [b"_pgwire_1\0"]
