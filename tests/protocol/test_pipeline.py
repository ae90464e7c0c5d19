"""A pipeline's block: when it takes queries, and whose error is raised at its end."""

from __future__ import annotations

import pytest

from pgwire.errors import InterfaceError
from pgwire.protocol.pipeline import PipelineBlock


class Asked:
    is_heard = False

    def __init__(self) -> None:
        self.failure: BaseException | None = None


def test_it_is_entered_once_and_takes_queries_until_it_is_left() -> None:
    block: PipelineBlock[Asked] = PipelineBlock()
    with pytest.raises(InterfaceError, match="inside its `with` block"):
        block.check_open()
    block.enter()
    block.check_open()
    with pytest.raises(InterfaceError, match="entered once"):
        block.enter()
    block.leave()
    with pytest.raises(InterfaceError, match="inside its `with` block"):
        block.check_open()


def test_what_has_succeeded_is_not_kept() -> None:
    block: PipelineBlock[Asked] = PipelineBlock()
    one, two = Asked(), Asked()
    block.add(one)
    block.add(two)
    assert [*block.waiting] == [one, two]
    block.settled(one)
    assert [*block.waiting] == [two]
    block.settled(two)
    assert (block.waiting, block.unheard()) == ({}, None)


def test_the_first_error_that_nobody_has_asked_for() -> None:
    block: PipelineBlock[Asked] = PipelineBlock()
    asked = [Asked() for _ in range(3)]
    for each in asked:
        block.add(each)
        each.failure = KeyError(len(block.waiting))
        block.settled(each)
    assert block.unheard() is asked[0].failure
    asked[0].is_heard = True
    assert block.unheard() is asked[1].failure
    asked[1].is_heard = asked[2].is_heard = True
    assert block.unheard() is None
