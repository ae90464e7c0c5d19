"""Misplaced: parameters, placeholders and quotes that stand where the grammar has none of them.

What `hints` finds in the SQL alone, around an error's position. See there for the rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.errors import PostgresError

_AROUND = 400  # characters that are looked at before the position, and behind it


class Mistake(NamedTuple):
    """An error, and the SQL before its position and from there on; both empty without one."""

    error: PostgresError
    sql: str
    params: Sequence[Any]
    before: str
    rest: str

    @classmethod
    def of(cls, error: PostgresError, sql: str, params: Sequence[Any]) -> Mistake:
        position = error.position or 0
        if not 1 <= position <= len(sql) + 1:  # of other SQL, or a server that lies
            return cls(error, sql, params, "", "")
        at = position - 1
        return cls(error, sql, params, sql[max(0, at - _AROUND) : at], sql[at : at + _AROUND])

    @property
    def word(self) -> str:
        """The keyword that begins the statement around the position, in small letters."""
        start = self.sql.rfind(";", 0, max((self.error.position or 1) - 1, 0)) + 1
        return first_word(self.sql, start)


NUMBER = re.compile(r"\$([1-9][0-9]{0,4})(?![0-9])")


# Possessive, as a word inside of a comment is none, however much that would match.
_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*+|/\*(?:(?!/\*|\*/).)*+\*/)*+([A-Za-z]+)", re.DOTALL)


def first_word(sql: str, start: int = 0) -> str:
    """The first keyword of a statement, in small letters; "" if there is none in sight."""
    found = _FIRST_WORD.match(sql, start)
    return found[1].lower() if found else ""


# -------------------------------------------------------------------- placeholders of others

_PLACEHOLDERS = "Placeholders are $1, $2, …, not {}."
_FOREIGN = re.compile(
    r"%s\b|%\(\w+\)s|:[A-Za-z_]\w*|:[0-9]+|\$?\{(?:[A-Za-z_]\w*)?\}|\$[A-Za-z_]\w*(?![\w$])"
)
_QUESTION_MARK = re.compile(r"(?:^|[^@?])\?\s*$")


def foreign_placeholder(mistake: Mistake) -> str | None:
    """A syntax error at the placeholder of another driver."""
    before, rest = mistake.before, mistake.rest
    found = _FOREIGN.match(rest)
    if found and not re.search(r"[\w:]$", before):  # `10:30` is something else
        return _PLACEHOLDERS.format(found[0])
    # `?` is an operator, so that the error stands behind it.
    if _QUESTION_MARK.search(before) and not NUMBER.search(mistake.sql):
        return _PLACEHOLDERS.format("?")
    if re.match(r"%\$[1-9]", rest):
        return "A pattern is text as well: write '%' || $1 || '%'."
    return None


def percent_s_for_a_column(mistake: Mistake) -> str | None:
    """`interval %s` is the remainder of a division of columns."""
    before, rest = mistake.before, mistake.rest
    if re.match(r"\w+\s+%s\b", rest) or (before.endswith("%") and re.match(r"s\b", rest)):
        return _PLACEHOLDERS.format("%s")
    return None


# -------------------------------------------------------------------- where no parameter can be

_QUERY = re.compile(r"select|insert|update|delete|merge|values|with|table|call|declare|explain")
_NAME = "A parameter cannot stand for a name: put pgwire.quote_identifier(name) into the SQL."
_LITERAL = (
    "Parameters work in SELECT, INSERT, UPDATE, DELETE, MERGE and VALUES; "
    "here write the value into the SQL, text with pgwire.quote_literal()."
)
_BEFORE_NAME = re.compile(
    r"(?:\b(?:from|join|into|update|table|only|using|as|of)|\.|\binto\s+[\w.\"]+\s*\([^()]*"
    r"|\bupdate\s+[\w.\"]+(?:\s+(?:as\s+)?\w+)?\s+set)\s*$",
    re.IGNORECASE,
)
_INNER_QUERY = re.compile(r"\b(?:as|for)[\s(]+(?:select|with|values)\b", re.IGNORECASE)
_IN = re.compile(r"(?<!\w)(not\s+)?in\s*$", re.IGNORECASE)
_ROW_IN = re.compile(r"(?<!\w)\([^()]*,[^()]*\)\s*(?:not\s+)?in\s*$", re.IGNORECASE)
_TYPE = re.compile(
    r"\b(?:(timestamp|time)\s+with(out)?\s+time\s+zone"
    r"|(interval|date|timestamptz|timestamp|timetz|time|jsonb|json|uuid|numeric|bigint|smallint"
    r"|integer|int|float8|bytea|boolean|bool|text|inet|cidr))\s*$",
    re.IGNORECASE,
)


def misplaced_parameter(mistake: Mistake) -> str | None:
    """A syntax error at `$1`."""
    place = NUMBER.match(mistake.rest)
    if place is None:
        return None
    before = mistake.before
    if not _QUERY.fullmatch(mistake.word) and not _INNER_QUERY.search(before):
        return _in_utility(mistake.word, before, place[0])
    found = _IN.search(before)
    if found:
        if _ROW_IN.search(before):
            return None  # a list of rows is no array of anything
        return f"Write {'<> all' if found[1] else '= any'}({place[0]}) and pass a list."
    found = _TYPE.search(before)
    if found:
        name = found[3] or f"{found[1]}{'' if found[2] else 'tz'}"
        return f"Write {place[0]}::{name.lower()}."
    if re.search(r"\bvalues\s*$", before, re.IGNORECASE):
        return "Write values ($1, $2, …), with a parameter for each column."
    return _NAME if _BEFORE_NAME.search(before) else None


# Statements that take names, and nothing else, where a parameter might stand.
_NAME_STATEMENT = re.compile(
    r"drop|truncate|listen|unlisten|lock|savepoint|release|vacuum|analyze|cluster|reindex"
    r"|reset|grant|revoke|deallocate|close"
)
_OBJECT = re.compile(
    r"(?:\b(?:table|index|view|schema|database|role|user|extension|type|sequence|domain|exists"
    r"|trigger|policy|publication|subscription|function|procedure|column|on|to|rename)|\.)\s*$",
    re.IGNORECASE,
)
_SET = re.compile(r"\bset\s+(?:(local|session)\s+)?([\w.]+)\s*(?:=|\sto)\s*$", re.IGNORECASE)
_SET_WORDS = re.compile(
    r"\bset\s+(?:(local|session)\s+)?(role|time\s+zone|session\s+authorization)\s*$",
    re.IGNORECASE,
)
_NOTIFY = re.compile(r"\bnotify\s+(\w+)\s*,\s*$", re.IGNORECASE)


def _in_utility(word: str, before: str, place: str) -> str | None:
    setting = _SET.search(before) or _SET_WORDS.search(before)
    if word == "set" and setting:
        is_local = "true" if (setting[1] or "").lower() == "local" else "false"
        name = "_".join(setting[2].split()).lower().replace("time_zone", "timezone")
        return f"Write select set_config('{name}', {place}, {is_local})."
    if word == "notify":
        found = _NOTIFY.search(before)
        payload = f"'{found[1].lower()}', {place}" if found else "$1, $2"
        return f"Write select pg_notify({payload})."
    if word == "show":
        return f"Write select current_setting({place})."
    is_object = _OBJECT.search(before) and not setting and word != "copy"
    if is_object or _NAME_STATEMENT.fullmatch(word):
        return _NAME
    return _LITERAL


def no_such_parameter(mistake: Mistake) -> str | None:
    """Where the grammar takes parameters, and the statement does not: a view, a script."""
    if mistake.rest.startswith("$0"):
        return "Parameters begin at $1."
    if not NUMBER.match(mistake.rest):
        return None
    word = mistake.word
    if word == "prepare" or re.search(r"\b(?:function|procedure)\b", mistake.before, re.IGNORECASE):
        return None  # it has parameters of its own
    if _QUERY.fullmatch(word):
        return "A script takes no parameters: run the statement with query()."
    return _LITERAL


def several_statements(mistake: Mistake) -> str | None:
    """Several statements in one."""
    # No other syntax error comes without a position.
    if mistake.error.position is None and ";" in mistake.sql.rstrip("; \t\r\n"):
        return "Run them one by one, or with script(), which takes no parameters."
    return None


_TEXT = re.compile(r"'(?:[^']|'')*+'")
_AT_NAME = re.compile(r"(?<![\w@])@[A-Za-z_]\w*")


def miscount_hint(sql: str, expected: int) -> str:
    """What to say behind "the statement has 0 parameters, 1 given", if more were given; or ""."""
    for text in _TEXT.findall(sql):
        if re.fullmatch(r"'(?:\$[1-9][0-9]*|%s|\?)'", text):
            return f"write placeholders without quotes: $1, not {text}"
        if any(int(number) > expected for number in NUMBER.findall(text)):
            return (
                "a placeholder in quotes is text: write '%' || $1 || '%' for a pattern, "
                "$1 * interval '1 day' for a span"
            )
    bare = _TEXT.sub("''", sql)
    found = _AT_NAME.search(bare)
    if found:
        return f"placeholders are $1, $2, …, not {found[0]}"
    if not _QUERY.fullmatch(first_word(sql)) and NUMBER.search(bare):
        return _LITERAL[0].lower() + _LITERAL[1:-1]
    return ""


# -------------------------------------------------------------------- quotes

_IN_QUOTES = re.compile(r'"((?:[^"]|"")*)"(?!\s*[.(])')
_BEFORE_VALUE = re.compile(
    r"(?:[<=>]|\|\||\b(?:i?like|similar\s+to|then|else)|\b(?:in|values)\s*\((?:[^()]*,)?)\s*$",
    re.IGNORECASE,
)


def string_in_double_quotes(mistake: Mistake) -> str | None:
    """No column `"Anna"`, where a value is expected."""
    # A column with nearly that name the server has offered itself, in its hint.
    found = _IN_QUOTES.match(mistake.rest)
    if found and mistake.error.hint is None and _BEFORE_VALUE.search(mistake.before):
        text = found[1].replace('""', '"').replace("'", "''")
        return f"A string stands in single quotes: '{text}'."
    return None
