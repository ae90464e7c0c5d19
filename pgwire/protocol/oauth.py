"""OAUTHBEARER: a login by a token that somebody else has issued (RFC 7628; manual: "OAuth").

Knows what carries the token and how a server says that it takes it not; must not know where
the token comes from. The token proves who we are to whoever gets it, and the server proves
nothing in return: whoever sends it must be sure of the line first.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pgwire.errors import ProgrammingError

if TYPE_CHECKING:
    from pgwire.config import Secret

OAUTHBEARER = "OAUTHBEARER"

# RFC 6750, 2.1. Anything else could end the field that holds the token, and begin another.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST = 60_000  # characters; the server takes 65,535 bytes, the message around it included

# What answers a refusal, so that the server goes on to its ErrorResponse.
ACKNOWLEDGEMENT = b"\x01"

_LONGEST_SHOWN = 300


def check_token(token: Secret) -> None:
    """Raises: ProgrammingError: it cannot be sent."""
    if len(token.reveal()) > _LONGEST or not _TOKEN.fullmatch(token.reveal()):
        raise ProgrammingError(
            "the OAuth token must consist of ASCII letters, digits and -._~+/ with = at its end, "
            f"{_LONGEST:,} characters at most"
        )


def client_first(token: Secret) -> bytes:
    """The initial response, for SASLInitialResponse; the token has been checked."""
    return b"n,,\x01auth=Bearer %b\x01\x01" % token.reveal().encode()


def parse_refusal(data: bytes) -> str:
    """In words, why the server does not take the token; it says so in JSON (RFC 7628, 3.2.2)."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return "the server's answer to the OAuth token is not the JSON that it should be"
    told = [f"{name} {_shown(said[key])}" for key, name in _FIELDS if key in said]
    return f"the server answered the OAuth token with {', '.join(told) or 'no reason'}"


_FIELDS = (("status", "status"), ("scope", "scope"), ("openid-configuration", "configuration"))


def _shown(value: Any) -> str:
    """The server's text, cut short and with everything unprintable escaped."""
    text = value if isinstance(value, str) else "?"
    return ascii(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
