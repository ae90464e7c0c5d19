"""From all sources to one Config: precedence, checks, contradictions, and no secret that shows."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import pickle
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st
from psycopg import pq

from pgwire.config import Config, ConnectionParameters, HostSpec, Secret, UserFiles, resolve
from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.parameters import OWN_KEYWORDS, PARAMETERS, Form
from tests.support.leaks import all_that_shows

if TYPE_CHECKING:
    from collections.abc import Mapping


def config(
    conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> Config:
    """What these sources add up to for the operating system's user "me"."""
    return resolve(conninfo, params, environ=environ or {}, default_user="me")


def hosts(conninfo: str = "", **params: Any) -> list[HostSpec]:
    return list(config(conninfo, **params).hosts)


def refusal(conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any) -> str:
    """The text of the ProgrammingError that these sources raise."""
    with pytest.raises(ProgrammingError) as caught:
        config(conninfo, environ, **params)
    return str(caught.value)


def not_supported(
    conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> str:
    """The text of the NotSupportedError that these sources raise."""
    with pytest.raises(NotSupportedError) as caught:
        config(conninfo, environ, **params)
    return str(caught.value)


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


def test_lists_of_different_lengths_are_refused() -> None:
    assert refusal("host=a,b hostaddr=::1") == "2 items in host, but 1 in hostaddr"
    assert refusal("host=a,b,c port=1,2") == "2 items in port, but 3 hosts"
    assert refusal("port=1,2") == "2 items in port, but 1 hosts"


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
        ("replication", "database"),
        ("replication", True),
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


# --- hosts, passwords and services ---


@pytest.mark.parametrize(
    "role", ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
)
def test_all_six_roles_can_be_asked_for(role: str) -> None:
    assert config(target_session_attrs=role).target_session_attrs == role
    assert config("", {"PGTARGETSESSIONATTRS": role}).target_session_attrs == role


def test_who_runs_the_server() -> None:
    assert config(requirepeer="postgres").requirepeer == "postgres"
    assert config("requirepeer=''").requirepeer is None


def test_hosts_in_random_order() -> None:
    assert config(load_balance_hosts="random").load_balance is True
    assert config("load_balance_hosts=disable").load_balance is False


MY_FILES = UserFiles("/home/me/.pgpass", "/home/me/.pg_service.conf")


def test_the_password_file_is_the_one_that_is_named_or_the_users() -> None:
    def passfile(conninfo: str = "", **environ: str) -> str | None:
        return resolve(conninfo, environ=environ, default_user="me", files=MY_FILES).passfile

    assert passfile() == "/home/me/.pgpass"
    assert passfile(PGPASSFILE="/env") == "/env"
    assert passfile("passfile=/string", PGPASSFILE="/env") == "/string"
    assert passfile("passfile=''", PGPASSFILE="/env") == "/home/me/.pgpass"
    assert passfile(PGPASSWORD="") == "/home/me/.pgpass"


def test_a_password_file_is_no_matter_where_the_password_is_known() -> None:
    environ = {"PGPASSFILE": "/home/me/.pgpass"}
    assert config("", environ).passfile == "/home/me/.pgpass"
    assert config("password=pw", environ).passfile is None
    assert config("", environ, password=lambda: "pw").passfile is None
    assert config("", {"PGPASSWORD": "pw", **environ}).passfile is None


def with_services(
    text: str, conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> Config:
    """What these sources add up to where the user's service file says `text`."""
    files = MY_FILES._replace(read={MY_FILES.services: text, "/named": text}.get)
    return resolve(conninfo, params, environ=environ or {}, default_user="me", files=files)


def test_a_service_comes_behind_the_string_and_before_the_environment() -> None:
    text = "[s]\nhost=service\nport=1\nuser=service\ndbname=service\n"
    environ = {"PGSERVICE": "s", "PGPORT": "2", "PGAPPNAME": "env"}
    found = with_services(text, "host=string", environ, user="keyword")
    assert found.hosts == (HostSpec("string", None, 1),)
    assert (found.user, found.dbname, found.application_name) == ("keyword", "service", "env")


def test_the_service_asked_for_is_the_nearest() -> None:
    text = "[a]\nport=1\n[b]\nport=2\n[c]\nport=3\n"
    environ = {"PGSERVICE": "c"}
    assert with_services(text, "", environ).hosts[0].port == 3
    assert with_services(text, "service=b", environ).hosts[0].port == 2
    assert with_services(text, "service=b", environ, service="a").hosts[0].port == 1
    assert with_services(text, "", {"PGSERVICE": ""}).hosts[0].port == 5432


def test_the_service_file_that_is_named_is_the_one_that_is_read() -> None:
    def port_with(conninfo: str, **environ: str) -> int:
        read = {"/env": "[s]\nport=1", "/string": "[s]\nport=2"}.get
        files = UserFiles(read=read)
        found = resolve(conninfo, environ=environ, default_user="me", files=files)
        return found.hosts[0].port

    assert port_with("service=s", PGSERVICEFILE="/env") == 1
    assert port_with("service=s servicefile=/string", PGSERVICEFILE="/env") == 2
    assert port_with("servicefile=/string", PGSERVICEFILE="/env") == 5432
    with pytest.raises(ProgrammingError, match="service file '/nowhere' cannot be read"):
        port_with("service=s", PGSERVICEFILE="/nowhere")


def test_values_of_a_service_are_checked_as_all_others() -> None:
    with pytest.raises(ProgrammingError) as caught:
        with_services("[s]\nport=x", "service=s")
    assert str(caught.value).startswith("port (from the service file) must be a port number")
    refused = r"gssencmode \(from the service file\) is not supported"
    with pytest.raises(NotSupportedError, match=refused):
        with_services("[s]\ngssencmode=require", "service=s")
    with pytest.raises(ProgrammingError, match=r"user \(from the service file\) is not valid"):
        with_services("[s]\nuser=\udcff", "service=s")


def test_what_is_asked_for_explicitly_is_not_weakened_by_a_service() -> None:
    text = "[s]\nsslmode=disable\npassword=pw\nsslrootcert=system\n"
    assert with_services(text, "service=s", secure=True).sslmode == "verify-full"
    assert with_services(text, "service=s sslmode=verify-full").password == Secret("pw")
    assert with_services("[s]\nsslrootcert=system", "service=s").sslmode == "verify-full"


# --- our own keyword arguments ---


def test_own_keywords_reach_the_config() -> None:
    params = {
        "prepare": False,
        "statement_cache_size": 0,
        "scram_max_iterations": 0,
        "allow_cleartext": True,
        "timezone": "session",
        "json_loads": str,
        "json_dumps": repr,
    }
    found = config(**params)
    assert {name: getattr(found, name) for name in params} == params


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("prepare", 1, "True or False"),
        ("secure", "yes", "True or False"),
        ("allow_cleartext", 0, "True or False"),
        ("statement_cache_size", -1, "an int from 0 up"),
        ("statement_cache_size", "5", "an int from 0 up"),
        ("scram_max_iterations", True, "an int from 0 up"),
        ("timezone", "Europe/Berlin", '"UTC" or "session"'),
        ("json_loads", "x", "a callable"),
        ("json_dumps", 1, "a callable"),
        ("ssl_context", object(), "an ssl.SSLContext"),
        ("settings", "x=y", "a mapping"),
    ],
)
def test_own_keywords_are_checked(name: str, value: object, wanted: str) -> None:
    assert refusal(**{name: value}).startswith(f"{name} must be {wanted}")


