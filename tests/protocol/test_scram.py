"""SCRAM against the RFC's vector, scramp's server and a server of our own."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from scramp import ScramException, ScramMechanism

from pgwire.errors import AuthenticationError, InterfaceError
from pgwire.protocol import scram
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramExchange, md5_password
from pgwire.protocol.scram_keys import ScramKeys
from tests.support.scram_server import (
    EITHER_ENGINE,
    NONCE,
    SALT,
    SECRET,
    Server,
    at_final,
    count_hashes,
    exchange,
    forbid_supplement,
    log_in,
    log_in_at_scramp,
)

BINDING = ("tls-server-end-point", bytes(range(32)))

# The passwords that drivers get wrong: RFC 4013 refuses them or maps them otherwise.
ODD_PASSWORDS = [
    "pass😀word",
    "soft\u00adhyphen",
    "\u00ad\u00ad",
    "zero\u200bwidth",
    "foo\u06271bar",
    "bell\x07",
    "\u20bf",
    "\u2168",
    "tab\tnewline\n",
    "",
]


# The arithmetic.

RFC_NONCE = "rOprNGfwEbeRWgbNEkqO"
RFC_SERVER_FIRST = (
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
)
RFC_CLIENT_FINAL = (
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
)
RFC_SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("ready", [False, True], ids=["scramp", "supplement"])
def test_the_vector_of_rfc_7677(ready: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "_USER", "user")  # the RFC's client sends a name; ours does not
    salt = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    keys = ScramKeys.derive(b"pencil", salt, 4096) if ready else None
    client = ScramExchange([SCRAM_SHA_256], password="pencil", nonce=RFC_NONCE, keys=keys)
    assert client.client_first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert client.client_final(RFC_SERVER_FIRST) == RFC_CLIENT_FINAL
    client.verify(RFC_SERVER_FINAL)


@given(
    password=st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    salt=st.binary(min_size=12),
)
@settings(max_examples=50)
def test_the_supplement_says_what_scramp_says(password: str, salt: bytes) -> None:
    """Byte for byte, and each accepts the server's proof that the other one accepts."""
    keys = ScramKeys.derive(prepare(password), salt, 4096)
    server = Server(prepare(password), salt=salt)
    finals = set()
    for client in (exchange(password), exchange("", keys=keys)):
        final = client.client_final(server.first(client.client_first()))
        client.verify(server.final(final))
        finals.add(final)
    assert len(finals) == 1


@given(password=st.text(max_size=8))
@example(password="plain")
@settings(max_examples=50)
def test_any_password_logs_in_at_scramps_server(password: str) -> None:
    log_in_at_scramp(exchange(password), Server(prepare(password)).auth_info)


@given(st.text("az09 ~,=éßŁ\u00ad\u00a0\u2168\uff21\u0301\u4e2d", max_size=8).map("a".__add__))
@settings(max_examples=50)
def test_what_scramp_prepares_alike_logs_in_against_its_own_verifier(password: str) -> None:
    """The verifier is scramp's alone here, so that nothing of ours vouches for ours."""
    info = ScramMechanism(SCRAM_SHA_256).make_auth_info(password, 4096, SALT)
    assert info == Server(prepare(password)).auth_info("")
    log_in_at_scramp(exchange(password), lambda user: info)


@pytest.mark.parametrize("password", ODD_PASSWORDS)
def test_odd_passwords_log_in(password: str) -> None:
    log_in(exchange(password), Server(prepare(password)))
    log_in_at_scramp(exchange(password), Server(prepare(password)).auth_info)


