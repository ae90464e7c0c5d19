"""The hottest paths, each as a function that runs it once, with a server of ready-made bytes.

Knows the cores. Must not know what is counted. Nothing here waits, or depends on chance.
"""

from __future__ import annotations

from base64 import b64encode
from struct import pack
from typing import TYPE_CHECKING, Any, cast

import guard_shells
from guard_server import (
    BOUND,
    FLOAT8,
    INT4,
    INT8,
    LAYOUTS,
    ONE_VALUE,
    QUERIES,
    READY,
    SQL,
    TEXT,
    Kind,
    Path as Path,
    described,
    executed,
    message,
    row,
)

from pgwire.config import Secret, resolve
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.row import row_class
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.many import QueryMany
from pgwire.protocol.query import Query
from pgwire.protocol.scram_keys import KeyCache, ScramKeys
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack

ROWS, RECORDS = 1000, 1000
TOGETHER = 20

# ---------------------------------------------------------------- many values


def _prepared(kinds: Sequence[Kind], parameters: Sequence[Kind], params: Sequence[Any]) -> Session:
    """A session that knows the statement, and has used it twice."""
    session = Session(TypeRegistry())
    for answer in (described(kinds, parameters) + executed([]), executed([])):
        session.submit(Query(SQL, params))
        session.data_to_send()
        for part in (answer,) if answer.startswith(BOUND) else _parted(answer):
            session.receive_data(part)
            session.data_to_send()
    return session


def _parted(answer: bytes) -> tuple[bytes, bytes]:
    """The description, and what is said once that has been answered."""
    at = answer.rindex(BOUND)
    return answer[:at], answer[at:]


def _value(kind: Kind, fmt: int, layout: str, row: int, column: int) -> bytes | None:
    if layout == "half NULL" and (row * 7 + column * 3) % 11 < 5:
        return None
    return (kind.binary if fmt else kind.text)(row)


def _rows(layout: str, kinds: Sequence[Kind]) -> Path:
    session = _prepared(kinds, [], [])
    statement = session.statements.get(SQL)
    assert statement is not None
    formats = [column.format for column in statement.columns]
    count = 100 if layout == "wide" else ROWS
    answer = executed(
        [
            row(
                [
                    _value(kind, fmt, layout, number, column)
                    for column, (kind, fmt) in enumerate(zip(kinds, formats, strict=True))
                ]
            )
            for number in range(1, count + 1)
        ]
    )
    pieces = [answer[at : at + 65_536] for at in range(0, len(answer), 65_536)]

    def run() -> Any:
        query = Query(SQL, ())
        session.submit(query)
        session.data_to_send()
        for piece in pieces:
            session.receive_data(piece)
        if query.error is not None:
            raise query.error
        return query.result.rows

    return Path(f"{count:,} rows, {layout}", run)


def _values() -> Path:
    row: Any = row_class(("a", "b", "c"))((1, 2, 3))

    def run() -> None:
        for _ in range(QUERIES):
            assert row.a + row["b"] == row[2]

    return Path("three values of a row: row.a, row['b'], row[2]", run, QUERIES)


def _together() -> Path:
    session = _prepared([INT4], [], [])
    answers = executed([row([b"\0\0\0\x01"])]) * TOGETHER

    def run() -> None:
        for _ in range(TOGETHER):
            session.submit(Query(SQL, ()))
        session.data_to_send()
        session.receive_data(answers)
        assert session.in_step

    return Path(f"{TOGETHER} answers that come together", run, TOGETHER)


_RECORD = (7, "item number 7", 0.5, 7_000_021)
_RECORD_KINDS = (INT4, TEXT, FLOAT8, INT8)


def _bind() -> Path:
    session = _prepared([INT4], _RECORD_KINDS, _RECORD)

    def run() -> Any:
        for _ in range(QUERIES):
            query = Query(SQL, _RECORD)
            session.submit(query)
            session.data_to_send()
            session.receive_data(ONE_VALUE)
        return query.result

    return Path("bind of four parameters, and the answer", run, QUERIES)