def test_own_keywords_have_no_place_in_a_string() -> None:
    assert "keyword argument only" in refusal("secure=1")


# --- settings ---


def test_settings_are_sent_as_text() -> None:
    found = config(
        settings={"search_path": "a, b", "work_mem": 64, "jit": False, "my.x": 0.5, "role": None}
    )
    assert found.settings == (
        ("search_path", "a, b"),
        ("work_mem", "64"),
        ("jit", "off"),
        ("my.x", "0.5"),
    )
    assert found.startup_parameters() == {
        "user": "me",
        "database": "me",
        "client_encoding": "UTF8",
        "search_path": "a, b",
        "work_mem": "64",
        "jit": "off",
        "my.x": "0.5",
    }


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"": 1}, "a name consists of"),
        ({"a b": 1}, "a name consists of"),
        ({"a\0": 1}, "a name consists of"),
        ({"a\n": 1}, "a name consists of"),
        ({"1a": 1}, "a name consists of"),
        ({"ä": 1}, "a name consists of"),
        ({1: 1}, "a name consists of"),
        ({"user": "x"}, "'user' is not a setting"),
        ({"DATABASE": "x"}, "'DATABASE' is not a setting"),
        ({"replication": "1"}, "'replication' is not a setting"),
        ({"client_encoding": "latin1"}, "'client_encoding' is not a setting"),
        ({"options": "x"}, "'options' is not a setting"),
        ({"Application_Name": "x"}, "'Application_Name' is not a setting"),
        ({"_pq_.x": "1"}, "'_pq_.x' is not a setting"),
        ({"a": [1]}, "settings['a'] must be a str, an int, a float or a bool"),
        ({"a": "\0"}, "settings['a'] must not contain NUL"),
        ({"a": "\udfff"}, "settings['a'] is not valid Unicode"),
    ],
)
def test_settings_that_cannot_be_sent(settings: dict[Any, Any], reason: str) -> None:
    assert reason in refusal(settings=settings)


