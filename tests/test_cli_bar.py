"""The bar, on its own clock: what it shows when, and that it is never a reason to fail."""

from __future__ import annotations

import io
import sys

import pytest

import pgwire
from pgwire.cli_bar import Bar, duration, is_terminal, say, size


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def line(bar: Bar, rows: int | None, done: int, seconds: float, width: int = 60) -> str:
    return bar.line(pgwire.Progress(rows, done), seconds, width)


def test_where_the_size_is_known() -> None:
    bar = Bar(total=10_000_000)
    shown = line(bar, None, 0, 0)
    assert shown == f"  0% [{'-' * 30}]  0 B of 10.0 MB  0 B/s"
    shown = line(bar, None, 4_000_000, 2)
    assert shown.startswith(" 40% [####")
    assert shown.endswith("-]  4.0 MB of 10.0 MB  2.0 MB/s  0:03 left")
    assert len(shown) == 60
    shown = line(bar, None, 10_000_000, 5)
    assert shown.startswith("100% [####")
    assert "-]" not in shown
    assert not shown.endswith("left")
    assert line(bar, None, 4, 0).endswith("4 B of 10.0 MB  0 B/s")


def test_what_is_longer_than_it_was_is_at_its_end() -> None:
    assert line(Bar(total=10), None, 20, 1).startswith("100% [####")


def test_in_few_columns_there_is_no_bar() -> None:
    assert line(Bar(total=1000), None, 500, 1, 40) == " 50% 500 B of 1.0 kB  500 B/s  0:01 left"
    assert line(Bar(total=1000), None, 500, 1, 12) == " 50% 500 B o"


@pytest.mark.parametrize("total", [None, 0])
def test_where_it_is_not_known(total: int | None) -> None:
    assert line(Bar(total=total), 12_345, 4_000_000, 2) == "4.0 MB  12,345 rows  2.0 MB/s  0:02"
    assert line(Bar(total=total), None, 0, 0) == "0 B  0 B/s  0:00"


def test_it_is_drawn_ten_times_a_second_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Bar(clock=clock) as bar:
        for _ in range(100):
            clock.now += 0.0199
            bar(pgwire.Progress(None, 1))
    drawn = capsys.readouterr().err
    assert drawn.count("\r1 B ") in range(15, 21)
    assert drawn.endswith(" \r")


def test_a_shorter_line_leaves_nothing_of_a_longer_one(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar = Bar(clock=clock)
    bar(pgwire.Progress(1_000_000, 1))
    clock.now += 1
    bar(pgwire.Progress(1, 1))
    bar.clear()
    bar.clear()
    first, second, last = capsys.readouterr().err.split("\r")[1:-1]
    assert len(first) == len(second)
    assert last == " " * len(second.rstrip())


def test_nothing_was_drawn_so_nothing_is_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar():
        pass
    with Bar(shown=False) as bar:
        bar(pgwire.Progress(1, 1))
    assert capsys.readouterr().err == ""


def test_a_stream_that_is_closed_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with Bar(clock=clock) as bar:
        bar(pgwire.Progress(1, 1))
        stream.close()
        clock.now += 1
        bar(pgwire.Progress(2, 2))
    say("nobody hears it")


def test_without_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with Bar() as bar:
        bar(pgwire.Progress(1, 1))
    say("nobody hears it")
    assert not is_terminal(sys.stderr)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((0, "0 B"), (999, "999 B"), (999.6, "1.0 kB"), (1000, "1.0 kB"), (1_234_567, "1.2 MB")),
        *((9.99e9, "10.0 GB"), (5e12, "5.0 TB"), (5e15, "5000.0 TB")),
    ],
)
def test_sizes(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3661, "1:01:01")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
