"""LookingUp: types that nobody has heard of yet, and how an operation asks for them.

An operation that meets such types asks the server's catalogue in the middle of its own
conversation, learns what they are (`pgtypes.catalog`), and goes on:

    Parse Bind Execute Close Flush|Sync  →  ParseComplete BindComplete DataRow… CommandComplete
                                            CloseComplete [ReadyForQuery]

Before its own Bind it ends the flight with Flush (and with a Sync behind that where a procedure is
to be called, which may want to commit). Where the types show when everything else is
said and done (in the results of a script, inside of records) it ends with Sync, and the outcome
waits for a second ReadyForQuery; until then the operation keeps the floor.

What a session has learned all that share its catalogue know, so this is done once per type,
server and database. The query names all it uses by schema, operators too: what a user has put on
the search path cannot get in between. The manual: "pg_type", "pg_attribute", "pg_enum",
"pg_range".
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes import fixed, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.pgtypes.text import decode_utf8, text_codec
from pgwire.protocol import backend, frontend
from pgwire.protocol.decoder import plain_decoder, row_decoder, whole_runs
from pgwire.protocol.messages import BackendMessage, TransactionStatus
from pgwire.protocol.operation import Phase, expect_empty
from pgwire.protocol.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pgwire.errors import PostgresError
    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.messages import Column
    from pgwire.protocol.session import Session
    from pgwire.protocol.statement import Statement

# A type may be made of types that are made of types. More rounds than this, and a server lies.
MAX_ROUNDS = 16
_MOST_TYPES = 10_000
_MULTIRANGES_SINCE = 140_000

_SQL = """\
SELECT t.oid, n.nspname::pg_catalog.text, t.typname::pg_catalog.text,
  CASE WHEN e.oid IS NULL THEN t.typtype::pg_catalog.text ELSE 'a' END,
  t.typarray, t.typdelim::pg_catalog.text,
  COALESCE(e.oid, r.rngsubtype, {multirange}, t.typbasetype),
  ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
    WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0
    AND NOT a.attisdropped ORDER BY a.attnum),
  ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
    WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0
    AND NOT a.attisdropped ORDER BY a.attnum),
  ARRAY(SELECT l.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum l
    WHERE l.enumtypid OPERATOR(pg_catalog.=) t.oid ORDER BY l.enumsortorder)
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) t.typelem
  AND e.typarray OPERATOR(pg_catalog.=) t.oid
