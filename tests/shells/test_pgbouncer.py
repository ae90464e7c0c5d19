"""Behind PgBouncer in transaction mode: every transaction may be on another server connection."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.support.shells import LoopShell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect
    from tests.support.pgbouncer import PgBouncer
    from tests.support.shells import Shell

Client = Callable[..., pgwire.Connection]

CLIENTS = 6


@pytest.fixture(scope="module")
def schema(pgbouncer: PgBouncer) -> Iterator[None]:
    """Types and tables in the place of temporary ones, which have no place here."""
    with pgwire.connect(pgbouncer.direct) as conn:
        conn.script(
            "create schema bounced; create type bounced.mood as enum ('sad', 'glad');"
            "create type bounced.pair as (mood bounced.mood, n int);"
            "create table bounced.items (id int primary key, mood bounced.mood);"
            "create procedure bounced.keep(m bounced.mood) language plpgsql as "
            "$$ begin insert into bounced.items values (99, m); commit; end $$"
        )
        yield
        conn.script("drop schema bounced cascade")


@pytest.fixture
def client(pgbouncer: PgBouncer, connect: Connect) -> Client:
    """`client(**parameters)`: a connection through PgBouncer, closed at the end."""

    def client(**parameters: Any) -> pgwire.Connection:
        return connect(pgbouncer.url, **{"prepare": False, **parameters})

    return client


@pytest.fixture
def items(schema: None, client: Client) -> pgwire.Connection:
    conn = client()
    conn.query("truncate bounced.items")
    return conn


def server_of(conn: pgwire.Connection) -> int:
    """Which server connection its transaction is on; nothing is prepared for that."""
    number: int = conn.script("select pg_backend_pid()")[0].scalar()
    return number


@contextlib.contextmanager
def kept_from(server: int, conn: pgwire.Connection) -> Iterator[None]:
    """`conn` has this server, the one that was used last: all others have to go elsewhere."""
    with conn.transaction():
        assert server_of(conn) == server
        yield


def test_what_a_connection_knows(client: Client) -> None:
    conn = client(application_name="behind")
    assert conn.server_version >= 140_000
    assert conn.backend_pid != server_of(conn)  # one that PgBouncer has made up
    assert conn.query("show application_name").scalar() == "behind"
    conn.ping()
    conn.close()
    assert conn.closed


def test_queries_with_and_without_parameters(client: Client) -> None:
    conn = client()
    for n in range(3):
        assert conn.query("select 1").scalar() == 1
        assert conn.query("select $1::int + 1, $2::text", [n, "x"]).one() == (n + 1, "x")
    with pytest.raises(errors.DivisionByZero):
        conn.query("select 1 / $1::int", [0])
    assert [r.scalar() for r in conn.script("select 1; select 2")] == [1, 2]


def test_transactions(items: pgwire.Connection, client: Client) -> None:
    other = client()
    with items.transaction():
        pid = server_of(items)
        for n in range(5):
            other.query("select $1::int", [n])
            items.query("insert into bounced.items values ($1, 'sad')", [n])
            assert server_of(items) == pid
        with pytest.raises(errors.UniqueViolation), items.transaction():
            items.query("insert into bounced.items values (1, 'sad')")
    assert other.query("select count(*) from bounced.items").scalar() == 5
    with items.transaction() as block:
        items.query("delete from bounced.items")
        with pytest.raises(errors.DivisionByZero):
            items.query("select 1 / 0")
        block.rollback()
    assert items.query("select count(*) from bounced.items").scalar() == 5


def test_a_statement_and_its_use_are_not_parted(
    pgbouncer: PgBouncer, shell: Shell, schema: None
) -> None:
    """Everybody's unnamed statement is another one, with as many parameters."""
    texts = [f"select $1::int * {n}, '{n}', $2::bounced.mood" for n in range(3 * CLIENTS)]

    def answers(number: int) -> list[tuple[int, str, Any]]:
        return [(7 * n, str(n), "glad") for n in range(number, len(texts), CLIENTS)] * 5

    if not isinstance(shell, LoopShell):
        start = threading.Barrier(CLIENTS)

        def run(number: int) -> list[Any]:
            with pgwire.connect(pgbouncer.url, prepare=False) as conn:
                start.wait()
                mine = texts[number::CLIENTS] * 5
                return [tuple(conn.query(sql, [7, "glad"]).one()) for sql in mine]

        with ThreadPoolExecutor(CLIENTS) as threads:
            for number, found in enumerate(threads.map(run, range(CLIENTS))):
                assert found == answers(number)
        return

    async def ask(number: int) -> list[Any]:
        async with await pgwire.connect_async(pgbouncer.url, prepare=False) as conn:
            queries = [conn.query(sql, [7, "glad"]) for sql in texts[number::CLIENTS] * 5]
            return [tuple(result.one()) for result in await asyncio.gather(*queries)]

    async def ask_all() -> list[list[Any]]:
        return await asyncio.gather(*map(ask, range(CLIENTS)))

    for number, found in enumerate(shell.call(ask_all)):
        assert found == answers(number)


