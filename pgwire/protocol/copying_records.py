"""CopyRecords: COPY of Python's values, typed by the table that they go to.

    Parse Describe [Parse Bind Execute Close] Flush   →  … RowDescription [… DataRow …]
    Parse Bind Execute Flush                          →  … CopyInResponse
    CopyData… CopyDone Sync                           →  CommandComplete ReadyForQuery

The first Parse is of a SELECT of the columns. It tells their types, and locks the table until our
Sync, so that no column can become another before the data are there. Where all columns are meant
the catalogue is asked which of them are generated, and so take no data.

Records go in binary format as long as each value can; the first that cannot ends that COPY, and
another one in text format goes on with it. Both are within the same implicit transaction. Where
a column's type has no binary format all of them are text.

What is known of a composite may be older than the table. Where a record of the first chunk does not
fit it, its types are asked for once more before the COPY begins, and these records encoded anew.
Where the server is the one to notice, records have been sent, and may be gone: the types are
forgotten, and the next COPY goes. To ask each time would have every COPY into such a table pay for
what hardly ever happens.
"""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes import fixed
from pgwire.pgtypes.codec import NeedsText
from pgwire.protocol import frontend
from pgwire.protocol.copying import DONE, Sending
from pgwire.protocol.decoder import plain_decoder
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Phase
from pgwire.protocol.preparing import Preparing
from pgwire.protocol.progress import meter_for
from pgwire.protocol.quoting import quote_identifier
from pgwire.protocol.records import BinaryRecords, TextRecords
from pgwire.protocol.sources import CHUNK, Held, Inlet, records_of
from pgwire.protocol.statement import PLAN_STATES, UNNAMED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgwire.errors import PostgresError
    from pgwire.pgtypes import Codec
    from pgwire.protocol.progress import ProgressCallback
    from pgwire.protocol.session import Session
    from pgwire.protocol.statement import Statement

_GENERATED = b"""\
SELECT a.attnum FROM pg_catalog.pg_attribute a
WHERE a.attrelid OPERATOR(pg_catalog.=) $1::pg_catalog.regclass
AND a.attgenerated OPERATOR(pg_catalog.<>) ''::pg_catalog."char\""""
_GENERATED_SINCE = 120_000
_decode_numbers = plain_decoder((fixed.INT2.decode,))
_NUMBERS: Any = (None,)  # the columns of that query: nobody asks for more than their count

_UNDEFINED_TABLE = "42P01"

# How many records are encoded in one go, at first and at most; in between as many as fill a chunk.
_FIRST, _MOST = 64, 1024
# Where the server names the record that it could not take, in whatever language.
_LINE = re.compile(r"\D*(\d{1,18})", re.ASCII)


