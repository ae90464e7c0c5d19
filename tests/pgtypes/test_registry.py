"""All codecs by OID; and what holds for every single one of them."""

from __future__ import annotations

import contextlib
import gc
import json
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta, timezone
from decimal import Decimal
from functools import partial
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Codec, TypeRegistry, oids
from pgwire.pgtypes.codec import encoded
from pgwire.pgtypes.registration import Registrations
from pgwire.protocol.statement import Statement
from tests.pgtypes.helpers import CODECS, MOOD, OIDS, Layer, decode, exactly, reason

REGISTRY = TypeRegistry()
ALL = [*CODECS.values(), REGISTRY.codec(12345)]
TEXT_RESULTS = {
    # Written by PostgreSQL in ways that no program could guess from binary.
    "money", "xml", "regproc", "regprocedure", "regoper", "regoperator", "regclass", "regtype",
    "regconfig", "regdictionary", "regnamespace", "regrole", "regcollation",
    # Without a binary format, or with one that nobody outside could read.
    "aclitem", "tsvector", "tsquery", "gtsvector", "pg_node_tree", "pg_ndistinct",
    "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
}  # fmt: skip
each_codec = pytest.mark.parametrize("codec", ALL, ids=lambda codec: codec.name)


def test_every_constant_has_its_codec() -> None:
    assert len(CODECS) == len(OIDS)
    for name, oid in OIDS.items():
        codec = TypeRegistry().codec(oid)
        assert codec.oid == oid
        assert codec.name == (name.lower().replace("_array", "[]") if name.isupper() else name)


def test_codecs_of_arrays_belong_to_their_elements() -> None:
    elements = {codec.array_oid: codec for codec in ALL if codec.array_oid}
    names = [name for name in OIDS if name.endswith(("_ARRAY", "[]"))]
    assert elements.keys() == {OIDS[name] for name in names}
    for oid, element in elements.items():
        codec = TypeRegistry().codec(oid)
        assert codec.name == f"{element.name}[]"
        assert codec.array_oid == 0
        assert codec.has_binary == element.has_binary
        assert codec.binary_results == element.binary_results
        assert codec.is_open == element.is_open
    for name, (oid, array_oid) in oids.REST.items():
        assert CODECS[name].array_oid == array_oid, (name, oid)


def test_a_codec_is_made_once() -> None:
    registry = TypeRegistry()
    assert registry.codec(oids.INT4_ARRAY) is registry.codec(oids.INT4_ARRAY)
    assert registry.codec(oids.INT4) is TypeRegistry().codec(oids.INT4)


def test_unknown_types_leave_nothing_behind() -> None:
    registry = TypeRegistry()
    assert registry.codec(99999) is not registry.codec(99999)
    assert registry.known(99999) is None
    assert registry.codec(99999).name == "type 99999"


def test_which_types_are_asked_for_in_text() -> None:
    found = {codec.name for codec in ALL if not codec.binary_results}
    arrays = {f"{name}[]" for name in TEXT_RESULTS if CODECS[name].array_oid}
    numeric = {"numeric", "numrange", "nummultirange"}
    numeric |= {f"{name}[]" for name in numeric}
    assert found == TEXT_RESULTS | arrays | numeric | {"type 12345"}


def test_which_types_have_no_binary() -> None:
    found = {codec.name for codec in ALL if not codec.has_binary}
    arrays = {f"{name}[]" for name in TEXT_RESULTS if CODECS[name].array_oid}
    assert found == TEXT_RESULTS | arrays | {"type 12345"}


def test_which_types_take_text_as_a_value() -> None:
    assert {codec.name for codec in ALL if codec.takes_str} == {
        "text", "varchar", "bpchar", "name", "unknown", "char", "json", "jsonb", "refcursor",
        "cstring",
    }  # fmt: skip
    assert {codec.name for codec in ALL if codec.is_json} == {"json", "jsonb"}


def test_every_type_says_what_it_gives() -> None:
    """For the documentation; those of arrays follow from their elements."""
    for codec in ALL:
        assert codec.name.endswith("[]") or codec.gives or codec.name.endswith("range")


def test_only_boxes_are_not_separated_by_commas() -> None:
    assert {codec.name: codec.delimiter for codec in ALL if codec.delimiter != ","} == {"box": ";"}


# What holds for every codec


# Inputs are made once, and given to all: to make one takes a hundred times as long as to read it.
many = settings(max_examples=5 * settings().max_examples)


def each(function: Callable[[Codec], object]) -> None:
    for codec in ALL:
        try:
            function(codec)
        except DataError:
            pass
        except Exception as error:
            error.add_note(f"by the codec of {codec.name}")
            raise


@many
@given(data=st.binary(max_size=64), prefix=st.binary(max_size=3))
def test_no_bytes_raise_anything_but_a_data_error(data: bytes, prefix: bytes) -> None:
    buffer = prefix + data + b"\xff"
    each(lambda codec: codec.decode(buffer, len(prefix), len(prefix) + len(data)))


@many
@given(text=st.text() | st.text('{}[]:=,"\\NUL0123456789-+.: eTZBCP()'))
def test_no_text_raises_anything_but_a_data_error(text: str) -> None:
    each(lambda codec: codec.decode_text(text))


