"""SCRAM against servers that lie: every violation is one readable AuthenticationError."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings, strategies as st

from pgwire.errors import AuthenticationError
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram import SCRAM_SHA_256, ScramExchange
from tests.support.scram_server import (
    EITHER_ENGINE,
    NONCE,
    SALT,
    SECRET,
    Server,
    at_final,
    count_hashes,
    exchange,
    log_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = b"r=" + NONCE.encode()
SALTED = b",s=" + b64encode(SALT)
BEGUN = START + b"x" + SALTED


@pytest.mark.parametrize(
    ("server_first", "sentence"),
    [
        (b"", "empty or is not UTF-8"),
        (b"\xff", "empty or is not UTF-8"),
        (BEGUN + b",i=4096,x=\xff", "empty or is not UTF-8"),
        (b"hello", "malformed"),
        (BEGUN, "malformed"),
        (START + b"x,i=4096" + SALTED, "malformed"),
        (SALTED[1:] + b"," + START + b"x,i=4096", "malformed"),
        (b"m=1," + BEGUN + b",i=4096", "malformed"),
        (BEGUN + b",i=4096,m=1", "malformed"),
        (BEGUN + b",i=4096,r=1", "malformed"),
        (BEGUN + b",i=4096,", "malformed"),
        (BEGUN + b",i=4096,x=", "malformed"),
        (BEGUN + b",i=4096,x=\0", "malformed"),
        (BEGUN + b",i=", "malformed"),
        (START + b"x,s=,i=4096", "malformed"),
        (BEGUN + b",i=4096\0", "iteration count is not"),
        (BEGUN + b",i=0", "iteration count is not"),
        (BEGUN + b",i=04096", "iteration count is not"),
        (BEGUN + b",i=-1", "iteration count is not"),
        (BEGUN + b",i=+4096", "iteration count is not"),
        (BEGUN + b",i= 4096", "iteration count is not"),
        (BEGUN + b",i=4_096", "iteration count is not"),
        (BEGUN + b",i=4096\n", "iteration count is not"),
        (BEGUN + ",i=٤٠٩٦".encode(), "iteration count is not"),
        (START + b"x,s=*,i=4096", "not base64"),
        (START + b"x,s=A,i=4096", "not base64"),
        (START + b"x,s=QUJD=,i=4096", "not base64"),
        (START + b"x,s=QUI,i=4096", "not base64"),
        (START + b"x,s=QU I=,i=4096", "not base64"),
        (START + b"x,s=QUI=QUI=,i=4096", "not base64"),
        (START + b"x,s====,i=4096", "not base64"),
        (START + "x,s=ÄÄÄÄ,i=4096".encode(), "not base64"),
        (START + SALTED + b",i=4096", "does not continue"),
        (b"r=" + NONCE[:-1].encode() + b"xx" + SALTED + b",i=4096", "does not continue"),
        (b"r=other" + SALTED + b",i=4096", "does not continue"),
        (START + b"\0" + SALTED + b",i=4096", "nonce holds characters"),
        (START + b" x" + SALTED + b",i=4096", "nonce holds characters"),
        (START + "ä".encode() + SALTED + b",i=4096", "nonce holds characters"),
        (b"e=other-error", "ended the SCRAM exchange: 'other-error'"),
        (b"e=\x1b[2J", r"ended the SCRAM exchange: '\\x1b\[2J'"),
        (b"e=" + b"x" * 5000, "ended the SCRAM exchange: 'x{100}…'"),
    ],
)
@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_bad_first_messages(
    server_first: bytes, sentence: str, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = count_hashes(monkeypatch)
    client = exchange(password)
    client.client_first()
    with pytest.raises(AuthenticationError, match=sentence):
        client.client_final(server_first)
    assert hashes == []


@pytest.mark.parametrize(
    ("bound", "asked", "sentence"),
    [
        (100_000, "100001", "'100001' SCRAM iterations.*scram_max_iterations=100000"),
        (100_000, "9" * 10, "more than the 100000"),
        (4095, "4096", "scram_max_iterations=4095"),
        (0, "2147483648", "more than the 2147483647.*scram_max_iterations=0"),
        (10**12, "2147483648", "more than the 2147483647"),
        (0, "9" * 100_000, "'9{100}…' SCRAM iterations"),
    ],
)
def test_the_bound_on_iterations_comes_before_the_hash(
    bound: int, asked: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = count_hashes(monkeypatch)
    client = exchange(max_iterations=bound)
    client.client_first()
    with pytest.raises(AuthenticationError, match=sentence):
        client.client_final(BEGUN + b",i=" + asked.encode())
    assert hashes == []


@pytest.mark.parametrize("bound", [0, 4097])
def test_iterations_up_to_the_bound_are_served(bound: int) -> None:
    log_in(exchange(max_iterations=bound), Server(prepare(SECRET), iterations=4097))


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (lambda right: b"", "empty or is not UTF-8"),
        (lambda right: b"\xff", "empty or is not UTF-8"),
        (lambda right: b"e=invalid-proof", "ended the SCRAM exchange: 'invalid-proof'"),
        (lambda right: b"e=no\x07 idea\n", r"exchange: 'no\\x07 idea\\n'"),
        (lambda right: b"v=", "malformed"),
        (lambda right: b"v=" + b64encode(bytes(31)), "malformed"),
        (lambda right: b"v=" + b64encode(bytes(33)), "malformed"),
        (lambda right: b"v=" + b64encode(b64decode(right[2:]) + bytes(1)), "malformed"),
        (lambda right: right + b"\0", "malformed"),
        (lambda right: right + b"\n", "malformed"),
        (lambda right: right + b",", "malformed"),
        (lambda right: right + b",m=1", "malformed"),
        (lambda right: b"x=1," + right, "malformed"),
        (lambda right: b"v=" + right[2:-2] + b"F=", "malformed"),
        (lambda right: b"v=" + b64encode(bytes(32)), "signature is wrong"),
        (lambda right: b"v=" + b64encode(b64decode(right[2:])[::-1]), "signature is wrong"),
    ],
)
@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_bad_final_messages(tamper: Callable[[bytes], bytes], sentence: str, password: str) -> None:
    client, right = at_final(password)
    with pytest.raises(AuthenticationError, match=sentence):
        client.verify(tamper(right))


@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_extensions_of_the_final_message_are_ignored(password: str) -> None:
    client, right = at_final(password)
    client.verify(right + b",x=1")


def test_a_final_message_of_another_exchange_does_not_verify() -> None:
    """The same password, salt and iterations; only the nonces differ."""
    _, recorded = at_final()
    client = ScramExchange([SCRAM_SHA_256], password=SECRET, nonce="another")
    client.client_final(Server(prepare(SECRET)).first(client.client_first()))
    with pytest.raises(AuthenticationError, match="signature is wrong"):
        client.verify(recorded)


mutation = st.tuples(st.integers(0, 200), st.integers(0, 3), st.binary(max_size=4))


def mutate(message: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    """Cut out some bytes at some positions and put others in their place."""
    for position, length, replacement in mutations:
        position %= len(message) + 1
        message = message[:position] + replacement + message[position + length :]
    return message


@given(st.binary() | st.text().map(str.encode))
@settings(max_examples=300)
def test_noise_as_first_message_is_refused(noise: bytes) -> None:
    client = exchange()
    client.client_first()
    with pytest.raises(AuthenticationError):
        client.client_final(noise)


@given(st.lists(mutation, min_size=1, max_size=3), st.sampled_from(["quick", "pass😀"]))
@settings(max_examples=300)
def test_a_mutated_first_message_is_refused_or_logs_nobody_in(
    mutations: list[tuple[int, int, bytes]], password: str
) -> None:
    client = exchange(password, max_iterations=10_000)
    server = Server(prepare(password), iterations=1)
    right = server.first(client.client_first())
    mutated = mutate(right, mutations)
    assume(mutated != right)
    try:
        final = client.client_final(mutated)
    except AuthenticationError:
        return
    with pytest.raises((PermissionError, AssertionError)):
        server.final(final)


@given(st.binary() | st.text().map(str.encode))
@settings(max_examples=200)
def test_noise_as_final_message_is_refused(noise: bytes) -> None:
    client, _ = at_final("quick")
    with pytest.raises(AuthenticationError):
        client.verify(noise)


@given(st.lists(mutation, min_size=1, max_size=3), st.sampled_from(["quick", "plain"]))
@settings(max_examples=200)
def test_a_mutated_final_message_is_refused(
    mutations: list[tuple[int, int, bytes]], password: str
) -> None:
    client, right = at_final(password)
    mutated = mutate(right, mutations)
    assume(not mutated.startswith(right))  # what may follow is tested above
    with pytest.raises(AuthenticationError):
        client.verify(mutated)
