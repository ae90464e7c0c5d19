"""The commands of a replication connection (manual: "Streaming Replication Protocol").

Knows how they are written and what they answer. They go by the simple protocol, as all does there;
their grammar has no `E'…'`, and each is a whole Query message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict

from pgwire.errors import NotSupportedError, ProgrammingError, ProtocolError
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol.quoting import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.protocol.rows import Result, Row

ChangeStreaming: TypeAlias = Literal[False, True, "parallel"]
Snapshot: TypeAlias = Literal["export", "use", "nothing"]

# Since when options stand in parentheses, and since when there is each of those.
_PARENTHESES = 150_000
_SNAPSHOTS_BEFORE = {
    "export": "EXPORT_SNAPSHOT",
    "use": "USE_SNAPSHOT",
    "nothing": "NOEXPORT_SNAPSHOT",
}
_SINCE = {"two_phase": 150_000, "failover": 170_000}
_NEWEST = 4  # of pgoutput's protocols


class ChangeOptions(TypedDict):
    """What is sent of the changes, and how: see `replicate`."""

    proto_version: int | None
    streaming: ChangeStreaming
    two_phase: bool
    messages: bool
    binary: bool
    origin: str | None


class SystemIdentity(NamedTuple):
    """Which cluster it is, on which timeline, how far its log is flushed, and which database."""

    system_id: str
    timeline: int
    position: Lsn
    database: str | None


class ReplicationSlot(NamedTuple):
    """A slot that has just been made.

    All that commits after `consistent_point` comes by it. A transaction that begins with SET
    TRANSACTION SNAPSHOT `snapshot` sees all that was committed before; None without an export.
    """

    name: str
    consistent_point: Lsn
    snapshot: str | None
    plugin: str | None


IDENTIFY_SYSTEM = "IDENTIFY_SYSTEM"


def system_identity(results: list[Result[Row]]) -> SystemIdentity:
    """What the answer to IDENTIFY_SYSTEM says."""
    system_id, timeline, position, database = _only_row(results)
    return SystemIdentity(system_id, timeline, Lsn(position), database)


def replication_slot(results: list[Result[Row]]) -> ReplicationSlot:
    """What the answer to CREATE_REPLICATION_SLOT says."""
    name, point, snapshot, plugin = _only_row(results)
    return ReplicationSlot(name, Lsn(point), snapshot, plugin)


def _only_row(results: list[Result[Row]]) -> Row:
    """Both commands answer with one, of four columns."""
    rows = [row for result in results for row in result]
    if len(rows) != 1 or len(rows[0]) != 4:
        raise ProtocolError("the server's answer to a replication command is none")
    return rows[0]


def create_replication_slot(
    name: str,
    plugin: str,
    server_version: int,
    *,
    temporary: bool,
    snapshot: Snapshot,
    two_phase: bool,
    failover: bool,
) -> str:
    """CREATE_REPLICATION_SLOT, as this server writes it; 0 stands for one that did not say."""
    if snapshot not in _SNAPSHOTS_BEFORE:
        choices = ", ".join(map(repr, _SNAPSHOTS_BEFORE))
        raise ProgrammingError(f"snapshot is {snapshot!r}; it must be one of {choices}")
    version = server_version or _PARENTHESES
    flags = {"two_phase": two_phase, "failover": failover}
    for option, since in _SINCE.items():
        if flags[option] and version < since:
            needed = f"PostgreSQL {since // 10_000}"
            raise NotSupportedError(f"{option} needs {needed} or later")
    words = ["CREATE_REPLICATION_SLOT", quote_identifier(name)]
    if temporary:
        words.append("TEMPORARY")
    words += ["LOGICAL", quote_identifier(plugin)]
    if version < _PARENTHESES:
        words.append(_SNAPSHOTS_BEFORE[snapshot])
    else:
        options = [f"SNAPSHOT '{snapshot}'", *(f.upper() for f, given in flags.items() if given)]
        words.append(f"({', '.join(options)})")
    return " ".join(words)


def drop_replication_slot(name: str, *, wait: bool) -> str:
    """DROP_REPLICATION_SLOT; with `wait`, once nobody uses it any more."""
    return f"DROP_REPLICATION_SLOT {quote_identifier(name)}{' WAIT' if wait else ''}"


def publication_names(publications: str | Sequence[str]) -> list[str]:
    """One name, or several, as a list."""
    names = [publications] if isinstance(publications, str) else list(publications)
    if not names:
        raise ProgrammingError("publications: at least one must be named")
    return names


def start_replication(
    slot: str,
    publications: Sequence[str],
    start: Lsn,
    *,
    proto_version: int | None,
    streaming: ChangeStreaming,
    two_phase: bool,
    messages: bool,
    binary: bool,
    origin: str | None,
) -> str:
    """START_REPLICATION of a slot of pgoutput, by the oldest protocol that does what is asked."""
    if streaming not in (False, True, "parallel"):
        raise ProgrammingError(f"streaming is {streaming!r}; it must be False, True or 'parallel'")
    least = max(
        1, 2 if streaming else 1, 3 if two_phase else 1, 4 if streaming == "parallel" else 1
    )
    version = least if proto_version is None else proto_version
    if type(version) is not int or not least <= version <= _NEWEST:
        raise ProgrammingError(
            f"proto_version is {version!r}; it must be an int from {least}, for what is asked for, "
            f"to {_NEWEST}"
        )
    options: dict[str, Any] = {
        "proto_version": str(version),
        "publication_names": ",".join(map(quote_identifier, publications)),
        "streaming": {False: "", True: "on", "parallel": "parallel"}[streaming],
        "two_phase": "on" if two_phase else "",
        "messages": "on" if messages else "",
        "binary": "on" if binary else "",
        "origin": origin or "",
    }
    given = ", ".join(f"{name} {_quoted(text)}" for name, text in options.items() if text)
    return f"START_REPLICATION SLOT {quote_identifier(slot)} LOGICAL {start} ({given})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
