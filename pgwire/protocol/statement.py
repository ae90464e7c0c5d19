"""Statement: a prepared statement as the server knows it, and the cache of them.

A statement belongs to one session. What is decided once per statement is kept here: how its
parameters are encoded, which formats its results are asked for in, how they are decoded, and
whether it may change the session.

The cache maps SQL text to statements; those that are not used go first. What falls out, or
is closed by its user, is closed on the server with the next flight that anybody sends: the
names to close wait in `closing`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError
from pgwire.pgtypes.packing import packed_kind
from pgwire.protocol import frontend
from pgwire.protocol.binding import can_generate, generate_bind
from pgwire.protocol.changes import changes_session, is_fleeting
from pgwire.protocol.decoder import (
    column_decoders,
    for_large,
    plain_decoder,
    result_formats,
    whole_runs,
)
from pgwire.protocol.encoder import ParameterEncoder, all_binary, miscounted
from pgwire.protocol.frontend import pack_int32
from pgwire.protocol.generated import generate
from pgwire.protocol.messages import MAX_COLUMNS
from pgwire.protocol.rows import row_class
from pgwire.protocol.shapes import shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.binding import Bind
    from pgwire.protocol.messages import Column

UNNAMED = b"\0"

# So many bytes of rows at once: to compile their decoder takes less time than it saves.
_MANY_BYTES = 16_384
_MOST_TOLD_APART = 1000

# What the server reports of a statement that is not what it was (see `query`).
# "cache lookup failed for type …" is an internal error: a type was dropped, and perhaps made anew.
TYPE_GONE = "XX000"
_NO_SUCH_TYPE = "42704"
# A part of a composite value or an array is not of the type that the server has for it now.
TYPE_CHANGED = "42804"
TYPE_STATES = frozenset({TYPE_GONE, TYPE_CHANGED})
# A parameter keeps the type that it had: where a column has got another, or the search path leads
# to another type of that name, the server finds no operator or function (42883), no cast (42846).
PLAN_CHANGED = "0A000"
STALE_STATES = TYPE_STATES | {PLAN_CHANGED, "26000", _NO_SUCH_TYPE, "42846", "42883"}
# At Execute: a plan has types that were altered or dropped, which the server does not see.
PLAN_STATES = TYPE_STATES | {_NO_SUCH_TYPE, "22P03"}
# At Bind: a value is none of the parameter's type, which may be what its column had before.
VALUE_STATES = frozenset({"22003", "22007", "22008", "22P02", "22P03"})


class Statement:
    """One prepared statement; `name` ends with NUL, as messages want it."""

    __slots__ = (
        "_bind_head",
        "_bind_length",
        "_bind_tail",
        "_codecs",
        "_decoders",
        "_parts",
        "bind_query",
        "bind_record",
        "changes_session",
        "columns",
        "decode_large",
        "decode_rows",
        "epoch",
        "is_fleeting",
        "is_generated",
        "is_gone",
        "is_open",
        "missing",
        "name",
        "parameter_oids",
        "registry",
        "row_class",
        "sql",
        "successor",
        "used",
    )

    def __init__(
        self,
        name: bytes,
        sql: str,
        parameter_oids: tuple[int, ...],
        columns: tuple[Column, ...],
        registry: TypeRegistry,
    ) -> None:
        self.name = name
        self.sql = sql
        self.parameter_oids = parameter_oids
        self.changes_session = changes_session(sql)
        self.used = False  # since the cache has looked at it last
        self.is_fleeting = is_fleeting(sql)
        self.is_gone = self.is_fleeting  # see `StatementCache.forget`
        # What was prepared in its place, where it is its user's: he goes on with that.
        self.successor: Statement | None = None
        self.columns = columns
        self.row_class = row_class(tuple([column.name for column in columns]))
        self._bind_head = b"\0" + name  # the unnamed portal
        self.use(registry)

    def use(self, registry: TypeRegistry) -> None:
        """Encode and decode with this registry from now on (the time zone has changed, say).

        `epoch` is the registry's own, as long as its codecs are what they are now; None where
        some types are `missing`, that is, not known to it yet.
        """
        self.registry = registry
        epoch = registry.epoch
        type_oids = [column.type_oid for column in self.columns]
        named = [*type_oids, *self.parameter_oids]
        # First: what another thread learns meanwhile was not known to all codecs.
        missing = registry.missing(named)
        # Whether there may be types in the values of which the server has not told before.
        self.is_open = any(registry.codec(oid).is_open for oid in type_oids)
        formats = result_formats(self.columns, registry)
        # Described before it was bound, so the server could not say which formats will come.
        self.columns = tuple(
            column._replace(format=fmt) for column, fmt in zip(self.columns, formats, strict=True)
        )
        self._decoders = column_decoders(self.columns, formats, registry)
        decode = plain_decoder(self._decoders)
        self.decode_rows = whole_runs(decode) if self.is_open else decode
        decode = plain_decoder(list(map(for_large, self._decoders)))
        self.decode_large = whole_runs(decode) if self.is_open else decode
        self.is_generated = False
        self._codecs = [registry.codec(oid) for oid in self.parameter_oids]
        self._parts = ParameterEncoder(self._codecs).parts
        pack = frontend.pack_uint16
        self._bind_tail = pack(len(formats)) + b"".join(map(pack, formats))
        self._bind_length = 4 + len(self._bind_head) + len(self._bind_tail)
        # Last again: what it has had forgotten meanwhile is missing, even if it is known again.
        self.missing = missing | registry.missing(named)
        if registry.epoch is not epoch:
            self.missing |= registry.catalog.made_of(named)
        self.epoch = None if self.missing or self.is_fleeting else epoch
        # Bind and what goes behind it: for a query by itself, and for one record of many.
        self.bind_query: Bind = partial(self._bind, frontend.EXECUTE + frontend.SYNC)
        self.bind_record: Bind = partial(self._bind, frontend.EXECUTE)

    def __repr__(self) -> str:
        return f"<Statement {self.name[:-1].decode() or 'unnamed'}: {self.sql!r}>"

    def newest(self) -> Statement:
        """What has been prepared last in its place; itself, if nothing has."""
        statement = self
        while statement.successor is not None:
            statement = statement.successor
        return statement

    def generate(self) -> None:
        """Replace the plain decoder by a generated one.

        Compiling takes as long as a query, so it is done when a statement is used again.
        """
        self.is_generated = True
        # Code for as many columns as a server may make up takes two gigabytes to compile.
        if len(self.columns) <= MAX_COLUMNS:
            codecs = [self.registry.codec(column.type_oid) for column in self.columns]
            decode = generate(list(map(shape_of, self._decoders, codecs)))
            self.decode_rows = whole_runs(decode) if self.is_open else decode
        parameters = [packed_kind(codec) for codec in self._codecs]
        if not parameters:
            self.bind_query = _constant(self.bind_query)
            self.bind_record = _constant(self.bind_record)
        elif can_generate([kind for kind, _ in parameters]):
            self.bind_query = self._generate_bind(parameters, frontend.EXECUTE + frontend.SYNC)
            self.bind_record = self._generate_bind(parameters, frontend.EXECUTE)

    def decode_first(
        self, buffer: bytes, position: int, size: int, rows: list[tuple[Any, ...]]
    ) -> int:
        """The rows of a statement that is used for the first time, and perhaps the last."""
        if size - position > _MANY_BYTES and not self.is_generated:
            self.generate()
        return self.decode_rows(buffer, position, size, rows)

    def _generate_bind(self, kinds: Sequence[Any], behind: bytes) -> Bind:
        head = self._bind_head + all_binary(len(kinds))
        length = 4 + len(head) + len(self._bind_tail)
        tail = self._bind_tail + behind
        names, functions = zip(*kinds, strict=True)
        return generate_bind(names, functions, length, head, tail, partial(self._bind, behind))

    @property
    def parameter_types(self) -> tuple[str, ...]:
        """The names of the parameters' types."""
        return tuple([codec.name for codec in self._codecs])

    def bind(self, params: Sequence[Any]) -> bytes:
        """The Bind message by itself. Raises before anything is written: see `encoder`."""
        return self._bind(b"", params)

    def _bind(self, behind: bytes, params: Sequence[Any]) -> bytes:
        """The Bind message and what goes behind it; the plain twin of what is generated."""
        if len(params) > len(self.parameter_oids):
            raise self._too_many(params)
        values = self._parts(params)
        length = self._bind_length + sum(map(len, values))
        if length > frontend.MAX_LARGE_MESSAGE:
            raise frontend.too_long(length)
        return b"".join(
            (b"B", pack_int32(length), self._bind_head, *values, self._bind_tail, behind)
        )

    def _too_many(self, params: Sequence[Any]) -> ProgrammingError:
        from pgwire.protocol.misplaced import miscount_hint  # most programs never need it

        count = len(self.parameter_oids)
        error = miscounted(count, len(params))
        hint = miscount_hint(self.sql, count)
        return ProgrammingError(f"{error}; {hint}") if hint else error