@pytest.mark.parametrize("iterations", [1, 2, 4095, 4096, 4097])
def test_any_number_of_iterations_logs_in(iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(prepare(SECRET), iterations=iterations)
    hashes = count_hashes(monkeypatch)
    log_in(exchange(), server)
    assert hashes == [iterations]


@pytest.mark.parametrize("salt", [b"\0", b"short", bytes(64)])
def test_any_salt_logs_in(salt: bytes) -> None:
    log_in(exchange(), Server(prepare(SECRET), salt=salt))


@pytest.mark.parametrize("extensions", [",x=1", ",z=ä,Y==,b=2", ",x=1,x=2"])
def test_extensions_that_may_be_ignored_are(extensions: str) -> None:
    log_in(exchange(), Server(prepare(SECRET), extensions=extensions))


def test_ordinary_passwords_go_through_scramp(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_supplement(monkeypatch)
    log_in(exchange("correct horse, battery = staple"), Server(b"correct horse, battery = staple"))


def test_a_wrong_password_is_refused_by_the_server() -> None:
    client = exchange("wrong")
    server = Server(prepare(SECRET))
    final = client.client_final(server.first(client.client_first()))
    with pytest.raises(PermissionError):
        server.final(final)


# Mechanisms and channel binding.


@pytest.mark.parametrize(
    ("offered", "options", "mechanism", "gs2_header"),
    [
        ([SCRAM_SHA_256], {}, SCRAM_SHA_256, b"n,,"),
        (["SCRAM-SHA-512", SCRAM_SHA_256, "X"], {}, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], {"tls": True}, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256_PLUS, SCRAM_SHA_256], {"tls": True}, SCRAM_SHA_256, b"n,,"),
        ([SCRAM_SHA_256], {"channel_binding": BINDING}, SCRAM_SHA_256, b"y,,"),
        (
            [SCRAM_SHA_256, SCRAM_SHA_256_PLUS],
            {"channel_binding": BINDING, "tls": True},
            SCRAM_SHA_256_PLUS,
            b"p=tls-server-end-point,,",
        ),
    ],
)
@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_the_choice_of_mechanism_and_flag(
    offered: list[str], options: Any, mechanism: str, gs2_header: bytes, password: str
) -> None:
    client = ScramExchange(offered, password=password, nonce=NONCE, **options)
    assert client.mechanism == mechanism
    server = Server(
        prepare(password), binding=BINDING[1] if mechanism == SCRAM_SHA_256_PLUS else b""
    )
    first = client.client_first()
    assert first == gs2_header + b"n=*,r=" + NONCE.encode()
    client.verify(server.final(client.client_final(server.first(first))))


@pytest.mark.parametrize(
    ("binding", "offered", "suits"),
    [
        (None, [SCRAM_SHA_256], True),
        (None, ["X", SCRAM_SHA_256], True),
        (None, ["X"], False),
        (None, [SCRAM_SHA_256, SCRAM_SHA_256_PLUS], False),
        (BINDING, [SCRAM_SHA_256, SCRAM_SHA_256_PLUS], True),
        (BINDING, [SCRAM_SHA_256], False),
    ],
)
def test_an_exchange_made_before_the_offer_suits_it_or_not(
    binding: tuple[str, bytes] | None, offered: list[str], suits: bool
) -> None:
    expected = [SCRAM_SHA_256] if binding is None else [SCRAM_SHA_256, SCRAM_SHA_256_PLUS]
    client = ScramExchange(expected, password=SECRET, nonce=NONCE, channel_binding=binding)
    assert client.suits(offered) is suits
    if suits:
        chosen = ScramExchange(offered, password=SECRET, nonce=NONCE, channel_binding=binding)
        assert client.client_first() == chosen.client_first()


@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_a_bound_exchange_is_accepted_by_scramps_server(password: str) -> None:
    client = ScramExchange(
        [SCRAM_SHA_256_PLUS], password=password, nonce=NONCE, channel_binding=BINDING
    )
    log_in_at_scramp(client, Server(prepare(password)).auth_info, BINDING)


@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_a_binding_to_another_certificate_is_refused(password: str) -> None:
    client = ScramExchange(
        [SCRAM_SHA_256_PLUS], password=password, nonce=NONCE, channel_binding=BINDING
    )
    with pytest.raises(ScramException, match="channel bindings don't match"):
        log_in_at_scramp(client, Server(prepare(password)).auth_info, (BINDING[0], bytes(32)))


