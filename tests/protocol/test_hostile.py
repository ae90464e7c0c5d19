"""Servers that send anything at all: nothing hangs, nothing raises, nothing is mixed up."""

from __future__ import annotations

import random
import tracemalloc
from struct import pack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st

from pgwire.errors import ProtocolError
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from tests.support import backend
from tests.support.backend_double import check_fit_for_the_next_query
from tests.support.conversations import REGISTRY, Recording, Replay, load
from tests.support.scenarios import SCENARIOS
from tests.support.situations import WAYS

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = sorted(SCENARIOS)

framed = st.builds(
    backend.message, st.sampled_from([chr(code) for code in BackendMessage]), st.binary(max_size=40)
)


@pytest.mark.parametrize(("_kind", "_phase", "situation"), WAYS)
@given(st.lists(framed, max_size=3).map(b"".join) | st.binary(max_size=60))
@settings(max_examples=25)
def test_random_bytes_in_every_phase(
    _kind: object, _phase: object, situation: Callable[..., object], data: bytes
) -> None:
    session: Session = situation()[0]  # type: ignore[index]
    session.receive_data(data)
    session.data_to_send()
    check_fit_for_the_next_query(session)


MUTATIONS: dict[str, Callable[[random.Random, list[bytes]], None]] = {}


def mutation(function: Callable[[random.Random, list[bytes]], None]) -> None:
    MUTATIONS[function.__name__] = function


def _place(rng: random.Random, messages: list[bytes]) -> tuple[int, bytearray]:
    number = rng.randrange(len(messages))
    return number, bytearray(messages[number])


@mutation
def flip_bits(rng: random.Random, messages: list[bytes]) -> None:
    number, message = _place(rng, messages)
    message[rng.randrange(len(message))] ^= rng.randint(1, 255)
    messages[number] = bytes(message)


@mutation
def insert_bytes(rng: random.Random, messages: list[bytes]) -> None:
    number, message = _place(rng, messages)
    at = rng.randint(0, len(message))
    message[at:at] = rng.randbytes(rng.randint(1, 6))
    messages[number] = bytes(message)


@mutation
def delete_bytes(rng: random.Random, messages: list[bytes]) -> None:
    number, message = _place(rng, messages)
    at = rng.randrange(len(message))
    del message[at : at + rng.randint(1, 6)]
    messages[number] = bytes(message)


@mutation
def change_length(rng: random.Random, messages: list[bytes]) -> None:
    number, message = _place(rng, messages)
    lengths = [0, 3, 4, 5, 6, -1, 2**31 - 1, -(2**31), len(message), len(message) - 2]
    message[1:5] = pack("!i", rng.choice(lengths))
    messages[number] = bytes(message)


@mutation
def change_inner_number(rng: random.Random, messages: list[bytes]) -> None:
    """Counts and lengths inside of the body."""
    number, message = _place(rng, messages)
    at = rng.randint(min(5, len(message)), len(message))
    value = rng.choice([-2, -1, 0, 1, 2**31 - 1, 2**16 - 1])
    message[at : at + 4] = pack("!i", value)[: len(message) - at]
    messages[number] = bytes(message)


@mutation
def repeat_message(rng: random.Random, messages: list[bytes]) -> None:
    number, message = _place(rng, messages)
    messages.insert(number, bytes(message))


@mutation
def delete_message(rng: random.Random, messages: list[bytes]) -> None:
    del messages[rng.randrange(len(messages))]


@mutation
def swap_messages(rng: random.Random, messages: list[bytes]) -> None:
    i, j = rng.randrange(len(messages)), rng.randrange(len(messages))
    messages[i], messages[j] = messages[j], messages[i]


@mutation
def borrow_message(rng: random.Random, messages: list[bytes]) -> None:
    """A message of another conversation."""
    other = backend.split(load(rng.choice(NAMES)).server_bytes)
    messages.insert(rng.randint(0, len(messages)), rng.choice(other))


def replay_mutated(recording: Recording, rng: random.Random, names: list[str]) -> Session:
    """Replay the server's turns with mutations; the client's answers may be others now."""
    turns = [turn.data for turn in recording.turns if turn.side == "server"]
    number = rng.randrange(len(turns))
    messages = backend.split(turns[number])
    for name in names:
        if messages:
            MUTATIONS[name](rng, messages)
            messages = [message for message in messages if message]
    replay = Replay(recording)
    replay.feed([*turns[:number], b"".join(messages) or b"\0", *turns[number + 1 :]])
    return replay.session


