"""A server that follows the protocol and understands a handful of words.

It keeps what a real one keeps (prepared statements, the transaction status, whether it skips
to the next Sync, whether it is in copy-in mode) and holds its answers back until Flush, Sync,
an error or the end of a Query, as a real one may. What a statement does is written in its text:

    echo                one int4 parameter, one row that holds it
    rows 3              three rows: 1, 2, 3
    nothing             a command without columns: tag NOTHING
    empty               EmptyQueryResponse
    begin, rollback     transaction control
    fail parse, fail bind, fail execute, fail sync       an error there: 42601, 22P02, …
    copy in, copy out   COPY as psql would use it

A comment makes texts different, so that statements are cached apart: `echo /* 7 */`.
Anything a client may not send raises AssertionError.
"""

from __future__ import annotations

import re
from struct import unpack_from
from typing import TYPE_CHECKING

from pgwire.protocol.query import Query
from tests.support import backend

if TYPE_CHECKING:
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session

FAILURES = {"parse": "42601", "bind": "22P02", "execute": "22012", "sync": "23503"}
_INT4 = backend.column("n")


def _command(sql: bytes | str) -> list[str]:
    text = sql.decode() if isinstance(sql, bytes) else sql
    return re.sub(r"/\*.*?\*/", "", text).split()