def test_the_environment_sets_what_settings_do_not() -> None:
    environ = {"PGTZ": "UTC", "PGDATESTYLE": "ISO", "PGGEQO": "Default"}
    assert config("", environ).settings == (("datestyle", "ISO"), ("timezone", "UTC"))
    found = config("", environ, settings={"TimeZone": "CET"})
    assert found.settings == (("datestyle", "ISO"), ("TimeZone", "CET"))
    assert "PGTZ" in refusal("", {"PGTZ": "a\0"})


# --- TLS ---


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    """A context that verifies certificates and names."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(scope="module")
def lax_context() -> ssl.SSLContext:
    """A context that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
)
def test_all_six_modes(mode: str) -> None:
    assert config(sslmode=mode).sslmode == mode
    assert config("", {"PGSSLMODE": mode}).sslmode == mode


def test_the_old_ways_to_require_tls() -> None:
    assert config("requiressl=1").sslmode == "require"
    assert config("", {"PGREQUIRESSL": "1"}).sslmode == "require"
    assert config("", {"PGREQUIRESSL": "0"}).sslmode == "prefer"
    assert config("", {"PGREQUIRESSL": "1", "PGSSLMODE": "allow"}).sslmode == "allow"


def test_the_systems_certificates_need_verify_full() -> None:
    assert config(sslrootcert="system").sslmode == "verify-full"
    assert config("", {"PGSSLROOTCERT": "system"}).sslmode == "verify-full"
    assert config(sslrootcert="system", sslmode="verify-full").sslrootcert == "system"
    for mode in ("disable", "allow", "prefer", "require", "verify-ca"):
        assert refusal(sslrootcert="system", sslmode=mode).startswith("sslrootcert=system needs")


def test_verify_full_needs_a_name_to_verify() -> None:
    assert "needs a host" in refusal(hostaddr="10.0.0.1", sslmode="verify-full")
    assert "needs a host" in refusal("host=a, hostaddr=::1,::2", sslmode="verify-full")
    assert config(host="a", hostaddr="10.0.0.1", sslmode="verify-full").sslmode == "verify-full"


