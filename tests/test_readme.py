"""The README's Python is run: what it shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pgwire

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_there_are_blocks_to_run() -> None:
    assert len(BLOCKS) >= 7


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_block(number: int, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs by itself, with `dsn` and the first block's `import pgwire`."""
    names = {"__name__": "readme", "dsn": dsn, "pgwire": pgwire}
    exec(compile(BLOCKS[number], f"README.md, block {number}", "exec", dont_inherit=True), names)
    if number == 0:
        assert capsys.readouterr().out == "42\n"
