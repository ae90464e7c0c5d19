"""What a user may demand of a login, as text: `require_auth`, SCRAM keys, protocol versions.

Knows how these parameters are written (manual: "Parameter Key Words"); must not know where they
come from (config.py) or how a login goes (protocol/startup.py). Messages show no value: with a
wrongly quoted string a piece of a password can end up anywhere.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError
from pgwire.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("password", "md5", "gss", "sspi", "scram-sha-256", "oauth", "none")
ALL_METHODS = frozenset(METHODS)
SCRAM_ONLY = frozenset({"scram-sha-256"})

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = PROTOCOL_3_0 + 2
_VERSIONS = {"3.0": PROTOCOL_3_0, "3.2": PROTOCOL_3_2, "latest": PROTOCOL_3_2}


def parse_require_auth(text: str, source: str = "require_auth") -> frozenset[str]:
    """The methods that the server may use; "none" among them if it may let us in for nothing.

    Without a text, all of them. A list of what is forbidden, each with "!", leaves the rest.

    Raises: ProgrammingError: a word that is no method, one that stands twice, or a mix of both
        kinds of list.
    """
    if not text:
        return ALL_METHODS
    words = text.split(",")
    negated = words[0].startswith("!")
    named: set[str] = set()
    for word in words:
        method = word.removeprefix("!")
        if method not in ALL_METHODS:
            raise ProgrammingError(
                f"{source} must be a list, without blanks, of: {', '.join(METHODS)}; or of these "
                "with a ! before each, for what is forbidden"
            )
        if word.startswith("!") is not negated:
            raise ProgrammingError(f"{source} mixes what is allowed with what is forbidden (!)")
        if method in named:
            raise ProgrammingError(f"{source} names {method} more than once")
        named.add(method)
    return ALL_METHODS - named if negated else frozenset(named)


def check_scram_key(text: str, source: str) -> None:
    """Raises: ProgrammingError: the text is not the base64 of 32 bytes. An empty one is none."""
    try:
        size = len(b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        size = -1
    if text and size != 32:
        del text
        raise ProgrammingError(f"{source} must be base64, of exactly 32 bytes")


def read_demands(values: Mapping[str, str], *, secure: bool) -> dict[str, Any]:
    """What is demanded, under the names of `Config`; `secure` leaves SCRAM alone.

    Raises: ProgrammingError: what is demanded contradicts itself, or `secure`.
    """
    methods = parse_require_auth(values.get("require_auth", ""))
    if secure and not methods & SCRAM_ONLY:
        raise ProgrammingError("secure=True is SCRAM only, which require_auth does not allow")
    return {
        "auth_methods": methods & SCRAM_ONLY if secure else methods,
        "scram_keys": _read_keys(values),
        "protocol_versions": _read_versions(values),
    }


def _read_keys(values: Mapping[str, str]) -> tuple[Secret, ...] | None:
    names = ("scram_client_key", "scram_server_key")
    keys = tuple(Secret(values[name]) for name in names if values.get(name))
    if len(keys) == 1:
        raise ProgrammingError("scram_client_key and scram_server_key go together")
    return keys or None


def _read_versions(values: Mapping[str, str]) -> tuple[int, int]:
    """The newest is 3.0 unless a newer one is asked for: some poolers and proxies hang up on it."""
    oldest = _VERSIONS[values.get("min_protocol_version") or "3.0"]
    newest = values.get("max_protocol_version")
    version = _VERSIONS[newest] if newest else oldest
    if oldest > version:
        raise ProgrammingError("min_protocol_version is newer than max_protocol_version")
    return oldest, version
