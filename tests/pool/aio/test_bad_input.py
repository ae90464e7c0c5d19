"""What makes no sense is said at once; a query says it by its future, and never at the call."""

from __future__ import annotations

import asyncio
from math import nan
from typing import Any

import pytest

import pgwire

NOWHERE = "host=127.0.0.1 port=1 user=x"


def refused(**options: Any) -> str:
    with pytest.raises(pgwire.ProgrammingError) as caught:
        pgwire.AsyncPool(NOWHERE, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"maxsize": 3}, "max_size"),
        ({"max_size": 0}, "max_size"),
        ({"on_connect": 5}, "on_connect"),
        ({"reset": 5}, "reset"),
        ({"reset": "sometimes"}, "reset"),
        ({"clock": 5}, "clock"),
        ({"max_pipeline": 0}, "max_pipeline"),
        ({"query_timeout": nan}, "query_timeout"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    assert text in refused(**options)


def test_a_password_is_in_no_frame_of_a_refusal() -> None:
    with pytest.raises(pgwire.ProgrammingError) as caught:
        pgwire.AsyncPool(NOWHERE, password="the secret", max_size=0)
    traceback = caught.tb.tb_next  # the first frame is this test
    while traceback is not None:
        shown = {n: v for n, v in traceback.tb_frame.f_locals.items() if n != "self"}
        assert "the secret" not in repr(shown)
        traceback = traceback.tb_next


def test_hooks_may_be_coroutine_functions() -> None:
    async def hook(conn: object) -> None:
        pass

    pgwire.AsyncPool(NOWHERE, on_connect=hook, reset=hook)


@pytest.mark.parametrize(
    ("params", "timeout", "text"),
    [
        ("a lone str", None, "params must be a sequence"),
        (5, None, "params must be a sequence"),
        ((), nan, "timeout is nan"),
        ((), "soon", "timeout is 'soon'"),
    ],
)
def test_a_query_that_makes_no_sense_fails_in_its_future(
    params: Any, timeout: Any, text: str
) -> None:
    async def ask() -> None:
        pool = pgwire.AsyncPool(NOWHERE)
        future = pool.query("select 1", params, timeout=timeout)
        with pytest.raises(pgwire.ProgrammingError, match=text):
            await future
        await pool.end()

    asyncio.run(ask())


def test_calls_that_make_no_sense() -> None:
    async def ask() -> None:
        pool: Any = pgwire.AsyncPool(NOWHERE)
        calls: list[Any] = [
            lambda: pool.connect(timeout=nan),
            lambda: pool.on("connect", 5),
            lambda: pool.on("nonsense", print),
        ]
        for call in calls:
            with pytest.raises(pgwire.ProgrammingError):
                call()
        calls = [
            lambda: pool.wait(nan),
            lambda: pool.end(nan),
            lambda: pool.query_many("select 1", [], timeout=nan),
            lambda: pool.run_transaction(5),
            lambda: pool.run_transaction(print, retries=-1),
        ]
        for call in calls:
            with pytest.raises(pgwire.ProgrammingError):
                await call()
        await pool.end()

    asyncio.run(ask())
