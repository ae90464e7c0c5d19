"""Progress: how far what takes long has come, for `progress=` callbacks.

A callback is called where a piece has been sent or handed on, outside of whatever reads messages,
so that what it raises ends the operation as a raising source does; and once more at the very end.
There is no clock here: who sends or takes much is told for each block of it, which is some 64 KiB.
An operation without a callback has no `Meter`, and does nothing for it.
"""

from __future__ import annotations

from collections import deque
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, NamedTuple

from pgwire.errors import ProgrammingError
from pgwire.protocol.callables import no_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.looking_up import LookingUp
    from pgwire.protocol.operation import Operation

    ProgressCallback = Callable[["Progress"], object]


class Progress(NamedTuple):
    """How far a `stream`, `query_many` or COPY has come; what `progress=` callbacks get.

    `rows`: the records sent, or the rows handed on. None in a `copy_in` before its end: only the
    server knows where the rows in its data end. In a `copy_out` a header counts until the end.
    `bytes`: of the data as they go over the line: those of COPY without the messages around them,
    so that they compare with a file's size; for `stream` and `query_many` the messages of the rows
    and of the records.

    A callback is called for each piece that is sent or handed on, some 64 KiB or a stream's batch,
    and once more at the end with the final figures; not where it fails or is left. It is a plain
    function, called in the connection's turn, in the thread or loop that does the work: it should
    be quick, and cannot use this connection. What it raises ends the operation as a raising source
    or sink does, and comes through; at the last call, when all has been done already, it only
    comes through.
    """

    rows: int | None
    bytes: int


class Meter:
    """Counts for a callback, and calls it. `bytes` is for whoever counts to add to."""

    def __init__(self, callback: ProgressCallback) -> None:
        if not callable(callback):
            raise ProgrammingError(f"progress is {callback!r}; it must be a callable")
        if iscoroutinefunction(callback) or iscoroutinefunction(
            getattr(callback, "__call__", None)  # noqa: B004 (it is callable)
        ):
            raise ProgrammingError(
                "progress is a coroutine function; it must be a plain one, as nobody waits for it"
            )
        self._callback = callback
        self.bytes = 0

    def tell(self, rows: int | None) -> None:
        """So far it has come. What the callback raises comes through."""
        try:
            self._callback(Progress(rows, self.bytes))
        except (StopIteration, StopAsyncIteration) as error:
            raise no_end(error) from error

    def sent(self, operation: Operation, size: int, rows: int | None) -> None:
        """So much more has been sent. What the callback raises is the operation's error, too."""
        self.bytes += size
        try:
            self.tell(rows)
        except BaseException as error:
            operation.error = error  # else it would be said to be about a record
            raise

    def tell_end(self, operation: Operation, rows: int) -> None:
        """All has been done, and the operation is about to be; what is raised is its error."""
        try:
            self.tell(rows)
        except BaseException as error:
            operation.error = error


class BatchMeter(Meter):
    """One that is told of batches when they come, and tells of each when it is taken."""

    def __init__(self, callback: ProgressCallback) -> None:
        super().__init__(callback)
        self.rows = 0
        self._received = 0
        self._waiting: deque[int] = deque()  # what had been received at the end of each batch

    def watch(self, operation: LookingUp) -> None:
        """Count the bytes of its rows as they are read; those put off, when that is done."""
        read = operation.on_rows

        def on_rows(buffer: bytes, position: int, size: int) -> int:
            end = read(buffer, position, size)
            if operation._raw is None and not operation.is_looking_up:
                self._received += end - position
            return end

        operation.on_rows = on_rows  # type: ignore[method-assign]

    def begin(self) -> None:
        """It begins; or anew, as nothing of it has been handed on."""
        self._received = 0

    def keep(self) -> None:
        """A batch waits to be taken."""
        self._waiting.append(self._received)

    def take(self, rows: int) -> None:
        """The batch that came first has been taken."""
        self.rows += rows
        self.bytes = self._waiting.popleft()


def meter_for(callback: ProgressCallback | None) -> Meter | None:
    """What counts for a callback, if there is one."""
    return None if callback is None else Meter(callback)
