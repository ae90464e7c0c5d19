"""Rows unpacked by layouts that are known by the length of their message: the same rows.

What holds for any of them is in `test_generated_runs`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.protocol import generated, keyed
from pgwire.protocol.blocks import LEAST_ROWS
from pgwire.protocol.generated import generate
from pgwire.protocol.keyed import Layouts, Learner, keyed_source, layouts_of
from tests.support.layouts import at_once, outcome, pair, row, shapes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

INT4, TEXT, NUMERIC, TIMESTAMPTZ = 23, 25, 1700, 1184
LAST_TIMESTAMP = struct.pack("!q", 2**63 - 1)


@pytest.fixture(autouse=True, scope="module")
def keyed_at_once() -> Iterator[None]:
    with at_once():
        yield


@pytest.mark.parametrize("offset", range(7 + 8 + 20 + 8))
def test_each_byte_is_looked_at(offset: int) -> None:
    """Of 41 rows the last is damaged: its type, its length, its columns, a column's length."""
    plain, generated = pair([INT4, TEXT, INT4])
    good = row([bytes(4), b"x" * 16, bytes(4)])
    for change in (1, 4, 255):
        damaged = bytearray(good)
        damaged[offset] ^= change
        buffer = good * 40 + bytes(damaged)
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_no_row_is_read_that_ends_behind_the_size() -> None:
    """Though all of it is in the buffer."""
    plain, generated = pair([TEXT, INT4])
    message = row([b"x" * 20, bytes(4)])
    buffer = message * 50
    for size in range(40 * len(message), 41 * len(message) + 1):
        found, expected = (list[tuple[Any, ...]]() for _ in range(2))
        assert generated(buffer, 0, size, found) == plain(buffer, 0, size, expected)
        assert found == expected


@pytest.mark.parametrize("length", [0, 1, 127, 128, 200, 228, 229, 240, 255, 256, 300, 484, 70_000])
def test_short_texts_and_long_ones(length: int) -> None:
    """What is looked up is the last byte of a length; of very long rows nothing is learned."""
    plain, generated = pair([INT4, TEXT, TIMESTAMPTZ])
    short = row([bytes(4), b"short", bytes(8)])
    buffer = short * 33 + row([bytes(4), b"x" * length, bytes(8)]) + short * 33
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_what_python_has_no_datetime_for() -> None:
    plain, generated = pair([TEXT, TIMESTAMPTZ])
    usual = row([b"x", bytes(8)])
    for number in (LAST_TIMESTAMP, struct.pack("!q", 2**60), struct.pack("!q", 2**62 + 5)):
        buffer = usual * 40 + row([b"y", number]) + usual * 40
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@pytest.mark.parametrize("values", [[b"\xff", bytes(4)], [b"x", struct.pack("!i", 2**31 - 2)]])
def test_an_error_names_column_and_row(values: list[bytes]) -> None:
    plain, generated = pair([TEXT, 1082])
    buffer = row([b"x", bytes(4)]) * 50 + row(values)
    found = outcome(generated, buffer, 0)
    assert found == outcome(plain, buffer, 0)
    column = 1 if values[0] == b"\xff" else 2
    assert found[1:] == ([f"while decoding column {column} of row 51"], 50)