def _constant(plain: Bind) -> Bind:
    """What builds the one message of a statement that has no parameters."""
    message = plain(())

    def bind(params: Sequence[Any]) -> bytes:
        return plain(params) if params else message

    return bind


class StatementCache:
    """The statements prepared by themselves, at most `size` of them; 0 means none are kept.

    To note each use in the order of a dict would cost more than to find the statement. So a
    use is noted at the statement (`used`), and who has to go is found when one has to: the
    oldest that has not been used since it was passed over last ("second chance").
    """

    __slots__ = ("_prefix", "_told_apart", "closing", "get", "known", "next_number", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.closing: list[bytes] = []  # names of statements, and of portals behind a NUL
        self.next_number = 1
        self._prefix = b"_pgwire_"
        self._told_apart: set[str] = set()
        self.known: dict[str, Statement] = {}  # by SQL
        self.get = self.known.get  # who finds one notes its use

    def __len__(self) -> int:
        return len(self.known)

    def tell_apart(self, pid: int) -> None:
        """Have names that sessions with other process ids do not use.

        A pooler may change servers between two transactions. Where all sessions count alike, a
        name may there be that of another session's statement, which would be run in silence; now
        it is unknown, which is an error. (PgBouncer makes up a process id for each client.)
        """
        self._prefix = b"_pgwire_%x_" % (pid & 0xFFFF_FFFF)

    def new_name(self) -> bytes:
        """A name that this session has not used yet."""
        name = b"%b%d\0" % (self._prefix, self.next_number)
        self.next_number += 1
        return name

    def tell_text_apart(self, sql: str) -> bool:
        """Have this text be another one from now on, wherever it is sent; False if it is already.

        PgBouncer has equal texts share one statement on the server, and prepares none anew. Where
        its plan does not fit any more, it is of use to nobody, whoever comes.
        """
        told_apart = self._told_apart
        if sql in told_apart:
            return False
        if len(told_apart) >= _MOST_TOLD_APART:
            told_apart.clear()
        told_apart.add(sql)
        return True

    def text(self, sql: str, name: bytes) -> str:
        """What is sent for it, as the statement of this name."""
        return f"{sql}\n/* {name[:-1].decode()} */" if sql in self._told_apart else sql

    def put(self, statement: Statement) -> None:
        """Keep a statement; whatever falls out is closed with the next flight."""
        replaced = self.known.pop(statement.sql, None)
        if replaced is not None:  # prepared twice, by operations submitted together
            self.closing.append(replaced.name)
        elif len(self.known) >= self.size:
            self.closing.append(self._pop_unused().name)
        self.known[statement.sql] = statement

    def _pop_unused(self) -> Statement:
        known = self.known
        while True:
            sql, statement = next(iter(known.items()))
            del known[sql]
            if not statement.used:
                return statement
            statement.used = False
            known[sql] = statement

    def forget(self, statement: Statement) -> None:
        """The server says that the statement is stale or unknown, or its user wants it no more.

        Whoever still has it prepares it anew. That he has to shows in its `epoch`, where everybody
        looks before he uses one.
        """
        if self.known.get(statement.sql) is statement:
            del self.known[statement.sql]
        if not statement.is_gone:
            statement.is_gone, statement.epoch = True, None
            self.closing.append(statement.name)

    def forget_all(self) -> None:
        """The server has dropped every statement (DEALLOCATE ALL, DISCARD ALL)."""
        self.known.clear()
        self.closing.clear()

    def take_closing(self) -> list[bytes]:
        """The names that are to be closed now; the caller writes the Close messages.

        The unnamed statement may be another one by now, and goes when the next one comes.
        """
        closing, self.closing = self.closing, []
        return [name for name in closing if name != UNNAMED]
