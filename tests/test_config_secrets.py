"""No secret shows: not in a Config, and not in an error on the way to one."""

from __future__ import annotations

import copy
import functools
import pickle
from typing import Any

import pytest

from pgwire.config import Secret, resolve
from pgwire.errors import NotSupportedError, ProgrammingError
from tests.support.leaks import all_that_shows
from tests.support.settings import config, with_services

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


@pytest.mark.parametrize("password", ["p\udce4ss", "\udc80\udcff", "é\udcff"])
def test_bytes_that_are_no_utf8_are_a_password(password: str) -> None:
    """As in the environment of a terminal with another encoding; they are sent as they are."""
    assert config("", {"PGPASSWORD": password}).password == Secret(password)
    assert config("", password=password).password == Secret(password)
    found = with_services(f"[s]\npassword={password}\n", "service=s").password
    assert found == Secret(password)


def test_an_environment_that_python_has_read_as_ascii_is_utf8_all_the_same() -> None:
    escaped = "bücher".encode().decode("ascii", "surrogateescape")
    found = config("", {"PGPASSWORD": escaped, "PGDATABASE": escaped, "PGTZ": "UTC"})
    assert (found.password, found.dbname) == (Secret("bücher"), "bücher")


@pytest.mark.parametrize("variable", ["PGUSER", "PGDATABASE", "PGHOST", "PGTZ", "PGAPPNAME"])
def test_nothing_else_may_be_such_bytes(variable: str) -> None:
    with pytest.raises(ProgrammingError, match=rf"{variable}\)? is not valid.*must be UTF-8"):
        config("", {variable: "b\udcfccher"})


@pytest.mark.parametrize(
    ("conninfo", "params"),
    [
        (f"password={MARKER} uzer=x", {}),
        (f"postgres://u:{MARKER}/x@h/db", {}),
        (f"password=a port={MARKER}", {}),
        (f"host= password={MARKER}", {}),  # to libpq that is a host
        (f"service= sslpassword = {MARKER}", {}),
        (f"user='password = {MARKER}'", {}),
        (f"password={MARKER}", {"sslmode": MARKER}),
        (f"password={MARKER}", {"port": 0}),
        (f"password={MARKER}", {"host": "a,b", "port": "1,2,3"}),
        (f"password={MARKER}", {"service": "x"}),
        (f"password={MARKER}", {"service": "x", "servicefile": "/nowhere"}),
        (f"password={MARKER}", {"uzer": 1}),
        ("", {"password": MARKER, "sslmode": "disable", "secure": True}),
        ("", {"password": f"{MARKER}\0"}),
        ("", {"password": f"{MARKER}\ud800"}),
        ("", {"password": f"{MARKER}\udcff", "port": 0}),
        ("", {"sslpassword": f"{MARKER}\udcff"}),
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
