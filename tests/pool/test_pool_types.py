"""Types and pools: what one connection has learned all know, and what is registered where."""

from __future__ import annotations

import enum
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol import looking_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETUP = """
    drop schema if exists pool_types cascade;
    create schema pool_types;
    create type pool_types.mood as enum ('sad', 'ok');
    create type pool_types.pair as (a int, m pool_types.mood);
"""
SQL = "select 'sad'::pool_types.mood, array[row(1, 'ok')::pool_types.pair], $1::pool_types.mood"
VALUES = ("sad", [(1, "ok")], "ok")


class Mood(enum.Enum):
    SAD = "sad"
    OK = "ok"


@pytest.fixture
def types(dsn: str) -> str:
    """The DSN of a server with types of its own."""
    with pgwire.connect(dsn) as conn:
        conn.script(SETUP)
    return dsn


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[set[int]]]:
    """The types that each look-up has asked for."""
    asked: list[set[int]] = []
    real = looking_up.lookup_messages

    def spy(session: Any, name: bytes, wanted: Any) -> bytes:
        asked.append(set(wanted))
        return real(session, name, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking_up, "lookup_messages", spy)
        yield asked


def on_each(pool: pgwire.Pool, function: Callable[[pgwire.Connection], Any]) -> list[Any]:
    """What comes of it on three connections of the pool."""
    leases = [pool.connect() for _ in range(3)]
    try:
        return [function(lease) for lease in leases]
    finally:
        for lease in leases:
            lease.release()


def read(conn: pgwire.Connection) -> tuple[Any, ...]:
    return tuple(conn.query(SQL, ["ok"]).one())


def test_what_one_connection_has_learned_all_know(types: str, lookups: list[set[int]]) -> None:
    with pgwire.Pool(types, max_size=3) as pool:
        for _ in range(3):
            assert on_each(pool, read) == [VALUES] * 3
        assert tuple(pool.query(SQL, ["ok"]).one()) == VALUES
        assert len(lookups) == 2  # the types named, then what they are made of
        pool.refresh_types()
        assert on_each(pool, read) == [VALUES] * 3
        assert len(lookups) == 4


def test_what_was_dropped_and_made_anew_heals_on_every_connection(types: str) -> None:
    with pgwire.Pool(types, max_size=3) as pool:
        for _ in range(2):
            assert on_each(pool, read) == [VALUES] * 3
            with pgwire.connect(types) as other:
                other.script(SETUP)


def test_a_server_that_was_left_is_asked_anew(types: str, lookups: list[set[int]]) -> None:
    """Who answers at the same address later may be another one."""
    with pgwire.Pool(types, max_size=2) as pool:
        assert tuple(pool.query(SQL, ["ok"]).one()) == VALUES
        with pgwire.connect(types) as other:
            pid = pool.query("select pg_backend_pid()").scalar()
            # And wait until it is gone: it may be handed over until then.
            assert other.query("select pg_terminate_backend($1, 10000)", [pid]).scalar()
        with pool.connect() as lease:
            assert read(lease) == VALUES
        assert len(lookups) == 4


def test_registered_on_the_pool_it_holds_for_all_its_connections(types: str) -> None:
    with pgwire.Pool(types, max_size=3) as pool, pgwire.Pool(types, max_size=1) as other:
        assert on_each(pool, read) == [VALUES] * 3
        pool.register_type("mood", Mood)
        moods = (Mood.SAD, [(1, Mood.OK)], Mood.OK)
        assert on_each(pool, read) == [moods] * 3
        assert pool.query("select $1::pool_types.mood", [Mood.SAD]).scalar() is Mood.SAD
        assert tuple(other.query(SQL, ["ok"]).one()) == VALUES


def test_registered_on_a_lease_it_ends_with_the_lease(types: str) -> None:
    with pgwire.Pool(types, max_size=1) as pool:
        with pool.connect() as lease:
            lease.register_type("mood", Mood)
            assert read(lease) == (Mood.SAD, [(1, Mood.OK)], Mood.OK)
        assert tuple(pool.query(SQL, ["ok"]).one()) == VALUES


def test_registered_by_on_connect_it_stays(types: str) -> None:
    calls = []

    def on_connect(conn: pgwire.Connection) -> None:
        calls.append(conn)
        conn.register_type("mood", Mood)

    moods = (Mood.SAD, [(1, Mood.OK)], Mood.OK)
    with pgwire.Pool(types, max_size=1, on_connect=on_connect) as pool:
        assert tuple(pool.query(SQL, ["ok"]).one()) == moods
        assert tuple(pool.query(SQL, ["ok"]).one()) == moods
        assert len(calls) == 1
        with pool.connect() as lease:  # a full reset, and the hook again
            lease.query("set work_mem to '1MB'")
        assert tuple(pool.query(SQL, ["ok"]).one()) == moods
        assert len(calls) == 2


def test_many_at_once_learn_the_same(types: str) -> None:
    with pgwire.Pool(types, max_size=4) as pool:
        results: list[Any] = []

        def work() -> None:
            for _ in range(20):
                results.append(tuple(pool.query(SQL, ["ok"]).one()))
                pool.refresh_types()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [VALUES] * 160
