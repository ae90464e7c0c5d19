"""What is known of one database's types: who hears of it, and what codecs are made of it."""

from __future__ import annotations

import contextlib
import gc
import threading
from time import perf_counter
from typing import Any
from weakref import WeakSet

import pytest

from pgwire.errors import DataError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.catalog import Catalog, TypeInfo
from pgwire.pgtypes.extensions import EXTENSIONS
from tests.pgtypes.helpers import CODECS, OIDS, round_trip

MOOD = TypeInfo(70_000, "public", "mood", "e", 70_001, labels=("sad", "ok"))
MOODS = TypeInfo(70_001, "public", "_mood", "a", part=70_000)
PAIR = TypeInfo(
    70_010, "public", "pair", "c", 70_011,
    attribute_names=("mood", "number"), attribute_types=(70_000, oids.INT4),
)  # fmt: skip
PAIRS = TypeInfo(70_011, "public", "_pair", "a", part=70_010)
OVER = TypeInfo(70_020, "public", "over", "d", 70_021, part=70_011)
OVER_OVER = TypeInfo(70_022, "public", "over_over", "d", 70_023, part=70_020)
OVERS = TypeInfo(70_023, "public", "_over_over", "a", part=70_022)
SPAN = TypeInfo(70_030, "public", "span", "r", 0, part=oids.FLOAT8)
SPANS = TypeInfo(70_031, "public", "spans", "m", 0, part=70_030)
PLAIN = TypeInfo(70_040, "public", "plain", "b", 70_041, delimiter=";")
PLAINS = TypeInfo(70_041, "public", "_plain", "a", part=70_040)
CITEXT = TypeInfo(70_050, "public", "citext", "b", 70_051, delimiter="|")
EVERYTHING = (
    MOOD, MOODS, PAIR, PAIRS, OVER, OVER_OVER, OVERS, SPAN, SPANS, PLAIN, PLAINS, CITEXT,
)  # fmt: skip


def registry_of(*infos: TypeInfo) -> TypeRegistry:
    registry = TypeRegistry()
    registry.catalog.learn(infos)
    return registry


class Told:
    """A registry that counts how often it was told."""

    def __init__(self) -> None:
        self.times = 0

    def reset(self) -> None:
        self.times += 1


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
def told(catalog: Catalog) -> Told:
    registry: Any = Told()
    catalog.join(registry)
    return registry  # type: ignore[no-any-return]


def test_the_parts_of_a_type() -> None:
    assert MOOD.parts == ()
    assert PAIR.parts == (70_000, 23)
    assert TypeInfo(1, "s", "d", "d", part=23).parts == (23,)


def test_what_is_new_disturbs_nobody(catalog: Catalog, told: Told) -> None:
    catalog.learn([MOOD, PAIR])
    catalog.learn([MOOD])
    catalog.learn([])
    assert catalog.infos == {70_000: MOOD, 70_010: PAIR}
    assert told.times == 0


def test_what_has_changed_is_told_once(catalog: Catalog, told: Told) -> None:
    catalog.learn([MOOD, PAIR])
    changed = MOOD._replace(labels=("sad",)), PAIR._replace(name="couple")
    catalog.learn(changed)
    assert told.times == 1
    assert tuple(catalog.infos.values()) == changed


def test_what_is_forgotten_is_told(catalog: Catalog, told: Told) -> None:
    catalog.learn([MOOD, PAIR])
    catalog.forget([70_000, 99_999])
    assert catalog.infos == {70_010: PAIR}
    assert told.times == 1
    catalog.forget([70_000, 99_999])
    catalog.forget([])
    assert told.times == 1
    catalog.forget()
    assert catalog.infos == {}
    assert told.times == 2
    catalog.forget()
    assert told.times == 2


def test_a_catalog_keeps_no_registry_alive(catalog: Catalog) -> None:
    registry = TypeRegistry(catalog=catalog)
    assert len(catalog._registries) == 1
    del registry
    gc.collect()
    assert len(catalog._registries) == 0


def test_a_registry_that_joins_meanwhile_spoils_nothing(catalog: Catalog, told: Told) -> None:
    class Busy(WeakSet[Any]):
        interruptions = 2

        def __iter__(self) -> Any:
            if self.interruptions:
                self.interruptions -= 1
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    catalog._registries = Busy([told])
    catalog.tell()
    assert told.times == 1


def test_many_threads_learn_and_join_at_once(catalog: Catalog) -> None:
    registries: list[TypeRegistry] = []
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(50):
                registries.append(TypeRegistry(catalog=catalog))
                catalog.learn([MOOD._replace(labels=(str(number), str(turn)))])
                catalog.forget([70_000])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(catalog._registries) == len(registries) == 200


# What the catalogue says


