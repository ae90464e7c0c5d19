"""Large amounts take little memory: at the peak, `BOUND` above the start and no more.

A tenth of what `benchmarks/bulk.py` moves, on single connections, within a fifth of its bound;
PGWIRE_BULK_SCALE=1 for all of it, through pools as well.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCALE = float(os.environ.get("PGWIRE_BULK_SCALE", "0.1"))
WHATS = ("stream", "copy_in", "copy_out", "copy_records", "query_many")


@pytest.fixture
def bulk(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("bulk")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["connection"] if SCALE < 1 else ["connection", "pool"])
@pytest.mark.parametrize("shell", ["blocking", "asyncio"])
@pytest.mark.parametrize("what", WHATS)
def test_the_peak(bulk: Any, dsn: str, what: str, shell: str, way: str) -> None:
    assert tuple(bulk.SIZES) == WHATS
    found = bulk.run(dsn, what, shell, way, SCALE)
    assert found["rows"] == int(bulk.SIZES[what] * SCALE)
    assert found["more"] < bulk.BOUND * 1e6 / (5 if SCALE < 1 else 1)
