"""What a server says in a login, and its certificate: no secret shows, and nobody is believed."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from pgwire.config import Secret
from pgwire.demands import parse_require_auth
from pgwire.errors import AuthenticationError, Error, InterfaceError, ProgrammingError
from pgwire.protocol.certificate import end_point, hash_name
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.oauth import parse_refusal
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram import ScramExchange, md5_password
from pgwire.protocol.scram_keys import KeyCache, ScramKeys
from tests.fuzz.feed import Feed
from tests.support.leaks import all_that_shows

_NONCE = "rOprNGfwEbeRWgbNEkqO"
_MOST_ITERATIONS = 8
_PASSWORDS = ("Hunter2-plain", "Hunter2-pass\N{GRINNING FACE}word")
_PROOF = re.compile(rb"c=[A-Za-z0-9+/=]+,r=[\x21-\x2b\x2d-\x7e]+,p=[A-Za-z0-9+/]{43}=")


def _check_harmless(error: Error) -> None:
    assert isinstance(error, AuthenticationError | ProgrammingError)
    assert "Hunter2" not in all_that_shows(error)
    assert len(str(error)) < 1000


def scram(data: bytes) -> None:
    """Both messages of a server that does not know the password; `~` stands for our nonce."""
    feed = Feed(data)
    password = feed.choose(_PASSWORDS)
    cache = KeyCache()
    keys: Any = feed.choose([None, cache, ScramKeys(bytes(32), bytes(32))])
    first, final = feed.piece().replace(b"~", _NONCE.encode()), feed.long()
    exchange = ScramExchange(
        ["SCRAM-SHA-256"],
        password=password,
        nonce=_NONCE,
        max_iterations=_MOST_ITERATIONS,
        keys=keys,
    )
    exchange.client_first()
    with pytest.raises(AuthenticationError) as refused:
        assert _PROOF.fullmatch(exchange.client_final(first))
        exchange.verify(final)
    _check_harmless(refused.value)
    assert "failed" in repr(exchange)
    assert not len(cache)
    with pytest.raises(InterfaceError):
        exchange.verify(final)


def saslprep(data: bytes) -> None:
    """Every password has bytes; those of ASCII are its own, and what is prepared stays so."""
    password = Feed(data).long().decode(errors="surrogateescape")
    prepared = prepare(password)
    if password.isascii():
        assert prepared == password.encode()
    assert prepare(prepared.decode(errors="surrogateescape")) == prepared
    answer = md5_password("me", password, b"salt")
    assert re.fullmatch(rb"md5[0-9a-f]{32}", answer)


def mechanisms(data: bytes) -> None:
    """What a server offers for SASL, under all kinds of settings: only what they allow is begun."""
    feed = Feed(data)
    offered = [
        feed.choose(["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "PLAIN", feed.text()])
        for _ in range(feed.below(4))
    ]
    allowed = feed.choose(["", "scram-sha-256", "oauth", "!scram-sha-256", "password,none"])
    credentials = Credentials(
        "me",
        feed.choose([None, Secret("Hunter2"), Secret("Hunter2\0")]),
        _NONCE,
        tls=bool(feed.below(2)),
        exposed=bool(feed.below(2)),
        secure=bool(feed.below(2)),
        methods=parse_require_auth(allowed),
        channel_binding=feed.choose(["prefer", "require", "disable"]),
        token=feed.choose([None, Secret("Hunter2"), Secret("Hunter2,")]),
        certificate=feed.piece() if feed.below(2) else None,
    )
    try:
        begun = credentials.begin_sasl(offered)
    except Error as error:
        _check_harmless(error)
        return
    assert "Hunter2" not in repr(begun)
    if isinstance(begun, Secret):
        assert "OAUTHBEARER" in offered
        assert "oauth" in credentials.methods
        assert not credentials.exposed
        return
    assert begun.mechanism in offered
    assert "scram-sha-256" in credentials.methods
    if credentials.channel_binding == "require":
        assert begun.mechanism == "SCRAM-SHA-256-PLUS"
    if not credentials.tls:
        assert "SCRAM-SHA-256-PLUS" not in offered


def certificate(data: bytes) -> None:
    """Anything in the place of a certificate has a hash that hashlib knows, or none."""
    name = hash_name(data)
    assert name is None or name in hashlib.algorithms_available
    assert name not in ("md5", "sha1")
    bound = end_point(data)
    assert (bound is None) is (name is None)
    assert name is None or bound == hashlib.new(name, data).digest()
    # What may come behind a certificate that is whole has no say in it.
    assert name is None or hash_name(data + b"\0") == name


def oauth_refusal(data: bytes) -> None:
    """What a server says of a token, be it JSON, is one short line."""
    told = parse_refusal(Feed(data).long())
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 10_000


TARGETS = {
    "scram": scram,
    "saslprep": saslprep,
    "mechanisms": mechanisms,
    "certificate": certificate,
    "oauth_refusal": oauth_refusal,
}
