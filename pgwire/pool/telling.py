"""What a pool tells its users when something did not come off; the same for both shells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost, InterfaceError, OperationalError, PoolTimeout
from pgwire.pool.reasons import bare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pgwire.pool.config import PoolStats


def no_connection(
    waited: float, stats: PoolStats, own: Sequence[str], who: str, cause: Exception | None
) -> PoolTimeout:
    """A request has waited in vain. `own`: where `who` took the leases that it holds itself."""
    reasons = [
        f"{stats.leased + stats.shared} of {stats.max_size} leased, {stats.idle} idle, "
        f"{stats.opening} opening, {stats.closing} closing, {stats.waiting} more waiting"
    ]
    if own:
        reasons.append(f"this {who} itself holds leases, taken at {', '.join(own)}")
    if cause is not None:  # what matters most comes first
        nothing_open = stats.size == stats.opening + stats.closing
        failed = f"the last attempt to connect failed: {cause}"
        reasons.insert(0 if nothing_open else len(reasons), failed)
    error = PoolTimeout(f"no connection within {round(waited, 3):g} s: {'; '.join(reasons)}")
    error.stats = stats
    error.__cause__ = cause and bare(cause)
    return error


CANNOT_CONNECT = "%s: a connection could not be opened, and is tried again while wanted: %s"


def not_ended(timeout: float | None, leases: Sequence[str], stats: PoolStats) -> PoolTimeout:
    """`end(timeout)` had to use force. `leases`: where each was taken, and by whom."""
    under_way = {
        "quer{} running": stats.leased - len(leases),
        "request{} waiting": stats.waiting,
        "connection{} opening": stats.opening,
        "connection{} closing": stats.closing + stats.resetting + stats.checking,
    }
    error = PoolTimeout(
        f"end({timeout}): {len(leases)} lease{'s' * (len(leases) != 1)} still out, "
        + "".join(_counted(what, number) for what, number in under_way.items() if number > 0)
        + "closed now"
        + "".join(f"; {lease}" for lease in leases)
    )
    error.stats = stats
    return error


def _counted(what: str, number: int) -> str:
    ending = ("y", "ies") if what.startswith("quer") else ("", "s")
    return f"{number} {what.format(ending[number != 1])}, "


def waits_for_own_lease(own: Sequence[str], who: str) -> InterfaceError:
    """`end()` was called by somebody whom it would wait for."""
    return InterfaceError(
        f"end() would wait for a lease of the {who} that calls it, taken at "
        f"{', '.join(own)}; release it first, or give end() a timeout"
    )


def waits_for_caller(code: Callable[..., Any], where: str) -> InterfaceError:
    """`end()` was called by a callback or a hook of the pool."""
    return InterfaceError(
        f"end() would wait for the callback or hook that calls it, {code!r}; "
        f"call it from another {where}, or give it a timeout"
    )


def never_released(place: str) -> str:
    """A lease was collected while it was out."""
    return f"a lease taken at {place} was never released; its connection is closed"


def as_exception(error: BaseException) -> Exception:
    """What a hook has raised, as something that can be handed on."""
    if isinstance(error, Exception):
        return error
    failure = OperationalError(f"a hook raised {error!r}")
    failure.__cause__ = error
    return failure


GOES_ON = (
    "%s: a callback for %r has not ended within %g s, and goes on beside; the connection that it "
    "was given is taken from it"
)


def left_behind(what: str, seconds: float | None) -> OperationalError:
    """User code was not waited for any more: for want of time, or, None, as the pool has ended."""
    if seconds is None:
        return OperationalError(f"{what} had not ended when the pool was closed by force")
    return OperationalError(f"{what} took longer than {seconds:g} s")


def left_unfit(what: str, failure: Exception | None) -> OperationalError:
    """User code has ended on a connection that cannot be used; `failure` is the session's."""
    if _is_loss(failure):
        return ConnectionLost(f"the connection was lost while {what} ran: {failure}")
    return OperationalError(f"{what} left its connection closed or in use")


def may_be_mended(unfit: Exception, failure: Exception | None) -> bool:
    """Whether a new connection is unfit only because it was lost: then another may be fit.

    `unfit` is what user code has raised on it, or has left behind. Else that is for a caller, who
    would take the loss for that of his own query.
    """
    return isinstance(unfit, ConnectionLost) and _is_loss(failure)


def _is_loss(failure: Exception | None) -> bool:
    return failure is not None and type(failure) is not InterfaceError  # `close` says that
