"""Password files: which line is about whom, compared with libpq's own reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from psycopg import pq

from pgwire.config import Config, HostSpec, Secret
from pgwire.passfile import find_password

if TYPE_CHECKING:
    from pathlib import Path


def password(
    content: str,
    host: str | None = "h",
    *,
    hostaddr: str | None = None,
    port: int = 1,
    dbname: str = "d",
    user: str = "u",
) -> str | None:
    """The password that the file has for this connection."""
    spec = HostSpec(host, hostaddr, port)
    found = find_password(Secret(content), spec, Config((spec,), dbname=dbname, user=user))
    return None if found is None else found.reveal()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", None),
        ("h:1:d:u:pw", "pw"),
        ("h:1:d:u:pw\n", "pw"),
        ("h:1:d:u:pw\r\n", "pw"),
        ("*:*:*:*:pw", "pw"),
        ("h:1:d:*:pw", "pw"),
        ("x:1:d:u:pw", None),
        ("h:2:d:u:pw", None),
        ("h:1:x:u:pw", None),
        ("h:1:d:x:pw", None),
        ("h*:1:d:u:pw", None),
        ("*h:1:d:u:pw", None),
        ("H:1:d:u:pw", None),
        (" h:1:d:u:pw", None),
        ("h:1:d:u", None),
        ("h", None),
        ("\n\nh:1:d:u:pw", "pw"),
    ],
)
def test_a_line_has_four_fields_and_a_password(content: str, wanted: str | None) -> None:
    assert password(content) == wanted


def test_the_first_line_that_matches_wins() -> None:
    assert password("x:1:d:u:other\nh:*:*:*:first\nh:1:d:u:second") == "first"
    assert password("h:1:d:u:\nh:1:d:u:second") is None  # an empty password is none


def test_comments_begin_a_line() -> None:
    assert password("#h:1:d:u:x\nh:1:d:u:pw # kept") == "pw # kept"
    assert password(" #h:1:d:u:x\n*:*:*:*:pw") == "pw"
    assert password("#:1:d:u:x", "#") is None


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("p\\:w", "p:w"),
        ("p\\\\w", "p\\w"),
        ("p\\w", "pw"),
        ("p:w", "p"),
        ("pw\\", "pw\\"),
        (" p w ", " p w "),
        ("é€😀", "é€😀"),
        ("\udcff", "\udcff"),
    ],
)
def test_passwords(raw: str, wanted: str) -> None:
    assert password(f"h:1:d:u:{raw}") == wanted


def test_colons_and_backslashes_in_fields() -> None:
    assert password("\\:\\:1:1:a\\\\b:u\\:v:pw", "::1", dbname="a\\b", user="u:v") == "pw"
    assert password("::1:1:d:u:pw", "::1") == "pw"  # need not be escaped
    assert password("\\h:1:d:u:pw") == "pw"
    assert password("\\*:1:d:u:pw", "*") == "pw"
    assert password("h\\") is None


@pytest.mark.parametrize(
    ("host", "hostaddr", "wanted"),
    [
        ("h", None, "of h"),
        ("h", "10.0.0.1", "of h"),
        (None, "10.0.0.1", "of the address"),
        (None, None, "of this machine"),
        ("localhost", None, "of this machine"),
        ("/var/run/postgresql", None, "of this machine"),
        ("/tmp", None, "of this machine"),
        ("/srv", None, "of srv"),
        ("@abstract", None, "of any"),
    ],
)
def test_what_a_host_is_called(host: str | None, hostaddr: str | None, wanted: str) -> None:
    content = (
        "h:*:*:*:of h\n10.0.0.1:*:*:*:of the address\nlocalhost:*:*:*:of this machine\n"
        "/srv:*:*:*:of srv\n*:*:*:*:of any\n"
    )
    assert password(content, host, hostaddr=hostaddr) == wanted


def test_a_default_directory_has_its_own_name_too() -> None:
    """Which one is the default depends on how libpq was built."""
    assert password("/tmp:*:*:*:pw", "/tmp") == "pw"
    assert password("/tmp:*:*:*:pw", "/srv") is None


# --- libpq ---

FIELDS = st.text(st.sampled_from("ab*:\\#"), min_size=1, max_size=3)
RAW = st.text(st.sampled_from("ab*:\\#\r é"), max_size=4)
LINES = st.lists(st.one_of(st.lists(RAW, min_size=3, max_size=6).map(":".join), RAW), max_size=4)


def escaped(field: str) -> str:
    return field.replace("\\", "\\\\").replace(":", "\\:")


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A file, and a host, database and user that some of its lines are about."""
    host, dbname, user = (draw(FIELDS) for _ in range(3))
    right = [
        ":".join(draw(st.sampled_from([f, escaped(f), "*"])) for f in (host, "1", dbname, user))
        for _ in range(2)
    ]
    rights = [f"{line}:{draw(RAW)}" for line in right]
    lines = draw(st.permutations([*rights, *draw(LINES)]))
    return "\n".join(lines), host, dbname, user


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files())
def test_lines_mean_what_libpq_makes_of_them(
    tmp_path: Path, case: tuple[str, str, str, str]
) -> None:
    """libpq looks the password up before it tries to connect, which here is in vain."""
    content, host, dbname, user = case
    path = tmp_path / "passfile"
    path.write_bytes(content.encode())
    path.chmod(0o600)
    conninfo = " ".join(
        f"{name}='{escaped(value).replace(chr(92) + ':', ':')}'"
        for name, value in (("host", host), ("dbname", dbname), ("user", user))
    )
    rest = f" port=1 hostaddr=127.0.0.1 passfile={path} sslmode=disable gssencmode=disable"
    libpq = pq.PGconn.connect_start((conninfo + rest).encode())
    assert password(content, host, dbname=dbname, user=user) == (libpq.password.decode() or None)
    libpq.finish()