@many
@given(has_null=st.binary(max_size=1), rest=st.binary(max_size=40))
def test_damaged_arrays_raise_nothing_but_data_errors(has_null: bytes, rest: bytes) -> None:
    """A valid header keeps the damage from being found at once."""

    def read_array(codec: Codec) -> None:
        if codec.array_oid:
            header = b"\0\0\0\1\0\0\0\0" + codec.oid.to_bytes(4) + b"\0\0\0" + has_null
            buffer = header + b"\0\0\0\1" + rest
            REGISTRY.codec(codec.array_oid).decode(buffer, 0, len(buffer))

    each(read_array)


class Tricky(Sequence[Any]):
    """A sequence that gives nothing it promises."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: Any) -> Any:
        raise IndexError


VALUES: list[Any] = [
    5, 2**70, 1.5, float("nan"), float("inf"), b"x", [1], [[None]], {"a": 1}, {1}, True, 1j,
    Decimal("NaN"), Decimal("sNaN"), Decimal("1e99999"), (), (1,), (1, "x"), [[1], [2, 3]], [()],
    [b"x", None], [[]], range(3), Tricky(), timedelta.max, memoryview(b""), bytearray(b"\0"),
    object(), type, ..., len, iter(()), NotImplemented, Exception("secret"), frozenset({(1, 2)}),
]  # fmt: skip


@each_codec
def test_no_value_raises_anything_but_a_data_error(codec: Codec) -> None:
    for value in VALUES:
        for function in (codec.encode, codec.literal, partial(encoded, codec)):
            with contextlib.suppress(DataError):
                function(value)


@each_codec
def test_no_secret_gets_into_words(codec: Codec) -> None:
    secrets: list[Any] = [
        "secret\0", "secret\udc80", "'secret", b"secret", bytearray(b"secret"),
        {"secret": "secret"}, ["secret\0"], [b"secret"], ("secret",), {"secret"},
        Exception("secret"), {"a": {b"secret"}},
    ]  # fmt: skip
    for value in secrets:
        for function in (codec.encode, codec.literal):
            with contextlib.suppress(DataError):
                function(value)
                continue
            assert "secret" not in reason(function, value)


@each_codec
def test_no_secret_of_the_servers_gets_into_words(codec: Codec) -> None:
    for text in ("secret", '{"secret', '("secret",', '"secret', "{secret}", "[secret", "(secret)"):
        with contextlib.suppress(DataError):
            codec.decode_text(text)
            continue
        assert "secret" not in reason(codec.decode_text, text)
        for data in (text.encode(), b"\1" + text.encode()):
            with contextlib.suppress(DataError):
                decode(codec, data)
                continue
            assert "secret" not in reason(decode, codec, data)


@each_codec
def test_long_damage_is_found_in_good_time(codec: Codec) -> None:
    before = perf_counter()
    for piece in ("(", "{", '{"', "\\", '"', "1", "-", ",", "[1:1]", "{{1}", "1e", '"\\a', "a=>b"):
        text = piece * (100_000 // len(piece))
        with contextlib.suppress(DataError):
            codec.decode_text(text)
        with contextlib.suppress(DataError):
            decode(codec, text.encode())
    assert perf_counter() - before < 10


# Variants and settings


def test_a_variant_shares_what_was_learned() -> None:
    registry = TypeRegistry(json_loads=lambda text: text, json_dumps=lambda value: "mine")
    there = registry.variant(timezone=timezone(timedelta(hours=2)))
    registry.catalog.learn([MOOD])
    assert there.codec(MOOD.oid).name == "mood"
    assert there.registrations is registry.registrations
    assert exactly(there.codec(oids.TIMESTAMPTZ).decode_text("2024-01-01 00:00:00+00").hour) == (
        "int 2"
    )
    assert there.codec(oids.JSON).decode_text("x") == "x"
    assert there.codec(oids.JSON).encode({}) == b"mine"
    layer = Registrations()
    other = there.variant(registrations=layer)
    assert other.timezone is there.timezone
    assert other.registrations is layer


def test_a_variant_keeps_its_origin_alive_and_not_the_other_way_round() -> None:
    registry = TypeRegistry()
    variant = registry.variant()
    of_registry, of_variant = weakref.ref(registry), weakref.ref(variant)
    del registry
    gc.collect()
    assert of_registry() is not None
    del variant
    gc.collect()
    assert of_registry() is of_variant() is None


def test_reset_makes_codecs_anew() -> None:
    registry = TypeRegistry()
    codec, epoch = registry.codec(oids.INT4_ARRAY), registry.epoch
    registry.reset()
    assert registry.epoch is not epoch
    assert registry.codec(oids.INT4_ARRAY) is not codec
    assert json.loads(encoded(registry.codec(oids.JSON), {"a": 1})) == {"a": 1}


@pytest.mark.parametrize("format", ["text", "binary"])
def test_an_encoder_of_text_is_not_passed_over(format: Any) -> None:
    """A statement that is used again writes text by itself where it can."""
    layer = Layer()

    def encode(value: str) -> Any:
        return value.upper() if format == "text" else value.upper().encode()

    layer.register_type("text", encode=encode, format=format)
    statement = Statement(b"s\0", "select $1", (oids.TEXT,), (), layer.registry)
    for _ in range(2):
        bind = statement.bind_query(["secret"])
        assert b"SECRET" in bind
        assert b"secret" not in bind
        statement.generate()
    assert decode(layer[oids.TEXT], b"x") == "x"
