"""`python -m pgwire copy`: files and standard streams, byte by byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@pytest.fixture
def table(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn) as conn:
        conn.script("drop table if exists cli_copied; create table cli_copied (id int, name text)")
        yield conn
        conn.script("drop table cli_copied")


def copy(dsn: str, *words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    """In a process of its own: standard streams of bytes are what it is about."""
    done = subprocess.run(
        [sys.executable, "-m", "pgwire", "copy", "-d", dsn, *words],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=os.environ,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def test_from_standard_input_and_to_standard_output(table: pgwire.Connection, dsn: str) -> None:
    data = "1\tä\n2\t\\N\n".encode()
    assert copy(dsn, "copy cli_copied from stdin", stdin=data) == (0, b"", "COPY 2\n")
    assert copy(dsn, "copy cli_copied to stdout") == (0, data, "COPY 2\n")
    binary = copy(dsn, "copy cli_copied to stdout (format binary)")[1]
    assert binary.startswith(b"PGCOPY\n\xff")
    assert copy(dsn, "copy cli_copied from stdin (format binary)", stdin=binary)[2] == "COPY 2\n"


def test_from_a_file_and_to_a_file(
    table: pgwire.Connection, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.csv"
    file.write_text("id,name\n1,a\n")
    sql = "copy cli_copied from stdin (format csv, header)"
    assert main(["copy", dsn, sql, str(file)]) == 0
    sql = "copy (select id, name || ' from stdin ' as name from cli_copied) to stdout (format csv)"
    assert main(["copy", "-d", dsn, sql, str(file)]) == 0
    assert file.read_text() == "1,a from stdin \n"
    assert capsys.readouterr() == ("", "COPY 1\nCOPY 1\n")


def test_a_mistake_is_one_line(
    table: pgwire.Connection, dsn: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "nothing")
    for words, complaint in (
        (["copy nowhere to stdout"], 'ERROR: relation "nowhere" does not exist'),
        (["select 'to stdout'"], "pgwire: copy_out() takes a COPY"),
        (["copy cli_copied from stdin", nowhere], f"pgwire: {nowhere}: No such file"),
        (["copy cli_copied from stdin", "a", "b"], "usage: "),
    ):
        assert main(["copy", "-d", dsn, *words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(complaint)
        assert err.count("\n") == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "--help"]) == 0
    assert "standard input" in capsys.readouterr().out
