"""docs/pool-contract.md says which test holds which promise; this holds what it says.

Each number of a promise or a behaviour (I-1 to I-40, PP-01 to PP-89, B-01 to B-26) has its place
there. In a row of a table that names tests, each number of the row stands in a docstring of one of
them, or in the message of an assertion; a row, or a paragraph, that names none is the reason why.
"""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent.parent
DOCUMENT = TESTS.parent / "docs" / "pool-contract.md"
NUMBERS = {
    *(f"I-{n}" for n in range(1, 41)),
    *(f"PP-{n:02}" for n in range(1, 90)),
    *(f"B-{n:02}" for n in range(1, 27)),
}

_NUMBERS = re.compile(r"\b(I|PP|B)-(\d+)(?: to \1-(\d+))?")
_TEST = re.compile(r"`(?:(\w+)/)?((?:test_\w+|invariants|simulation)\*?)(?:\.py)?`")


class Row(NamedTuple):
    """A row of a table: its numbers, and the tests that it names."""

    text: str
    numbers: frozenset[str]
    tests: tuple[str, ...]


def numbers_in(text: str) -> frozenset[str]:
    """The numbers that it names, "B-01 to B-03" and all."""
    found: set[str] = set()
    for kind, first, last in _NUMBERS.findall(text):
        for n in range(int(first), int(last or first) + 1):
            found.add(f"{kind}-{n}" if kind == "I" else f"{kind}-{n:02}")
    return frozenset(found)


@cache
def modules() -> dict[str, frozenset[str]]:
    """What the texts in each module of tests name, by its name. This one does not count."""
    named: dict[str, frozenset[str]] = {Path(__file__).stem: frozenset()}
    for path in TESTS.rglob("*.py"):
        if path != Path(__file__):  # the asyncio shell's may have the same name as the threads'
            named[path.stem] = named.get(path.stem, frozenset()) | _named_by(path)
    return named


def _named_by(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return numbers_in("\n".join(text for text in texts if isinstance(text, str)))


def rows() -> list[Row]:
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    return [
        Row(line, numbers_in(line), tuple(name for _, name in _TEST.findall(line)))
        for line in lines
        if line.startswith("|") and numbers_in(line)
    ]


def matching(test: str) -> list[str]:
    return [name for name in modules() if fnmatchcase(name, test)]


def test_every_number_has_its_place_in_the_document() -> None:
    missing = NUMBERS - numbers_in(DOCUMENT.read_text(encoding="utf-8"))
    assert not missing, f"{DOCUMENT.name} says nothing of {sorted(missing)}"


def test_no_number_is_made_up() -> None:
    made_up = frozenset[str]().union(*modules().values()) - NUMBERS - {"B-27"}
    assert not made_up, "no such promise"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.text.split("|")[1].strip()[:40])
def test_every_row_names_the_tests_that_hold_it(row: Row) -> None:
    known = frozenset[str]()
    for test in row.tests:
        assert matching(test), f"there is no {test}.py"
        known = known.union(*(modules()[name] for name in matching(test)))
    if row.tests:
        assert row.numbers <= known, f"none of {row.tests} names {sorted(row.numbers - known)}"


def test_every_test_that_the_document_names_exists() -> None:
    named = [name for _, name in _TEST.findall(DOCUMENT.read_text(encoding="utf-8"))]
    assert len(named) > 50
    assert [name for name in named if not matching(name)] == []