def _many() -> Path:
    session = _prepared([], _RECORD_KINDS, _RECORD)
    records = [_RECORD] * RECORDS
    answers = (BOUND + message(b"C", b"INSERT 0 1\0")) * RECORDS + READY

    def run() -> Any:
        operation = QueryMany(SQL, records)
        session.submit(operation)
        while session.data_to_send():
            pass
        session.receive_data(answers)
        if operation.error is not None:
            raise operation.error
        assert operation.result.row_count == RECORDS
        return operation.result

    return Path(f"query_many of {RECORDS:,} records", run)


# ---------------------------------------------------------------- connecting


def _settings() -> Path:
    url = "postgresql://me:secret@127.0.0.1:5433/db?sslmode=disable"
    return Path("a connection's settings", lambda: resolve(url, {}, environ={}, default_user="me"))


# As PostgreSQL 18 does.
_REPORTED = [
    (b"client_encoding", b"UTF8"),
    (b"TimeZone", b"UTC"),
    (b"server_version", b"18.6"),
    *((b"setting_number_%d" % number, b"as it is") for number in range(12)),
]


def _login() -> Path:
    """By SCRAM, with keys at hand: what a pool's connection from the second on is."""
    password, nonce, salt = "secret", "x" * 32, b"0123456789abcdef"
    registry = TypeRegistry()
    keys, cache = ScramKeys.derive(password.encode(), salt, 4096), KeyCache()
    first = b"r=%bserver,s=%b,i=4096" % (nonce.encode(), b64encode(salt))
    parts = b"n=*,r=" + nonce.encode(), first, b"c=biws,r=" + nonce.encode() + b"server"
    proof = b"v=" + b64encode(keys.server_signature(b",".join(parts)))
    said = (
        _asked(10, b"SCRAM-SHA-256\0\0"),
        _asked(11, first),
        _asked(12, proof)
        + _asked(0)
        + b"".join(message(b"S", b"%b\0%b\0" % report) for report in _REPORTED)
        + message(b"K", pack("!2i", 7, 7))
        + READY,
    )

    def run() -> None:
        credentials = Credentials("me", Secret(password), nonce, exposed=False, keys=cache)
        startup = Startup({"user": "me", "database": "db"}, credentials)
        session = Session(registry)
        session.submit(startup)
        for data in said:
            session.data_to_send()
            startup.use_pause()
            session.receive_data(data)
        assert startup.done
        if startup.error is not None:
            raise startup.error

    return Path("a login, keys at hand", run)


def _asked(code: int, data: bytes = b"") -> bytes:
    return message(b"R", pack("!i", code) + data)


# ---------------------------------------------------------------- the pool


def _core() -> PoolCore[str]:
    """The core of a pool with one connection, which is idle."""
    core: PoolCore[str] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.0)
    core.acquire(0.0, None)
    (opening,) = core.take_effects()
    slot = cast("Any", opening).slot
    core.opened(slot, "a connection", 0.0)
    core.take_effects()
    core.release(slot, 0.0)
    return core


def _pool() -> Path:
    core = _core()

    def run() -> None:
        for _ in range(QUERIES):
            lent = core.acquire(0.0, None)
            core.release(cast("Any", lent), 0.0)
            core.take_effects()

    return Path("a lease of the pool's core", run, QUERIES)


def _queue() -> Path:
    core = _core()
    slot = cast("Any", core.acquire(0.0, None))
    for _ in range(TOGETHER):
        core.acquire(0.0, 1.0)

    def run() -> None:
        for _ in range(QUERIES):
            core.acquire(0.0, 1.0)
            core.next_deadline()
            core.release(slot, 0.0)
            core.take_effects()
            core.next_deadline()

    return Path("a place in the queue of the pool's core", run, QUERIES)


def paths(stack: ExitStack) -> Iterator[Path]:
    """All of them, until the stack is closed."""
    yield from guard_shells.paths(stack)
    yield _bind()
    yield from (_rows(layout, kinds) for layout, kinds in LAYOUTS.items())
    yield _values()
    yield _together()
    yield _many()
    yield _settings()
    yield _login()
    yield _pool()
    yield _queue()