def test_types_are_looked_up(items: pgwire.Connection) -> None:
    sql = "select $1::bounced.mood, $2::bounced.pair, array[$1]"
    mood, pair, moods = items.query(sql, ["glad", ("sad", 1)]).one()
    assert (mood, tuple(pair), moods) == ("glad", ("sad", 1), ["glad"])
    assert items.script("select 'sad'::bounced.mood")[0].scalar() == "sad"


def test_a_procedure_that_commits(items: pgwire.Connection) -> None:
    """What it was prepared with is gone behind the Sync that is between looking up and calling."""
    for _ in range(2):
        items.query("delete from bounced.items where id = 99")
        items.query("call bounced.keep($1)", ["glad"])
        assert items.query("select mood from bounced.items where id = 99").scalar() == "glad"


def test_many_records(items: pgwire.Connection, client: Client) -> None:
    records = [(n, "sad") for n in range(100)]
    insert = "insert into bounced.items values ($1, $2)"
    assert items.query_many(insert, records).row_count == 100
    with pytest.raises(errors.UniqueViolation):
        items.query_many(insert, [(200, "sad"), (1, "sad")])
    assert client().query("select count(*) from bounced.items").scalar() == 100


def test_copy(items: pgwire.Connection) -> None:
    assert items.copy_records("items", [(1, "sad"), (2, "glad")], schema="bounced") == 2
    assert items.copy_in("copy bounced.items from stdin", "3\tsad\n4\tglad\n") == 2
    with pytest.raises(errors.UniqueViolation):
        items.copy_in("copy bounced.items from stdin", "3\tsad\n")
    sink = io.StringIO()
    assert items.copy_out("copy (select * from bounced.items order by 1) to stdout", sink) == 4
    assert sink.getvalue() == "1\tsad\n2\tglad\n3\tsad\n4\tglad\n"


def test_streams(client: Client) -> None:
    conn, other = client(), client()
    sql = "select n from generate_series(1, $1) n"
    with conn.stream(sql, [50], fetch_size=10) as rows:
        taken = []
        for (n,) in rows:
            assert other.query("select $1::int", [n]).scalar() == n
            taken.append(n)
    assert taken == list(range(1, 51))
    with conn.transaction(), conn.stream(sql, [50], fetch_size=10) as rows:
        for (n,) in rows:
            assert conn.query("select $1::int", [n]).scalar() == n
            assert other.query("select $1::int", [n]).scalar() == n
            if n == 25:
                break
    assert conn.query("select 1").scalar() == 1


def test_a_time_out_cancels_on_the_server(client: Client) -> None:
    conn, other = client(), client()
    for _ in range(3):
        with pytest.raises(pgwire.QueryTimeout):
            conn.query("select pg_sleep(60)", timeout=0.02)
        assert other.query("select 1").scalar() == 1
        assert conn.query("select 2").scalar() == 2
    running = "select count(*) from pg_stat_activity where query like 'select pg_sleep(60)%' "
    assert other.query(running + "and state = 'active'").scalar() == 0


