"""Roles: whether a server is what `target_session_attrs` asks for.

Knows what servers tell of themselves: since PostgreSQL 14 by ParameterStatus, so that nothing
need be asked, and that a change is told of by itself; before, by a query. Manual: "Parameter Key
Words", under target_session_attrs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import ProtocolError
from pgwire.protocol.simple import SimpleQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgwire.protocol.session import Session

# What is asked of servers that do not tell by themselves. With pg_catalog in front: what a search
# path has put there is not to answer.
_IS_READ_ONLY = "SHOW transaction_read_only"
_IS_STANDBY = "SELECT pg_catalog.pg_is_in_recovery()"

_READ_ONLY, _STANDBY = "read-only", "standby"
# What each demand is about, and whether the server is to be so.
_DEMANDS = {
    "read-write": (_READ_ONLY, False),
    "read-only": (_READ_ONLY, True),
    "primary": (_STANDBY, False),
    "standby": (_STANDBY, True),
}
_WORDS = {
    (_READ_ONLY, True): "the session is read-only",
    (_READ_ONLY, False): "the session is not read-only",
    (_STANDBY, True): "the server is a standby",
    (_STANDBY, False): "the server is not a standby",
}


def question(demand: str, session: Session) -> SimpleQuery | None:
    """What to ask a new session; None where nothing is demanded, or it has told already."""
    if demand == "any" or _told(demand, session.parameters) is not None:
        return None
    about, _ = _DEMANDS[demand]
    asking = SimpleQuery(_IS_READ_ONLY if about == _READ_ONLY else _IS_STANDBY)
    asking.has_effects = False
    return asking


def misfit(demand: str, session: Session, asked: SimpleQuery | None = None) -> str | None:
    """In words, what keeps the session from being what is demanded; None if nothing does.

    `asked` has been answered; without it only what the server tells by itself counts.
    """
    if demand == "any":
        return None
    is_so = _told(demand, session.parameters) if asked is None else _answer(asked)
    about, wanted = _DEMANDS[demand]
    if is_so is None or is_so is wanted:
        return None
    return f"{_WORDS[about, is_so]}, and target_session_attrs asks for {demand}"


_ANSWERS = {"on": True, "True": True, "off": False, "False": False}


def _answer(asked: SimpleQuery) -> bool:
    values = [str(value) for result in asked.result for row in result.rows for value in row]
    if len(values) != 1 or values[0] not in _ANSWERS:
        raise ProtocolError("the server did not say which role it has")
    return _ANSWERS[values[0]]


def _told(demand: str, parameters: Mapping[str, str]) -> bool | None:
    """What the server has told by itself; None if it has not."""
    standby = parameters.get("in_hot_standby")
    about, _ = _DEMANDS[demand]
    if about == _STANDBY:
        return None if standby is None else standby == "on"
    read_only = parameters.get("default_transaction_read_only")
    if standby is None or read_only is None:
        return None
    return "on" in (standby, read_only)
