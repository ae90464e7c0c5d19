"""`pgwire.connect()`: one blocking connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.blocking.connection import Connection
from pgwire.blocking.opening import Opener
from pgwire.opening import settings

if TYPE_CHECKING:
    from typing import Unpack

    from pgwire.parameters import ConnectionParameters


def connect(conninfo: str = "", **parameters: Unpack[ConnectionParameters]) -> Connection:
    """Connect to a server.

    `conninfo` is a URI (`postgresql://user@host/db`) or a keyword/value string
    (`host=… dbname=…`), as libpq takes them. Keyword arguments have libpq's names too and win
    over `conninfo`, which wins over a service file, which wins over `PG*` environment variables.
    Hosts are tried in turn, and all their addresses; `connect_timeout` is in seconds, for each of
    them, the lookup of its name and a `password` function included. Manual: "Connection Strings"
    and "Parameter Key Words".

    Raises `ProgrammingError` for settings that make no sense, `NotSupportedError` for those
    that this version cannot carry out, and `ConnectionFailed` (`AuthenticationError`,
    `TLSError`) with every attempt in `.attempts`.
    """
    try:
        config = settings(conninfo, parameters)
    finally:
        del conninfo, parameters  # a traceback may show what this frame holds
    return Connection(Opener(config).open())
