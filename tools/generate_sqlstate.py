"""Writes the classes of pgwire/sqlstate.py from tools/sqlstates.txt.

    python tools/generate_sqlstate.py            rewrite what follows the marker
    python tools/generate_sqlstate.py --check    exit status 1 where that would change the file

What stands above the marker is written by hand; the rule for names is documented there.
"""

from __future__ import annotations

import builtins
import re
import sys
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("sqlstates.txt")
TARGET = Path(__file__).parent.parent / "pgwire" / "sqlstate.py"
ERRORS = TARGET.with_name("errors.py")
MARKER = f"# --- written by tools/{Path(__file__).name} from tools/{SOURCE.name} ---\n"

TAKEN = {*dir(builtins), *re.findall(r"(?m)^class (\w+)", ERRORS.read_text(encoding="utf-8"))}


class Condition(NamedTuple):
    """A line of the source: SQLSTATE, severity (E or W), name, and PEP 249's class for it."""

    sqlstate: str
    severity: str
    name: str
    base: str


def parse_conditions(text: str) -> list[Condition]:
    """The source's conditions in the order of their SQLSTATEs, so that categories come first."""
    conditions = []
    category = base = ""
    for number, line in enumerate(text.splitlines(), start=1):
        match line.split():
            case []:
                continue
            case [first, *_] if first.startswith("#"):
                continue
            case [bracketed, name] if bracketed.startswith("["):
                category, base = bracketed[1:-1], name
            case [sqlstate, "E" | "W" as severity, name] if sqlstate[:2] == category:
                conditions.append(Condition(sqlstate, severity, name, base))
            case _:
                raise SystemExit(f"{SOURCE.name}:{number}: cannot be read: {line}")
    return sorted(conditions)


def class_names(conditions: list[Condition]) -> dict[str, str]:
    """SQLSTATE → name of its class, by the rule in the docstring of pgwire/sqlstate.py."""
    names: dict[str, str] = {}
    given: set[str] = set()
    for condition in sorted(conditions, key=lambda c: (c.severity, c.sqlstate)):
        name = "".join(word.capitalize() for word in condition.name.split("_"))
        if name in TAKEN:
            name = "Postgres" + name
        if name in given:
            name += condition.sqlstate
        given.add(name)
        names[condition.sqlstate] = name
    return names


def bases(condition: Condition, names: dict[str, str]) -> str:
    """What the class is derived from: its category, or PEP 249's class and PostgresError."""
    category = names.get(condition.sqlstate[:2] + "000")
    if category is not None and category != names[condition.sqlstate]:
        return category
    # PostgresError is a DatabaseError already; Python refuses the two in this order.
    return (
        "PostgresError" if condition.base == "DatabaseError" else f"{condition.base}, PostgresError"
    )


def generate(conditions: list[Condition]) -> str:
    """The Python text after the marker."""
    names = class_names(conditions)
    parts = [
        f'\n\nclass {names[c.sqlstate]}({bases(c, names)}):\n    sqlstate = "{c.sqlstate}"\n'
        for c in conditions
    ]
    parts.append("\n\nCLASSES: dict[str, type[PostgresError]] = {\n")
    parts += [f'    "{c.sqlstate}": {names[c.sqlstate]},\n' for c in conditions]
    parts.append("}\n")
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Rewrites the target, or with --check says whether it is current."""
    current = TARGET.read_text(encoding="utf-8")
    head, marker, _ = current.partition(MARKER)
    if not marker:
        raise SystemExit(f"{TARGET.name} has lost its marker: {MARKER.strip()}")
    wanted = head + MARKER + generate(parse_conditions(SOURCE.read_text(encoding="utf-8")))
    if arguments == ["--check"]:
        if current != wanted:
            print(f"pgwire/{TARGET.name} is not current: run python tools/{Path(__file__).name}")
        return int(current != wanted)
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
