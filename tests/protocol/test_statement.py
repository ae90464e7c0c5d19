"""Prepared statements, and the cache of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.protocol import frontend
from pgwire.protocol.messages import BINARY, TEXT
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.statement import UNNAMED, Statement, StatementCache
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from pgwire.protocol.messages import Column


def statement(sql: str = "select", name: bytes = b"s\0", **options: Any) -> Statement:
    parameters: tuple[int, ...] = options.get("parameters", ())
    columns: tuple[Column, ...] = options.get("columns", ())
    return Statement(name, sql, parameters, columns, REGISTRY)


def test_repr_and_types() -> None:
    own = statement("select $1, $2", parameters=(oids.INT4, 99_999))
    assert repr(own) == "<Statement s: 'select $1, $2'>"
    assert repr(statement("select 1", UNNAMED)) == "<Statement unnamed: 'select 1'>"
    assert own.parameter_types == ("int4", "type 99999")
    assert own.parameter_oids == (oids.INT4, 99_999)


@pytest.mark.parametrize("count", [1_664, 1_665])
def test_no_code_is_made_for_more_columns_than_postgresql_has(count: int) -> None:
    """A server that makes them up could have gigabytes taken to compile it. Rows are the same."""
    own = statement(columns=tuple([backend.column("a")] * count))
    plain = own.decode_rows
    own.generate()
    assert (own.decode_rows is plain) is (count > 1_664)
    data = backend.row(*[backend.int4(7)] * count)
    rows: list[tuple[Any, ...]] = []
    assert own.decode_rows(data, 0, len(data), rows) == len(data)
    assert rows == [(7,) * count]


def test_results_are_asked_for_in_the_format_that_the_type_prefers() -> None:
    """Described before it was bound, so that the server says 0 for all of them."""
    own = statement(columns=(backend.column("a", oids.INT4), backend.column("b", 99_999)))
    assert [column.format for column in own.columns] == [BINARY, TEXT]
    assert own.bind(()) == frontend.bind(b"\0s\0" + b"\0\0\0\0" + b"\0\2\0\1\0\0")


def test_a_bind_and_what_goes_behind_it() -> None:
    own = statement(parameters=(oids.INT4, oids.TEXT))
    body = b"\0s\0" + b"\0\1\0\1" + b"\0\2" + b"\0\0\0\4\0\0\0\7" + b"\xff\xff\xff\xff" + b"\0\0"
    assert own.bind((7, None)) == frontend.bind(body)
    assert own.bind_record([7, None]) == frontend.bind(body) + frontend.EXECUTE
    behind = frontend.EXECUTE + frontend.SYNC
    assert own.bind_query([7, None]) == frontend.bind(body) + behind


def test_a_bind_that_is_longer_than_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontend, "MAX_LARGE_MESSAGE", 100)
    own = statement(parameters=(oids.TEXT,))
    room = 100 - 4 - len(b"\0s\0\0\1\0\1\0\1\0\0\0\0\0\0")
    assert len(own.bind(["x" * room])) == 101
    with pytest.raises(DataError, match="a message of 101 bytes is more than the server takes"):
        own.bind(["x" * (room + 1)])


def test_a_wrong_number_of_values() -> None:
    with pytest.raises(ProgrammingError, match="the statement has 0 parameters, 1 given"):
        statement().bind([1])


def test_another_registry_may_be_used_later() -> None:
    own = statement(columns=(backend.column("j", oids.JSONB),))
    row = backend.row(b'\1{"a": 1}')
    for registry, value in ((REGISTRY, {"a": 1}), (TypeRegistry(json_loads=len), 8)):
        own.use(registry)
        assert own.registry is registry
        rows: list[tuple[Any, ...]] = []
        assert own.decode_rows(row, 0, len(row), rows) == len(row)
        assert rows == [(value,)]
        assert own.columns[0].format == BINARY


def test_who_is_used_gets_a_second_chance() -> None:
    cache = StatementCache(2)
    a, b, c, d = (statement(sql, sql.encode() + b"\0") for sql in "abcd")
    cache.put(a)
    cache.put(b)
    a.used = True
    cache.put(c)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (a, None, c)
    assert cache.take_closing() == [b"b\0"]
    assert cache.take_closing() == []
    assert len(cache) == 2
    assert not a.used
    a.used = c.used = True
    cache.put(d)  # both were used since: who was looked at longest ago goes
    assert len(cache) == 2
    assert cache.take_closing() == [b"a\0"]
    assert (cache.get("c"), cache.get("d")) == (c, d)


def test_a_query_notes_the_use_of_its_statement() -> None:
    own = statement("a", b"a\0")
    assert not own.used
    session = Session(REGISTRY, statement_cache_size=2)
    session.statements.put(own)
    session.submit(Query("a", []))
    assert own.used


def test_names_are_never_given_twice() -> None:
    cache = StatementCache(1)
    names = [cache.new_name() for _ in range(3)]
    assert names == [b"_pgwire_1\0", b"_pgwire_2\0", b"_pgwire_3\0"]
    cache.forget_all()
    assert cache.new_name() == b"_pgwire_4\0"


def test_a_statement_prepared_twice_replaces_itself() -> None:
    cache = StatementCache(2)
    first, second = statement("a", b"1\0"), statement("a", b"2\0")
    cache.put(first)
    cache.put(second)
    assert cache.get("a") is second
    assert cache.take_closing() == [b"1\0"]


def test_a_stale_statement_is_closed_and_only_it_is_forgotten() -> None:
    cache = StatementCache(2)
    first, second = statement("a", b"1\0"), statement("a", b"2\0")
    cache.put(second)
    cache.forget(first)
    assert cache.get("a") is second
    cache.forget(second)
    assert cache.get("a") is None
    assert cache.take_closing() == [b"1\0", b"2\0"]


def test_the_server_has_dropped_them_all() -> None:
    cache = StatementCache(1)
    cache.put(statement("a", b"1\0"))
    cache.put(statement("b", b"2\0"))
    cache.forget_all()
    assert len(cache) == 0
    assert cache.take_closing() == []


class CacheAndServer(RuleBasedStateMachine):
    """Whatever is put, asked for and forgotten: the server knows what the cache will use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = StatementCache(3)
        self.server: set[bytes] = set()

    @rule(sql=st.sampled_from("abcdef"))
    def put(self, sql: str) -> None:
        name = self.cache.new_name()
        self.server.add(name)
        self.cache.put(statement(sql, name))

    @rule(sql=st.sampled_from("abcdef"))
    def get(self, sql: str) -> None:
        found = self.cache.get(sql)
        assert found is None or found.sql == sql

    @rule(sql=st.sampled_from("abcdef"))
    def forget(self, sql: str) -> None:
        found = self.cache.get(sql)
        if found is not None:
            self.cache.forget(found)

    @rule()
    def forget_all(self) -> None:
        self.server.clear()
        self.cache.forget_all()

    @rule()
    def close(self) -> None:
        self.server -= set(self.cache.take_closing())

    @invariant()
    def server_knows_what_the_cache_holds_and_what_is_to_be_closed_and_no_more(self) -> None:
        held = {s.name for sql in "abcdef" if (s := self.cache.get(sql)) is not None}
        assert len(held) == len(self.cache) <= 3
        assert self.server == held | set(self.cache.closing)


TestCacheAndServer = CacheAndServer.TestCase


def test_without_parameters_the_message_is_always_the_same() -> None:
    own = statement()
    before = own.bind_query(())
    own.generate()
    assert own.bind_query(()) == own.bind_query([]) == before
    assert own.bind_record(()) == own.bind(()) + frontend.EXECUTE
    with pytest.raises(ProgrammingError, match="the statement has 0 parameters, 1 given"):
        own.bind_query([1])
