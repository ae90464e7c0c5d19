"""The command line: in this process through `main()`, and as users start it."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

import pgwire
from pgwire import cli
from pgwire.__main__ import main
from pgwire.protocol.messages import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    Outcome = tuple[int, str, str]
    Command = Callable[..., Outcome]

ROOT = Path(__file__).parent.parent
TEXT, INT4 = 25, 23


@pytest.fixture
def command(dsn: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `main()` against the server: status, standard output, standard error."""

    def run(*words: str) -> Outcome:
        status = main(["-d", dsn, *words])
        return status, *capsys.readouterr()

    return run


def columns(names: str, *oids: int) -> list[Column]:
    """Columns with these names (blanks between them), of type text or of these types."""
    kinds = oids or itertools.repeat(TEXT)
    return [Column(name, oid) for name, oid in zip(names.split(" "), kinds, strict=False)]


def as_process(
    *words: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """`python -m pgwire` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pgwire", *words],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=os.environ | (env or {}),
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# ---------------------------------------------------------------- running SQL


def test_arguments_are_the_parameters(command: Command) -> None:
    status, out, err = command("select $1::int + 1", "41")
    assert (status, err) == (0, "")
    assert out == " ?column?\n----------\n       42\n(1 row)\n"


def test_values_are_shown_as_postgresql_writes_them(command: Command) -> None:
    sql = """select interval '1 year 2 days 03:04' as i, '{1,NULL,3}'::int[] as a, true as b,
        1e20::float8 as f, '\\x00ff'::bytea as y, '[1,5)'::int4range as r, row(1, 'x') as c,
        'infinity'::timestamp as t, 'nan'::numeric as n"""
    assert command(sql, "--csv") == (
        0,
        "i,a,b,f,y,r,c,t,n\n"
        '1 year 2 days 03:04:00,"{1,NULL,3}",t,1e+20,\\x00ff,"[1,5)","(1,x)",infinity,NaN\n',
        "",
    )


LITERALS = {
    "int": "-5", "date": "2024-02-29", "int[]": "{1,2}", "jsonb": '{"a": 1}', "bytea": "\\xff",
    "bool": "false", "point": "(1,2)", "text": "Zoë", '"char"': "x", "numeric": "1.50",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "literal"), LITERALS.items())
def test_an_argument_is_a_literal_of_any_type(command: Command, kind: str, literal: str) -> None:
    status, out, err = command("--json", f"select ($1::{kind})::text as it", literal)
    assert (status, err) == (0, "")
    assert json.loads(out) == [{"it": literal}]


def test_negative_numbers_and_dashes_are_arguments(command: Command) -> None:
    assert command("--csv", "select $1", "-5")[1] == "?column?\n-5\n"
    assert command("--csv", "--", "select $1", "--json")[1] == "?column?\n--json\n"


def test_options_may_follow_the_sql(command: Command) -> None:
    assert command("select $1 as a, $2 as b", "x", "--csv", "y")[1] == "a,b\nx,y\n"


def test_a_statement_without_rows_prints_its_tag(command: Command) -> None:
    assert command("create temp table t ()") == (0, "CREATE TABLE\n", "")


def test_several_statements_are_a_script(command: Command) -> None:
    status, out, err = command(
        "create temp table t (a int); insert into t values (1), (2); table t; select 'x' as b"
    )
    assert (status, err) == (0, "")
    assert out == ("CREATE TABLE\nINSERT 0 2\n a\n---\n 1\n 2\n(2 rows)\n\n b\n---\n x\n(1 row)\n")


def test_what_came_before_an_error_is_printed(command: Command) -> None:
    status, out, err = command("select 1 as a; select nope; select 2")
    assert status == 1
    assert out == " a\n---\n 1\n(1 row)\n"
    assert err.startswith('ERROR: column "nope" does not exist\nLINE 1: select 1 as a; sel')


@pytest.mark.parametrize("sql", ["copy pg_class to stdout", "copy pg_class from stdin"])
def test_copy_is_another_command(command: Command, sql: str) -> None:
    told = (1, "", "pgwire: COPY with STDIN or STDOUT is what python -m pgwire copy does\n")
    assert command(sql) == told
    assert command(f"select 1; {sql}")[0] == 1


def test_notices_go_to_standard_error(command: Command) -> None:
    status, out, err = command("do $$ begin raise notice 'careful'; end $$")
    assert (status, out, err) == (0, "DO\n", "NOTICE: careful\n")


def test_an_empty_statement_prints_nothing(command: Command) -> None:
    assert command(" ; ") == (0, "", "")


def test_sql_comes_from_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffselect 'é' as a".encode()))
    )
    assert command("--csv") == (0, "a\né\n", "")


def test_standard_input_that_is_not_utf8_is_an_error(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"select '\xff'")))
    assert command() == (1, "", "pgwire: the SQL on standard input is not UTF-8: byte 9\n")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["select 1/0"], "ERROR: division by zero\n"),
        (["select $1", "\udcff"], r"pgwire: parameter \$1 .*surrogate.*\n"),
        (["select '\udcff'"], "pgwire: the SQL holds a lone surrogate .*\n"),
        (["select 1", "2"], "pgwire: the statement has 0 parameters, 1 given\n"),
        (["select $1::int", "x"], 'ERROR: invalid input syntax for type integer: "x"\n'),
        (["copy pg_class to stdout"], "pgwire: COPY .*\n"),
        (["--nope"], "pgwire: unrecognized arguments: --nope .*\n"),
        (["select $1::float8", "-Infinity"], "pgwire: unrecognized .*: -Infinity .*write -- .*\n"),
        (["--csv", "--json", "x"], "pgwire: .*not allowed with.*\n"),
        (["postgresql://x/y", "x"], "pgwire: the database is given twice.*\n"),
    ],
)
def test_a_mistake_is_status_1_and_one_line(
    command: Command, words: list[str], complaint: str
) -> None:
    status, out, err = command(*words)
    assert (status, out) == (1, "")
    assert re.fullmatch(complaint, err)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["-h", "127.0.0.1", "-p", "1", "x"], "pgwire: 127.0.0.1:1: .*refused.*\n"),
        (["-p", "abc", "x"], "pgwire: port must be .*\n"),
        (["-h", "nobody.invalid", "x"], "pgwire: the host name 'nobody.invalid' .*\n"),
        (["host=127.0.0.1 port=1", "x"], "pgwire: 127.0.0.1:1: .*refused.*\n"),
        (["-d", "nope=1", "x"], "pgwire: .*unknown parameter 'nope'.*\n"),
        (["-h"], "pgwire: argument -h/--host: expected one argument.*\n"),
        (["copy", "copy t", "x.csv"], "pgwire: the statement must be a COPY .*\n"),
        (["copy", "t", "x.csv"], "pgwire: say --in to copy into the table, or --out .*\n"),
        (["copy", "--in", "select 1"], "pgwire: --in needs a table: .*\n"),
        (["copy", "--in", "copy t to stdout"], "pgwire: --in, .* are for tables and queries\n"),
        (["copy"], "usage: python -m pgwire copy .*\n"),
        (["demo", "now"], "pgwire: the demo takes no arguments\n"),
    ],
)
def test_without_a_connection_it_is_one_line_too(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(complaint, err)


def test_demo_and_copy_are_subcommands_as_the_first_word_only(command: Command) -> None:
    status, out, _ = command("select $1 as a, $2 as b", "demo", "copy", "--csv")
    assert (status, out) == (0, "a,b\ndemo,copy\n")
    assert command("demo")[2].startswith("ERROR: syntax error")  # SQL, behind the options


# ---------------------------------------------------------------- connecting


def parameters_of(dsn: str) -> dict[str, str]:
    return pgwire.conninfo_to_dict(dsn)


def test_options_are_those_of_psql(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parameters_of(dsn)
    monkeypatch.setenv("PGPASSWORD", given.get("password", ""))
    flags = {"host": "-h", "port": "-p", "user": "-U", "dbname": "-d"}
    where = [word for name, flag in flags.items() if name in given for word in (flag, given[name])]
    assert main([*where, "-w", "--csv", "select current_user as u, current_database() as d"]) == 0
    assert capsys.readouterr().out == f"u,d\n{given['user']},{given['dbname']}\n"


def test_the_environment_is_enough(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    for name, value in parameters_of(dsn).items():
        monkeypatch.setenv(names.get(name, f"PG{name.upper()}"), value)
    monkeypatch.setenv("PGDATABASE", parameters_of(dsn)["dbname"])
    assert main(["--csv", "select 1 as one"]) == 0
    assert capsys.readouterr().out == "one\n1\n"


@pytest.mark.parametrize("as_uri", [True, False])
def test_the_first_word_may_be_a_connection_string(
    dsn: str, as_uri: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    word = dsn if as_uri else pgwire.make_conninfo(**parameters_of(dsn))
    assert main([word, "--csv", "select $1 as one", "1"]) == 0
    assert capsys.readouterr().out == "one\n1\n"


def test_a_connection_string_wins_over_options_as_in_psql(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["-h", "127.0.0.1", "-p", "1", "-d", "port=2", "select 1"]) == 1
    assert capsys.readouterr().err.startswith("pgwire: 127.0.0.1:2: ")


def test_the_password_is_asked_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parameters_of(dsn)
    wrong = pgwire.make_conninfo(**given | {"password": "wrong"})
    monkeypatch.setattr("getpass.getpass", lambda prompt: given.get("password", ""))
    assert main(["-W", wrong, "--csv", "select 1 as a"]) == 0
    assert capsys.readouterr() == ("a\n1\n", "")


def test_no_password_after_all(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_of_file(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", end_of_file)
    assert main(["-W", dsn, "select 1"]) == 1
    assert capsys.readouterr() == ("", "pgwire: no password was given\n")


def test_the_server_learns_who_asks(command: Command) -> None:
    assert command("--csv", "show application_name")[1] == "application_name\npgwire\n"


# ---------------------------------------------------------------- formats


def test_a_table_is_aligned_as_in_psql() -> None:
    rows = [
        ("1", "ada", None),
        ("-20", "日本", "two\nlines"),
        (None, "e\u0301", "tab\there"),
    ]
    assert list(cli.table_lines(columns("id name note", INT4, TEXT, TEXT), rows)) == [
        " id  | name |     note",
        "-----+------+--------------",
        "   1 | ada  |",
        " -20 | 日本 | two         +",
        "     |      | lines",
        "     | e\u0301    | tab     here",
        "(3 rows)",
    ]


def test_null_may_be_shown() -> None:
    rows = [(None, "")]
    assert list(cli.table_lines(columns("a b"), rows, null="∅"))[2:] == [" ∅ |", "(1 row)"]
    assert list(cli.csv_lines(columns("a b"), rows, null="NULL")) == ["a,b", 'NULL,""']


def test_what_could_steer_a_terminal_is_escaped() -> None:
    lines = "\n".join(cli.table_lines(columns("a\x1b[2J"), [["\x1b[31mred\r\u202e\u2028"]]))
    assert lines.replace("\n", "").isprintable()
    assert r"\x1b[31mred\r\u202e\u2028" in lines


def test_names_that_joiners_hold_together_stay_whole() -> None:
    family = "👩\u200d👧"
    assert family in "\n".join(cli.table_lines(columns("a"), [[family]]))


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.text(), max_size=4))
def test_every_line_of_a_table_has_its_bars_in_the_same_places(
    left: list[str], right: list[str]
) -> None:
    rows = [(a, right[n] if n < len(right) else None) for n, a in enumerate(left)]
    head, rule, *body = cli.table_lines(columns("a b"), rows)
    bar = rule.index("+")
    for line in (head, *body[:-1]):
        assert any(
            line[at] == "|" and cli.display_width(line[:at]) == bar for at in range(len(line))
        )
    assert body[-1] == f"({len(rows)} row{'s' * (len(rows) != 1)})"


def test_csv_tells_null_from_an_empty_string_and_can_be_read_by_copy() -> None:
    rows = [(None, ""), ('say "hi"', "1,2"), ("\\.", "two\nlines")]
    assert list(cli.csv_lines(columns("a b"), rows)) == [
        "a,b", ',""', '"say ""hi""","1,2"', '"\\.","two\nlines"',
    ]  # fmt: skip


