"""The queue against a sorted list: any order of deadlines, leaving at any time."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings, strategies as st

from pgwire.pool.waiters import Waiter, WaitQueue

deadlines = st.none() | st.integers(0, 50).map(float)
# Join with a deadline; the head leaves; the n-th leaves; time comes to n.
moves = st.one_of(
    st.tuples(st.just("join"), deadlines),
    st.tuples(st.just("join, to share"), deadlines),
    st.tuples(st.just("head"), st.none()),
    st.tuples(st.just("leave"), st.integers(0, 100)),
    st.tuples(st.just("due"), st.integers(0, 10)),
)


def take_out(queue: WaitQueue[int], waiter: Waiter[int]) -> None:
    queue.leave(waiter)
    queue.forget(waiter)


@given(st.lists(deadlines, max_size=80), st.lists(moves, max_size=120))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_the_queue_is_a_list_that_is_searched_anew_each_time(
    first: list[float | None], then: list[tuple[str, float | None]]
) -> None:
    queue: WaitQueue[int] = WaitQueue()
    ought: list[Waiter[int]] = []
    for move, value in [*(("join", deadline) for deadline in first), *then]:
        if move.startswith("join"):
            waiter: Waiter[int] = Waiter(0.0, value, None, shared=move != "join")
            queue.join(waiter)
            ought.append(waiter)
        elif move == "head" and ought:
            take_out(queue, next(iter(queue)))
            ought.pop(0)
        elif move == "leave" and ought:
            assert value is not None
            take_out(queue, ought.pop(int(value) % len(ought)))
        elif move == "due":
            assert value is not None
            due = [w for w in ought if w.deadline is not None and w.deadline <= value]
            for waiter in sorted(due, key=lambda w: w.deadline or 0.0):  # equals keep their order
                assert queue.due(value) is waiter
                take_out(queue, waiter)
                ought.remove(waiter)
            assert queue.due(value) is None
        assert list(queue) == ought
        assert queue.shared == sum(waiter.shared for waiter in ought)
        known = [waiter.deadline for waiter in ought if waiter.deadline is not None]
        assert queue.next_deadline() == min(known, default=inf)


def test_equal_deadlines_end_in_the_order_of_arrival() -> None:
    """Also those that are before one that has joined earlier."""
    queue: WaitQueue[int] = WaitQueue()
    waiters = [Waiter[int](0.0, deadline, None) for deadline in (9.0, 5.0, 5.0, 9.0, 5.0)]
    for waiter in waiters:
        queue.join(waiter)
    ended = []
    while waiter_due := queue.due(9.0):
        take_out(queue, waiter_due)
        ended.append(waiters.index(waiter_due))
    assert ended == [1, 2, 4, 0, 3]


def test_forgetting_those_who_left_keeps_the_deadlines_in_order() -> None:
    """What is left of a heap when some are taken out need not be one."""
    queue: WaitQueue[int] = WaitQueue()
    waiters = [Waiter[int](0.0, 1.0 + number * 37 % 101, None) for number in range(101)]
    for waiter in waiters:
        queue.join(waiter)
    for waiter in waiters:
        if waiter.deadline is not None and waiter.deadline % 4:
            take_out(queue, waiter)
    assert queue.due(0.0) is None
    order = []
    while waiter_due := queue.due(1000.0):
        take_out(queue, waiter_due)
        order.append(waiter_due.deadline)
    assert order == [float(number) for number in range(4, 102, 4)]
