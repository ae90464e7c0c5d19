"""The hub's core, played with: by Hypothesis, and by long random walks with a seed.

What must be true whatever happens is written down in `hub_simulation`.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.pool.hub_simulation import CHANNELS, CHECK_AFTER, HubSimulation

which = st.integers(0, 4)
PAUSES = [0.01, 0.2, 11.0, CHECK_AFTER]


class Hub(RuleBasedStateMachine):
    """Any input in any order, and a shrunk story when something breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.simulation = HubSimulation()

    @rule(channels=st.sets(st.sampled_from(CHANNELS), min_size=1), most=st.integers(1, 4))
    def subscribe(self, channels: set[str], most: int) -> None:
        self.simulation.subscribe(channels, most)

    @rule(which=which)
    def unsubscribe(self, which: int) -> None:
        self.simulation.unsubscribe(which)

    @rule(channel=st.sampled_from(CHANNELS), times=st.integers(1, 3))
    def send(self, channel: str, times: int) -> None:
        self.simulation.send(channel, times)

    @rule(which=which, well=st.booleans())
    def open(self, which: int, well: bool) -> None:
        self.simulation.open(which, well)

    @rule(which=which, times=st.integers(1, 3))
    def do(self, which: int, times: int) -> None:
        for _ in range(times):
            self.simulation.do(which)

    @rule(which=which)
    def refuse(self, which: int) -> None:
        self.simulation.refuse(which)

    @rule(which=which, most=st.integers(1, 5))
    def receive(self, which: int, most: int) -> None:
        self.simulation.receive(which, most)

    @rule(which=which)
    def lose(self, which: int) -> None:
        self.simulation.lose(which)

    @rule(which=which)
    def expire(self, which: int) -> None:
        self.simulation.expire(which)

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: float) -> None:
        self.simulation.wait(seconds)

    @rule(which=which, most=st.integers(1, 6))
    def take(self, which: int, most: int) -> None:
        self.simulation.take(which, most)

    @invariant()
    def check(self) -> None:
        self.simulation.check()

    def teardown(self) -> None:
        self.simulation.finish()


TestHub = Hub.TestCase
TestHub.settings = settings(
    stateful_step_count=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

# How often each is done in a walk: most of it goes well, or nothing would ever come about.
WEIGHTS = {
    "do": 30, "receive": 25, "send": 15, "take": 15, "open": 10, "subscribe": 6, "wait": 4,
    "expire": 3, "lose": 2, "unsubscribe": 1, "refuse": 1, "refuse_opening": 1,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_a_long_walk(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(10):
        walk(dice, HubSimulation(), 300)


def walk(dice: random.Random, hub: HubSimulation, steps: int) -> None:
    for step in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=steps):
        which = dice.randrange(5)
        match step:
            case "send":
                hub.send(dice.choice(CHANNELS), dice.randint(1, 3))
            case "subscribe":
                hub.subscribe(set(dice.sample(CHANNELS, dice.randint(1, 3))), dice.randint(1, 40))
            case "open":
                hub.open(which, True)
            case "refuse_opening":
                hub.open(which, False)
            case "receive" | "take":
                getattr(hub, step)(which, dice.randint(1, 6))
            case "wait":
                hub.wait(dice.choice(PAUSES))
            case _:
                getattr(hub, step)(which)
        hub.check()
    hub.finish()
