"""Sessions that notice when their server has another role."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from pgwire.protocol.cleaning import Clean
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.protocol.watching import RoleSession, RoleWatch, seeing_roles, take_role_loss
from tests.support import backend
from tests.support.conversations import REGISTRY

PROMOTED = backend.parameter_status("in_hot_standby", "off")
DEMOTED = backend.parameter_status("in_hot_standby", "on")


def watched(demand: str, *, standby: str = "off", tells: bool = True) -> RoleSession:
    session = RoleSession(REGISTRY)
    if tells:
        session.parameters |= {"in_hot_standby": standby, "default_transaction_read_only": "off"}
    session.watch(demand, RoleWatch())
    return session


def answered(session: Session, *messages: bytes, sql: str = "select 1") -> None:
    """A query is answered, and these messages come along."""
    session.submit(SimpleQuery(sql))
    session.data_to_send()
    session.receive_data(b"".join(messages) + backend.complete() + backend.ready())


def fits(session: Session) -> bool:
    """Whether it may be somebody else's next."""
    assert session.is_spotless() is session.in_step
    return session.in_step


@pytest.mark.parametrize(
    ("demand", "standby", "told"),
    [
        ("primary", "off", DEMOTED),
        ("read-write", "off", DEMOTED),
        ("standby", "on", PROMOTED),
        ("read-only", "on", PROMOTED),
        ("read-write", "off", backend.parameter_status("default_transaction_read_only", "on")),
    ],
)
def test_a_change_of_role_makes_the_session_unfit_for_others(
    demand: str, standby: str, told: bytes
) -> None:
    session = watched(demand, standby=standby)
    answered(session)
    assert fits(session)
    answered(session, told)
    assert session.failure is None  # whoever has it goes on
    assert not fits(session)
    assert take_role_loss(session)
    assert not take_role_loss(session)  # it is told of once


@pytest.mark.parametrize(
    ("demand", "told"),
    [
        ("primary", PROMOTED),
        ("primary", backend.parameter_status("default_transaction_read_only", "on")),
        ("primary", backend.parameter_status("application_name", "x")),
        ("any", DEMOTED),
    ],
)
def test_what_changes_nothing_of_the_role(demand: str, told: bytes) -> None:
    session = watched(demand)
    answered(session, told)
    assert fits(session)
    assert not take_role_loss(session)


def test_what_the_session_has_set_by_itself_says_nothing_of_the_server() -> None:
    session = watched("read-write")
    told = backend.parameter_status("default_transaction_read_only", "on")
    answered(session, told, sql="set default_transaction_read_only = on")
    assert session.changed
    assert session.in_step


def test_all_sessions_of_the_same_opener_are_unfit() -> None:
    watch = RoleWatch()
    sessions = [watched("primary"), watched("primary")]
    for session in sessions:
        session.watch("primary", watch)
    answered(sessions[0], DEMOTED)
    assert not sessions[1].in_step
    assert [take_role_loss(session) for session in sessions] == [True, False]


@dataclass
class Holder:
    session: Session


def test_a_look_at_what_is_idle_sees_what_was_told_to_any_of_them() -> None:
    watch = RoleWatch()
    sessions = [watched("primary"), watched("primary")]
    for session in sessions:
        session.watch("primary", watch)
    holders = [*map(Holder, sessions), Holder(watched("primary")), Holder(Session(REGISTRY))]
    look = seeing_roles(lambda _holder: True)
    assert [look(holder) for holder in holders] == [True] * 4
    sessions[1].receive_data(DEMOTED)  # nobody has asked for anything
    assert [look(holder) for holder in holders] == [False, False, True, True]
    assert not seeing_roles(lambda _holder: False)(holders[2])


def test_a_session_like_any_other_is_not_watched() -> None:
    assert not take_role_loss(Session(REGISTRY))
    session = RoleSession(REGISTRY)
    answered(session, PROMOTED, DEMOTED)
    assert session.in_step
    assert not take_role_loss(session)


@pytest.mark.parametrize(
    ("demand", "tells", "state", "lost"),
    [
        ("read-write", False, "25006", True),
        ("primary", False, "25006", True),
        ("primary", True, "25006", False),  # the transaction is meant to be read-only
        ("standby", False, "25006", False),
        ("read-write", False, "42601", False),
    ],
)
def test_a_server_that_does_not_tell_refuses_to_write(
    demand: str, tells: bool, state: str, lost: bool
) -> None:
    session = watched(demand, tells=tells)
    session.submit(SimpleQuery("insert into t values (1)"))
    session.data_to_send()
    session.receive_data(backend.error(state) + backend.ready())
    assert take_role_loss(session) is lost
    assert session.in_step is not lost


def test_before_it_is_watched_an_error_means_nothing() -> None:
    session = RoleSession(REGISTRY)
    session.submit(SimpleQuery("insert into t values (1)"))
    session.data_to_send()
    session.receive_data(backend.error("25006") + backend.ready())
    assert session.in_step


def test_a_session_that_is_being_cleaned_ends_at_once() -> None:
    """It is nobody's, and would be the next one's."""
    session = watched("primary")
    session.submit(Clean("RESET ALL"))
    session.submit(Ping())
    session.receive_data(backend.complete("RESET") + DEMOTED + backend.ready())
    assert "another role" in str(session.failure)
