"""What is answered under which settings: require_auth, channel_binding, secure, keys, tokens.

Nothing is sent before it is allowed: every test looks at the bytes.
"""

from __future__ import annotations

import hashlib
import itertools
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.config import Secret
from pgwire.demands import METHODS, SCRAM_ONLY, parse_require_auth
from pgwire.errors import AuthenticationError, ProgrammingError
from pgwire.protocol.certificate import end_point
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram_keys import KeyCache, ScramKeys
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup
from tests.support import backend
from tests.support.certificates import CERTIFICATES
from tests.support.conversations import REGISTRY
from tests.support.scram_server import NONCE, SALT, SECRET, Server, count_hashes

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN, PLUS, OAUTH = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER"
RSA, ED25519 = CERTIFICATES["rsa-sha256"], CERTIFICATES["ed25519"]
LET_IN = backend.AUTHENTICATION_OK + backend.ready()

# What a server may ask, and by which of require_auth's methods that is.
REQUESTS = {
    "none": backend.AUTHENTICATION_OK,
    "password": backend.authentication(3),
    "md5": backend.authentication(5, b"salt"),
    "scram-sha-256": backend.sasl(PLAIN),
    "oauth": backend.sasl(OAUTH),
}


def begin(**options: Any) -> Session:
    options = {
        "password": Secret(SECRET),
        "nonce": NONCE,
        "exposed": False,
        "token": Secret("token"),
        **options,
    }
    session = Session(REGISTRY)
    startup = Startup({"user": "me"}, Credentials("me", **options))
    session.submit(startup)
    session.data_to_send()
    startup.use_pause()
    return session


def encrypted(certificate: bytes = RSA, **options: Any) -> Session:
    return begin(tls=True, certificate=certificate, **options)


def said(session: Session, data: bytes) -> bytes:
    session.receive_data(data)
    return session.data_to_send()


def refused(session: Session, *requests: bytes) -> str:
    """Why the last of these is refused, with nothing sent."""
    for request in requests[:-1]:
        said(session, request)
    assert said(session, requests[-1]) == b""
    assert isinstance(session.failure, AuthenticationError)
    return str(session.failure)


def log_in(session: Session, mechanism: str, *offered: str, binding: bytes = b"") -> None:
    """Through SCRAM by this mechanism, out of those that are offered."""
    first = said(session, backend.sasl(*(offered or (mechanism,))))
    assert first[:1] == b"p"
    name, rest = first[5:].split(b"\0", 1)
    assert name.decode() == mechanism
    server = Server(SECRET.encode(), binding=binding)
    final = said(session, backend.authentication(11, server.first(rest[4:])))
    session.receive_data(backend.authentication(12, server.final(final[5:])) + LET_IN)
    assert session.failure is None
    assert session.in_step


class TestRequireAuth:
    @pytest.mark.parametrize("asked", REQUESTS)
    def test_every_list_against_every_request(self, asked: str) -> None:
        for text in _lists():
            methods = parse_require_auth(text)
            session = begin(methods=methods)
            sent = said(session, REQUESTS[asked])
            if asked in methods:
                assert session.failure is None
                assert (sent == b"") is (asked == "none")
            else:
                assert sent == b""
                assert isinstance(session.failure, AuthenticationError)
                assert "require_auth does not allow" in str(session.failure)

    def test_the_binding_is_the_same_method(self) -> None:
        session = encrypted(methods=SCRAM_ONLY)
        log_in(session, PLUS, PLAIN, PLUS, binding=_binding(RSA))

    @pytest.mark.parametrize("code", [7, 9])
    def test_what_we_do_not_speak_stays_that_if_it_is_demanded(self, code: int) -> None:
        session = begin(methods=parse_require_auth("gss,sspi"))
        assert "which pgwire does not speak" in refused(session, backend.authentication(code))

    def test_none_is_not_for_a_server_that_breaks_off(self) -> None:
        """Where both are allowed, SCRAM that has begun must come to its end."""
        session = begin(methods=parse_require_auth("scram-sha-256,none"))
        assert "left" in refused(session, backend.sasl(PLAIN), backend.AUTHENTICATION_OK)

    def test_the_user_is_told_who_demands_it(self) -> None:
        session = begin(methods=SCRAM_ONLY, secure=True)
        assert "which secure=True does not allow" in refused(session, REQUESTS["password"])

    def test_a_password_is_not_even_looked_at(self) -> None:
        session = begin(methods=SCRAM_ONLY, password=Secret("\0"))
        assert "require_auth" in refused(session, REQUESTS["password"])


