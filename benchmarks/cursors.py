"""The drivers of PEP 249's kind: a cursor that is used again, and `%s` for parameters.

Interfaces and rules are those of `peers`.
"""

from __future__ import annotations

import importlib
import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import workloads

if TYPE_CHECKING:
    import asyncio

    from turns import Run, Watch

KEYS = workloads.KEYS
_TYPES = ["int4", "text", "float8", "timestamptz"]


def load(name: str) -> Any:
    """The module, untyped: what is missing is a peer less, and no error of types."""
    return importlib.import_module(name)


def formatted(sql: str) -> str:
    """The statement with `%s` for its parameters, in their order."""
    return re.sub(r"\$\d+", "%s", sql)


class Cursor:
    """What psycopg and psycopg2 have in common: a cursor that is used again."""

    cursor: Any
    conn: Any

    def value(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            cursor, text = self.cursor, formatted(sql)
            with watch:
                for n in range(count):
                    cursor.execute(text, (n,))
                    found = cursor.fetchone()[0]
            return found

        return run

    def row(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            cursor, text = self.cursor, formatted(sql)
            with watch:
                for n in range(count):
                    cursor.execute(text, (n % KEYS + 1,))
                    found = cursor.fetchone()
            return found

        return run

    def rows(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            cursor = self.cursor
            with watch:
                for _ in range(count):
                    cursor.execute(sql)
                    found = cursor.fetchall()
            return found

        return run

    def close(self) -> None:
        self.conn.close()


class Psycopg(Cursor):
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        psycopg = load("psycopg")
        self.conn = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self.cursor = self.conn.cursor(binary=True)

    def insert(self, sql: str, records: Any) -> Run:
        def run(count: int, watch: Watch) -> None:
            text = formatted(sql)
            with watch:
                for _ in range(count):
                    with self.conn.transaction():
                        self.cursor.executemany(text, records)

        return run

    def copy_in(self, table: str, records: Any) -> Run:
        def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    with self.cursor.copy(f"copy {table} from stdin (format binary)") as copy:
                        copy.set_types(_TYPES)
                        for record in records:
                            copy.write_row(record)

        return run

    def copy_out(self, sql: str) -> Run:
        def run(count: int, watch: Watch) -> Any:
            with watch:
                for _ in range(count):
                    file = io.BytesIO()
                    with self.cursor.copy(f"copy ({sql}) to stdout") as copy:
                        for data in copy:
                            file.write(data)
            return file.getvalue()

        return run


class PsycopgAsync:
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._run = runner.run
        connect = load("psycopg").AsyncConnection.connect
        self.conn = self._run(connect(url, autocommit=True, prepare_threshold=0))
        self.cursor = self.conn.cursor(binary=True)

    def value(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            cursor, text = self.cursor, formatted(sql)
            with watch:
                for n in range(count):
                    await cursor.execute(text, (n,))
                    found = (await cursor.fetchone())[0]
            return found

        return lambda count, watch: self._run(run(count, watch))

    def row(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            cursor, text = self.cursor, formatted(sql)
            with watch:
                for n in range(count):
                    await cursor.execute(text, (n % KEYS + 1,))
                    found = await cursor.fetchone()
            return found

        return lambda count, watch: self._run(run(count, watch))

    def rows(self, sql: str) -> Run:
        async def run(count: int, watch: Watch) -> Any:
            cursor = self.cursor
            with watch:
                for _ in range(count):
                    await cursor.execute(sql)
                    found = await cursor.fetchall()
            return found

        return lambda count, watch: self._run(run(count, watch))

    def insert(self, sql: str, records: Any) -> Run:
        async def run(count: int, watch: Watch) -> None:
            text = formatted(sql)
            with watch:
                for _ in range(count):
                    async with self.conn.transaction():
                        await self.cursor.executemany(text, records)

        return lambda count, watch: self._run(run(count, watch))

    def close(self) -> None:
        self._run(self.conn.close())


class Psycopg2(Cursor):
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.conn = load("psycopg2").connect(url)
        self.conn.autocommit = True
        extras = load("psycopg2.extras")
        extras.register_uuid(conn_or_curs=self.conn)
        self._execute_values = extras.execute_values
        self.cursor = self.conn.cursor()

    def insert(self, sql: str, records: Any) -> Run:
        text = f"{sql.partition(' values ')[0]} values %s"

        def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    self.cursor.execute("begin")
                    self._execute_values(self.cursor, text, records, page_size=1000)
                    self.cursor.execute("commit")

        return run


class Pg8000:
    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.conn = load("pg8000.native").Connection(**keywords(url))

    def _prepared(self, sql: str) -> Any:
        return self.conn.prepare(re.sub(r"\$(\d+)", r":p\1", sql)).run

    def value(self, sql: str) -> Run:
        query = self._prepared(sql)

        def run(count: int, watch: Watch) -> Any:
            with watch:
                for n in range(count):
                    found = query(p1=n)[0][0]
            return found

        return run

    def row(self, sql: str) -> Run:
        query = self._prepared(sql)

        def run(count: int, watch: Watch) -> Any:
            with watch:
                for n in range(count):
                    found = query(p1=n % KEYS + 1)[0]
            return found

        return run

    def rows(self, sql: str) -> Run:
        query = self._prepared(sql)

        def run(count: int, watch: Watch) -> Any:
            with watch:
                for _ in range(count):
                    found = query()
            return found

        return run

    def insert(self, sql: str, records: Any) -> Run:
        query = self._prepared(sql)

        def run(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    self.conn.run("begin")
                    for one, two, three, four in records:
                        query(p1=one, p2=two, p3=three, p4=four)
                    self.conn.run("commit")

        return run

    def close(self) -> None:
        self.conn.close()


def keywords(url: str) -> dict[str, Any]:
    """pg8000's arguments, which takes no URL."""
    parts = urlsplit(url)
    found: dict[str, Any] = {
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or "") or None,
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path[1:],
    }
    query = parse_qs(parts.query)
    if query.get("sslmode", ["disable"])[0] != "disable":
        found["ssl_context"] = load("ssl").create_default_context(cafile=query["sslrootcert"][0])
    return found
