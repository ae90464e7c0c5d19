"""The keyword arguments that are ours alone, and the settings of the server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.settings import config, refusal

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