def test_cancel(client: Client, shell: Shell, pgbouncer: PgBouncer) -> None:
    conn, other = client(), client()
    with pgwire.connect(pgbouncer.direct) as direct:
        for _ in range(3):
            with pytest.raises(errors.QueryCanceled):
                sleep_and_cancel(conn, shell, direct)
            conn.cancel()  # of nothing
            assert [conn.query("select 1").scalar(), other.query("select 2").scalar()] == [1, 2]


def wait_until_it_sleeps(direct: pgwire.Connection) -> None:
    sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
    while not direct.query(sleeping).scalar():
        pass


def sleep_and_cancel(conn: pgwire.Connection, shell: Shell, direct: pgwire.Connection) -> None:
    if isinstance(shell, LoopShell):
        target: Any = conn._target  # type: ignore[attr-defined]

        async def run() -> None:
            query = target.query("select pg_sleep(60)")
            await asyncio.to_thread(wait_until_it_sleeps, direct)
            await target.cancel()
            await query

        shell.call(run)
        return

    def cancel() -> None:
        wait_until_it_sleeps(direct)
        conn.cancel()

    with ThreadPoolExecutor(1) as thread:
        canceling = thread.submit(cancel)
        try:
            conn.query("select pg_sleep(60)")
        finally:
            canceling.result()


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"options": "-c geqo=off"}, "options"),
        ({"settings": {"extra_float_digits": "1"}}, "extra_float_digits"),
    ],
)
def test_a_parameter_that_it_refuses(client: Client, parameters: Any, name: str) -> None:
    with pytest.raises(pgwire.ConnectionFailed, match="unsupported startup parameter") as caught:
        client(**parameters)
    error = caught.value
    assert isinstance(error, errors.ProtocolViolation)
    assert error.hint is not None
    assert f"a pooler refuses {name}: leave it out" in error.hint


class TestPrepared:
    """With prepare=True, which is not for here: an error or the right answer, never another's."""

    def test_a_statement_that_is_not_there_is_prepared_anew(self, client: Client) -> None:
        conn, other = client(prepare=True), client()
        with conn.transaction():
            server = server_of(conn)
            conn.query("select 'mine', $1::int", [1])
        with kept_from(server, other):
            assert conn.query("select 'mine', $1::int", [2]).one() == ("mine", 2)

    def test_in_a_transaction_the_error_says_what_to_do(self, client: Client) -> None:
        conn, other = client(prepare=True), client()
        with conn.transaction():
            server = server_of(conn)
            conn.query("select 'there'")
        with (
            kept_from(server, other),
            pytest.raises(errors.InvalidSqlStatementName) as caught,
            conn.transaction(),
        ):
            conn.query("select 'there'")
        assert "prepare=False" in (caught.value.hint or "")

    def test_a_name_is_never_that_of_another_s_statement(self, client: Client) -> None:
        """Both have prepared their first statement, each on another server connection."""
        one, two = client(prepare=True), client(prepare=True)
        with one.transaction():
            server = server_of(one)
            one.query("select 'one'")
            with two.transaction():
                two.query("select 'two'")
        with two.transaction() as block:
            assert server_of(two) == server
            with pytest.raises(errors.InvalidSqlStatementName):
                two.query("select 'two'")
            block.rollback()

    def test_a_statement_of_the_user_s_own(self, client: Client) -> None:
        conn, other = client(), client()
        with conn.transaction():
            server = server_of(conn)
            statement = conn.prepare("select $1::int")
        with kept_from(server, other):
            assert statement.query([3]).scalar() == 3


