"""Floor: which operation of a session may write, who waits for that, and who never will.

The part of `Session` that is about its two queues. `pending` has all that are not done, in order;
those that wait for the floor come last in it, and are in `_unsent` as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.protocol.losing import lost_behind

if TYPE_CHECKING:
    from collections import deque

    from pgwire.errors import Error
    from pgwire.protocol.operation import Operation


class Floor:
    """What a session has for it."""

    pending: deque[Operation]
    completed: deque[Operation]
    floor: Operation | None
    failure: Error | None
    is_pooled: bool
    _unsent: deque[Operation]

    def pass_floor(self) -> None:
        """The operation that kept the floor has written its Sync: let the next ones begin."""
        if self.is_pooled and self.pending and self.pending[0] is self.floor:
            return  # they begin when it is done
        self.floor = None
        unsent, looked_at = self._unsent, 0
        while unsent and self.floor is None:
            operation = unsent.popleft()
            self._give_floor(operation)
            if operation.done:  # a misfit, which was looked for behind all that is written
                looked_at += len(self.pending) - len(unsent)
                if looked_at > len(unsent):
                    self._pass_floor_apart()

    def _pass_floor_apart(self) -> None:
        """What `pass_floor` does, where misfits are many and would be taken from the middle.

        Whoever waits for the floor is no part of `pending` meanwhile, so each is the last there.
        """
        pending, unsent = self.pending, self._unsent
        waiting = unsent.copy()
        self._set_apart()
        try:
            while waiting and self.floor is None and self.failure is None:
                pending.append(operation := waiting.popleft())
                self._give_floor(operation)
                if self.floor is None and unsent:  # asked for by what the operation has called
                    waiting.extend(unsent)
                    self._set_apart()
        finally:
            if self.failure is None:
                pending.extend(waiting)
                unsent.extend(waiting)
            else:
                for operation in waiting:
                    operation.error = lost_behind(operation, self.failure, written=False)
                    self._finish(operation)

    def _set_apart(self) -> None:
        for _ in self._unsent:
            self.pending.pop()
        self._unsent.clear()

    def waits_for_answers(self, operation: Operation) -> bool:
        """Have an operation that has the floor begin anew when all before it is answered.

        False: it is, so go on. Whoever wants answers before the Sync is written asks this: at a
        ReadyForQuery a pooler may give the server away, with all that no Sync stands behind yet.
        """
        if self.pending[0] is operation:
            return False
        self._unsent.appendleft(operation)
        self.floor = self.pending[-1 - len(self._unsent)]  # the last that has been written
        return True

    def take_floor_again(self, operation: Operation) -> bool:
        """Let the operation at the head speak once more, unless another has spoken since.

        Its ReadyForQuery has been read. Whatever began after it was written behind it, and
        would now be answered before it.
        """
        if len(self.pending) > 1 and self.floor is not operation:
            return False
        self.floor = operation
        return True

    def _give_floor(self, operation: Operation) -> None:
        self.floor = operation
        if operation.abandoned and not operation.is_brief:
            self._withdraw_unwanted(operation)
            return
        try:
            if not operation.begin(self) and not self.is_pooled:  # type: ignore[arg-type]
                self.floor = None
        except Exception as error:
            # A misfit, found before anything was written: there will be no reply.
            operation.error = error
            self._withdraw(operation)

    def _withdraw(self, operation: Operation) -> None:
        """Complete an operation that has written nothing."""
        self.floor = None
        if self.pending[-1] is operation:
            self.pending.pop()
        else:
            self.pending.remove(operation)
        self._finish(operation)

    def _withdraw_unwanted(self, first: Operation) -> None:
        """Complete it, and all behind it that nobody wants and that have written nothing either.

        One by one each would be looked for among `pending`.
        """
        pending, unsent = self.pending, self._unsent
        behind, gone = tuple(unsent), [first]
        self.floor = None
        self._set_apart()
        pending.pop()
        for operation in behind:
            if operation.abandoned and not operation.is_brief:
                gone.append(operation)
            else:
                unsent.append(operation)
                pending.append(operation)
        for operation in gone:
            self._finish(operation)

    def _finish(self, operation: Operation) -> None:
        operation.done = True
        if operation.waiter is not None:
            self.completed.append(operation)
