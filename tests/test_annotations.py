"""What type checkers make of programs that use pgwire, as each test here is one.

mypy reads it with all the rest. For pyright, `npx pyright tests/test_annotations.py`: where it is
strict it wants to know what every argument of a lambda is, which mypy does not.
"""

# pyright: strict

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, assert_type

import pytest

import pgwire
from pgwire import Result, Row


@dataclass
class User:
    id: int
    name: str


class Pair(NamedTuple):
    id: int
    name: str


class Entry(TypedDict):
    id: int
    name: str


ANN = "select 1 as id, 'ann' as name"


def name_of(row: Row) -> str:
    return str(row.name)


def joined(one: int, other: int) -> int:
    return one + other


def test_rows_by_what_they_are_made_by(dsn: str) -> None:
    with pgwire.connect(dsn) as conn:
        assert_type(conn.query(ANN), Result[Row])
        assert_type(conn.query(ANN, row=None), Result[Row])
        assert_type(conn.query(ANN, row=User), Result[User])
        assert_type(conn.query(ANN, row=Pair), Result[Pair])
        assert_type(conn.query(ANN, row=Entry), Result[Entry])
        assert_type(conn.query(ANN, row=Row), Result[Row])
        assert_type(conn.query(ANN, row=dict), Result[dict[str, Any]])
        assert_type(conn.query(ANN, row=tuple), Result[tuple[Any, ...]])
        assert_type(conn.query(ANN, row=tuple[int, str]), Result[tuple[int, str]])
        assert_type(conn.query(ANN, row=name_of), Result[str])
        assert_type(conn.query(ANN, row=lambda row: int(row.id)), Result[int])
        assert_type(conn.query(ANN, row=lambda row: User(row.id, row.name)), Result[User])
        with pytest.raises(TypeError):
            conn.query(ANN, row=joined)  # type: ignore[arg-type]

        result = conn.query(ANN, row=User)
        assert_type(result.one(), User)
        assert_type(result.first(), User | None)
        assert_type(result.rows, list[User])
        assert_type(result[0], User)
        assert_type(result[:1], list[User])
        assert_type(list(result), list[User])
        assert_type(result.scalar(), Any)
        assert_type(result.mapped(lambda row: int(row.id)), Result[int])

        statement = conn.prepare(ANN)
        assert_type(statement.query(row=User), Result[User])
        assert_type(statement.query(row=lambda row: int(row.id)), Result[int])
        assert_type(next(conn.stream(ANN)), Row)
        assert_type(next(conn.stream(ANN, row=User)), User)
        assert_type(list(statement.stream(row=dict)), list[dict[str, Any]])
        with conn.stream(ANN, row=lambda row: int(row.id)) as ids:
            assert_type(ids, pgwire.Stream[int])
            assert_type(list(ids), list[int])
        with conn.pipeline() as pipeline:
            assert_type(pipeline.query(ANN, row=User).result().one(), User)
            assert_type(pipeline.query(ANN, row=lambda row: int(row.id)).result().one(), int)


def test_the_same_of_a_pool(dsn: str) -> None:
    with pgwire.Pool(dsn) as pool:
        assert_type(pool.query(ANN, row=User), Result[User])
        assert_type(pool.query(ANN, row=lambda row: int(row.id)), Result[int])
        assert_type(pool.submit(ANN), Future[Result[Row]])
        assert_type(pool.submit(ANN, row=User), Future[Result[User]])
        assert_type(pool.submit(ANN, row=dict).result().one(), dict[str, Any])
        assert_type(pool.submit(ANN, row=lambda row: int(row.id)).result().one(), int)
        assert_type(list(pool.stream(ANN, row=User)), list[User])
        with pool.transaction() as lease:
            assert_type(lease.query(ANN, row=User).one(), User)
        assert_type(pool.run_transaction(lambda conn: conn.query(ANN, row=User).one()), User)


def test_the_same_in_asyncio(dsn: str) -> None:
    async def run() -> None:
        async with pgwire.connect_async(dsn) as conn:
            assert_type(await conn.query(ANN), Result[Row])
            assert_type(await conn.query(ANN, row=User), Result[User])
            assert_type(await conn.query(ANN, row=dict), Result[dict[str, Any]])
            assert_type(await conn.query(ANN, row=tuple), Result[tuple[Any, ...]])
            assert_type(await conn.query(ANN, row=lambda row: int(row.id)), Result[int])
            statement = await conn.prepare(ANN)
            assert_type(await statement.query(row=lambda row: int(row.id)), Result[int])
            async for user in conn.stream(ANN, row=User):
                assert_type(user, User)
            async with conn.stream(ANN, row=lambda row: int(row.id)) as ids:
                assert_type(ids, pgwire.AsyncStream[int])
                assert_type([number async for number in ids], list[int])
            async with conn.pipeline() as pipeline:
                asked = pipeline.query(ANN, row=lambda row: int(row.id))
                assert_type((await asked.result()).one(), int)
        async with pgwire.AsyncPool(dsn) as pool:
            assert_type(await pool.query(ANN, row=User), Result[User])
            assert_type(await pool.query(ANN, row=lambda row: int(row.id)), Result[int])
            one, other = await asyncio.gather(pool.query(ANN), pool.query(ANN, row=User))
            assert_type(one, Result[Row])
            assert_type(other, Result[User])
            async for row in pool.stream(ANN):
                assert_type(row, Row)

    asyncio.run(run())


def test_callbacks(dsn: str) -> None:
    """Their arguments are known by the event."""
    heard: list[str | int | None] = []
    with pgwire.connect(dsn) as conn:
        conn.on("notice", lambda notice: heard.append(notice.sqlstate))
        conn.on("notification", lambda notification: heard.append(notification.payload))
        conn.on("parameter", lambda change: heard.append(change.value))
        conn.on("query", lambda report: heard.append(report.sql))
        assert conn.query("select 1").scalar() == 1
    with pgwire.Pool(dsn) as pool:
        pool.on("acquire", lambda lent: heard.append(lent.backend_pid))
        pool.on("error", lambda error, lost: heard.append(lost.backend_pid))
        pool.on("query", lambda report: heard.append(report.sql))
        assert pool.query("select 1").scalar() == 1
    asynchronous = pgwire.AsyncPool(dsn)
    asynchronous.on("acquire", lambda lent: heard.append(lent.backend_pid))
    asynchronous.on("error", lambda error, lost: heard.append(lost.backend_pid))
    assert heard.count("select 1") == 2


def test_errors_are_an_attribute_of_the_package() -> None:
    with pytest.raises(pgwire.errors.PostgresError) as caught:
        raise pgwire.errors.UniqueViolation("twice")
    assert_type(caught.value.constraint, str | None)
