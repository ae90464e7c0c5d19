"""What can be said of a statement without its values: its text without literals, and in brief.

For logs and traces. Nothing here understands SQL: a text is cut into words, and what might hold a
value goes. Manual: "Lexical Structure".
"""

from __future__ import annotations

import re
from functools import lru_cache

# Comments nest. What is deeper than this, or does not end, goes with all that is behind it.
_COMMENT = r"/\*(?:(?!/\*|\*/).)*+\*/"
for _ in range(3):
    _COMMENT = rf"/\*(?:(?!/\*|\*/).|{_COMMENT})*+\*/"

_VALUE = re.compile(
    rf"""
      (?P<comment> --[^\n]* | {_COMMENT} | /\*.* )
    | [eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)
    | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'|\Z)
    | (?P<kept> "(?:[^"]|"")*(?:"|\Z) | \$\d+ | [^\W\d][\w$]* )
    | \$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? (?:\$(?P=tag)\$|\Z)
    | (?<![\w$])(?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    """,
    re.VERBOSE | re.DOTALL,
)
_NAME = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_PART = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})*|\S")

_LONGEST = 255  # of a summary, by the conventions of OpenTelemetry
_VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "COPY"})
_ROW_LOCKS = frozenset({"FOR", "KEY", "DO", "ON", "THEN"})  # an UPDATE behind these is none
_BEFORE_NAMES = frozenset({
    *("FROM", "JOIN", "INTO", "UPDATE", "TABLE", "COPY", "CALL", "TRUNCATE", "VIEW", "INDEX"),
})  # fmt: skip
_NO_NAMES = frozenset({"SELECT", "SET", "STDIN", "STDOUT", "ON", "OF", "NOWAIT"})
_BETWEEN = frozenset({"ONLY", "IF", "NOT", "EXISTS", "TABLE", "CONCURRENTLY"})
_WITH_AN_OBJECT = frozenset({"CREATE", "ALTER", "DROP"})
_WHAT_KIND = frozenset({
    *("OR", "REPLACE", "TEMPORARY", "TEMP", "UNLOGGED", "UNIQUE", "MATERIALIZED", "RECURSIVE"),
})  # fmt: skip


def redacted(sql: str) -> str:
    """The text with `?` for each literal, and without comments, where secrets may stand as well."""
    return _VALUE.sub(_without_value, sql)


def _without_value(match: re.Match[str]) -> str:
    if match["comment"] is not None:
        return " "
    return "?" if match["kept"] is None else match[0]


@lru_cache(maxsize=1000)
def summary(sql: str) -> str:
    """Its commands and the tables that they name, such as `INSERT shipping SELECT orders`.

    By the rules of OpenTelemetry for `db.query.summary`: of low cardinality, and no longer than 255
    characters. Empty where there is no word.
    """
    found: list[str] = []
    before = ""
    for part in _PART.findall(redacted(sql)):
        word = part.upper()
        if not (word[0].isalpha() or word[0] in '_"'):
            before = ""
        elif before in _WITH_AN_OBJECT and word in _WHAT_KIND:
            pass
        elif not found or before in _WITH_AN_OBJECT:
            found.append(word)
            before = word
        elif before in _BEFORE_NAMES and word in _BETWEEN:
            pass
        elif before in _BEFORE_NAMES and word not in _NO_NAMES:
            found.append(part)
            before = ""
        else:
            if word in _VERBS and not (word == "UPDATE" and before in _ROW_LOCKS):
                found.append(word)
            before = word
    return _short(found)


def _short(words: list[str]) -> str:
    text = ""
    for word in words:
        longer = f"{text} {word}".lstrip()
        if len(longer) > _LONGEST:
            break
        text = longer
    return text