def test_json_keeps_numbers_booleans_nulls_and_json_as_they_are(command: Command) -> None:
    sql = """select 1::int2 as i, 9007199254740993 as big, 1.50 as n, 1e20::float8 as f,
        'NaN'::float8 as nan, true as t, false as f2, null as nil, '{"a":\n[1]}'::json as j,
        '"x"'::jsonb as s, 'é"' as txt, date '2024-02-29' as d"""
    status, out, err = command("--json", sql)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 3
    assert '"n": 1.50' in out
    assert json.loads(out) == [
        {
            "i": 1, "big": 9007199254740993, "n": 1.5, "f": 1e20, "nan": "NaN", "t": True,
            "f2": False, "nil": None, "j": {"a": [1]}, "s": "x", "txt": 'é"', "d": "2024-02-29",
        }
    ]  # fmt: skip


def test_json_rows_are_arrays_where_names_repeat(command: Command) -> None:
    assert json.loads(command("--json", "select 1 as a, 'x' as a union all select 2, 'y'")[1]) == [
        [1, "x"],
        [2, "y"],
    ]
    assert json.loads(command("--json", "select 1 as a where false")[1]) == []


def test_formats_for_machines_hold_rows_only(command: Command) -> None:
    sql = "create temp table t (a int); select 1 as a"
    assert command("--csv", sql)[1] == "a\n1\n"
    assert json.loads(command("--json", sql)[1]) == [{"a": 1}]


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), max_size=5))
def test_json_of_any_text_can_be_read_again(rows: list[tuple[str | None, str | None]]) -> None:
    lines = "\n".join(cli.json_lines(columns("a b"), rows))
    assert json.loads(lines) == [{"a": a, "b": b} for a, b in rows]