def overlapping(shell: Shell, pooler: PgBouncer, **options: Any) -> list[Any]:
    """What clients get who ask for several things at once, all of them new: rows or errors."""
    texts = [f"select {n}, $1::int" for n in range(8)]

    async def ask() -> list[Any]:
        async with await pgwire.connect_async(pooler.url, **options) as conn:
            queries = [conn.query(sql, [7]) for sql in texts * 3]
            return list(await asyncio.gather(*queries, return_exceptions=True))

    async def ask_all() -> list[Any]:
        return list(await asyncio.gather(*[ask() for _ in range(CLIENTS)]))

    def run(_: int) -> list[Any]:
        found: list[Any] = []
        with pgwire.connect(pooler.url, **options) as conn, conn.pipeline() as pipe:
            for query in [pipe.query(sql, [7]) for sql in texts * 3]:
                try:
                    found.append(query.result())
                except pgwire.PostgresError as error:
                    found.append(error)
        return found

    answers: list[Any]
    if isinstance(shell, LoopShell):
        answers = shell.call(ask_all)
    else:
        with ThreadPoolExecutor(CLIENTS) as threads:
            answers = list(threads.map(run, range(CLIENTS)))
    found = [answer for each in answers for answer in each]
    return [tuple(a.one()) if isinstance(a, pgwire.Result) else a for a in found]


ANSWERS = [(n, 7) for n in range(8)] * 3 * CLIENTS


def test_without_a_cache_queries_wait_for_each_other(pgbouncer: PgBouncer, shell: Shell) -> None:
    assert overlapping(shell, pgbouncer, statement_cache_size=0) == ANSWERS


def test_with_prepared_statements_there_is_an_answer_or_a_hint(
    pgbouncer: PgBouncer, shell: Shell
) -> None:
    """What was prepared on one server is not there on another; nobody waits for ever."""
    for found, wanted in zip(overlapping(shell, pgbouncer), ANSWERS, strict=True):
        if found != wanted:
            assert isinstance(found, errors.InvalidSqlStatementName)
            assert "max_prepared_statements" in (found.hint or "")


LEASES = 40


@pytest.mark.parametrize("reset", ["auto", "never"])
def test_pools(pgbouncer: PgBouncer, shell: Shell, reset: Any) -> None:
    """Cleaning and what the next lease asks for are written together, and yet not mixed up."""
    options: Any = {"prepare": False, "max_size": 4, "reset": reset}

    def use(conn: pgwire.Connection, n: int) -> Any:
        if n % 2:
            conn.query("set geqo = on")  # leaves something behind, for all we know
        return conn.query(f"select '{n}', $1::int", [n]).one()

    async def use_async(pool: pgwire.AsyncPool, n: int) -> Any:
        async with pool.connect() as conn:
            if n % 2:
                await conn.query("set geqo = on")
            return (await conn.query(f"select '{n}', $1::int", [n])).one()

    async def use_all() -> list[Any]:
        async with pgwire.AsyncPool(pgbouncer.url, **options) as pool:
            return await asyncio.gather(*[use_async(pool, n) for n in range(LEASES)])

    if isinstance(shell, LoopShell):
        found = shell.call(use_all)
    else:
        with pgwire.Pool(pgbouncer.url, **options) as pool, ThreadPoolExecutor(8) as threads:

            def lease(n: int) -> Any:
                with pool.connect() as conn:
                    return use(conn, n)

            found = list(threads.map(lease, range(LEASES)))
    assert [tuple(row) for row in found] == [(str(n), n) for n in range(LEASES)]


def test_queries_that_share_connections(pgbouncer: PgBouncer, shell: Shell) -> None:
    options: Any = {"prepare": False, "max_size": 2, "max_pipeline": 4}
    texts = [f"select '{n}', $1::int" for n in range(LEASES)]

    async def ask_all() -> list[Any]:
        async with pgwire.AsyncPool(pgbouncer.url, **options) as pool:
            return await asyncio.gather(*[pool.query(sql, [7]) for sql in texts])

    if isinstance(shell, LoopShell):
        found = shell.call(ask_all)
    else:
        with pgwire.Pool(pgbouncer.url, **options) as pool:
            found = [future.result() for future in [pool.submit(sql, [7]) for sql in texts]]
    assert [tuple(result.one()) for result in found] == [(str(n), 7) for n in range(LEASES)]


def test_a_pool_does_not_wait_for_what_will_not_change(pgbouncer: PgBouncer) -> None:
    with (
        pgwire.Pool(pgbouncer.url, options="-c geqo=off") as pool,
        pytest.raises(pgwire.ConnectionFailed) as caught,
    ):
        pool.query("select 1")
    assert "a pooler refuses options" in str(caught.value)
