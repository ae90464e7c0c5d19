"""Bar: how far a long command has come, on one line of standard error that is gone afterwards.

    40% [##########----------------]  4.0 MB of 10.0 MB  2.0 MB/s  0:03 left
    4.0 MB  123,456 rows  2.0 MB/s  0:02

Knows terminals, and what a `progress=` callback gets. It is never a reason to fail: where nothing
can be written to standard error, nothing is. Drawn ten times a second at most.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import TextIO

    from pgwire.protocol.progress import Progress

_INTERVAL = 0.1
_WIDTH, _NARROWEST = 80, 10  # columns: where there is no terminal to ask; of the bar in brackets
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Bar:
    """A context manager; call it with a `Progress`. `total` is in bytes, None if nobody knows."""

    def __init__(
        self,
        *,
        shown: bool = True,
        total: int | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._stream: TextIO | None = sys.stderr if shown else None
        self._total = total
        self._clock = clock
        self._began = clock()
        self._next = 0.0  # when it may be drawn again
        self._drawn = 0  # how many columns are not blank

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if self._stream is not None and now >= self._next:
            self._next = now + _INTERVAL
            self._draw(self.line(progress, now - self._began, _width_of(self._stream) - 1))

    def line(self, progress: Progress, seconds: float, width: int) -> str:
        """What is shown after so many seconds, in so many columns."""
        done = progress.bytes
        rate = done / seconds if seconds > 0 else 0.0
        speed = f"{size(rate)}/s"
        if not self._total:
            rows = [] if progress.rows is None else [f"{progress.rows:,} rows"]
            return "  ".join([size(done), *rows, speed, duration(seconds)])[:width]
        part = min(done / self._total, 1.0)
        left = f"{duration((self._total - done) / rate)} left" if rate and part < 1 else ""
        head = f"{part:4.0%} "
        tail = "  ".join([f"  {size(done)} of {size(self._total)}", speed, left]).rstrip()
        columns = width - len(head) - len(tail) - 2
        if columns < _NARROWEST:
            return (head + tail.lstrip())[:width]
        filled = int(part * columns)
        return f"{head}[{'#' * filled}{'-' * (columns - filled)}]{tail}"

    def clear(self) -> None:
        """Take it away; the next call draws it again."""
        if self._drawn:
            self._draw("")

    def _draw(self, line: str) -> None:
        blanks = " " * (self._drawn - len(line))
        end = "\r" if not line else ""
        self._drawn = len(line)
        try:
            if self._stream is not None:
                self._stream.write(f"\r{line}{blanks}{end}")
                self._stream.flush()
        except (OSError, ValueError):  # it has been closed
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()


def say(line: str) -> None:
    """A line on standard error, if there is one. (`print` would take standard output then.)"""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at it, as far as can be told."""
    return stream is not None and not stream.closed and stream.isatty()


def _width_of(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except (OSError, ValueError):
        return _WIDTH


def size(number: float) -> str:
    """A number of bytes in a unit that leaves three digits or four."""
    for unit in _UNITS:
        if number < 999.5 or unit == _UNITS[-1]:
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
