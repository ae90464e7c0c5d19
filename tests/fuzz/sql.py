"""What reads SQL: the rule that says whether a session has to be cleaned, hints, quoting.

Each is compared with a plain reader of PostgreSQL's lexical rules (manual: "Lexical Structure"),
which knows nested comments, quotes of every kind, and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError
from pgwire.protocol import misplaced
from pgwire.protocol.changes import changes_session, first_word, is_call
from pgwire.protocol.hints import advise, misfit_hint
from pgwire.protocol.quoting import quote_identifier, quote_literal
from pgwire.sqlstate import postgres_error
from tests.fuzz.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = re.compile(r"[A-Za-z_\x80-\uffff][A-Za-z0-9_$\x80-\uffff]*", re.ASCII)
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\uffff][A-Za-z0-9_\x80-\uffff]*)?\$", re.ASCII)
_SPACES = " \t\n\r\f\v"
# What is a blank for Python alone is a syntax error to the server, wherever it stands.
_ODD_BLANK = re.compile(rf"(?![{_SPACES}])\s")


def tokens(sql: str, *, standard_conforming: bool = True) -> Iterator[str]:
    """The tokens of a text; words in small letters, what is between quotes with its quotes.

    What is not closed goes to the end of the text.
    """
    at = 0
    while at < len(sql):
        end = _skipped(sql, at)
        if end == at:
            end = _token_end(sql, at, standard_conforming)
            token = sql[at:end]
            yield token.lower() if _WORD.fullmatch(token) else token
        at = end


def _skipped(sql: str, at: int) -> int:
    """Behind the blank or comment that begins here, if one does."""
    if sql[at] in _SPACES:
        return at + 1
    if sql.startswith("--", at):
        ends = [end for end in (sql.find("\n", at), sql.find("\r", at)) if end >= 0]
        return min(ends) if ends else len(sql)
    if not sql.startswith("/*", at):
        return at
    depth, at = 1, at + 2
    while depth and at < len(sql):
        step = sql[at : at + 2]
        depth += {"/*": 1, "*/": -1}.get(step, 0)
        at += 2 if step in ("/*", "*/") else 1
    return at


def _token_end(sql: str, at: int, standard_conforming: bool) -> int:
    if sql[at] == '"':
        return _quote_end(sql, at, escapes=False)
    if sql[at] == "'":
        return _quote_end(sql, at, escapes=not standard_conforming)
    if sql[at] in "eE" and sql.startswith("'", at + 1):
        return _quote_end(sql, at + 1, escapes=True)
    if dollar := _DOLLAR.match(sql, at):
        end = sql.find(dollar[0], dollar.end())
        return len(sql) if end < 0 else end + len(dollar[0])
    word = _WORD.match(sql, at)
    return word.end() if word else at + 1


def _quote_end(sql: str, at: int, *, escapes: bool) -> int:
    quote, at = sql[at], at + 1
    while at < len(sql):
        if escapes and sql[at] == "\\":
            at += 2
        elif sql[at] != quote:
            at += 1
        elif sql.startswith(quote, at + 1):
            at += 2
        else:
            return at + 1
    return len(sql)


_KEEPS = {"select", "insert", "update", "delete", "merge", "values", "table", "with", "explain"}
_KEEPS |= {"show", "copy", "lock", "begin", "start", "commit", "end", "rollback", "abort"}
_KEEPS |= {"savepoint", "release"}
_OF_A_TRANSACTION = {"transaction", "local", "constraints"}


def _surely_changes(sql: str) -> bool:
    """By the published rule (docs/pool-contract.md), on tokens: no harmless statement, or two."""
    found = list(tokens(sql))
    while found and found[0] == "(":
        del found[0]
    if not found:
        return False
    while found[-1] == ";":
        del found[-1]
        if not found:
            return False
    if ";" in found:
        return True
    word, *rest = found
    if word == "set":
        # A setting of a class of its own may have such a name: `set local.x = 1`.
        return rest[:1] == [] or rest[0] not in _OF_A_TRANSACTION or rest[1:2] == ["."]
    # No statement begins with a word that is none of ASCII letters.
    return word.isalpha() and word.isascii() and word not in _KEEPS


def session_changes(data: bytes) -> None:
    """Whether a statement may change its session: never "no" where the plain reader says "yes"."""
    sql = Feed(data).long().decode(errors="replace")
    if changes_session(sql) or _ODD_BLANK.search(sql):
        return
    assert not _surely_changes(sql)
    assert not re.search('set_config|advisory|pg_temp|setseed|u&"|U&"', sql)
    # What goes in front without meaning changes nothing, and so does what ends it.
    assert not changes_session(f" -- set\n/* set */\n({sql}")
    assert not is_call(sql)
    assert first_word(sql).lower() != "call"


def statement_words(data: bytes) -> None:
    """The first word as the hints see it: where there is one, it is the plain reader's."""
    sql = Feed(data).long().decode(errors="replace")
    word = misplaced.first_word(sql)
    # For the server a comment may end with "\r" as well.
    if word and "\r" not in sql and not _ODD_BLANK.search(sql):
        read = next((token for token in tokens(sql) if token != "("), "")
        assert read.lower().startswith(word)
    hint = misplaced.miscount_hint(sql, 0)
    assert not hint or len(hint) < 500 + len(sql)


