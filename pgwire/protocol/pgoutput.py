"""PgOutput: reads what the plugin pgoutput writes (manual: "Logical Replication Message Formats").

A reader keeps what it was told of tables: a change names its table by a number, and its values
have no types. What a transaction that is streamed tells of tables counts for that transaction
alone until it is committed, as others may come in between.

What is no such message raises `ProtocolError`; a value that cannot be read, `UnreadableValue`, and
the reader goes on with the next message. Values are read by the types of their columns, in text
and in binary. Of a type that is not known the text is `str`, and so is that of a composite type
that has been altered; types whose binary format is not read here give `bytes` where the server
sends that.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProtocolError
from pgwire.pgtypes.lsn import Lsn
from pgwire.pgtypes.row import Row, row_class
from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol import logical
from pgwire.protocol.decoder import from_text
from pgwire.protocol.logical import UNCHANGED, ReplicationMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.decoder import ValueDecoder

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_IDENTITIES = {ord("d"): "default", ord("n"): "nothing", ord("f"): "full", ord("i"): "index"}
_CASCADE, _RESTART_IDENTITY = 1, 2
_IS_KEY = _IS_TRANSACTIONAL = 1

_int32 = Struct("!i").unpack_from
_uint32 = Struct("!I").unpack_from
_uint16 = Struct("!H").unpack_from
_uint64 = Struct("!Q").unpack_from
_int64 = Struct("!q").unpack_from

_NULL, _TOAST, _TEXT, _BINARY = b"nutb"
_NEW, _OLD, _KEY = b"NOK"


class UnreadableValue(Exception):
    """A value is not what its type allows, or the user's own decoder has raised `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Cursor:
    """Reads one message field by field; IndexError, StructError and others where there is none."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 1

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def uint16(self) -> int:
        self.at += 2
        return int(_uint16(self.data, self.at - 2)[0])

    def int32(self) -> int:
        self.at += 4
        return int(_int32(self.data, self.at - 4)[0])

    def uint32(self) -> int:
        self.at += 4
        return int(_uint32(self.data, self.at - 4)[0])

    def lsn(self) -> Lsn:
        self.at += 8
        return Lsn(_uint64(self.data, self.at - 8)[0])

    def moment(self) -> datetime:
        self.at += 8
        microseconds: int = _int64(self.data, self.at - 8)[0]
        return _EPOCH + _MICROSECOND * microseconds

    def string(self) -> str:
        start, stop = self.at, self.data.index(0, self.at)
        self.at = stop + 1
        return self.data[start:stop].decode(errors="backslashreplace")

    def sized(self) -> bytes:
        length = self.int32()
        start, self.at = self.at, self.at + length
        if length < 0 or self.at > len(self.data):
            raise IndexError
        return self.data[start : self.at]

    def prepared(self) -> tuple[Lsn, Lsn, datetime, int, str]:
        """What most messages of two-phase commit have."""
        return self.lsn(), self.lsn(), self.moment(), self.uint32(), self.string()


class PgOutput:
    """See the module. `registry` gives the codecs, anew for each `Relation`."""

    def __init__(self, registry: Callable[[], TypeRegistry]) -> None:
        self._registry = registry
        self._tables: dict[int, _Table] = {}
        # Of each transaction that is streamed and not at its end.
        self._streamed: dict[int, dict[int, _Table]] = {}
        self._stream: int | None = None  # the transaction that is being streamed right now

    def parse(self, lsn: Lsn, data: bytes) -> ReplicationMessage:
        """One message. Raises `ProtocolError` and `UnreadableValue`; see the module."""
        code = data[:1]
        read = _READERS.get(code)
        if read is None:
            raise ProtocolError(f"the server sent an unknown replication message {code!r}")
        cursor = _Cursor(data)
        message: ReplicationMessage
        try:
            in_stream = self._stream is not None and code in _WITH_XID
            message = read(self, lsn, cursor, cursor.uint32() if in_stream else None)
        except (IndexError, KeyError, ValueError, OverflowError, StructError):
            raise _malformed(code) from None
        if cursor.at != len(data):
            raise _malformed(code)
        return message

    # ---------------------------------------------------------------- tables

    def on_relation(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        oid, schema, name = cursor.uint32(), cursor.string(), cursor.string()
        identity = _IDENTITIES[cursor.byte()]
        columns = []
        for _ in range(cursor.uint16()):
            flags, column = cursor.byte(), cursor.string()
            type_oid, modifier = cursor.uint32(), cursor.int32()
            is_key = bool(flags & _IS_KEY)
            columns.append(logical.RelationColumn(column, type_oid, modifier, is_key))
        schema = schema or "pg_catalog"
        relation = logical.Relation(lsn, oid, schema, name, identity, tuple(columns), xid)
        tables = self._tables if self._stream is None else self._streamed[self._stream]
        tables[oid] = _Table(relation, self._registry())
        return relation

    def on_type(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        oid, schema, name = cursor.uint32(), cursor.string(), cursor.string()
        return logical.ColumnType(lsn, oid, schema or "pg_catalog", name, xid)

    def _table(self, oid: int) -> _Table:
        table = None if self._stream is None else self._streamed[self._stream].get(oid)
        table = table or self._tables.get(oid)
        if table is None:
            raise ProtocolError(f"the server sent a change of table {oid}, and not what that is")
        return table

    # ---------------------------------------------------------------- changes

    def on_insert(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        table = self._table(cursor.uint32())
        return logical.Insert(lsn, table.relation, table.new_row(cursor), xid)

    def on_update(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        table = self._table(cursor.uint32())
        old, key = table.row_before(cursor)
        return logical.Update(lsn, table.relation, table.new_row(cursor), old, key, xid)

    def on_delete(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        table = self._table(cursor.uint32())
        old, key = table.row_before(cursor)
        if old is None and key is None:
            raise IndexError
        return logical.Delete(lsn, table.relation, old, key, xid)

    def on_truncate(self, lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        count, options = cursor.uint32(), cursor.byte()
        if 4 * count > len(cursor.data):
            raise IndexError
        relations = [self._table(cursor.uint32()).relation for _ in range(count)]
        cascade, restart = bool(options & _CASCADE), bool(options & _RESTART_IDENTITY)
        return logical.Truncate(lsn, tuple(relations), cascade, restart, xid)

    def on_message(self, _lsn: Lsn, cursor: _Cursor, xid: int | None) -> ReplicationMessage:
        transactional = bool(cursor.byte() & _IS_TRANSACTIONAL)
        return logical.LogicalMessage(
            cursor.lsn(), transactional, cursor.string(), cursor.sized(), xid
        )

    # ---------------------------------------------------------------- transactions

    def on_begin(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        return logical.Begin(lsn, cursor.lsn(), cursor.moment(), cursor.uint32())

    def on_commit(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        cursor.byte()  # flags, which say nothing yet, here and below
        return logical.Commit(lsn, cursor.lsn(), cursor.lsn(), cursor.moment())

    def on_origin(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        return logical.Origin(lsn, cursor.lsn(), cursor.string())

    def on_begin_prepare(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        return logical.BeginPrepare(lsn, *cursor.prepared())

    def on_prepare(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        cursor.byte()
        return logical.Prepare(lsn, *cursor.prepared())

    def on_commit_prepared(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        cursor.byte()
        return logical.CommitPrepared(lsn, *cursor.prepared())

    def on_rollback_prepared(
        self, lsn: Lsn, cursor: _Cursor, _xid: int | None
    ) -> ReplicationMessage:
        cursor.byte()
        places = cursor.lsn(), cursor.lsn()
        moments = cursor.moment(), cursor.moment()
        return logical.RollbackPrepared(lsn, *places, *moments, cursor.uint32(), cursor.string())

    # ---------------------------------------------------------------- streamed transactions

    def on_stream_start(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        xid, first = cursor.uint32(), cursor.byte()
        if self._stream is not None:
            raise ProtocolError("the server streams a transaction in the middle of another")
        self._stream = xid
        self._streamed.setdefault(xid, {})
        return logical.StreamStart(lsn, xid, bool(first))

    def on_stream_stop(self, lsn: Lsn, _cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        if self._stream is None:
            raise ProtocolError(
                "the server ends the streaming of a transaction that it has not begun"
            )
        self._stream = None
        return logical.StreamStop(lsn)

    def on_stream_commit(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        xid = cursor.uint32()
        cursor.byte()
        self._tables.update(self._streamed.pop(xid, {}))
        return logical.StreamCommit(lsn, xid, cursor.lsn(), cursor.lsn(), cursor.moment())

    def on_stream_abort(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        xid, sub_xid = cursor.uint32(), cursor.uint32()
        if xid == sub_xid:
            self._streamed.pop(xid, None)
        if cursor.at == len(cursor.data):
            return logical.StreamAbort(lsn, xid, sub_xid)
        return logical.StreamAbort(lsn, xid, sub_xid, cursor.lsn(), cursor.moment())

    def on_stream_prepare(self, lsn: Lsn, cursor: _Cursor, _xid: int | None) -> ReplicationMessage:
        cursor.byte()
        message = logical.StreamPrepare(lsn, *cursor.prepared())
        self._tables.update(self._streamed.pop(message.xid, {}))
        return message


# Those that begin with the transaction's number where it is streamed.
_WITH_XID = frozenset({b"I", b"U", b"D", b"R", b"Y", b"T", b"M"})
_READERS: dict[bytes, Callable[[PgOutput, Lsn, _Cursor, int | None], ReplicationMessage]] = {
    b"B": PgOutput.on_begin,
    b"C": PgOutput.on_commit,
    b"O": PgOutput.on_origin,
    b"R": PgOutput.on_relation,
    b"Y": PgOutput.on_type,
    b"I": PgOutput.on_insert,
    b"U": PgOutput.on_update,
    b"D": PgOutput.on_delete,
    b"T": PgOutput.on_truncate,
    b"M": PgOutput.on_message,
    b"S": PgOutput.on_stream_start,
    b"E": PgOutput.on_stream_stop,
    b"c": PgOutput.on_stream_commit,
    b"A": PgOutput.on_stream_abort,
    b"b": PgOutput.on_begin_prepare,
    b"P": PgOutput.on_prepare,
    b"K": PgOutput.on_commit_prepared,
    b"r": PgOutput.on_rollback_prepared,
    b"p": PgOutput.on_stream_prepare,
}


def _malformed(code: bytes) -> ProtocolError:
    return ProtocolError(f"the server sent a malformed replication message {code!r}")


class _Table:
    """What is needed to read rows of a table, as it looks at the moment."""

    def __init__(self, relation: logical.Relation, registry: TypeRegistry) -> None:
        self.relation = relation
        columns = relation.columns
        self._decoders = [_decoders(column.type_oid, registry) for column in columns]
        self._row_class = row_class(tuple([column.name for column in columns]))
        self._keys = [index for index, column in enumerate(columns) if column.is_key]
        self._key_class = row_class(tuple([columns[index].name for index in self._keys]))

    def new_row(self, cursor: _Cursor) -> Row:
        if cursor.byte() != _NEW:
            raise IndexError
        return self._row_class(self._values(cursor))

    def row_before(self, cursor: _Cursor) -> tuple[Row | None, Row | None]:
        """All of the row as it was, or its key, or neither."""
        kind = cursor.byte()
        if kind == _OLD:
            return self._row_class(self._values(cursor)), None
        if kind == _KEY:  # with NULLs for what is none
            values = self._values(cursor)
            return None, self._key_class([values[index] for index in self._keys])
        cursor.at -= 1
        return None, None

    def _values(self, cursor: _Cursor) -> list[Any]:
        if cursor.uint16() != len(self._decoders):
            raise IndexError
        data, at = cursor.data, cursor.at
        values: list[Any] = []
        for decoders in self._decoders:
            kind = data[at]
            at += 1
            if kind == _NULL:
                values.append(None)
            elif kind == _TOAST:
                values.append(UNCHANGED)
            else:
                (length,) = _int32(data, at)
                at += 4
                stop = at + length
                if length < 0 or stop > len(data):
                    raise IndexError
                decode = decoders[kind]
                try:
                    values.append(decode(data, at, stop))
                except Exception as error:
                    raise self._unreadable(error, len(values)) from None
                at = stop
        cursor.at = at
        return values

    def _unreadable(self, error: Exception, index: int) -> UnreadableValue:
        relation = self.relation
        column = relation.columns[index].name
        error.add_note(f"in a change of {relation.schema}.{relation.name}, column {column!r}")
        return UnreadableValue(error)


def _decoders(oid: int, registry: TypeRegistry) -> dict[int, ValueDecoder]:
    """By the format."""
    codec = registry.known(oid)
    if codec is None:
        return {_TEXT: decode_utf8, _BINARY: _as_it_is}
    binary = codec.decode if codec.has_binary else _as_it_is
    text = from_text(codec.decode_text)
    infos = registry.catalog.infos
    if any(infos[part].kind == "c" for part in registry.catalog.made_of([oid])):
        text = partial(_or_text, text)  # it may have been altered, before or since
    return {_TEXT: text, _BINARY: binary}


def _or_text(decode: ValueDecoder, buffer: bytes, start: int, end: int) -> Any:
    """The value, or else its text."""
    try:
        return decode(buffer, start, end)
    except DataError:
        return decode_utf8(buffer, start, end)


def _as_it_is(buffer: bytes, start: int, end: int) -> bytes:
    return buffer[start:end]
