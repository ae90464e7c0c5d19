"""All codecs by OID.

Knows which types there are and what a user may set about them. Must not know a format, nor
any connection.

Codecs that depend on the settings are made anew for each registry, the others are shared.
Those of arrays are made when first asked for. The codec of a type that pgwire does not know
is not kept: a server could name four thousand million of them.
"""

from __future__ import annotations

import json
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import bytea, fixed, interval, jsons, numeric, temporal, text, uuids
from pgwire.pgtypes.arrays import array_codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.pgtypes.codec import Codec


class TypeRegistry:
    """PostgreSQL's types, and how their values look in Python.

    `timezone` is that of the datetimes that timestamptz gives. `json_loads` reads the text
    of json and jsonb, `json_dumps` writes it, as `str` or as UTF-8 bytes.
    """

    def __init__(
        self,
        *,
        timezone: tzinfo = UTC,
        json_loads: Callable[[str], Any] = json.loads,
        json_dumps: Callable[[Any], str | bytes] = json.dumps,
    ) -> None:
        codecs = (
            *fixed.CODECS,
            *text.CODECS,
            *temporal.codecs(timezone),
            *jsons.codecs(json_loads, json_dumps),
            numeric.CODEC,
            bytea.CODEC,
            interval.CODEC,
            uuids.CODEC,
        )
        self._codecs = {codec.oid: codec for codec in codecs}
        self._elements = {codec.array_oid: codec for codec in codecs if codec.array_oid}

    def codec(self, oid: int) -> Codec:
        """The codec of this type. Never fails: an unknown type gets one of literals (`str`)."""
        found = self._codecs.get(oid)
        if found is not None:
            return found
        element = self._elements.get(oid)
        if element is None:
            return text.unknown_codec(oid)
        # Two threads may both make it; either one serves.
        made = self._codecs[oid] = array_codec(element)
        return made
