"""In which order hosts are tried, which are left for last (I-37), and who starts when in a race."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pgwire.config import HostSpec
from pgwire.errors import AuthenticationError, ConnectionFailed
from pgwire.protocol import hosts
from pgwire.protocol.hosts import HostList, Race, Search, interleaved

A, B, C = (HostSpec(name, None, 5432) for name in "abc")


# --- the list ---


def test_the_order_is_that_of_the_settings() -> None:
    assert HostList((B, A, C)).order(0) == [B, A, C]


def test_a_random_order_comes_from_whoever_has_dice() -> None:
    balanced = HostList((A, B, C), list.reverse)
    assert balanced.order(0) == [C, B, A]
    assert balanced.shuffled("xy") == ["y", "x"]
    assert balanced.shuffled("x") == ["x"]
    assert HostList((A, B)).shuffled("xy") == ["x", "y"]


def test_a_host_that_has_failed_is_tried_last_for_a_while() -> None:
    known = HostList((A, B, C))
    known.failed(A, 0, 10)
    assert known.order(10 + hosts.BASE - 0.01) == [B, C, A]
    assert known.order(10 + hosts.BASE) == [A, B, C]


def test_the_while_is_doubled_by_each_failure_up_to_a_bound() -> None:
    known = HostList((A, B))
    now = 0.0
    pauses = []
    for _ in range(8):
        known.failed(A, now, now)
        pause = next(n for n in range(1, 100) if known.order(now + n) == [A, B])
        pauses.append(pause)
        now += pause
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_failures_of_searches_that_began_together_are_one() -> None:
    known = HostList((A, B))
    known.failed(A, 0, 10)
    known.failed(A, 0.5, 10.9)  # began before the first had come to its end
    assert known.order(11) == [A, B]


def test_a_success_makes_up_for_all_failures() -> None:
    known = HostList((A, B))
    known.succeeded(A)
    for now in (0, 1, 3):
        known.failed(A, now, now)
    known.succeeded(A)
    assert known.order(3) == [A, B]
    known.failed(A, 4, 4)
    assert known.order(5) == [A, B]


def test_where_all_have_failed_the_order_is_as_ever() -> None:
    known = HostList((A, B))
    for host in (B, A):
        known.failed(host, 0, 0)
    assert known.order(0.5) == [A, B]


# --- the search ---

DOWN = ConnectionFailed("refused")


def visited(search: Search, outcomes: dict[HostSpec, str]) -> list[tuple[HostSpec, str]]:
    """The hosts that are tried, and in which role, until one is "up"."""
    seen = []
    for host in search:
        seen.append((host, search.demand))
        outcome = outcomes[host]
        if outcome == "up" or outcome == search.demand:
            break
        if outcome == "down":
            search.failed(str(host.host), DOWN)
        elif outcome == "hopeless":
            search.failed(str(host.host), AuthenticationError("no"))
        elif search.demand == "any":
            break
        else:
            search.misfit(str(host.host), f"the server is a {outcome}")
        assert search.stays is (outcome == "down")
    return seen


def test_each_host_is_tried_once() -> None:
    search = Search([A, B, C], "any")
    assert visited(search, dict.fromkeys((A, B, C), "down")) == [(A, "any"), (B, "any"), (C, "any")]
    failure = search.error()
    assert str(failure) == "a: refused; b: refused; c: refused"


def test_what_no_other_host_would_mend_ends_it() -> None:
    search = Search([A, B], "any")
    assert visited(search, {A: "hopeless", B: "up"}) == [(A, "any")]
    assert type(search.error()) is AuthenticationError


@pytest.mark.parametrize("demand", ["read-write", "read-only", "primary", "standby"])
def test_a_server_in_another_role_is_passed_by(demand: str) -> None:
    search = Search([A, B, C], demand)
    assert visited(search, {A: "other", B: "down", C: demand}) == [(h, demand) for h in (A, B, C)]


def test_where_no_server_has_the_role_that_is_told_of_each() -> None:
    search = Search([A, B], "standby")
    visited(search, {A: "primary", B: "down"})
    failure = search.error()
    assert str(failure) == "a: the server is a primary; b: refused"
    assert [attempt.address for attempt in failure.attempts] == ["a", "b"]


def test_a_standby_is_preferred() -> None:
    found = visited(Search([A, B], "prefer-standby"), {A: "primary", B: "standby"})
    assert found == [(A, "standby"), (B, "standby")]


def test_without_a_standby_another_is_taken_of_those_that_answer() -> None:
    outcomes = {A: "down", B: "primary", C: "primary"}
    found = visited(Search([A, B, C], "prefer-standby"), outcomes)
    assert found == [(A, "standby"), (B, "standby"), (C, "standby"), (B, "any")]


@pytest.mark.parametrize("outcome", ["down", "hopeless"])
def test_the_second_round_has_an_end_too(outcome: str) -> None:
    outcomes = {A: "primary", B: "primary"}
    search = Search([A, B], "prefer-standby")
    seen = []
    for host in search:
        seen.append((host, search.demand))
        if search.demand == "any":
            outcomes[A] = outcome
            search.failed("a", DOWN if outcome == "down" else AuthenticationError("no"))
        else:
            search.misfit(str(host.host), "the server is a primary")
    last = [(A, "any"), (B, "any")] if outcome == "down" else [(A, "any")]
    assert seen == [(A, "standby"), (B, "standby"), *last]


# --- the race ---


def test_they_start_one_after_the_other() -> None:
    race = Race("xyz")
    assert race.start(10) == "x"
    assert race.start(10) is None
    assert race.pause(10.1) == pytest.approx(0.15)
    assert race.start(10.25) == "y"
    assert race.pause(10.3) == pytest.approx(0.2)
    assert race.start(10.6) == "z"
    assert race.pause(10.6) is None
    assert race.start(99) is None


def test_a_failure_lets_the_next_one_start_at_once() -> None:
    race = Race("xy")
    assert race.start(10) == "x"
    race.failed()
    assert race.pause(10) == 0
    assert race.start(10) == "y"


def test_families_of_addresses_take_turns() -> None:
    def family(address: str) -> str:
        return address[0]

    assert interleaved([], family) == []
    assert interleaved(["61", "62", "63", "41"], family) == ["61", "41", "62", "63"]
    assert interleaved(["41", "42", "61", "62"], family) == ["41", "61", "42", "62"]


@given(st.lists(st.tuples(st.sampled_from("46x"), st.integers()), unique=True))
def test_interleaving_keeps_all_and_each_familys_order(items: list[tuple[str, int]]) -> None:
    found = interleaved(items, lambda item: item[0])
    assert sorted(found) == sorted(items)
    assert found[:1] == items[:1]
    for family in "46x":
        assert [i for i in found if i[0] == family] == [i for i in items if i[0] == family]
