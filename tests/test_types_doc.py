"""docs/types.md: its samples are run, and its tables are those of the tools."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "types.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
NOT_RUN = "# not run by the tests: "
RUN = [number for number, block in enumerate(BLOCKS) if not block.startswith(NOT_RUN)]


def tool(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    return import_module(name)


@pytest.fixture
def own_dsn(request: pytest.FixtureRequest, dsn: str) -> Iterator[str]:
    """A database of its own, as samples make types; with extensions where they want any."""
    if "create extension" in BLOCKS[request.getfixturevalue("number")]:
        dsn = request.getfixturevalue("extension_server").url
    with pgwire.connect(dsn) as admin:
        admin.query("create database types_page")
        try:
            yield pgwire.make_conninfo(**pgwire.conninfo_to_dict(dsn) | {"dbname": "types_page"})
        finally:
            admin.query("drop database types_page with (force)")


def test_there_are_blocks_to_run() -> None:
    assert len(RUN) >= 10
    assert len(BLOCKS) - len(RUN) == 1


@pytest.mark.parametrize("number", RUN)
def test_block(number: int, own_dsn: str) -> None:
    """Each runs by itself, with `dsn` and `import pgwire`."""
    names = {"__name__": "types_page", "dsn": own_dsn, "pgwire": pgwire}
    code = compile(BLOCKS[number], f"types.md, block {number}", "exec", dont_inherit=True)
    exec(code, names)


def test_what_is_not_run_is_python_all_the_same() -> None:
    for number in set(range(len(BLOCKS))) - set(RUN):
        compile(BLOCKS[number], f"types.md, block {number}", "exec", dont_inherit=True)


def test_the_table_of_types_is_current(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate_types = tool(monkeypatch, "generate_types")
    assert generate_types.main(["--check"]) == 0
    stale = tmp_path / "types.md"
    stale.write_text(PAGE.replace("| `bool` |", "| `boolean` |"), encoding="utf-8")
    monkeypatch.setattr(generate_types, "TARGET", stale)
    assert generate_types.main(["--check"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert generate_types.main([]) == 0
    assert stale.read_text(encoding="utf-8") == PAGE


def test_every_case_of_the_comparison_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("asyncpg", reason="the comparison takes the drivers of pgwire[bench]")
    pytest.importorskip("pg8000", reason="the comparison takes the drivers of pgwire[bench]")
    compare_types = tool(monkeypatch, "compare_types")
    _, _, rest = PAGE.partition(compare_types.BEGIN)
    lines, end, _ = rest.partition(compare_types.END)
    assert end
    first_cells = re.findall(r"^\| (.*?) \|", lines, re.MULTILINE)
    wanted = [compare_types.first_cell(case) for case in compare_types.CASES]
    assert len(wanted) >= 60
    assert first_cells[2:-1] == wanted  # behind two lines of the head, before the counts
    assert len(set(wanted)) == len(wanted)
