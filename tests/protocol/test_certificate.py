"""The binding to a certificate: every algorithm of signatures, and certificates that are none."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import x509  # type: ignore[import-untyped]
from hypothesis import given, strategies as st

from pgwire.protocol.certificate import end_point, hash_name
from tests.support.certificates import CERTIFICATES

# RFC 5929, 4.1: MD5 and SHA-1 count as SHA-256.
HASHES = {
    "dsa-sha1": "sha256",
    "dsa-sha256": "sha256",
    "ecdsa-sha1": "sha256",
    "ecdsa-sha224": "sha224",
    "ecdsa-sha256": "sha256",
    "ecdsa-sha3-256": "sha3_256",
    "ecdsa-sha384": "sha384",
    "ecdsa-sha512": "sha512",
    "ed25519": None,
    "ed448": None,
    "pss-sha1": "sha256",  # by leaving the parameter out, which stands for it
    "pss-sha256": "sha256",
    "pss-sha384": "sha384",
    "pss-sha512": "sha512",
    "rsa-md5": "sha256",
    "rsa-sha1": "sha256",
    "rsa-sha224": "sha224",
    "rsa-sha256": "sha256",
    "rsa-sha3-256": "sha3_256",
    "rsa-sha384": "sha384",
    "rsa-sha512": "sha512",
    "rsa-sha512-224": "sha512_224",
    "rsa-sha512-256": "sha512_256",
}
# asn1crypto knows no hash of these, and a wrong one of Ed25519 and Ed448.
OURS_ALONE = {"ecdsa-sha3-256", "rsa-sha3-256", "rsa-sha512-224", "rsa-sha512-256"}
UNDEFINED = {"ed25519", "ed448"}


def test_every_certificate_has_its_hash() -> None:
    assert {name: hash_name(der) for name, der in CERTIFICATES.items()} == HASHES


@pytest.mark.parametrize("name", sorted(HASHES.keys() - OURS_ALONE - UNDEFINED))
def test_it_is_the_one_that_another_reader_finds(name: str) -> None:
    found = x509.Certificate.load(CERTIFICATES[name])["signature_algorithm"].hash_algo
    assert HASHES[name] == ("sha256" if found in ("md5", "sha1") else found)


@pytest.mark.parametrize("name", sorted(HASHES))
def test_the_whole_certificate_is_hashed(name: str) -> None:
    expected = HASHES[name]
    der = CERTIFICATES[name]
    assert end_point(der) == (None if expected is None else hashlib.new(expected, der).digest())


def test_a_hash_that_this_python_lacks_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "algorithms_available", {"sha256"})
    assert end_point(CERTIFICATES["rsa-sha512-256"]) is None


@pytest.mark.parametrize("name", ["rsa-sha256", "pss-sha256"])
def test_a_certificate_that_is_cut_has_none(name: str) -> None:
    der = CERTIFICATES[name]
    assert {end_point(der[:length]) for length in range(len(der))} == {None}


def test_algorithms_that_nobody_knows_have_none() -> None:
    rsa, pss = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("608648016503040201")
    assert hash_name(CERTIFICATES["rsa-sha256"].replace(rsa, rsa[:-1] + b"\x63")) is None
    assert hash_name(CERTIFICATES["pss-sha256"].replace(pss, pss[:-1] + b"\x63")) is None


@given(st.binary(max_size=200))
def test_whatever_it_is_it_has_a_hash_or_none(data: bytes) -> None:
    assert hash_name(data) is None


@given(st.sampled_from(sorted(CERTIFICATES)), st.data())
def test_a_byte_that_is_wrong_raises_nothing(name: str, data: st.DataObject) -> None:
    der = bytearray(CERTIFICATES[name])
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    assert hash_name(bytes(der)) in {*HASHES.values(), "sha3_224", "sha3_384", "sha3_512"}
