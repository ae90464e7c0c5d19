"""Connection strings: the two notations of libpq, read and written (manual: "Connection Strings").

Knows the grammar of `postgresql://…` and of `keyword=value …`, exactly as libpq reads them, and
the names of the parameters. Must not know defaults, the environment, or what a value may say: a
port `abc` is a fine string here. A database name that looks like a connection string stays a
database name, so that a name from outside the program cannot bring parameters of its own.

A string that cannot be read usually has a password in it, and a character too many in a password
is a usual reason for that. So messages tell a position, counted from 1, and show no part of the
string but an unknown keyword, and that only where it cannot be a piece of a password. For the same
reason the two public functions raise from a frame that has let go of what it was given.
"""

from __future__ import annotations

import re
from typing import NoReturn

from pgwire.errors import ProgrammingError
from pgwire.parameters import (
    ALIASES,
    OWN_KEYWORDS,
    PARAMETERS,
    SECRET_NAMES,
    advice,
    check_text,
)

_SCHEMES = ("postgresql://", "postgres://")
_BLANK = r" \t\n\v\f\r"


def conninfo_to_dict(conninfo: str) -> dict[str, str]:
    """What a URI or keyword/value string sets, without defaults; of a repeated name the last.

    Raises:
        ProgrammingError: it cannot be read, or names a parameter that does not exist.
    """
    try:
        if not isinstance(conninfo, str):
            raise ProgrammingError(f"conninfo must be a str, not {_instead_of_a_str(conninfo)}")
        check_text(conninfo, "the connection string")
        scheme = next(filter(conninfo.startswith, _SCHEMES), None)
        return _parse_uri(conninfo, len(scheme)) if scheme else _parse_keywords(conninfo)
    except ProgrammingError as error:
        del conninfo
        raise error.with_traceback(None) from None


def _instead_of_a_str(conninfo: object) -> str:
    hint = "; pass its items as keyword arguments" if isinstance(conninfo, dict) else ""
    return f"{type(conninfo).__name__}{hint}"


def make_conninfo(**params: str) -> str:
    """A keyword/value string that sets `params`: the inverse of `conninfo_to_dict`.

    Raises:
        ProgrammingError: a name is no parameter of libpq, or a value no str or one with NUL.
    """
    try:
        return " ".join(f"{name}={_quoted(name, value)}" for name, value in params.items())
    except ProgrammingError as error:
        del params
        raise error.with_traceback(None) from None


def _quoted(name: str, value: str) -> str:
    if name not in PARAMETERS:
        raise ProgrammingError(f"unknown connection parameter {name!r}{advice(name, PARAMETERS)}")
    if not isinstance(value, str):
        raise ProgrammingError(f"{name} must be a str, not {type(value).__name__}")
    check_text(value, name)
    if value and not re.search(rf"[{_BLANK}'\\]", value):
        return value
    return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


def _fail(what: str, position: int, hint: str = "") -> NoReturn:
    raise ProgrammingError(f"connection string, position {position + 1}: {what}{hint}")


def _store(settings: dict[str, str], name: str, value: str, position: int, nameable: bool) -> None:
    """Sets the parameter, as libpq does. `nameable`: the name cannot be a piece of a secret."""
    if name == "requiressl":  # gone since PostgreSQL 14, understood by libpq to this day
        name, value = "sslmode", "require" if value.startswith("1") else "prefer"
    if name not in PARAMETERS:
        nameable = nameable and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) is not None
        shown = f"parameter {name!r}" if nameable else "parameter"
        if nameable and name in OWN_KEYWORDS - ALIASES.keys():
            _fail(f"{shown} is a keyword argument only, it has no place in a string", position)
        _fail(f"unknown {shown}", position, advice(name, PARAMETERS))
    settings[name] = value


# --- keyword=value ---

