"""Ready keys, the cache that holds them, and the secrecy of all that is secret in SCRAM."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import traceback
from base64 import b64encode
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import AuthenticationError, InterfaceError
from pgwire.protocol.saslprep import prepare
from pgwire.protocol.scram import SCRAM_SHA_256, ScramExchange, md5_password
from pgwire.protocol.scram_keys import KeyCache, ScramKeys
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
    from collections.abc import Callable, Iterator


def test_ready_keys_log_in_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(prepare(SECRET))
    keys = ScramKeys.derive(prepare(SECRET), SALT, 4096)
    hashes = count_hashes(monkeypatch)
    log_in(exchange("", keys=keys), server)
    assert hashes == []


def test_ready_keys_of_another_password_verify_no_server() -> None:
    client = exchange("", keys=ScramKeys.derive(b"another", SALT, 4096))
    server = Server(prepare(SECRET))
    with pytest.raises(PermissionError):
        server.final(client.client_final(server.first(client.client_first())))
    _, right = at_final()
    with pytest.raises(AuthenticationError, match="signature is wrong"):
        client.verify(right)


@pytest.mark.parametrize("password", EITHER_ENGINE)
def test_a_cache_saves_the_hash_from_the_second_login_on(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = count_hashes(monkeypatch)
    cache = KeyCache()
    server = Server(prepare(password))
    spent = []
    for _ in range(3):
        hashes.clear()
        log_in(exchange(password, keys=cache), server)
        spent.append(len(hashes))
    assert spent == [1, 0, 0]
    assert len(cache) == 1


def warm_cache(server: Server, password: str = SECRET) -> KeyCache:
    cache = KeyCache()
    log_in(exchange(password, keys=cache), server)
    return cache


@pytest.mark.parametrize(
    ("password", "change"),
    [
        (SECRET, {"salt": bytes(16)}),
        (SECRET, {"iterations": 4097}),
        ("another", {}),
    ],
)
def test_a_cache_finds_nothing_for_other_inputs(
    password: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = warm_cache(Server(prepare(SECRET)))
    server = Server(prepare(password), **change)
    hashes = count_hashes(monkeypatch)
    log_in(exchange(password, keys=cache), server)
    assert len(hashes) == 1
    assert len(cache) == 2


def test_the_bound_holds_for_cached_keys_too() -> None:
    """Whether a login is allowed does not depend on which logins came before it."""
    server = Server(prepare(SECRET))
    client = exchange(keys=warm_cache(server), max_iterations=4095)
    with pytest.raises(AuthenticationError, match="scram_max_iterations=4095"):
        client.client_final(server.first(client.client_first()))


def test_nothing_is_cached_before_the_server_is_verified() -> None:
    cache = KeyCache()
    client, _ = at_final(keys=cache)
    assert len(cache) == 0
    with pytest.raises(AuthenticationError):
        client.verify(b"v=" + b64encode(bytes(32)))
    assert len(cache) == 0


def test_cached_keys_are_dropped_when_the_server_is_not_verified() -> None:
    cache = warm_cache(Server(prepare(SECRET)))
    client, _ = at_final(keys=cache)
    with pytest.raises(AuthenticationError):
        client.verify(b"v=" + b64encode(bytes(32)))
    assert len(cache) == 0


def test_cached_keys_are_dropped_when_the_server_refuses_them() -> None:
    """An ErrorResponse ends the exchange outside of SCRAM; forget() tells us."""
    cache = warm_cache(Server(prepare(SECRET)))
    client, right = at_final(keys=cache)
    client.forget()
    assert len(cache) == 0
    with pytest.raises(InterfaceError, match="has failed"):
        client.verify(right)


def test_forgetting_after_success_changes_nothing() -> None:
    cache = KeyCache()
    client, right = at_final(keys=cache)
    client.verify(right)
    client.forget()
    assert len(cache) == 1
    assert repr(client) == "<ScramExchange that is complete>"


def test_a_slow_login_does_not_displace_the_keys_of_faster_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = KeyCache()
    slow, right = at_final(keys=cache)
    server = Server(prepare(SECRET))
    log_in(exchange(keys=cache), server)
    slow.verify(right)
    hashes = count_hashes(monkeypatch)
    log_in(exchange(keys=cache), server)
    assert hashes == []


def test_a_cache_is_bounded_and_the_oldest_goes_first() -> None:
    cache = KeyCache()
    for number in range(20):
        cache.keep(b"%d" % number, ScramKeys(bytes(32), bytes(32)))
    assert len(cache) == 16
    assert [b"%d" % number in cache for number in (3, 4, 19)] == [False, True, True]
    cache.clear()
    assert len(cache) == 0


def test_a_cache_may_be_shared_by_threads() -> None:
    cache = KeyCache()
    keys = ScramKeys(bytes(32), bytes(32))
    errors: list[BaseException] = []

    def churn(name: int) -> None:
        try:
            for number in range(1000):
                cache.keep(b"%d-%d" % (name, number), keys)
                cache.drop(b"%d-%d" % (1 - name, number))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(name,)) for name in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(cache) <= 16


# Secrets.


def sealed() -> Iterator[object]:
    keys = ScramKeys.derive(prepare(SECRET), SALT, 4096)
    cache = KeyCache()
    cache.keep(b"fingerprint", keys)
    yield keys
    yield cache
    yield exchange()
    yield at_final()[0]


@pytest.mark.parametrize("thing", list(sealed()), ids=lambda thing: type(thing).__name__)
def test_secrets_cannot_be_shown_copied_or_pickled(thing: object) -> None:
    assert SECRET not in repr(thing)
    assert "\\x" not in repr(thing)
    with pytest.raises(TypeError):
        vars(thing)
    for leak in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            leak(thing)


def texts_within(thing: object) -> str:
    """Every text that can be reached from an object, in one repr."""
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (type, ModuleType, FunctionType)):
            continue
        seen[id(item)] = item
        waiting += gc.get_referents(item)
    return repr([item for item in seen.values() if isinstance(item, (str, bytes))])


def test_an_exchange_holds_its_secret_only_while_it_runs() -> None:
    client, right = at_final()
    assert SECRET in texts_within(client), "the search finds what is there"
    client.verify(right)
    assert SECRET not in texts_within(client)
    failed, _ = at_final()
    failed.forget()
    assert SECRET not in texts_within(failed)


def test_a_cache_does_not_hold_the_password() -> None:
    assert SECRET not in texts_within(warm_cache(Server(prepare(SECRET))))


def fail_to_choose() -> None:
    ScramExchange(["X"], password=SECRET, nonce=NONCE)


def fail_to_begin() -> None:
    ScramExchange([SCRAM_SHA_256], password=SECRET, nonce="")


def fail_at_first() -> None:
    client = exchange()
    client.client_first()
    client.client_final(b"\xff")


def fail_at_salt() -> None:
    client = exchange()
    client.client_first()
    client.client_final(b"r=" + NONCE.encode() + b"x,s=A,i=1")


def fail_at_final() -> None:
    at_final()[0].verify(b"v=" + b64encode(bytes(32)))


def fail_at_final_with_keys() -> None:
    at_final(keys=ScramKeys.derive(prepare(SECRET), SALT, 4096))[0].verify(b"v=" + b"A" * 43 + b"=")


def fail_at_md5() -> None:
    md5_password("user", SECRET, b"salty")


@pytest.mark.parametrize(
    "fail",
    [
        fail_to_choose,
        fail_to_begin,
        fail_at_first,
        fail_at_salt,
        fail_at_final,
        fail_at_final_with_keys,
        fail_at_md5,
    ],
)
def test_no_traceback_shows_a_secret(fail: Callable[[], None]) -> None:
    """Not with the locals of every frame of pgwire, nor in an exception behind the exception."""
    with pytest.raises((AuthenticationError, InterfaceError)) as caught:
        fail()
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in report.stack if frame.filename.endswith("protocol/scram.py")]
    assert ours, "the frames are there to be looked at"
    assert not any(SECRET in text for frame in ours for text in (frame.locals or {}).values())
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("lengths", [(31, 32), (32, 33), (0, 0)])
def test_keys_of_another_length_are_refused(lengths: tuple[int, int]) -> None:
    with pytest.raises(InterfaceError, match="exactly 32 bytes"):
        ScramKeys(bytes(lengths[0]), bytes(lengths[1]))
