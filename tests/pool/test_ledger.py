"""Who holds which lease, told while others give theirs back: the keeper and `end` take no lock."""

from __future__ import annotations

import sys
import threading
from typing import Any

from pgwire.pool.histogram import Tally
from pgwire.pool.ledger import Ledger, caller
from pgwire.pool.slots import IDLE, Slot, SlotTable


class Lent:
    """Leases as the pool has them: `slots` are out since 0, and in the ledger."""

    def __init__(self, number: int) -> None:
        self.ledger, self._table = Ledger(), SlotTable[str]()
        self.slots = [Slot[str](0.0) for _ in range(number)]
        for slot in self.slots:
            self._table.move(slot, IDLE)
            self.lend(slot, 0.0)

    def lend(self, slot: Slot[str], now: float) -> None:
        self._table.lend(slot, threading.current_thread(), now)
        self.ledger[slot] = caller(sys._getframe())

    def give_back(self, slot: Slot[str], now: float) -> None:
        """What a thread does in its release, the ledger first."""
        self.ledger.pop(slot)
        self._table.give_back(slot, IDLE, now, Tally())

    def leaks(self, now: float) -> Any:
        return self.ledger.leaks(1.0, now)


def test_a_lease_given_back_while_leaks_are_told_is_none() -> None:
    """It had no holder any more: the keeper's thread died of that, and nobody kept the pool."""
    lent = Lent(3)
    telling = lent.leaks(5.0)
    first, held, holder, place = next(telling)
    lent.give_back(lent.slots[1], 5.0)
    assert [told[0] for told in telling] == [lent.slots[2]]
    assert (first, held, holder) == (lent.slots[0], 5.0, threading.current_thread().name)
    assert "test_ledger.py" in place


def test_nor_is_the_next_lease_of_the_same_connection() -> None:
    lent = Lent(2)
    telling = lent.leaks(5.0)
    next(telling)
    lent.give_back(lent.slots[1], 5.0)
    lent.lend(lent.slots[1], 5.0)
    assert not list(telling)
    assert [told[:2] for told in lent.leaks(7.0)] == [(lent.slots[1], 2.0)]


def test_what_nobody_holds_is_told_by_its_place() -> None:
    """As leases that `end` has closed by force, or that no task has taken."""
    lent = Lent(1)
    lent.slots[0].owner = None
    assert lent.ledger.holders()[0].endswith("in lend")
    assert [told[2] for told in lent.leaks(5.0)] == ["unknown"]
