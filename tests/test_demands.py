"""require_auth, SCRAM keys and versions of the protocol: how they are written, what they mean."""

from __future__ import annotations

import itertools
import re
from base64 import b64encode
from typing import Any

import pytest

from pgwire.config import Config, Secret, resolve
from pgwire.demands import ALL_METHODS, METHODS, PROTOCOL_3_0, PROTOCOL_3_2, parse_require_auth
from pgwire.errors import ProgrammingError
from tests.support.leaks import all_that_shows

KEY = b64encode(b"k" * 32).decode()
OTHER = b64encode(b"o" * 32).decode()


def config(conninfo: str = "", environ: dict[str, str] | None = None, **params: Any) -> Config:
    return resolve(conninfo, params, environ=environ or {}, default_user="me")


def refused(conninfo: str = "", **params: Any) -> str:
    with pytest.raises(ProgrammingError) as caught:
        config(conninfo, **params)
    return str(caught.value)


class TestRequireAuth:
    def test_without_it_everything_is_allowed(self) -> None:
        assert config().auth_methods == ALL_METHODS
        assert config("require_auth=''").auth_methods == ALL_METHODS

    def test_a_list_allows_what_it_names(self) -> None:
        for size in range(1, 4):
            for chosen in itertools.permutations(METHODS, size):
                assert parse_require_auth(",".join(chosen)) == set(chosen)
                forbidden = ",".join(f"!{method}" for method in chosen)
                assert parse_require_auth(forbidden) == ALL_METHODS - set(chosen)

    def test_where_it_comes_from(self) -> None:
        env = {"PGREQUIREAUTH": "md5"}
        assert config("", env).auth_methods == {"md5"}
        assert config("require_auth=!none", env).auth_methods == ALL_METHODS - {"none"}
        assert config("", env, require_auth="oauth").auth_methods == {"oauth"}

    @pytest.mark.parametrize(
        "text",
        [
            *("abcdefg", "none,abcdefg", "!abcdefg", "!", ",", "md5,", ",md5", "!!md5"),
            *("MD5", " md5", "md5, password", "cleartext", "SCRAM-SHA-256", "scram-sha-256-plus"),
        ],
    )
    def test_words_that_are_no_method(self, text: str) -> None:
        assert "must be a list, without blanks, of: password, md5" in refused(require_auth=text)

    @pytest.mark.parametrize(
        "text", ["scram-sha-256,!md5", "!password,!none,scram-sha-256", "!none,none"]
    )
    def test_allowing_and_forbidding_at_once(self, text: str) -> None:
        assert "mixes what is allowed with what is forbidden" in refused(require_auth=text)

    @pytest.mark.parametrize(
        "text",
        [
            *("password,md5,password", "!password,!md5,!password", "none,md5,none"),
            *("!none,!md5,!none", "scram-sha-256,scram-sha-256", "!scram-sha-256,!scram-sha-256"),
        ],
    )
    def test_the_same_twice(self, text: str) -> None:
        assert "more than once" in refused(require_auth=text)

    def test_secure_leaves_scram_alone(self) -> None:
        assert config(secure=True).auth_methods == {"scram-sha-256"}
        assert config(secure=True, require_auth="!md5").auth_methods == {"scram-sha-256"}
        for text in ("md5", "!scram-sha-256", "none", "oauth"):
            assert refused(secure=True, require_auth=text).startswith("secure=True is SCRAM only")

    def test_an_error_shows_nothing_of_it(self) -> None:
        with pytest.raises(ProgrammingError) as caught:
            config("require_auth='MARKER'")
        assert "MARKER" not in all_that_shows(caught.value)


class TestChannelBinding:
    @pytest.mark.parametrize("word", ["disable", "prefer", "require"])
    def test_the_words(self, word: str) -> None:
        assert config(channel_binding=word).channel_binding == word
        assert config("", {"PGCHANNELBINDING": word}).channel_binding == word

    def test_secure_wants_it(self) -> None:
        assert config(secure=True, channel_binding="require").channel_binding == "require"
        assert "channel_binding=disable" in refused(secure=True, channel_binding="disable")