def test_types_that_were_looked_up() -> None:
    registry = registry_of(*EVERYTHING)
    assert registry.missing([info.oid for info in EVERYTHING]) == set()
    names = [registry.codec(info.oid).name for info in EVERYTHING]
    assert names == [
        "mood", "mood[]", "pair", "pair[]", "over", "over_over", "over_over[]", "span", "spans",
        "plain", "plain[]", "citext",
    ]  # fmt: skip
    for info in EVERYTHING:
        codec = registry.codec(info.oid)
        assert (codec.oid, codec.array_oid) == (info.oid, info.array_oid)
        assert registry.codec(info.oid) is codec
        assert registry.known(info.oid) is codec


@pytest.mark.parametrize(
    ("info", "value"),
    [
        (MOOD, "sad"),
        (MOODS, ["sad", None]),
        (PAIR, ("ok", 7)),
        (PAIRS, [("ok", None), None]),
        (OVER, [("ok", None), None]),
        (OVER_OVER, [("ok", 1)]),
        (OVERS, [[("ok", 1)], None, [], [("sad", 2), None]]),
        (PLAIN, "anything"),
        (PLAINS, ["any;thing", None]),
        (CITEXT, "x"),
    ],
)
def test_their_values_come_back(info: TypeInfo, value: Any) -> None:
    codec = registry_of(*EVERYTHING).codec(info.oid)
    assert round_trip(codec, value) == value
    assert isinstance(value, str) or codec.decode_text(codec.literal(value)) == value


def test_ranges_that_were_looked_up() -> None:
    registry = registry_of(*EVERYTHING)
    span = registry.codec(70_030).decode_text("[1.5,)")
    assert (span.lower, span.upper) == (1.5, None)
    assert list(registry.codec(70_031).decode_text("{[1.5,)}")) == [span]


@pytest.mark.parametrize("name", EXTENSIONS)
def test_types_of_extensions_are_known_by_name(name: str) -> None:
    info = TypeInfo(70_060, "anywhere", name, "b", 70_061, delimiter=":")
    codec = registry_of(info).codec(70_060)
    assert (codec.name, codec.oid, codec.array_oid) == (name, 70_060, 70_061)
    assert codec.delimiter == ":"
    other = registry_of(info._replace(kind="e", labels=("a",))).codec(70_060)
    assert other.decode_text("a") == "a"  # of a user's own that is called so


@pytest.mark.parametrize("kind", ["b", "p", "x", ""])
def test_other_kinds_of_types_are_literals(kind: str) -> None:
    for part in (0, oids.INT4):
        codec = registry_of(TypeInfo(70_070, "public", "odd", kind, part=part)).codec(70_070)
        assert codec.name == "odd"
        assert not codec.has_binary


@pytest.mark.parametrize("kind", ["a", "d", "r", "m"])
def test_types_made_of_nothing_are_literals(kind: str) -> None:
    assert not registry_of(TypeInfo(70_070, "public", "odd", kind)).codec(70_070).has_binary


def test_the_catalogue_cannot_change_what_is_built_in() -> None:
    lies = [TypeInfo(oid, "public", "lie", "e", labels=("x",)) for oid in OIDS.values()]
    registry = registry_of(*lies)
    for name, codec in CODECS.items():
        assert registry.codec(codec.oid).name == name


# What is missing


def test_what_has_to_be_learned() -> None:
    registry = TypeRegistry()
    assert registry.missing(OIDS.values()) == set()
    assert registry.missing([70_023, 99_999, 99_999, 23]) == {70_023, 99_999}
    registry.catalog.learn([OVERS])
    assert registry.missing([70_023]) == {70_022}
    registry.catalog.learn([OVER_OVER, OVER])
    assert registry.missing([70_023]) == {70_011}
    registry.catalog.learn([PAIRS, PAIR])
    assert registry.missing([70_023, 70_010]) == {70_000}
    registry.catalog.learn([MOOD])
    assert registry.missing([70_023]) == set()


def test_a_type_of_unknown_parts_is_unknown_and_so_is_what_is_made_of_it() -> None:
    registry = registry_of(PAIR, PAIRS, OVER)
    epoch = registry.epoch
    for info in (OVER, PAIRS, PAIR):
        assert registry.known(info.oid) is None
        codec = registry.codec(info.oid)
        assert (codec.name, codec.oid, codec.array_oid) == (info.name, info.oid, info.array_oid)
        assert not codec.binary_results
        assert registry.missing([info.oid]) == {MOOD.oid}
    registry.catalog.learn([MOOD])
    assert registry.epoch is epoch
    for info in (OVER, PAIRS, PAIR):
        assert registry.missing([info.oid]) == set()
        assert registry.codec(info.oid).binary_results


def test_a_forgotten_part_is_missing_again() -> None:
    registry = registry_of(*EVERYTHING)
    codec = registry.codec(PAIR.oid)
    registry.catalog.forget([MOOD.oid])
    assert registry.codec(PAIR.oid) is not codec
    assert registry.missing([PAIR.oid]) == {MOOD.oid}
    registry.catalog.learn([MOOD])
    assert registry.codec(PAIR.oid).binary_results


