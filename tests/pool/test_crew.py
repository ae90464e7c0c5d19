"""The threads of a pool: those that rest are used again, and are gone when it has ended."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from pgwire.pool import crew as module
from pgwire.pool.crew import Crew
from tests.pool.support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """One whose threads rest for as long as it lasts."""
    monkeypatch.setattr(module, "_REST", 600)
    made = Crew("test")
    yield made
    made.join(PATIENCE)
    assert not threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "test"]


class Work:
    """Is done by one thread, up to where the test says."""

    def __init__(self, crew: Crew) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        crew.do(self)
        assert self.began.wait(PATIENCE)

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.began.set()
        assert self.may_end.wait(PATIENCE)


def has_rested(crew: Crew, work: Work) -> None:
    """Let it end, and its thread come to rest."""
    work.may_end.set()
    while not crew._resting:  # it has no other step to go
        threading.Event().wait(0.001)


def test_a_thread_that_rests_is_used_again(crew: Crew) -> None:
    first = Work(crew)
    has_rested(crew, first)
    second = Work(crew)
    assert second.thread is first.thread
    third = Work(crew)
    assert third.thread is not first.thread
    for work in (second, third):
        work.may_end.set()


def test_it_rests_for_a_while_only(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REST", 0.01)
    work = Work(crew)
    work.may_end.set()
    assert work.thread is not None
    work.thread.join(PATIENCE)
    assert not work.thread.is_alive()
    again = Work(crew)
    assert again.thread is not work.thread
    again.may_end.set()


def test_who_rests_does_not_hold_up_the_end(crew: Crew) -> None:
    busy, resting = Work(crew), Work(crew)
    has_rested(crew, resting)
    busy.may_end.set()
    crew.join(60)
    assert not threads()
    late = Work(crew)  # what is done behind the end rests no more
    late.may_end.set()
    assert late.thread is not None
    late.thread.join(60)
    assert not threads()


def test_what_was_done_is_not_kept(crew: Crew) -> None:
    work = Work(crew)
    kept = weakref.ref(work)
    has_rested(crew, work)
    del work
    assert kept() is None
