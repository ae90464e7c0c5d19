"""Which statements may leave something behind in their session, and which cannot be used twice.

Decided once per statement, by its text alone. The rule is published in
docs/pool-contract.md; it errs on the side of cleaning too often, which costs the server some
microseconds and the client no round trip. What no text can show (a function that calls
set_config, say) is the user's to tell: `reset="always"`.
"""

from __future__ import annotations

import re

# Blanks, comments and opening parentheses before the first keyword. A comment inside a
# comment is not looked through: where it ends is more than a pattern can tell.
_LEADING = re.compile(r"(?:\s|\(|--[^\r\n]*(?:[\r\n]|$)|/\*(?:(?!/\*|\*/).)*\*/)*", re.DOTALL)
_KEEPS_SESSION = re.compile(
    r"(?:select|insert|update|delete|merge|values|table|with|explain|show|copy|lock"
    r"|begin|start|commit|end|rollback|abort|savepoint|release)\b"
    # A setting of somebody's own may be called like that: `set local.x = 1`, `set local$ = 1`.
    r"|set\s+(?:transaction|local|constraints)(?![\w$]|[^\0-\x7f]|\s*[./-])",
    re.IGNORECASE,
)
# An UPDATE of pg_settings is SET by another name, and so is pg_trgm's set_limit().
# U& lets any of them be written in numbers: `U&"set\005Fconfig"`.
_SESSION_WORDS = re.compile(
    r"set_config|advisory|setseed|dblink|\btemp\b|\btemporary\b|pg_temp|pg_settings|set_limit"
    r"|u&[\"']",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
# A comment that is not looked through, or an empty statement, may have either behind it.
_NAMES_ANOTHER = re.compile(r"(?:fetch|execute)\b|/\*|;", re.IGNORECASE)
# What the server reads once in a literal, when it prepares what that stands in; between whatever is
# no letter: `'[today,)'`, `'{"now"}'`, `'today10:00'`.
_MOMENTS = ("now", "today", "tomorrow", "yesterday")
_READ_ONCE = re.compile(
    r"(?<![^\W\d_])(?:now(?!\s*\()|today|tomorrow|yesterday)(?![^\W\d_])", re.IGNORECASE
)
_TOKEN = re.compile(
    r"""
      --[^\r\n]* | /\*(?:(?!/\*|\*/).)*\*/ | "[^"]*(?:"|\Z) | (?P<unclear> /\* )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | '[^']*(?:'|\Z)
      | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z) )
    | [^\W\d][\w$]*
    """,
    re.VERBOSE | re.DOTALL,
)
_IS_CALL = re.compile(r"call\b", re.IGNORECASE)


def changes_session(sql: str) -> bool:
    """Whether a statement may leave something behind in its session.

    False for queries, plain DML, COPY, LOCK and transaction control, unless the text names
    set_config, pg_settings, advisory locks, temporary objects or their like, or has names that
    cannot be read as they stand (`U&"…"`); several statements in one string are not taken apart.
    """
    if _KEEPS_SESSION.match(sql, _first_word(sql)) is None:
        return True
    return _SESSION_WORDS.search(sql) is not None or ";" in sql.rstrip("; \t\r\n")


def is_call(sql: str) -> bool:
    """Whether a statement calls a procedure, which may end transactions."""
    return _IS_CALL.match(sql, _first_word(sql)) is not None


def is_fleeting(sql: str) -> bool:
    """Whether a prepared statement of this text would not be right the next time.

    FETCH and EXECUTE name what decides on their columns. Under the same name there may be another
    cursor by then, of which the server does not tell: it sends what that has, whatever was
    described. And `date 'today'` stays the day on which it was prepared. Where such a word in a
    literal is no date it costs a round trip, and does no harm.
    """
    if _NAMES_ANOTHER.match(sql, _first_word(sql)) is not None:
        return True
    lowered = sql.lower()
    if not any(moment in lowered for moment in _MOMENTS):  # a pattern takes longer
        return False
    tokens = _TOKEN.finditer(sql)
    return any(token["unclear"] or _READ_ONCE.search(token["literal"] or "") for token in tokens)


def first_word(sql: str) -> str:
    """The first word of a statement as it is written; empty where it begins with none."""
    word = _WORD.match(sql, _first_word(sql))
    return "" if word is None else word[0]


def _first_word(sql: str) -> int:
    start = _LEADING.match(sql)
    assert start is not None  # the pattern matches the empty string
    return start.end()
