"""PoolConfig refuses what cannot be meant, and says what would be allowed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from math import inf, nan
from typing import Any

import pytest

from pgwire.errors import ProgrammingError
from pgwire.pool.config import Counters, PoolConfig, PoolStats, check_seconds


def test_the_defaults_are_those_of_the_manual() -> None:
    config = PoolConfig()
    assert (config.min_size, config.max_size, config.max_waiting) == (0, 10, None)
    assert (config.idle_timeout, config.max_lifetime, config.lifetime_spread) == (300, 3600, 0.1)
    assert (config.max_uses, config.max_opening, config.check_after) == (None, 3, 30)
    assert config.max_pipeline == 1


@pytest.mark.parametrize(
    "options",
    [
        {"min_size": 10},
        {"min_size": 1, "max_size": 1},
        {"max_waiting": 1},
        {"max_uses": 1},
        {"max_pipeline": 1},
        {"max_pipeline": 1000},
        {"idle_timeout": None, "max_lifetime": None, "check_after": None},
        {"idle_timeout": 0.001, "max_lifetime": 1, "check_after": 0},
        {"max_lifetime": inf},
        {"lifetime_spread": 0},
        {"lifetime_spread": 1.0},
    ],
)
def test_what_is_at_the_edge_of_the_allowed_is_allowed(options: dict[str, Any]) -> None:
    config = PoolConfig(**options)
    assert {name: getattr(config, name) for name in options} == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_size": -1}, "min_size is -1; it must be an integer of at least 0"),
        ({"min_size": 11}, "min_size is 11; it must be at most max_size, which is 10"),
        ({"max_size": 0}, "max_size is 0; it must be an integer of at least 1"),
        ({"max_size": 2.0}, "max_size is 2.0; it must be an integer of at least 1"),
        ({"max_size": True}, "max_size is True; it must be an integer of at least 1"),
        ({"max_size": None}, "max_size is None; it must be an integer of at least 1"),
        (
            {"max_waiting": 0},
            "max_waiting is 0; it must be an integer of at least 1, or None for no limit; "
            "with checkout_timeout=0 nobody waits at all",
        ),
        ({"max_waiting": -1}, "max_waiting is -1; it must be an integer of at least 1 or None"),
        (
            {"max_waiting": False},
            "max_waiting is False; it must be an integer of at least 1 or None",
        ),
        ({"max_uses": "3"}, "max_uses is '3'; it must be an integer of at least 1 or None"),
        ({"max_opening": 0}, "max_opening is 0; it must be an integer of at least 1"),
        ({"max_pipeline": 0}, "max_pipeline is 0; it must be an integer of at least 1"),
        ({"max_pipeline": None}, "max_pipeline is None; it must be an integer of at least 1"),
        (
            {"idle_timeout": 0},
            "idle_timeout is 0; it must be a number of seconds, more than 0, or None",
        ),
        (
            {"max_lifetime": nan},
            "max_lifetime is nan; it must be a number of seconds, more than 0, or None",
        ),
        (
            {"check_after": -0.1},
            "check_after is -0.1; it must be a number of seconds, 0 or more, or None",
        ),
        (
            {"check_after": "30"},
            "check_after is '30'; it must be a number of seconds, 0 or more, or None",
        ),
        (
            {"idle_timeout": True},
            "idle_timeout is True; it must be a number of seconds, more than 0, or None",
        ),
        ({"lifetime_spread": 1.1}, "lifetime_spread is 1.1; it must be a number from 0 to 1"),
        ({"lifetime_spread": -0.1}, "lifetime_spread is -0.1; it must be a number from 0 to 1"),
        ({"lifetime_spread": nan}, "lifetime_spread is nan; it must be a number from 0 to 1"),
        ({"lifetime_spread": None}, "lifetime_spread is None; it must be a number from 0 to 1"),
    ],
)
def test_what_is_not_allowed_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgrammingError) as failure:
        PoolConfig(**options)
    assert str(failure.value) == message


def test_neither_options_nor_figures_can_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PoolConfig().max_size = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        PoolStats(*range(len(fields(PoolStats)))).idle = 3  # type: ignore[misc]


def test_every_counter_is_among_the_figures() -> None:
    assert {field.name for field in fields(Counters)} < {field.name for field in fields(PoolStats)}


@pytest.mark.parametrize("value", [None, 0, 0.5, 30, inf])
def test_a_time_limit_is_passed_through(value: float | None) -> None:
    assert check_seconds("query_timeout", value) == value


@pytest.mark.parametrize("value", [-1, nan, True, "5"])
def test_what_is_no_time_limit_is_refused(value: Any) -> None:
    with pytest.raises(ProgrammingError, match=r"query_timeout is .+; it must be 0 or"):
        check_seconds("query_timeout", value)


@pytest.mark.parametrize("name", ["max_lifetime", "idle_timeout", "check_after"])
def test_an_integer_beyond_all_clocks_is_refused(name: str) -> None:
    options: dict[str, Any] = {name: 10**400}
    with pytest.raises(ProgrammingError, match=name):
        PoolConfig(**options)
    with pytest.raises(ProgrammingError, match="query_timeout"):
        check_seconds("query_timeout", 10**400)
