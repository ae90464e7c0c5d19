"""Clients of the web service that know what is right, and a hand that kills its backends.

Every client has an author of its own, so it can say what each answer must be. A 503 is right if
it says why, and leaves open whether a book was stored; anything else that is not right fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import pgwire
from tests.examples.support import backends, books_locked
from tests.pool.support import alive, until

if TYPE_CHECKING:
    import httpx

LOST = "the database went away; a change may have been made"
FULL = "too many requests are waiting already"
LATE = "no database connection was free in time"
UNABLE = "the database cannot do this now"

_ATTEMPTS = 50  # more than there are kills


def reason(answer: httpx.Response) -> str | None:
    """Why it is a 503, None if it is none."""
    if answer.status_code != 503:
        return None
    assert answer.headers["retry-after"] == "1"
    why = answer.json()["error"]
    assert why in (LOST, FULL, LATE, UNABLE)
    return str(why)


class Killer:
    """Terminates the service's backends, so many times, whenever so many answers have come.

    Every second time it does so while some of them certainly work for somebody.
    """

    def __init__(self, dsn: str, *, times: int, every: int) -> None:
        self._dsn = dsn
        self._times = times
        self._every = every
        self._turn = asyncio.Lock()
        self.answers = 0
        self.kills = 0

    async def count(self) -> None:
        """One more answer has come. Who counts the right one waits for the killing's end."""
        self.answers += 1
        if self.answers % self._every == 0 and self.answers <= self._times * self._every:
            async with self._turn:
                await asyncio.to_thread(self._kill)

    def _kill(self) -> None:
        with pgwire.connect(self._dsn) as conn:
            if self.kills % 2:
                self._terminate(conn)
            else:
                with books_locked(self._dsn):
                    until(lambda: backends(conn, locked=True))
                    self._terminate(conn)
        self.kills += 1

    @staticmethod
    def _terminate(conn: pgwire.Connection) -> None:
        until(lambda: backends(conn))
        pids = backends(conn)
        conn.query("select pg_terminate_backend(pid) from unnest($1::int[]) as t(pid)", [pids])
        until(lambda: not alive(conn, pids))


class Client:
    """Stores books and looks at them. `stored` are those it was told of, `asked` all."""

    def __init__(self, http: httpx.AsyncClient, number: int) -> None:
        self._http = http
        self._author = f"author {number:02}"
        self._numbers = count()
        self._killer: Killer | None = None
        self.asked: set[str] = set()
        self.stored: dict[str, int] = {}
        self.reasons: Counter[str] = Counter()

    async def run(self, rounds: int, killer: Killer | None = None) -> None:
        """So many rounds of some requests each, every one of which is answered rightly."""
        self._killer = killer
        for _ in range(rounds):
            await self._store_a_book()
            await self._look_at_the_last()
            await self._count_own()
            for path, status in (("/books/0", 404), ("/books?limit=many", 400)):
                answer = await self._ask("GET", path)
                assert reason(answer) or answer.status_code == status

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> httpx.Response:
        answer = await self._http.request(method, path, json=body)
        if why := reason(answer):
            self.reasons[why] += 1
        if self._killer is not None:
            await self._killer.count()
        return answer

    async def _store_a_book(self) -> None:
        """Again until it is known to be there: a 409 says so, but only after a 503."""
        isbn = f"{self._author}, {next(self._numbers)}"
        self.asked.add(isbn)
        was_unclear = False
        for _ in range(_ATTEMPTS):
            answer = await self._ask("POST", "/books", self._book(isbn))
            if not reason(answer):
                break
            was_unclear = True
        if answer.status_code == 201:
            self.stored[isbn] = answer.json()["id"]
            assert answer.headers["location"] == f"/books/{self.stored[isbn]}"
        else:
            assert (answer.status_code, was_unclear) == (409, True), answer.text

    def _book(self, isbn: str) -> dict[str, Any]:
        return {"isbn": isbn, "title": "Notes", "published": "1843-10-01", "author": self._author}

    async def _look_at_the_last(self) -> None:
        for isbn, id in list(self.stored.items())[-1:]:
            book = {"id": id} | self._book(isbn)
            one = await self._ask("GET", f"/books/{id}")
            assert reason(one) or (one.status_code, one.json()) == (200, book)
            some = await self._ask("GET", f"/books?after={id - 1}&limit=1")
            assert reason(some) or (some.status_code, some.json()) == (200, [book])

    async def _count_own(self) -> None:
        answer = await self._ask("GET", "/authors")
        if reason(answer):
            return
        assert answer.status_code == 200
        counts = {author["author"]: author["books"] for author in answer.json()}
        assert len(self.asked) == counts[self._author]