def sources(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The kinds of each source that is made from now on; those made before are forgotten."""
    made = list[Any]()

    def source(kinds: Any) -> str:
        made.append(kinds)
        return keyed_source(kinds)

    monkeypatch.setattr(keyed, "keyed_source", source)
    generated._compiled_keyed.cache_clear()
    return made


def test_it_is_compiled_when_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sources(monkeypatch)
    message = row([bytes(2), b"text", bytes(2)])
    buffer = message * (2 * LEAST_ROWS)
    monkeypatch.setattr(keyed, "WORTH", 2 * len(buffer))
    monkeypatch.setattr(keyed, "WORTH_PER_COLUMN", len(buffer) // 3)
    decode = generate(shapes_of([21, TEXT, 21]))
    rows = list[tuple[Any, ...]]()
    for count in range(1, 6):
        assert decode(buffer, 0, len(buffer), rows) == len(buffer)
        assert rows == [(0, "text", 0)] * (count * 2 * LEAST_ROWS)
        assert len(made) == (count >= 3)


@pytest.mark.parametrize("length", [10, 100, 300])
def test_answers_of_one_row_each_are_not_taken_for_many_rows(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    made = sources(monkeypatch)
    decode = generate(shapes_of([INT4, TEXT, INT4, TEXT, INT4, TEXT, INT4]))
    message = row([bytes(4), b"x" * length, bytes(4), b"", bytes(4), b"", bytes(4)])
    answer = message + b"C\0\0\0\x0dSELECT 1\0"
    rows = list[tuple[Any, ...]]()
    assert decode(answer * 20, 0, 20 * len(answer), rows) == len(message)
    assert len(rows) == 1
    assert not made
    assert decode(message * 20, 0, 20 * len(message), rows) == 20 * len(message)
    assert len(made) == 1


def test_layouts_are_shared_by_all_who_have_such_rows() -> None:
    assert layouts_of(("i", "text")) is layouts_of(("i", "text"))


def test_a_layout_is_learned_of_a_row() -> None:
    layouts = Layouts(("i", "text", "text"))
    values = [bytes(4), b"four", None]
    message = row(values)
    key = message[4]
    unpack, lengths, nulls = layouts.by_key[key]
    assert unpack(message, 0) == (0, 0, 0, 0, b"", 0, b"", 0, b"")
    assert (lengths, nulls) == ((), False)
    assert layouts.learn(key, b"before" + message, 6)
    unpack, lengths, nulls = layouts.by_key[key]
    assert unpack(message, 0) == (68, len(message) - 1, 3, 4, 0, 4, b"four", -1, b"")
    assert (lengths, nulls) == ((len(message) - 1, 4, 4, -1), True)
    message = row([None, None, b"five5"])
    assert layouts.learn(message[4], message, 0)
    unpack, lengths, nulls = layouts.by_key[message[4]]
    assert unpack(message, 0) == (68, len(message) - 1, 3, -1, b"", -1, b"", 5, b"five5")
    assert (lengths, nulls) == ((len(message) - 1, -1, -1, 5), True)


@pytest.mark.parametrize(
    "message",
    [
        row([bytes(4), b"text"]),  # another number of columns
        row([bytes(4), b"text", b"x" * 4_096]),  # too long
        row([bytes(5), b"text", b"x"]),  # a width that is none
        row([bytes(4), b"text", b"x"])[:8]
        + b"\xff\xff\xff\xfe"
        + bytes(20),  # a length that is none
        row([bytes(4), b"text", b"x"]).replace(
            b"\0\0\0\4text", b"\xff\xff\xff\xfetext"
        ),  # the same
        row([bytes(4), b"text", b"x"]).replace(b"\0\0\0\1x", b"\0\0\0\2xx"),  # ends elsewhere
    ],
)
def test_nothing_is_learned_of_what_is_no_row_of_these(message: bytes) -> None:
    layouts = Layouts(("i", "text", "text"))
    before = list(layouts.by_key)
    assert not layouts.learn(message[4], message, 0)
    assert layouts.by_key == before


def test_layouts_are_forgotten_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "MOST_VALUES", 6)
    layouts = Layouts(("i", "text"))
    messages = [row([bytes(4), b"x" * n]) for n in range(4)]
    known = []
    for message in messages:
        assert layouts.learn(message[4], message, 0)
        known.append(sum(lengths != () for _, lengths, _ in layouts.by_key))
    assert known == [1, 2, 3, 1]


def test_a_layout_that_another_took_the_place_of_is_put_back() -> None:
    layouts = Layouts(("text", "text"))
    first, second, third = (row([b"x" * n, b"y" * (9 - n)]) for n in (3, 5, 7))
    key = first[4]
    for message in (first, second):
        assert not layouts.recall(key, message, 0)
        assert layouts.learn(key, message, 0)
    known = layouts.by_key[key]
    assert layouts.recall(key, b"before" + first, 6)
    assert layouts.by_key[key][1] == (len(first) - 1, 3, 6)
    # No other row, none that is cut, none with another number of columns.
    for other in (first, third, second[:-1], second[:6] + b"\3" + second[7:]):
        assert not layouts.recall(key, other, 0)
    assert layouts.recall(key, second, 0)
    assert layouts.by_key[key] is known


def test_nothing_is_put_back_of_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = Layouts(("text",))
    messages = [row([b"x" * n]) for n in range(3)]
    for message in messages[:2]:
        assert layouts.learn(0, message, 0)
    monkeypatch.setattr(layouts, "_room", 0)
    assert layouts.learn(0, messages[2], 0)
    assert not any(layouts.recall(0, message, 0) for message in messages)


def test_rows_of_two_layouts_in_turns_are_learned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = list[bytes]()

    def learn(self: Layouts, key: int, buffer: bytes, position: int) -> bool:
        learned.append(buffer[position:])
        return taught(self, key, buffer, position)

    taught = Layouts.learn
    monkeypatch.setattr(Layouts, "learn", learn)
    keyed.layouts_of.cache_clear()
    decode = generate(shapes_of([TEXT, TEXT]))
    one, other = ([b"x" * n, b"y" * (30 - n)] for n in (9, 11))
    rows = list[tuple[Any, ...]]()
    buffer = (row(one) * 5 + row(other) * 5) * 40
    assert decode(buffer, 0, len(buffer), rows) == len(buffer)
    assert rows == ([("x" * 9, "y" * 21)] * 5 + [("x" * 11, "y" * 19)] * 5) * 40
    assert len(learned) == 2


def lessons(learner: Learner, earned: int) -> list[bool]:
    """Whether it learned, lesson after lesson, with so many rows between them, until it rests."""
    rows = list[Any]()
    learned = list[bool]()
    while not learner.rests() and len(learned) < 1000:
        message = row([b"x" * (len(learned) % 3)])  # none of the two that were there before
        learned.append(learner.learn(0, message, 0, rows))
        rows += [()] * earned
    return learned


def rests(learner: Learner) -> int:
    """For how many runs more; `lessons` has seen the first."""
    count = 1
    while learner.rests():
        count += 1
    return count


def test_who_learns_in_vain_rests_ever_longer() -> None:
    learner = Learner(Layouts(("text",)))
    found = []
    for _ in range(12):
        assert lessons(learner, 0) == [True] * (Learner.START // Learner.COST) + [False]
        found.append(rests(learner))
    assert found == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]


def test_who_earns_what_a_lesson_costs_goes_on() -> None:
    learner = Learner(Layouts(("text",)))
    assert len(lessons(learner, Learner.COST - 1)) == Learner.START - Learner.COST + 2
    assert rests(learner) == 2
    assert lessons(learner, Learner.COST) == [True] * 1000


def test_what_is_put_back_costs_less_than_a_lesson() -> None:
    learner = Learner(Layouts(("text",)))
    messages = [row([b"x"]), row([b"xx"])]
    assert [learner.learn(0, message, 0, []) for message in messages] == [True] * 2
    left = Learner.START - 2 * Learner.COST
    recalled = left // Learner.RECALLED
    for n in range(recalled):
        assert learner.learn(0, messages[n % 2], 0, [])
    assert not learner.learn(0, messages[recalled % 2], 0, [])
    assert learner.rests()


def test_a_good_time_makes_up_for_bad_ones() -> None:
    learner = Learner(Layouts(("text",)))
    message = row([b"x"])
    for _ in range(5):
        lessons(learner, 0)
        rests(learner)
    assert learner.learn(message[4], message, 0, [()] * Learner.MOST)
    assert learner.learn(message[4], message, 0, [()] * 2)  # of another result
    assert len(lessons(learner, 0)) == 1 + (Learner.MOST + 2) // Learner.COST - 2
    assert rests(learner) == 2


def test_texts_of_all_lengths_and_none_that_comes_again() -> None:
    """Learning does not pay: the same rows all the same, and few layouts."""
    oids = [TEXT, TEXT]
    rows = [[b"x" * (n * 7 % 50), b"y" * (n * 11 % 60)] for n in range(2000)]
    plain, generated = pair(oids)
    buffer = b"".join(map(row, rows))
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_the_source() -> None:
    """The docstring of the module shows it; here it is whole."""
    assert keyed.__doc__ is not None
    shown = keyed.__doc__.partition("the source reads:\n\n")[2]
    source = keyed_source(["i", "text", "q~"])
    assert "".join(line[4:] for line in shown.splitlines(keepends=True)).rstrip() == source.rstrip()
