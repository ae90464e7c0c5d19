"""Keyword arguments: from Python values to the texts of parameters, and to what has no text.

Knows which Python types say what, the aliases, and the arguments that are pgwire's own. Must not
know connection strings, the environment, or how sources are put together (config.py).

As in libpq's own lists of parameters, an empty str is a parameter that was not given; so is None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from pgwire.errors import ProgrammingError
from pgwire.parameters import ALIASES, OWN_KEYWORDS, PARAMETERS, Form, advice, check_text

_SWITCHES = {"keepalives", "sslsni", "sslcompression", "gssdelegation", "replication"}
_LONGEST_TIMEOUT = 2**31 - 1  # seconds; what the text form can say


def read_keywords(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What is ready for a `Config` under the field's name, and the texts of libpq's parameters.

    Raises:
        ProgrammingError: a name that does not exist, or a value that is of no use there.
    """
    given = _without_aliases(params)
    own = {n: _own_value(n, given.pop(n)) for n in list(given) if n in OWN_KEYWORDS}
    own |= _values_without_text(given)
    return own, {name: _text(name, value) for name, value in given.items()}


def _without_aliases(params: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, without aliases; "" is no value, as in libpq's own parameter lists."""
    for name in params:
        if name not in PARAMETERS and name not in OWN_KEYWORDS:
            hint = advice(name, PARAMETERS.keys() | OWN_KEYWORDS)
            raise ProgrammingError(f"unknown connection parameter {name!r}{hint}")
    given = {
        name: value
        for name, value in params.items()
        if value is not None and not (isinstance(value, str) and value == "")
    }
    for alias, name in ALIASES.items():
        if alias in given:
            value = given.pop(alias)
            if given.setdefault(name, value) != value:
                raise ProgrammingError(f"{alias} and {name} are one parameter, but they differ")
    return given


def _own_value(name: str, value: Any) -> Any:
    """Checks one of the keyword arguments that are ours alone."""
    match name:
        case "prepare" | "allow_cleartext" | "secure":
            _require(isinstance(value, bool), name, "True or False")
        case "statement_cache_size" | "scram_max_iterations":
            is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            _require(is_count, name, "an int from 0 up")
        case "json_loads" | "json_dumps" | "oauth_token":
            _require(callable(value), name, "a callable")
        case "timezone":
            wanted = '"UTC" or "session"; settings={"TimeZone": ...} sets the zone of the session'
            _require(value in ("UTC", "session"), name, wanted)
        case "ssl_context":
            is_context = hasattr(value, "check_hostname") and hasattr(value, "verify_mode")
            _require(is_context, name, "an ssl.SSLContext")
        case _:  # settings
            _require(isinstance(value, Mapping), name, "a mapping of names to values")
            return dict(_setting(*item) for item in value.items() if item[1] is not None)
    return value


def _require(condition: bool, name: str, wanted: str) -> None:
    if not condition:
        raise ProgrammingError(f"{name} must be {wanted}")


def _values_without_text(given: dict[str, Any]) -> dict[str, Any]:
    """Takes out of `given` what only a keyword argument can say: a callable, fractions."""
    taken: dict[str, Any] = {}
    if callable(given.get("password")):
        taken["password"] = given.pop("password")
    timeout = given.get("connect_timeout")
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        in_range = timeout == math.inf or timeout <= _LONGEST_TIMEOUT  # not for NaN
        _require(in_range, "connect_timeout", f"at most {_LONGEST_TIMEOUT} seconds")
        taken["connect_timeout"] = timeout if 0 < timeout < math.inf else None
        del given["connect_timeout"]
    return taken


def _text(name: str, value: Any) -> str:
    """The value as it would stand in a connection string."""
    form = PARAMETERS[name].form
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        if name in _SWITCHES:
            return str(int(value))
    elif isinstance(value, int):
        if name in _SWITCHES or form in (Form.INTEGER, Form.PORTS):
            _require(-(2**31) <= value < 2**31, name, "an integer of 32 bits")
            return str(value)
    elif form is Form.FILE or name == "host":
        path = value.__fspath__() if hasattr(value, "__fspath__") else None
        if isinstance(path, str):
            return path
    raise ProgrammingError(f"{name} cannot be given as {type(value).__name__}")


_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_NOT_SETTINGS = {
    "user",
    "database",
    "replication",
    "options",
    "client_encoding",
    "application_name",
}


def _setting(name: Any, value: Any) -> tuple[str, str]:
    """A setting as the StartupMessage takes it."""
    if not isinstance(name, str) or not _SETTING_NAME.fullmatch(name):
        raise ProgrammingError("settings: a name consists of ASCII letters, digits, _ and .")
    if name.lower() in _NOT_SETTINGS or name.startswith("_pq_."):
        raise ProgrammingError(
            f"settings: {name!r} is not a setting of the server's; give it apart"
        )
    source = f"settings[{name!r}]"
    if isinstance(value, bool):
        return name, "on" if value else "off"
    _require(isinstance(value, str | int | float), source, "a str, an int, a float or a bool")
    text = str(value)
    check_text(text, source)
    return name, text
