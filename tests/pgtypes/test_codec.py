"""How misfits are described: enough to find the mistake, nothing that may be secret."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from pgwire.pgtypes.codec import misfit


class Count(int):
    def __str__(self) -> str:
        raise AssertionError("a subclass's own str() is not called")


@pytest.mark.parametrize(
    ("value", "described"),
    [
        (70000, "int 70000"),
        (1.5, "float 1.5"),
        (Decimal("1.50"), "Decimal 1.50"),
        (date(2024, 2, 29), "date 2024-02-29"),
        (2**256, "int of 257 bits"),
        (-(10**5000), "int of 16610 bits"),
        (10**50, "int 10000…"),
        (Count(7), "Count"),
        (True, "bool"),
        ("secret", "str"),
        (b"secret", "bytes"),
        ({"secret": 1}, "dict"),
        (None, "NoneType"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_misfit_names_the_type_and_only_harmless_values(value: Any, described: str) -> None:
    reason = str(misfit("something", value))
    if described.endswith("…"):
        described = "int 1" + "0" * 38 + "…"
        assert len(described) == 4 + 40
    assert reason == f"expected something, got {described}"


def test_a_hint_follows_the_reason() -> None:
    assert str(misfit("int", "1", "convert it")) == "expected int, got str; convert it"
