"""Ctrl-C in a thread that submits, or serves who has: no connection is lost, no job, no thread.

Python looks for Ctrl-C when a function begins, and when a built-in one has returned: each of these
moments is tried (see `tests.support.striking`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.pool import (
    core,
    crew,
    engine,
    keeper,
    requesting,
    sharing,
    slots,
    submitting,
    supply,
    waiters,
)
from tests.pool.support import PATIENCE, pool, until
from tests.support.striking import strike_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORE = frozenset(str(module.__file__) for module in (core, slots, supply, waiters))
SHELL = frozenset(
    str(module.__file__) for module in (crew, engine, keeper, requesting, sharing, submitting)
)
SHORT = "select $1::int"

# What a submission that was struck has left in a pool with one connection.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=[1, 4], ids=["alone", "shared"])
def p(request: pytest.FixtureRequest, dsn: str) -> Iterator[pgwire.Pool]:
    with pool(dsn, max_size=1, max_pipeline=request.param) as made:
        for n in range(3):  # so that it is known to be short
            assert made.submit(SHORT, [n]).result(PATIENCE).scalar() == n
        yield made
        made.end(timeout=PATIENCE)


def check(p: pgwire.Pool, nth: int) -> None:
    """Everything that was asked for comes to its end, and the pool serves who comes next."""
    until(lambda: p.total_count == p.idle_count and not p.waiting_count)
    asked = [p.submit(SHORT, [nth + n]) for n in range(3)]
    assert [each.result(PATIENCE).scalar() for each in asked] == [nth + n for n in range(3)]
    until(lambda: p.total_count == p.idle_count)
    assert not p._submitter.sharing.lines


def strike_everywhere(p: pgwire.Pool, work: Callable[[], object], least: int) -> None:
    nth = 0
    while moment := strike_at(nth, work, CORE | SHELL):
        print("struck at", moment)  # the last is the culprit
        check(p, nth)
        nth += 1
    assert nth > least, "there are more such moments"
    check(p, nth)


def test_who_submits(p: pgwire.Pool) -> None:
    strike_everywhere(p, lambda: p.submit(SHORT, [1]), 30)


def test_who_submits_more_than_can_run(p: pgwire.Pool) -> None:
    def work() -> None:
        asked = [p.submit(SHORT, [n]) for n in range(6)]
        assert [each.result(PATIENCE).scalar() for each in asked] == [*range(6)]

    strike_everywhere(p, work, 150)


def test_who_gives_back_what_a_submission_waits_for(p: pgwire.Pool) -> None:
    """The query is done, whoever was struck: its caller has its future."""
    nth = 0
    while True:
        lease = p.connect()
        asked = [p.submit(SHORT, [n]) for n in range(2)]
        moment = strike_at(nth, lease.release, SHELL)
        if not moment:
            break
        print("struck at", moment)  # the last is the culprit
        assert [each.result(PATIENCE).scalar() for each in asked] == [0, 1]
        check(p, nth)
        nth += 1
    assert nth > 10, "there are more such moments"


def test_who_cancels_what_waits(p: pgwire.Pool) -> None:
    nth = 0
    while True:
        with p.connect():
            asked = p.submit(SHORT, [1])
            moment = strike_at(nth, asked.cancel, SHELL)
            with suppress(pgwire.Error):
                p.connect(timeout=0)
        print("struck at", moment)  # the last is the culprit
        check(p, nth)
        if not moment:
            break
        nth += 1
    assert nth > 10, "there are more such moments"
