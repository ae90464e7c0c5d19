"""What is written while answers are outstanding: nothing that a pooler could tear apart.

At a ReadyForQuery it may give the server to another client. What has been written behind it is lost
then, unless a Sync (or a Query) stands behind that as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.pgtypes import TypeRegistry
from pgwire.protocol import frontend
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.many import QueryMany
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.protocol.statement import StatementCache
from pgwire.protocol.streaming import Streaming
from pgwire.sqlstate import FeatureNotSupported, InvalidSqlStatementName, QueryCanceled
from tests.support import backend
from tests.support.catalogue import MOOD, found
from tests.support.conversations import REGISTRY
from tests.support.extended import (
    DESCRIBED,
    EXECUTE_SYNC,
    answer,
    bind,
    parse_describe,
    said,
    submit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation

SQL = "select $1"
READY = backend.ready()
PARTED = parse_describe(b"_pgwire_1", SQL.encode(), frontend.SYNC)


def outstanding(session: Session | None = None, **options: Any) -> Session:
    """A session with a Ping that has not been answered yet."""
    session = session or Session(REGISTRY, **options)
    submit(session, Ping())
    session.data_to_send()
    return session


def knowing(**options: Any) -> Session:
    session = Session(REGISTRY, **options)
    submit(session, Query(SQL, [1]))
    said(session)
    said(session, DESCRIBED)
    said(session, answer(1))
    return session


KINDS: list[Callable[[], Operation]] = [
    lambda: Query(SQL, [1]),
    lambda: Query("select 'new', $1", [1]),
    lambda: QueryMany(SQL, [(1,)]),
    lambda: QueryMany("select 'new', $1", [(1,)]),
    lambda: Streaming(SQL, [1]),
    lambda: CopyIn("copy t from stdin", b"1\n"),
    lambda: CopyRecords("t", [(1,)]),
    lambda: CopyOut("copy t to stdout"),
    lambda: Prepare(SQL),
    lambda: SimpleQuery("select 1"),
    lambda: Ping(),
]


@pytest.mark.parametrize("number", range(len(KINDS)))
@pytest.mark.parametrize("size", [256, 0])
def test_it_ends_with_what_is_answered_by_ready_for_query(number: int, size: int) -> None:
    session = outstanding(knowing(statement_cache_size=size))
    operation, behind = KINDS[number](), Ping()
    submit(session, operation)
    written = session.data_to_send()
    ends = [message[:1] for message in backend.split(written)][-1:]
    assert ends in ([], [b"S"], [b"Q"])
    submit(session, behind)
    assert session.data_to_send() in (b"", frontend.SYNC)
    if not ends:
        assert said(session, READY) != b""
        assert not behind.done


def test_a_query_is_prepared_with_a_sync() -> None:
    session = outstanding()
    query, behind = Query(SQL, [7]), Ping()
    submit(session, query, behind)
    assert said(session) == PARTED
    assert said(session, READY + DESCRIBED) == b""
    assert said(session, READY) == bind(b"_pgwire_1", 7) + EXECUTE_SYNC + frontend.SYNC
    session.receive_data(answer(7) + READY)
    assert query.result.scalar() == 7
    assert behind.done
    assert session.in_step


def test_an_unnamed_statement_is_prepared_when_all_is_answered() -> None:
    session = outstanding(statement_cache_size=0)
    query, behind = Query(SQL, [7]), Query(SQL, [8])
    submit(session, query, behind)
    assert said(session) == b""
    assert said(session, READY) == parse_describe(b"", SQL.encode())
    assert said(session, DESCRIBED) == bind(b"", 7) + EXECUTE_SYNC
    assert said(session, answer(7)) == parse_describe(b"", SQL.encode())
    said(session, DESCRIBED)
    session.receive_data(answer(8))
    assert (query.result.scalar(), behind.result.scalar()) == (7, 8)


def test_who_is_abandoned_while_waiting_is_never_said() -> None:
    session = outstanding(statement_cache_size=0)
    query, behind = Query(SQL, [7]), Ping()
    submit(session, query, behind)
    query.abandon()
    assert said(session, READY) == frontend.SYNC
    assert query.done
    session.receive_data(READY)
    assert session.in_step


def test_types_are_looked_up_when_all_is_answered() -> None:
    """Where they are unknown though the statement is there: they have been forgotten."""
    registry = TypeRegistry()
    session = Session(registry)
    registry.catalog.learn([MOOD])
    submit(session, Query(SQL, ["ok"]))
    said(session)
    said(session, backend.described([MOOD.oid], [backend.column("m", MOOD.oid)]))
    said(session, backend.executed(backend.row(b"ok")))
    registry.catalog.forget()
    outstanding(session)
    query = Query(SQL, ["ok"])
    submit(session, query)
    assert said(session) == b""
    assert b"pg_catalog.pg_type" in said(session, READY)
    bound = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
    looked_up = bound + found(MOOD) + backend.complete() + backend.CLOSE_COMPLETE
    assert said(session, looked_up).endswith(EXECUTE_SYNC)
    session.receive_data(backend.executed(backend.row(b"ok")))
    assert query.result.scalar() == "ok"


class TestParted:
    """There is a Sync between preparing a statement and using it."""

    def test_it_does_not_fit(self) -> None:
        session = outstanding()
        query, behind = Query("select nonsense"), Ping()
        submit(session, query, behind)
        said(session)
        assert said(session, READY + backend.error("42601")) == frontend.SYNC
        session.receive_data(READY + READY)
        assert str(query.error) == "no"
        assert session.in_step

    def test_a_pooler_has_no_such_statement_on_the_next_server(self) -> None:
        session = outstanding()
        query = Query(SQL, [7])
        submit(session, query)
        said(session)
        said(session, READY + DESCRIBED + READY)
        assert said(session, backend.error("26000")) == b""
        again = frontend.close_statement(b"_pgwire_1\0") + parse_describe(
            b"_pgwire_2", SQL.encode()
        )
        assert said(session, READY) == again
        said(session, backend.CLOSE_COMPLETE + DESCRIBED)
        session.receive_data(answer(7))
        assert query.result.scalar() == 7

    def test_nor_with_somebody_behind_who_would_be_overtaken(self) -> None:
        session = outstanding()
        query, behind = Query(SQL, [7]), Ping()
        submit(session, query, behind)
        said(session)
        said(session, READY + DESCRIBED + READY)
        session.receive_data(backend.error("26000") + READY + READY)
        assert isinstance(query.error, InvalidSqlStatementName)
        assert session.in_step

    @pytest.mark.parametrize("before", [READY + DESCRIBED, READY + backend.PARSE_COMPLETE])
    def test_abandoned_in_between_it_is_not_carried_out(self, before: bytes) -> None:
        session = outstanding()
        query, behind = Query(SQL, [7]), Ping()
        submit(session, query, behind)
        said(session)
        said(session, before)
        query.abandon()
        rest = (READY + DESCRIBED + READY)[len(before) :]
        assert said(session, rest) == frontend.SYNC + frontend.SYNC
        session.receive_data(READY + READY)
        assert behind.done
        assert session.in_step

    def test_an_error_at_the_sync(self) -> None:
        session = outstanding()
        mood = backend.described([MOOD.oid], [])
        query = Query(SQL, ["ok"])
        submit(session, query)
        said(session)
        assert said(session, READY + mood + backend.error("57014") + READY) == frontend.SYNC
        session.receive_data(READY)
        assert isinstance(query.error, QueryCanceled)
        assert session.in_step

    def test_types_are_looked_up_behind_the_sync(self) -> None:
        session = outstanding(Session(TypeRegistry()))
        query = Query(SQL, ["ok"])
        submit(session, query)
        said(session)
        mood = backend.described([MOOD.oid], [backend.column("m", MOOD.oid)])
        assert said(session, READY + mood) == b""
        assert said(session, READY).endswith(frontend.FLUSH)
        bound = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
        said(session, bound + found(MOOD) + backend.complete() + backend.CLOSE_COMPLETE)
        session.receive_data(backend.executed(backend.row(b"ok")))
        assert query.result.scalar() == "ok"


STALE = backend.error("0A000", "cached plan must not change result type")


class TestKept:
    """PgBouncer has equal texts share one statement, and prepares none anew: not even a stale one.

    So the text is made another one.
    """

    MARKED = SQL.encode() + b"\n/* _pgwire_3 */"

    def test_what_is_stale_when_it_is_new_is_sent_as_another_text(self) -> None:
        session = knowing()
        query = Query(SQL, [7])
        submit(session, query)
        said(session)
        closed = frontend.close_statement(b"_pgwire_1\0")
        again = said(session, STALE + READY)
        assert again == closed + parse_describe(b"_pgwire_2", SQL.encode())
        kept = backend.CLOSE_COMPLETE + backend.PARSE_COMPLETE + STALE
        assert said(session, kept) == frontend.SYNC
        assert said(session, READY) == parse_describe(b"_pgwire_3", self.MARKED)
        said(session, DESCRIBED)
        session.receive_data(answer(7))
        assert query.result.scalar() == 7
        submit(session, Query(SQL, [8]))
        assert said(session) == bind(b"_pgwire_3", 8) + EXECUTE_SYNC

    def test_it_is_not_tried_for_ever(self) -> None:
        session = Session(REGISTRY)
        query = Query(SQL, [7])
        submit(session, query)
        said(session)
        for _ in range(2):
            assert said(session, backend.PARSE_COMPLETE + STALE) == frontend.SYNC
            said(session, READY)
        assert isinstance(query.error, FeatureNotSupported)
        assert session.in_step

    def test_what_the_server_does_not_support_is_tried_once(self) -> None:
        session = Session(REGISTRY)
        query = Query(SQL, [7])
        submit(session, query)
        said(session)
        assert said(session, backend.error("0A000")) == frontend.SYNC
        assert said(session, READY) == b""
        assert isinstance(query.error, FeatureNotSupported)

    def test_in_a_transaction_the_next_attempt_is_another_text(self) -> None:
        session = knowing()
        submit(session, Query(SQL, [7]))
        said(session)
        session.transaction_status = type(session.transaction_status).IN_TRANSACTION
        said(session, STALE + backend.ready("E"))
        submit(session, Query(SQL, [7]))
        assert b"\n/* _pgwire_2 */" in said(session)

    def test_a_statement_of_the_user_s_own(self) -> None:
        session = Session(REGISTRY)
        first, second = Prepare(SQL), Prepare(SQL)
        submit(session, first)
        said(session)
        said(session, backend.PARSE_COMPLETE + STALE + READY)
        assert isinstance(first.error, FeatureNotSupported)
        submit(session, second)
        assert b"\n/* _pgwire_2 */" in said(session)

    def test_not_more_texts_than_some_are_remembered(self) -> None:
        cache = StatementCache(1)
        for number in range(1001):
            assert cache.tell_text_apart(f"select {number}")
        assert not cache.tell_text_apart("select 1000")
        assert cache.tell_text_apart("select 0")
