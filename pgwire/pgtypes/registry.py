"""All codecs by OID.

Knows which types there are and what a user may set about them. Must not know a format, nor
any connection.

The types that every PostgreSQL has are built in; those of one database are read from its
`Catalog`, which whoever holds a registry fills in (`missing` says with what). Codecs are made
when first asked for, and anew after `reset()`: then `epoch` is another object, by which all
that was made with older codecs knows that it is old.

The codec of a type that is not known is not kept: a server could name four thousand million.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import (
    bytea,
    fixed,
    interval,
    jsons,
    numeric,
    oids,
    temporal,
    text,
    uuids,
)
from pgwire.pgtypes.arrays import any_array_codec, array_codec, vector_codec
from pgwire.pgtypes.catalog import Catalog, TypeInfo
from pgwire.pgtypes.composites import Field, composite_codec, record_codec
from pgwire.pgtypes.enums import enum_codec
from pgwire.pgtypes.families import ELEMENTS, HOMES, RANGES, family
from pgwire.pgtypes.registration import GLOBAL, Registrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgwire.pgtypes.codec import Codec


# How many types deep a type may be: a server that lies could name a chain without an end.
_DEEPEST = 32
_FIXED = (
    *fixed.CODECS,
    *text.CODECS,
    numeric.CODEC,
    bytea.CODEC,
    interval.CODEC,
    uuids.CODEC,
)


def _own_codecs(
    timezone: tzinfo,
    json_loads: Callable[[str], Any],
    json_dumps: Callable[[Any], str | bytes],
    known: Callable[[int], Codec | None],
) -> Iterator[Codec]:
    """The built-in types whose codecs depend on the settings, or on other types'."""
    yield from temporal.codecs(timezone)
    yield from jsons.codecs(json_loads, json_dumps)
    yield vector_codec("int2vector", fixed.INT2)
    yield vector_codec("oidvector", fixed.OID)
    yield any_array_codec(*oids.REST["anyarray"], known)
    yield record_codec(*oids.REST["record"], known)


# Which types there are depends on nothing; a registry makes codecs of its own if it needs them.
_SHARED = {codec.oid: codec for codec in _FIXED}
_OWN = {codec.oid: codec for codec in _own_codecs(UTC, json.loads, jsons.dumps, _SHARED.get)}
_ELEMENTS = {codec.array_oid: oid for oid, codec in (_SHARED | _OWN).items() if codec.array_oid}
_ELEMENTS |= ELEMENTS