class CopyRecords(Sending, Preparing):
    """COPY of an iterable of records, or an `Inlet` of them; `result` is their number.

    Errors carry the number of their record, from 0, as `record_index`, and the name of the column
    as `record_column`.
    """

    kind = "copy_records"
    _format: BinaryRecords | TextRecords
    _typed: Sequence[tuple[str, Codec]] = ()  # the columns, once they are known

    def __init__(
        self,
        table: str,
        records: Any,
        columns: Sequence[str] | None = None,
        schema: str | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        quoted = quote_identifier(table)
        self._table = table
        self._target = quoted if schema is None else f"{quote_identifier(schema)}.{quoted}"
        self._names = None if columns is None else _checked_names(columns)
        selected = "*" if self._names is None else ", ".join(map(quote_identifier, self._names))
        super().__init__(f"SELECT {selected} FROM {self._target}")
        self._meter = meter_for(progress)
        self._inlet = records if isinstance(records, Inlet) else None
        self._records: Iterator[Any] = records_of(records) if self._inlet is None else self._inlet
        self._generated: set[int] = set()
        self._block = b""  # the next of the data, encoded already
        self._batch = _FIRST
        self._is_dry = False  # there was nothing more to be had
        self._taken = self._begun_at = 0  # records; how many before the present COPY
        self._for_text: list[Any] = []  # the record that cannot be sent in binary format

    # ---------------------------------------------------------------- the columns

    def begin(self, session: Session) -> bool:
        if session.waits_for_answers(self):
            return True
        known = session.server_version
        self._asks_generated = self._names is None and not 0 < known < _GENERATED_SINCE
        asked = self._generated_messages(session) if self._asks_generated else b""
        self._write_parse(session, UNNAMED, asked + frontend.FLUSH)
        return True

    def _generated_messages(self, session: Session) -> bytes:
        """What asks for the numbers of the columns that are generated."""
        self._lookup_name = name = session.statements.new_name()
        value = self._target.encode()
        pack = frontend.pack_uint16
        parameters = pack(0) + pack(1) + frontend.pack_int32(len(value)) + value + pack(1) + pack(1)
        return (
            frontend.parse(name, _GENERATED + b"\0")
            + frontend.bind(b"\0" + name + parameters)
            + frontend.EXECUTE
            + frontend.close_statement(name)
        )

    def go_on(self, statement: Statement) -> None:
        if self._asks_generated:
            self._is_late = False
            self._kept = self._columns, None, []
            self._columns, self._decode, self._rows = _NUMBERS, _decode_numbers, []
            self.phase = self.LOOKUP_PARSING
        else:
            self._learn_types(statement)

    def _learn(self) -> None:
        if self._asks_generated:
            self._asks_generated = False
            self._generated = {number for (number,) in self._rows}
            self._end_lookup()
            assert self.statement is not None
            self._learn_types(self.statement)
        else:
            super()._learn()

    def _learn_types(self, statement: Statement) -> None:
        self._then, self._is_late = self._types_known, False
        if statement.missing and not self.abandoned:
            self.look_up(statement.missing, self._types_known, late=False)
        else:
            self._types_known()

    def _types_known(self) -> None:
        statement = self.statement
        assert statement is not None
        if not self.use_types(statement):
            return
        codec = self.session.registry.codec
        self._typed = [
            (column.name, codec(column.type_oid))
            for column in statement.columns
            if column.column_number not in self._generated
        ]
        # The server may have no binary format of a type at all, not even for a NULL.
        is_binary = all(codec.has_binary for _, codec in self._typed)
        self._format = BinaryRecords(self._typed) if is_binary else TextRecords(self._typed)
        self.phase = self.GATHERING

    def parse_failed(self, error: PostgresError) -> None:
        self.note_error(error)
        self._write_sync()

    lookup_failed = parse_failed

    def _write_sync(self, before: bytes = b"") -> None:
        self.session.write(before + frontend.SYNC)
        self.end(self.ENDING)

    # ---------------------------------------------------------------- writing

    def write_more(self) -> None:
        if self.phase is not self.GATHERING:
            super().write_more()
            return
        if not self.abandoned and self.error is None:
            try:
                self._gather()
            except BaseException as error:
                self.blame(error)
        if self.abandoned or self.error is not None:
            self._write_sync(frontend.POISON)

    def _gather(self) -> None:
        """With the first records it is known in which format they can be sent."""
        if not self._take_first():
            return
        if self._for_text and not self._block:
            self._go_on_as_text()
            self._take()
        if not self._block and not self._has_ended:
            self._ask_inlet()
            return
        names = ", ".join(quote_identifier(name) for name, _ in self._typed)
        columns = f" ({names})" if names else ""
        kind = "binary" if isinstance(self._format, BinaryRecords) else "text"
        self.sql = f"COPY {self._target}{columns} FROM STDIN (FORMAT {kind})"
        self.write_copy(self.session, self.sql, frontend.FLUSH)
        self._block = self._format.header + self._block
        self.phase = self.COPY_PARSING

    def _take_first(self) -> bool:
        """What may have to be encoded anew. False: its types are asked for once more before."""
        source = self._records
        outdated = set() if self._taken or self._begun_at else self._types() - self._asked
        if not outdated:
            self._take()
            return True
        self._records = held = Held(source)
        try:
            self._take()
        except DataError:
            if held.has_failed:
                raise
            source = self._put_back(held.taken, source)
            self._block, self._batch, self._taken, self._is_dry = b"", _FIRST, 0, False
            self.session.registry.catalog.forget(outdated)
            self.look_up(outdated, self._types_known, late=False)
            return False
        finally:
            self._records = source
        return True

    def _put_back(self, records: list[Any], source: Iterator[Any]) -> Iterator[Any]:
        if self._inlet is None:
            return chain(records, source)
        for record in reversed(records):
            self._inlet.put_back(record)
        return source

    def _types(self) -> set[int]:
        """Those that had to be looked up, and all that they are made of."""
        return self.session.registry.catalog.made_of([codec.oid for _, codec in self._typed])

    def copy_more(self) -> None:
        self._take()
        data, self._block = self._block, b""
        if self._for_text:
            self._send(data + self._format.trailer)
            self.session.write(DONE + frontend.FLUSH)
            self._go_on_as_text()
            self.phase = self.PARTING
        elif self._has_ended:
            if data := data + self._format.trailer:
                self._send(data)
            self.session.write(DONE + frontend.SYNC)
            self.end(self.FINISHING)
        elif data:
            self._send(data)
        else:
            self._ask_inlet()

    def _send(self, data: bytes) -> None:
        self.write_data(data)
        if self._meter is not None:
            self._meter.sent(self, len(data), self._taken)

    def _take(self) -> None:
        """Encode more records, until there is a chunk to send or nothing more to be had."""
        if self._has_ended:
            return
        self._is_dry = False
        each = self._format.pieces_each
        while len(self._block) < CHUNK and not (self._is_dry or self._for_text):
            pieces: list[bytes] = []
            count = 0
            try:
                self._is_dry = self._format.encode_some(self._records, self._batch, pieces)
            except NeedsText:
                self._for_text = self._format.unfit
            finally:
                count = len(pieces) // each
                self._taken += count
            data = b"".join(pieces)
            if count:
                self._batch = min(4 * self._batch, CHUNK * count // len(data) + 1, _MOST)
            self._block += data

    @property
    def _has_ended(self) -> bool:
        """Whether there is nothing more to be taken, now and later."""
        return self._is_dry if self._inlet is None else self._inlet.is_spent

    def _ask_inlet(self) -> None:
        assert self._inlet is not None
        self._inlet.ask()

    def _go_on_as_text(self) -> None:
        unfit, self._for_text = self._for_text, []
        self._format = TextRecords(self._typed)
        if self._inlet is None:
            self._records = chain(unfit, self._records)
        else:
            self._inlet.put_back(unfit[0])

    def drop_source(self) -> None:
        self._records = iter(())
        self._block = b""
        self._for_text = []

    # ---------------------------------------------------------------- errors

    def blame(self, error: BaseException) -> None:
        """The source, or one of its records, is to blame."""
        if isinstance(error, DataError) and self.statement is not None:
            # It may fit what the types are now: the next time.
            self.session.registry.catalog.forget(self._types())
        self._blame(error, self._taken)

    def _blame(self, error: BaseException, index: int) -> None:
        if self.error is None:
            self.error = error
            with suppress(Exception):  # a frozen dataclass, say, takes no attributes
                error.add_note(f"in record {index}")
                error.record_index = index  # type: ignore[attr-defined]

    def note_error(self, error: PostgresError) -> None:
        index, error.record_column = self._place_in(error.where or "")
        if index is not None:
            self._blame(error, index)
        super().note_error(error)
        if error.sqlstate in PLAN_STATES:
            self.session.registry.catalog.forget(self._types())
        if error.sqlstate == _UNDEFINED_TABLE and error.hint is None and "." in self._table:
            schema, _, table = self._table.partition(".")
            error.hint = f"A table is one name here: write {table!r} and schema={schema!r}."

    def _place_in(self, where: str) -> tuple[int | None, str | None]:
        """The record and the column that the server names: "COPY target, line 3, column a: …"."""
        head = f"COPY {self._table}, "
        for line in where.splitlines():
            if line.startswith(head) and (found := _LINE.match(line, len(head))):
                index = self._begun_at + int(found[1]) - 1
                if not 0 <= index < self._taken:
                    break
                return index, self._column_in(line[found.end() :] + ": ")
        return None, None

    def _column_in(self, text: str) -> str | None:
        """Behind the number; a value may stand behind the name, and have names in it as well."""
        places = [(text.find(f" {name}: "), -len(name), name) for name, _ in self._typed]
        found = [place for place in places if place[0] > 0]
        return min(found)[2] if found else None

    # ---------------------------------------------------------------- reading

    def on_part_complete(self, buffer: bytes, start: int, end: int) -> None:
        """All that could be in binary format is there; the rest goes as text."""
        self.on_complete(buffer, start, end)
        self._begun_at = self._taken
        self.phase = self.GATHERING

    GATHERING = Phase("GATHERING", {BackendMessage.ERROR_RESPONSE: Sending.on_copy_error})
    PARTING = Phase(
        "PARTING",
        {
            BackendMessage.COMMAND_COMPLETE: on_part_complete,
            BackendMessage.ERROR_RESPONSE: Sending.on_copy_error,
        },
    )
    PHASES = (
        Preparing.PARSING,
        Preparing.DESCRIBING_PARAMETERS,
        Preparing.DESCRIBING_COLUMNS,
        *Preparing.LOOKUP_PHASES[:-1],  # types are looked up before there are any values
        GATHERING,
        *Sending.SENDING_PHASES,
        PARTING,
    )


def _checked_names(columns: Any) -> tuple[str, ...]:
    if isinstance(columns, str):
        raise ProgrammingError(f"columns must be a sequence of names; write [{columns!r}]")
    try:
        names = tuple(columns)
    except TypeError:
        raise ProgrammingError(
            f"columns must be a sequence of names, not {type(columns).__name__}"
        ) from None
    if not names:
        raise ProgrammingError("columns must name one column at least")
    return names
