"""Taking turns: variants of one workload, measured in rounds, and what the rounds say.

Knows how to compare fairly, and how to sum up. Must not know any driver, nor what is measured.

A variant is a function `run(count, watch)`: it does its thing so many times, with the watch
running while it is the driver's time, and returns what came of the last. In every round each
variant has its turn, in another order each time. One that takes several times as long as the
reference sits out some rounds; ratios are taken in the rounds that both were in, and their
median is what counts. The spread is what the middle 80 % of the rounds lie in.
"""

from __future__ import annotations

import gc
import math
import statistics
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from harness import quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Run = Callable[[int, "Watch"], Any]

# Seconds that the reference's turn should take, unless one call takes longer.
TURN = 0.02
MOST_CALLS = 2000  # in a turn
_ENOUGH_ROUNDS = 400
# A variant that takes this many times as long as the reference has its turn less often.
_PATIENCE = 3.0


class Watch:
    """Seconds on the clock and of this process's CPU, summed over the times it was running."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._cpu = process_time()
        self._wall = perf_counter()

    def __exit__(self, *_: object) -> None:
        self.wall += perf_counter() - self._wall
        self.cpu += process_time() - self._cpu


# By variant: the number of the round, and the seconds per call: clock, CPU.
Turns = dict[str, list[tuple[int, float, float]]]


def take_turns(
    variants: Mapping[str, Run], reference: str, seconds: float, *, quick: bool = False
) -> Turns:
    """Measure for about so long, and until each variant has had two turns (`quick`: one).

    All have been called once before, so that connections are warm and statements prepared.
    """
    count, least, strides = 1, 1, {name: 1 for name in variants}
    if not quick:
        least = 2
        costs = {name: _cost(run) for name, run in variants.items()}
        wall = costs[reference]
        count = max(1, min(MOST_CALLS, round(TURN / wall)))
        strides = {name: max(1, round(cost / wall / _PATIENCE)) for name, cost in costs.items()}
    taken: Turns = {name: [] for name in variants}
    names = list(variants)
    end = perf_counter() + seconds
    number = 0
    while number < _ENOUGH_ROUNDS:
        start = number % len(names)
        for name in [*names[start:], *names[:start]]:
            if number % strides[name] == 0 or len(taken[name]) < least:
                watch = _turn(variants[name], count)
                taken[name].append((number, watch.wall / count, watch.cpu / count))
        number += 1
        if perf_counter() >= end and all(len(turns) >= least for turns in taken.values()):
            break
    return taken


def _cost(run: Run) -> float:
    """The seconds of one call, about."""
    count = 1
    while (watch := _turn(run, count)).wall < TURN / 4 and count < MOST_CALLS:
        count *= 4
    return max(watch.wall / count, 1e-9)


def _turn(run: Run, count: int) -> Watch:
    gc.collect()  # what others have left is not this one's to clear away
    watch = Watch()
    run(count, watch)
    return watch


def joined(sittings: Sequence[Turns]) -> Turns:
    """The turns of several sittings as those of one."""
    together: Turns = {}
    first = 0
    for turns in sittings:
        for name, rounds in turns.items():
            shifted = [(first + number, wall, cpu) for number, wall, cpu in rounds]
            together.setdefault(name, []).extend(shifted)
        first += 1 + max((rounds[-1][0] for rounds in turns.values() if rounds), default=0)
    return together


# ---------------------------------------------------------------- what the rounds say


@dataclass(frozen=True)
class Figure:
    """A median, what the middle 80 % of the rounds lie between, and how many there were."""

    median: float
    low: float
    high: float
    rounds: int

    def for_json(self) -> dict[str, Any]:
        return {
            "median": _rounded(self.median),
            "spread": [_rounded(self.low), _rounded(self.high)],
            "rounds": self.rounds,
        }


def figure(values: Iterable[float]) -> Figure:
    ordered = list(values)
    low, high = quantile(ordered, 0.1), quantile(ordered, 0.9)
    return Figure(statistics.median(ordered), low, high, len(ordered))


def summed_up(turns: Turns, reference: str, clock: str) -> dict[str, Any]:
    """By variant: its medians, and its ratios to the reference, by either clock.

    `ratio` is that of the workload's own clock.
    """
    summary: dict[str, Any] = {}
    for name, rounds in turns.items():
        ratios = {
            which: ratio(turns, name, reference, which).for_json() for which in ("wall", "cpu")
        }
        summary[name] = {
            "wall": figure(wall for _, wall, _ in rounds).for_json(),
            "cpu": figure(cpu for _, _, cpu in rounds).for_json(),
            "ratio": ratios[clock],
            "ratios": ratios,
        }
    return summary


def ratio(turns: Turns, of: str, to: str, clock: str) -> Figure:
    """`of` in units of `to`, in the rounds that both took part in."""
    index = 1 if clock == "wall" else 2
    theirs = {turn[0]: turn[index] for turn in turns[to]}
    ratios = [turn[index] / theirs[turn[0]] for turn in turns[of] if theirs.get(turn[0], 0.0) > 0.0]
    return figure(ratios)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def _rounded(value: float) -> float:
    """Five digits: more would be noise, and a change of every line in the file."""
    return float(f"{value:.5g}")
