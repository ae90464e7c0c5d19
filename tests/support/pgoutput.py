"""What a server says in a replication: builders of the messages of pgoutput, and their frames.

Written from the manual ("Logical Replication Message Formats", "Streaming Replication Protocol")
and not from our parser, so that a shared mistake is unlikely. Places in the log are ints, times
microseconds since 2000. `xid` is given where the transaction is streamed.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from tests.support import backend
from tests.support.backend import string

if TYPE_CHECKING:
    from collections.abc import Sequence


UNCHANGED = b"u"
NULL = b"n"


def keepalive(wal_end: int = 0, time: int = 0, *, wants_reply: bool = False) -> bytes:
    return backend.copy_data(b"k" + pack("!QqB", wal_end, time, wants_reply))


def xlog_data(data: bytes, start: int = 0, wal_end: int | None = None, time: int = 0) -> bytes:
    end = start if wal_end is None else wal_end
    return backend.copy_data(b"w" + pack("!QQq", start, end, time) + data)


# What is asked before it begins, and found: no types but those that are built in.
NO_TYPES = backend.row_description(backend.column("atttypid", 26))
NO_TYPES += backend.complete("SELECT 0") + backend.ready()


# ---------------------------------------------------------------- transactions


def begin(commit: int = 7, time: int = 0, xid: int = 1) -> bytes:
    return b"B" + pack("!QqI", commit, time, xid)


def commit(commit: int = 7, end: int = 8, time: int = 0, flags: int = 0) -> bytes:
    return b"C" + pack("!BQQq", flags, commit, end, time)


def origin(place: int, name: str) -> bytes:
    return b"O" + pack("!Q", place) + string(name)


def message(
    place: int, prefix: str, content: bytes, *, transactional: bool, xid: int | None = None
) -> bytes:
    head = _xid(xid) + pack("!BQ", transactional, place)
    return b"M" + head + string(prefix) + pack("!i", len(content)) + content


def _xid(xid: int | None) -> bytes:
    return b"" if xid is None else pack("!I", xid)


# ---------------------------------------------------------------- tables and types


def relation(
    oid: int,
    columns: Sequence[tuple[str, int, bool]],
    *,
    schema: str = "public",
    name: str = "t",
    identity: str = "d",
    xid: int | None = None,
) -> bytes:
    """Columns: name, the type's OID, whether it is part of the replica identity."""
    body = _xid(xid) + pack("!I", oid) + string(schema) + string(name) + identity.encode()
    body += pack("!H", len(columns))
    for column, type_oid, is_key in columns:
        body += pack("!B", is_key) + string(column) + pack("!Ii", type_oid, -1)
    return b"R" + body


def type_(oid: int, schema: str, name: str, xid: int | None = None) -> bytes:
    return b"Y" + _xid(xid) + pack("!I", oid) + string(schema) + string(name)


# ---------------------------------------------------------------- changes


def text(value: str) -> bytes:
    return b"t" + pack("!i", len(value.encode())) + value.encode()


def binary(value: bytes) -> bytes:
    return b"b" + pack("!i", len(value)) + value


def row(*values: bytes) -> bytes:
    """Of `text`, `binary`, NULL and UNCHANGED."""
    return pack("!H", len(values)) + b"".join(values)


def insert(oid: int, new: bytes, xid: int | None = None) -> bytes:
    return b"I" + _xid(xid) + pack("!I", oid) + b"N" + new


def update(
    oid: int,
    new: bytes,
    *,
    old: bytes | None = None,
    key: bytes | None = None,
    xid: int | None = None,
) -> bytes:
    return b"U" + _xid(xid) + pack("!I", oid) + _before(old, key) + b"N" + new


def delete(
    oid: int, *, old: bytes | None = None, key: bytes | None = None, xid: int | None = None
) -> bytes:
    return b"D" + _xid(xid) + pack("!I", oid) + _before(old, key)


def _before(old: bytes | None, key: bytes | None) -> bytes:
    if old is not None:
        return b"O" + old
    return b"" if key is None else b"K" + key


def truncate(*oids: int, options: int = 0, xid: int | None = None) -> bytes:
    return b"T" + _xid(xid) + pack(f"!IB{len(oids)}I", len(oids), options, *oids)


# ---------------------------------------------------------------- streamed transactions


def stream_start(xid: int, *, first: bool = True) -> bytes:
    return b"S" + pack("!IB", xid, first)


STREAM_STOP = b"E"


def stream_commit(xid: int, commit: int = 7, end: int = 8, time: int = 0) -> bytes:
    return b"c" + pack("!IBQQq", xid, 0, commit, end, time)


def stream_abort(xid: int, sub_xid: int, parallel: tuple[int, int] | None = None) -> bytes:
    """`parallel`: the place and the time that are told with streaming = parallel."""
    more = b"" if parallel is None else pack("!Qq", *parallel)
    return b"A" + pack("!II", xid, sub_xid) + more


# ---------------------------------------------------------------- two-phase commit


def prepared(code: str, place: int, end: int, time: int, xid: int, gid: str) -> bytes:
    """b, P, K or p: BeginPrepare, Prepare, CommitPrepared, StreamPrepare."""
    flags = b"" if code == "b" else b"\0"
    return code.encode() + flags + pack("!QQqI", place, end, time, xid) + string(gid)


def rollback_prepared(place: int, end: int, times: tuple[int, int], xid: int, gid: str) -> bytes:
    return b"r\0" + pack("!QQqqI", place, end, *times, xid) + string(gid)