def test_secure_is_verify_full() -> None:
    found = config(secure=True)
    assert (found.secure, found.sslmode) == (True, "verify-full")
    assert config(secure=True, sslmode="verify-full").sslmode == "verify-full"
    assert config("", {"PGSSLMODE": "disable"}, secure=True).sslmode == "verify-full"
    assert config(secure=True, sslrootcert="system").sslrootcert == "system"
    assert config("sslmode=disable", secure=False).sslmode == "disable"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_secure_contradicts_a_weaker_mode(mode: str) -> None:
    assert "contradicts" in refusal(secure=True, sslmode=mode)
    assert "contradicts" in refusal(f"sslmode={mode}", secure=True)


def test_secure_contradicts_what_weakens_authentication() -> None:
    assert "allow_cleartext contradicts" in refusal(secure=True, allow_cleartext=True)
    assert "channel_binding=disable contradicts" in refusal(secure=True, channel_binding="disable")


def test_a_context_asks_for_tls(context: ssl.SSLContext) -> None:
    found = config(ssl_context=context)
    assert found.ssl_context is context
    assert found.sslmode == "require"
    assert config("", {"PGSSLMODE": "allow"}, ssl_context=context).sslmode == "require"
    assert config("", {"PGSSLMODE": "verify-full"}, ssl_context=context).sslmode == "verify-full"
    assert config(sslmode="prefer", ssl_context=context).sslmode == "prefer"
    assert config(secure=True, ssl_context=context).sslmode == "verify-full"


def test_a_context_contradicts_sslmode_disable(context: ssl.SSLContext) -> None:
    wanted = "ssl_context contradicts sslmode=disable"
    assert refusal(ssl_context=context, sslmode="disable") == wanted
    assert refusal("sslmode=disable", ssl_context=context) == wanted
    assert refusal("", {"PGSSLMODE": "disable"}, ssl_context=context) == wanted


def test_a_context_brings_its_own_certificates(context: ssl.SSLContext) -> None:
    assert config("", {"PGSSLROOTCERT": "system"}, ssl_context=context).sslrootcert is None


@pytest.mark.parametrize(
    "name",
    [
        *("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    ],
)
def test_nothing_is_given_beside_a_context_that_it_has_itself(
    context: ssl.SSLContext, name: str
) -> None:
    text = refusal(ssl_context=context, **{name: "TLSv1.3"})
    assert text == f"ssl_context has all that itself: {name} is too much"
    if (env := PARAMETERS[name].env) is not None:
        assert config("", {env: "TLSv1.3"}, ssl_context=context).ssl_context is context


def test_files_of_tls() -> None:
    names = ("sslcert", "sslkey", "sslcrl", "sslcrldir")
    found = config(**{name: Path(f"/{name}") for name in names}, sslpassword="pw")
    assert [getattr(found, name) for name in names] == [f"/{name}" for name in names]
    assert found.sslpassword == Secret("pw")
    assert config(" ".join(f"{name}=''" for name in (*names, "sslpassword"))) == config()
    assert config(sslcertmode="disable").sslcertmode == "disable"


def test_versions_of_tls() -> None:
    assert config(ssl_min_protocol_version="tlsv1.3").ssl_min_protocol_version == "TLSv1.3"
    assert config("ssl_min_protocol_version=''").ssl_min_protocol_version == ""
    assert config("", {"PGSSLMAXPROTOCOLVERSION": "TLSV1.2"}).ssl_max_protocol_version == "TLSv1.2"
    assert config("ssl_max_protocol_version=''").ssl_max_protocol_version == ""
    text = refusal(ssl_min_protocol_version="TLSv1.3", ssl_max_protocol_version="TLSv1.2")
    assert text == "ssl_min_protocol_version is above ssl_max_protocol_version"
    assert "is above" in refusal(ssl_max_protocol_version="TLSv1.1")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_from_the_first_byte_on(mode: str) -> None:
    found = config(sslnegotiation="direct", sslmode=mode)
    assert found.sslnegotiation == "direct"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_tls_from_the_first_byte_on_goes_with_no_weaker_mode(mode: str) -> None:
    assert "sslmode=require or better" in refusal(sslnegotiation="direct", sslmode=mode)
    assert "sslmode=require or better" in refusal("", {"PGSSLNEGOTIATION": "direct"})


def test_a_name_that_is_not_sent_cannot_be_verified() -> None:
    assert config(sslsni=0).sslsni is False
    assert config(sslsni="0", sslmode="verify-ca").sslsni is False
    assert "sslsni=0 is not supported" in not_supported(sslsni=0, sslmode="verify-full")


def test_a_context_must_verify_what_the_mode_promises(lax_context: ssl.SSLContext) -> None:
    assert config(ssl_context=lax_context).sslmode == "require"
    assert "check_hostname" in refusal(ssl_context=lax_context, sslmode="verify-full")
    assert "check_hostname" in refusal(ssl_context=lax_context, secure=True)
    assert "verifies" in refusal(ssl_context=lax_context, sslmode="verify-ca")


# --- secrets ---

MARKER = "hunter2"


def test_a_secret_shows_itself_to_reveal_only() -> None:
    secret = Secret(MARKER)
    assert secret.reveal() == MARKER
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>50}", repr([secret])]
    assert not any(MARKER in text for text in shown)
    assert not hasattr(secret, "__dict__")


def test_secrets_are_equal_by_their_texts_and_to_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_secret_is_copied_but_not_pickled() -> None:
    secret = Secret(MARKER)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret]) == [secret]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)


