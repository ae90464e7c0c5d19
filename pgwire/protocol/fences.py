"""Fencing: the part of a session that knows whom cancel requests are meant for.

A request cancels whatever runs when it reaches the server. Where others are written behind the
operation that is meant, and that ends at the same moment, it hits one of them. A `simple.Fence`
keeps all who come later out of its way; of those who were written before, this finds out who was
hit by mistake. Such an operation may begin anew if nothing is left of it, and if nobody who would
be overtaken was written behind it; else its error says what has happened (`PostgresError.stray`).

No more are taken for hit by mistake than requests have been sent: each hits one at most, and what
is canceled besides was canceled by somebody else.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pgwire.protocol.messages import TransactionStatus

if TYPE_CHECKING:
    from collections import deque

    from pgwire.errors import Error, PostgresError
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.simple import Fence

QUERY_CANCELED = "57014"
# It has the same SQLSTATE. In other languages the server's texts do not tell the two apart.
_STATEMENT_TIMEOUT = "canceling statement due to statement timeout"

_HOW = (
    "It was hit by a cancel request for an earlier query on this connection, which had just ended"
)
_UNDONE = f"{_HOW}. Whatever it has not committed by itself is undone: it can be asked for again."
_FAILED = f"{_HOW}. The transaction has failed with it: all of that can be tried again."


class Fencing:
    """See the module."""

    pending: deque[Operation]
    floor: Operation | None
    failure: Error | None
    transaction_status: TransactionStatus
    unordered: bool
    _unsent: deque[Operation]

    # A cancel request is on its way that is meant for whatever runs (`conn.cancel()`).
    is_canceled_at_large = False

    if TYPE_CHECKING:

        def submit(self, operation: Operation) -> None: ...

        def pass_floor(self) -> None: ...

    def raise_fence(self, fence: Fence) -> None:
        """Queue a fence in front of all that has not been written yet."""
        if self.failure is not None:
            self.submit(fence)
            return
        self._insert(fence)
        self.is_canceled_at_large |= fence.at_large
        if self.floor is None:
            self.pass_floor()

    def _insert(self, operation: Operation) -> None:
        """Queue it behind what is written, and behind the fences that wait to be."""
        pending, unsent = self.pending, self._unsent
        ahead = sum(1 for each in unsent if each.is_fence)
        pending.insert(len(pending) - len(unsent) + ahead, operation)
        unsent.insert(ahead, operation)

    def judge_cancel(self, error: PostgresError) -> None:
        """The operation at the head has been canceled: say so in its error if by mistake."""
        if error.message == _STATEMENT_TIMEOUT:
            return
        if self.is_canceled_at_large:
            self.is_canceled_at_large = False
            return
        fence = next((each for each in self.pending if each.requests), None)
        if fence is None:
            return
        fence.requests -= 1
        if not self.pending[0].abandoned:  # a fence tells nobody
            error.stray = True
            is_idle = self.transaction_status is TransactionStatus.IDLE  # as it was before
            hint = _UNDONE if is_idle else _FAILED
            error.hint = hint if error.hint is None else f"{error.hint}\n{hint}"

    def put_back(self, operation: Operation) -> bool:
        """Have the operation at the head begin anew, behind the fences.

        Its ReadyForQuery has been read, and nothing of it has been carried out. Where another
        has been written behind it, order matters unless the session is `unordered`.
        """
        pending = self.pending
        behind = islice(pending, 1, len(pending) - len(self._unsent))
        if not self.unordered and not all(each.is_fence for each in behind):
            return False
        pending.popleft()
        self._insert(operation)  # a fence has the floor, or waits in front of it
        if self.floor is operation:
            self.pass_floor()
        return True
