"""Records the conversations that the tests of the protocol core replay.

    python tools/record_conversations.py            record them all, from an embedded server
    python tools/record_conversations.py NAME …     only these

To be run again when a scenario in tests/support/scenarios.py is new or has changed. Bytes
that differ with every run (process ids, keys, salts) change the files, and mean nothing.
"""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from pgwire import embedded
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from tests.support import conversations
from tests.support.conversations import REGISTRY, Recording, Turn
from tests.support.scenarios import PASSWORD, SCENARIOS, Play, login
from tests.support.servers import LOGINS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire.protocol.operation import Operation


@contextmanager
def connected(server: embedded.Server) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), timeout=30) as sock:
        yield sock


def converse(
    session: Session, sock: socket.socket, operations: list[Operation], turns: list[Turn]
) -> None:
    """Carry bytes until all operations are done, and note who said what."""
    while True:
        if data := session.data_to_send():
            sock.sendall(data)
            conversations.add(turns, "client", data)
        if all(operation.done for operation in operations):
            return
        receive(session, sock, turns)


def receive(session: Session, sock: socket.socket, turns: list[Turn]) -> None:
    data = sock.recv(65536)
    conversations.add(turns, "server", data)
    if data:
        session.receive_data(data)
    else:
        session.receive_eof()


def run(session: Session, sock: socket.socket, *operations: Operation) -> None:
    """Run operations that are not recorded."""
    for operation in operations:
        session.submit(operation)
    converse(session, sock, list(operations), [])
    for operation in operations:
        if operation.error is not None:
            raise operation.error


def terminate(server: embedded.Server, pid: int) -> None:
    with connected(server) as sock:
        session = Session(REGISTRY)
        killing = SimpleQuery(f"select pg_terminate_backend({pid})")
        run(session, sock, login("postgres")(None), killing)


def record(server: embedded.Server, name: str) -> Recording:
    scenario = SCENARIOS[name]
    play = Play(scenario.session(REGISTRY))
    session = play.session
    turns: list[Turn] = []
    with connected(server) as sock:
        if not scenario.logs_in:
            run(session, sock, login("postgres")(play))
            # Names as in a replay, where nobody logs in: they have no process id in them.
            session.statements = scenario.session(REGISTRY).statements
            if scenario.setup:
                run(session, sock, SimpleQuery(scenario.setup))
            session.events.clear()
        for number in range(len(scenario.batches)):
            converse(session, sock, conversations.begin(play, number, scenario), turns)
        if scenario.killed:
            assert session.backend_key is not None
            terminate(server, session.backend_key.pid)
            while session.failure is None or turns[-1].data:
                receive(session, sock, turns)
    outcome = conversations.outcome(session, play.operations)
    return Recording(name, str(server.installation), turns, outcome)


def main(names: list[str]) -> None:
    conversations.FOLDER.mkdir(exist_ok=True)
    with embedded.server(password=PASSWORD, logins=LOGINS) as server:
        for name in names or SCENARIOS:
            recording = record(server, name)
            conversations.save(recording)
            print(name, *recording.outcome.operations, sep="\n    ")


if __name__ == "__main__":
    main(sys.argv[1:])
