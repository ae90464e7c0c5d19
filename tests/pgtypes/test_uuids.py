"""uuid: quickly made, yet a UUID in every respect."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID, SafeUUID

import pytest
from hypothesis import given, strategies as st

from tests.pgtypes.helpers import CODECS, decode, reason, refused

CODEC = CODECS["uuid"]
SAMPLE = UUID("c49ffea7-b4d1-4b4a-8f3c-2d7ea58e4f4d")


@given(st.uuids())
def test_both_formats_give_the_uuid(value: UUID) -> None:
    assert CODEC.encode(value) == value.bytes
    assert decode(CODEC, value.bytes) == CODEC.decode_text(str(value)) == value


def test_a_decoded_uuid_is_complete() -> None:
    value = decode(CODEC, SAMPLE.bytes)
    assert type(value) is UUID
    assert value.is_safe is SafeUUID.unknown
    assert (hash(value), repr(value), value.version) == (hash(SAMPLE), repr(SAMPLE), 4)
    assert value.fields == SAMPLE.fields
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == SAMPLE
        assert twin.is_safe is SafeUUID.unknown
    with pytest.raises(TypeError):
        value.int = 5  # type: ignore[misc]


def test_only_uuids_are_taken() -> None:
    assert refused(CODEC, SAMPLE.bytes) == "expected uuid.UUID, or str, got bytes"


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(17)])
def test_a_uuid_has_16_bytes(data: bytes) -> None:
    assert f"it has {len(data)} bytes" in reason(decode, CODEC, data)


@pytest.mark.parametrize(
    "text", ["", f"{{{SAMPLE}}}", SAMPLE.hex, f"urn:uuid:{SAMPLE}", str(SAMPLE).upper(), "x" * 36]
)
def test_other_texts_are_refused(text: str) -> None:
    assert "not a valid uuid" in reason(CODEC.decode_text, text)
