"""Types that nobody knows yet: when they are asked for, and what becomes of everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import ConnectionLost, DataError, IntegrityError, PostgresError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.catalog import Catalog, TypeInfo
from pgwire.protocol import frontend
from pgwire.protocol.looking_up import lookup_messages
from pgwire.protocol.many import QueryMany
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from tests.support import backend
from tests.support.catalogue import MOOD, MOODS, answer
from tests.support.extended import EXECUTE_SYNC, said

if TYPE_CHECKING:
    from collections.abc import Iterable

PAIR = TypeInfo(17_001, "public", "pair", "c", 0, ",", 0, ("a", "b"), (oids.INT4, MOOD.oid))
RECORD = oids.REST["record"][0]
CACHED = (backend.BIND_COMPLETE, backend.row(b"ok"), backend.complete(), backend.ready())


def new_session() -> Session:
    return Session(TypeRegistry())


def described(parameter: int | None, *columns: int) -> bytes:
    described_columns = [backend.column(f"c{n}", oid) for n, oid in enumerate(columns)]
    return backend.described([] if parameter is None else [parameter], described_columns)


def lookup(session: Session, number: int, wanted: Iterable[int], end: bytes) -> bytes:
    return lookup_messages(session, b"_pgwire_%d\0" % number, wanted) + end


def fields(*values: tuple[int, bytes | None]) -> bytes:
    """A record in binary: the type and the value of each field."""
    body = len(values).to_bytes(4)
    for oid, value in values:
        body += oid.to_bytes(4) + (b"\xff" * 4 if value is None else len(value).to_bytes(4) + value)
    return body


def test_a_type_is_looked_up_between_describe_and_bind() -> None:
    session = new_session()
    query = Query("select $1", ["sad"])
    session.submit(query)
    said(session)
    asked = said(session, described(MOOD.oid, MOOD.oid))
    assert asked == lookup(session, 2, [MOOD.oid], frontend.FLUSH)
    bound = said(session, answer(MOOD))
    assert bound.startswith(b"B")
    assert bound.endswith(EXECUTE_SYNC)
    assert b"\0\0\0\x03sad" in bound
    said(session, b"".join(CACHED))
    assert query.result.scalar() == "ok"
    assert session.in_step


def test_once_known_nobody_asks_again() -> None:
    session = new_session()
    other = Session(session.registry)
    for each, first in ((session, True), (other, False)):
        query = Query("select $1", ["sad"])
        each.submit(query)
        said(each)
        more = said(each, described(MOOD.oid, MOOD.oid))
        assert (b"pg_type" in more) is first
        if first:
            said(each, answer(MOOD))
        said(each, b"".join(CACHED))
        assert query.result.scalar() == "ok"


def test_what_a_type_is_made_of_is_asked_for_in_turn() -> None:
    session = new_session()
    query = Query("select", [])
    session.submit(query)
    said(session)
    asked = said(session, described(None, MOODS.oid, PAIR.oid))
    assert asked == lookup(session, 2, [MOODS.oid, PAIR.oid], frontend.FLUSH)
    assert said(session, answer(MOODS, PAIR)) == lookup(session, 3, [MOOD.oid], frontend.FLUSH)
    assert said(session, answer(MOOD)).endswith(EXECUTE_SYNC)
    pair = fields((oids.INT4, backend.int4(1)), (MOOD.oid, None))
    row = backend.row(None, pair)
    said(session, backend.BIND_COMPLETE + row + backend.complete() + backend.ready())
    assert query.result.one() == (None, (1, None))
    assert query.result.one()[1].a == 1


def test_a_type_that_the_catalogue_does_not_have_stays_text() -> None:
    session = new_session()
    for number in (2, 3):  # and is asked for each time
        query = Query("select", [])
        session.submit(query)
        asked = said(session)
        if number == 2:
            asked = said(session, described(None, MOOD.oid))
        assert asked.endswith(lookup(session, number, [MOOD.oid], frontend.FLUSH))
        more = said(session, answer())
        if more.startswith((b"P", b"C")):  # the statement may be outdated: it is prepared anew
            said(session, backend.CLOSE_COMPLETE + described(None, MOOD.oid))
            more = said(session, answer())
        assert more.endswith(EXECUTE_SYNC)
        said(session, b"".join(CACHED))
        assert query.result.scalar() == "ok"


@pytest.mark.parametrize(
    "make", [lambda: Query("select $1", ["sad"]), lambda: QueryMany("select $1", [["sad"]])]
)
def test_an_error_of_the_server_ends_the_operation_alone(make: Any) -> None:
    session = new_session()
    operation, ping = make(), Ping()
    session.submit(operation)
    session.submit(ping)
    said(session)
    said(session, described(MOOD.oid, MOOD.oid))
    assert said(session, backend.error("57014")) == frontend.SYNC * 2
    session.receive_data(backend.ready() * 2)
    assert isinstance(operation.error, PostgresError)
    assert ping.done
    assert ping.error is None
    assert session.statements.closing == [b"_pgwire_2\0"]


@pytest.mark.parametrize(
    "make", [lambda: Query("select $1", ["sad"]), lambda: QueryMany("select $1", [["sad"]])]
)
def test_abandoned_while_types_are_looked_up(make: Any) -> None:
    session = new_session()
    operation = make()
    session.submit(operation)
    said(session)
    said(session, described(MOOD.oid, MOOD.oid))
    operation.abandon()
    more = said(session, answer(MOOD))
    assert more.endswith(frontend.SYNC)
    if isinstance(operation, Query):
        assert more == frontend.SYNC
        said(session, backend.ready())
    else:
        said(session, backend.error("26000") + backend.ready())
    assert operation.done
    assert operation.result is None
    assert session.in_step


def test_a_catalogue_that_makes_no_sense_spoils_its_query_alone() -> None:
    session = new_session()
    query = Query("select $1", ["sad"])
    session.submit(query)
    said(session)
    said(session, described(MOOD.oid, MOOD.oid))
    nonsense = backend.row(*[None] * 10)
    head = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
    more = said(session, head + nonsense + backend.complete() + backend.CLOSE_COMPLETE)
    assert more == frontend.SYNC
    said(session, backend.ready())
    assert isinstance(query.error, DataError)
    assert "NULLs" in str(query.error)
    assert session.in_step


def test_a_server_that_names_ever_new_types_is_not_followed_for_ever() -> None:
    session = new_session()
    query = Query("select", [])
    session.submit(query)
    said(session)
    more = said(session, described(None, 20_000))
    rounds = 0
    while b"pg_type" in more:
        oid = 20_000 + rounds
        more = said(session, answer(TypeInfo(oid, "s", f"t{oid}", "a", part=oid + 1)))
        rounds += 1
    assert rounds == 16
    assert more.endswith(EXECUTE_SYNC)


# Types that show in the values only.


def test_a_record_with_types_unknown_is_read_once_they_are_known() -> None:
    session = new_session()
    query, ping = Query("select row", []), Ping()
    session.submit(query)
    session.submit(ping)
    said(session)
    assert said(session, described(None, RECORD)).endswith(EXECUTE_SYNC)  # and keeps the floor
    rows = [fields((oids.INT4, backend.int4(n)), (MOOD.oid, b"ok")) for n in range(3)]
    data = b"".join(map(backend.row, rows))
    said(session, backend.BIND_COMPLETE + data[:50])
    asked = said(session, data[50:] + backend.complete() + backend.ready())
    assert asked == lookup(session, 2, [MOOD.oid], frontend.SYNC)
    assert not query.done
    assert said(session, answer(MOOD) + backend.ready()) == frontend.SYNC
    assert [row[0] for row in query.result.rows] == [(0, "ok"), (1, "ok"), (2, "ok")]
    session.receive_data(backend.ready())
    assert ping.done


def test_records_in_records_take_a_round_each() -> None:
    session = new_session()
    query = Query("select row", [])
    session.submit(query)
    said(session)
    said(session, described(None, RECORD))
    inner = fields((17_500, b"x"))
    row = backend.row(fields((RECORD, inner), (MOOD.oid, b"ok")))
    asked = said(session, backend.BIND_COMPLETE + row + backend.complete() + backend.ready())
    names = {17_500: TypeInfo(17_500, "public", "other", "e", labels=("x",)), MOOD.oid: MOOD}
    rounds = 0
    while asked:
        wanted = [oid for oid in names if oid.to_bytes(4) in asked]
        asked = said(session, answer(*[names.pop(oid) for oid in wanted]) + backend.ready())
        rounds += 1
    assert rounds <= 2
    assert query.result.scalar() == (("x",), "ok")


@pytest.mark.parametrize("status", ["I", "T"])
def test_a_composite_that_was_altered_is_looked_up_once_more(status: str) -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD, PAIR])
    query = Query("select", [])
    session.submit(query)
    said(session)
    assert said(session, described(None, PAIR.oid)).endswith(EXECUTE_SYNC)
    value = fields((oids.INT4, backend.int4(1)), (MOOD.oid, b"ok"), (oids.TEXT, b"new"))
    result = backend.row(value) + backend.complete() + backend.ready(status)
    asked = said(session, backend.BIND_COMPLETE + result)
    assert asked == lookup(session, 2, [PAIR.oid], frontend.SYNC)
    altered = PAIR._replace(
        attribute_names=("a", "b", "c"), attribute_types=(oids.INT4, MOOD.oid, oids.TEXT)
    )
    said(session, answer(altered) + backend.ready(status))
    assert query.result.scalar() == (1, "ok", "new")
    assert query.result.scalar().c == "new"


def test_a_server_that_contradicts_its_own_catalogue_is_asked_once() -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD, PAIR])
    query = Query("select", [])
    session.submit(query)
    said(session)
    said(session, described(None, PAIR.oid))
    result = backend.row(fields((oids.INT4, None))) + backend.complete() + backend.ready()
    assert said(session, backend.BIND_COMPLETE + result)
    assert said(session, answer(PAIR) + backend.ready()) == b""
    assert isinstance(query.error, DataError)
    assert session.in_step


@pytest.mark.parametrize("ending", ["failed", "nonsense", "abandoned", "lost"])
def test_late_look_ups_that_come_to_nothing(ending: str) -> None:
    session = new_session()
    query = Query("select row", [])
    session.submit(query)
    said(session)
    said(session, described(None, RECORD))
    row = backend.row(fields((MOOD.oid, b"ok")))
    assert said(session, backend.BIND_COMPLETE + row + backend.complete() + backend.ready())
    if ending == "failed":
        session.receive_data(backend.error("57014") + backend.ready())
        assert isinstance(query.error, DataError)
    elif ending == "nonsense":
        head = backend.PARSE_COMPLETE + backend.BIND_COMPLETE + backend.row(*[None] * 10)
        session.receive_data(head + backend.complete() + backend.CLOSE_COMPLETE + backend.ready())
        assert isinstance(query.error, DataError)
    elif ending == "abandoned":
        query.abandon()
        session.receive_data(answer(MOOD) + backend.ready())
        assert query.result is None
    else:
        session.receive_eof()
        assert isinstance(query.error, ConnectionLost)
    assert query.done


def test_no_look_up_in_a_failed_transaction() -> None:
    session = new_session()
    query = Query("select row", [])
    session.submit(query)
    said(session)
    said(session, described(None, RECORD))
    row = backend.row(fields((MOOD.oid, b"ok")))
    # As when a deferred constraint fails after CommandComplete, within a transaction.
    result = backend.row(fields((MOOD.oid, b"ok"))) + backend.error("23505")
    assert said(session, backend.BIND_COMPLETE + row + result + backend.ready("E")) == b""
    assert query.done
    assert query.error is not None


def test_many_records_may_return_records() -> None:
    session = new_session()
    operation = QueryMany("insert … returning row(…)", [[1], [2]])
    session.submit(operation)
    said(session)
    said(session, described(oids.INT4, RECORD))
    row = backend.row(fields((MOOD.oid, b"ok")))
    one = backend.BIND_COMPLETE + row + backend.complete("INSERT 0 1")
    assert said(session, one + one + backend.ready()) == lookup(
        session, 2, [MOOD.oid], frontend.SYNC
    )
    said(session, answer(MOOD) + backend.ready())
    assert operation.result.scalars() == [("ok",), ("ok",)]
    assert operation.result.row_count == 2


# Prepare, and scripts.


def test_a_statement_that_is_prepared_knows_its_types() -> None:
    session = new_session()
    operation = Prepare("select $1")
    session.submit(operation)
    said(session)
    asked = said(session, described(MOODS.oid, MOODS.oid) + backend.ready())
    assert asked == lookup(session, 2, [MOODS.oid], frontend.SYNC)
    assert said(session, answer(MOODS) + backend.ready()) == lookup(
        session, 3, [MOOD.oid], frontend.SYNC
    )
    said(session, answer(MOOD) + backend.ready())
    assert operation.result.parameter_types == ("mood[]",)
    assert operation.result.columns[0].format == 1


@pytest.mark.parametrize("abandoned", [False, True])
def test_prepared_although_the_types_could_not_be_looked_up(abandoned: bool) -> None:
    session = new_session()
    operation = Prepare("select $1")
    session.submit(operation)
    said(session)
    said(session, described(MOOD.oid) + backend.ready())
    if abandoned:
        operation.abandon()
    session.receive_data(backend.error("57014") + backend.ready())
    assert operation.done
    if abandoned:
        assert operation.result is None
        assert b"_pgwire_1\0" in session.statements.closing
    else:
        assert operation.result.parameter_types == (f"type {MOOD.oid}",)


def test_a_script_s_rows_are_read_once_their_types_are_known() -> None:
    session = new_session()
    script, ping = SimpleQuery("…"), Ping()
    session.submit(script)
    session.submit(ping)
    said(session)
    moods = backend.row_description(backend.column("m", MOODS.oid))
    plain = backend.row_description(backend.column("n"))
    results = (
        *(moods, backend.row(b"{sad,ok}"), backend.row(None), backend.complete("SELECT 2")),
        *(plain, backend.row(b"7"), backend.complete()),
        *(moods, backend.row(b"{ok}"), backend.complete()),
    )
    asked = said(session, b"".join(results) + backend.ready())
    assert asked == lookup(session, 1, [MOODS.oid], frontend.SYNC)
    said(session, answer(MOODS) + backend.ready())
    assert said(session, answer(MOOD) + backend.ready()) == frontend.SYNC
    assert [result.scalars() for result in script.result] == [[["sad", "ok"], None], [7], [["ok"]]]


@pytest.mark.parametrize("status", ["I", "E"])
def test_a_script_that_fails_has_the_results_before_it(status: str) -> None:
    session = new_session()
    script = SimpleQuery("…")
    session.submit(script)
    said(session)
    moods = backend.row_description(backend.column("m", MOOD.oid))
    results = moods + backend.row(b"ok") + backend.complete() + backend.error("22012")
    asked = said(session, results + backend.ready(status))
    if status == "I":
        assert asked
        said(session, answer(MOOD) + backend.ready())
    else:
        assert asked == b""  # the server would not answer: what it sent is text
    assert isinstance(script.error, PostgresError)
    assert script.error.sqlstate == "22012"
    assert [result.scalars() for result in script.error.results] == [["ok"]]


def test_a_script_s_rows_that_cannot_be_read_are_its_error() -> None:
    session = new_session()
    script = SimpleQuery("…")
    session.submit(script)
    said(session)
    moods = backend.row_description(backend.column("m", MOODS.oid))
    said(session, moods + backend.row(b"{") + backend.complete() + backend.ready())
    said(session, answer(MOODS, MOOD) + backend.ready())
    assert isinstance(script.error, DataError)


@pytest.mark.parametrize("make", [Query, lambda sql, _: QueryMany(sql, [[]])])
@pytest.mark.parametrize("complete", [b"", backend.complete()], ids=["at once", "at the end"])
def test_an_error_of_the_server_behind_rows_that_could_not_be_read_yet(
    make: Any, complete: bytes
) -> None:
    session = new_session()
    operation = make("select row", [])
    session.submit(operation)
    said(session)
    said(session, described(None, RECORD))
    rows = backend.row(fields((MOOD.oid, b"ok")))
    said(session, backend.BIND_COMPLETE + rows + complete + backend.error("23503"))
    assert said(session, backend.ready()) == b""
    assert isinstance(operation.error, IntegrityError)
    of_a_record = isinstance(operation, QueryMany) and not complete
    assert operation.error.record_index == (0 if of_a_record else None)
    assert session.in_step


# What was known, and is no more.


def test_a_type_that_is_gone_has_the_statement_prepared_anew() -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD])
    session.submit(Query("select $1", ["sad"]))
    said(session)
    said(session, described(MOOD.oid, MOOD.oid))
    said(session, b"".join(CACHED))
    query = Query("select $1", ["sad"])
    session.submit(query)
    said(session)
    again = said(session, backend.error("XX000") + backend.ready())
    assert b"P" in again
    assert MOOD.oid not in session.registry.catalog.infos
    new = MOOD._replace(oid=MOOD.oid + 9)
    asked = said(session, backend.CLOSE_COMPLETE + described(new.oid, new.oid))
    assert asked == lookup(session, 3, [new.oid], frontend.FLUSH)
    said(session, answer(new))
    said(session, b"".join(CACHED))
    assert query.result.scalar() == "ok"


def test_a_value_that_does_not_fit_may_fit_the_type_as_it_is_now() -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD, PAIR])
    session.submit(Query("select $1", [(1, "sad")]))
    said(session)
    said(session, described(PAIR.oid, oids.TEXT))
    said(session, b"".join(CACHED))
    query = Query("select $1", [(1, "sad", "new")])
    session.submit(query)
    assert b"P" in said(session)
    altered = PAIR._replace(
        attribute_names=("a", "b", "c"), attribute_types=(oids.INT4, MOOD.oid, oids.TEXT)
    )
    asked = said(session, backend.CLOSE_COMPLETE + described(PAIR.oid, oids.TEXT))
    while b"pg_type" in asked:
        asked = said(session, answer(altered, MOOD))
    assert asked.endswith(EXECUTE_SYNC)
    said(session, b"".join(CACHED))
    assert query.result.scalar() == "ok"


def test_in_a_transaction_a_value_that_does_not_fit_is_refused_before_anything_is_sent() -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD, PAIR])
    session.submit(Query("select $1", [(1, "sad")]))
    said(session)
    said(session, described(PAIR.oid, oids.TEXT))
    said(session, b"".join(CACHED[:-1]) + backend.ready("T"))
    query = Query("select $1", [(1,)])
    session.submit(query)
    assert said(session) == b""
    assert isinstance(query.error, DataError)


def test_a_connection_that_is_lost_takes_what_was_known_along() -> None:
    """Whoever answers next at its address may be another server."""
    session = new_session()
    session.registry.catalog.learn([MOOD])
    session.receive_eof()
    assert not session.registry.catalog.infos


# Others at the same time.


class Forgetful(Catalog):
    """One whose knowledge another thread has forgotten as soon as it is there, so many times."""

    times = 0

    def learn(self, infos: Iterable[TypeInfo]) -> None:
        super().learn(infos)
        if self.times:
            self.times -= 1
            self.forget()


def forgetful(*known: TypeInfo, times: int = 1) -> Session:
    catalog = Forgetful()
    catalog.learn(known)
    catalog.times = times
    return Session(TypeRegistry(catalog=catalog))


KINDS: list[Any] = [
    lambda: Query("select $1", ["sad"]),
    lambda: QueryMany("select $1", [["sad"]]),
    lambda: Prepare("select $1"),
]


@pytest.mark.parametrize("make", KINDS)
def test_what_is_forgotten_at_once_is_learned_once_more(make: Any) -> None:
    session = forgetful(times=3)
    operation = make()
    session.submit(operation)
    said(session)
    late = isinstance(operation, Prepare)
    ready = backend.ready() if late else b""
    assert said(session, described(MOOD.oid, MOOD.oid) + ready)
    more = said(session, answer(MOOD) + ready)
    assert b"pg_type" not in more
    assert operation.statement.parameter_types == ("mood",)
    assert not operation.statement.missing


@pytest.mark.parametrize("make", KINDS)
def test_what_was_known_before_and_is_forgotten_is_asked_for(make: Any) -> None:
    session = forgetful(MOOD, PAIR)
    operation = make()
    session.submit(operation)
    said(session)
    late = isinstance(operation, Prepare)
    ready = backend.ready() if late else b""
    end = frontend.SYNC if late else frontend.FLUSH
    asked = said(session, described(MOODS.oid, PAIR.oid) + ready)
    assert asked == lookup(session, 2, [MOODS.oid], end)
    asked = said(session, answer(MOODS) + ready)
    assert asked == lookup(session, 3, [MOOD.oid], end) or b"pg_type" in asked
    while b"pg_type" in asked:
        asked = said(session, answer(MOOD, PAIR) + ready)
    assert operation.statement.parameter_types == ("mood[]",)
    assert not operation.statement.missing


def test_a_script_whose_types_are_forgotten_meanwhile() -> None:
    session = forgetful(MOOD, times=2)
    script = SimpleQuery("…")
    session.submit(script)
    said(session)
    moods = backend.row_description(backend.column("m", MOODS.oid))
    asked = said(session, moods + backend.row(b"{ok}") + backend.complete() + backend.ready())
    rounds = 0
    while asked:
        rounds += 1
        asked = said(session, answer(MOODS if rounds == 1 else MOOD) + backend.ready())
    assert script.result[0].scalar() == ["ok"]
    assert rounds == 2


def test_a_type_that_is_not_there_any_more_has_its_statement_prepared_anew() -> None:
    session = new_session()
    session.registry.catalog.learn([MOOD])
    session.submit(Prepare("select $1"))
    prepared: Any = session.pending[0]
    said(session)
    said(session, described(MOOD.oid, MOOD.oid) + backend.ready())
    session.registry.catalog.forget()
    query = Query("select $1", ["sad"], prepared.result)
    session.submit(query)
    assert b"pg_type" in said(session)
    again = said(session, answer())
    assert b"P" in again
    said(session, backend.CLOSE_COMPLETE + described(oids.TEXT, oids.TEXT))
    said(session, b"".join(CACHED))
    assert query.result.scalar() == "ok"


def test_a_query_that_was_struck_while_it_kept_the_floor_begins_anew() -> None:
    session = new_session()
    query = Query("select row", [])
    query.waiter = "somebody"
    session.submit(query)
    said(session)
    said(session, described(None, RECORD))
    fence = Fence()
    session.raise_fence(fence)
    fence.requests = 1
    said(session, backend.BIND_COMPLETE + backend.error("57014") + backend.ready())
    fence.lower()
    assert said(session) == frontend.SYNC
    assert said(session, backend.ready()).endswith(EXECUTE_SYNC)
    row = backend.row(fields((oids.INT4, backend.int4(1))))
    said(session, backend.BIND_COMPLETE + row + backend.complete() + backend.ready())
    assert query.result.scalar() == (1,)
    assert session.take_completed() == [query]


def test_a_delimiter_that_can_be_none_is_refused() -> None:
    session = new_session()
    query = Query("select $1", ["sad"])
    session.submit(query)
    said(session)
    said(session, described(MOOD.oid, MOOD.oid))
    said(session, answer(MOOD._replace(delimiter=",,")))
    session.receive_data(backend.ready())
    assert "delimiter" in str(query.error)