@pytest.mark.parametrize(
    ("offered", "options", "sentence"),
    [
        ([], {}, "offers nothing for SASL, and SCRAM-SHA-256 is needed"),
        (["OAUTHBEARER"], {}, "offers 'OAUTHBEARER' for SASL"),
        ([SCRAM_SHA_256_PLUS], {"tls": True}, "offers 'SCRAM-SHA-256-PLUS' for SASL"),
        (["SCRAM-SHA-1"], {"channel_binding": BINDING}, "256 or SCRAM-SHA-256-PLUS is needed"),
        ([SCRAM_SHA_256, SCRAM_SHA_256_PLUS], {}, "without TLS"),
        (["a\x1b[31m"], {}, r"offers 'a\\x1b\[31m' for"),
        (["x" * 5000], {}, "offers 'x{100}…' for"),
    ],
)
def test_offers_that_cannot_be_used(offered: list[str], options: Any, sentence: str) -> None:
    with pytest.raises(AuthenticationError, match=sentence):
        ScramExchange(offered, password=SECRET, nonce=NONCE, **options)


# Our own mistakes.


def test_calls_out_of_order_are_interface_errors() -> None:
    client = exchange()
    with pytest.raises(InterfaceError, match="has not begun"):
        client.client_final(b"")
    with pytest.raises(InterfaceError, match="has not begun"):
        client.verify(b"")
    client.client_first()
    with pytest.raises(InterfaceError, match="waits for the server's first message"):
        client.client_first()
    with pytest.raises(InterfaceError, match="waits for the server's first message"):
        client.verify(b"")


def test_an_exchange_serves_once() -> None:
    client, right = at_final()
    with pytest.raises(InterfaceError, match="waits for the server's final message"):
        client.client_final(b"")
    client.verify(right)
    with pytest.raises(InterfaceError, match="is complete"):
        client.verify(right)


def test_a_failed_exchange_stays_failed() -> None:
    client, right = at_final()
    with pytest.raises(AuthenticationError):
        client.verify(b"v=nonsense")
    with pytest.raises(InterfaceError, match="has failed"):
        client.verify(right)


@pytest.mark.parametrize("nonce", ["", "with,comma", "with space", "ä", "nul\0"])
def test_a_nonce_that_cannot_be_sent(nonce: str) -> None:
    with pytest.raises(InterfaceError, match="cannot begin"):
        ScramExchange([SCRAM_SHA_256], password=SECRET, nonce=nonce)


@pytest.mark.parametrize("binding", [("tls-invented", b"x"), ("tls-server-end-point", b"")])
def test_a_binding_that_cannot_be_used(binding: tuple[str, bytes]) -> None:
    with pytest.raises(InterfaceError, match="cannot begin"):
        exchange(channel_binding=binding)


# MD5.


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice", "secret"), ("älice", "pass😀word\u00ad"), ("bob", "bytes\udcff"), ("", "")],
)
def test_md5_passwords(user: str, password: str) -> None:
    """The manual: concat('md5', md5(concat(md5(concat(password, username)), random-salt)))."""
    shadow = hashlib.md5((password + user).encode("utf-8", "surrogateescape")).hexdigest()
    expected = "md5" + hashlib.md5(shadow.encode() + b"\x01\xff\x00!").hexdigest()
    assert md5_password(user, password, b"\x01\xff\x00!") == expected.encode()


def test_md5_of_known_words() -> None:
    assert md5_password("postgres", "pencil", b"salt") == b"md53bc4706f9ec32e2beac5642d47d6e490"


@pytest.mark.parametrize("salt", [b"", b"abc", b"abcde"])
def test_an_md5_salt_has_four_bytes(salt: bytes) -> None:
    with pytest.raises(AuthenticationError, match="not 4 bytes long"):
        md5_password("alice", SECRET, salt)


# One that was made before the server had said what it offers.


@pytest.mark.parametrize(
    "offered", [[SCRAM_SHA_256], [SCRAM_SHA_256_PLUS], [SCRAM_SHA_256, SCRAM_SHA_256_PLUS]]
)
@pytest.mark.parametrize("foreseen", [[SCRAM_SHA_256], [SCRAM_SHA_256, SCRAM_SHA_256_PLUS]])
def test_it_suits_where_the_same_would_be_made(foreseen: list[str], offered: list[str]) -> None:
    def made(mechanisms: list[str]) -> ScramExchange:
        return ScramExchange(mechanisms, password="pw", nonce=NONCE, channel_binding=BINDING)

    same = made(foreseen).mechanism == made(offered).mechanism
    assert made(foreseen).suits(offered) is same
