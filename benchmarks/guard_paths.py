"""The hottest paths, each as a function that runs it once, with a server of ready-made bytes.

Knows what a server answers, and where a shell meets its line: a socket that is none, a transport
that answers by itself. Must not know what is counted. Nothing here waits, or depends on chance.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.driver import AsyncDriver
from pgwire.blocking.connection import Connection
from pgwire.blocking.driver import Driver
from pgwire.blocking.net import Channel
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
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import ExitStack

ROWS, RECORDS = 1000, 1000
TOGETHER = 20
QUERIES = 100  # of the paths that are one query or one lease, in one run
SQL = "select $1"


class Path(NamedTuple):
    """`run` does it once; figures are divided by `operations`. What it returns is the result."""

    name: str
    run: Callable[[], Any]
    operations: int = 1


# ---------------------------------------------------------------- what a server says


class Kind(NamedTuple):
    """A type of a column: its OID, and the value of row n in either format."""

    oid: int
    binary: Callable[[int], bytes]
    text: Callable[[int], bytes]


_TEXT_OF = "item number %d".__mod__
_AT = 757_382_400_000_000  # microseconds from 2000 to 2024
INT4 = Kind(23, lambda n: pack("!i", n), lambda n: b"%d" % n)
INT8 = Kind(20, lambda n: pack("!q", n * 1_000_003), lambda n: b"%d" % (n * 1_000_003))
FLOAT8 = Kind(701, lambda n: pack("!d", n / 7), lambda n: repr(n / 7).encode())
BOOL = Kind(16, lambda n: pack("!?", n % 3 == 0), lambda n: b"ft"[n % 3 == 0 :][:1])
TEXT = Kind(25, lambda n: _TEXT_OF(n).encode(), lambda n: _TEXT_OF(n).encode())
LONG = Kind(25, lambda n: b"word " * (n % 12) + b"%d" % n, lambda n: b"word " * (n % 12))
FOREIGN = Kind(25, lambda n: "café %d".__mod__(n).encode(), lambda n: b"-")
AT = Kind(1184, lambda n: pack("!q", _AT + n * 61_500_000), lambda n: b"2024-01-01 12:00:00.25+00")
# 1.37 times n, as four digits of base 10,000 would have it, for n below 10,000.
NUMERIC = Kind(
    1700,
    lambda n: pack("!4h2h", 2, 0, 0, 2, n * 137 // 100, n * 137 % 100 * 100),
    lambda n: b"%d.%02d" % divmod(n * 137, 100),
)
UUID = Kind(2950, lambda n: pack("!2Q", n, n), lambda n: b"%08x-0000-0000-0000-%012x" % (n, n))
_JSON = b'{"id": %d, "ok": true, "tags": ["a", %d]}'
JSONB = Kind(3802, lambda n: b"\1" + _JSON % (n, n), lambda n: _JSON % (n, n))
TEXTS = Kind(
    1009,
    lambda n: pack("!5i", 1, 0, 25, 2, 1) + pack("!i3si4s", 3, b"red", 4, b"blue"),
    lambda n: b"{red,blue}",
)

MIXED = (INT4, TEXT, FLOAT8, INT8, AT, BOOL)
LAYOUTS = {
    "numbers": (INT4, INT8, FLOAT8),
    "mixed": MIXED,
    "three texts": (TEXT, LONG, FOREIGN),
    "half NULL": MIXED,
    "wide": (INT4, TEXT) * 25,
    "rich": (NUMERIC, UUID, JSONB, TEXTS, AT),
}


def _message(code: bytes, body: bytes = b"") -> bytes:
    return code + pack("!i", len(body) + 4) + body


def _described(kinds: Sequence[Kind], parameters: Sequence[Kind] = ()) -> bytes:
    oids = pack(f"!H{len(parameters)}I", len(parameters), *[kind.oid for kind in parameters])
    columns = b"".join(
        b"column_%d\0" % number + pack("!IhIhih", 0, 0, kind.oid, -1, -1, 0)
        for number, kind in enumerate(kinds)
    )
    columns = pack("!H", len(kinds)) + columns
    return _message(b"1") + _message(b"t", oids) + _message(b"T", columns)


def _row(values: Sequence[bytes | None]) -> bytes:
    fields = [pack("!i", -1) if one is None else pack("!i", len(one)) + one for one in values]
    return _message(b"D", pack("!H", len(values)) + b"".join(fields))


_BOUND = _message(b"2")
_READY = _message(b"Z", b"I")


def _executed(rows: Sequence[bytes]) -> bytes:
    return _BOUND + b"".join(rows) + _message(b"C", b"SELECT %d\0" % len(rows)) + _READY


_ONE_VALUE = _executed([_row([INT4.binary(7)])])


# ---------------------------------------------------------------- one query


class _Socket:
    """Takes what is sent, and has the same answer whenever it is asked."""

    def __init__(self, null: int) -> None:
        self.fileno = lambda: null
        self.answer = b""
        self.sendall = self.send = len

    def recv(self, _size: int) -> bytes:
        return self.answer


def _blocking(null: int, timeout: float | None = None) -> Path:
    sock = _Socket(null)
    channel = Channel(cast("socket.socket", sock))
    conn = Connection(Driver(Session(TypeRegistry()), channel, lambda driver, deadline: None))
    answers = iter([_described([INT4], [INT4]), _ONE_VALUE])
    channel.receive = lambda: next(answers)
    channel.arriving = answers
    conn.query(SQL, [7])
    fresh = Channel(cast("socket.socket", sock))
    sock.answer = _ONE_VALUE
    conn._driver.channel = fresh
    conn._default_timeout = timeout

    def run() -> Any:
        query = conn.query
        for number in range(QUERIES):
            found = query(SQL, [number]).scalar()
        return found

    return Path(_timed("one value, blocking", timeout), run, QUERIES)


def _timed(name: str, timeout: float | None) -> str:
    return name if timeout is None else f"{name}, with a timeout"


class _Transport(asyncio.Transport):
    """Answers what is written in the loop's next turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, null: int) -> None:
        super().__init__()
        self._loop = loop
        self._sock = _Socket(null)
        self.answers: Iterator[bytes] | None = None
        self.driver = AsyncDriver(loop, Session(TypeRegistry()), None, cast("Any", None))
        self.driver.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        answer = _ONE_VALUE if self.answers is None else next(self.answers)
        self.driver.data_received(answer)