def _lists() -> Iterator[str]:
    for size in (1, 2):
        for words in itertools.combinations(METHODS, size):
            yield ",".join(words)
            yield ",".join(f"!{word}" for word in words)


def _binding(certificate: bytes) -> bytes:
    data = end_point(certificate)
    assert data is not None
    return data


class TestChannelBinding:
    @pytest.mark.parametrize("offered", [(PLUS,), (PLUS, PLAIN), (PLAIN, "X", PLUS)])
    @pytest.mark.parametrize("word", ["prefer", "require"])
    def test_it_is_used_where_it_is_offered(self, offered: tuple[str, ...], word: str) -> None:
        session = encrypted(channel_binding=word)
        log_in(session, PLUS, *offered, binding=hashlib.sha256(RSA).digest())

    @pytest.mark.parametrize("name", ["pss-sha384", "ecdsa-sha512", "rsa-sha1"])
    def test_by_the_hash_of_the_certificate(self, name: str) -> None:
        certificate = CERTIFICATES[name]
        hashed = {"pss-sha384": "sha384", "ecdsa-sha512": "sha512"}.get(name, "sha256")
        binding = hashlib.new(hashed, certificate).digest()
        log_in(encrypted(certificate), PLUS, PLUS, binding=binding)

    def test_preferring_it_says_so_to_a_server_that_does_not_offer_it(self) -> None:
        assert b"y,,n=" in said(encrypted(), backend.sasl(PLAIN))
        log_in(encrypted(), PLAIN)

    @pytest.mark.parametrize(
        "options",
        [{"channel_binding": "disable"}, {"certificate": ED25519}, {"certificate": None}],
    )
    def test_where_there_is_none_it_is_not_pretended(self, options: dict[str, Any]) -> None:
        """With the flag "y" a server that offers binding would see an attack."""
        options = {"tls": True, "certificate": RSA, **options}
        assert b"n,,n=" in said(begin(**options), backend.sasl(PLAIN, PLUS))
        log_in(begin(**options), PLAIN, PLUS, PLAIN)

    def test_a_server_that_offers_nothing_else(self) -> None:
        said = refused(encrypted(channel_binding="disable"), backend.sasl(PLUS))
        assert "SCRAM-SHA-256 is needed" in said

    @pytest.mark.parametrize("asked", ["none", "password", "md5", "oauth"])
    def test_requiring_it_refuses_everything_else(self, asked: str) -> None:
        assert "channel_binding=require" in refused(
            encrypted(channel_binding="require"), REQUESTS[asked]
        )

    def test_requiring_it_of_a_server_that_does_not_offer_it(self) -> None:
        said = refused(encrypted(channel_binding="require"), backend.sasl(PLAIN))
        assert said == (
            "the server does not offer SCRAM-SHA-256-PLUS, which channel_binding=require demands"
        )

    def test_requiring_it_with_a_certificate_that_has_none(self) -> None:
        said = refused(encrypted(ED25519, channel_binding="require"), backend.sasl(PLAIN, PLUS))
        assert "cannot be met" in said
        assert "Ed25519" in said

    @pytest.mark.parametrize("offered", [(PLAIN,), (PLUS, PLAIN)])
    def test_requiring_it_without_tls(self, offered: tuple[str, ...]) -> None:
        said = refused(begin(channel_binding="require"), backend.sasl(*offered))
        assert "needs TLS" in said

    def test_requiring_it_and_a_method_that_cannot_have_it(self) -> None:
        session = encrypted(methods=parse_require_auth("md5"), channel_binding="require")
        assert "channel_binding=require" in refused(session, REQUESTS["md5"])

    def test_an_offer_without_tls_is_an_attack(self) -> None:
        assert "without TLS" in refused(begin(), backend.sasl(PLUS, PLAIN))

    def test_another_certificate_than_the_servers(self) -> None:
        """Somebody in between has a certificate of his own: the server sees another binding."""
        other = CERTIFICATES["rsa-sha512"]
        session = encrypted(other)
        first = said(session, backend.sasl(PLUS))
        server = Server(SECRET.encode())
        challenge = server.first(first[5 + len(PLUS) + 1 + 4 :])
        final = said(session, backend.authentication(11, challenge))
        bound = [b64encode(server.gs2_header + _binding(der)) for der in (other, RSA)]
        assert [b"c=" + text + b"," in final for text in bound] == [True, False]


