"""What is taken bit by bit from a pool takes its connection when it begins, and gives it back."""

from __future__ import annotations

import gc
import io
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = "select n from generate_series(1, 100000) n"
COPY = f"copy ({NUMBERS}) to stdout"

OUTPUTS = pytest.mark.parametrize(
    "begin",
    [lambda p: p.stream(NUMBERS), lambda p: p.copy_out(COPY)],
    ids=["stream", "copy_out"],
)

OUTPUTS_TOLD = pytest.mark.parametrize(
    "begin",
    [
        lambda p, tell: p.stream(NUMBERS, progress=tell),
        lambda p, tell: p.copy_out(COPY, progress=tell),
    ],
    ids=["stream", "copy_out"],
)


@pytest.fixture
def one(dsn: str) -> Iterator[pgwire.Pool]:
    with pgwire.Pool(dsn, max_size=1) as p:
        yield p


def in_use(p: pgwire.Pool) -> int:
    return p.stats().leased


@OUTPUTS
def test_it_has_its_connection_as_long_as_it_lasts(one: pgwire.Pool, begin: Any) -> None:
    output = begin(one)
    assert in_use(one) == 0
    next(output)
    assert in_use(one) == 1
    with pytest.raises(pgwire.PoolTimeout):
        one.connect(timeout=0)
    for _ in output:
        pass
    assert in_use(one) == 0
    assert list(output) == []
    assert one.query("select 7").scalar() == 7


@OUTPUTS
def test_leaving_early_gives_it_back(one: pgwire.Pool, begin: Any) -> None:
    with begin(one) as output:
        next(output)
    assert in_use(one) == 0
    assert one.query("select 7").scalar() == 7
    assert one.stats().opened == 1


@OUTPUTS
def test_what_is_dropped_is_closed(one: pgwire.Pool, begin: Any) -> None:
    output = begin(one)
    next(output)
    del output
    gc.collect()
    assert one.query("select 7").scalar() == 7


def test_what_fails_gives_it_back(one: pgwire.Pool) -> None:
    for failing in (
        lambda: list(one.stream("select * from nowhere")),
        lambda: list(one.stream("select 1 / (3 - n) from generate_series(1, 9) n", fetch_size=1)),
        lambda: list(one.copy_out("copy nowhere to stdout")),
        lambda: one.copy_out("copy nowhere to stdout", io.BytesIO()),
        lambda: one.copy_in("copy nowhere from stdin", b""),
        lambda: one.copy_records("nowhere", [(1,)]),
    ):
        with pytest.raises(pgwire.DatabaseError):
            failing()
        assert in_use(one) == 0
    assert one.query("select 7").scalar() == 7


def test_there_is_no_connection_in_time(one: pgwire.Pool) -> None:
    with one.connect():
        for waiting in (
            lambda: next(one.stream(NUMBERS, timeout=0.05)),
            lambda: next(one.copy_out(COPY, timeout=0.05)),
            lambda: one.copy_out(COPY, io.BytesIO(), timeout=0.05),
            lambda: one.copy_in("copy nowhere from stdin", b"", timeout=0.05),
        ):
            with pytest.raises(pgwire.PoolTimeout):
                waiting()


def test_copying_in_and_out(one: pgwire.Pool) -> None:
    one.query("create table pool_copied (n int, name text)")
    try:
        assert one.copy_in("copy pool_copied from stdin", "1\ta\n") == 1
        assert one.copy_records("pool_copied", [(2, "b"), (3, None)]) == 2
        file = io.StringIO()
        assert one.copy_out("copy pool_copied to stdout", file) == 3
        assert file.getvalue() == "1\ta\n2\tb\n3\t\\N\n"
        assert [tuple(row) for row in one.stream("table pool_copied", fetch_size=2)] == [
            *((1, "a"), (2, "b"), (3, None))
        ]
    finally:
        one.query("drop table pool_copied")


def test_progress(one: pgwire.Pool) -> None:
    """At the end of what is iterated over the connection has been given back already."""
    one.query("create table pool_progressed (n int)")
    told: list[tuple[pgwire.Progress, int]] = []

    def tell(progress: pgwire.Progress) -> None:
        told.append((progress, in_use(one)))

    numbers = range(100_000)
    try:
        for run in (
            lambda: list(one.stream(NUMBERS, progress=tell)),
            lambda: list(one.copy_out(COPY, progress=tell)),
            lambda: one.copy_out(COPY, io.BytesIO(), progress=tell),
            lambda: one.copy_in(
                "copy pool_progressed from stdin", map("{}\n".format, numbers), progress=tell
            ),
            lambda: one.copy_records("pool_progressed", ((n,) for n in numbers), progress=tell),
            lambda: one.query_many(
                "insert into pool_progressed values ($1)", ((n,) for n in numbers), progress=tell
            ),
        ):
            told.clear()
            run()
            assert [used for _, used in told[:-1]] == [1] * (len(told) - 1)
            assert len(told) > 2
            assert told[-1][0].rows == 100_000
    finally:
        one.query("drop table pool_progressed")


@pytest.mark.parametrize("at_the_end", [False, True])
@OUTPUTS_TOLD
def test_progress_that_raises_gives_it_back(one: pgwire.Pool, begin: Any, at_the_end: bool) -> None:
    def tell(progress: pgwire.Progress) -> None:
        if not at_the_end or progress.rows == 100_000:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(begin(one, tell))
    assert in_use(one) == 0
    assert one.query("select 7").scalar() == 7
    assert one.stats().opened == 1


def test_what_raises_where_rows_are_made_gives_the_connection_back(one: pgwire.Pool) -> None:
    assert next(one.stream(NUMBERS, row=dict)) == {"n": 1}
    rows = one.stream(NUMBERS, row=lambda row: 1 // (row.n - 1))
    with pytest.raises(ZeroDivisionError):
        next(rows)
    assert in_use(one) == 0
    assert one.query("select 7").scalar() == 7
