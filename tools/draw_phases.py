"""Writes docs/protocol-tables.md: what each operation may receive, phase by phase.

    python tools/draw_phases.py            write it
    python tools/draw_phases.py --check    exit status 1 where that would change the file

The tables are those that the session itself looks at (`Operation.PHASES`).
"""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from pgwire import protocol
from pgwire.protocol.messages import BackendMessage
from pgwire.protocol.operation import Operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire.protocol.operation import Phase

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "protocol-tables.md"
HEAD = f"""\
# What may come when

An operation's state is the set of messages that it may receive next. Whatever is not in its
table ends the session with a `ProtocolError` that names message, operation and phase.
NoticeResponse, NotificationResponse and ParameterStatus may come in every phase, except where
a table says that they may not.

Written by `tools/{Path(__file__).name}` from the tables in `pgwire/protocol/`; the names of the
messages are those of PostgreSQL's manual ("Message Formats").
"""


def operations() -> list[type[Operation]]:
    """All operations of the protocol core that have phases, in the order of their names."""
    for module in iter_modules(protocol.__path__):
        import_module(f"{protocol.__name__}.{module.name}")
    found = {kind for kind in _below(Operation) if kind.PHASES}
    return sorted(found, key=lambda kind: kind.__name__)


def _below(kind: type[Operation]) -> Iterator[type[Operation]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith(f"{protocol.__name__}."):
            yield each
        yield from _below(each)


def draw(kind: type[Operation]) -> str:
    """One operation's table: a row for each message, a column for each phase."""
    codes = sorted({code for phase in kind.PHASES for code in phase.handlers}, key=_name)
    lines = [f"## {kind.__name__}", "", _summary(kind), ""]
    if not kind.takes_asynchronous_messages:
        lines += ["Asynchronous messages may come only where the table says so.", ""]
    lines.append("| | " + " | ".join(phase.name for phase in kind.PHASES) + " |")
    lines.append("|---|" + "---|" * len(kind.PHASES))
    for code in codes:
        cells = [_handler(phase, code) for phase in kind.PHASES]
        lines.append(f"| {_name(code)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _summary(kind: type[Operation]) -> str:
    return cleandoc(kind.__doc__ or "").partition("\n\n")[0]


def _handler(phase: Phase, code: int) -> str:
    handler = phase.handlers.get(code)
    return "" if handler is None else f"`{handler.__name__}`"


def _name(code: int) -> str:
    """The manual's spelling: READY_FOR_QUERY is ReadyForQuery there."""
    return "".join(word.capitalize() for word in BackendMessage(code).name.split("_"))


def document() -> str:
    return "\n".join([HEAD, *map(draw, operations())])


def main(arguments: list[str]) -> int:
    text = document()
    if arguments == ["--check"]:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is out of date: run tools/{Path(__file__).name}")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