class TestSecure:
    def test_it_binds(self) -> None:
        log_in(encrypted(methods=SCRAM_ONLY, secure=True), PLUS, PLUS, binding=_binding(RSA))

    def test_it_demands_the_binding_where_the_certificate_allows_it(self) -> None:
        said = refused(encrypted(methods=SCRAM_ONLY, secure=True), backend.sasl(PLAIN))
        assert said == "the server does not offer SCRAM-SHA-256-PLUS, which secure=True demands"

    def test_and_forgoes_it_where_the_certificate_has_none(self) -> None:
        log_in(encrypted(ED25519, methods=SCRAM_ONLY, secure=True), PLAIN, PLUS, PLAIN)

    def test_on_a_unix_socket_there_is_nothing_to_bind_to(self) -> None:
        log_in(begin(methods=SCRAM_ONLY, secure=True), PLAIN)


class TestKeys:
    def test_they_log_in_without_a_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = ScramKeys.derive(prepare(SECRET), SALT, 4096)
        session = begin(password=None, keys=keys)
        counts = count_hashes(monkeypatch)
        log_in(session, PLAIN)
        assert counts == [4096]  # the server's own

    def test_they_come_before_a_password(self) -> None:
        keys = ScramKeys.derive(prepare(SECRET), SALT, 4096)
        log_in(begin(password=Secret("wrong\0"), keys=keys), PLAIN)

    def test_wrong_ones_are_shown_for_what_they_are(self) -> None:
        session = begin(keys=ScramKeys(b"x" * 32, b"y" * 32))
        with pytest.raises(PermissionError):
            log_in(session, PLAIN)

    def test_they_answer_nothing_else(self) -> None:
        keys = ScramKeys(b"x" * 32, b"y" * 32)
        for asked in ("password", "md5"):
            session = begin(password=None, keys=keys)
            assert "a password, and none was given" in refused(session, REQUESTS[asked])

    def test_a_cache_of_keys_is_no_password(self) -> None:
        session = begin(password=None, keys=KeyCache())
        assert "none was given" in refused(session, backend.sasl(PLAIN))


class TestForeseeing:
    """The exchange that is made before the server asks for one."""

    @pytest.mark.parametrize("offered", [(PLAIN,), (PLUS, PLAIN), (PLUS,), ("X",)])
    @pytest.mark.parametrize("certificate", [None, RSA, ED25519])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"channel_binding": "require"},
            {"channel_binding": "disable"},
            {"secure": True, "methods": SCRAM_ONLY},
            {"methods": parse_require_auth("md5")},
            {"password": None},
            {"password": Secret("with a \0 in it")},
            {"keys": KeyCache()},
            {"password": None, "keys": ScramKeys(b"x" * 32, b"y" * 32)},
        ],
    )
    def test_it_makes_no_difference(
        self, options: Any, certificate: bytes | None, offered: tuple[str, ...]
    ) -> None:
        answers = set()
        for token in (None, Secret("token")):  # who has a token foresees nothing
            tls = certificate is not None
            session = begin(tls=tls, certificate=certificate, token=token, **options)
            answer = said(session, backend.sasl(*offered))
            answers.add((answer, type(session.failure), str(session.failure)))
        assert len(answers) == 1

    def test_it_is_dropped_where_it_is_not_asked_for(self) -> None:
        session = begin(token=None)
        assert said(session, backend.authentication(3)).startswith(b"p")
        session.receive_data(LET_IN)
        assert session.in_step


