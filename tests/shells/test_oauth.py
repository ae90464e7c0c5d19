"""Tokens for OAuth: where they come from, where they go, and where they never show."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import addresses
from tests.support import backend
from tests.support.leaks import all_that_shows
from tests.support.scripted import Line, ScriptedServer
from tests.support.shells import LoopShell

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

MARKER = "MARKER-token"
OFFER = backend.sasl("OAUTHBEARER")
REFUSAL = b'{"status": "invalid_token", "scope": "openid"}'


def takes(token: str) -> Callable[[Line], None]:
    """A server that lets in whoever brings this token."""

    def script(line: Line) -> None:
        line.send(OFFER)
        (body,) = line.expect("p")
        mechanism, rest = body.split(b"\0", 1)
        assert mechanism == b"OAUTHBEARER"
        if rest[4:] == b"n,,\x01auth=Bearer %b\x01\x01" % token.encode():
            line.let_in()
        else:
            line.send(backend.authentication(11, REFUSAL))
            assert line.expect("p") == [b"\x01"]
            line.send(backend.fatal("28000", "OAuth bearer authentication failed"))
        line.wait_for_hang_up()

    return script


def test_it_is_fetched_for_each_new_connection(connect: Connect) -> None:
    calls: list[str] = []

    def fetch() -> str:
        calls.append("")
        return MARKER

    with ScriptedServer(takes(MARKER)) as server:
        for count in (1, 2):
            connect(server.dsn, oauth_token=fetch).close()
            assert len(calls) == count


def test_a_coroutine_function(connect: Connect, shell: Shell) -> None:
    async def fetch() -> str:
        return MARKER

    with ScriptedServer(takes(MARKER)) as server:
        if isinstance(shell, LoopShell):
            connect(server.dsn, oauth_token=fetch).close()
        else:
            with pytest.raises(pgwire.InterfaceError, match="coroutine functions are for"):
                connect(server.dsn, oauth_token=fetch)


def test_a_refusal_says_why(connect: Connect) -> None:
    with ScriptedServer(takes("another")) as server:
        with pytest.raises(pgwire.AuthenticationError) as caught:
            connect(server.dsn, oauth_token=lambda: MARKER)
    assert "OAuth bearer authentication failed" in str(caught.value)
    assert "status 'invalid_token', scope 'openid'" in str(caught.value)
    assert MARKER not in all_that_shows(caught.value)


@pytest.mark.parametrize("given", [b"bytes", None, 1])
def test_a_function_that_gives_something_else(given: Any, connect: Connect) -> None:
    with ScriptedServer(takes("")) as server:
        with pytest.raises(pgwire.InterfaceError, match=r"oauth_token\(\) gave"):
            connect(server.dsn, oauth_token=lambda: given)


def test_a_function_that_raises(connect: Connect) -> None:
    def fetch() -> str:
        raise KeyError("the vault is shut")

    with ScriptedServer(takes("")) as server:
        with pytest.raises(KeyError, match="the vault is shut"):
            connect(server.dsn, oauth_token=fetch)


@pytest.mark.parametrize("token", [f"{MARKER} x", f"{MARKER}\x01", MARKER * 9_999])
def test_a_token_that_cannot_be_one_is_not_shown(token: str, connect: Connect) -> None:
    said: list[bytes] = []

    def script(line: Line) -> None:
        line.send(OFFER)
        said.append(line.wait_for_hang_up())

    with ScriptedServer(script) as server:
        with pytest.raises(pgwire.ProgrammingError, match="the OAuth token must") as caught:
            connect(server.dsn, oauth_token=lambda: token)
    assert said == [b""]
    assert MARKER not in all_that_shows(caught.value)


def test_it_never_goes_over_an_open_network(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "_LOOPBACK", re.compile("nothing"))
    said: list[bytes] = []

    def script(line: Line) -> None:
        line.send(OFFER)
        said.append(line.wait_for_hang_up())

    with ScriptedServer(script) as server:
        for options in ({}, {"allow_cleartext": True}):
            with pytest.raises(pgwire.AuthenticationError, match="unencrypted connection"):
                connect(server.dsn, oauth_token=lambda: MARKER, **options)
    assert said == [b"", b""]


def test_without_one_the_server_is_told_nothing(connect: Connect) -> None:
    def script(line: Line) -> None:
        line.send(OFFER)
        assert line.wait_for_hang_up() == b""

    with ScriptedServer(script) as server:
        with pytest.raises(pgwire.AuthenticationError, match="give oauth_token"):
            connect(server.dsn, password="not for this")
