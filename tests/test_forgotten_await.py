"""What is said where `await`, or `result()`, has been forgotten."""

from __future__ import annotations

from typing import Any

import pytest

import pgwire
from pgwire.aio.future import QueryFuture
from pgwire.aio.pipeline import AsyncPipelineQuery
from pgwire.blocking.pipeline import PipelineQuery


def told(kind: Any, thing: object, name: str) -> str:
    """What comes of looking for an attribute; the class itself has none."""
    assert not hasattr(kind, name)
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    return str(caught.value)


def test_of_what_has_not_been_awaited() -> None:
    connecting = pgwire.connect_async("host=h")
    expected = "'Connecting' object has no attribute 'query'; what comes of it has: (await …).query"
    assert told(type(connecting), connecting, "query") == expected
    plain = "'Connecting' object has no attribute 'other'"
    assert told(type(connecting), connecting, "other") == plain
    checkout = pgwire.AsyncPool("host=h").connect()
    assert told(type(checkout), checkout, "release").endswith("(await …).release")


@pytest.mark.parametrize("name", ["rows", "one", "scalar", "dicts"])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        (QueryFuture, "(await …)"),
        (AsyncPipelineQuery, "(await …)"),
        (PipelineQuery, "(…).result()"),
    ],
)
def test_of_a_result_that_has_not_been_asked_for(kind: Any, how: str, name: str) -> None:
    future = kind.__new__(kind)
    assert told(kind, future, name).endswith(f"'{name}'; what comes of it has: {how}.{name}")
