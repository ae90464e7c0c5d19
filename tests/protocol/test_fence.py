"""Fences: a cancel request hits nobody but whom it is meant for."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from pgwire.errors import ConnectionLost, PostgresError
from pgwire.protocol import frontend
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from pgwire.protocol.operation import Operation

CANCELED = backend.error("57014")
DESCRIBED = backend.described([23], [backend.column("n")])


def session_that_knows(sql: str = "select $1") -> Session:
    session = Session(REGISTRY)
    session.submit(Query(sql, [0]))
    session.receive_data(DESCRIBED + backend.executed())
    session.data_to_send()
    return session


def learn(session: Session, sql: str) -> None:
    """Have it run once, without parameters and without rows."""
    session.submit(query := Query(sql))
    session.receive_data(backend.described([], []) + backend.executed())
    assert query.error is None


def submitted(session: Session, *numbers: int) -> list[Query]:
    queries = [Query("select $1", [number]) for number in numbers]
    for query in queries:
        session.submit(query)
    return queries


def answer(number: int) -> bytes:
    return backend.executed(backend.row(backend.int4(number)))


def raised(session: Session, requests: int = 1, *, at_large: bool = False) -> Fence:
    """A fence behind what is written, once so many cancel requests have been sent."""
    fence = Fence(at_large=at_large)
    session.raise_fence(fence)
    fence.requests = requests
    return fence


def test_nobody_writes_behind_a_fence_until_it_is_answered() -> None:
    session = session_that_knows()
    [running] = submitted(session, 1)
    session.data_to_send()
    running.abandon()
    fence = raised(session)
    [later] = submitted(session, 2)
    assert session.data_to_send() == b""
    session.receive_data(CANCELED + backend.ready())
    assert running.done
    assert session.data_to_send() == b"", "the request may still be on its way"
    fence.lower()
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert fence.done
    assert not session.pending[0].is_fence
    assert session.data_to_send() != b""
    session.receive_data(answer(2))
    assert later.result.scalar() == 2


def test_a_late_cancel_hits_the_fence_and_nobody_else() -> None:
    session = session_that_knows()
    fence = raised(session)
    fence.lower()
    fence.lower()  # once is enough
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(CANCELED + backend.ready())
    assert fence.done
    assert session.failure is None


def test_a_fence_goes_in_front_of_what_is_not_written_yet() -> None:
    """The first keeps the floor until its types are known; the second has written nothing."""
    session = Session(REGISTRY)
    first, second = Query("select $1", [1]), Query("select $1", [2])
    session.submit(first)
    session.submit(second)
    session.data_to_send()
    first.abandon()
    fences = [raised(session), raised(session)]
    assert list(session.pending) == [first, *fences, second]
    session.receive_data(DESCRIBED)
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    for fence in fences:
        assert session.data_to_send() == b""
        fence.lower()
        assert session.data_to_send() == frontend.SYNC
        session.receive_data(backend.ready())
    assert session.data_to_send() != b""
    session.receive_data(answer(2))
    assert second.result.scalar() == 2


@pytest.mark.parametrize("sent", [b"", backend.BIND_COMPLETE])
def test_a_query_hit_in_place_of_another_begins_anew(sent: bytes) -> None:
    session = session_that_knows()
    meant, struck = submitted(session, 1, 2)
    session.data_to_send()
    meant.abandon()
    fence = raised(session)
    [later] = submitted(session, 3)
    session.receive_data(answer(1) + sent)
    assert meant.done
    session.receive_data(CANCELED + backend.ready())
    assert not struck.done
    assert list(session.pending) == [fence, struck, later]
    fence.lower()
    session.data_to_send()
    session.receive_data(backend.ready())
    assert session.data_to_send().count(b"E\0\0\0\x09") == 2, "two are executed"
    session.receive_data(answer(2) + answer(3))
    assert [struck.result.scalars(), later.result.scalars()] == [[2], [3]]


def test_what_comes_in_one_piece_with_its_end_is_the_next_ones() -> None:
    session = session_that_knows()
    session.unordered = True
    meant, struck, behind = submitted(session, 1, 2, 3)
    session.data_to_send()
    meant.abandon()
    fence = raised(session)
    fence.lower()
    session.receive_data(answer(1) + CANCELED + backend.ready() + answer(3) + backend.ready())
    assert session.failure is None
    assert behind.result.scalar() == 3
    assert fence.done
    session.receive_data(answer(2))
    assert struck.result.scalar() == 2


def test_rows_that_came_before_the_cancel_do_not_stay() -> None:
    session = session_that_knows()
    meant, struck = submitted(session, 1, 2)
    session.data_to_send()
    meant.abandon()
    fence = raised(session)
    row = backend.row(backend.int4(2))
    session.receive_data(answer(1) + backend.BIND_COMPLETE + row + CANCELED + backend.ready())
    fence.lower()
    session.receive_data(backend.ready())
    session.receive_data(answer(2))
    assert struck.result.scalars() == [2]


def test_what_waits_for_answers_waits_behind_a_fence_too() -> None:
    """An unnamed statement is not prepared before all is answered: nothing can strike it."""
    session = Session(REGISTRY, statement_cache_size=0)
    meant, behind = submitted(session, 1, 2)
    session.receive_data(DESCRIBED)
    session.data_to_send()
    meant.abandon()
    fence = raised(session)
    session.receive_data(answer(1))
    assert session.data_to_send() == b""
    fence.lower()
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert b"select $1" in session.data_to_send()
    session.receive_data(DESCRIBED + answer(2))
    assert behind.result.scalar() == 2


def test_a_parse_that_is_hit_begins_anew() -> None:
    session = session_that_knows()
    [meant] = submitted(session, 1)
    struck = Query("select $1, 'new'", [2])
    session.submit(struck)
    session.data_to_send()
    meant.abandon()
    session.receive_data(answer(1)[:-6])
    fence = raised(session)
    session.receive_data(answer(1)[-6:] + CANCELED)
    assert session.data_to_send() == b""  # its Sync is written, since an answer was outstanding
    session.receive_data(backend.ready())
    fence.lower()
    session.data_to_send()
    session.receive_data(backend.ready())
    assert b"'new'" in session.data_to_send()
    session.receive_data(DESCRIBED + answer(2))
    assert struck.result.scalar() == 2


def struck_first_of(session: Session, status: str = "I") -> tuple[Query, Query]:
    meant, struck, behind = submitted(session, 1, 2, 3)
    session.data_to_send()
    meant.abandon()
    raised(session)
    session.receive_data(answer(1) + CANCELED + backend.ready(status))
    return struck, behind


def test_where_order_matters_it_fails() -> None:
    """The third has been written, and carried out: the second cannot come before it any more."""
    session = session_that_knows()
    struck, behind = struck_first_of(session)
    assert isinstance(struck.error, PostgresError)
    session.receive_data(answer(3))
    assert behind.result.scalar() == 3


def test_where_order_does_not_matter_it_begins_anew_behind_the_others() -> None:
    session = session_that_knows()
    session.unordered = True
    struck, behind = struck_first_of(session)
    assert not struck.done
    session.receive_data(answer(3))
    assert behind.result.scalar() == 3
    fence, last = session.pending
    assert fence.is_fence
    assert last is struck


def test_inside_a_transaction_it_fails() -> None:
    """The transaction has failed, and what it was to do first is gone."""
    session = session_that_knows()
    session.unordered = True
    struck, _ = struck_first_of(session, "E")
    assert isinstance(struck.error, PostgresError)


def test_who_is_canceled_on_purpose_fails() -> None:
    session = session_that_knows()
    [query] = submitted(session, 1)
    fence = raised(session, 0, at_large=True)
    session.receive_data(CANCELED + backend.ready())
    assert isinstance(query.error, PostgresError)
    assert query.error.sqlstate == "57014"
    assert not query.error.stray
    assert query.error.hint is None
    assert not fence.done


def test_a_query_abandoned_after_it_was_hit_is_not_begun_anew() -> None:
    session = session_that_knows()
    meant, struck = submitted(session, 1, 2)
    session.data_to_send()
    meant.abandon()
    raised(session)
    session.receive_data(answer(1) + CANCELED)
    struck.abandon()
    session.receive_data(backend.ready())
    assert struck.done


@pytest.mark.parametrize("lowered", [False, True])
def test_a_fence_on_a_session_that_fails_is_done(lowered: bool) -> None:
    session = session_that_knows()
    fence = raised(session)
    if lowered:
        fence.lower()
    session.receive_eof()
    assert isinstance(fence.error, ConnectionLost)
    fence.lower()  # too late, and no harm
    assert session.data_to_send() == b""
    late = raised(session)
    assert late.done


def test_an_answer_before_the_question_is_a_violation() -> None:
    session = session_that_knows()
    raised(session)
    session.receive_data(backend.ready())
    assert session.failure is not None


def test_only_queries_begin_anew() -> None:
    session = session_that_knows()
    operations: list[Operation] = [Ping(), SimpleQuery("select 1")]
    for operation in operations:
        session.submit(operation)
    session.data_to_send()
    raised(session)
    session.receive_data(CANCELED + backend.ready() + CANCELED + backend.ready())
    assert operations[0].error is None
    assert isinstance(operations[1].error, PostgresError)


def test_a_fence_may_be_lowered_before_it_has_the_floor() -> None:
    session = Session(REGISTRY)
    first = Query("select $1", [1])
    session.submit(first)
    session.data_to_send()
    first.abandon()
    fence = raised(session)
    fence.lower()
    assert session.data_to_send() == b""
    session.receive_data(DESCRIBED)
    assert session.data_to_send() == frontend.SYNC + frontend.SYNC
    session.receive_data(backend.ready() + backend.ready())
    assert fence.done


def test_a_statement_of_its_users_is_kept_when_its_query_begins_anew() -> None:
    session = session_that_knows()
    prepare = Prepare("select $1 + 1")
    session.submit(prepare)
    session.receive_data(DESCRIBED + backend.ready())
    session.data_to_send()
    [meant] = submitted(session, 1)
    struck = Query(prepare.sql, [2], prepare.result)
    session.submit(struck)
    session.data_to_send()
    meant.abandon()
    fence = raised(session)
    session.receive_data(answer(1) + CANCELED + backend.ready())
    fence.lower()
    session.receive_data(backend.ready())
    assert prepare.sql.encode() not in session.data_to_send()
    session.receive_data(answer(2))
    assert struck.statement is prepare.result
    assert struck.result.scalar() == 2


# Who was hit by mistake, and what he is told


def stray(query: Operation) -> bool:
    assert isinstance(query.error, PostgresError)
    assert query.error.sqlstate == "57014"
    assert query.error.stray is (query.error.hint is not None)
    return query.error.stray


def test_the_error_of_who_was_hit_by_mistake_says_so() -> None:
    session = session_that_knows()
    struck, _ = struck_first_of(session)
    assert stray(struck)
    assert isinstance(struck.error, PostgresError)
    assert (struck.error.hint or "").startswith("It was hit by a cancel request for an earlier")
    assert "it can be asked for again" in str(struck.error)
    again = pickle.loads(pickle.dumps(struck.error))
    assert again.stray


def test_inside_a_transaction_it_says_that_all_of_that_has_failed() -> None:
    session = session_that_knows()
    session.transaction_status = TransactionStatus.IN_TRANSACTION
    meant, struck = submitted(session, 1, 2)
    meant.abandon()
    raised(session)
    session.receive_data(backend.executed(status="T") + CANCELED + backend.ready("E"))
    assert stray(struck)
    assert "The transaction has failed" in str(struck.error)


def test_what_the_server_advises_stays() -> None:
    session = session_that_knows()
    session.submit(script := SimpleQuery("select 1"))
    raised(session)
    session.receive_data(backend.error("57014", H="Be patient.") + backend.ready())
    assert isinstance(script.error, PostgresError)
    assert script.error.hint is not None
    assert script.error.hint.startswith("Be patient.\nIt was hit")


def test_a_request_hits_one_and_no_more() -> None:
    """Whatever is canceled besides was meant: by a statement_timeout, say."""
    session = session_that_knows()
    meant, behind = submitted(session, 1, 2)
    meant.abandon()
    raised(session)
    session.receive_data(CANCELED + backend.ready() + CANCELED + backend.ready())
    assert meant.done
    assert not stray(meant)
    assert not stray(behind)


def test_each_request_may_have_hit_another() -> None:
    session = session_that_knows()
    session.unordered = True
    meant, *others = submitted(session, 1, 2, 3, 4)
    meant.abandon()
    fence = raised(session, 2)
    session.receive_data(answer(1) + (CANCELED + backend.ready()) * 3)
    assert [each.done for each in others] == [False, False, True]
    assert not stray(others[2])
    fence.lower()
    session.receive_data(backend.ready() + answer(3) + answer(2))
    assert [each.error for each in others[:2]] == [None, None]


def test_where_no_request_was_sent_none_has_hit() -> None:
    """What was not wanted any more has ended by itself."""
    session = session_that_knows()
    meant, behind = submitted(session, 1, 2)
    meant.abandon()
    fence = raised(session, 0)
    session.receive_data(answer(1))
    fence.lower()
    session.receive_data(CANCELED + backend.ready())
    assert not stray(behind)


def test_a_statement_timeout_is_no_cancel_request() -> None:
    session = session_that_knows()
    meant, behind, struck = submitted(session, 1, 2, 3)
    meant.abandon()
    raised(session)
    out_of_time = backend.error("57014", "canceling statement due to statement timeout")
    session.receive_data(out_of_time + backend.ready() + out_of_time + backend.ready())
    assert meant.done
    assert not stray(behind)
    session.receive_data(CANCELED + backend.ready())
    assert not struck.done, "the request that was meant for the first begins it anew"


def test_a_request_for_whatever_runs_is_not_taken_for_a_mistake() -> None:
    session = session_that_knows()
    session.unordered = True
    meant, first, second = submitted(session, 1, 2, 3)
    meant.abandon()
    raised(session)
    at_large = raised(session, 0, at_large=True)
    session.receive_data(answer(1) + (CANCELED + backend.ready()) * 2)
    assert not stray(first)
    assert not second.done
    assert not at_large.done


def test_a_request_for_whatever_runs_that_hit_nobody_is_over_with_its_fence() -> None:
    session = session_that_knows()
    at_large = raised(session, 0, at_large=True)
    assert session.is_canceled_at_large
    at_large.lower()
    session.receive_data(backend.ready())
    assert at_large.done
    assert not session.is_canceled_at_large


def test_a_commit_that_was_hit_does_not_begin_anew() -> None:
    """The transaction that it was to commit is no more, and the server would say COMMIT."""
    session = session_that_knows()
    learn(session, "commit")
    session.transaction_status = TransactionStatus.IN_TRANSACTION
    [meant] = submitted(session, 1)
    session.submit(commit := Query("commit"))
    meant.abandon()
    raised(session)
    session.receive_data(backend.executed(status="T"))
    session.receive_data(backend.BIND_COMPLETE + CANCELED + backend.ready())  # deferred constraints
    assert stray(commit)


@pytest.mark.parametrize(
    "sql", ["call p()", "do $$ begin commit; end $$", "vacuum", "select pg_advisory_lock(1)"]
)
def test_what_is_not_undone_as_a_whole_does_not_begin_anew(sql: str) -> None:
    session = session_that_knows()
    learn(session, sql)
    [meant] = submitted(session, 1)
    session.submit(struck := Query(sql))
    meant.abandon()
    raised(session)
    session.receive_data(answer(1) + backend.BIND_COMPLETE + CANCELED + backend.ready())
    assert stray(struck)
    assert "not committed by itself" in str(struck.error)


def test_it_begins_anew_where_it_had_not_begun() -> None:
    session = session_that_knows()
    learn(session, "vacuum")
    [meant] = submitted(session, 1)
    session.submit(struck := Query("vacuum"))
    meant.abandon()
    fence = raised(session)
    session.receive_data(answer(1) + CANCELED + backend.ready())
    assert not struck.done
    fence.lower()
    session.receive_data(backend.ready() + backend.executed())
    assert struck.error is None


def spotless(session: Session) -> bool:
    return session.is_spotless()


def test_a_session_is_spotless_until_something_is_under_way_or_changed() -> None:
    session = session_that_knows()
    assert spotless(session)
    submitted(session, 1)
    assert not spotless(session)
    session.data_to_send()
    session.receive_data(answer(1))
    assert spotless(session)
    session.changed = True
    assert not spotless(session)
    session.changed = False
    submitted(session, 1)
    session.data_to_send()
    session.receive_data(answer(1)[:-1] + b"T")
    assert not spotless(session)
    session = session_that_knows()
    session.receive_eof()
    assert not spotless(session)
