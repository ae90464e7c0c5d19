"""What the pool says in the log, and that it costs nothing but a line where that fails."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.pool.support import kill, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Broken(logging.Handler):
    """As a program's own may be: `logging` catches what its own handlers raise, not this."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ZeroDivisionError(record.getMessage())


@pytest.fixture
def broken() -> Iterator[None]:
    """Whatever pgwire says, in any logger, raises."""
    logger, handler = logging.getLogger("pgwire"), Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.usefixtures("broken")
def test_openings_that_fail_keep_no_slot(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The line was written before the core was told: every slot stayed OPENING for ever."""
    failures: list[BaseException] = [ValueError("not today"), ValueError("nor now")]

    def hook(_conn: object) -> None:
        if failures:
            raise failures.pop()

    with pool(dsn, max_size=1, checkout_timeout=10, on_connect=hook) as p:
        for reason in ("nor now", "not today"):
            with pytest.raises(ValueError, match=reason):
                p.connect()
        assert p.query("select 1").scalar() == 1
    assert p.total_count == 0
    assert "ZeroDivisionError: " in capsys.readouterr().err


@pytest.mark.usefixtures("broken")
def test_resets_that_fail_and_connections_that_are_lost_keep_none(dsn: str) -> None:
    failures: list[BaseException] = [ValueError("not today")]

    def reset(_conn: object) -> None:
        if failures:
            raise failures.pop()

    with pool(dsn, max_size=1, checkout_timeout=10, reset=reset) as p:
        first = pid_of(p)
        second = pid_of(p)
        until(lambda: p.idle_count == 1)  # what is lost while it is reset counts as given up
        kill(dsn, [second])
        until(lambda: p.stats().lost == 1)
        assert len({first, second, pid_of(p)}) == 3
        p.expire()
    assert p.total_count == 0


@pytest.mark.usefixtures("broken")
def test_the_watch_over_long_leases_goes_on(dsn: str) -> None:
    leaks: list[object] = []
    with pool(dsn, max_size=1, leak_after=0.05) as p:
        p.on("leak", leaks.append)
        for n in (1, 2):
            with p.connect():
                until(lambda n=n: len(leaks) >= n)  # type: ignore[misc]
            with pytest.raises(pgwire.PoolTimeout), p.connect():
                p.connect(timeout=0.01)


def test_a_line_names_the_place_that_has_written_it(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(_conn: object) -> None:
        raise ValueError("not today")

    with pool(dsn, on_connect=hook) as p, pytest.raises(ValueError, match="not today"):
        p.connect()
    line = next(r for r in caplog.records if r.levelno == logging.WARNING)
    assert (line.name, line.funcName) == ("pgwire.pool", "opening_failed")