def test_a_config_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(config())


@pytest.mark.parametrize(
    "params",
    [
        {"password": MARKER},
        {"password": functools.partial(str, MARKER)},
        {"settings": {"app.token": MARKER}},
        {"sslpassword": MARKER},
    ],
)
def test_the_repr_of_a_config_shows_no_secret(params: dict[str, Any]) -> None:
    assert MARKER not in repr(config(**params))


def test_passwords() -> None:
    assert config().password is None
    assert config("", {"PGPASSWORD": ""}).password is None
    assert config("", {"PGPASSWORD": "pw"}).password == Secret("pw")
    assert config("password=string", password="").password == Secret("string")

    def fetch() -> str:
        return "pw"

    assert config("password=string", {"PGPASSWORD": "env"}, password=fetch).password is fetch


@pytest.mark.parametrize(
    ("conninfo", "params"),
    [
        (f"password={MARKER} uzer=x", {}),
        (f"postgres://u:{MARKER}/x@h/db", {}),
        (f"password=a port={MARKER}", {}),
        (f"password={MARKER}", {"sslmode": MARKER}),
        (f"password={MARKER}", {"port": 0}),
        (f"password={MARKER}", {"host": "a,b", "port": "1,2,3"}),
        (f"password={MARKER}", {"service": "x"}),
        (f"password={MARKER}", {"service": "x", "servicefile": "/nowhere"}),
        (f"password={MARKER}", {"uzer": 1}),
        ("", {"password": MARKER, "sslmode": "disable", "secure": True}),
        ("", {"password": f"{MARKER}\0"}),
        ("", {"password": f"{MARKER}\ud800"}),
        ("", {"password": MARKER.encode()}),
        ("", {"oauth_client_secret": MARKER}),
        ("", {"scram_client_key": MARKER}),
        ("", {"settings": {"a": MARKER, "b\0": 1}}),
        ("", {"settings": {"a": f"{MARKER}\0"}}),
    ],
)
def test_no_error_shows_a_secret(conninfo: str, params: dict[str, Any]) -> None:
    environ = {"PGPASSWORD": MARKER, "SOME_TOKEN": MARKER}
    with pytest.raises((ProgrammingError, NotSupportedError)) as caught:
        resolve(conninfo, params, environ=environ, default_user="me")
    assert MARKER not in all_that_shows(caught.value)


@pytest.mark.parametrize("line", [MARKER, f"{MARKER}=x", "port=x", "service=t", "ldap://x"])
def test_no_error_shows_what_a_service_file_says(line: str) -> None:
    with pytest.raises((ProgrammingError, NotSupportedError)) as caught:
        with_services(f"[s]\npassword={MARKER}\n{line}\n", "service=s")
    assert MARKER not in all_that_shows(caught.value)


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
