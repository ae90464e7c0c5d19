"""The random walks, in a number that takes a moment; `python -m tests.pool.walk` goes further."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgwire.pool.core import PoolCore
from tests.pool.walk import WalkFailed, main, walk

if TYPE_CHECKING:
    from pgwire.pool.slots import Slot


@pytest.mark.slow
def test_no_invariant_breaks_in_30000_random_steps() -> None:
    done, seed = 0, 0
    while done < 30_000:
        done += walk(seed)
        seed += 1


def test_a_walk_is_a_function_of_its_seed() -> None:
    class Recording(PoolCore[int]):
        def _move_and_note(self, slot: Slot[int], now: float) -> None:
            super().closed(slot, now)
            trace.append((now, repr(slot), self.stats()))

        closed = _move_and_note

    trace: list[object] = []
    walk(7, core=Recording)
    first = list(trace)
    trace.clear()
    walk(7, core=Recording)
    assert first == trace
    assert len(first) > 10


def test_a_failure_tells_the_seed_and_the_step_and_is_the_same_again() -> None:
    class Forgetful(PoolCore[int]):
        def closed(self, slot: Slot[int], now: float) -> None:
            """There is room again, and nobody is told."""

    texts = []
    for _ in range(2):
        with pytest.raises(WalkFailed, match=r"seed 1, step \d+: ") as failure:
            walk(1, core=Forgetful)
        texts.append(str(failure.value))
    assert texts[0] == texts[1]


def test_the_command_walks_one_seed_or_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0
    assert "1 walks (seeds 3 to 3)" in capsys.readouterr().out
    assert main(["--steps", "500"]) == 0
    assert "every invariant holds" in capsys.readouterr().out


def test_the_command_names_the_seed_that_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PoolCore, "lost", lambda self, slot, now: 1 / 0)
    assert main(["--steps", "100000"]) == 1
    out = capsys.readouterr().out
    assert "ZeroDivisionError" in out
    assert "again: python -m tests.pool.walk --seed " in out
