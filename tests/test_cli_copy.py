"""`python -m pgwire copy`: files and standard streams, byte by byte."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
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
        (["copy (copy to stdout"], "ERROR: syntax error"),
        (["copy cli_copied from stdin", nowhere], f"pgwire: {nowhere}: No such file"),
        (["copy cli_copied from stdin", "a", "b"], "usage: "),
    ):
        assert main(["copy", "-d", dsn, *words]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(complaint)
        assert err.count("\n") == (3 if "LINE 1" in err else 1)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "--help"]) == 0
    assert "standard input" in capsys.readouterr().out


# ---------------------------------------------------------------- tables and queries


def run(
    dsn: str, *words: str, stdin: object = subprocess.DEVNULL, stdout: object = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [sys.executable, "-m", "pgwire", "copy", "-d", dsn, *words],
        stdin=stdin,  # type: ignore[call-overload]
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ,
        timeout=60,
    )
    return done


def test_a_table_from_a_file_and_to_a_file(
    table: pgwire.Connection, dsn: str, tmp_path: Path
) -> None:
    """As in `copy table < file.csv`, and the reverse."""
    file = tmp_path / "some.csv"
    file.write_text('1,"a, b"\n2,\n')
    with file.open("rb") as stdin:  # what is said goes into a pipe
        done = run(dsn, "cli_copied", stdin=stdin)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"COPY 2\n")
    other = tmp_path / "other.csv"
    with other.open("wb") as stdout:
        done = run(dsn, "cli_copied", stdout=stdout)
    assert (done.returncode, done.stderr) == (0, b"COPY 2\n")
    assert other.read_text() == file.read_text()
    with other.open("wb") as stdout:  # a pipe that is there without a reason
        assert run(dsn, "cli_copied", stdin=subprocess.PIPE, stdout=stdout).returncode == 0
    assert other.read_text() == file.read_text()


def test_a_table_through_pipes(table: pgwire.Connection, dsn: str) -> None:
    table.query("insert into cli_copied values (1, 'a')")
    assert run(dsn, "cli_copied").stdout == b"1,a\n"
    assert run(dsn, "--header", "cli_copied (name)").stdout == b"name\na\n"
    assert run(dsn, "--out", "--format", "text", "cli_copied").stdout == b"1\ta\n"
    words = ("--in", "--header", "cli_copied (name, id)")
    assert copy(dsn, *words, stdin=b"name,id\nb,2\n") == (0, b"", "COPY 1\n")
    assert table.query("select name from cli_copied where id = 2").scalar() == "b"


def test_which_way_a_table_goes_must_be_plain(
    table: pgwire.Connection, dsn: str, tmp_path: Path
) -> None:
    table.query("insert into cli_copied values (1, 'a')")
    status, out, err = copy(dsn, "cli_copied", stdin=b"2,b\n")  # between two pipes
    assert (status, out, err.count("\n")) == (1, b"", 1)
    assert "say --in to copy into the table, or --out" in err
    file = tmp_path / "some.csv"
    assert main(["copy", "-d", dsn, "--out", "cli_copied", str(file)]) == 0
    assert main(["copy", "-d", dsn, "--in", "cli_copied", str(file)]) == 0
    assert table.query("select count(*) from cli_copied").scalar() == 2


def test_a_query(dsn: str) -> None:
    for sql in ("select 1 as n, 'to stdout' as t;  ", "values (1, 'to stdout') -- from stdin"):
        assert copy(dsn, sql) == (0, b"1,to stdout\n", "COPY 1\n")
    assert copy(dsn, "--header", "-q", "select 1 as n") == (0, b"n\n1\n", "")


def test_an_error_names_line_and_column(table: pgwire.Connection, dsn: str) -> None:
    status, _, err = copy(dsn, "--in", "cli_copied", stdin=b"1,a\nx,b\n")
    assert status == 1
    assert err.startswith("ERROR: invalid input syntax")
    assert err.endswith('\nCONTEXT: COPY cli_copied, line 2, column id: "x"\n')


def test_without_a_standard_error_output_is_data_only(
    table: pgwire.Connection, dsn: str, tmp_path: Path
) -> None:
    table.query("insert into cli_copied values (1, 'a')")
    for what, status, out in (("cli_copied", 0, b"1,a\n"), ("nowhere", 1, b"")):
        command = f'exec "{sys.executable}" -m pgwire copy --out -d "{dsn}" {what} 2>&-'
        done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, cwd=ROOT, timeout=60)
        assert (done.returncode, done.stdout) == (status, out)


# ---------------------------------------------------------------- in a terminal

TERMINAL = struct.pack("4H", 24, 100, 0, 0)


class Terminal:
    """A program whose standard error is a terminal, and what that shows."""

    def __init__(self, dsn: str, *words: str, stdin: object, stdout: object = None) -> None:
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, TERMINAL)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgwire", "copy", "-d", dsn, *words],
            stdin=stdin,  # type: ignore[call-overload]
            stdout=other if stdout is None else stdout,
            stderr=other,
            cwd=ROOT,
            env=os.environ,
        )
        os.close(other)
        self.text = ""

    def until(self, pattern: str) -> None:
        """Read until it shows this."""
        while not re.search(pattern, self.text):
            assert self._read(), self.text

    def end(self) -> tuple[int, str]:
        """Exit status, and what a line of the terminal has come to; then close it."""
        while self._read():
            pass
        os.close(self._fd)
        lines = self.text.replace("\r\n", "\n").split("\n")
        return self.process.wait(60), "\n".join(map(shown, lines))

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, 65_536)
        except OSError:  # nobody has the other end any more
            return False
        self.text += data.decode()
        return True


def shown(line: str) -> str:
    """What is left of a line that has been written over again and again."""
    columns: list[str] = []
    for part in line.split("\r"):
        columns[: len(part)] = part
    return "".join(columns).rstrip()


def test_a_bar_that_is_gone_at_the_end(table: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text("".join(f"{n},some name\n" for n in range(100_000)))
    with file.open("rb") as stdin:
        terminal = Terminal(dsn, "cli_copied", stdin=stdin)
        status, left = terminal.end()
    assert (status, left) == (0, "COPY 100000\n")
    drawn = [part for part in re.split(r"[\r\n]+", terminal.text) if "%" in part]
    assert re.fullmatch(
        r" *\d+% \[#*-+\]  \d+\.\d kB of 1\.6 MB  [\d.]+ .?B/s  \d+:\d\d left", drawn[0]
    )
    assert {len(part) for part in drawn} <= {99}


def test_a_count_where_the_size_is_not_known(
    table: pgwire.Connection, dsn: str, tmp_path: Path
) -> None:
    with (tmp_path / "out.csv").open("wb") as stdout:
        sql = "select n, repeat('x', 100) from generate_series(1, 100000) n"
        terminal = Terminal(dsn, sql, stdin=subprocess.DEVNULL, stdout=stdout)
        assert terminal.end() == (0, "COPY 100000\n")
    assert re.search(r"\d+\.\d [kM]B  [\d,]+ rows  [\d.]+ .?B/s  0:0\d", terminal.text)
    assert (tmp_path / "out.csv").read_bytes().count(b"\n") == 100_000


def test_output_in_a_terminal_has_no_bar_between(dsn: str) -> None:
    terminal = Terminal(dsn, "select repeat('x', 5)", stdin=subprocess.DEVNULL)
    assert terminal.end() == (0, "xxxxx\nCOPY 1\n")
    assert "rows" not in terminal.text


def test_quiet(table: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text("1,a\n" * 50_000)
    with file.open("rb") as stdin:
        terminal = Terminal(dsn, "-q", "cli_copied", stdin=stdin)
        assert terminal.end() == (0, "")
    assert terminal.text == ""


def test_an_error_and_a_bar(table: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "some.csv"
    file.write_text("1,some name\n" * 50_000 + "x,y\n")
    with file.open("rb") as stdin:
        terminal = Terminal(dsn, "cli_copied", stdin=stdin)
        status, left = terminal.end()
    assert "%" in terminal.text
    assert status == 1
    assert left.startswith("ERROR: invalid input syntax")
    assert "%" not in left


def test_ctrl_c_takes_the_bar_away(table: pgwire.Connection, dsn: str) -> None:
    """Before the end of what comes through the pipe has been seen."""
    read, write = os.pipe()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # the background ignores it
    try:
        terminal = Terminal(dsn, "cli_copied", stdin=read)
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(read)
    with os.fdopen(write, "wb") as source:
        source.write(b"1,a\n" * 20_000)
        source.flush()
        terminal.until("B/s")
        terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == (130, "")
    assert table.query("select count(*) from cli_copied").scalar() == 0


def test_notices_are_said_under_no_bar(table: pgwire.Connection, dsn: str, tmp_path: Path) -> None:
    table.script("""
        create or replace function pg_temp_noticed() returns trigger language plpgsql as
        $$begin raise notice 'noticed'; return null; end$$;
        create trigger noticed after insert on cli_copied for each statement
        execute function pg_temp_noticed();
    """)
    file = tmp_path / "some.csv"
    file.write_text("1,a\n" * 20_000)
    try:
        with file.open("rb") as stdin:
            terminal = Terminal(dsn, "cli_copied", stdin=stdin)
            assert terminal.end() == (0, "NOTICE: noticed\nCOPY 20000\n")
    finally:
        table.script("drop function pg_temp_noticed cascade")


def test_progress_where_it_is_no_terminal(table: pgwire.Connection, dsn: str) -> None:
    status, out, err = copy(dsn, "--progress", "--in", "cli_copied", stdin=b"1,a\n" * 20_000)
    assert (status, out) == (0, b"")
    assert "B/s" in err
    assert err.endswith("\rCOPY 20000\n")