_BLANKS = re.compile(rf"[{_BLANK}]*")
_OTHER_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:_-]*://")
_KEYWORD = re.compile(rf"([^={_BLANK}]*)[{_BLANK}]*(?:(=)[{_BLANK}]*)?")
_BARE = re.compile(rf"((?:[^{_BLANK}\\]|\\.|\\\Z)*)[{_BLANK}]*", re.DOTALL)
_QUOTED = re.compile(rf"'((?:[^'\\]|\\.)*)'[{_BLANK}]*", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


# For a host's name, or a URI without its beginning.
_TWO_NOTATIONS = "; write host=… dbname=…, or a URI: postgresql://…"


def _parse_keywords(text: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    # Behind a secret any word may be the rest of it, as an unquoted blank ends a value; and it may
    # be no secret by the grammar: in `host= password=a b=c` all of it but b belongs to the host.
    secret = SECRET_NAMES.search(text)
    secret_begins = len(text) if secret is None else secret.start()
    position = _match(_BLANKS, text, 0).end()
    if _OTHER_SCHEME.match(text, position):
        _fail('a URI begins with "postgresql://" or "postgres://", and nothing before', position)
    while position < len(text):
        keyword = _match(_KEYWORD, text, position)
        if keyword[2] is None:
            hint = "" if "=" in text else _TWO_NOTATIONS
            _fail(f'the word is not followed by "="{hint}', position)
        quoted = text.startswith("'", keyword.end())
        value = (_QUOTED if quoted else _BARE).match(text, keyword.end())
        if value is None:
            _fail("the quote is not closed", keyword.end())
        nameable = position <= secret_begins
        _store(settings, keyword[1], _ESCAPE.sub(r"\1", value[1]), position, nameable)
        position = value.end()
    return settings


def _match(pattern: re.Pattern[str], text: str, position: int) -> re.Match[str]:
    found = pattern.match(text, position)
    assert found is not None  # for patterns of which every part may be empty
    return found


# --- URI ---

_USER_INFO = re.compile(r"([^@/:]*)(?::([^@/]*))?@")
_HOST = re.compile(r"(?:\[([^\]]*)\]|(?!\[)([^:/?,]*))(?::([^/?,]*))?")
_DBNAME = re.compile(r"(?:/([^?]*))?")


def _parse_uri(text: str, position: int) -> dict[str, str]:
    settings: dict[str, str] = {}
    if user_info := _USER_INFO.match(text, position):
        _store_decoded(settings, "user", user_info[1], position)
        _store_decoded(settings, "password", user_info[2], user_info.start(2))
        position = user_info.end()
    start = position
    hosts, ports, position = _parse_hosts(text, start)
    _store_decoded(settings, "host", hosts, start)
    _store_decoded(settings, "port", ports, start)
    dbname = _match(_DBNAME, text, position)
    _store_decoded(settings, "dbname", dbname[1], dbname.start(1))
    if dbname.end() < len(text):
        _parse_query(settings, text, dbname.end() + 1)
    return settings


def _parse_hosts(text: str, position: int) -> tuple[str, str, int]:
    """The hosts and the ports, each separated by commas, and where the list ends."""
    hosts: list[str] = []
    ports: list[str] = []
    while True:
        part = _HOST.match(text, position)
        if part is None:
            _fail('the IPv6 address is not closed by "]"', position)
        if part[1] == "":
            _fail("the IPv6 address is empty", position)
        hosts.append(part[1] or part[2] or "")
        ports.append(part[3] or "")
        position = part.end()
        following = text[position : position + 1]
        if following not in ("", ",", "/", "?"):
            _fail('":", "," or "/" is expected', position)
        if following != ",":
            return ",".join(hosts), ",".join(ports), position
        position += 1


def _parse_query(settings: dict[str, str], text: str, position: int) -> None:
    # A "/" in a password ends the authority: what comes before a later "@" may be its rest.
    last_at = text.rfind("@")
    after_secret = False
    while position < len(text):
        end = text.find("&", position)
        end = len(text) if end < 0 else end
        keyword, separator, setting = text[position:end].partition("=")
        if not separator:
            _fail('the query parameter has no "="', position)
        if "=" in setting:
            _fail('the query parameter has more than one "="', position)
        name = _decode(keyword, position)
        value = _decode(setting, position + len(keyword) + 1)
        if name == "ssl" and value == "true":  # as JDBC has it
            name, value = "sslmode", "require"
        _store(settings, name, value, position, position > last_at and not after_secret)
        after_secret = after_secret or (name in PARAMETERS and PARAMETERS[name].secret)
        position = end + 1


def _store_decoded(settings: dict[str, str], name: str, raw: str | None, position: int) -> None:
    if raw:
        settings[name] = _decode(raw, position)


def _decode(raw: str, position: int) -> str:
    """Percent-decoding; a "+" is a "+", and blanks are dropped at both ends only."""
    raw = raw.strip(" ")
    if " " in raw:
        _fail("a blank must be written as %20", position)
    if "%" not in raw:
        return raw
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        _fail('"%" must be followed by two hexadecimal digits', position)
    if "%00" in raw:
        _fail("%00 is not allowed", position)
    encoded = re.sub(rb"%(..)", lambda code: bytes.fromhex(code[1].decode()), raw.encode())
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        pass  # raised outside, because this exception holds the bytes
    _fail("the percent-encoded bytes are not UTF-8", position)