class TypeRegistry:
    """PostgreSQL's types, and how their values look in Python.

    `timezone` is that of the datetimes that timestamptz gives. `json_loads` reads the text
    of json and jsonb, `json_dumps` writes it, as `str` or as UTF-8 bytes. Registries may share
    a `catalog`; `registrations` are what users have registered.
    """

    def __init__(
        self,
        *,
        timezone: tzinfo = UTC,
        json_loads: Callable[[str], Any] | None = None,
        json_dumps: Callable[[Any], str | bytes] | None = None,
        catalog: Catalog | None = None,
        registrations: Registrations = GLOBAL,
    ) -> None:
        self._origin: TypeRegistry | None = None  # kept as long as its variants are
        self.catalog = Catalog() if catalog is None else catalog
        self.registrations = registrations
        self.timezone = timezone
        self._json = (json_loads, json_dumps)
        self.reset()
        self.catalog.join(self)
        registrations.join(self)

    def variant(
        self, *, timezone: tzinfo | None = None, registrations: Registrations | None = None
    ) -> TypeRegistry:
        """Another registry of the same types, in another time zone or with other registrations."""
        json_loads, json_dumps = self._json
        made = TypeRegistry(
            timezone=self.timezone if timezone is None else timezone,
            json_loads=json_loads,
            json_dumps=json_dumps,
            catalog=self.catalog,
            registrations=self.registrations if registrations is None else registrations,
        )
        made._origin = self
        return made

    def reset(self) -> None:
        """Make all codecs anew: a type, or what is registered for it, is not what it was."""
        self._codecs: dict[int, Codec] = {}
        self._own: dict[int, Codec] = {}  # that of records has learned what they are made of
        self._heights: dict[int, int] = {}  # how many types deep each of these is
        self.epoch = object()

    def codec(self, oid: int) -> Codec:
        """The codec of this type. Never fails: an unknown type gets one of literals (`str`)."""
        codec = self._codecs.get(oid) or self.known(oid)
        if codec is not None:
            return codec
        info = self.catalog.infos.get(oid)
        if info is None:
            return text.literal_codec(f"type {oid}", oid, 0)
        return text.literal_codec(info.name, oid, info.array_oid, info.delimiter)

    def known(self, oid: int) -> Codec | None:
        """The codec of this type, if it is known, and so is all that it is made of."""
        return self._codecs.get(oid) or self._make(oid, ())

    def missing(self, oids: Iterable[int]) -> set[int]:
        """Which types have to be learned before values of these can be read and written."""
        found = set()
        infos = self.catalog.infos
        waiting = [oid for oid in oids if oid not in self._codecs]
        seen = set(waiting)
        while waiting:
            oid = waiting.pop()
            if oid in _SHARED or oid in _OWN or oid in _ELEMENTS or oid in HOMES or oid in RANGES:
                continue
            info = infos.get(oid)
            if info is None:
                found.add(oid)
                continue
            parts = [part for part in info.parts if part not in seen]
            waiting += parts
            seen.update(parts)
        return found

    # ---------------------------------------------------------------- making codecs

    def _built_in(self, oid: int) -> Codec | None:
        """The codec of a type that every PostgreSQL has, and that is not made of another one."""
        if oid in HOMES:
            return family(HOMES[oid])[oid]
        if oid in _OWN:
            own = self._own  # another thread may reset them meanwhile
            if not own:
                loads, dumps = self._json
                made = _own_codecs(
                    self.timezone, loads or json.loads, dumps or jsons.dumps, self.known
                )
                own.update({codec.oid: codec for codec in made})
            return own[oid]
        return _SHARED.get(oid)

    def _make(self, oid: int, inside: tuple[int, ...]) -> Codec | None:
        """Make the codec of a type that may be a part of others, which are `inside`."""
        codecs, heights = self._codecs, self._heights  # another thread may reset them meanwhile
        if oid in codecs:
            return codecs[oid]
        if oid in inside or len(inside) > _DEEPEST:
            return None
        built_in = self._built_in(oid)
        if built_in is not None:
            codecs[oid] = made = self._registered(built_in, "pg_catalog", None)
            return made
        is_array = oid in _ELEMENTS
        info = None if is_array else RANGES.get(oid) or self.catalog.infos.get(oid)
        if info is None and not is_array:
            return None
        parts = []
        for part_oid in (_ELEMENTS[oid],) if info is None else info.parts:
            part = self._make(part_oid, (*inside, oid))
            if part is None:
                return None
            parts.append(part)
        # Whoever asks for the innermost types first gets no deeper than others.
        height = 1 + max([heights.get(part.oid, 0) for part in parts], default=0)
        if height > _DEEPEST:
            return None
        if info is None:
            made = array_codec(parts[0])
        else:
            made = self._registered(_learned(info, parts), info.schema, info)
        codecs[oid], heights[oid] = made, height
        return made

    def _registered(self, codec: Codec, schema: str, info: TypeInfo | None) -> Codec:
        found = self.registrations.find(schema, codec.name)
        return codec if found is None else found.codec(codec, info)


def _learned(info: TypeInfo, parts: list[Codec]) -> Codec:
    """The codec of a type that the catalogue describes."""
    own = (info.name, info.oid, info.array_oid)
    if info.kind == "e":
        return enum_codec(*own, info.labels)
    if info.kind == "b":
        from pgwire.pgtypes.extensions import EXTENSIONS  # most programs need none

        if info.name in EXTENSIONS:
            return replace(EXTENSIONS[info.name](*own[1:]), delimiter=info.delimiter)
    if info.kind == "c":
        return composite_codec(*own, list(map(Field, info.attribute_names, parts)))
    if parts and info.kind in _MADE_OF_ONE:
        return _MADE_OF_ONE[info.kind](info, parts[0])
    return text.literal_codec(*own, info.delimiter)


def _array(info: TypeInfo, element: Codec) -> Codec:
    return array_codec(replace(element, array_oid=info.oid))


def _domain(info: TypeInfo, base: Codec) -> Codec:
    return replace(base, name=info.name, oid=info.oid, array_oid=info.array_oid)


def _range(info: TypeInfo, bound: Codec) -> Codec:
    from pgwire.pgtypes import ranges

    return ranges.range_codec(info.name, info.oid, info.array_oid, bound)


def _multirange(info: TypeInfo, range_: Codec) -> Codec:
    from pgwire.pgtypes import ranges

    return ranges.multirange_codec(info.name, info.oid, info.array_oid, range_)


_MADE_OF_ONE = {"a": _array, "d": _domain, "r": _range, "m": _multirange}
