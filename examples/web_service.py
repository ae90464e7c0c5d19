"""A small web service on a pool: Starlette, and one AsyncPool for as long as it lives.

    pip install pgwire starlette uvicorn
    python examples/web_service.py postgresql://app:secret@db/app
    curl localhost:8000/books -d '{"isbn": "1", "title": "Notes", "author": "Ada Lovelace"}'

or, with the server in PGHOST, PGUSER, … and any of uvicorn's options:

    uvicorn --factory --app-dir examples web_service:create_app

The pool is made when the service starts, in its event loop, and ended when it stops. No route
handles an error of the database: `ERRORS` says once what each of them means to an HTTP client.
What is nobody's mistake is a 503 that says why, and worth another try.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

import pgwire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

MAX_WAITING = 50  # requests that may queue for a connection; one more is refused at once
READY_WAITING = 20  # with more than that in the queue, others should get the traffic

SCHEMA = """
create table if not exists author (
    id int generated always as identity primary key, name text not null unique);
create table if not exists book (
    id int generated always as identity primary key, isbn text not null unique,
    title text not null, published date, author int not null references author);
"""
ADD_AUTHOR = """
insert into author (name) values ($1)
on conflict (name) do update set name = excluded.name returning id
"""
ADD_BOOK = "insert into book (isbn, title, published, author) values ($1, $2, $3, $4) returning id"
BOOKS = """
select b.id, b.isbn, b.title, b.published, a.name as author
from book b join author a on a.id = b.author
"""
AUTHORS = """
select a.name as author, count(*) as books, max(b.published) as latest
from author a join book b on b.author = a.id group by a.id order by a.name
"""


class Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return json.dumps(content, default=str).encode()  # dates, and numerics without a loss


async def list_books(request: Request) -> Response:
    query = request.query_params  # a str may stand for any value: the server judges it
    page = [query.get("after", "0"), query.get("limit", "20")]
    sql = f"{BOOKS} where b.id > $1 order by b.id limit least($2::int, 100)"
    return Json((await request.state.pool.query(sql, page)).dicts())


async def one_book(request: Request) -> Response:
    id = request.path_params["id"]
    found = await request.state.pool.query(f"{BOOKS} where b.id = $1", [id], row=dict)
    if not found:
        raise HTTPException(404, "no such book")
    return Json(found.one())


async def create_book(request: Request) -> Response:
    try:
        body = await request.json()
        book = [body["isbn"], body["title"], body.get("published")]
        author = body["author"]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise HTTPException(400, "a book is JSON with isbn, title, author, published") from None
    async with request.state.pool.transaction() as conn:  # both are stored, or neither
        author_id = (await conn.query(ADD_AUTHOR, [author])).scalar()
        id = (await conn.query(ADD_BOOK, [*book, author_id])).scalar()
    return Json({"id": id}, 201, headers={"Location": f"/books/{id}"})


async def list_authors(request: Request) -> Response:
    return Json((await request.state.pool.query(AUTHORS)).dicts())


async def live(request: Request) -> Response:
    """Whether this process works. It does without a database: a restart would mend nothing."""
    return Json({"live": True})


async def ready(request: Request) -> Response:
    """Whether requests should come here. It takes no query: the pool knows."""
    stats = request.state.pool.stats()
    connected = stats.size - stats.opening - stats.closing
    is_ready = connected > 0 and stats.waiting <= READY_WAITING
    names = ("size", "opening", "idle", "leased", "closing", "waiting", "max_size")
    figures = {name: getattr(stats, name) for name in names}
    return Json({"ready": is_ready, "connected": connected, **figures}, 200 if is_ready else 503)


def answer(status: int, why: str = "") -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler of errors; without a reason of ours the client is told the error's own."""

    async def handler(request: Request, error: Exception) -> Response:
        headers = {"Retry-After": "1"} if status == 503 else None
        return Json({"error": why or str(error)}, status, headers=headers)

    return handler


# The class that is nearest to the error's own counts.
ERRORS: dict[Any, Any] = {
    pgwire.PoolFull: answer(503, "too many requests are waiting already"),
    pgwire.PoolTimeout: answer(503, "no database connection was free in time"),
    pgwire.ConnectionLost: answer(503, "the database went away; a change may have been made"),
    pgwire.OperationalError: answer(503, "the database cannot do this now"),
    pgwire.UniqueViolation: answer(409, "there is one like this already"),
    pgwire.IntegrityError: answer(400, "this breaks a rule of the database"),
    pgwire.DataError: answer(400),
}


def create_app(dsn: str = "") -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        pool = pgwire.AsyncPool(
            dsn,
            min_size=2,  # with these it comes back by itself when the database does
            max_size=5,
            max_waiting=MAX_WAITING,
            checkout_timeout=2,
            query_timeout=10,
            fallback_application_name="web_service",
        )
        try:
            await prepare(pool)
            yield {"pool": pool}
        finally:
            await pool.end(timeout=10)

    routes = [
        Route("/books", list_books),
        Route("/books", create_book, methods=["POST"]),
        Route("/books/{id:int}", one_book),
        Route("/authors", list_authors),
        Route("/live", live),
        Route("/ready", ready),
    ]
    return Starlette(routes=routes, exception_handlers=ERRORS, lifespan=lifespan)


async def prepare(pool: pgwire.AsyncPool) -> None:
    """Return once the database is there and has our tables; else say why not."""
    try:
        await pool.wait(timeout=10)
        async with pool.transaction() as conn:
            await conn.query("select pg_advisory_xact_lock(1)")  # one process at a time
            await conn.script(SCHEMA)
    except pgwire.Error as error:
        raise RuntimeError(f"cannot start without the database: {error}") from None


if __name__ == "__main__":
    uvicorn.run(create_app(*sys.argv[1:2]), port=int(os.environ.get("PORT", "8000")))
