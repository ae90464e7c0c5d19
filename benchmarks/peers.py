"""The drivers: each answers the questions of `workloads` as its users would write it, at its best.

Knows every driver's interface. A peer has one warm connection, in autocommit, with prepared
statements where the driver has them. `value`, `row`, `rows` and `insert` give a `turns.Run`.
The loop is inside of it, and inside of one coroutine for asyncio, so that nothing is measured
but the driver and a `for`.

pgwire, asyncpg and psycopg parse JSON by Python's own `json`, as do the others. psycopg has a
cursor that is used again, with results in binary format; psycopg2's inserts are `execute_values`,
as its `executemany` is one round trip for each record. pg8000 has nothing for many records.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import workloads
from cursors import (
    Pg8000,
    Psycopg as Psycopg,
    Psycopg2,
    PsycopgAsync,
    formatted as formatted,
    keywords as keywords,
    load as load,
)

if TYPE_CHECKING:
    import asyncio

    from turns import Run, Watch

KEYS = workloads.KEYS


class Pgwire:
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.conn = load("pgwire").connect(url)

    def value(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for n in range(count):
                    found = query(sql, [n]).scalar()
            return found

        return run

    def row(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for n in range(count):
                    found = query(sql, [n % KEYS + 1]).one()
            return found

        return run

    def rows(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for _ in range(count):
                    found = query(sql).rows
            return found

        return run

    def insert(self, sql: str, records: Any) -> Run:
        def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    self.conn.query_many(sql, records)

        return run

    def copy_in(self, table: str, records: Any) -> Run:
        def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    self.conn.copy_records(table, records)

        return run

    def copy_out(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            with watch:
                for _ in range(count):
                    self.conn.copy_out(f"copy ({sql}) to stdout", file := io.BytesIO())
            return file.getvalue()

        return run

    def close(self) -> None:
        self.conn.close()


class PgwireAsync:
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._run = runner.run
        self.conn = self._run(_opened(load("pgwire").connect_async(url)))

    def value(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for n in range(count):
                    found = (await query(sql, [n])).scalar()
            return found

        return lambda count, watch: self._run(run(count, watch))

    def row(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for n in range(count):
                    found = (await query(sql, [n % KEYS + 1])).one()
            return found

        return lambda count, watch: self._run(run(count, watch))

    def rows(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            query = self.conn.query
            with watch:
                for _ in range(count):
                    found = (await query(sql)).rows
            return found

        return lambda count, watch: self._run(run(count, watch))

    def insert(self, sql: str, records: Any) -> Run:
        async def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await self.conn.query_many(sql, records)

        return lambda count, watch: self._run(run(count, watch))

    def copy_in(self, table: str, records: Any) -> Run:
        async def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await self.conn.copy_records(table, records)

        return lambda count, watch: self._run(run(count, watch))

    def copy_out(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            with watch:
                for _ in range(count):
                    file = io.BytesIO()
                    await self.conn.copy_out(f"copy ({sql}) to stdout", file)
            return file.getvalue()

        return lambda count, watch: self._run(run(count, watch))

    def close(self) -> None:
        self._run(self.conn.close())


async def _opened(connecting: Any) -> Any:
    return await connecting


class Asyncpg:
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._run = runner.run
        self.conn = self._run(self._open(url))

    async def _open(self, url: str) -> Any:
        conn = await load("asyncpg").connect(url)
        await conn.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
        return conn

    def value(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            fetch = self.conn.fetchval
            with watch:
                for n in range(count):
                    found = await fetch(sql, n)
            return found

        return lambda count, watch: self._run(run(count, watch))

    def row(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            fetch = self.conn.fetchrow
            with watch:
                for n in range(count):
                    found = await fetch(sql, n % KEYS + 1)
            return found

        return lambda count, watch: self._run(run(count, watch))

    def rows(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            fetch = self.conn.fetch
            with watch:
                for _ in range(count):
                    found = await fetch(sql)
            return found

        return lambda count, watch: self._run(run(count, watch))

    def insert(self, sql: str, records: Any) -> Run:
        async def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await self.conn.executemany(sql, records)

        return lambda count, watch: self._run(run(count, watch))

    def copy_in(self, table: str, records: Any) -> Run:
        async def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await self.conn.copy_records_to_table(table, records=records)

        return lambda count, watch: self._run(run(count, watch))

    def copy_out(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            with watch:
                for _ in range(count):
                    file = io.BytesIO()
                    await self.conn.copy_from_query(sql, output=file)
            return file.getvalue()

        return lambda count, watch: self._run(run(count, watch))

    def close(self) -> None:
        self._run(self.conn.close())


# By the name in the report: the class, and the module that it needs.
PEERS: dict[str, tuple[Any, str]] = {
    "pgwire": (Pgwire, "pgwire"),
    "pgwire, asyncio": (PgwireAsync, "pgwire"),
    "asyncpg": (Asyncpg, "asyncpg"),
    "psycopg": (Psycopg, "psycopg"),
    "psycopg, asyncio": (PsycopgAsync, "psycopg"),
    "psycopg2": (Psycopg2, "psycopg2"),
    "pg8000": (Pg8000, "pg8000"),
}
