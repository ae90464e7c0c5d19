"""The extended query protocol in bytes: what is expected of a session, and what answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.protocol import frontend
from tests.support import backend

if TYPE_CHECKING:
    from pgwire.protocol.session import Session

INT4 = backend.column("n")
DESCRIBED = backend.described([23], [INT4])
EXECUTE_SYNC = b"E\0\0\0\x09\0\0\0\0\0" + b"S\0\0\0\x04"


def parse_describe(name: bytes, sql: bytes, end: bytes = frontend.FLUSH) -> bytes:
    parse = frontend.parse(name + b"\0", sql + b"\0")
    return parse + frontend.describe_statement(name + b"\0") + end


def bind(name: bytes, value: int) -> bytes:
    """Bind of one int4, for one int4, both in binary format."""
    formats = b"\0\1\0\1\0\1\0\0\0\4" + value.to_bytes(4) + b"\0\1\0\1"
    return frontend.bind(b"\0" + name + b"\0" + formats)


def answer(value: int) -> bytes:
    return backend.executed(backend.row(backend.int4(value)))


def said(session: Session, data: bytes = b"") -> bytes:
    session.receive_data(data)
    return session.data_to_send()


def submit(session: Session, *operations: Any) -> None:
    for operation in operations:
        session.submit(operation)
