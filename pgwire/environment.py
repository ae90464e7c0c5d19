"""The environment's variables that have a say in a connection (manual: "Environment Variables").

Knows their names, and which are settings of the server's; must not know which source wins
(config.py), or where an environment comes from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.parameters import PARAMETERS, check_text

if TYPE_CHECKING:
    from collections.abc import Mapping

# The parameters that they stand in for, by the variables' names.
STANDING_IN = {row.env: row.name for row in PARAMETERS.values() if row.env is not None}
_SETTINGS = {"PGDATESTYLE": "datestyle", "PGTZ": "timezone", "PGGEQO": "geqo"}
_ALL = {*STANDING_IN, *_SETTINGS, "PGREQUIRESSL", "PGSYSCONFDIR"}


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the environment may matter, as the UTF-8 that it is, whatever the locale.

    Asked for each of these by its name, os.environ would take half the time of a `connect`'s
    settings; its names are few.
    """
    return {name: _as_utf8(environ.get(name, "")) for name in environ if name in _ALL}


def _as_utf8(value: str) -> str:
    """What Python had to read as ASCII: surrogate escapes. What is no UTF-8 stays as it is."""
    if value.isascii():
        return value
    try:
        return value.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return value


def merge_settings(
    environ: Mapping[str, str], settings: dict[str, str]
) -> tuple[tuple[str, str], ...]:
    """The server's settings: what the environment has of them, unless `settings` says otherwise."""
    named = {name.lower() for name in settings}
    merged = {}
    for variable, name in _SETTINGS.items():
        text = environ.get(variable, "default")
        if text.lower() != "default" and name not in named:
            check_text(text, f"the environment's {variable}")
            merged[name] = text
    return tuple((merged | settings).items())