LEFT JOIN pg_catalog.pg_range r ON r.rngtypid OPERATOR(pg_catalog.=) t.oid
WHERE t.oid OPERATOR(pg_catalog.=) ANY ({oids}::pg_catalog.oid[])"""
_MULTIRANGE = """\
(SELECT m.rngtypid FROM pg_catalog.pg_range m
    WHERE m.rngmultitypid OPERATOR(pg_catalog.=) t.oid)"""

_OIDS = array_codec(fixed.OID)
_texts = array_codec(text_codec("text", oids.TEXT, oids.TEXT_ARRAY)).decode
_oid = fixed.OID.decode
_DECODERS = (
    *(_oid, decode_utf8, decode_utf8, decode_utf8, _oid, decode_utf8, _oid),
    *(_texts, _OIDS.decode, _texts),
)
_decode = plain_decoder(_DECODERS)
_COLUMNS: Any = (None,) * len(_DECODERS)  # nobody asks for more than their number


def lookup_sql(session: Session, oids: str) -> str:
    """The question for types whose OIDs are an array in SQL."""
    known = session.server_version
    multirange = _MULTIRANGE if not known or known >= _MULTIRANGES_SINCE else "NULL"
    return _SQL.format(multirange=multirange, oids=oids)


def lookup_messages(session: Session, name: bytes, wanted: Iterable[int]) -> bytes:
    """Everything but the Flush or Sync; `name` is of a statement that is closed again."""
    sql = lookup_sql(session, "$1").encode() + b"\0"
    values: Any = _OIDS.encode(sorted(wanted))
    pack = frontend.pack_uint16
    parameters = pack(1) + pack(1) + pack(1) + frontend.pack_int32(len(values)) + values
    return (
        frontend.parse(name, sql)
        + frontend.bind(b"\0" + name + parameters + pack(1) + pack(1))
        + frontend.EXECUTE
        + frontend.close_statement(name)
    )


class LookingUp(Reading):
    """What the operations that may have to look types up have in common."""

    is_looking_up = False
    _found: Mapping[int, TypeInfo] = MappingProxyType({})
    _asked: frozenset[int] = frozenset()
    _rounds = 0

    def look_up(self, wanted: Iterable[int], then: Callable[[], None], *, late: bool) -> None:
        """Ask for these types, and for what they are made of; call `then` at the end.

        `late`: with a Sync of its own. The operation has the floor, and keeps it. Without
        `late`, `lookup_failed` is called instead where the server reports an error; with it,
        `then` is, and the types stay unknown.
        """
        self._wanted = frozenset(wanted)
        self._then = then
        self._is_late = late
        self._kept = getattr(self, "_columns", ()), getattr(self, "_decode", None), self._rows
        self.is_looking_up = True
        self._ask(self._wanted)

    def _ask(self, wanted: Iterable[int]) -> None:
        session = self.session
        self._rounds += 1
        self._asked |= frozenset(wanted)
        self._lookup_name = session.statements.new_name()
        self._columns, self._decode, self._rows = _COLUMNS, _decode, []
        end = frontend.SYNC if self._is_late else frontend.FLUSH
        session.write(lookup_messages(session, self._lookup_name, wanted) + end)
        self.phase = self.LOOKUP_PARSING

    def can_look_up_late(self, wanted: Iterable[int]) -> bool:
        """Whether the server would answer now, at ReadyForQuery, and has not been asked before."""
        session = self.session
        failed = session.transaction_status is TransactionStatus.IN_FAILED_TRANSACTION
        if failed or self.abandoned or session.is_for_replication:
            return False
        return not frozenset(wanted) <= self._asked and (
            session.floor is self or session.take_floor_again(self)
        )

    def use_types(self, statement: Statement) -> bool:
        """Have the statement know what was found. False: more has to be looked up first.

        Another thread may have types forgotten at any moment, because its connection was lost,
        say: what was found here is learned once more, and what was known before is asked for.
        """
        registry = self.session.registry
        statement.use(registry)
        while not statement.missing.isdisjoint(self._found):
            registry.catalog.learn(self._found.values())
            statement.use(registry)
        unasked = statement.missing - self._asked
        if not unasked or self._rounds >= MAX_ROUNDS or self.abandoned or self.error is not None:
            return True
        self.look_up(unasked, self._then, late=self._is_late)
        return False

    def lookup_failed(self, error: PostgresError) -> None:
        """The server skips everything up to our Sync."""
        raise NotImplementedError

    def _learn(self) -> None:
        registry = self.session.registry
        try:
            infos = [info_of(*row) for row in self._rows]
            self._found = {**self._found, **{info.oid: info for info in infos}}
        except DataError as error:
            if not self._is_late:  # else the types stay unknown, which is an error already
                self.error = self.error or error
        registry.catalog.learn(self._found.values())
        missing = registry.missing(self._wanted) - self._asked
        if missing and self._rounds < MAX_ROUNDS and len(missing) <= _MOST_TYPES:
            self._ask(missing)
            return
        self._end_lookup()
        self._then()

    def _end_lookup(self) -> None:
        self._columns, decode, self._rows = self._kept
        if decode is not None:
            self._decode = decode
        self.is_looking_up = False

    def end_flight(self, then: Callable[[], None]) -> None:
        """Sync, and call `then` at its ReadyForQuery: what comes next has its own transaction."""
        self._then = then
        self.session.write(frontend.SYNC)
        self.phase = self.LOOKED_UP

    # ---------------------------------------------------------------- types in the values

    def look_up_late(self) -> bool:
        """Rows could not be decoded: whether their types are being asked for.

        Then `finish` is called once more when they are.
        """
        error = self.error
        if isinstance(error, UnknownTypes) and error.oids <= self._found.keys():
            # Found before, and forgotten by another thread.
            self._unknown, self.error = error, None
            self.session.registry.catalog.learn(self._found.values())
            self._decode_late()
            return True
        if not isinstance(error, UnknownTypes) or not self.can_look_up_late(error.oids):
            return False
        self._unknown, self.error = error, None
        self.look_up(error.oids, self._decode_late, late=True)
        return True

    def _decode_late(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:  # abandoned
            self.error = self._unknown
        else:
            self._read_late(raw)
        self.finish()

    def steady_decoder(self, columns: tuple[Column, ...]) -> tuple[RowDecoder, set[int]]:
        """A decoder of these columns as they come, and the types that are not known to it."""
        registry = self.session.registry
        type_oids = [column.type_oid for column in columns]
        formats = [column.format for column in columns]
        while True:
            epoch, missing = registry.epoch, registry.missing(type_oids)
            decode = row_decoder(columns, formats, registry)
            # Else another thread has had some learned or forgotten meanwhile.
            if registry.epoch is epoch and registry.missing(type_oids) == missing:
                return decode, missing

    def _read_late(self, raw: list[bytes]) -> None:
        registry = self.session.registry
        for _ in range(MAX_ROUNDS):
            decode, missing = self.steady_decoder(self._columns)
            if missing:
                self.error, self._raw = UnknownTypes.of("row", missing), raw
            else:
                self._decode = whole_runs(decode)
                for run in raw:
                    self.on_rows(run, 0, len(run))
            error, left = self.error, self._raw
            if left is None or not isinstance(error, UnknownTypes) or error.oids - set(self._found):
                break
            # Another thread has had them forgotten, because its connection was lost, say.
            raw, self._raw, self.error = left, None, None
            registry.catalog.learn(self._found.values())
        else:
            self.error = self._unknown

    def finish(self) -> None:
        """Its ReadyForQuery has been read."""
        raise NotImplementedError

    # ---------------------------------------------------------------- what comes back

    def on_lookup_parsed(self, buffer: bytes, start: int, end: int) -> None:
        _check_parse_complete(buffer, start, end)
        self.phase = self.LOOKUP_BINDING

    def on_lookup_bound(self, buffer: bytes, start: int, end: int) -> None:
        _check_bind_complete(buffer, start, end)
        self.phase = self.LOOKUP_FETCHING

    def on_lookup_complete(self, buffer: bytes, start: int, end: int) -> None:
        backend.parse_command_tag(buffer, start, end)
        self.phase = self.LOOKUP_CLOSING

    def on_lookup_closed(self, buffer: bytes, start: int, end: int) -> None:
        _check_close_complete(buffer, start, end)
        if self._is_late:
            self.phase = self.LOOKUP_ENDING
        else:
            self._learn()

    def on_lookup_error(self, buffer: bytes, start: int, end: int) -> None:
        error = self.session.read_error(buffer, start, end)
        if self.done:  # a fatal one has ended it all
            return
        self.session.statements.closing.append(self._lookup_name)
        if self._is_late:
            self._rows = []
            self.phase = self.LOOKUP_ENDING
        else:
            self._end_lookup()
            self.lookup_failed(error)

    def on_lookup_ready(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        self._learn()

    def on_looked_up(self, buffer: bytes, start: int, end: int) -> None:
        self.take_status(buffer, start, end)
        self._then()

    LOOKUP_PARSING = Phase(
        "LOOKUP_PARSING",
        {
            BackendMessage.PARSE_COMPLETE: on_lookup_parsed,
            BackendMessage.ERROR_RESPONSE: on_lookup_error,
        },
    )
    LOOKUP_BINDING = Phase(
        "LOOKUP_BINDING",
        {
            BackendMessage.BIND_COMPLETE: on_lookup_bound,
            BackendMessage.ERROR_RESPONSE: on_lookup_error,
        },
    )
    LOOKUP_FETCHING = Phase(
        "LOOKUP_FETCHING",
        {
            BackendMessage.DATA_ROW: Reading.on_rows,
            BackendMessage.COMMAND_COMPLETE: on_lookup_complete,
            BackendMessage.ERROR_RESPONSE: on_lookup_error,
        },
    )
    LOOKUP_CLOSING = Phase(
        "LOOKUP_CLOSING",
        {
            BackendMessage.CLOSE_COMPLETE: on_lookup_closed,
            BackendMessage.ERROR_RESPONSE: on_lookup_error,
        },
    )
    LOOKUP_ENDING = Phase(
        "LOOKUP_ENDING",
        {
            BackendMessage.ERROR_RESPONSE: on_lookup_error,
            BackendMessage.READY_FOR_QUERY: on_lookup_ready,
        },
    )
    LOOKED_UP = Phase(
        "LOOKED_UP",
        {
            BackendMessage.ERROR_RESPONSE: Reading.on_error,
            BackendMessage.READY_FOR_QUERY: on_looked_up,
        },
    )
    LOOKUP_PHASES = (
        LOOKUP_PARSING,
        LOOKUP_BINDING,
        LOOKUP_FETCHING,
        LOOKUP_CLOSING,
        LOOKUP_ENDING,
    )


def info_of(*fields: Any) -> TypeInfo:
    """What a row of the answer says."""
    *plain, names, types, labels = fields
    if None in plain[:6] or None in names or None in types or None in labels:
        raise DataError("the server's catalogue of types has NULLs where there can be none")
    if len(plain[5]) != 1:
        raise DataError("the server's catalogue of types has a delimiter that cannot be one")
    part = plain[6] or 0
    return TypeInfo(*plain[:6], part, tuple(names), tuple(types), tuple(labels))  # type: ignore[call-arg]


_check_parse_complete = expect_empty("PARSE_COMPLETE")
_check_bind_complete = expect_empty("BIND_COMPLETE")
_check_close_complete = expect_empty("CLOSE_COMPLETE")
