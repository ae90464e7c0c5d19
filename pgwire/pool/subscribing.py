"""What the hubs of both shells have in common: judgements, words, and how long things may take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError, NotSupportedError, PostgresError, ProgrammingError
from pgwire.pool.feeds import Feed
from pgwire.pool.hub import Tell
from pgwire.protocol.listening import changing, check_channel, notifying
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from pgwire.driving import DriverBase
    from pgwire.pool.config import PoolConfig
    from pgwire.pool.hub import Check
    from pgwire.pool.options import Options
    from pgwire.protocol.messages import Notification
    from pgwire.protocol.operation import Operation

# How long the server may take to listen to a channel, or to answer a check.
TELL_TIMEOUT = 5.0
# The time is looked at so often at least, in seconds.
INTERVAL = 1.0
# What a read brings is handed on at once; the feeds have their bounds.
UNBOUNDED = sys.maxsize

LOST = "%s: the connection that listens for all was lost, and another is opened: %s"
NOT_YET = "%s: there was no connection to listen with, and it is tried again: %s"
RAISED = "%s: a callback for notifications raised"
NEVER_CLOSED = "a subscription to %s was never closed; nobody takes what comes for it any more"


def new_feed(channels: tuple[str, ...], max_queued: int, config: PoolConfig) -> Feed[Notification]:
    """What a subscription takes from; ProgrammingError for what makes no sense."""
    if not channels:
        raise ProgrammingError("listen() needs the name of a channel at least")
    for channel in channels:
        check_channel(channel)
    if not isinstance(max_queued, int) or isinstance(max_queued, bool) or max_queued < 1:
        raise ProgrammingError(f"max_queued is {max_queued!r}; it must be an integer of at least 1")
    if config.max_size < 2:
        raise ProgrammingError(
            "listen() keeps a connection of the pool for itself, and with max_size=1 nothing would "
            "be left for anything else: make it 2 at least"
        )
    return Feed(channels, max_queued)


def operation_for(
    effect: Tell[Notification] | Check[Notification], driver: DriverBase
) -> Operation:
    """What carries it out. Raises what keeps a session from listening at all."""
    if not isinstance(effect, Tell):
        return Ping()
    if effect.notify is not None:
        return notifying(*effect.notify)
    return changing(driver.session, effect.listen, effect.unlisten)


def is_refusal(error: Exception, driver: DriverBase) -> bool:
    """Whether the server, or we, said no, and the connection is as good as before."""
    return isinstance(error, PostgresError | NotSupportedError) and driver.is_in_step


def can_be_reused(options: Options) -> bool:
    """Whether what is given back is cleaned, and so does not listen any more."""
    return options.reset is None and options.always_reset is not False


def made_before_fork() -> InterfaceError:
    return InterfaceError(
        "this subscription was made before a fork, and belongs to the parent process"
    )