class TestScramKeys:
    def test_both_of_them(self) -> None:
        read = config(scram_client_key=KEY, scram_server_key=OTHER)
        assert read.scram_keys == (Secret(KEY), Secret(OTHER))
        assert config(f"scram_client_key={KEY} scram_server_key={KEY}").scram_keys is not None
        assert config().scram_keys is None
        assert KEY not in repr(read)

    def test_one_alone(self) -> None:
        for name in ("scram_client_key", "scram_server_key"):
            assert "go together" in refused(**{name: KEY})

    @pytest.mark.parametrize(
        "text",
        [
            *("MARKER", "MARKER==", KEY[:-1], KEY + "=", KEY + "\n", "é" * 44),
            *(b64encode(b"MARKER" * n).decode() for n in (1, 5, 6)),
        ],
    )
    def test_what_is_no_key_is_not_shown(self, text: str) -> None:
        for name in ("scram_client_key", "scram_server_key"):
            with pytest.raises(ProgrammingError, match="base64, of exactly 32 bytes") as caught:
                config("", None, **{name: text})
            shown = all_that_shows(caught.value)
            assert text not in shown
            assert "MARKER" not in shown


class TestTokens:
    def test_a_function(self) -> None:
        def fetch() -> str:
            return "token"

        assert config(oauth_token=fetch).oauth_token is fetch
        assert config().oauth_token is None

    def test_nothing_else(self) -> None:
        assert refused(oauth_token="MARKER") == "oauth_token must be a callable"
        assert "a keyword argument only" in refused("oauth_token=x")
        assert "oauth_token contradicts" in refused(oauth_token=str, secure=True)


class TestVersions:
    @pytest.mark.parametrize(
        ("oldest", "newest", "expected"),
        [
            (None, None, (PROTOCOL_3_0, PROTOCOL_3_0)),
            (None, "3.0", (PROTOCOL_3_0, PROTOCOL_3_0)),
            (None, "3.2", (PROTOCOL_3_0, PROTOCOL_3_2)),
            (None, "latest", (PROTOCOL_3_0, PROTOCOL_3_2)),
            ("3.0", None, (PROTOCOL_3_0, PROTOCOL_3_0)),
            ("3.0", "latest", (PROTOCOL_3_0, PROTOCOL_3_2)),
            ("3.2", None, (PROTOCOL_3_2, PROTOCOL_3_2)),
            ("latest", None, (PROTOCOL_3_2, PROTOCOL_3_2)),
            ("latest", "3.2", (PROTOCOL_3_2, PROTOCOL_3_2)),
        ],
    )
    def test_from_the_oldest_to_the_newest(
        self, oldest: str | None, newest: str | None, expected: tuple[int, int]
    ) -> None:
        params: dict[str, Any] = {"min_protocol_version": oldest, "max_protocol_version": newest}
        assert config("", None, **params).protocol_versions == expected
        given = {"PGMINPROTOCOLVERSION": oldest or "", "PGMAXPROTOCOLVERSION": newest or ""}
        environ = {name: text for name, text in given.items() if text}
        assert config("", environ).protocol_versions == expected

    def test_an_oldest_that_is_newer(self) -> None:
        for oldest in ("3.2", "latest"):
            said = refused(min_protocol_version=oldest, max_protocol_version="3.0")
            assert said == "min_protocol_version is newer than max_protocol_version"

    @pytest.mark.parametrize("text", ["3", "3.1", "3.3", "2.0", "3.2.0", "LATEST", " 3.2"])
    def test_versions_that_there_are_not(self, text: str) -> None:
        for name in ("min_protocol_version", "max_protocol_version"):
            assert re.match(f"{name} must be one of: 3.0, 3.2, latest", refused(**{name: text}))
