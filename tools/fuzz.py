"""Feed the parsers with inputs that a fuzzer makes up, looking for new paths through the code.

    python tools/fuzz.py [--seconds 60] [--rounds 1] [TARGET …]     all targets, one after the other
    python tools/fuzz.py --replay [TARGET [FILE …]]                 inputs, or folders of them
    python tools/fuzz.py --list

Targets are those of tests/fuzz/targets.py; atheris (libFuzzer for Python) makes the inputs. What
it has found worth keeping stays in .fuzz/corpus, so that the next run goes on from there; an input
that a target fails on is written to .fuzz/crashes. Fails if there is one. Without files --replay
runs all that is kept; by coverage.py, it shows what is never reached.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
SEEDS = ROOT / "tests" / "fuzz" / "corpus"
WORDS = ROOT / "tests" / "fuzz" / "dictionaries"
WORK = ROOT / ".fuzz"
# What one input may take, in seconds and megabytes, and how many bytes it has at most.
LIMITS = ("-timeout=20", "-report_slow_units=3", "-rss_limit_mb=2048", "-max_len=4096")
CRASHES = ("crash-", "timeout-", "oom-")


def load_targets() -> dict[str, Callable[[bytes], None]]:
    sys.path.insert(0, str(ROOT))
    from tests.fuzz.targets import TARGETS

    return TARGETS


def run_here(target: str, arguments: Sequence[str]) -> None:
    """Become the fuzzer of one target; never returns."""
    import atheris

    atheris.enabled_hooks.add("str")  # what a text is compared with is tried as an input
    with atheris.instrument_imports(include=["pgwire", "tests.fuzz"]):
        targets = load_targets()
    atheris.Setup([sys.argv[0], *arguments], targets[target])
    atheris.Fuzz()


def fuzz(target: str, seconds: int) -> list[Path]:
    """Fuzz one target in a process of its own; the inputs that it failed on."""
    corpus, crashes = WORK / "corpus" / target, WORK / "crashes" / target
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    seeds = [str(SEEDS / target)] if (SEEDS / target).is_dir() else []
    arguments = [*LIMITS, f"-max_total_time={seconds}", "-print_final_stats=1"]
    words = WORDS / f"{target.partition('_')[0]}.dict"
    arguments += [f"-dict={words}"] if words.is_file() else []
    arguments += [f"-artifact_prefix={crashes}/", str(corpus), *seeds]
    log = WORK / f"{target}.log"
    with log.open("w") as out:
        command = [sys.executable, __file__, "--here", target, "--", *arguments]
        status = subprocess.run(command, cwd=ROOT, stdout=out, stderr=out, check=False).returncode
    print(f"{target:28}{summary(log.read_text(errors='replace'))}", flush=True)
    # Files called slow-unit- are remarks: the machine may have been busy.
    found = sorted(p for p in set(crashes.iterdir()) - before if p.name.startswith(CRASHES))
    if status and not found:
        raise SystemExit(f"{target} could not be run: see {log}")
    for path in found:
        show(target, path, log)
    return found


def summary(log: str) -> str:
    """What libFuzzer says at the end, in one line."""
    figures = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    stats = dict(re.findall(r"stat::(\w+): +(\d+)", log))
    coverage, features, corpus = figures[-1] if figures else ("?", "?", "?")
    return (
        f"{stats.get('number_of_executed_units', '?'):>9} inputs"
        f"{stats.get('average_exec_per_sec', '?'):>7}/s"
        f"{coverage:>7} places{features:>7} features{corpus:>6} kept"
    )


def show(target: str, path: Path, log: Path) -> None:
    name = path.relative_to(ROOT)
    print(f"  {target} fails on {name} (what it says: {log.relative_to(ROOT)})")
    print(f"  replay it:      .venv/bin/python tools/fuzz.py --replay {target} {name}")
    print(f"  make a test:    mv {name} tests/fuzz/corpus/{target}/what-it-shows")


def inputs(paths: Sequence[str]) -> Iterator[Path]:
    for path in map(Path, paths):
        yield from sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def replay(target: str, paths: Sequence[str]) -> None:
    function = load_targets()[target]
    kept = [str(folder / target) for folder in (SEEDS, WORK / "corpus")]
    for path in inputs(paths or [folder for folder in kept if Path(folder).is_dir()]):
        try:
            function(path.read_bytes())
        except BaseException as error:
            error.add_note(f"with {path}")
            raise


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the parsers: see the top of this file.")
    parser.add_argument("names", nargs="*", metavar="TARGET", help="all without any")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of them are run")
    parser.add_argument("--replay", action="store_true", help="run a target on files or folders")
    parser.add_argument("--list", action="store_true", help="the names of all targets")
    parser.add_argument("--here", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        run_here(options.here, options.names)
    targets = load_targets()
    if options.list:
        print(*targets, sep="\n")
        return 0
    if unknown := {*options.names[: 1 if options.replay else None]} - targets.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}; --list names them all")
    if options.replay:
        for target in options.names[:1] or targets:
            replay(target, options.names[1:])
        return 0
    found: list[Path] = []
    for _ in range(options.rounds):
        for target in options.names or targets:
            found += fuzz(target, options.seconds)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
