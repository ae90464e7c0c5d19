"""A primary and a standby that streams from it, for tests in which their roles change.

Both are embedded servers. A write is acknowledged once the standby shows it, so that whatever was
acknowledged can be asked for there at once, and must be there when the standby has been promoted.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 20.0


class Pair:
    """`primary` and `standby` are who has the role at present; `first` and `second` stay."""

    def __init__(self, primary: embedded.Server, standby: embedded.Server) -> None:
        self.primary, self.standby = self.first, self.second = primary, standby
        self._bind()

    def renew(self) -> None:
        """Whatever has happened to them: a primary without tables and its standby."""
        primary, standby = self.primary, self.standby
        primary.start()
        self.first, self.second = primary, standby
        with pgwire.connect(primary.socket_url) as conn:
            conn.query("alter system reset all")
            conn.query("select pg_reload_conf()")
            conn.query("set synchronous_commit = local")
            conn.script("drop schema public cascade; create schema public")
        self.follow()

    def promote(self) -> None:
        """The standby is promoted; who was the primary, and has ended, counts as the standby."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def follow(self) -> None:
        """The one that is not the primary begins anew, as its standby."""
        self.standby.follow(self.primary)
        self._bind()

    def dsn(self, **parameters: str) -> str:
        """A superuser's connection string that names both, the first one first."""
        hosts = ",".join(f"{each.host}:{each.port}" for each in (self.first, self.second))
        url = self.first.url_for(self.first.user, **parameters)
        return url.replace(f"{self.first.host}:{self.first.port}", hosts)

    def ask(self, sql: str, *params: Any) -> pgwire.Result[Any]:
        """A query to the primary."""
        with pgwire.connect(self.primary.socket_url) as conn:
            return conn.query(sql, params)

    def _bind(self) -> None:
        """From now on a write waits for the standby. That must not be copied with the data: it
        would wait for another one, once it is promoted.
        """
        with pgwire.connect(self.primary.socket_url) as conn:
            conn.query("alter system set synchronous_standby_names = '*'")
            conn.query("select pg_reload_conf()")
            deadline = time.monotonic() + _PATIENCE
            while conn.query("select sync_state from pg_stat_replication").scalar() != "sync":
                assert time.monotonic() < deadline, "the standby does not stream"
                time.sleep(0.005)


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """A primary and its standby, for the time of the block.

    Raises:
        Unavailable: there is no PostgreSQL, or it did not start.
    """
    with (
        embedded.server(settings={"synchronous_commit": "remote_apply"}) as primary,
        embedded.standby(primary) as standby,
    ):
        yield Pair(primary, standby)