class BackendDouble:
    """`receive(bytes)` gives the answer. `syncs` counts every ReadyForQuery that was sent.

    `syncs_of_preparing` counts those of a Sync that came right behind a Describe.
    """

    def __init__(self) -> None:
        self.statements: dict[bytes, list[str]] = {}
        self.status = "I"
        self.syncs = self.syncs_of_preparing = 0
        self._has_described = False
        self.copying_in = False
        self.closed = False
        self._portal: tuple[list[str], bytes] | None = None
        self._fails_at_sync = False
        self._skipping = False
        self._flushing = False
        self._simple = False
        self._pending = b""
        self._out = b""

    def receive(self, data: bytes) -> bytes:
        """Whatever the server would have sent once it has read this."""
        self._pending += data
        answer = b""
        while len(self._pending) >= 5 and not self.closed:
            length = int.from_bytes(self._pending[1:5])
            if 1 + length > len(self._pending):
                break
            code, body = chr(self._pending[0]), self._pending[5 : 1 + length]
            self._pending = self._pending[1 + length :]
            self._receive_message(code, body)
            if self._flushing:
                answer, self._out = answer + self._out, b""
                self._flushing = False
        return answer

    def forget_statements(self) -> None:
        """DEALLOCATE ALL, done where the client cannot see it."""
        self.statements.clear()

    def _receive_message(self, code: str, body: bytes) -> None:
        if self.copying_in:
            self._receive_in_copy(code)
            return
        if self._skipping and code != "S":
            return
        self.syncs_of_preparing += code == "S" and self._has_described
        self._has_described = code == "D"
        match code:
            case "P":
                self._parse(body)
            case "D":
                self._describe(body)
            case "B":
                self._bind(body)
            case "E":
                self._execute(*self._take_portal())
            case "C":
                assert body[:1] == b"S"
                self.statements.pop(body[1:-1], None)
                self._out += backend.CLOSE_COMPLETE
            case "H":
                self._flushing = True
            case "S":
                self._sync()
            case "Q":
                self._query(body)
            case "c" | "d" | "f":
                pass  # left over from a COPY that failed
            case _:
                raise AssertionError(f"no client may send {code!r}")

    def _receive_in_copy(self, code: str) -> None:
        """Copy-in mode: Sync and Flush mean nothing, everything but data ends it."""
        if code == "f":
            self.copying_in = False
            self._fail("57014")
            if self._simple:
                self._sync()
        elif code not in "dHS":
            self._fail("08P01")
            self._out += backend.fatal("08P01")
            self.closed = True

    def _parse(self, body: bytes) -> None:
        name, sql, rest = body.split(b"\0", 2)
        assert rest == b"\0\0"
        command = _command(sql)
        if command[:2] == ["fail", "parse"]:
            self._fail(FAILURES["parse"])
        elif name in self.statements and name:
            self._fail("42P05")
        else:
            self.statements[name] = command
            self._out += backend.PARSE_COMPLETE

    def _describe(self, body: bytes) -> None:
        assert body[:1] == b"S"
        command = self.statements[body[1:-1]]
        self._out += backend.parameter_description(*([23] if command == ["echo"] else []))
        has_rows = command[:1] in (["echo"], ["rows"])
        self._out += backend.row_description(_INT4) if has_rows else backend.NO_DATA

    def _bind(self, body: bytes) -> None:
        _, name, rest = body.split(b"\0", 2)
        command = self.statements.get(name)
        if command is None:
            self._fail("26000")
        elif command[:2] == ["fail", "bind"]:
            self._fail(FAILURES["bind"])
        else:
            self._portal = command, _only_parameter(rest) if command == ["echo"] else b""
            self._out += backend.BIND_COMPLETE

    def _take_portal(self) -> tuple[list[str], bytes]:
        assert self._portal is not None
        portal, self._portal = self._portal, None
        return portal

    def _execute(self, command: list[str], parameter: bytes) -> None:
        if self.status == "E" and command != ["rollback"]:
            self._fail("25P02")
            return
        match command:
            case ["echo"]:
                self._out += backend.row(parameter) + backend.complete("SELECT 1")
            case ["rows", count]:
                values = range(1, int(count) + 1)
                encode = (lambda n: str(n).encode()) if self._simple else backend.int4
                self._out += b"".join(backend.row(encode(n)) for n in values)
                self._out += backend.complete(f"SELECT {count}")
            case ["empty"] | []:
                self._out += backend.EMPTY_QUERY
            case ["fail", "execute"]:
                self._fail(FAILURES["execute"])
            case ["copy", "out"]:
                self._out += backend.copy_out(0) + backend.copy_data(b"1\n") + backend.COPY_DONE
                self._out += backend.complete("COPY 1")
            case ["copy", "in"]:
                self._out += backend.copy_in(0)
                self.copying_in = self._flushing = True
            case ["begin" | "rollback" as word]:
                self.status = "T" if word == "begin" else "I"
                self._out += backend.complete(word.upper())
            case _:
                self._fails_at_sync = command == ["fail", "sync"]
                self._out += backend.complete(command[0].upper())

    def _query(self, body: bytes) -> None:
        self._simple = True
        for statement in body[:-1].decode().split(";"):
            command = _command(statement)
            if not command or self._skipping:
                continue
            if command[:2] in (["fail", "parse"], ["fail", "bind"]):
                self._fail(FAILURES[command[1]])
                continue
            if command[0] == "rows":
                self._out += backend.row_description(_INT4)
            self._execute(command, b"")
            if self.copying_in:
                return
        self._sync()

    def _sync(self) -> None:
        if self._fails_at_sync:
            self._fail(FAILURES["sync"])
        self._fails_at_sync = self._skipping = self._simple = False
        self._portal = None
        self.syncs += 1
        self._flushing = True
        self._out += backend.ready(self.status)

    def _fail(self, sqlstate: str) -> None:
        self._skipping = self._flushing = True
        if self.status == "T":
            self.status = "E"
        self._out += backend.error(sqlstate)


def _only_parameter(rest: bytes) -> bytes:
    """The one parameter of a Bind, in binary format."""
    assert unpack_from("!HHH", rest) == (1, 1, 1)
    (length,) = unpack_from("!i", rest, 6)
    return rest[10 : 10 + length]


def converse(session: Session, server: BackendDouble) -> None:
    """Carry bytes to and fro until the client has nothing more to say."""
    while data := session.data_to_send():
        session.receive_data(server.receive(data))


def run(session: Session, server: BackendDouble, *operations: Operation) -> None:
    """Submit together, then converse; every operation is done afterwards."""
    for operation in operations:
        session.submit(operation)
    converse(session, server)
    assert all(operation.done for operation in operations), session


MARKER = 7_654_321


def check_fit_for_the_next_query(session: Session) -> None:
    """It has failed, or waits in the middle of something, or the next answer is the next one's."""
    if session.failure is None and session.in_step:
        marker = Query("echo /* marker */", [MARKER])
        run(session, BackendDouble(), marker)
        assert marker.error is None
        assert marker.result.scalars() == [MARKER]
    session.receive_eof()
    assert session.failure is not None
    assert not session.pending
