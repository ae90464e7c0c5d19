"""`target_session_attrs` with a primary and its standby, as they are and when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import errors

if TYPE_CHECKING:
    from tests.shells.conftest import Connect
    from tests.support.standby import Pair

pytestmark = pytest.mark.slow

PRIMARY = ("any", "read-write", "primary")
STANDBY = ("standby", "read-only", "prefer-standby")


def test_who_is_taken(pair: Pair, connect: Connect) -> None:
    def port(target: str) -> int:
        conn = connect(pair.dsn(target_session_attrs=target))
        found = conn.query("select inet_server_port()").scalar()
        assert isinstance(found, int)
        return found

    a, b = pair.first, pair.second
    assert {port(target) for target in PRIMARY} == {a.port}
    assert {port(target) for target in STANDBY} == {b.port}
    a.kill()
    assert port("any") == b.port
    for target in ("read-write", "primary"):
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            port(target)
        refused, misfit = caught.value.attempts
        assert "Connection refused" in str(refused.error)
        assert f"target_session_attrs asks for {target}" in str(misfit.error)
    pair.promote()
    assert {port(target) for target in (*PRIMARY, "prefer-standby")} == {b.port}
    for target in ("standby", "read-only"):
        with pytest.raises(pgwire.ConnectionFailed, match=f"asks for {target}"):
            port(target)
    pair.follow()
    assert port("any") == a.port  # the first that lets us in
    assert {port(target) for target in ("read-write", "primary")} == {b.port}
    assert {port(target) for target in STANDBY} == {a.port}


def test_a_session_on_a_standby_goes_on_when_that_is_promoted(pair: Pair, connect: Connect) -> None:
    """It hears of it with its next answer: its server tells nothing to those who ask nothing."""
    pair.ask("create table t (x int)")
    conn = connect(pair.standby.url)
    heard: list[tuple[str, str]] = []
    conn.on("parameter", lambda change: heard.append(tuple(change)))
    assert conn.parameters["in_hot_standby"] == "on"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        conn.query("insert into t values (1)")
    pair.primary.stop()
    pair.promote()
    assert conn.parameters["in_hot_standby"] == "on"
    assert conn.query("insert into t values (1)").row_count == 1
    assert conn.parameters["in_hot_standby"] == "off"
    assert ("in_hot_standby", "off") in heard
