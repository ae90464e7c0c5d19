"""Connections of an asyncio pool to a server that is none: its answers come in the next turn.

`World` opens them in place of the pool's opener. All but the line is the real thing: the driver,
its session and what the pool makes of them. In a `virtual_loop` it is the same in every run.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pgwire
from pgwire.pool import aio, aio_engine
from tests.pool.made_up import clock
from tests.support import backend
from tests.support.wire import TEXT, Wire, answer

if TYPE_CHECKING:
    import pytest

    from pgwire.aio.driver import AsyncDriver

OPENING = 0.1  # seconds
SLOW = "slow"  # a query that is answered after a second


class Answering(Wire):
    """Answers every query with one row of text."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self._has_executed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        super().write(data)
        delay = 1.0 if SLOW.encode() in bytes(data) else 0.0
        if said := b"".join([self._answer(letter) for letter in self.take()]):
            self._loop.call_later(delay, self._say, said)

    def _answer(self, letter: str) -> bytes:
        if letter == "D":
            return backend.described(columns=TEXT)
        if letter == "E":
            self._has_executed = True
        if letter == "S":
            executed, self._has_executed = self._has_executed, False
            return answer("answer") if executed else backend.ready()
        if letter == "Q":
            return backend.complete("ROLLBACK") + backend.ready()
        if letter == "X":
            self.hang_up()
        return b""

    def _say(self, said: bytes) -> None:
        if not self.aborted:
            self.say(said)

    def hang_up(self) -> None:
        """The server's end is gone."""
        self.abort()

    def abort(self) -> None:
        if not self.aborted:
            self.world.wires.remove(self)
            for end in self._ends:
                end.close()
        super().abort()


class World:
    """`wires` are the connections that are open."""

    watches_role = False

    def __init__(self) -> None:
        self.wires: list[Answering] = []

    async def open(self, timeout: float | None = None) -> AsyncDriver:
        await asyncio.sleep(OPENING)
        wire = Answering(self)
        self.wires.append(wire)
        return wire.driver

    def pool(self, patches: pytest.MonkeyPatch, **options: Any) -> pgwire.AsyncPool:
        """To be called in a virtual loop."""
        patches.setattr(aio, "AsyncOpener", lambda _settings, **_: self)
        patches.setattr(aio, "settings", lambda *_: SimpleNamespace(replication=None))
        patches.setattr(aio_engine, "random", SimpleNamespace(random=lambda: 0.5))
        return pgwire.AsyncPool(clock=clock, **options)
