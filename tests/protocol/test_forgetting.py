"""Types that another thread learns or has forgotten while this one works with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.catalog import Catalog, TypeInfo
from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from pgwire.protocol.statement import Statement
from tests.support import backend
from tests.support.catalogue import MOOD, answer
from tests.support.extended import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgwire.pgtypes import Codec

PAIR = TypeInfo(17_001, "public", "pair", "c", 0, ",", 0, ("a",), (oids.INT4,))
RECORD = oids.REST["record"][0]
P = backend.column("p", PAIR.oid)
M, R = backend.column("m", MOOD.oid), backend.column("r", RECORD)
VALUE = b"\0\0\0\1" + oids.INT4.to_bytes(4) + b"\0\0\0\4\0\0\0\1"
FIELD = b"\0\0\0\1" + MOOD.oid.to_bytes(4) + b"\0\0\0\2ok"


class Meddled(TypeRegistry):
    """Another thread does something as soon as a codec has been handed out."""

    between: Callable[[], None] | None = None

    def codec(self, oid: int) -> Codec:
        found = super().codec(oid)
        act, self.between = self.between, None
        if act is not None:
            act()
        return found


class Forgetful(Catalog):
    """One whose knowledge another thread has forgotten as soon as it is there, so many times."""

    times = 0

    def learn(self, infos: Iterable[TypeInfo]) -> None:
        super().learn(infos)
        if self.times:
            self.times -= 1
            self.forget()


def statement(registry: TypeRegistry) -> Statement:
    return Statement(b"s\0", "select", (), (P,), registry)


def test_a_statement_does_not_know_what_is_learned_while_it_asks() -> None:
    """Else its column would be text for as long as it lives."""
    registry = Meddled()
    registry.between = lambda: registry.catalog.learn([PAIR])
    made = statement(registry)
    assert made.missing == {PAIR.oid}
    assert made.epoch is None
    made.use(registry)
    assert not made.missing


def test_nor_what_is_forgotten_and_learned_again() -> None:
    registry = Meddled()
    registry.catalog.learn([PAIR])

    def forget_and_learn() -> None:
        registry.catalog.forget()
        registry.catalog.learn([PAIR])

    registry.between = forget_and_learn
    made = statement(registry)
    assert made.missing == {PAIR.oid}


def test_a_script_s_result_whose_type_is_forgotten_meanwhile() -> None:
    registry = Meddled()
    registry.catalog.learn([PAIR])
    session = Session(registry)
    script = SimpleQuery("select")
    session.submit(script)
    said(session)
    registry.between = registry.catalog.forget
    rows = backend.row_description(P) + backend.row(b"(1)") + backend.complete()
    assert b"pg_type" in said(session, rows + backend.ready())
    registry.between = registry.catalog.forget
    said(session, answer(PAIR) + backend.ready())
    assert script.result[0].scalar() == (1,)
    assert script.result[0].scalar().a == 1


def reading(session: Session, operation: Any, *columns: Any) -> Any:
    session.submit(operation)
    said(session)
    return said(session, backend.described([], columns))


def answered(*values: bytes) -> bytes:
    return backend.BIND_COMPLETE + backend.row(*values) + backend.complete() + backend.ready()


@pytest.mark.parametrize("make", [lambda: Query("s", []), lambda: QueryMany("s", [[]])])
def test_what_was_found_and_is_forgotten_before_the_rows_come(make: Any) -> None:
    session = Session(TypeRegistry())
    operation = make()
    assert b"pg_type" in reading(session, operation, M, R)
    said(session, answer(MOOD))
    session.registry.catalog.forget()
    assert said(session, answered(b"ok", FIELD)) == b""
    assert operation.result.one() == ("ok", ("ok",))
    assert session.in_step


@pytest.mark.parametrize("times", [2, 1000])
def test_what_is_forgotten_before_the_rows_are_read(times: int) -> None:
    catalog = Forgetful()
    session = Session(TypeRegistry(catalog=catalog))
    query = Query("select", [])
    reading(session, query, R)
    assert b"pg_type" in said(session, answered(FIELD))
    catalog.times = times
    said(session, answer(MOOD) + backend.ready())
    if times == 2:
        assert query.result.one() == (("ok",),)
    else:
        assert isinstance(query.error, DataError)
    assert session.in_step


def test_what_was_known_before_and_is_forgotten_is_asked_for_too() -> None:
    """Else a column in text would be a `str`."""
    session = Session(TypeRegistry())
    session.registry.catalog.learn([PAIR])
    query = Query("select", [])
    reading(session, query, P, R)
    assert b"pg_type" in said(session, answered(VALUE, FIELD))
    session.registry.catalog.forget()
    assert b"pg_type" in said(session, answer(MOOD) + backend.ready())
    said(session, answer(PAIR) + backend.ready())
    assert query.result.one() == ((1,), ("ok",))
