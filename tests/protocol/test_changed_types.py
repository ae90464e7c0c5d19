"""Types that are not what they were when they were looked up, and procedures that commit."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import DataError, DatatypeMismatch, PostgresError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.protocol import frontend
from pgwire.protocol.changes import is_call
from pgwire.protocol.looking_up import lookup_messages
from pgwire.protocol.many import QueryMany
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from tests.support import backend
from tests.support.catalogue import MOOD, answer
from tests.support.extended import EXECUTE_SYNC, said

PAIR = TypeInfo(17_001, "public", "pair", "c", 0, ",", 0, ("a",), (oids.INT4,))
WIDER = PAIR._replace(attribute_types=(oids.INT8,))
LONGER = PAIR._replace(attribute_names=("a", "b"), attribute_types=(oids.INT4, oids.TEXT))
DESCRIBED = backend.described([PAIR.oid], [backend.column("n")])
DONE = backend.executed(backend.row(backend.int4(1)))
FOUR = b"\0\0\0\1" + oids.INT4.to_bytes(4) + b"\0\0\0\4\0\0\0\1"
EIGHT = b"\0\0\0\1" + oids.INT8.to_bytes(4) + b"\0\0\0\x08\0\0\0\0\0\0\0\1"
MISMATCH = backend.error("42804")


def run(session: Session, operation: Any, *replies: bytes) -> Any:
    session.submit(operation)
    said(session)
    for reply in replies:
        said(session, reply)
    return operation


def knowing() -> Session:
    """A session that has looked the type up for another statement."""
    session = Session(TypeRegistry())
    query = run(session, Query("select 1, $1", [(1,)]), DESCRIBED, answer(PAIR), DONE)
    assert query.result.scalar() == 1
    return session


@pytest.mark.parametrize("sql", ["select 1, $1", "a statement that is new"])
def test_a_value_of_a_type_that_has_changed_is_sent_once_more_as_the_type_is_now(sql: str) -> None:
    session = knowing()
    query = Query(sql, [(1,)])
    session.submit(query)
    sent = said(session)
    if sent.startswith(b"P"):
        sent = said(session, DESCRIBED)
    assert FOUR in sent
    assert said(session, MISMATCH + backend.ready())[:1] in (b"C", b"P")
    assert b"pg_type" in said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    sent = said(session, answer(WIDER))
    assert EIGHT in sent
    assert sent.endswith(EXECUTE_SYNC)
    session.receive_data(DONE)
    assert query.result.scalar() == 1
    assert session.in_step


def test_it_is_sent_again_only_once() -> None:
    session = knowing()
    query = run(session, Query("select 1, $1", [(1,)]), MISMATCH + backend.ready())
    said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    said(session, answer(PAIR))
    assert said(session, MISMATCH + backend.ready()) == b""
    assert isinstance(query.error, DatatypeMismatch)
    assert session.in_step


def test_in_a_transaction_the_error_stands_and_the_next_one_knows_better() -> None:
    session = knowing()
    failed = backend.ready("E")
    query = run(session, Query("select 1, $1", [(1,)]), MISMATCH + failed)
    assert isinstance(query.error, DatatypeMismatch)
    assert not session.registry.catalog.infos


def test_a_mismatch_without_a_looked_up_type_is_the_caller_s() -> None:
    session = Session(TypeRegistry())
    described = backend.described([oids.INT4], [])
    query = run(session, Query("select $1", [1]), described, MISMATCH + backend.ready())
    assert isinstance(query.error, DatatypeMismatch)
    assert session.statements.get("select $1") is not None


def test_of_many_records_the_next_ones_are_sent_as_the_type_is_now() -> None:
    session = knowing()
    many = run(session, QueryMany("select 1, $1", [[(1,)]]), MISMATCH + backend.ready())
    assert isinstance(many.error, DatatypeMismatch)
    assert not session.registry.catalog.infos


def test_a_value_that_fits_nothing_has_only_its_own_types_looked_up_again() -> None:
    session = knowing()
    session.registry.catalog.learn([MOOD])
    query = Query("select 1, $1", [(2.5,)])
    session.submit(query)
    assert b"P" in said(session)
    assert b"pg_type" in said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    assert set(session.registry.catalog.infos) == {MOOD.oid}
    assert said(session, answer(PAIR)) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(query.error, DataError)


def test_a_new_statement_takes_what_fits_the_type_as_it_is_now() -> None:
    session = knowing()
    query = run(session, Query("another", [(1, "x")]))
    assert said(session, DESCRIBED) == lookup_messages(session, b"_pgwire_4\0", [PAIR.oid]) + (
        frontend.FLUSH
    )
    assert said(session, answer(LONGER)).endswith(EXECUTE_SYNC)
    session.receive_data(DONE)
    assert query.result.scalar() == 1


def test_a_new_statement_asks_only_once() -> None:
    session = knowing()
    query = run(session, Query("another", [(1, "x")]), DESCRIBED)
    assert said(session, answer(PAIR)) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(query.error, DataError)
    assert session.in_step


def test_a_cached_statement_asks_nothing_in_a_transaction_but_does_so_in_the_next() -> None:
    session = knowing()
    session.transaction_status = TransactionStatus.IN_TRANSACTION
    query = run(session, Query("select 1, $1", [(1, "x")]))
    assert isinstance(query.error, DataError)
    query = Query("select 1, $1", [(1, "x")])
    session.submit(query)
    assert b"P" in said(session)
    assert b"pg_type" in said(session, backend.CLOSE_COMPLETE + DESCRIBED)
    assert said(session, answer(LONGER)).endswith(EXECUTE_SYNC)


def test_of_many_records_one_that_does_not_fit_has_its_types_forgotten() -> None:
    session = knowing()
    many = run(session, QueryMany("select 1, $1", [[(1, "x")]]))
    session.receive_data(backend.error("26000") + backend.ready())
    assert isinstance(many.error, DataError)
    assert not session.registry.catalog.infos


@pytest.mark.parametrize("sqlstate", ["42804", "XX000", "42704", "22P03"])
@pytest.mark.parametrize("make", [Query, lambda sql, values: QueryMany(sql, [values])])
def test_a_plan_that_does_not_fit_is_made_anew_for_whoever_comes_next(
    make: Any, sqlstate: str
) -> None:
    """What has run may have left traces, so it is not run again."""
    session = knowing()
    failed = backend.BIND_COMPLETE + backend.error(sqlstate)
    operation = run(session, make("select 1, $1", [(1,)]), failed)
    said(session, backend.ready())
    assert operation.error.sqlstate == sqlstate
    session.submit(Query("select 1, $1", [(1,)]))
    assert b"select 1, $1" in said(session)


@pytest.mark.parametrize("sqlstate", ["42704", "42804", "42846", "42883"])
def test_parameters_that_fit_nowhere_any_more_have_their_statement_prepared_anew(
    sqlstate: str,
) -> None:
    session = Session(TypeRegistry())
    described = backend.described([oids.INT4], [])
    run(session, Query("select $1", [1]), described, backend.executed())
    query = run(session, Query("select $1", [2]))
    again = said(session, backend.error(sqlstate) + backend.ready())
    assert b"select $1" in again
    said(session, backend.CLOSE_COMPLETE + described)
    assert said(session, backend.error(sqlstate) + backend.ready()) == b""
    assert query.error.sqlstate == sqlstate
    assert session.in_step


def test_a_plan_that_does_not_fit_from_the_start_is_kept() -> None:
    session = Session(TypeRegistry())
    run(session, Query("select", []), backend.described([], []), backend.BIND_COMPLETE + MISMATCH)
    said(session, backend.ready())
    assert session.statements.get("select") is not None


PAIRS = backend.row_description(backend.column("p", PAIR.oid), backend.column("n", oids.INT4))


def test_the_results_of_a_script_wait_for_what_an_altered_type_is_now() -> None:
    session = knowing()
    script = SimpleQuery("alter type; select; select")
    session.submit(script)
    said(session)
    ping = Ping()
    session.submit(ping)
    said(session, backend.complete("ALTER TYPE") + PAIRS + backend.row(b"(1)", b"1"))
    said(session, backend.row(b"(2,x)", b"2"))
    said(session, backend.row(b"(3,y)", b"3") + backend.complete())
    # What is known of it has been forgotten, so that the next result waits as well.
    said(session, PAIRS + backend.row(b"(4,z)", b"4") + backend.complete())
    assert b"pg_type" in said(session, backend.ready())
    assert said(session, answer(LONGER) + backend.ready()) == frontend.SYNC
    assert [result.rows for result in script.result] == [
        [],
        [((1,), 1), ((2, "x"), 2), ((3, "y"), 3)],
        [((4, "z"), 4)],
    ]
    session.receive_data(backend.ready())
    assert ping.done
    assert session.in_step


def test_a_script_whose_type_does_not_fit_when_looked_up_either() -> None:
    session = knowing()
    script = run(session, SimpleQuery("select"), PAIRS + backend.row(b"(2,x)", b"2"))
    said(session, backend.complete() + backend.ready())
    said(session, answer(PAIR) + backend.ready())
    assert isinstance(script.error, DataError)
    assert session.in_step


def test_an_abandoned_script_looks_nothing_up() -> None:
    session = knowing()
    script = run(session, SimpleQuery("select"), PAIRS + backend.row(b"(2,x)", b"2"))
    script.abandon()
    assert said(session, backend.complete() + backend.ready()) == b""
    assert script.done


# A procedure that commits can do so only where nothing else has run since the last Sync.

CALLED = backend.described([MOOD.oid], [])


def calling(sql: str = "call p($1)") -> tuple[Session, Query, bytes]:
    session = Session(TypeRegistry())
    query = Query(sql, ["sad"])
    session.submit(query)
    said(session)
    said(session, CALLED)
    return session, query, said(session, answer(MOOD))


def test_a_call_is_not_run_behind_a_look_up() -> None:
    session, query, sent = calling()
    assert sent == frontend.SYNC
    ping = Ping()
    session.submit(ping)
    sent = said(session, backend.ready())
    assert sent.startswith(b"B")
    assert sent.endswith(EXECUTE_SYNC + frontend.SYNC)
    session.receive_data(backend.executed() + backend.ready())
    assert query.error is None
    assert ping.done


def test_a_call_without_a_name_is_not_left_alone_between_two_flights() -> None:
    """Behind its Sync a pooler may have given the server, and its one unnamed statement, away."""
    session = Session(TypeRegistry(), prepare=False)
    query = Query("call p($1)", ["sad"])
    session.submit(query)
    parsed = said(session)
    said(session, CALLED)
    assert said(session, answer(MOOD)) == frontend.SYNC
    assert said(session, backend.ready()) == parsed
    assert said(session, CALLED).endswith(EXECUTE_SYNC)
    session.receive_data(backend.executed())
    assert query.error is None
    assert session.in_step


def test_a_call_that_is_abandoned_behind_its_look_up_is_not_run() -> None:
    session, query, _ = calling()
    query.abandon()
    assert said(session, backend.ready()) == frontend.SYNC
    session.receive_data(backend.ready())
    assert query.done
    assert session.in_step


def test_an_error_behind_its_look_up_is_the_call_s() -> None:
    session, query, _ = calling()
    assert said(session, backend.error("57014") + backend.ready()) == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(query.error, PostgresError)
    assert session.in_step


def test_in_a_transaction_a_call_can_commit_nothing() -> None:
    session = Session(TypeRegistry())
    begin = run(session, Query("begin", []), backend.described([], []))
    session.receive_data(backend.BIND_COMPLETE + backend.complete("BEGIN") + backend.ready("T"))
    assert begin.done
    run(session, Query("call p($1)", ["sad"]), CALLED)
    assert said(session, answer(MOOD)).endswith(EXECUTE_SYNC)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("call p()", True),
        ("-- why\n /* what */ CALL p()", True),
        ("select 1 as call", False),
        ("callous", False),
        ("", False),
    ],
)
def test_what_is_a_call(sql: str, expected: bool) -> None:
    assert is_call(sql) is expected
