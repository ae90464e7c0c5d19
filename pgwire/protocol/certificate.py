"""What of a server's certificate binds a login to its TLS connection (RFC 5929, 4.1).

Knows just enough DER to find the signature's algorithm in a certificate (RFC 5280); must not
know TLS, which has judged the certificate already. The hash is the one that the signature uses,
and SHA-256 where that is MD5 or SHA-1. Of what has no such hash (Ed25519, Ed448, ML-DSA), of
what is unknown and of what is malformed there is no binding: a guess would be one that the
server does not share, and would look like an attack (docs/decisions/0015-authentication.md).

A reader of our own, of some 40 lines, and not asn1crypto's, which answers SHA-512 for Ed25519.
"""

from __future__ import annotations

import hashlib

_SEQUENCE, _OID, _PSS_HASH = 0x30, 0x06, 0xA0

# Arcs 1.2.840.113549.1.1, 1.2.840.10045.4, 1.2.840.10040.4 and 2.16.840.1.101.3.4.3, encoded.
_RSA = bytes.fromhex("2a864886f70d0101")
_ECDSA = bytes.fromhex("2a8648ce3d04")
_DSA = bytes.fromhex("2a8648ce3804")
_NIST = bytes.fromhex("6086480165030403")
# 2.16.840.1.101.3.4.2 and 1.3.14.3.2: hashes by themselves, as the parameters of RSA-PSS have them.
_HASHES = bytes.fromhex("6086480165030402")
_OIW = bytes.fromhex("2b0e0302")

_RSA_PSS = _RSA + b"\x0a"
_SHA2 = ("sha224", "sha256", "sha384", "sha512")
_SHA3 = ("sha3_224", "sha3_256", "sha3_384", "sha3_512")
_WEAK = {"md5", "sha1"}

_SIGNATURES = {
    _RSA + b"\x04": "md5",
    _RSA + b"\x05": "sha1",
    _RSA + b"\x0e": "sha224",
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0f": "sha512_224",
    _RSA + b"\x10": "sha512_256",
    _ECDSA + b"\x01": "sha1",
    **{_ECDSA + bytes((3, i)): name for i, name in enumerate(_SHA2, 1)},
    _DSA + b"\x03": "sha1",
    **{_NIST + bytes((i,)): name for i, name in enumerate(_SHA2, 1)},  # DSA
    **{_NIST + bytes((i,)): name for i, name in enumerate(_SHA3, 5)},  # DSA
    **{_NIST + bytes((i,)): name for i, name in enumerate(_SHA3, 9)},  # ECDSA
    **{_NIST + bytes((i,)): name for i, name in enumerate(_SHA3, 13)},  # RSA
}
_DIGESTS = {
    _OIW + b"\x1a": "sha1",
    _HASHES + b"\x04": "sha224",
    _HASHES + b"\x01": "sha256",
    _HASHES + b"\x02": "sha384",
    _HASHES + b"\x03": "sha512",
    _HASHES + b"\x05": "sha512_224",
    _HASHES + b"\x06": "sha512_256",
    **{_HASHES + bytes((i,)): name for i, name in enumerate(_SHA3, 7)},
}


def end_point(certificate: bytes) -> bytes | None:
    """The data of tls-server-end-point for this certificate (DER); None where none is defined."""
    name = hash_name(certificate)
    # Python's OpenSSL may lack what the server's has: then the two cannot agree.
    if name is None or name not in hashlib.algorithms_available:
        return None
    return hashlib.new(name, certificate).digest()


def hash_name(certificate: bytes) -> str | None:
    """hashlib's name of the hash that a binding to this certificate (DER) uses, if there is one."""
    try:
        name = _signature_hash(certificate)
    except (ValueError, IndexError):
        return None
    return "sha256" if name in _WEAK else name


def _signature_hash(certificate: bytes) -> str | None:
    """Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }."""
    body, _ = _element(certificate, _SEQUENCE)
    _, rest = _element(body, _SEQUENCE)
    algorithm, _ = _element(rest, _SEQUENCE)
    oid, parameters = _element(algorithm, _OID)
    return _pss_hash(parameters) if oid == _RSA_PSS else _SIGNATURES.get(oid)


def _pss_hash(parameters: bytes) -> str | None:
    """RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm DEFAULT sha1, … } (RFC 4055, 3.1)."""
    fields, _ = _element(parameters, _SEQUENCE)
    if fields[:1] != bytes((_PSS_HASH,)):
        return "sha1"
    algorithm, _ = _element(fields, _PSS_HASH)
    oid, _ = _element(_element(algorithm, _SEQUENCE)[0], _OID)
    return _DIGESTS.get(oid)


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The contents of the first element, which must have this tag, and what follows it.

    Raises: ValueError, IndexError: there is none, or it is cut.
    """
    if data[0] != tag:
        raise ValueError
    length, start = data[1], 2
    if length >= 0x80:  # the low bits say how many bytes hold the length
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if start + length > len(data):
        raise ValueError
    return data[start : start + length], data[start + length :]