class TestTokens:
    def test_a_token_is_sent_as_the_rfc_has_it(self) -> None:
        first = said(begin(token=Secret("abc._~+/-09==")), backend.sasl(OAUTH))
        assert first[5:17] == b"OAUTHBEARER\0"
        assert first[21:] == b"n,,\x01auth=Bearer abc._~+/-09==\x01\x01"
        assert int.from_bytes(first[17:21]) == len(first[21:])
        assert int.from_bytes(first[1:5]) == len(first) - 1

    def test_the_server_lets_us_in(self) -> None:
        session = begin()
        said(session, backend.sasl(OAUTH))
        session.receive_data(LET_IN)
        assert session.failure is None
        assert session.in_step

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (
                b'{"status":"invalid_token","scope":"openid pg",'
                b'"openid-configuration":"https://x/.well-known/openid-configuration"}',
                "the server answered the OAuth token with status 'invalid_token', scope "
                "'openid pg', configuration 'https://x/.well-known/openid-configuration'",
            ),
            (b'{"status":"\\u001b[2J"}', r"with status '\x1b[2J'"),
            (b'{"status":[1,{}]}', "with status '?'"),
            (b'{"status":"' + b"x" * 1900 + b'"}', "x" * 300 + r"\u2026'"),
            (b"{}", "with no reason"),
            (b"[]", "is not the JSON that it should be"),
            (b"", "is not the JSON that it should be"),
            (b"\xff", "is not the JSON that it should be"),
            (b"[" * 1900, "is not the JSON that it should be"),
            (b"1" * 1900, "is not the JSON that it should be"),
        ],
    )
    def test_a_refusal_is_shown_with_its_reason(self, answer: bytes, told: str) -> None:
        session = begin()
        said(session, backend.sasl(OAUTH))
        assert said(session, backend.authentication(11, answer)) == b"p\0\0\0\x05\x01"
        session.receive_data(backend.error("28000", "OAuth failed", "FATAL", H="ask somebody"))
        assert isinstance(session.failure, AuthenticationError)
        text = str(session.failure)
        assert text.startswith("OAuth failed\nHINT: ask somebody")
        assert told in text.replace("\\\\", "\\")

    def test_a_refusal_without_a_reason(self) -> None:
        session = begin()
        said(session, backend.sasl(OAUTH))
        session.receive_data(backend.error("28000", "OAuth failed", "FATAL"))
        assert str(session.failure) == "OAuth failed"

    @pytest.mark.parametrize("code", [3, 5, 10, 12, 7])
    def test_nothing_else_is_answered_when_a_token_is_sent(self, code: int) -> None:
        session = begin()
        assert "left" in refused(session, backend.sasl(OAUTH), backend.authentication(code))

    def test_nothing_is_answered_when_a_token_is_refused(self) -> None:
        session = begin()
        said(session, backend.sasl(OAUTH))
        said(session, backend.authentication(11, b"{}"))
        assert said(session, backend.AUTHENTICATION_OK) == b""
        assert "not expected by Startup in phase TOKEN_REFUSED" in str(session.failure)

    def test_it_never_goes_over_an_open_network(self) -> None:
        session = begin(exposed=True, allow_cleartext=True)
        assert "whoever gets the token can use it" in refused(session, backend.sasl(OAUTH))

    def test_there_is_none(self) -> None:
        assert "give oauth_token" in refused(begin(token=None), backend.sasl(OAUTH))

    @pytest.mark.parametrize(
        "token", ["", " ", "a b", "a\x01auth=Bearer b", "a\0", "ä", "=", "a=b", "a\n", "x" * 60_001]
    )
    def test_what_is_no_token_is_not_sent(self, token: str) -> None:
        session = begin(token=Secret(token))
        assert said(session, backend.sasl(OAUTH)) == b""
        assert isinstance(session.failure, ProgrammingError)

    @pytest.mark.parametrize(
        ("options", "offered", "chosen"),
        [
            ({}, (OAUTH, PLAIN), PLAIN),
            ({"password": None}, (PLAIN, OAUTH), OAUTH),
            ({"password": None, "keys": ScramKeys(b"x" * 32, b"y" * 32)}, (PLAIN, OAUTH), PLAIN),
            ({"methods": parse_require_auth("oauth")}, (PLAIN, OAUTH), OAUTH),
            ({"methods": parse_require_auth("scram-sha-256")}, (PLAIN, OAUTH), PLAIN),
            ({"token": None}, (PLAIN, OAUTH), PLAIN),
            ({"tls": True, "certificate": RSA}, (OAUTH, PLUS), PLUS),
        ],
    )
    def test_scram_comes_first_as_it_proves_the_server_too(
        self, options: dict[str, Any], offered: tuple[str, ...], chosen: str
    ) -> None:
        first = said(begin(**options), backend.sasl(*offered))
        assert first[5:].split(b"\0")[0].decode() == chosen

    def test_neither_a_password_nor_a_token(self) -> None:
        session = begin(password=None, token=None)
        assert "a password, and none was given" in refused(session, backend.sasl(PLAIN, OAUTH))

    def test_mechanisms_that_nobody_knows(self) -> None:
        assert "offers 'X, Y'" in refused(begin(), backend.sasl("X", "Y"))
        session = begin(methods=parse_require_auth("oauth"))
        assert "asks for SASL, which require_auth" in refused(session, backend.sasl("X"))


def test_they_show_no_secret() -> None:
    keys = ScramKeys(b"x" * 32, b"y" * 32)
    shown = repr(Credentials("me", Secret(SECRET), NONCE, keys=keys, token=Secret("token-1")))
    for secret in (SECRET, NONCE, "xxx", "token-1"):
        assert secret not in shown