# ---------------------------------------------------------------- as a process


def test_help_and_version_need_no_server() -> None:
    status, out, err = as_process("--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: python -m pgwire ")
    assert max(map(len, out.splitlines())) <= 95
    assert as_process("--version") == (0, f"pgwire {pgwire.__version__}\n", "")


def test_without_sql_on_a_terminal_it_says_how_it_is_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("usage: python -m pgwire ")


def test_a_script_comes_through_a_pipe(dsn: str) -> None:
    assert as_process(dsn, "--csv", stdin=b"select 1 as a;\n") == (0, "a\n1\n", "")


def test_files_are_utf8_and_a_terminal_shows_what_it_can(dsn: str) -> None:
    env = {"PYTHONIOENCODING": "ascii"}
    assert as_process(dsn, "--csv", "select 'é' as a", env=env)[1] == "a\né\n"
    assert as_process(dsn, "select 'é' as a", env=env)[1] == " a\n---\n \\xe9\n(1 row)\n"


def test_a_reader_that_leaves_early_is_no_news(dsn: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pgwire", dsn, "select generate_series(1, 100000)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b" generate_series\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


@pytest.mark.parametrize(
    "sql", ["select 1", "select generate_series(1, 9999)", "select 1; select 1 / 0"]
)
def test_a_full_disk_is_one_line(dsn: str, sql: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pgwire", dsn, sql],
            stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(b"pgwire: ")
    assert done.stderr.count(b"\n") == 1


def test_without_standard_output_nothing_is_begun(dsn: str) -> None:
    """`>&-`: it was a traceback, after the SQL had been run."""
    name = "pgwire_without_output"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "pgwire", dsn,
         f"create table {name} ()"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"pgwire: standard output is closed\n")
    with pgwire.connect(dsn) as conn:
        assert conn.query("select to_regclass($1)", [name]).scalar() is None


def test_ctrl_c_ends_the_query_here_and_on_the_server(dsn: str) -> None:
    # A text of its own: other tests leave sleeping backends behind, and Ctrl-C must not come
    # before Python has begun to listen for it.
    sql = "select pg_sleep(60) as until_ctrl_c"
    with pgwire.connect(dsn) as conn:
        running = f"select count(*) from pg_stat_activity where query = '{sql}'"
        with subprocess.Popen(
            [sys.executable, "-m", "pgwire", dsn, sql],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            while not conn.query(running + " and wait_event = 'PgSleep'").scalar():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (b"", b"")
            assert process.returncode == 130
        while conn.query(running + " and state = 'active'").scalar():
            pass
