"""`python -m pgwire demo`: what stands on the screen, and what is left when it is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgwire import embedded
from pgwire.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@pytest.fixture
def started(
    embedded_server: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> list[embedded.Server]:
    """The servers that were started since, where one can be."""
    servers: list[embedded.Server] = []
    start = embedded.server

    @contextlib.contextmanager
    def server() -> Iterator[embedded.Server]:
        with start() as own:
            servers.append(own)
            yield own

    monkeypatch.setattr(embedded, "server", server)
    return servers


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_fits_on_a_screen_and_leaves_nothing(
    started: list[embedded.Server], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert out.replace("\n", "").isprintable()
    assert str(started[0].installation) in lines[0]
    assert "    Row(answer=42, who='Ada')" in lines
    assert "    UniqueViolation: Key (id)=(1) already exists." in lines
    assert "    rows in the table now: 0" in lines
    came, served = (line.split() for line in lines if line.startswith(("  came ", "  served ")))
    assert came[1:] == served[1:] == [str(number) for number in range(1, 13)]
    assert "  the 6 before it  6 answered; connections still open: 0" in lines
    assert "PoolClosed" in out
    assert "stopped and its folder removed" in lines[-1]
    assert not is_alive(started[0].pid)
    assert not started[0].directory.exists()


def test_without_a_server_it_says_what_would_mend_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"pgwire: PG_BIN={tmp_path} holds no PostgreSQL that runs: unset PG_BIN\n"


@pytest.mark.usefixtures("embedded_server")
def test_ctrl_c_ends_it_without_a_word() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pgwire", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"PostgreSQL")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, b"")
