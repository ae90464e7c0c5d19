"""Classes for `row=` whose annotations cannot be evaluated: their fields are known all the same."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, NamedTuple

import pytest

from pgwire.errors import InterfaceError
from pgwire.protocol.mapping import check_row, mapping

# Python lets them stand without this line since 3.14.
_HEADING = "" if sys.version_info >= (3, 14) else "from __future__ import annotations\n"


def wrong() -> type:
    raise ValueError("nobody needs to call this")


def made_up(source: str) -> Any:
    """The class, of a module that has no idea of `Unknown`."""
    names: dict[str, Any] = {
        "__name__": __name__,
        "dataclass": dataclasses.dataclass,
        "NamedTuple": NamedTuple,
        "wrong": wrong,
    }
    exec(compile(_HEADING + source, "made up", "exec", dont_inherit=True), names)
    return names["Made"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("@dataclass\nclass Made:\n id: int\n name: Unknown", id="dataclass"),
        pytest.param("class Made(NamedTuple):\n id: int\n name: Unknown.part[0]", id="named tuple"),
        pytest.param("class Made:\n def __init__(self, id: int, name: Unknown): ...", id="name"),
        pytest.param("class Made:\n def __init__(self, id: int, name: wrong()): ...", id="call"),
    ],
)
def test_annotations_may_name_what_only_type_checkers_know(source: str) -> None:
    made = made_up(source)
    assert [type(row) for row in mapping(made, ("id", "name"))([(1, "a")])] == [made]
    with pytest.raises(InterfaceError) as caught:
        check_row(made, ("id", "color"))
    assert str(caught.value) == (
        "rows cannot become Made: it has no field for column 'color'; "
        "field 'name' has no column (columns: id, color; fields: id, name)"
    )
