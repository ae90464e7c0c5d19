"""A watch for the tests of the pool that talk to a server, and the pool that they get.

The modules in `ON_BOTH` are about what both pools promise: each of their tests runs on `Pool`, and
on `AsyncPool` by way of `facade`. Beside a module stands which of its tests do not, as they are
about what only threads have: who holds a lease, Ctrl-C, a lock, a hook that holds up a thread.
`tests/pool/aio` has their counterparts, and what only event loops have.
"""

from __future__ import annotations

import faulthandler
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

import pgwire
from tests.pool.facade import FacadePool, LoopThread, Twins
from tests.support.guards import go_on
from tests.support.shells import LOOPS

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANG = 60.0

ON_BOTH: dict[str, set[str]] = {
    "test_blocking": {
        "test_cleaning_costs_no_round_trip",  # the loop has read the answer meanwhile
        "test_a_connection_in_the_middle_of_something_is_not_handed_on",
        "test_a_killed_lease_is_replaced",
        "test_end_by_the_holder_of_a_lease_is_an_error_that_names_the_place",
        "test_bounded_end_cancels_closes_and_names_the_leases",
    },
    "test_end": {
        "test_it_names_the_leases_that_are_still_out",
        "test_who_ends_it_by_force_behind_another_is_told_of_them_too",
        "test_a_callback_that_would_wait_for_itself_is_told_so",
        "test_a_hook_that_would_wait_for_itself_is_told_so",
        "test_with_a_time_limit_a_callback_may_end_the_pool",
        "test_without_a_key_to_cancel_with_the_line_is_cut_all_the_same",  # of no pool
    },
    "test_faults_frozen": {
        "test_a_backend_that_is_frozen",
    },
    "test_faults_server": {
        "test_and_so_is_one_that_is_lost_under_a_callback",  # which is waited for nowhere else
        "test_a_line_that_breaks_anywhere_in_a_conversation",  # takes long, and has its own
    },
    "test_hooks": {
        "test_a_callback_that_raises_what_no_program_catches_leaves_the_pool_whole",
    },
    "test_leases": {
        "test_a_lost_lease_is_closed_its_slot_freed_and_its_place_named",
        "test_a_lease_that_is_lost_with_its_connection_comes_back",
        "test_a_lease_lost_inside_of_the_pools_own_lock_is_no_deadlock",
        "test_a_lease_given_back_inside_of_the_pools_own_lock_is_no_deadlock",
        "test_a_destructor_inside_of_the_pools_own_lock_is_sent_away",
        "test_a_lease_may_be_given_back_by_another_thread",
        "test_a_long_lease_is_reported_once_with_who_has_it_and_where",
        "test_a_time_out_says_what_the_caller_itself_holds",
        "test_who_would_wait_for_itself_for_ever_gets_a_deadlock",
        "test_of_those_who_wait_for_one_another_the_youngest_gets_the_deadlock",
        "test_ctrl_c_while_waiting_leaves_the_queue",
        "test_ctrl_c_that_meets_the_grant_passes_the_connection_on",
        "test_ctrl_c_at_any_moment_leaves_no_connection_out",
    },
    "test_listening": {
        "test_one_that_is_dropped_is_closed_with_a_warning",  # in the loop's own time
        "test_one_that_would_wait_for_itself_is_told_so",
    },
    "test_logging": set(),
    "test_node_postgres": {
        "test_a_query_that_times_out_is_cancelled_and_its_connection_clean",  # behind its back
    },
    "test_observing": {
        "test_a_submitted_query_that_is_cancelled_in_the_queue",  # a task is, there
        "test_of_those_that_share_a_connection_each_has_its_own_end",  # the same
        "test_running_out_of_time_in_the_line_of_a_shared_connection",  # `aio.test_sharing`'s
        "test_streams",  # which facades have not
        "test_somebody_begins_to_listen_while_another_ends",  # threads do
        "test_submitted_queries",  # the facade has another context
        "test_what_a_lease_is_released_with",  # which a task sees through
    },
    "test_pool_types": set(),
    "test_refusals": {
        "test_a_pool_keeps_no_frames_of_a_hook_or_of_who_is_told",  # the facade keeps errors itself
        "test_a_failed_opening_leaves_no_cycle",
    },
    "test_regressions": {
        "test_ctrl_c_in_the_queue_loses_neither_the_place_behind_nor_the_connection",
        "test_a_release_in_the_middle_of_a_query_does_not_pile_up_either",
    },
    "test_roles": set(),
    "test_run_transaction": set(),
    "test_sizes": set(),
}


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs ends its process, with the stacks of all threads."""
    if "server" not in request.fixturenames:
        yield
        return
    go_on(_HANG)
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    test = metafunc.function
    package, _, module = metafunc.module.__name__.rpartition(".")
    but = ON_BOTH.get(module) if package == "tests.pool" else None
    if but is None or test.__name__ in but or "run_script" in test.__code__.co_names:
        return
    # On one of the loops each: it is the pool that matters here.
    loops = sorted(LOOPS)
    loop = loops[crc32(test.__name__.encode()) % len(loops)]
    metafunc.parametrize("shell", ["blocking", loop], indirect=True)


@pytest.fixture(autouse=True)
def shell(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `pgwire.Pool` is in this test, and where `monkeypatch` finds what it patches."""
    kind = getattr(request, "param", "blocking")
    if kind == "blocking":
        yield
        return
    loop = LoopThread(LOOPS[kind])
    with pytest.MonkeyPatch.context() as outer:
        outer.setattr(pgwire, "Pool", partial(FacadePool, loop))
        outer.setattr(monkeypatch, "setattr", Twins(monkeypatch).setattr)
        yield
        monkeypatch.undo()
    loop.stop()
