"""A bar chart as SVG, in a few lines and without a dependency.

Knows shapes and text. Must not know what is drawn. The scale begins at zero, so that the
lengths of bars compare as their values do, and every bar has its value beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COLOURS = ("#c8553d", "#2f6690", "#588157", "#8d6a9f")
_INK, _FAINT, _PAPER = "#1f2933", "#d9dee3", "#ffffff"
_WIDTH, _MARGIN, _RIGHT = 760, 24, 130
_BAR, _GAP, _GROUP_GAP = 18, 4, 18
_LETTER = 7.0  # a wide guess at the width of a letter, in the size of the labels


@dataclass(frozen=True)
class Group:
    """Bars that belong together: a value for each series, with the text beside its bar."""

    name: str
    values: Sequence[float]
    labels: Sequence[str]


def bar_chart(
    title: str, subtitle: str, axis: str, series: Sequence[str], groups: Sequence[Group]
) -> str:
    """The SVG document: horizontal bars in groups, a legend, and an axis with its label."""
    left = _MARGIN + _LETTER * max(len(group.name) for group in groups) + 10
    width = _WIDTH - left - _RIGHT
    most = max(value for group in groups for value in group.values)
    step = _tick_step(most)
    scale = width / most
    top = 104
    group_height = len(series) * (_BAR + _GAP) - _GAP + _GROUP_GAP
    bottom = top + len(groups) * group_height - _GROUP_GAP // 2
    parts = [
        _text(_MARGIN, 34, title, size=18, weight="600"),
        _text(_MARGIN, 56, subtitle, size=12, opacity=0.75),
        *_legend(series),
    ]
    for number in range(int(most / step) + 1):
        x = left + number * step * scale
        parts.append(_line(x, top - 8, x, bottom))
        parts.append(_text(x, bottom + 18, f"{number * step:g}", size=12, anchor="middle"))
    parts.append(_text(left + width / 2, bottom + 40, axis, size=12, anchor="middle"))
    for index, group in enumerate(groups):
        parts += _bars(group, left, top + index * group_height, scale)
    height = bottom + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(title)}" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="{_PAPER}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _legend(series: Sequence[str]) -> Iterator[str]:
    x = float(_MARGIN)
    for name, colour in zip(series, _COLOURS, strict=False):
        yield f'<rect x="{x:g}" y="69" width="13" height="13" rx="2" fill="{colour}"/>'
        yield _text(x + 20, 80, name, size=13)
        x += 20 + _LETTER * len(name) + 24


def _bars(group: Group, left: float, top: float, scale: float) -> Iterator[str]:
    height = len(group.values) * (_BAR + _GAP) - _GAP
    yield _text(left - 10, top + height / 2 + 4, group.name, size=13, anchor="end")
    for index, (value, label) in enumerate(zip(group.values, group.labels, strict=True)):
        y = top + index * (_BAR + _GAP)
        width = max(1.5, value * scale)
        yield (
            f'<rect x="{left:g}" y="{y:g}" width="{width:.1f}" height="{_BAR}" rx="2" '
            f'fill="{_COLOURS[index % len(_COLOURS)]}"/>'
        )
        yield _text(left + width + 6, y + _BAR - 5, label, size=12)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    anchor: str = "start",
    weight: str = "400",
    opacity: float = 1,
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{_INK}" fill-opacity="{opacity:g}">'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{_FAINT}"/>'


def _tick_step(most: float) -> float:
    """A round step that divides the axis into four to ten parts."""
    step = 1e-9
    while True:
        for factor in (1, 2, 5):
            if most / (step * factor) <= 8:
                return step * factor
        step *= 10
