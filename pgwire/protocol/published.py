"""PublishedTypes: what a replication has to know of a database's own types before it begins.

Once it has begun nothing can be asked any more, and only the simple protocol is spoken on such a
connection. So the types of all columns that are published are asked for first, and then what these
are made of, round by round:

    Query  →  RowDescription DataRow… CommandComplete ReadyForQuery
    …

What is not found out stays unknown: its values are text. The manual: "pg_publication_tables".
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pgwire.errors import PostgresError
from pgwire.protocol import frontend
from pgwire.protocol.looking_up import MAX_ROUNDS, info_of, lookup_sql
from pgwire.protocol.quoting import quote_literal
from pgwire.protocol.simple import SimpleQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Below that number types are built in.
_FIRST = 16_384
_SQL = """\
SELECT DISTINCT a.atttypid FROM pg_catalog.pg_publication_tables p
JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) p.schemaname
JOIN pg_catalog.pg_class c ON c.relname OPERATOR(pg_catalog.=) p.tablename
  AND c.relnamespace OPERATOR(pg_catalog.=) n.oid
JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND a.atttypid OPERATOR(pg_catalog.>=) {first} AND p.pubname::pg_catalog.text
    OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.text[])"""


class PublishedTypes(SimpleQuery):
    """The types of all columns that are published. See the module.

    Raises no error of the server's, and has no result.
    """

    ends_by_itself = True

    def __init__(self, publications: Sequence[str]) -> None:
        names = ", ".join(map(quote_literal, publications))
        super().__init__(_SQL.format(first=_FIRST, names=names))
        self._published: set[int] | None = None

    def can_look_up_late(self, wanted: Iterable[int]) -> bool:
        """Its answers have none but built-in types, or are none."""
        return False

    def finish(self) -> None:
        missing: set[int] = set()
        if self.error is None and not self.abandoned:
            with suppress(Exception):  # it is none of what was asked for
                missing = self._take_types()
        if isinstance(self.error, PostgresError):
            self.error = None
        self.result = []
        if missing and self._rounds < MAX_ROUNDS:
            self._rounds += 1
            self._asked |= missing
            self._ask_by_text(missing)
        else:
            self.session.complete(self)

    def _take_types(self) -> set[int]:
        """Learn what has come; what has to be asked for next."""
        registry = self.session.registry
        rows = [row for result in self.result for row in result]
        if self._published is None:
            self._published = {int(oid) for (oid,) in rows}
        else:
            registry.catalog.learn([info_of(*row) for row in rows])
        return registry.missing(self._published) - self._asked

    def _ask_by_text(self, oids: Iterable[int]) -> None:
        numbers = ", ".join(map(str, sorted(oids)))
        sql = lookup_sql(self.session, f"ARRAY[{numbers}]")
        self.session.write(frontend.query(frontend.cstring(sql, "the SQL")))
        self.phase = self.RUNNING

    PHASES = (
        *(SimpleQuery.RUNNING, SimpleQuery.FETCHING, SimpleQuery.COPYING_OUT),
        *(SimpleQuery.COPYING_BOTH, SimpleQuery.FAILED),
    )
