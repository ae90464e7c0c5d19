"""Service files: where they are looked for, what they say, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg import pq

from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.parameters import PARAMETERS
from pgwire.services import find_service, parse_service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MINE, SYSTEM = "/home/me/.pg_service.conf", "/sys/pg_service.conf"
MARKER = "hunter2"


def find(
    name: str, files: Mapping[str, str], file: str | None = None, sysconfdir: str | None = "/sys"
) -> dict[str, str]:
    environ = {} if sysconfdir is None else {"PGSYSCONFDIR": sysconfdir}
    return find_service(name, file, environ=environ, user_file=MINE, read=files.get)


# --- where ---


def test_the_users_file_comes_before_the_systems() -> None:
    files = {MINE: "[s]\nport=1\n", SYSTEM: "[s]\nport=2\n[t]\nport=3\n"}
    assert find("s", files) == {"port": "1"}
    assert find("t", files) == {"port": "3"}
    assert find("s", {SYSTEM: files[SYSTEM]}) == {"port": "2"}


def test_a_file_that_is_named_replaces_the_users_but_not_the_systems() -> None:
    files = {"/named": "", MINE: "[s]\nport=1\n", SYSTEM: "[s]\nport=2\n"}
    assert find("s", files, "/named") == {"port": "2"}


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(ProgrammingError, match="the service file '/named' cannot be read"):
        find("s", {SYSTEM: "[s]\n"}, "/named")


@pytest.mark.parametrize("directory", ["/etc/postgresql-common", "/usr/local/pgsql/etc"])
def test_the_systems_files_without_pgsysconfdir(directory: str) -> None:
    assert find("s", {f"{directory}/pg_service.conf": "[s]\nport=1"}, None, None) == {"port": "1"}


def test_an_undefined_service_is_told_with_the_files_that_lack_it() -> None:
    with pytest.raises(ProgrammingError) as caught:
        find("s", {MINE: "[t]\n", SYSTEM: ""})
    assert str(caught.value) == f"the service 's' is not defined in {MINE} nor in {SYSTEM}"
    with pytest.raises(ProgrammingError, match="not defined as there is no service file"):
        find_service("s", None, environ={}, user_file=None, read=lambda path: None)


# --- what ---


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        ("host=h", None),
        ("[s]", {}),
        ("[s]\nhost=h\nport=1\n", {"host": "h", "port": "1"}),
        ("port=1\n[s]\nhost=h\n[t]\nport=2\n", {"host": "h"}),
        ("[t]\nport=2\nnonsense\n[s]\nhost=h", {"host": "h"}),
        ("[s]\r\nhost=h\r\n", {"host": "h"}),
        ("# [s]\n[s]\n# a comment\n\n  # another\n  host=h  \n", {"host": "h"}),
        ("[s]\npassword=a # b\n", {"password": "a # b"}),
        ("[s]\npassword='a b'\n", {"password": "'a b'"}),
        ("[s]\nhost= h\n", {"host": " h"}),
        ("[s]\nhost=\n", {"host": ""}),
        ("[s]\noptions=-c a=b\n", {"options": "-c a=b"}),
        ("[s]\nport=1\nport=2\n", {"port": "1"}),
        ("[s]\nport=1\n[s]\nport=2\n", {"port": "1"}),
        ("[S]\nport=1\n[ s]\nport=2\n[s ]\nport=3\n", None),
        ("[s] whatever follows\nport=1\n", {"port": "1"}),
        ("[ss]\nport=1\n", None),
        ("[s\nport=1\n", None),
    ],
)
def test_sections(text: str, wanted: dict[str, str] | None) -> None:
    assert parse_service(text, "s", "f") == wanted


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("host", '"=" is missing'),
        ("host =h", "no connection parameter"),
        ("Host=h", "no connection parameter"),
        ("requiressl=1", "no connection parameter"),
        ("=x", "no connection parameter"),
        ("service=t", "service cannot be set"),
        ("servicefile=t", "servicefile cannot be set"),
        ("user=" + "x" * 1016, None),
        ("user=" + "x" * 1017, "too long"),
        ("user=" + "é" * 509, "too long"),
    ],
)
def test_lines(line: str, reason: str | None) -> None:
    text = f"\n[s]\n{line}\n"
    if reason is None:
        assert parse_service(text, "s", "f") is not None
        return
    with pytest.raises(ProgrammingError) as caught:
        parse_service(text, "s", "f")
    assert str(caught.value).startswith("service file 'f', line 3: ")
    assert reason in str(caught.value)


def test_the_last_line_may_be_as_long_as_one_with_its_end() -> None:
    longest = "user=" + "x" * 1017
    assert parse_service(f"[s]\n{longest}", "s", "f") == {"user": "x" * 1017}
    with pytest.raises(ProgrammingError, match="too long"):
        parse_service(f"[s]\n{longest}x", "s", "f")


def test_ldap_is_not_asked() -> None:
    with pytest.raises(NotSupportedError, match="line 2: looking settings up by LDAP"):
        parse_service("[s]\nldap://host/base?attribute?one?(filter)", "s", "f")


@pytest.mark.parametrize("line", [MARKER, f"{MARKER}=x", f"user={MARKER * 200}", f"x={MARKER}"])
def test_no_piece_of_the_file_shows_in_the_error(line: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        find("s", {MINE: f"[s]\npassword={MARKER}\n{line}\n"})
    assert MARKER not in str(caught.value)


# --- anything ---

NAMES = sorted(PARAMETERS.keys() - {"service", "servicefile"})
VALUES = st.text(st.characters(exclude_characters="\n\0", codec="utf-8"), max_size=40)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES.map(lambda text: text.strip(" \t\v\f\r"))))
def test_what_is_written_reads_back(settings: dict[str, str]) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    assert parse_service(f"[other]\nport=1\n[s]\n{lines}[more]\nhost=x\n", "s", "f") == settings


@given(st.lists(st.sampled_from([*"[]=#s \n\r", "port", "service", "ldap", "host=", "é"])))
def test_whatever_a_file_says_there_is_an_answer_or_an_error_of_ours(pieces: list[str]) -> None:
    try:
        found = parse_service("".join(pieces), "s", "f")
    except (ProgrammingError, NotSupportedError):
        return
    assert found is None or found.keys() <= PARAMETERS.keys()


# --- libpq ---

LINES = [
    *("[s]", "[t]", "[s] x", " [s]", "[s", "", "\t", "#host=z", " # x"),
    *("host=a", "host= a", "host =a", "port=1", "port=2 ", "options='a b'\r", "dbname=x\\"),
    *("application_name==", "application_name=\v", "service=t", "nonsense", "uzer=x", "=x"),
    *("options=\xa0x\xa0", "password=p # q", "user=" + "x" * 1017),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one service file that libpq looks into."""
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path / "nowhere"))
    return tmp_path / "services"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(LINES), max_size=7).map("\n".join))
def test_files_mean_what_libpq_makes_of_them(file: Path, text: str) -> None:
    """libpq reads the file before it tries to connect, which here is in vain."""
    file.write_bytes(text.encode())
    libpq = pq.PGconn.connect_start(b"service=s hostaddr=127.0.0.1 port=1 sslmode=disable")
    said = libpq.error_message
    theirs = {o.keyword.decode(): (o.val or b"").decode() for o in libpq.info}
    libpq.finish()
    try:
        ours = parse_service(text, "s", "f")
    except ProgrammingError:
        ours = None
    if b"service" in said:
        assert ours is None
    else:
        assert ours is not None
        for name in ours.keys() - {"port"}:  # the string sets that one
            assert ours[name] == theirs[name]
