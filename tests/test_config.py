"""From all sources to one Config: precedence, names, and the values of libpq's parameters."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from psycopg import pq

from pgwire.config import Config, ConnectionParameters, HostSpec, Secret, resolve
from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.parameters import OWN_KEYWORDS, PARAMETERS, Form
from tests.support.settings import config, hosts, not_supported, refusal

# --- sources ---


def test_without_any_source_everything_has_its_default() -> None:
    assert config() == Config(hosts=(HostSpec(None, None, 5432),), dbname="me", user="me")


def test_the_startup_parameters_of_the_defaults() -> None:
    assert config().startup_parameters() == {
        "user": "me",
        "database": "me",
        "client_encoding": "UTF8",
    }


def test_keywords_win_over_the_string_over_the_environment_over_defaults() -> None:
    environ = {"PGHOST": "env", "PGPORT": "1", "PGUSER": "env", "PGDATABASE": "env"}
    found = config("host=string user=string", environ, user="keyword")
    assert found.hosts == (HostSpec("string", None, 1),)
    assert (found.user, found.dbname) == ("keyword", "env")


def test_a_uri_is_a_connection_string_too() -> None:
    found = config("postgres://u:pw@a,b:2/db?application_name=app&connect_timeout=7")
    assert found.hosts == (HostSpec("a", None, 5432), HostSpec("b", None, 2))
    assert found.password == Secret("pw")
    assert found.startup_parameters() == {
        "user": "u",
        "database": "db",
        "application_name": "app",
        "client_encoding": "UTF8",
    }
    assert found.connect_timeout == 7


@pytest.mark.parametrize("nothing", [None, ""])
def test_keywords_of_none_and_empty_text_are_not_given(nothing: str | None) -> None:
    given_nothing = dict.fromkeys(PARAMETERS, nothing)
    assert config("user=u sslmode=require", **given_nothing) == config("user=u sslmode=require")


def test_own_keywords_of_none_are_not_given() -> None:
    assert config(**dict.fromkeys(OWN_KEYWORDS)) == config()


def test_empty_texts_mean_the_default_where_libpq_says_so() -> None:
    names = ("host", "hostaddr", "port", "user", "dbname", "password", "options", "sslrootcert")
    assert config(" ".join(f"{name}=''" for name in names)) == config()


def test_the_database_is_named_like_the_user_by_default() -> None:
    assert config(user="u").dbname == "u"


def test_someone_must_connect() -> None:
    with pytest.raises(ProgrammingError, match="user is not given"):
        resolve(environ={}, default_user=None)
    assert resolve(environ={"PGUSER": "u"}, default_user=None).user == "u"


@pytest.mark.parametrize("dbname", ["postgres://evil/?sslmode=disable", "host=evil"])
def test_a_database_name_is_never_read_as_a_connection_string(dbname: str) -> None:
    found = config(dbname=dbname)
    assert found.dbname == dbname
    assert found.hosts == (HostSpec(None, None, 5432),)


def test_the_name_of_the_application() -> None:
    environ = {"PGAPPNAME": "env"}
    assert config().application_name == ""
    assert config(fallback_application_name="f").application_name == "f"
    assert config("", environ, fallback_application_name="f").application_name == "env"
    assert config("", environ, application_name="app").application_name == "app"


def test_libpqs_environment_variables_and_secrets_are_ours() -> None:
    for option in pq.Conninfo.get_defaults():
        row = PARAMETERS[option.keyword.decode()]
        assert (row.env or "") == (option.envvar or b"").decode(), row.name
        assert row.secret or option.dispchar != b"*", row.name


def test_the_annotated_keywords_are_those_that_are_taken() -> None:
    assert ConnectionParameters.__annotations__.keys() == PARAMETERS.keys() | OWN_KEYWORDS


# --- names ---


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("uzer", "did you mean 'user'?"),
        ("Host", "did you mean 'host'?"),
        ("data_base", "did you mean 'database'?"),
        ("ssl_mode", "did you mean 'sslmode'?"),
        ("timeout", "did you mean 'connect_timeout'?"),  # so others call it
        ("ssl", "did you mean 'sslmode'?"),
        ("dsn", "the connection string is the first argument, and has no name"),
        ("url", "the connection string is the first argument, and has no name"),
        ("autocommit", "outside of transaction() each statement commits by itself"),
        ("search_path", "options or settings={...}"),
        ("statement_timeout", "options or settings={...}"),
        ("auto_explain.log_analyze", "options or settings={...}"),
    ],
)
def test_an_unknown_parameter_is_named_with_the_nearest_one(name: str, hint: str) -> None:
    text = refusal(**{name: "x"})
    assert f"unknown connection parameter {name!r}; " in text
    assert hint in text


def test_a_name_that_is_near_to_none_is_named_alone() -> None:
    assert refusal(qqqqqq="x") == "unknown connection parameter 'qqqqqq'"
    assert refusal(**{"us\0er": 1}).startswith(r"unknown connection parameter 'us\x00er'")


def test_aliases() -> None:
    found = config(username="u", database="db")
    assert (found.user, found.dbname) == ("u", "db")
    assert config(user="u", username="u") == config(user="u")
    assert config(user="u", username=None) == config(user="u")
    assert refusal(user="u", username="v") == "username and user are one parameter, but they differ"
    assert "database and dbname are one parameter" in refusal(database="a", dbname="b")


@pytest.mark.parametrize("name", sorted(PARAMETERS))
@pytest.mark.parametrize("bad", ["a\0", "\ud800"])
def test_no_text_that_cannot_be_sent(name: str, bad: str) -> None:
    assert name in refusal(**{name: bad})
    env = PARAMETERS[name].env
    if env is not None:
        assert env in refusal("", {env: bad})


# --- values ---

WORD_ROWS = [row for row in PARAMETERS.values() if row.words]


@pytest.mark.parametrize("row", WORD_ROWS, ids=lambda row: row.name)
def test_a_word_that_is_not_allowed_is_answered_with_those_that_are(row: Any) -> None:
    for text in (refusal(**{row.name: "bogus"}), refusal(f"{row.name}=bogus")):
        assert text.startswith(f"{row.name} must be one of: ")
        assert all(word in text for word in row.words)
        assert "bogus" not in text


def test_the_environment_is_named_where_it_is_to_blame() -> None:
    text = refusal("", {"PGSSLMODE": "on"})
    assert text.startswith("sslmode (from the environment's PGSSLMODE) must be one of: disable,")


@pytest.mark.parametrize("name", [r.name for r in PARAMETERS.values() if r.form is Form.INTEGER])
@pytest.mark.parametrize("text", ["", " ", "x", "1.5", "1_0", "0x1", "\u0661", "2147483648", "+-1"])
def test_integers_are_read_as_libpq_reads_them(name: str, text: str) -> None:
    assert refusal(f"{name}='{text}'") == f"{name} must be an integer"


@pytest.mark.parametrize("text", ["0", "65536", "-1", "x", "1,x", " ", "1;2", "9" * 5000])
def test_ports_are_from_1_to_65535(text: str) -> None:
    assert refusal(f"host=a,b port='{text}'") == "port must be a port number from 1 to 65535"


@pytest.mark.parametrize(
    ("value", "port"),
    [(1, 1), ("65535", 65535), (" +5433 ", 5433), ("0005433", 5433), ("", 5432)],
)
def test_ports(value: int | str, port: int) -> None:
    assert hosts(port=value) == [(None, None, port)]


@pytest.mark.parametrize(
    ("conninfo", "wanted"),
    [
        ("host=a", [("a", None, 5432)]),
        ("host=a,b", [("a", None, 5432), ("b", None, 5432)]),
        ("host=a,b port=1", [("a", None, 1), ("b", None, 1)]),
        ("host=a,b port=1,2", [("a", None, 1), ("b", None, 2)]),
        ("host=a,,b port=,2,", [("a", None, 5432), (None, None, 2), ("b", None, 5432)]),
        ("hostaddr=::1", [(None, "::1", 5432)]),
        ("host=a hostaddr=::1", [("a", "::1", 5432)]),
        ("host=a,b hostaddr=,::2 port=,2", [("a", None, 5432), ("b", "::2", 2)]),
        ("host=, hostaddr=1.1.1.1,", [(None, "1.1.1.1", 5432), (None, None, 5432)]),
        ("host=/tmp", [("/tmp", None, 5432)]),
        ("host=@abstract", [("@abstract", None, 5432)]),
        ("port=1", [(None, None, 1)]),
        ("postgres://a,b:2,[::1]", [("a", None, 5432), ("b", None, 2), ("::1", None, 5432)]),
    ],
)
def test_hosts_addresses_and_ports_belong_together(
    conninfo: str, wanted: list[tuple[str | None, str | None, int]]
) -> None:
    assert hosts(conninfo) == wanted


@pytest.mark.parametrize(
    ("conninfo", "name"),
    [
        ("host=a hostaddr=::1", "a"),
        ("hostaddr=::1", "::1"),
        ("", "the default socket"),
    ],
)
def test_what_a_host_is_called(conninfo: str, name: str) -> None:
    assert config(conninfo).hosts[0].name == name


def test_lists_of_different_lengths_are_refused() -> None:
    assert refusal("host=a,b hostaddr=::1") == "2 items in host, but 1 in hostaddr"
    assert refusal("host=a,b,c port=1,2") == "2 items in port, but 3 hosts"
    assert refusal("port=1,2") == "2 items in port, but 1 hosts"


@pytest.mark.parametrize("uri", ["postgres://u:pw@MARKER@h/d", "postgres://h,u:p@MARKER@h"])
def test_a_piece_of_a_password_is_no_host(uri: str) -> None:
    """To libpq what is behind the first "@" is a host, and errors of connecting name hosts."""
    text = refusal(uri)
    assert "%40" in text
    assert "MARKER" not in text
    for host in ("@abstract@socket", "/tmp/a@b"):
        assert config(host=host).hosts[0].host == host


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5), (0.25, 0.25), ("5", 5), (" 5 ", 5), (0, None), (-1, None), ("0", None), ("-3", None)],
)
def test_connect_timeout(value: float | str, seconds: float | None) -> None:
    assert config(connect_timeout=value).connect_timeout == seconds


def test_an_endless_connect_timeout_is_none_and_wins() -> None:
    assert config("connect_timeout=3", connect_timeout=math.inf).connect_timeout is None
    assert config("", {"PGCONNECT_TIMEOUT": "x"}, connect_timeout=1).connect_timeout == 1


@pytest.mark.parametrize("value", [math.nan, 2.0**31, 10**400])
def test_a_connect_timeout_out_of_range(value: float) -> None:
    assert refusal(connect_timeout=value).startswith("connect_timeout must be at most")


def test_keepalives() -> None:
    found = config(
        keepalives=True,
        keepalives_idle=5,
        keepalives_interval="6",
        keepalives_count=0,
        tcp_user_timeout=-1,
    )
    assert (found.keepalives, found.keepalives_idle, found.keepalives_interval) == (True, 5, 6)
    assert (found.keepalives_count, found.tcp_user_timeout) == (None, None)
    assert config("keepalives=0").keepalives is False
    assert config(keepalives=False).keepalives is False
    assert config(tcp_user_timeout=1500).tcp_user_timeout == 1500


def test_paths() -> None:
    assert config(host=Path("/tmp")).hosts[0].host == "/tmp"
    assert config(sslrootcert=Path("/ca.pem")).sslrootcert == "/ca.pem"


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/ca.pem"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", 1),
        ("user", b"u"),
        ("user", Path("u")),
        ("port", True),
        ("port", 1.0),
        ("port", [1]),
        ("connect_timeout", True),
        ("sslmode", True),
        ("password", b"pw"),
        ("password", 1),
        ("host", ["a"]),
        ("sslrootcert", BytesPath()),
        ("sslrootcert", b"/ca.pem"),
    ],
)
def test_values_of_a_type_that_says_nothing_there(name: str, value: object) -> None:
    assert refusal(**{name: value}) == f"{name} cannot be given as {type(value).__name__}"


def test_integers_too_large_for_any_parameter() -> None:
    assert refusal(port=10**5000) == "port must be an integer of 32 bits"


@pytest.mark.parametrize("text", ["UTF8", "utf-8", "Unicode", "auto", ""])
def test_the_encoding_is_utf8(text: str) -> None:
    assert config(f"client_encoding='{text}'").startup_parameters()["client_encoding"] == "UTF8"
    assert not_supported(client_encoding="latin1") == "client_encoding is always UTF8"


def test_options_go_to_the_server() -> None:
    assert config(options="-c geqo=off").startup_parameters()["options"] == "-c geqo=off"
    assert config("", {"PGOPTIONS": "-c x=y"}).options == "-c x=y"


@pytest.mark.parametrize(
    "params",
    [
        {"channel_binding": "prefer"},
        {"channel_binding": "disable"},
        {"gssdelegation": False},
        {"gssencmode": "disable"},
        {"gssencmode": "prefer"},
        {"krbsrvname": "postgres"},
        {"load_balance_hosts": "disable"},
        {"max_protocol_version": "3.0"},
        {"min_protocol_version": "3.0"},
        {"replication": "off"},
        {"servicefile": "x"},
        {"ssl_min_protocol_version": "tlsv1.2"},
        {"sslcertmode": "allow"},
        {"sslcompression": True},
        {"sslnegotiation": "postgres"},
        {"sslsni": 1},
        {"target_session_attrs": "any"},
    ],
)
def test_what_changes_nothing_is_accepted(params: dict[str, Any]) -> None:
    assert dataclasses.replace(config(**params), channel_binding="prefer") == config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gssdelegation", True),
        ("gssencmode", "require"),
        ("oauth_ca_file", "x"),
        ("oauth_client_id", "x"),
        ("oauth_client_secret", "x"),
        ("oauth_issuer", "x"),
        ("oauth_scope", "x"),
        ("replication", True),
        ("replication", "on"),
        ("sslcertmode", "require"),
        ("sslkeylogfile", "x"),
    ],
)
def test_what_would_be_left_out_in_silence_is_refused(name: str, value: object) -> None:
    text = not_supported(**{name: value})
    assert text.startswith(f"{name} is not supported by this version")
    assert text.endswith(f": {PARAMETERS[name].reason}")


def test_whatever_is_refused_has_a_reason() -> None:
    for row in PARAMETERS.values():
        assert bool(row.reason) is (row.served is not None), row.name


def test_a_refused_variable_of_the_environment_is_named() -> None:
    assert "PGGSSENCMODE" in not_supported("", {"PGGSSENCMODE": "require"})


# --- anything ---

TEXT = st.text(max_size=12) | st.sampled_from(["1", "0", "a,b", "1,2", "require", "system"])
VALUES = TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=3)


def unquoted(values: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


@given(
    conninfo=TEXT | st.dictionaries(st.sampled_from(sorted(PARAMETERS)), TEXT).map(unquoted),
    params=st.dictionaries(st.sampled_from(sorted(PARAMETERS.keys() | OWN_KEYWORDS)), VALUES),
    environ=st.dictionaries(
        st.sampled_from(sorted({row.env for row in PARAMETERS.values() if row.env})), TEXT
    ),
)
def test_whatever_is_given_there_is_a_config_or_an_error_of_ours(
    conninfo: str, params: dict[str, Any], environ: dict[str, str]
) -> None:
    try:
        found = resolve(conninfo, params, environ=environ, default_user="me")
    except (ProgrammingError, NotSupportedError):
        return
    for name, value in found.startup_parameters().items():
        assert "\0" not in name + value
        assert value.encode()
    assert all(1 <= host.port <= 65535 for host in found.hosts)


def test_a_connection_for_replication_has_values_written_so_that_they_can_be_read() -> None:
    settings = {"DateStyle": "SQL", "work_mem": "4MB"}
    parameters = config(replication="database", settings=settings).startup_parameters()
    assert parameters["replication"] == "database"
    assert (parameters["datestyle"], parameters["work_mem"]) == ("ISO", "4MB")
    assert "DateStyle" not in parameters
    assert "replication" not in config(replication=False).startup_parameters()
