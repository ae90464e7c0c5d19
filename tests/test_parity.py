"""The two shells have one interface: the same names, parameters and promises.

What differs is listed here, with its reason.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import pgwire
from pgwire.aio.statement import AsyncStatement
from pgwire.aio.transaction import AsyncTransaction
from pgwire.blocking.statement import Statement
from pgwire.blocking.transaction import Transaction
from pgwire.pool.aio_lease import AsyncLease
from pgwire.pool.lease import Lease

PAIRS: list[tuple[type, type]] = [
    (pgwire.Connection, pgwire.AsyncConnection),
    (Statement, AsyncStatement),
    (Transaction, AsyncTransaction),
    (pgwire.CopyOutput, pgwire.AsyncCopyOutput),
    (pgwire.Stream, pgwire.AsyncStream),
    (pgwire.Pipeline, pgwire.AsyncPipeline),
    (pgwire.PipelineQuery, pgwire.AsyncPipelineQuery),
    (pgwire.Notifications, pgwire.AsyncNotifications),
    (pgwire.Replication, pgwire.AsyncReplication),
    (pgwire.Subscription, pgwire.AsyncSubscription),
    (pgwire.Pool, pgwire.AsyncPool),
    (Lease, AsyncLease),
]

# What only one of the two has.
ONLY_BLOCKING = {
    "Pool.submit": "what `AsyncPool.query` gives is a future already",
}
ONLY_ASYNC: dict[str, str] = {}

# Whose parameters differ.
OTHER_PARAMETERS: dict[str, str] = {}

# Whose first line differs in more than `async`.
OTHER_PROMISES = {
    "Connection.cancel": "from any thread there, from the loop's own here",
    "Lease.cancel": "the same",
    "Pool": "for threads there, for the tasks of one event loop here",
    "Pool.run_transaction": "its function is a coroutine function here",
    "Lease": "with `async` the line would be too long",
}

_CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}


def public(cls: type) -> dict[str, Any]:
    """What users see of a class, by the names of the blocking one."""
    names = {asynchronous: blocking for blocking, asynchronous in _CONTEXT.items()}
    found: dict[str, Any] = {}
    for owner in cls.__mro__[:-1]:
        for name, value in vars(owner).items():
            if not name.startswith("_") or name in names or name in _CONTEXT:
                found.setdefault(names.get(name, name), value)
    return found


def parameters(value: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults."""
    signature = inspect.signature(getattr(value, "fget", value))
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def first_line(value: Any) -> str:
    """Of the docstring, as it would read for the blocking shell."""
    text = (inspect.getdoc(value) or "").partition("\n")[0]
    text = re.sub(r"\b([Aa])n (?=`async|`Async)", r"\1 ", text)
    return re.sub(r"\basync (?=with\b)|\bawait |\bAsync(?=[A-Z])|(?<=connect)_async", "", text)


MEMBERS = [
    pytest.param(blocking, asynchronous, name, id=f"{blocking.__name__}.{name}")
    for blocking, asynchronous in PAIRS
    for name in sorted(public(blocking).keys() & public(asynchronous).keys())
]


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS)
def test_the_names_are_the_same(blocking: type, asynchronous: type) -> None:
    here, there = public(blocking).keys(), public(asynchronous).keys()
    name = blocking.__name__
    assert {f"{name}.{n}" for n in here - there} == only(ONLY_BLOCKING, name)
    assert {f"{name}.{n}" for n in there - here} == only(ONLY_ASYNC, name)


def only(listed: dict[str, str], name: str) -> set[str]:
    return {entry for entry in listed if entry.partition(".")[0] == name}


@pytest.mark.parametrize(("blocking", "asynchronous", "name"), MEMBERS)
def test_the_parameters_are_the_same(blocking: type, asynchronous: type, name: str) -> None:
    here, there = public(blocking)[name], public(asynchronous)[name]
    assert isinstance(here, property) is isinstance(there, property)
    if callable(here) or isinstance(here, property):
        same = parameters(here) == parameters(there)
        assert same is (f"{blocking.__name__}.{name}" not in OTHER_PARAMETERS)


@pytest.mark.parametrize(("blocking", "asynchronous", "name"), MEMBERS)
def test_the_promises_are_the_same(blocking: type, asynchronous: type, name: str) -> None:
    here, there = first_line(public(blocking)[name]), first_line(public(asynchronous)[name])
    if f"{blocking.__name__}.{name}" in OTHER_PROMISES:
        assert here != there
    else:
        assert here == there


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS)
def test_the_classes_promise_the_same(blocking: type, asynchronous: type) -> None:
    if blocking.__name__ in OTHER_PROMISES:
        assert first_line(blocking) != first_line(asynchronous)
    else:
        assert first_line(blocking) == first_line(asynchronous)


def test_pools_are_made_alike() -> None:
    assert parameters(pgwire.Pool.__init__) == parameters(pgwire.AsyncPool.__init__)


def test_connecting() -> None:
    assert parameters(pgwire.connect) == parameters(pgwire.connect_async)
    assert first_line(pgwire.connect) == first_line(pgwire.connect_async)


def test_what_is_listed_exists() -> None:
    """A difference that has gone must go from the list as well."""
    names = {cls.__name__ for cls, _ in PAIRS}
    members = {
        f"{blocking.__name__}.{name}"
        for blocking, asynchronous in PAIRS
        for name in public(blocking).keys() | public(asynchronous).keys()
    }
    listed = {*ONLY_BLOCKING, *ONLY_ASYNC, *OTHER_PARAMETERS, *OTHER_PROMISES}
    assert listed <= names | members