_STATES = ["0A000", "22P02", "26000", "42601", "42703", "42725", "42804", "42883", "42P05"]
_STATES += ["42P02", "42P08", "42P18", "XX000"]
_ROUTINES = (None, "json_ereport_error", "enforce_generic_type_consistency", "array_send")
_PARAMETERS: tuple[Any, ...] = (1, "text", None, [1, None], [["a"]], 1.5, b"x", {"a": 1}, 2**70)
_FINDERS = (
    misplaced.foreign_placeholder,
    misplaced.percent_s_for_a_column,
    misplaced.misplaced_parameter,
    misplaced.no_such_parameter,
    misplaced.several_statements,
    misplaced.string_in_double_quotes,
)


def hints(data: bytes) -> None:
    """An error with any texts about any SQL: a sentence, or nothing, and always the same."""
    feed = Feed(data)
    fields = {"C": feed.choose(_STATES), "M": feed.text(), "P": str(feed.below(256))}
    for letter in "DHW":
        if feed.below(4) == 3:
            fields[letter] = feed.text()
    error = postgres_error(fields)
    error.routine = feed.choose(_ROUTINES)
    params = [feed.choose(_PARAMETERS) for _ in range(feed.below(4))]
    sql = feed.long().decode(errors="replace")
    mistake = misplaced.Mistake.of(error, sql, params)
    assert mistake.before + mistake.rest in sql
    for find in _FINDERS:
        found = find(mistake)
        assert found is None or (found.endswith(".") and len(found) < 1000)
    before = error.hint
    advise(error, sql, params)
    told = error.hint
    assert told == before or (told and told.endswith(".") and told.startswith(before or ""))
    advise(error, sql, params)
    assert error.hint == told
    for number, value in enumerate(params, 1):
        misfit_hint(number, value, feed.choose(["int4", "text", "int4[]"]))


def quoting(data: bytes) -> None:
    """A name or text in quotes is one token, whatever stands around it, and means itself."""
    feed = Feed(data)
    before = feed.choose(["", "select ", "x", "E", "$1", "'x' ", "in("])
    text = feed.rest().decode(errors="surrogateescape")
    try:
        name, literal = quote_identifier(text), quote_literal(text)
    except ProgrammingError:
        assert "\0" in text or text != text.encode(errors="ignore").decode()
        return
    assert list(tokens(name + " x")) == [name, "x"]
    assert name[1:-1].replace('""', '"') == text
    for standard in (True, False):
        *_, token, end = tokens(f"{before} {literal},", standard_conforming=standard)
        assert end == ","
        assert _meant(token, standard) == text
    # Directly behind a word a quote without E is what it is, and E is one of its own.
    if "\\" in text:
        assert list(tokens(f"{before}{literal}"))[-1] == literal[1:]


def _meant(token: str, standard_conforming: bool) -> str:
    escapes = token[:1] in ("e", "E") or not standard_conforming
    inner = token[token.index("'") + 1 : -1].replace("''", "'")
    return re.sub(r"\\(.)", r"\1", inner, flags=re.DOTALL) if escapes else inner


TARGETS = {
    "sql_changes": session_changes,
    "sql_words": statement_words,
    "sql_hints": hints,
    "sql_quoting": quoting,
}
