"""Behind a PgBouncer that sees to prepared statements (1.21 and later), with prepare=True.

Every transaction may be on another server connection all the same: that nobody notices it is what
these tests are about.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.shells.test_pgbouncer import kept_from, server_of
from tests.support.shells import LoopShell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect
    from tests.support.pgbouncer import PgBouncer
    from tests.support.shells import Shell

Client = Callable[..., pgwire.Connection]

CLIENTS = 5
MANY = 60


@pytest.fixture(scope="module")
def schema(pgbouncer_prepared: PgBouncer) -> Iterator[None]:
    with pgwire.connect(pgbouncer_prepared.direct) as conn:
        conn.script(
            "create schema kept; create type kept.mood as enum ('sad', 'glad');"
            "create table kept.items (id int primary key, mood kept.mood)"
        )
        yield
        conn.script("drop schema kept cascade")


@pytest.fixture
def client(pgbouncer_prepared: PgBouncer, connect: Connect) -> Client:
    """`client(**parameters)`: a connection through PgBouncer, closed at the end."""

    def client(**parameters: Any) -> pgwire.Connection:
        return connect(pgbouncer_prepared.url, **parameters)

    return client


@pytest.fixture
def items(schema: None, client: Client) -> pgwire.Connection:
    conn = client()
    conn.query("truncate kept.items")
    return conn


def test_a_statement_is_there_on_every_server(client: Client) -> None:
    conn, other = client(), client()
    own = conn.prepare("select $1::int + 1")
    seen = set()
    for n in range(4):
        server = server_of(conn)
        seen.add(server)
        assert conn.query("select 'mine', $1::int", [n]).one() == ("mine", n)
        with kept_from(server_of(conn), other):
            assert server_of(conn) != server_of(other)
            seen.add(server_of(conn))
            with conn.transaction():
                assert conn.query("select 'mine', $1::int", [n]).one() == ("mine", n)
                assert own.query([n]).scalar() == n + 1
    assert len(seen) == 2


def test_equal_names_and_other_texts(client: Client) -> None:
    """Every client counts alike, and gets what it has asked for."""
    clients = [client() for _ in range(CLIENTS)]
    for _ in range(3):
        for number, conn in enumerate(clients):
            assert conn.query(f"select {number}, $1::text", ["x"]).one() == (number, "x")


def test_a_plan_whose_result_has_changed(items: pgwire.Connection, client: Client) -> None:
    other = client()
    other.query("insert into kept.items values (1, 'sad')")
    for conn in (items, other):
        assert tuple(conn.query("select * from kept.items").one()) == (1, "sad")
    other.script("alter table kept.items add column extra int default 7")
    try:
        for conn in (items, other):
            assert tuple(conn.query("select * from kept.items").one()) == (1, "sad", 7)
    finally:
        other.script("alter table kept.items drop column extra")
    for conn in (items, other):
        assert tuple(conn.query("select * from kept.items").one()) == (1, "sad")


@pytest.mark.parametrize("forget", ["deallocate all", "discard all"])
def test_statements_that_are_forgotten(client: Client, forget: str) -> None:
    """PgBouncer forgets them for this client, as a server does, where it is asked by itself."""
    conn = client()
    for _ in range(3):
        assert conn.query("select $1::int", [1]).scalar() == 1
        conn.script(forget)
    assert conn.query("select $1::int", [1]).scalar() == 1


def test_statements_that_fall_out_of_the_cache(client: Client) -> None:
    conn, other = client(statement_cache_size=3), client(statement_cache_size=2)
    for n in range(40):
        assert conn.query(f"select {n % 7}, $1::int", [n]).one() == (n % 7, n)
        assert other.query(f"select {n % 5}, $1::int", [n]).one() == (n % 5, n)
    mine = conn.prepare("select $1::int")
    assert mine.query([1]).scalar() == 1
    mine.close()
    assert conn.query("select 1").scalar() == 1


def test_more_statements_than_it_keeps(client: Client) -> None:
    """It closes them on the server, and prepares them anew."""
    conn = client(statement_cache_size=300)
    for _ in range(2):
        for n in range(150):
            assert conn.query(f"select {n}").scalar() == n


def gathered(
    shell: Shell, pooler: PgBouncer, texts: list[str], rounds: int, **options: Any
) -> list[list[Any]]:
    """What each of CLIENTS gets for all the texts, asked for together."""

    async def ask() -> list[Any]:
        async with await pgwire.connect_async(pooler.url, **options) as conn:
            queries = [conn.query(sql, [7]) for sql in texts * rounds]
            return [tuple(result.one()) for result in await asyncio.gather(*queries)]

    async def ask_all() -> list[list[Any]]:
        return await asyncio.gather(*[ask() for _ in range(CLIENTS)])

    if isinstance(shell, LoopShell):
        return list(shell.call(ask_all))

    def run(_: int) -> list[Any]:
        with pgwire.connect(pooler.url, **options) as conn, conn.pipeline() as pipe:
            queries = [pipe.query(sql, [7]) for sql in texts * rounds]
            return [tuple(query.result().one()) for query in queries]

    with ThreadPoolExecutor(CLIENTS) as threads:
        return list(threads.map(run, range(CLIENTS)))


@pytest.mark.parametrize("options", [{}, {"statement_cache_size": 3}, {"statement_cache_size": 0}])
def test_queries_that_overlap(
    pgbouncer_prepared: PgBouncer, shell: Shell, options: dict[str, Any]
) -> None:
    texts = [f"select {n}, $1::int" for n in range(12)]
    wanted = [(n, 7) for n in range(12)] * 4
    assert gathered(shell, pgbouncer_prepared, texts, 4, **options) == [wanted] * CLIENTS


def test_transactions(items: pgwire.Connection, client: Client) -> None:
    other = client()
    with items.transaction():
        pid = server_of(items)
        for n in range(5):
            other.query("select $1::int", [n])
            items.query("insert into kept.items values ($1, 'sad')", [n])
            assert server_of(items) == pid
        with pytest.raises(errors.UniqueViolation), items.transaction():
            items.query("insert into kept.items values (1, 'sad')")
    assert other.query("select count(*) from kept.items").scalar() == 5


def test_streams_and_copy(items: pgwire.Connection, client: Client) -> None:
    other = client()
    assert items.copy_records("items", [(n, "sad") for n in range(50)], schema="kept") == 50
    assert items.copy_in("copy kept.items from stdin", "77\tsad\n") == 1
    sink = io.StringIO()
    assert items.copy_out("copy (select id from kept.items order by 1) to stdout", sink) == 51
    insert = "insert into kept.items values ($1, $2)"
    assert items.query_many(insert, [(n, "glad") for n in range(100, 150)]).row_count == 50
    sql = "select id from kept.items where id < $1 order by id"
    for _ in range(2):
        taken = []
        with items.stream(sql, [50], fetch_size=10) as rows:
            for (n,) in rows:
                assert other.query("select $1::int", [n]).scalar() == n
                taken.append(n)
        assert taken == list(range(50))
        with items.transaction(), items.stream(sql, [50], fetch_size=10) as rows:
            for (n,) in rows:
                assert items.query("select $1::int", [n]).scalar() == n
                assert other.query("select $1::int", [n]).scalar() == n


def test_types_are_looked_up(items: pgwire.Connection) -> None:
    assert items.query("select $1::kept.mood, array[$1]", ["glad"]).one() == ("glad", ["glad"])


@pytest.mark.parametrize("sharing", [{}, {"max_pipeline": 4}])
@pytest.mark.parametrize("reset", ["auto", "always"])
def test_pools(
    pgbouncer_prepared: PgBouncer, shell: Shell, reset: Any, sharing: dict[str, int]
) -> None:
    """What cleans a session is written together with what the next lease asks for."""
    options: Any = {"max_size": 4, "reset": reset, **sharing}
    texts = [f"select '{n % 10}', $1::int" for n in range(MANY)]

    async def use_async(pool: pgwire.AsyncPool, n: int) -> Any:
        if n % 3 == 0:
            return (await pool.query(texts[n], [n])).one()
        async with pool.connect() as conn:
            if n % 3 == 1:
                await conn.query("set geqo = on")
            return (await conn.query(texts[n], [n])).one()

    async def use_all() -> list[Any]:
        async with pgwire.AsyncPool(pgbouncer_prepared.url, **options) as pool:
            return await asyncio.gather(*[use_async(pool, n) for n in range(MANY)])

    def use(pool: pgwire.Pool, n: int) -> Any:
        if n % 3 == 0:
            return pool.query(texts[n], [n]).one()
        with pool.connect() as conn:
            if n % 3 == 1:
                conn.query("set geqo = on")
            return conn.query(texts[n], [n]).one()

    if isinstance(shell, LoopShell):
        found = shell.call(use_all)
    else:
        with (
            pgwire.Pool(pgbouncer_prepared.url, **options) as pool,
            ThreadPoolExecutor(8) as threads,
        ):
            found = list(threads.map(lambda n: use(pool, n), range(MANY)))
    assert [tuple(row) for row in found] == [(str(n % 10), n) for n in range(MANY)]
