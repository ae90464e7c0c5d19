"""Sources: where `copy_in` and `copy_records` take from what they send.

A source is gone through with `next`, a bit at a time, by the operation that writes. What comes by
itself, from an async iterable, is put into an `Inlet` by the shell, which the operation takes it
from; it stops where nothing is left for now, and goes on where more has come.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Iterator
    from typing import Protocol

    class _Readable(Protocol):
        def read(self, size: int, /) -> bytes | str | None: ...

    class _Writable(Protocol):
        def write(self, data: Any, /) -> object: ...

    Piece = bytes | bytearray | memoryview | str
    CopySource = Piece | _Readable | Iterable[Piece]
    AsyncCopySource = CopySource | AsyncIterable[Piece]
    CopySink = _Writable

# The server takes messages of 64 KiB with the least work on both sides; it is also above what the
# blocking shell sends without reading, so that it pumps.
CHUNK = 65_536

_NEEDS_ASYNCIO = "the source is an async iterable, which only the asyncio shell can go through"


class Inlet:
    """Between who has something to send and the operation that sends it.

    `weigh` says what an item counts; with `CHUNK` and more waiting it `is_full`, and who puts in
    should wait until `on_wanted` is called, which happens whenever the operation has nothing left.
    """

    def __init__(self, weigh: Callable[[Any], int]) -> None:
        self._weigh = weigh
        self._items: deque[Any] = deque()
        self._weight = 0
        self._error: BaseException | None = None
        self.has_ended = False
        self.on_wanted: Callable[[], object] | None = None

    @property
    def is_full(self) -> bool:
        return self._weight >= CHUNK

    @property
    def is_spent(self) -> bool:
        """Whether all has been taken, and no more will come."""
        return self.has_ended and not self._items and self._error is None

    def put(self, item: Any) -> None:
        """Have this sent behind what is there; what cannot be weighed ends it with an error."""
        try:
            self._weight += self._weigh(item)
        except Exception as error:
            self.end(error)
        else:
            self._items.append(item)

    def put_back(self, item: Any) -> None:
        """Have this taken once more, before all else."""
        self._weight += self._weigh(item)
        self._items.appendleft(item)

    def end(self, error: BaseException | None = None) -> None:
        """There will be no more; `error` is raised behind what is there."""
        if not self.has_ended:
            self.has_ended = True
            self._error = error

    def ask(self) -> None:
        """The operation has nothing left."""
        if self.on_wanted is not None:
            self.on_wanted()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._items:
            item = self._items.popleft()
            self._weight = self._weight - self._weigh(item) if self._items else 0
            return item
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration


class Held:
    """Gives what a source does, and keeps it; whether it was the source that raised."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self.taken: list[Any] = []
        self.has_failed = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self.has_failed = True
        try:
            record = next(self._source)
        except StopIteration:
            self.has_failed = False
            raise
        self.has_failed = False
        self.taken.append(record)
        return record


def is_async(source: Any) -> bool:
    """Whether a source has to be gone through by `async for`."""
    return hasattr(source, "__aiter__")


def as_bytes(piece: Any) -> bytes:
    """One piece of a source, as it is sent."""
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, str):
        try:
            return piece.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"the source gave a str with a lone surrogate at index {error.start}; "
                "it cannot be sent as UTF-8"
            ) from None
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise ProgrammingError(
        f"the source must give bytes or str, not {type(piece).__name__}; "
        "for records of values there is copy_records()"
    )


def weight_of(piece: Any) -> int:
    """What a piece counts in an `Inlet`."""
    return 1 + len(piece if isinstance(piece, bytes | str) else as_bytes(piece))


def weight_of_record(_record: Any) -> int:
    """What a record counts there: how long it is nobody knows, but there are never too many."""
    return 256


def pieces_of(source: Any) -> Iterator[Any]:
    """What a source of bytes or str is to be taken from, bit by bit."""
    if isinstance(source, bytes | bytearray | memoryview):
        return iter((source,))
    if isinstance(source, str):
        return (source[n : n + CHUNK] for n in range(0, len(source), CHUNK))
    if is_async(source):
        raise ProgrammingError(_NEEDS_ASYNCIO)
    if hasattr(source, "read"):
        return _read(source)
    try:
        return iter(source)
    except TypeError:
        raise ProgrammingError(
            "the source must be bytes, str, an open file or an iterable of these, "
            f"not {type(source).__name__}"
        ) from None


def records_of(records: Any) -> Iterator[Any]:
    """What records are to be taken from."""
    if is_async(records):
        raise ProgrammingError(_NEEDS_ASYNCIO)
    if isinstance(records, str | bytes | bytearray | memoryview) or hasattr(records, "read"):
        raise ProgrammingError(
            f"records must be an iterable of tuples, not {type(records).__name__}; "
            "for data in one of COPY's own formats there is copy_in()"
        )
    try:
        return iter(records)
    except TypeError:
        raise ProgrammingError(
            f"records must be an iterable of tuples, not {type(records).__name__}"
        ) from None


def rows_of(rows: Any) -> Iterator[Any]:
    """What the parameters of one statement for many records are to be taken from."""
    try:
        return iter(rows)
    except TypeError:
        hint = "; an async one can be given to copy_records(), in asyncio" * is_async(rows)
        raise ProgrammingError(
            f"rows must be an iterable of sequences of values, not {type(rows).__name__}{hint}"
        ) from None


def _read(file: Any) -> Iterator[Any]:
    while data := file.read(CHUNK):
        yield data
    if data is None:
        raise BlockingIOError("the file that COPY reads from is not blocking, and has nothing now")
