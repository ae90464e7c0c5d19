"""The fuzz targets on their corpus, and on what Hypothesis makes of it; bounds for their work.

A file in corpus/NAME/ is one input of the target NAME: a seed, or one that a target has failed on.
Its name says what it shows.
"""

from __future__ import annotations

import random
import tracemalloc
from functools import cache
from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pgwire.pgtypes.codec import encoded, part_literal
from tests.fuzz import rows, sql, values
from tests.fuzz.feed import LONGEST, Feed
from tests.fuzz.targets import TARGETS
from tests.support import backend
from tests.support.layouts import OIDS, layouts_and_rows

if TYPE_CHECKING:
    from collections.abc import Callable

CORPUS = Path(__file__).with_name("corpus")
DICTIONARIES = Path(__file__).with_name("dictionaries")
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
NAMES = sorted(TARGETS)


@cache
def seeds(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def test_every_target_has_seeds_and_all_seeds_have_a_target() -> None:
    assert sorted({path.parent.name for path in FILES}) == NAMES
    assert all(path.parent.parent == CORPUS for path in FILES)


def test_every_dictionary_is_for_some_targets() -> None:
    for path in DICTIONARIES.iterdir():
        assert any(name.partition("_")[0] == path.stem for name in NAMES), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


# ---------------------------------------------------------------- Hypothesis: any bytes


A_FEW_BYTES = st.binary(max_size=4)
NUMBERS = st.sampled_from([-2, -1, 0, 1, 2**31 - 1, 65_535]).map(lambda n: pack("!i", n))


@cache
@st.composite
def damaged(draw: st.DrawFn, target: str) -> bytes:
    """A seed in which something was changed, taken out, repeated, or brought in from another."""
    data = draw(st.sampled_from(seeds(target)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        stop = at + draw(st.sampled_from([0, 0, 1, 2, 4, 16]))
        other = draw(st.sampled_from(seeds(target)))
        begin = draw(st.integers(0, len(other)))
        put_in = data[at:stop] * 2, other[begin:], draw(A_FEW_BYTES), draw(NUMBERS)
        data = data[:at] + put_in[draw(st.integers(0, 3))] + data[stop:]
    return data


@cache
def any_bytes(target: str) -> st.SearchStrategy[bytes]:
    """It is kept: to make it anew takes as long as what is done with what it gives."""
    return st.binary(max_size=100) | damaged(target)


@pytest.mark.parametrize("target", NAMES)
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(any_bytes(target)))


# ---------------------------------------------------------------- Hypothesis: what has a structure

framed = st.builds(
    backend.message, st.sampled_from("RKSNAEZ12DCTtnsIvGHdcV3Wx"), st.binary(max_size=40)
)
well_formed = st.one_of(
    st.sampled_from(
        [
            *(backend.PARSE_COMPLETE, backend.BIND_COMPLETE, backend.CLOSE_COMPLETE),
            *(backend.NO_DATA, backend.EMPTY_QUERY, backend.COPY_DONE, backend.message("s")),
            *(backend.copy_in(0), backend.copy_out(0), backend.copy_data(b"1\n")),
            *(backend.ready("I"), backend.ready("T"), backend.ready("E")),
            *(backend.complete("SELECT 1"), backend.complete("COPY 2"), backend.complete("BEGIN")),
            *(backend.notice(), backend.notification(), backend.parameter_status("a", "b")),
            *(backend.error("22012"), backend.error("26000"), backend.error("57014")),
            *(backend.fatal(), backend.AUTHENTICATION_OK, backend.key_data()),
        ]
    ),
    st.lists(st.sampled_from([*OIDS, 2249, 16_999]), max_size=2).map(
        lambda oids: backend.parameter_description(*oids)
    ),
    st.lists(st.sampled_from([*OIDS, 2249, 16_999]), max_size=3).map(
        lambda oids: backend.row_description(*[backend.column("c", oid) for oid in oids])
    ),
    st.lists(st.none() | st.sampled_from([b"", b"1", bytes(4), bytes(8)]), max_size=3).map(
        lambda items: backend.row(*items)
    ),
)


@pytest.mark.parametrize("target", [name for name in NAMES if name.startswith("session_")])
@given(st.lists(well_formed | framed, max_size=12), st.integers(0, 63))
def test_messages_in_any_order(target: str, said: list[bytes], size: int) -> None:
    TARGETS[target](bytes([size]) + b"".join(said))


@given(layouts_and_rows(most=4), st.integers(0, 7), st.integers(0, 200), st.binary(max_size=3))
def test_rows_that_are_damaged(
    layout: tuple[list[int], list[bytes]], times: int, at: int, put_in: bytes
) -> None:
    oids, messages = layout
    run = b"".join(messages)
    run = run[:at] + put_in + run[at + len(put_in) :]
    head = bytes([len(oids), *map(OIDS.index, oids), times])
    rows.TARGETS["rows"](head + run)
    rows.TARGETS["rows_layouts"](head + run)


_SAMPLES = st.one_of(
    st.none(), st.integers(-(2**31), 2**31 - 1), st.floats(), st.text(max_size=9),
    st.binary(max_size=9), st.dates(), st.datetimes(), st.times(), st.uuids(), st.ip_addresses(),
    st.decimals(allow_nan=False, places=3), st.dictionaries(st.text(max_size=3), st.text()),
    st.lists(st.integers(-9, 9) | st.none(), max_size=4), st.lists(st.floats(-9, 9), min_size=1),
    st.lists(st.text(max_size=4), max_size=4),
)  # fmt: skip


@pytest.mark.parametrize("family", values.FAMILIES)
@given(
    value=_SAMPLES, number=st.integers(0, 99), at=st.integers(0, 40), put_in=st.binary(max_size=2)
)
def test_values_that_are_damaged(
    family: str, value: object, number: int, at: int, put_in: bytes
) -> None:
    """Whatever of these the type takes, in both formats, whole and with something changed."""
    codecs = values.FAMILIES[family]
    codec = codecs[number % len(codecs)]
    try:
        sent, literal = encoded(codec, value), part_literal(codec, value).encode()
    except Exception:  # it does not take it; of what kind the refusal is, is tested elsewhere
        return
    target = values.TARGETS[f"value_{family}"]
    for head, data in ((b"\0", sent if isinstance(sent, bytes) else b""), (b"\1\0", literal)):
        for given_as in (data, data[:at] + put_in + data[at + len(put_in) :]):
            target(bytes([number % len(codecs)]) + head + given_as)


_SQL = ["/*", "*/", "--", "\n", "\r", " ", "(", ")", "'", '"', "\\", ";", "$1", "$$", "set", "x"]
_SQL += [
    "local",
    "transaction",
    ".",
    "=",
    "select",
    "call",
    "create",
    "temp",
    "E'",
    "%s",
    "in",
    "é",
]


@pytest.mark.parametrize("target", [name for name in NAMES if name.startswith("sql_")])
@given(
    st.lists(st.sampled_from(_SQL) | st.text(max_size=3), max_size=15).map("".join),
    st.binary(max_size=12),
)
def test_pieces_of_sql(target: str, text: str, head: bytes) -> None:
    TARGETS[target]((head if target == "sql_hints" else b"\0") + text.encode())


_WORDS = ["password=", "host=", " ", "'", "\\", "=", "uzer", "\t", "postgresql://", "u:", "@", "/"]
_WORDS += ["?", "&", "%41", "%", "[", "]", ",", ":", "port=1", "sslmode=require", "x"]


@pytest.mark.parametrize("target", ["conninfo", "conninfo_secrets", "configuration"])
@given(st.lists(st.sampled_from(_WORDS), max_size=12).map("".join), st.binary(max_size=4))
def test_pieces_of_connection_strings(target: str, text: str, head: bytes) -> None:
    TARGETS[target]((b"\0" if target == "conninfo" else head) + text.encode())


# ---------------------------------------------------------------- bounds

_FACTOR, _BASE = 400, 2_000_000


@pytest.mark.parametrize("target", NAMES)
def test_memory_is_in_proportion_to_the_input(target: str) -> None:
    """Seeds in which every four bytes have been a large number once: no count takes memory."""
    function = TARGETS[target]
    for data in seeds(target):
        function(data)  # what is made once, and kept
    tracemalloc.start()
    try:
        for data in seeds(target):
            for at in random.Random(0).sample(range(len(data) + 1), min(len(data), 6)):
                for number in (b"\x3f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff"):
                    tracemalloc.reset_peak()
                    before, _ = tracemalloc.get_traced_memory()
                    function(data[:at] + number + data[at + len(number) :])
                    _, peak = tracemalloc.get_traced_memory()
                    assert peak - before < _BASE + _FACTOR * len(data)
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- what the targets are made of


def test_a_feed_takes_from_the_front_and_never_runs_dry() -> None:
    feed = Feed(b"\x05\x02ab\x01\xffrest")
    assert feed.below(3) == 2
    assert feed.text() == "ab"
    assert feed.text() == "\udcff"
    assert feed.rest() == b"rest"
    assert (feed.below(9), feed.text(), feed.choose("xy"), feed.rest()) == (0, "", "x", b"")
    assert len(Feed(b"\x3f\x01a\x03bcdend").long()) == 1 + LONGEST // 3 * 3 + 3
    assert Feed(b"\x3f").long() == b""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select 'it''s' -- x\n, \"a\"\"b\"", ["select", "'it''s'", ",", '"a""b"']),
        ("/* /* */ x */ Set E'\\'' $a$ ' $a$ $1", ["set", "E'\\''", "$a$ ' $a$", "$", "1"]),
        ("--x\rset", ["set"]),
        ("'open", ["'open"]),
        ("/* open", []),
    ],
)
def test_the_plain_reader_of_sql(text: str, found: list[str]) -> None:
    assert list(sql.tokens(text)) == found


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (lambda: values.TARGETS["value_fixed"], ValueError),
        (lambda: sql.TARGETS["sql_changes"], ValueError),
    ],
)
def test_a_target_hides_nothing(
    refused: Callable[[], Callable[[bytes], None]],
    why: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object) -> None:
        raise why

    monkeypatch.setattr(values, "_read_binary", fail)
    monkeypatch.setattr(sql, "changes_session", fail)
    with pytest.raises(why):
        refused()(b"")
