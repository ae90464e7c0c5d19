"""What is known of the types of one database that are not the same in every PostgreSQL.

Knows what pg_type says of a type. Must not know how it is asked for (`protocol.looking_up` does),
nor what its values look like.

A `Catalog` is shared by all sessions with one server and database, and is empty at first. What
has been learned may turn out to be old: then it is forgotten, and looked up when needed next.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgwire.pgtypes.registry import TypeRegistry


class TypeInfo(NamedTuple):
    """One row of pg_type, and what belongs to it elsewhere (manual: "pg_type")."""

    oid: int
    schema: str
    name: str
    kind: str  # pg_type's typtype, or "a" for the array of another type
    array_oid: int = 0
    delimiter: str = ","
    # The type it is made of: an array's elements, a domain's base, a range's bounds, a
    # multirange's ranges.
    part: int = 0
    # A composite type's attributes, without those that were dropped.
    attribute_names: tuple[str, ...] = ()
    attribute_types: tuple[int, ...] = ()
    # An enumerated type's labels in their order.
    labels: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[int, ...]:
        """The types that must be known to read this one."""
        return (self.part,) if self.part else self.attribute_types


class Shared:
    """What several registries go by, and hear of when it has changed."""

    def __init__(self) -> None:
        self._registries: WeakSet[TypeRegistry] = WeakSet()

    def join(self, registry: TypeRegistry) -> None:
        """Tell this registry, as long as it lives, when something is not as it was."""
        self._registries.add(registry)

    def tell(self) -> None:
        """Have all registries begin anew."""
        registries: list[TypeRegistry] | None = None
        while registries is None:
            with suppress(RuntimeError):  # one has joined just now, in another thread
                registries = list(self._registries)
        for registry in registries:
            registry.reset()


class Catalog(Shared):
    """The types that have been looked up, by OID."""

    def __init__(self) -> None:
        super().__init__()
        self.infos: dict[int, TypeInfo] = {}

    def learn(self, infos: Iterable[TypeInfo]) -> None:
        """Add what was not known; what was is replaced."""
        changed = False
        for info in infos:
            changed |= self.infos.get(info.oid, info) != info
            self.infos[info.oid] = info
        if changed:
            self.tell()

    def forget(self, oids: Iterable[int] | None = None) -> None:
        """Look these types up again when they are needed next; all of them by default."""
        before = len(self.infos)
        if oids is None:
            self.infos.clear()
        else:
            for oid in oids:
                self.infos.pop(oid, None)
        if len(self.infos) != before:
            self.tell()

    def made_of(self, oids: Iterable[int]) -> set[int]:
        """These types and all that they are made of, as far as they are known."""
        found: set[int] = set()
        waiting = list(oids)
        while waiting:
            info = self.infos.get(waiting.pop())
            if info is not None and info.oid not in found:
                found.add(info.oid)
                waiting += info.parts
        return found
