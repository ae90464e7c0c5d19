"""Feed: what a fuzz target makes of its bytes, choice by choice.

Choices come from the front, one byte each, and `rest()` is what remains: the input itself. Bytes
that are missing count as zeros, so that every input means something, and one that is cut or
grows means nearly the same; that is what a fuzzer's mutations live on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

# Longer texts than this are not made, however often a piece of them is repeated.
LONGEST = 20_000


class Feed:
    """See the module."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1, which is at most 256."""
        byte = self.take(1)
        return byte[0] % count if byte else 0

    def choose(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def take(self, count: int) -> bytes:
        """So many bytes, or what is left."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def piece(self) -> bytes:
        """Bytes behind their length."""
        return self.take(self.below(256))

    def text(self) -> str:
        """A text behind its length; what is no UTF-8 is surrogates, as in the environment."""
        return self.piece().decode(errors="surrogateescape")

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def long(self) -> bytes:
        """The rest; now and then with a piece of it repeated until it is really long.

        What takes time in proportion to the square of a text is fast in short ones.
        """
        if self.below(64) != 63:
            return self.rest()
        head, body, behind = self.piece(), self.piece(), self.rest()
        return head + body * (LONGEST // len(body) if body else 0) + behind