@pytest.mark.parametrize("name", NAMES)
def test_mutations_of_recorded_conversations(name: str) -> None:
    """Each kind of mutation a few times, with fixed seeds."""
    recording = load(name)
    for seed, kind in enumerate(sorted(MUTATIONS) * 6):
        rng = random.Random(f"{name} {seed}")
        try:
            check_fit_for_the_next_query(replay_mutated(recording, rng, [kind]))
        except Exception as error:
            error.add_note(f"mutation {kind}, seed {seed}")
            raise


@given(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(sorted(MUTATIONS)), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_several_mutations_at_once(name: str, kinds: list[str], seed: int) -> None:
    rng = random.Random(seed)
    check_fit_for_the_next_query(replay_mutated(load(name), rng, kinds))


@pytest.mark.parametrize("name", [name for name in NAMES if not load(name).outcome.failure])
def test_whatever_comes_behind_the_last_answer_is_never_the_answer_to_the_next_query(
    name: str,
) -> None:
    """Any message of the conversation once more: it is asynchronous, or the session fails."""
    recording = load(name)
    for message in {*backend.split(recording.server_bytes), backend.ready()}:
        replay = Replay(recording)
        replay.run()
        replay.session.receive_data(message)
        assert bool(replay.session.failure) is not (message[:1] in (b"S", b"N", b"A"))
        check_fit_for_the_next_query(replay.session)


def test_a_second_answer_is_noticed_before_the_next_query_can_get_it() -> None:
    session = Session(REGISTRY)
    first = Query("first")
    session.submit(first)
    described = backend.described((), [backend.column("n")])
    answer = backend.executed(backend.row(backend.int4(1)))
    session.receive_data(described + answer + answer)
    assert first.result.scalars() == [1]
    assert str(session.failure) == "BIND_COMPLETE not expected by Idle in phase IDLE"
    second = Query("second")
    session.submit(second)
    assert repr(second.error) == repr(session.failure)


HUGE = 2**30
LONG_MESSAGES = {
    "rows": (backend.BIND_COMPLETE, "D"),
    "an error": (b"", "E"),
    "a notice": (b"", "N"),
    "a notification": (b"", "A"),
    "a parameter": (b"", "S"),
    "data of a COPY": (backend.BIND_COMPLETE + backend.copy_out(0), "d"),
}


@pytest.mark.parametrize("what", LONG_MESSAGES)
def test_an_announced_length_takes_no_memory(what: str) -> None:
    """A gigabyte is announced, and half a megabyte comes: memory follows what comes."""
    before, code = LONG_MESSAGES[what]
    session = Session(REGISTRY)
    query = Query("select")
    session.submit(query)
    session.receive_data(backend.described((), [backend.column("t", 25)]) + before)
    piece = bytes(64 * 1024)
    tracemalloc.start()
    try:
        session.receive_data(code.encode() + pack("!i", HUGE))
        for _ in range(8):
            session.receive_data(piece[:])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert session.failure is None
    assert peak < 1_000_000
    session.receive_eof()
    assert query.done


@pytest.mark.parametrize(
    "reply",
    [
        backend.PARSE_COMPLETE + backend.message("t", b"\xff\xff"),
        backend.PARSE_COMPLETE
        + backend.parameter_description()
        + backend.message("T", b"\xff\xff"),
        backend.described((), [backend.column()])
        + backend.BIND_COMPLETE
        + backend.message("D", b"\0\1" + pack("!i", HUGE)),
        backend.described((), [backend.column()])
        + backend.BIND_COMPLETE
        + backend.message("D", b"\xff\xff"),
    ],
    ids=["parameters", "columns", "value", "values"],
)
def test_a_count_or_length_inside_a_message_takes_no_memory(reply: bytes) -> None:
    session = Session(REGISTRY)
    session.submit(Query("select"))
    tracemalloc.start()
    try:
        session.receive_data(reply)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(session.failure, ProtocolError)
    assert peak < 100_000


@pytest.mark.parametrize("length", [0, 1])
def test_a_row_too_short_for_a_count_is_no_endless_loop(length: int) -> None:
    """As the last thing that has come, or with more behind it."""
    for behind in (b"", backend.complete() + backend.ready()):
        session = Session(REGISTRY)
        query = Query("select")
        session.submit(query)
        session.receive_data(backend.described((), [backend.column()]) + backend.BIND_COMPLETE)
        session.receive_data(
            backend.row(backend.int4(1)) + backend.message("D", bytes(length)) + behind
        )
        assert str(session.failure) == "the server sent a malformed DATA_ROW"
        assert repr(query.error) == repr(session.failure)
