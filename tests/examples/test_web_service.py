"""examples/web_service.py over real HTTP, while its database misbehaves."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from asyncio import create_task, gather
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.examples.load import FULL, LATE, LOST, Client, Killer, reason
from tests.examples.support import SCRIPT, backends, books_locked, serving
from tests.pool.support import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx

    from pgwire import embedded

CLIENTS, ROUNDS = 24, 4
KILLS, ANSWERS_BETWEEN = 12, 30
MAX_SIZE, MAX_WAITING, READY_WAITING = 5, 50, 20


@pytest.fixture
def database(dsn: str) -> Iterator[str]:
    """A database of its own, which can be dropped at the end: nobody is connected any more."""
    name = f"examples_{secrets.token_hex(4)}"
    with pgwire.connect(dsn) as conn:
        conn.query(f"create database {name}")
        yield pgwire.make_conninfo(**pgwire.conninfo_to_dict(dsn) | {"dbname": name})
        conn.query(f"drop database {name}")


async def becomes(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the service is about to do."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def readiness(http: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await http.get("/ready")
    return answer.status_code, answer.json()


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_every_answer_is_right_while_backends_are_killed(database: str, loop: str) -> None:
    async def load() -> list[Client]:
        async with asyncio.timeout(60), service.http() as http:
            clients = [Client(http, number) for number in range(CLIENTS)]
            killer = Killer(database, times=KILLS, every=ANSWERS_BETWEEN)
            await gather(*(client.run(ROUNDS, killer) for client in clients))
            assert killer.kills == KILLS
            reasons = sum((client.reasons for client in clients), Counter[str]())
            assert reasons[LOST] >= KILLS / 2
            await gather(*(client.run(2) for client in clients))
            assert sum(client.reasons[LOST] for client in clients) == reasons[LOST]
            assert (await readiness(http))[0] == 200
            return clients

    with serving(database, loop) as service, pgwire.connect(database) as conn:
        clients = asyncio.run(load())
        service.ask_to_stop()
        service.wait_for_end()
        assert backends(conn) == []
        found: dict[str, int] = dict(conn.query("select isbn, id from book").rows)
        assert found.keys() == {isbn for client in clients for isbn in client.asked}
        assert found.items() >= {pair for client in clients for pair in client.stored.items()}
        assert conn.query("select count(*) from author").scalar() == CLIENTS


def test_who_comes_when_too_many_wait_is_told_so(database: str) -> None:
    """Who has a connection is served, who waits for one runs out of time, the next is refused."""

    async def crowd(conn: pgwire.Connection) -> None:
        async def all_wait_for_the_lock() -> bool:
            return len(backends(conn, locked=True)) == MAX_SIZE

        async def one_is_refused() -> bool:
            """More than may wait come at once; again, should their time be up already."""
            if all(request.done() for request in late):
                late.extend(create_task(http.get("/books")) for _ in range(MAX_WAITING + 1))
            status, figures = await readiness(http)
            waiting: int = figures["waiting"]
            assert figures["ready"] == (waiting <= READY_WAITING) == (status == 200)
            assert figures["connected"] == figures["leased"] == MAX_SIZE
            assert waiting <= MAX_WAITING
            return any(each.done() and reason(each.result()) == FULL for each in late)

        async with service.http() as http:
            with books_locked(database):
                served = [create_task(http.get("/books")) for _ in range(MAX_SIZE)]
                await becomes(all_wait_for_the_lock)
                late: list[asyncio.Task[httpx.Response]] = []
                await becomes(one_is_refused)
                assert (await http.get("/live")).status_code == 200
                refused = Counter(reason(answer) for answer in await gather(*late))
                assert refused.keys() == {FULL, LATE}
                assert refused[LATE] >= MAX_WAITING
            assert {answer.status_code for answer in await gather(*served)} == {200}
            assert (await readiness(http))[0] == 200

    with serving(database) as service, pgwire.connect(database) as conn:
        asyncio.run(crowd(conn))


@pytest.mark.slow
def test_it_is_ready_again_when_the_server_is(fresh_server: embedded.Server) -> None:
    async def story() -> None:
        async with service.http() as http:

            async def is_ready() -> bool:
                status, figures = await readiness(http)
                assert figures["ready"] == (figures["connected"] > 0) == (status == 200)
                return status == 200

            async def is_not_ready() -> bool:
                return not await is_ready()

            await becomes(is_ready)
            await asyncio.to_thread(fresh_server.stop)
            await becomes(is_not_ready)
            assert (await http.get("/live")).status_code == 200
            assert reason(await http.get("/books")) == LATE
            await asyncio.to_thread(fresh_server.start)
            await becomes(is_ready)
            assert (await http.get("/books")).json() == []

    with serving(fresh_server.url) as service:
        asyncio.run(story())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_is_being_served_when_it_stops_gets_an_answer(database: str, loop: str) -> None:
    async def story() -> None:
        async with service.http() as http:
            with books_locked(database):
                request = create_task(http.get("/books"))
                await becomes(is_waiting)
                await asyncio.to_thread(service.ask_to_stop)
            assert (await request).json() == []

    async def is_waiting() -> bool:
        return backends(conn, locked=True) != []

    with serving(database, loop) as service, pgwire.connect(database) as conn:
        asyncio.run(story())
        service.wait_for_end()
        assert backends(conn) == []
        # The end of a process would close its connections too, but without a good-bye.
        assert conn.query(
            "select sessions_abandoned from pg_stat_database where datname = current_database()"
        ).scalars() == [0]


def test_what_a_client_does_wrong_is_told_to_the_client(database: str) -> None:
    async def story() -> None:
        async with service.http() as http:
            assert (await http.post("/books", json=book)).status_code == 201
            for body in (["no", "book"], {"title": "Notes"}, "text", None):
                assert (await http.post("/books", json=body)).status_code == 400
            for change, status, error in (
                ({}, 409, "there is one like this already"),
                ({"isbn": None}, 400, "this breaks a rule of the database"),
                (
                    {"isbn": 2},
                    400,
                    "parameter $1 (text): expected str, got int 2; pass str(value); "
                    "where the SQL leaves the type open, write $1::bigint",
                ),
                (
                    {"published": "then"},
                    400,
                    'invalid input syntax for type date: "then"\nHINT: It is the value of $3.',
                ),
            ):
                answer = await http.post("/books", json=book | {"author": "Eve"} | change)
                assert (answer.status_code, answer.json()) == (status, {"error": error})
            answer = await http.get("/authors")
            assert answer.json() == [{"author": "Ada", "books": 1, "latest": "1843-10-01"}]
            assert (await readiness(http))[1]["idle"] == 2  # an error costs no connection

    book = {"isbn": "1", "title": "Notes", "published": "1843-10-01", "author": "Ada"}
    with serving(database) as service:
        asyncio.run(story())
        with pgwire.connect(database) as conn:  # the authors of books that were refused
            assert conn.query("select name from author").scalars() == ["Ada"]


def test_without_its_database_it_does_not_start_and_says_why(dsn: str) -> None:
    nowhere = pgwire.make_conninfo(**pgwire.conninfo_to_dict(dsn) | {"dbname": "nowhere"})
    done = subprocess.run(
        [sys.executable, SCRIPT, nowhere], capture_output=True, text=True, cwd=ROOT, timeout=30
    )
    assert done.returncode == 3
    assert "RuntimeError: cannot start without the database: " in done.stderr
    assert 'database "nowhere" does not exist\n' in done.stderr
