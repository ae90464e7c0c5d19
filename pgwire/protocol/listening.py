"""LISTEN and UNLISTEN: what is sent, and what is refused before that.

Where notifications wait until somebody takes them, `events` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError, NotSupportedError, ProgrammingError
from pgwire.protocol.quoting import quote_identifier, quote_literal
from pgwire.protocol.session import HELD
from pgwire.protocol.simple import SimpleQuery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgwire.protocol.session import Session

# NAMEDATALEN - 1. LISTEN cuts a longer name, with a notice that nobody reads, and NOTIFY does the
# same: two channels might be one. `pg_notify` refuses it, and so do we.
LONGEST_CHANNEL = 63  # bytes


def check_channel(channel: object) -> str:
    """A channel's name; raise ProgrammingError for what cannot be one."""
    if not isinstance(channel, str):
        raise ProgrammingError(f"a channel's name is a str, and not {channel!r}")
    quote_identifier(channel)  # NUL, and lone surrogates
    size = len(channel.encode())
    if not 1 <= size <= LONGEST_CHANNEL:
        raise ProgrammingError(
            f"the channel's name {channel!r} has {size} bytes; it must have from 1 to "
            f"{LONGEST_CHANNEL}"
        )
    return channel


# Whoever waits for longer waits for ever, and no clock is asked for more.
_FOR_EVER = 1_000_000.0


def check_wait(timeout: float | None) -> float | None:
    """How long somebody is to wait, in seconds from 0 up; None for ever.

    Less than nothing is nothing. Raises ProgrammingError for what is no number.
    """
    if (timeout.__class__ is float or timeout.__class__ is int) and 0 <= timeout <= _FOR_EVER:
        return timeout  # as nearly all are
    if timeout is None:
        return None
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or timeout != timeout:  # NaN
        raise ProgrammingError(f"timeout is {timeout!r}; it must be a number of seconds, or None")
    return None if timeout > _FOR_EVER else max(float(timeout), 0.0)


def listening(session: Session, channel: str) -> SimpleQuery:
    """What makes the session hear of a channel."""
    return changing(session, [channel], [])


def unlistening(channel: str) -> SimpleQuery:
    """What makes it hear no more of it."""
    return SimpleQuery(_words("UNLISTEN", [channel]))


def changing(session: Session, listen: Iterable[str], unlisten: Iterable[str]) -> SimpleQuery:
    """LISTEN to some channels and UNLISTEN others, all of them or none."""
    refuse_poolers(session)
    return SimpleQuery(_words("UNLISTEN", unlisten) + _words("LISTEN", listen))


def notifying(channel: str, payload: str) -> SimpleQuery:
    """What sends a notification."""
    return SimpleQuery(f"NOTIFY {quote_identifier(channel)}, {quote_literal(payload)}")


def _words(verb: str, channels: Iterable[str]) -> str:
    return "".join(f"{verb} {quote_identifier(check_channel(channel))};" for channel in channels)


def refuse_poolers(session: Session) -> None:
    """Raise NotSupportedError where the session may be another after each transaction."""
    if session.is_pooled:
        raise NotSupportedError(
            "with prepare=False, that is behind a pooler, a session may be another's after each "
            "transaction, and its notifications as well: connect to the server itself to listen"
        )


def refuse_held(session: Session) -> None:
    """Raise InterfaceError where what comes next is for an open iteration of something else."""
    if session.floor is not None and session.floor.holds:
        raise InterfaceError(HELD)