def test_a_changed_type_has_everyone_begin_anew() -> None:
    registry = registry_of(*EVERYTHING)
    other = TypeRegistry(catalog=registry.catalog)
    epochs = registry.epoch, other.epoch
    codec = registry.codec(PAIRS.oid)
    registry.catalog.learn([PAIR._replace(attribute_names=("m", "n"))])
    assert registry.epoch is not epochs[0]
    assert other.epoch is not epochs[1]
    assert registry.codec(PAIRS.oid) is not codec
    assert other.codec(PAIRS.oid).decode_text('{"(sad,1)"}')[0].m == "sad"


# Servers that lie


def chain(length: int, kind: str = "d") -> list[TypeInfo]:
    """So many types, each made of the one before; the last has the highest OID."""
    parts = [oids.INT4, *range(80_000, 80_000 + length - 1)]
    return [
        TypeInfo(80_000 + number, "s", f"t{number}", kind, part=part)
        for number, part in enumerate(parts)
    ]


@pytest.mark.parametrize("kind", ["d", "a", "c", "r", "m"])
@pytest.mark.parametrize("from_top", [True, False])
def test_a_chain_without_an_end_is_not_gone_down(kind: str, from_top: bool) -> None:
    infos = chain(10_000, kind)
    if kind == "c":
        infos = [
            info._replace(part=0, attribute_names=("x",), attribute_types=(info.part,))
            for info in infos
        ]
    registry = registry_of(*infos)
    assert registry.missing([infos[-1].oid]) == set()
    wanted = [info.oid for info in (*infos[:200], infos[-1])]
    for oid in reversed(wanted) if from_top else wanted:
        registry.codec(oid)
    known = [oid for oid in wanted if registry.known(oid) is not None]
    assert known == wanted[:32]
    assert registry.codec(wanted[32]).name == "t32"
    with contextlib.suppress(DataError):
        registry.codec(wanted[31]).decode_text("x")


def test_32_types_deep_is_deep_enough() -> None:
    registry = registry_of(*chain(32))
    assert registry.codec(80_031).decode_text("7") == 7


@pytest.mark.parametrize(
    "infos",
    [
        [TypeInfo(80_000, "s", "t", "a", part=80_000)],
        [TypeInfo(80_000, "s", "t", "d", part=80_000)],
        [TypeInfo(80_000, "s", "t", "c", attribute_names=("x",), attribute_types=(80_000,))],
        [TypeInfo(80_000, "s", "t", "a", 80_001, part=80_001),
         TypeInfo(80_001, "s", "u", "a", 80_000, part=80_000)],
        [TypeInfo(80_000 + n, "s", "t", "c", attribute_names=tuple(map(str, range(200))),
                  attribute_types=tuple(range(80_000, 80_200))) for n in range(200)],
    ],
    ids=["array", "domain", "composite", "two", "all of all"],
)  # fmt: skip
def test_types_made_of_themselves_are_literals(infos: list[TypeInfo]) -> None:
    registry = registry_of(*infos)
    before = perf_counter()
    for info in infos:
        assert registry.missing([info.oid]) == set()
        assert registry.known(info.oid) is None
        assert registry.codec(info.oid).decode_text("x") == "x"
    assert perf_counter() - before < 10


# Threads


def test_threads_may_learn_and_read_at_once() -> None:
    catalog = Catalog()
    errors: list[BaseException] = []
    done = threading.Event()

    def learn() -> None:
        for number in range(300):
            catalog.learn([*EVERYTHING, MOOD._replace(labels=(str(number),))])
            catalog.forget([MOOD.oid] if number % 2 else None)
        catalog.learn(EVERYTHING)
        done.set()

    def read(registry: TypeRegistry) -> None:
        try:
            while not done.is_set():
                for info in EVERYTHING:
                    assert registry.codec(info.oid).oid == info.oid
                    registry.missing([info.oid])
            for info in EVERYTHING:
                assert registry.known(info.oid) is not None
        except BaseException as error:
            errors.append(error)

    registries = [TypeRegistry(catalog=catalog) for _ in range(2)]
    threads = [threading.Thread(target=read, args=(registry,)) for registry in registries * 2]
    for thread in (*threads, learner := threading.Thread(target=learn)):
        thread.start()
    for thread in (*threads, learner):
        thread.join()
    assert errors == []


def test_what_a_type_is_made_of(catalog: Catalog) -> None:
    catalog.learn(EVERYTHING)
    catalog.learn([TypeInfo(70_060, "public", "liar", "d", part=70_060)])
    assert catalog.made_of([70_022]) == {70_022, 70_020, 70_011, 70_010, 70_000}
    assert catalog.made_of([70_060, oids.INT4, 99_999]) == {70_060}
