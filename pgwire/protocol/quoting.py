"""Quoting of names and texts, for the SQL that cannot take parameters (DDL, LISTEN, COPY).

Values belong into parameters, never into the SQL.
"""

from __future__ import annotations

from pgwire.protocol.frontend import cstring


def quote_identifier(name: str) -> str:
    """A name of a table, column, role … as SQL: `weird"name` becomes `"weird""name"`.

    Always in quotes, so that keywords and capital letters keep their meaning. NUL and lone
    surrogates are `ProgrammingError`. A dotted name is one identifier: quote its parts apart.
    Manual: "Identifiers and Key Words".
    """
    cstring(name, "the identifier")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """A text as an SQL literal: `it's` becomes `'it''s'`.

    Backslashes are written so that they mean the same whatever the setting
    standard_conforming_strings. Manual: "String Constants".
    """
    cstring(text, "the literal")
    quoted = "'" + text.replace("'", "''") + "'"
    if "\\" in text:
        # The blank keeps E apart from a word that may stand before it.
        return " E" + quoted.replace("\\", "\\\\")
    return quoted
