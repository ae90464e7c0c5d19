"""Hints: what to write instead, for the mistakes that are made all the time.

`advise` puts a sentence into the `hint` of a server's error, behind the server's own. What the
mistake is, is decided by the SQLSTATE and by the SQL around the error's position. Messages come in
the server's language, so of their text nothing is read but what no language changes: `$1`, the
names of types and operators, and the names of our own statements. Where all this does not tell,
the routine of the server that reports the error does (`error.routine`, which is no text either);
a server that calls it otherwise gives no hint, and no wrong one.

A hint that is wrong is worse than none: it is given only where the mistake is plain. Must not
raise, whatever the server sends. Only errors come here, so it may take its time, but only in
proportion to the SQL, which may be long.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pgwire.pgtypes.interval import Interval
from pgwire.pgtypes.jsons import Json
from pgwire.protocol.misplaced import (
    NUMBER,
    Mistake,
    foreign_placeholder,
    misplaced_parameter,
    no_such_parameter,
    percent_s_for_a_column,
    several_statements,
    string_in_double_quotes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgwire.errors import PostgresError

_BAD_TEXT = "22P02"
# What comes of a parameter: the context says of which.
_OF_PARAMETERS = frozenset({_BAD_TEXT, "22003", "22007", "22008", "22023", "XX000"})


def advise(error: PostgresError, sql: str, params: Sequence[Any] = ()) -> None:
    """Fill in what to write instead, if that is plain; twice is as good as once."""
    elsewhere = error.where is not None and error.sqlstate not in _OF_PARAMETERS
    if elsewhere or error.internal_query is not None:
        return  # it is about the SQL in a function
    mistake = Mistake.of(error, sql, params)
    for find in _FINDERS.get(error.sqlstate, ()):
        hint = None
        with suppress(Exception):  # of a value, say, that cannot be looked at
            hint = find(mistake)
        if hint is None:
            continue
        if error.hint is None:
            error.hint = hint
        elif hint not in error.hint:
            error.hint += f" {hint}"
        return


# -------------------------------------------------------------------- the types of values

_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    float: "float8",
    Decimal: "numeric",
    str: "text",
    bytes: "bytea",
    bytearray: "bytea",
    memoryview: "bytea",
    date: "date",
    timedelta: "interval",
    Interval: "interval",
    UUID: "uuid",
    dict: "jsonb",
    Json: "jsonb",
    **dict.fromkeys((IPv4Address, IPv6Address, IPv4Interface, IPv6Interface), "inet"),
    **dict.fromkeys((IPv4Network, IPv6Network), "cidr"),
}
_MOST_DIMENSIONS = 6


def type_for(value: Any) -> str | None:
    """The type that a value is by itself: `text[]` for a list of str; None if it does not say."""
    if not isinstance(value, list):
        return _type_for_one(value)
    for _ in range(_MOST_DIMENSIONS):
        value = next((item for item in value if item is not None), None)
        if not isinstance(value, list):
            name = _type_for_one(value)
            return name and f"{name}[]"
    return None


def _type_for_one(value: Any) -> str | None:
    if isinstance(value, datetime):
        return "timestamp" if value.tzinfo is None else "timestamptz"
    if isinstance(value, time):
        return "time" if value.tzinfo is None else "timetz"
    if type(value) is int and value.bit_length() > 63:
        return "numeric"
    return next((_TYPES[base] for base in type(value).__mro__ if base in _TYPES), None)


def _cast(mistake: Mistake, number: str, of_int: str = "bigint") -> str | None:
    """`$1::bigint`; None where the value does not say its type."""
    index = int(number) - 1
    name = type_for(mistake.params[index]) if index < len(mistake.params) else None
    return name and f"${number}::{of_int if name == 'bigint' else name}"


def misfit_hint(number: int, value: Any, codec_name: str) -> str:
    """What to say behind "parameter $1 (int4): expected int, got list"; or ""."""
    if isinstance(value, list | tuple | set | frozenset) and _SCALAR.fullmatch(codec_name):
        return f"to compare with the elements of a {type(value).__name__} write = any(${number})"
    if codec_name == "record":
        return f"write ${number}::type, with the name of its type"
    name = type_for(value)
    if codec_name == "text" and name not in (None, "text"):
        # The server takes for text what nothing says the type of, as in `select $1`.
        return f"where the SQL leaves the type open, write ${number}::{name}"
    return ""


# Types of which no value is a list.
_SCALAR = re.compile(
    r"bool|int[248]|oid|float[48]|numeric|text|varchar|bpchar|name|uuid|date|timetz|time"
    r"|timestamptz|timestamp|interval|inet|cidr|bytea"
)


# -------------------------------------------------------------------- parameters without a type

_ONE_TYPE = "A parameter has one type: give each of these places a parameter of its own."


def _unknown_type(mistake: Mistake) -> str | None:
    if mistake.error.detail is not None:  # "text versus integer"
        return _two_types(mistake)
    numbers = NUMBER.findall(mistake.error.message)
    if len(numbers) != 1:
        return None
    (number,) = numbers
    if number not in NUMBER.findall(mistake.sql):
        return f"The SQL has no ${number}: number the parameters from $1, without gaps."
    return f"Write {_cast(mistake, number) or f'${number}::text, or another type'}."


def _two_types(mistake: Mistake) -> str | None:
    place = NUMBER.match(mistake.rest)
    is_shared = place is not None and NUMBER.findall(mistake.sql).count(place[1]) > 1
    return _ONE_TYPE if is_shared else None


# An argument that is a parameter and nothing else.
_ARGUMENT = re.compile(r"(?<=[(,])\s*\$([1-9][0-9]{0,4})\s*(?=[,)])")


def _polymorphic(mistake: Mistake) -> str | None:
    """to_json($1): the function takes whatever comes, and the parameter says nothing."""
    error = mistake.error
    if error.routine != "enforce_generic_type_consistency" or error.detail is not None:
        return None
    numbers = set(_ARGUMENT.findall(mistake.sql))
    cast = _cast(mistake, numbers.pop()) if len(numbers) == 1 else None
    return cast and f"Write {cast}."


_SIGNS = r"[-+*/<>=~!@#%^&|`?]+"
_UNTYPED = r"\$([1-9][0-9]{0,4})"
_UNTYPED_BEFORE = re.compile(rf"{_UNTYPED}\s*$")
_UNTYPED_BEHIND = re.compile(rf"{_SIGNS}\s*{_UNTYPED}(?!\s*::|[0-9])")
_UNTYPED_ARGUMENT = re.compile(rf"(?:^|\bfrom\s|=>)\s*{_UNTYPED}\s*$", re.IGNORECASE)


def _ambiguous(mistake: Mistake) -> str | None:
    """Several functions or operators fit: sum($1), $1 + $2."""
    operation = _operation(mistake)
    if operation:
        places = [_UNTYPED_BEFORE.search(mistake.before), _UNTYPED_BEHIND.match(mistake.rest)]
    else:
        places = [_UNTYPED_ARGUMENT.search(part) for part in _arguments(mistake.rest)]
    # To a date only integer can be added.
    of_int = "integer" if "date" in operation else "bigint"
    casts = [_cast(mistake, place[1], of_int) for place in places if place]
    known = [cast for cast in casts if cast]
    if not known or len(known) < len(casts):
        return None
    # A str may be the literal of anything. `unknown` is the name of a type.
    if any(cast.endswith("::text") for cast in known):
        return _JOIN if operation == ("unknown", "+", "unknown") else None
    return f"Write {', '.join(dict.fromkeys(known))}."


def _arguments(call: str) -> list[str]:
    """The arguments of a call, as far as they are in sight; blind for quotes."""
    depth = 0
    parts = [""]
    for character in call:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == ")" and depth == 0:
            break
        if depth == 1 and character == ",":
            parts.append("")
        elif depth > 1 or (depth == 1 and character != "("):
            parts[-1] += character
    return parts


def _needless_cast(mistake: Mistake) -> str | None:
    """A parameter with the wrong cast: without one it takes the type that is wanted."""
    place = NUMBER.match(mistake.rest)
    if place is None:
        return None
    behind = mistake.rest[place.end() :].lstrip()
    if behind.startswith("::"):
        return f"Without its cast {place[0]} takes the type that is wanted here."
    return None if behind.startswith("[") else _two_types(mistake)


# -------------------------------------------------------------------- operators

_OPERATION = re.compile(rf"([^ ].*?) ({_SIGNS}) (\S.*)$", re.DOTALL)
_TEXTS = frozenset({"text", "character varying", "character"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_LIKE = frozenset({"~~", "!~~", "~~*", "!~~*", "~", "!~", "~*", "!~*"})
_COMPARISONS = frozenset({"=", "<>", "<", ">", "<=", ">="})
_JOIN = "Write || to join texts."


def _operation(mistake: Mistake) -> tuple[str, ...]:
    """The types on both sides of an operator, and the operator between: as in every language."""
    found = _OPERATION.match(mistake.error.message.rpartition(":")[2].strip())
    return found.groups() if found else ()


def _no_operator(mistake: Mistake) -> str | None:
    operation = _operation(mistake)
    if not operation or not mistake.rest:
        return None
    left, sign, right = operation
    is_equality = sign in ("=", "<>")
    if is_equality and right.endswith("[]") is not left.endswith("[]"):
        return _element_and_array(mistake, left, sign, right)
    if left in ("jsonb", "json") and _JSON_FIELD.search(mistake.before):
        return _json_field(right)
    if sign == "+" and {left, right} <= {*_TEXTS, "unknown"}:
        return _JOIN
    if is_equality and {left, right} == {"boolean", "integer"}:
        return "Write true or false for 1 or 0."
    if sign in ("+", "-") and left.startswith("timestamp") and right in _NUMBERS:
        return f"Write {sign} make_interval(days => …) for a number of days."
    if sign in _LIKE and left not in _TEXTS and right in (*_TEXTS, "unknown"):
        return "Write ::text behind the left side."
    return _different_sides(mistake, left, sign, right)


def _element_and_array(mistake: Mistake, left: str, sign: str, right: str) -> str | None:
    fitting = {left.removesuffix("[]"), right.removesuffix("[]")}
    if len(fitting) > 1 and not fitting <= _NUMBERS:
        return None
    if left.endswith("[]"):
        how = "value = any(array)" if sign == "=" else "value <> all(array)"
        return f"The array stands on the right: write {how}."
    place = _LIST.match(mistake.rest)
    return f"Write {'= any' if sign == '=' else '<> all'}({place[1] if place else 'array'})."


_LIST = re.compile(
    r"(?:<>|!=|=|(?:not\s+)?in\b)\s*\(?\s*(\$[0-9]+(?:\s*::\s*\w+\[\])?)", re.IGNORECASE
)
_ANY = re.compile(rf"{_SIGNS}\s*(?:any|all|some)\s*\(\s*(?:(\$[0-9]+)\s*::)?", re.IGNORECASE)


def _different_sides(mistake: Mistake, left: str, sign: str, right: str) -> str | None:
    if sign not in _COMPARISONS or (left in _TEXTS) is (right in _TEXTS):
        return None
    array = _ANY.match(mistake.rest)
    if array:
        return f"Write {array[1]}::{left}[]." if array[1] else None
    if not mistake.rest.startswith(sign) or "unknown" in (left, right):
        return None  # `in (…)`, `case … when`
    place = NUMBER.match(mistake.rest[len(sign) :].lstrip())
    if place and right in _TEXTS:
        return f"Write {place[0]}::{left}."
    if left in _TEXTS:
        return f"Cast one side: ::{right} behind the left one, or ::text behind the right one."
    return f"Cast one side: ::text behind the left one, or ::{left} behind the right one."


# -------------------------------------------------------------------- functions and values

_JSON_FIELD = re.compile(r"->\s*(?:'[^']*'|[0-9]+|\$[0-9]+)\s*$")
_JSON_COMPARED = re.compile(r"->\s*(?:'[^']*'|[0-9]+|\$[0-9]+)\s*(?:=|<>|!=)\s*$")
_AS_TEXT = "Write ->> in place of ->: it gives text."
# What reports that a type has no binary form: for arrays, fields of records, bounds of ranges.
_SENDING = frozenset(
    {"array_send", "getTypeBinaryOutputInfo", "get_range_io_data", "get_multirange_io_data"}
)


def _json_field(other: str) -> str | None:
    if other in _TEXTS or other == "unknown":
        return _AS_TEXT
    if other in _NUMBERS:
        return f"Write ->> in place of ->, which gives text, and cast that: (… ->> …)::{other}."
    return None


def _no_function(mistake: Mistake) -> str | None:
    error = mistake.error
    if re.search(r"(?<![A-Za-z0-9_.])round\((?:double precision|real), integer\)", error.message):
        return "Only numeric is rounded to digits: write round(…::numeric, …)."
    # Without a position it comes while results are sent.
    if error.position is None and error.routine in _SENDING:
        return "Cast the column to text, which every type can become: (…)::text."
    return None


def _bad_json(mistake: Mistake) -> str | None:
    """A string where JSON is wanted."""
    error = mistake.error
    if not (error.routine or "").startswith(("json_", "report_parse_error")):
        return None
    if _JSON_COMPARED.search(mistake.before):
        return _AS_TEXT
    numbers = NUMBER.findall((error.where or "").rpartition("\n")[2])
    value = mistake.params[int(numbers[0]) - 1] if numbers else None
    if isinstance(value, str) and not value.lstrip().startswith(("{", "[")):
        return "A str is JSON text: for a JSON string pass pgwire.Json(text)."
    return None


# "unnamed portal parameter $1 = '…'", in any language: not behind a quote, where it would be SQL,
# and not in a list of all parameters, which follows a colon.
_BOUND = re.compile(r'(?:[^"$\n]|"_pgwire_\w+")*+(?<=\w )\$([1-9][0-9]{0,4})(?![0-9])')
# What reads an array's literal, but for its elements.
_OF_ARRAYS = frozenset(
    {"array_in", "ArrayCount", "ReadArrayStr", "ReadArrayToken", "ReadArrayDimensions"}
)


def _bad_literal(mistake: Mistake) -> str | None:
    """A str that is no literal of its parameter's type: the server's message does not say which."""
    where = mistake.error.where or ""
    bound = _BOUND.match(where) or _BOUND.match(where.rpartition("\n")[2])
    numbers = set(NUMBER.findall(mistake.sql))
    if bound is None or bound[1] not in numbers:
        return None
    if mistake.error.routine in _OF_ARRAYS:
        return f"For ${bound[1]} pass a list: a str is PostgreSQL's literal of the whole array."
    return f"It is the value of ${bound[1]}." if len(numbers) > 1 else None


# -------------------------------------------------------------------- statements that are stale

_AGAIN = "Run it again, the whole transaction if it is in one: pgwire prepares it anew."
_POOLER = (
    " Behind a pooler that changes servers connect with prepare=False, or have it see to prepared"
    " statements (PgBouncer 1.21 and later: max_prepared_statements)."
)


def _stale_plan(mistake: Mistake) -> str | None:
    # Many errors have this SQLSTATE.
    return _AGAIN if mistake.error.routine == "RevalidateCachedQuery" else None


def _type_gone(mistake: Mistake) -> str | None:
    """A prepared statement has a type that was dropped. Internal errors are not translated."""
    where = mistake.error.where
    if where is not None and _BOUND.match(where) is None:
        return None  # in a function
    gone = mistake.error.message.startswith("cache lookup failed for type ")
    return _AGAIN if gone else None


def _stale_statement(mistake: Mistake) -> str | None:
    # The name is one of ours, not that of an EXECUTE in the SQL.
    return _AGAIN + _POOLER if "_pgwire_" in mistake.error.message else None


# ------------------------------------------------------------- connections for replication

_REPLICATION_COMMAND = re.compile(r"(?:[A-Z]+_REPLICATION(?:_SLOT)?|IDENTIFY_SYSTEM)\b", re.ASCII)


def _replication_command(mistake: Mistake) -> str | None:
    """SQL has no such statements."""
    if _REPLICATION_COMMAND.match(mistake.rest):
        return 'Replication has connections of its own: connect(replication="database").'
    return None


def _for_replication(mistake: Mistake) -> str | None:
    """The extended protocol on such a connection."""
    if mistake.error.routine == "forbidden_in_wal_sender":
        return "A connection for replication takes SQL by script() only: use another one for this."
    return None


_FINDERS: dict[str, tuple[Callable[[Mistake], str | None], ...]] = {
    "08P01": (_for_replication,),
    "0A000": (_stale_plan,),
    "22003": (_bad_literal,),
    "22007": (_bad_literal,),
    "22008": (_bad_literal,),
    "22023": (_bad_literal,),
    _BAD_TEXT: (_bad_json, _bad_literal),
    "26000": (_stale_statement,),
    "42601": (
        _replication_command,
        several_statements,
        misplaced_parameter,
        foreign_placeholder,
    ),
    "42703": (percent_s_for_a_column, string_in_double_quotes),
    "42725": (_ambiguous,),
    "42P05": (_stale_statement,),
    "42804": (_polymorphic, _needless_cast),
    "42883": (_no_function, _no_operator),
    "42P02": (no_such_parameter,),
    "42P08": (_unknown_type,),
    "42P18": (_unknown_type,),
    "XX000": (_type_gone,),
}
