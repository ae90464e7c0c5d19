"""The commands of a replication connection, as text."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import NotSupportedError, ProgrammingError, ProtocolError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol import frontend, walsender
from pgwire.protocol.hints import advise
from pgwire.protocol.replicating import replicating
from pgwire.protocol.rows import Result
from pgwire.protocol.session import Session
from pgwire.sqlstate import postgres_error

PLAIN: dict[str, Any] = {
    "proto_version": None,
    "streaming": False,
    "two_phase": False,
    "messages": False,
    "binary": False,
    "origin": None,
}


def start(publications: Any = "p", **keywords: Any) -> str:
    names = walsender.publication_names(publications)
    return walsender.start_replication("s", names, Lsn("1/2"), **(PLAIN | keywords))


def test_what_replicate_asks_for() -> None:
    """A place where to begin is one of all ways to write it, and so are publications."""
    for place, publications in ("1/2", "p"), (Lsn("1/2"), ["p"]), (0x1_0000_0002, ("p",)):
        operation = replicating(
            "s", publications, place, status_interval=None, clock=float, wall_clock=float, **PLAIN
        )
        session = Session(TypeRegistry())
        session.submit(operation)
        assert session.data_to_send() == frontend.query(start().encode() + b"\0")
        assert operation.received == operation.acknowledged == Lsn("1/2")
    with pytest.raises(ProgrammingError, match="at least one"):
        replicating("s", [], 0, status_interval=None, clock=float, wall_clock=float, **PLAIN)


def create(version: int = 180_000, **keywords: Any) -> str:
    plain: dict[str, Any] = {
        "temporary": False,
        "snapshot": "nothing",
        "two_phase": False,
        "failover": False,
    }
    return walsender.create_replication_slot("s", "pgoutput", version, **(plain | keywords))


class TestStart:
    def test_the_oldest_protocol_that_has_what_is_asked_for(self) -> None:
        head = 'START_REPLICATION SLOT "s" LOGICAL 1/2 (proto_version '
        names = "publication_names '\"p\"'"
        assert start() == f"{head}'1', {names})"
        assert start(streaming=True) == f"{head}'2', {names}, streaming 'on')"
        assert start(two_phase=True) == f"{head}'3', {names}, two_phase 'on')"
        assert start(streaming="parallel") == f"{head}'4', {names}, streaming 'parallel')"
        assert start(proto_version=4) == f"{head}'4', {names})"
        everything = start(messages=True, binary=True, origin="none")
        assert everything == f"{head}'1', {names}, messages 'on', binary 'on', origin 'none')"

    def test_names_are_quoted_twice(self) -> None:
        assert 'publication_names \'"a","it\'\'s ""b"""\'' in start(["a", 'it\'s "b"'])

    @pytest.mark.parametrize(
        "wrong",
        [
            {"publications": []},
            {"streaming": "on"},
            {"proto_version": 0},
            {"proto_version": 5},
            {"proto_version": True},
            {"proto_version": 1, "streaming": True},
            {"proto_version": 2, "two_phase": True},
            {"proto_version": 3, "streaming": "parallel"},
        ],
    )
    def test_what_makes_no_sense(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ProgrammingError):
            start(**wrong)


class TestCreate:
    def test_since_options_stand_in_parentheses(self) -> None:
        plain = 'CREATE_REPLICATION_SLOT "s" LOGICAL "pgoutput"'
        assert create() == create(0) == f"{plain} (SNAPSHOT 'nothing')"
        assert create(snapshot="export", two_phase=True, failover=True) == (
            f"{plain} (SNAPSHOT 'export', TWO_PHASE, FAILOVER)"
        )
        assert create(temporary=True) == (
            'CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL "pgoutput" (SNAPSHOT \'nothing\')'
        )

    def test_and_before(self) -> None:
        plain = 'CREATE_REPLICATION_SLOT "s" LOGICAL "pgoutput"'
        assert create(140_000) == f"{plain} NOEXPORT_SNAPSHOT"
        assert create(140_000, snapshot="use") == f"{plain} USE_SNAPSHOT"

    def test_what_is_not_there_yet(self) -> None:
        with pytest.raises(NotSupportedError, match="two_phase needs PostgreSQL 15"):
            create(140_000, two_phase=True)
        with pytest.raises(NotSupportedError, match="failover needs PostgreSQL 17"):
            create(160_000, failover=True)

    def test_snapshots_that_cannot_be(self) -> None:
        with pytest.raises(ProgrammingError, match="'export', 'use', 'nothing'"):
            create(snapshot="x")


def answer(*rows: tuple[Any, ...]) -> list[Any]:
    return [Result(list(rows), (), "")]


class TestAnswers:
    def test_identify_system(self) -> None:
        system = walsender.system_identity(answer(("7", 1, "0/10", "db")))
        assert str(system.position) == "0/10"
        assert system == ("7", 1, Lsn(16), "db")

    def test_create_replication_slot(self) -> None:
        slot = walsender.replication_slot(answer(("s", "0/10", None, "pgoutput")))
        assert slot == ("s", Lsn(16), None, "pgoutput")

    @pytest.mark.parametrize("wrong", [[], answer(), answer(("7", 1)), answer(*[(1, 2, 3, 4)] * 2)])
    def test_what_is_none(self, wrong: list[Any]) -> None:
        with pytest.raises(ProtocolError):
            walsender.system_identity(wrong)


def test_drop() -> None:
    assert walsender.drop_replication_slot("s", wait=False) == 'DROP_REPLICATION_SLOT "s"'
    assert walsender.drop_replication_slot("s", wait=True) == 'DROP_REPLICATION_SLOT "s" WAIT'


@pytest.mark.parametrize(
    ("fields", "sql", "hint"),
    [
        ({"C": "42601", "P": "1"}, "IDENTIFY_SYSTEM", "Replication has connections of its own"),
        ({"C": "42601", "P": "1"}, "DROP_REPLICATION_SLOT s", "Replication has connections"),
        ({"C": "42601", "P": "1"}, "SELEKT 1", None),
        ({"C": "08P01", "R": "forbidden_in_wal_sender"}, "select 1", "takes SQL by script()"),
        ({"C": "08P01", "R": "other"}, "select 1", None),
    ],
)
def test_hints(fields: dict[str, str], sql: str, hint: str | None) -> None:
    error = postgres_error({"S": "ERROR", "M": "no", **fields})
    advise(error, sql)
    assert (hint in error.hint if hint and error.hint else error.hint == hint) is True
