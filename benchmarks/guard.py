"""A guard against hot code that does more than it did, which no machine's mood can fool.

    python benchmarks/guard.py [--update | --profile] [PATH …]

For each of `guard_paths`, counts what one operation does: bytecode instructions, calls of Python
functions, calls of functions written in C, memory blocks that its result keeps, and the most KiB
that it holds at a time. None of these depends on the machine or its load; they do on the version of
Python, so `guard.json` has a table for each minor one. Three per cent more than that is an error,
and so is a path that the table does not know. What has become less is told, and never an error.

`--update` writes what was counted into the table of the Python that runs it, which needs nothing
installed: `PYTHONPATH=. python3.13 benchmarks/guard.py --update`.

`--profile` says instead which functions one operation calls, the most frequent first.

Knows how to count. Must not know the driver, but for one thing: what has run a few times is warm.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tracemalloc
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guard_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType

TABLE = Path(__file__).with_name("guard.json")
TOLERANCE = 0.03
_WARM = 5
_SAMPLES = 12
_WORDS = {
    "instructions": "bytecode instructions",
    "calls": "calls of Python functions",
    "c_calls": "calls of C functions",
    "blocks": "memory blocks kept",
    "peak": "KiB at the peak",
}
# A figure may also be more by so little: a dict that grows, a free list that is empty.
_SLACK = {"instructions": 2.0, "calls": 0.1, "c_calls": 0.1, "blocks": 4.0, "peak": 1.0}

Figures = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Does the hot code do more than it did?")
    parser.add_argument("--update", action="store_true", help="write what was counted as it is now")
    parser.add_argument("--profile", action="store_true", help="what each operation calls")
    parser.add_argument("paths", nargs="*", metavar="PATH", help="some, by a part of their names")
    options = parser.parse_args(arguments)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with ExitStack() as stack:
        chosen = [
            path
            for path in guard_paths.paths(stack)
            if not options.paths or any(part in path.name for part in options.paths)
        ]
        if options.profile:
            for path in chosen:
                print(f"{path.name}\n{profile(path)}\n")
            return 0
        counted = {path.name: count(path) for path in chosen}
    tables = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if options.update:
        tables[version] = tables.get(version, {}) | counted if options.paths else counted
        TABLE.write_text(json.dumps(dict(sorted(tables.items())), indent=1) + "\n")
        print(f"{TABLE.name}: {len(counted)} paths of Python {version}")
        return 0
    if version not in tables:
        print(f"{TABLE.name} has no table for Python {version}: nothing was compared")
        return 0
    worse, better = compare(counted, tables[version])
    print("\n".join([*better, *worse]) or f"{len(counted)} paths do what they did")
    if worse:
        print("\nThe hot code does more than it did. If that is on purpose:")
        for known in tables:
            print(f"    PYTHONPATH=. python{known} benchmarks/guard.py --update")
    return 1 if worse else 0


def compare(counted: dict[str, Figures], stored: dict[str, Figures]) -> tuple[list[str], list[str]]:
    """What has become more, and what less, in words.

    A call more is nothing to complain of where the work as a whole has become less.
    """
    worse, better = [], []
    for name, figures in counted.items():
        if name not in stored:
            worse.append(f"{name}: not in the table")
            continue
        work, was = figures["instructions"], stored[name]["instructions"]
        less = work < was * (1 - TOLERANCE)
        for kind, now in figures.items():
            before = stored[name].get(kind, 0.0)
            told = f"{name}: {_WORDS[kind]} {before:,g} -> {now:,g}"
            change = f" ({now / before - 1:+.1%})" if before else ""
            allowed = max(abs(before) * TOLERANCE, _SLACK[kind])
            if now - before > allowed and not (less and kind.endswith("calls")):
                worse.append(f"{told}{change}")
            elif before - now > allowed:
                better.append(f"{told}{change}: less; --update will keep it so")
    return worse, better


# ---------------------------------------------------------------- counting


def count(path: guard_paths.Path) -> Figures:
    """What one operation of the path does, warm."""
    for _ in range(_WARM):
        path.run()
    gc.collect()
    gc.disable()
    try:
        instructions, calls = _instructions(path.run)
        c_calls = _c_calls(path.run)
        # The least of some: what is left of the counting before is not the path's.
        blocks = min(_blocks(path.run) for _ in range(_SAMPLES))
        peak = min(_peak(path.run) for _ in range(_SAMPLES))
    finally:
        gc.enable()
    return {
        "instructions": round(instructions / path.operations, 2),
        "calls": round(calls / path.operations, 2),
        "c_calls": round(c_calls / path.operations, 2),
        "blocks": blocks,
        "peak": peak,
    }


def profile(path: guard_paths.Path) -> str:
    """What one operation calls, a line for each function that it calls at least once."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            counts[f"{Path(code.co_filename).name}:{code.co_qualname}"] += 1
        elif event == "c_call":
            counts[f"C {getattr(argument, '__qualname__', argument)}"] += 1

    for _ in range(_WARM):
        path.run()
    sys.setprofile(note)
    try:
        path.run()
    finally:
        sys.setprofile(None)
    each = {name: number / path.operations for name, number in counts.most_common()}
    return "\n".join(f"{number:9,.1f}  {name}" for name, number in each.items() if number >= 1)


def _trace(run: Callable[[], Any]) -> tuple[int, int]:
    """Instructions and calls, by the hooks that Python 3.11 has."""
    instructions = calls = 0

    def in_frame(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal instructions
        instructions += event == "opcode"
        return in_frame

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal calls
        calls += 1
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return in_frame

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        run()
    finally:
        sys.settrace(before)
    return instructions, calls


def _monitor(run: Callable[[], Any]) -> tuple[int, int]:
    """The same by those of 3.12 and later, which are quicker."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    events = monitoring.events
    instructions = calls = 0

    def on_instruction(code: CodeType, offset: int) -> None:
        nonlocal instructions
        instructions += 1

    def on_call(code: CodeType, offset: int) -> None:
        nonlocal calls
        calls += 1

    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "guard")
    try:
        monitoring.register_callback(tool, events.INSTRUCTION, on_instruction)
        for event in (events.PY_START, events.PY_RESUME):
            monitoring.register_callback(tool, event, on_call)
        monitoring.set_events(tool, events.INSTRUCTION | events.PY_START | events.PY_RESUME)
        run()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return instructions, calls


_instructions = _monitor if sys.version_info >= (3, 12) else _trace


def _c_calls(run: Callable[[], Any]) -> int:
    calls = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "c_call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def _blocks(run: Callable[[], Any]) -> int:
    before = sys.getallocatedblocks()
    result = run()
    kept = sys.getallocatedblocks() - before
    del result
    return kept


def _peak(run: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        run()
        return -(-tracemalloc.get_traced_memory()[1] // 1024)
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    sys.exit(main())
