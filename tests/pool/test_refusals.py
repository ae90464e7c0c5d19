"""Why an opening failed: a pool keeps that for all who are to be told, and nothing else for it."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any
from weakref import ref

import pytest

import pgwire
from tests.pool.support import Thread, pool, until

REFUSED = "host=127.0.0.1 port=1 user=nobody connect_timeout=5"


class Treasure:
    """What nobody should keep."""


class Odd(Exception):
    """It takes something else than `args`."""

    def __init__(self, number: int, *, text: str) -> None:
        super().__init__(f"{number}: {text}")
        self.number = number


def raising(kept: list[ref[Treasure]]) -> Any:
    """User code that fails, and what was in its frame."""

    def code(*_: object) -> None:
        treasure = Treasure()
        kept.append(ref(treasure))
        raise ValueError("no")

    return code


def fails(p: pgwire.Pool) -> ref[Treasure]:
    """A query that fails: what was in the frames of who asked for it."""
    treasure = Treasure()
    try:
        p.query("select 1")
    except ValueError:
        return ref(treasure)
    raise AssertionError("it did not fail")


def test_a_pool_keeps_no_frames_of_a_hook_or_of_who_is_told(dsn: str) -> None:
    """Until an opening succeeded, which may be never."""
    kept: list[ref[Treasure]] = []
    with pool(dsn, max_size=1, on_connect=raising(kept)) as p:
        kept.append(fails(p))
        assert len(kept) == 2
        until(lambda: gc.collect() >= 0 and [found() for found in kept] == [None, None])


def test_a_failed_opening_leaves_no_cycle(dsn: str) -> None:
    """What was in its frames went with the next full garbage collection, which may be late."""
    kept: list[ref[Treasure]] = []
    gc.collect()
    gc.disable()
    try:
        for code in ("on_connect", "password"):
            with pool(dsn, max_size=1, **{code: raising(kept)}) as p:
                kept.append(fails(p))
        until(lambda: [found() for found in kept] == [None] * 4)
    finally:
        gc.enable()


def test_whoever_runs_out_of_time_has_a_cause_of_his_own(dsn: str) -> None:
    def hook(conn: Any) -> None:
        if opened:
            raise Odd(7, text="not again")
        opened.append(conn)

    opened: list[object] = []
    with pool(dsn, max_size=2, on_connect=hook) as p, p.connect():
        causes: list[Any] = []
        for _ in range(2):
            with pytest.raises(pgwire.PoolTimeout, match="7: not again") as caught:
                p.query("select 1", timeout=0.2)
            causes.append(caught.value.__cause__)
        first, second = causes
        assert first is not second
        for cause in causes:
            assert (type(cause), cause.number, cause.__traceback__) == (Odd, 7, None)
            assert cause.__notes__[0].endswith(", in hook")
        with suppress(Odd):
            raise first  # which adds frames to it
        assert second.__traceback__ is None


def test_and_so_has_whoever_waits_for_the_floor(dsn: str) -> None:
    def hook(_conn: object) -> None:
        if opened:
            raise ValueError("no")
        opened.append(1)

    opened: list[int] = []
    with pool(dsn, min_size=2, max_size=2, on_connect=hook) as p:
        until(lambda: p.stats().open_failures and p.idle_count)
        threads = [Thread(p.wait) for _ in range(2)]
        errors: list[BaseException] = []
        for thread in threads:
            with pytest.raises(ValueError, match="no") as caught:
                thread.outcome()
            errors.append(caught.value)
        assert errors[0] is not errors[1]


def test_a_refusal_is_told_without_frames() -> None:
    with pool(REFUSED, max_size=1) as p:
        with pytest.raises(pgwire.PoolTimeout, match="attempt to connect failed") as caught:
            p.query("select 1", timeout=0.2)
        cause = caught.value.__cause__
        assert isinstance(cause, pgwire.ConnectionFailed)
        assert cause.__traceback__ is None
