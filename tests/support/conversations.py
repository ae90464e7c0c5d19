"""Recorded conversations: reading, writing and replaying them.

A recording is a file of JSON lines: what it is; then every message in its order, as
`{"client": …}` or `{"server": …}`, each character standing for one byte; then the outcome.
Replaying plays the scenario of the same name with the server's part of the recording, cut as
the test wants it, and compares what the client says with what it said then.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.rows import Result
from tests.support import backend
from tests.support.scenarios import SCENARIOS, Play, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session

    Cut = Callable[[bytes], Iterable[bytes]]

FOLDER = Path(__file__).parent.parent / "protocol" / "conversations"
REGISTRY = TypeRegistry()


class Turn(NamedTuple):
    """Everything that one side says before the other one does; an empty one is its end."""

    side: str
    data: bytes


@dataclass
class Outcome:
    """What a conversation came to, in words that can be stored and compared."""

    operations: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    status: str = ""
    failure: str = ""


class Recording(NamedTuple):
    name: str
    server: str
    turns: list[Turn]
    outcome: Outcome

    @property
    def scenario(self) -> Scenario:
        return SCENARIOS[self.name]

    @property
    def server_bytes(self) -> bytes:
        return b"".join(turn.data for turn in self.turns if turn.side == "server")


def describe(operation: Operation) -> str:
    """An operation's outcome as text; long ones are cut, with a digest of the whole."""
    if operation.error is not None:
        text = f"{type(operation.error).__name__}: {operation.error}"
        if isinstance(operation.result, list):
            text += f" after {[_describe_result(r) for r in operation.result]}"
    elif isinstance(operation.result, list):
        text = f"{[_describe_result(r) for r in operation.result]}"
    elif isinstance(operation.result, Result):
        text = _describe_result(operation.result)
    else:
        text = repr(operation.result)
    if len(text) > 1000:
        text = f"{text[:200]}… sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    return text


def _describe_result(result: Result[Any]) -> str:
    return f"{result.command_tag}: {result.rows}"


def outcome(session: Session, operations: Iterable[Operation]) -> Outcome:
    failure = session.failure
    return Outcome(
        [describe(operation) for operation in operations],
        [f"{type(event).__name__}: {event}" for event in session.events],
        session.transaction_status.name,
        "" if failure is None else f"{type(failure).__name__}: {failure}",
    )


def save(recording: Recording) -> None:
    lines: list[object] = [{"about": recording.scenario.about, "recorded from": recording.server}]
    for turn in recording.turns:
        starts_up = turn.side == "client" and turn.data[:1] == b"\0"
        messages = [turn.data] if starts_up or not turn.data else backend.split(turn.data)
        lines += [{turn.side: message.decode("latin-1")} for message in messages]
    lines.append(vars(recording.outcome))
    text = "".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines)
    (FOLDER / f"{recording.name}.jsonl").write_text(text, encoding="ascii")


@cache
def load(name: str) -> Recording:
    text = (FOLDER / f"{name}.jsonl").read_text(encoding="ascii")
    head, *messages, end = map(json.loads, text.splitlines())
    turns: list[Turn] = []
    for message in messages:
        ((side, characters),) = message.items()
        add(turns, side, characters.encode("latin-1"))
    return Recording(name, head["recorded from"], turns, Outcome(**end))


def add(turns: list[Turn], side: str, data: bytes) -> None:
    """Append to the last turn if it is the same side's."""
    if turns and turns[-1].side == side and data:
        data = turns.pop().data + data
    turns.append(Turn(side, data))


def begin(play: Play, number: int, scenario: Scenario) -> list[Operation]:
    """Submit the operations of one batch."""
    batch = [make(play) for make in scenario.batches[number]]
    for operation in batch:
        play.session.submit(operation)
    play.operations += batch
    return batch


def whole(data: bytes) -> Iterable[bytes]:
    return (data,)


def byte_by_byte(data: bytes) -> Iterable[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


class Replay:
    """One replay: `run()` plays all of it; `said` is what the client has said so far.

    `on_batch`, if given, is called with the operations of each batch once they are submitted.
    """

    def __init__(self, recording: Recording, cut: Cut = whole, registry: Any = REGISTRY) -> None:
        self.recording = recording
        self.play = Play(recording.scenario.session(registry))
        self.session = self.play.session
        self.said: list[bytes] = []
        self._cut = cut

    @property
    def expected(self) -> list[bytes]:
        """What the client said when it was recorded."""
        return [turn.data for turn in self.recording.turns if turn.side == "client"]

    def run(self) -> Outcome:
        turns = [turn.data for turn in self.recording.turns if turn.side == "server"]
        self.feed(turns)
        return outcome(self.session, self.play.operations)

    def feed(self, turns: Iterable[bytes]) -> None:
        """Play the scenario with these turns of the server's; it may end before they do."""
        left = iter(turns)
        for number in range(len(self.recording.scenario.batches)):
            batch = begin(self.play, number, self.recording.scenario)
            self._note(self.session.data_to_send())
            while not all(operation.done for operation in batch):
                data = next(left, None)
                if data is None:
                    return
                self._receive(data)
        for data in left:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if not data:
            self.session.receive_eof()
        said = b""
        for piece in self._cut(data):
            self.session.receive_data(piece)
            said += self.session.data_to_send()
        self._note(said)

    def _note(self, data: bytes) -> None:
        if data:
            self.said.append(data)
