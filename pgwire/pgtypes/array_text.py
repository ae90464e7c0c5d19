"""The text format of arrays.

Knows braces, quotes and bounds. Must not know the binary format, nor any element type. The
manual: "Array Input and Output Syntax".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pgwire.errors import DataError
from pgwire.pgtypes.array_shapes import MAX_DIMENSIONS, Box, check_bounds, flattened, misplaced
from pgwire.pgtypes.codec import part_literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.pgtypes.codec import Codec

_match_bounds = re.compile(r"((?:\[[+-]?\d{1,10}:[+-]?\d{1,10}\])+)=", re.ASCII).match
_find_bounds = re.compile(r"\[([^:]+):([^]]+)\]").findall
_MAY_FOLLOW = {
    "": ("{",),
    "{": ("{", "}", "element"),
    ",": ("{", "element"),
    "element": (",", "}"),
    "}": (",", "}"),
}
_unescape = re.compile(r"\\(.)", re.DOTALL).sub
# What is no element without quotes, nor between two of them.
_MARKS = '{}"\\ \t\n\v\f\r'


@lru_cache(maxsize=8)
def _token(delimiter: str) -> re.Pattern[str]:
    """One token of the text: a brace or delimiter, a quoted element, an element without quotes."""
    mark = re.escape(delimiter)
    return re.compile(
        "(?P<mark>[{}]|"
        + mark
        + r')|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"'
        + r'|(?P<bare>[^{}"\\ \t\n\v\f\r'
        + mark
        + "]+)",
        re.DOTALL,
    )


def array_text(element: Codec, box: Box) -> str:
    """The array's text: "{{"a",NULL},{"b","c"}}"."""
    texts = []
    for number, item in enumerate(box.items):
        if item is None:
            texts.append("NULL")
            continue
        try:
            text = part_literal(element, item)
        except DataError as error:
            raise misplaced(error, box, number) from None
        texts.append('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    delimiter = element.delimiter
    for length in reversed(box.dimensions):
        texts = [
            "{" + delimiter.join(texts[i : i + length]) + "}" for i in range(0, len(texts), length)
        ]
    if not texts:
        return "{}"
    bounds = ""
    if box.bounds.count(1) != len(box.bounds):
        ends = zip(box.bounds, box.dimensions, strict=True)
        bounds = "".join(f"[{low}:{low + length - 1}]" for low, length in ends) + "="
    return bounds + texts[0]


def parsed_text(text: str, delimiter: str) -> tuple[list[int], list[int], Sequence[Any]]:
    """The dimensions, lower bounds and elements, each `str` or None, of an array's text.

    Raises `DataError`, whose reason is not for users: all they need is that it is not an array.
    """
    plain = _plain_items(text, delimiter)
    if plain is not None:
        return [len(plain)], [1], plain
    bounds = _match_bounds(text)
    start = bounds.end() if bounds else 0
    dimensions, items = flattened(_parsed_braces(text, start, delimiter))
    if not bounds:
        return dimensions, [1] * len(dimensions), items
    ends = [(int(lower), int(upper)) for lower, upper in _find_bounds(bounds[1])]
    if [upper - lower + 1 for lower, upper in ends] != dimensions:
        raise DataError
    lower_bounds = [lower for lower, _ in ends]
    check_bounds(dimensions, lower_bounds)
    return dimensions, lower_bounds, items


def _plain_items(text: str, delimiter: str) -> list[Any] | None:
    """The elements of a list without quotes and lists inside; None where it is something else.

    So numbers are, and it takes a tenth of the time that tokens take.
    """
    inside = text[1:-1]
    if text[:1] != "{" or text[-1:] != "}" or any(mark in inside for mark in _MARKS):
        return None
    items: list[Any] = inside.split(delimiter)
    if "" in items:
        return None
    if "NULL" in items:
        return [None if item == "NULL" else item for item in items]
    return items


def _parsed_braces(text: str, position: int, delimiter: str) -> list[Any]:
    """The nested lists from this position to the text's end."""
    match_token = _token(delimiter).match
    outermost: list[Any] = []
    stack = [outermost]
    previous = ""
    while position < len(text):
        token = match_token(text, position)
        if token is None:
            raise DataError
        position = token.end()
        kind = token["mark"] or "element"
        if kind == delimiter:
            kind = ","
        if kind not in _MAY_FOLLOW[previous] or (previous and len(stack) == 1):
            raise DataError
        if kind == "element":
            stack[-1].append(_element(token))
        elif kind == "{":
            if len(stack) > MAX_DIMENSIONS:
                raise DataError
            inner: list[Any] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif kind == "}":
            stack.pop()
        previous = kind
    if not previous or len(stack) > 1:
        raise DataError
    array: list[Any] = outermost[0]
    return array


def _element(token: re.Match[str]) -> str | None:
    quoted: str | None = token["quoted"]
    if quoted is not None:
        return _unescape(r"\1", quoted)
    return None if token["bare"] == "NULL" else token["bare"]
