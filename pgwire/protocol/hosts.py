"""Hosts: which is tried when, and for how long one that failed is left for last.

`HostList` is what an opener remembers of the hosts of its settings, from one connection to the
next. `Search` is the way to one connection: through the hosts in turn, twice where that is asked
for, until one lets us in or nothing more can help. `Race` starts attempts at the addresses of one
host one after the other without waiting for each (RFC 8305, "Happy Eyeballs").

The dice and the time are arguments. Manual: "Specifying Multiple Hosts".
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

from pgwire.errors import ConnectionFailed
from pgwire.protocol.connecting import Attempts, waiting_may_help

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from pgwire.config import HostSpec

T = TypeVar("T")

# How long a host is left for last after a first failure, doubled by each next one. In seconds.
BASE = 1.0
CAP = 30.0

STAGGER = 0.25  # seconds between the starts of two attempts (RFC 8305, section 8)


class _Trouble:
    """A host's failures, without a success in between."""

    __slots__ = ("pause", "until")

    def __init__(self) -> None:
        self.pause = 0.0
        self.until = -inf


class HostList:
    """The hosts of the settings; `shuffle` puts a list in random order, where that is asked for."""

    def __init__(
        self, hosts: Sequence[HostSpec], shuffle: Callable[[list[Any]], object] | None = None
    ) -> None:
        self._hosts = hosts
        self._shuffle = shuffle
        self._troubles: dict[HostSpec, _Trouble] = {}

    def order(self, now: float) -> list[HostSpec]:
        """The hosts, as they are to be tried now: those that have just failed come last."""
        hosts = self.shuffled(self._hosts)
        if self._troubles:
            hosts.sort(key=lambda host: self._is_in_trouble(host, now))
        return hosts

    def _is_in_trouble(self, host: HostSpec, now: float) -> bool:
        trouble = self._troubles.get(host)  # another thread may have just cleared it
        return trouble is not None and now < trouble.until

    def shuffled(self, items: Iterable[T]) -> list[T]:
        """The items in random order, where the settings want it so; else as they are."""
        taken = list(items)
        if self._shuffle is not None and len(taken) > 1:
            self._shuffle(taken)
        return taken

    def failed(self, host: HostSpec, began: float, now: float) -> None:
        """A search that began at `began` has got nowhere with this host."""
        trouble = self._troubles.setdefault(host, _Trouble())
        # Searches that began together tell the same thing, though one after the other.
        if began >= trouble.until:
            trouble.pause = min(CAP, 2 * trouble.pause or BASE)
            trouble.until = now + trouble.pause

    def succeeded(self, host: HostSpec) -> None:
        """It has let us in, in the role that was asked for."""
        self._troubles.pop(host, None)


class Search:
    """Iterate over the hosts to try. Tell of each failure; a success is the end of it.

    `demand` is the role that the server is to have now, in the words of `target_session_attrs`:
    prefer-standby is a search for a standby, and where there is none a second one, among those
    that have let us in, for any.
    """

    def __init__(self, hosts: Sequence[HostSpec], target: str) -> None:
        self._hosts = hosts
        self._attempts = Attempts()
        self._prefers = target == "prefer-standby"
        self.demand = "standby" if self._prefers else target
        self._is_over = self._misfits = False

    def __iter__(self) -> Iterator[HostSpec]:
        others: list[HostSpec] = []
        for host in self._hosts:
            self._misfits = False
            yield host
            if self._is_over:
                return
            if self._misfits:
                others.append(host)
        if self._prefers:
            self.demand = "any"
            for host in others:
                self._misfits = False
                yield host
                if self._is_over:
                    return

    @property
    def stays(self) -> bool:
        """Whether another address of the same host may do better."""
        return not (self._is_over or self._misfits)

    def failed(self, place: str, error: Exception) -> None:
        """Nothing has come of an attempt at this place."""
        self._attempts.failed(place, error)
        self._is_over = not waiting_may_help(error)

    def misfit(self, place: str, reason: str) -> None:
        """The server has let us in, and is not what is asked for: on to the next host."""
        self._attempts.failed(place, ConnectionFailed(f"{place}: {reason}"))
        self._misfits = True

    def error(self) -> ConnectionFailed:
        """What to raise when nothing is left."""
        return self._attempts.error()


class Race(Generic[T]):
    """Attempts that start one after the other; whoever comes first wins.

    `start` until it gives None; sleep for `pause` seconds, or until one of those that run ends;
    tell of a failure, and again.
    """

    def __init__(self, competitors: Iterable[T]) -> None:
        self._waiting = deque(competitors)
        self._next_at = -inf

    def start(self, now: float) -> T | None:
        """Who starts now; None if it is nobody's turn."""
        if not self._waiting or now < self._next_at:
            return None
        self._next_at = now + STAGGER
        return self._waiting.popleft()

    def failed(self) -> None:
        """One of them has failed, so that the next one may start at once."""
        self._next_at = -inf

    def pause(self, now: float) -> float | None:
        """Seconds until the next one starts; None if all have."""
        return max(self._next_at - now, 0) if self._waiting else None


def interleaved(addresses: Sequence[T], family: Callable[[T], object]) -> list[T]:
    """The families of addresses in turn, beginning with that of the first (RFC 8305, section 4).

    Where a whole family cannot be reached, which is the usual trouble, the next try is another.
    """
    by_family: dict[object, deque[T]] = {}
    for address in addresses:
        by_family.setdefault(family(address), deque()).append(address)
    queues = deque(by_family.values())
    order = []
    while queues:
        queue = queues.popleft()
        order.append(queue.popleft())
        if queue:
            queues.append(queue)
    return order