def _asyncio(loop: asyncio.AbstractEventLoop, null: int, timeout: float | None = None) -> Path:
    transport = _Transport(loop, null)
    conn = AsyncConnection(transport.driver)
    conn._default_timeout = timeout
    transport.answers = iter([_described([INT4], [INT4]), _ONE_VALUE])

    async def queries(count: int) -> Any:
        for number in range(count):
            found = (await conn.query(SQL, [number])).scalar()
        return found

    loop.run_until_complete(queries(1))
    transport.answers = None
    name = _timed("one value, asyncio", timeout)
    return Path(name, lambda: loop.run_until_complete(queries(QUERIES)), QUERIES)


# ---------------------------------------------------------------- many values


def _prepared(kinds: Sequence[Kind], parameters: Sequence[Kind], params: Sequence[Any]) -> Session:
    """A session that knows the statement, and has used it twice."""
    session = Session(TypeRegistry())
    for answer in (_described(kinds, parameters) + _executed([]), _executed([])):
        session.submit(Query(SQL, params))
        session.data_to_send()
        for part in (answer,) if answer.startswith(_BOUND) else _parted(answer):
            session.receive_data(part)
            session.data_to_send()
    return session


def _parted(answer: bytes) -> tuple[bytes, bytes]:
    """The description, and what is said once that has been answered."""
    at = answer.rindex(_BOUND)
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
    answer = _executed(
        [
            _row(
                [
                    _value(kind, fmt, layout, row, column)
                    for column, (kind, fmt) in enumerate(zip(kinds, formats, strict=True))
                ]
            )
            for row in range(1, count + 1)
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
    answers = _executed([_row([b"\0\0\0\x01"])]) * TOGETHER

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
            session.receive_data(_ONE_VALUE)
        return query.result

    return Path("bind of four parameters, and the answer", run, QUERIES)


def _many() -> Path:
    session = _prepared([], _RECORD_KINDS, _RECORD)
    records = [_RECORD] * RECORDS
    answers = (_BOUND + _message(b"C", b"INSERT 0 1\0")) * RECORDS + _READY

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
        + b"".join(_message(b"S", b"%b\0%b\0" % report) for report in _REPORTED)
        + _message(b"K", pack("!2i", 7, 7))
        + _READY,
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
    return _message(b"R", pack("!i", code) + data)


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
    null = os.open(os.devnull, os.O_RDWR)  # a file descriptor that polls as readable
    stack.callback(os.close, null)
    # With a timeout a timer is left, which each turn of its loop looks at.
    loops = asyncio.new_event_loop(), asyncio.new_event_loop()
    for loop in loops:
        stack.callback(loop.close)
    for loop, timeout in zip(loops, (None, 60), strict=True):
        yield _blocking(null, timeout)
        yield _asyncio(loop, null, timeout)
    yield _bind()
    yield from (_rows(layout, kinds) for layout, kinds in LAYOUTS.items())
    yield _values()
    yield _together()
    yield _many()
    yield _settings()
    yield _login()
    yield _pool()
    yield _queue()
