"""docs/protocol-tables.md says what the operations' tables say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pgwire.protocol.query import Query
from pgwire.protocol.startup import Startup

ROOT = Path(__file__).parent.parent.parent
TABLES = ROOT / "docs" / "protocol-tables.md"


def test_the_tables_in_the_documentation_are_current() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "draw_phases.py"), "--check"]
    found = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_every_phase_has_a_column() -> None:
    text = TABLES.read_text(encoding="utf-8")
    for kind in (Query, Startup):
        section = text.partition(f"## {kind.__name__}\n")[2].partition("\n## ")[0]
        heading = next(line for line in section.splitlines() if line.startswith("| |"))
        assert heading.strip("| ").split(" | ") == [phase.name for phase in kind.PHASES]
