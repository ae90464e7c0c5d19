"""Certificates signed by every algorithm, as DER by name.

`certificates.pem` was made by OpenSSL 3.0: `openssl req -x509`, with each algorithm in turn.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_END = "-----END CERTIFICATE-----\n"


def _read() -> Iterator[tuple[str, bytes]]:
    text = Path(__file__).with_name("certificates.pem").read_text()
    for part in text.split(_END)[:-1]:
        name, pem = part.split("\n", 1)
        yield name, ssl.PEM_cert_to_DER_cert(pem + _END)


CERTIFICATES = dict(_read())
