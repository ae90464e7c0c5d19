"""The registries of a session: one for each time zone that it comes to, and no more."""

from __future__ import annotations

import gc
from datetime import UTC, timedelta, timezone
from weakref import WeakSet

from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.registration import registration
from pgwire.protocol.session import Session
from tests.support import backend

PLUS_TWO = timezone(timedelta(hours=2))


def test_a_session_that_changes_its_time_zone_for_ever_needs_no_more_memory() -> None:
    zones = {"UTC": UTC, "Berlin": PLUS_TWO}
    session = Session(TypeRegistry(), zone_of=zones.__getitem__)
    made: WeakSet[TypeRegistry] = WeakSet()
    for _ in range(10):
        for zone in zones:
            session.receive_data(backend.parameter_status("TimeZone", zone))
            made.add(session.registry)
            session.register("text", registration("text", None, str.upper, None, "text"))
            made.add(session.registry)
            session.unregister()
    gc.collect()
    assert set(made) == {session.registry}


def test_what_is_registered_stays_in_another_time_zone() -> None:
    session = Session(TypeRegistry(), zone_of=lambda _: PLUS_TWO)
    session.register("text", registration("text", None, str.upper, None, "text"))
    session.receive_data(backend.parameter_status("TimeZone", "Berlin"))
    assert session.registry.codec(oids.TEXT).decode_text("a") == "A"
    assert session.registry.timezone is PLUS_TWO
    session.unregister()
    assert session.registry.codec(oids.TEXT).decode_text("a") == "a"
    assert session.registry.timezone is PLUS_TWO
