"""Whom a connection tells of what happens on it, beside its caller: observers, and the log.

Observers are told in the context (`contextvars`) of whoever asked for the operation, wherever it
has been run. What they raise is logged and goes no further. What they ask for themselves is
reported to none of those that are just being called: else they would never come to an end.
"""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pgwire.errors import ConnectionLost
from pgwire.log import connection_logger, query_logger
from pgwire.sqltext import redacted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgwire.errors import PostgresError
    from pgwire.protocol.observing import Endpoint, QueryReport

    Observer = Callable[[QueryReport], object]

_inside: ContextVar[tuple[Observer, ...]] = ContextVar("pgwire_observers", default=())


def tell(observers: Iterable[Observer], report: QueryReport) -> None:
    """Call each of them with the report, in the context of who asked; see the module."""
    inside = _inside.get()
    for observer in observers:
        if observer in inside:
            continue
        token = _inside.set((*inside, observer))
        try:
            observer(report)
        except BaseException as error:
            ends = isinstance(error, KeyboardInterrupt | SystemExit)
            if ends and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C, or the program's end
            connection_logger.exception("a callback for 'query' raised")
        finally:
            _inside.reset(token)


# ---------------------------------------------------------------- statements in the log


def log_queries(
    target: Any,
    *,
    slower_than: float = 0.0,
    level: int = logging.INFO,
    logger: logging.Logger = query_logger,
) -> Callable[[], None]:
    """Log each statement of a connection or a pool; what is returned ends it, when called.

    `slower_than` (seconds) leaves out those that took less; those that failed are logged at any
    rate. A line has the SQL without its literals (`?` for each), how long it took, and how many
    rows there were; no value, and of an error its class and SQLSTATE. To the logger `pgwire.query`,
    unless another is given.
    """

    def log(report: QueryReport) -> None:
        if report.error is not None or report.duration >= slower_than:
            log_report(report, level, logger)

    target.on("query", log)
    return lambda: target.off("query", log)


def log_report(
    report: QueryReport, level: int = logging.DEBUG, logger: logging.Logger = query_logger
) -> None:
    """One line for one operation."""
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "%s took %.6f s%s: %s [%s]",
            report.operation,
            report.duration,
            "" if report.waited is None else f" ({report.waited:.6f} s of it waiting)",
            _outcome(report),
            " ".join(redacted(report.sql).split()),
        )


def _outcome(report: QueryReport) -> str:
    if report.error is not None:
        state = getattr(report.error, "sqlstate", None)
        return type(report.error).__name__ + (f" ({state})" if state else "")
    rows = "" if report.row_count is None else f"{report.row_count} rows"
    again = "prepared again, as it was stale" if report.retried else ""
    return ", ".join(filter(None, (rows, again))) or report.command_tag or "done"


# ---------------------------------------------------------------- connections in the log


def log_opened(driver: Any) -> None:
    """A connection can be used from now on."""
    if connection_logger.isEnabledFor(logging.DEBUG):
        connection_logger.debug("opened: %s", _told(driver))


def log_end(driver: Any) -> None:
    """A connection is of no more use."""
    failure = driver.session.failure
    if isinstance(failure, ConnectionLost):
        connection_logger.info("lost: %s: %s", _told(driver), failure.args[0])
    elif connection_logger.isEnabledFor(logging.DEBUG):
        connection_logger.debug("closed: %s", _told(driver))


def log_notice(notice: PostgresError, driver: Any) -> None:
    """What the server says by itself: its warnings as ones, all else for who wants details."""
    level = logging.WARNING if notice.severity == "WARNING" else logging.DEBUG
    if connection_logger.isEnabledFor(level):
        connection_logger.log(level, "%s: %s: %s", notice.severity, notice.message, _told(driver))


def log_failed_host(host: str, error: Callable[[], Exception]) -> None:
    """A host of the settings is of no use: the next is tried, if there is one."""
    if connection_logger.isEnabledFor(logging.DEBUG):
        connection_logger.debug("cannot connect to %s: %s", host, error())


def _told(driver: Any) -> str:
    endpoint: Endpoint = driver.endpoint
    key = driver.session.backend_key
    port = "" if endpoint.port is None else f":{endpoint.port}"
    return (
        f"{endpoint.user}@{endpoint.host}{port}/{endpoint.database}, "
        f"pid {0 if key is None else key.pid}"
    )
