"""docs/coming-from.md: what it shows of pgwire is run, each sample by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from.md").read_text(encoding="utf-8")
TABLES, *BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def run(block: str, names: dict[str, object]) -> None:
    exec(compile(block, "docs/coming-from.md", "exec", dont_inherit=True), names)


@pytest.fixture
def own_dsn(dsn: str) -> Iterator[str]:
    """A database with the table that the page begins with."""
    with pgwire.connect(dsn) as admin:
        admin.query("create database coming_from")
        try:
            own = pgwire.make_conninfo(**pgwire.conninfo_to_dict(dsn) | {"dbname": "coming_from"})
            run(TABLES, {"dsn": own, "pgwire": pgwire})
            yield own
        finally:
            admin.query("drop database coming_from with (force)")


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 18


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, own_dsn: str) -> None:
    """Each runs with `dsn`, `conn` and `import pgwire`."""
    with pgwire.connect(own_dsn) as conn:
        names = {"__name__": "coming_from", "dsn": own_dsn, "conn": conn, "pgwire": pgwire}
        run(BLOCKS[number], names)


def test_what_has_a_section_elsewhere_is_there() -> None:
    """Links to other pages and to sections, this page's too, lead somewhere."""
    docs = Path(__file__).parent.parent / "docs"
    links = re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", PAGE)
    assert len(links) >= 8
    for page, section in links:
        text = (docs / page).read_text(encoding="utf-8") if page else PAGE
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not section or section in anchors, (page, section)
