"""A session that notices when its server is not any more what was asked for.

A standby is promoted, a primary is made a standby: sessions that are open stay open, and their
server tells of it with its next answer (since PostgreSQL 14, by ParameterStatus), or refuses to
write (SQLSTATE 25006). Such a session does what it is in the middle of, and is of no more use
afterwards; a pool then does without all that it opened before. To those who ask nothing a server
says nothing: it looks at its role when it is about to say that it is ready.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from pgwire.errors import ConnectionLost
from pgwire.protocol.cleaning import Clean
from pgwire.protocol.roles import misfit, question
from pgwire.protocol.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.errors import PostgresError

_READ_ONLY_TRANSACTION = "25006"
_FOR_WRITING = ("read-write", "primary")


class RoleWatch:
    """What the sessions of one opener know together: whether one of them has seen a change."""

    __slots__ = ("_is_told", "is_lost")

    def __init__(self) -> None:
        self.is_lost = False
        self._is_told = False

    def take_loss(self) -> bool:
        """Whether there was a change that nobody has been told of."""
        is_news = self.is_lost and not self._is_told
        self._is_told = self.is_lost
        return is_news


class RoleSession(Session):
    """See the module. Until `watch` is called it is a session like any other."""

    role_watch: RoleWatch | None = None
    _demand = "any"

    def watch(self, demand: str, watch: RoleWatch) -> None:
        """From now on the server is to stay what is demanded."""
        if demand != "any":
            self._demand, self.role_watch = demand, watch

    @property
    def is_misplaced(self) -> bool:
        """Whether one of those who are watched together has seen a change."""
        return self.role_watch is not None and self.role_watch.is_lost

    @property
    def in_step(self) -> bool:
        return super().in_step and not self.is_misplaced

    def is_spotless(self) -> bool:
        return super().is_spotless() and not self.is_misplaced

    def set_parameter(self, name: str, value: str) -> None:
        super().set_parameter(name, value)
        # What the session has set by itself is undone when it is cleaned, and says nothing of
        # the server.
        of_server = name == "in_hot_standby" or (
            name == "default_transaction_read_only" and not self.changed
        )
        if of_server and self.role_watch is not None and misfit(self._demand, self):
            self._lose_role(self.role_watch)

    def read_error(self, buffer: bytes, start: int, end: int) -> PostgresError:
        error = super().read_error(buffer, start, end)
        # A server that tells its role by itself has told it, and the transaction is read-only
        # because somebody wants it so.
        if (
            error.sqlstate == _READ_ONLY_TRANSACTION
            and self._demand in _FOR_WRITING
            and self.role_watch is not None
            and question(self._demand, self) is not None
        ):
            self._lose_role(self.role_watch)
        return error

    def _lose_role(self, watch: RoleWatch) -> None:
        watch.is_lost = True
        if self.pending and isinstance(self.pending[0], Clean):
            # It is nobody's at the moment, and must not be anybody's any more.
            self.fail(ConnectionLost("the server has another role now"))


class _Driver(Protocol):
    session: Session


D = TypeVar("D", bound=_Driver)


def seeing_roles(look: Callable[[D], bool]) -> Callable[[D], bool]:
    """A look at an idle connection that minds its server's role as well."""

    def see(driver: D) -> bool:
        session = driver.session
        return look(driver) and not (isinstance(session, RoleSession) and session.is_misplaced)

    return see


def take_role_loss(session: Session) -> bool:
    """Whether whoever keeps this session should part with all that were opened before now."""
    watch = session.role_watch if isinstance(session, RoleSession) else None
    return watch is not None and watch.take_loss()
