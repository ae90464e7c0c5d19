"""Break the pool's core in every small way there is, and see whether its tests notice.

Runs mutmut, as pyproject.toml configures it, and compares the mutants that survive with those
that docs/mutation-testing.md explains. Fails, and shows them, if there are others, or if one that
is explained there does not survive any more. Takes some minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = ROOT / "docs" / "mutation-testing.md"

# The function, and what was changed in it: lines taken out begin with "-", their successors
# with "+".
Mutant = tuple[str, ...]


def run_here() -> None:
    """Become mutmut, with a watch that ends none but its own children; never returns.

    Its own sends a signal to every process that it has ever begun when that one's time is up, also
    where it has ended long since, and another program has its number by then.
    """
    from mutmut.__main__ import cli

    kill = os.kill

    def kill_child(pid: int, signal: int, /) -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        kill(pid, signal)

    os.kill = kill_child
    cli(["run"])


def mutmut(*arguments: str) -> str:
    """What mutmut prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def function_of(name: str) -> str:
    """`pgwire.pool.core.xǁPoolCoreǁabort__mutmut_9` is `core.PoolCore.abort`."""
    module, function = re.fullmatch(r"pgwire\.pool\.(\w+)\.x_?(\w+)__mutmut_\d+", name).groups()  # type: ignore[union-attr]
    return f"{module}.{function.strip('ǁ').replace('ǁ', '.')}"


def changes(diff: list[str]) -> tuple[str, ...]:
    """The changed lines of a diff, without their indentation."""
    lines = [line for line in diff if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]
    return tuple(line[0] + " " + line[1:].strip() for line in lines)


def surviving() -> set[Mutant]:
    survivors = set()
    for line in mutmut("results").splitlines():
        name, _, outcome = line.strip().partition(": ")
        if outcome == "survived":
            diff = mutmut("show", name).splitlines()
            survivors.add((function_of(name), *changes(diff)))
        elif outcome not in ("", "timeout"):  # that the tests do not end is as good as a failure
            raise SystemExit(f"{name} has not been tested: {outcome}")
    return survivors


def explained() -> set[Mutant]:
    """Every block marked `diff` in the document; its first line is `@@ ` and the function."""
    blocks = re.findall(r"```diff\n(.+?)```", EXPLAINED.read_text(), re.DOTALL)
    mutants = re.split(r"^@@ ", "".join(blocks), flags=re.MULTILINE)[1:]
    return {(m.splitlines()[0].strip(), *changes(m.splitlines()[1:])) for m in mutants}


def show(title: str, mutants: set[Mutant]) -> None:
    if mutants:
        print(title)
    for function, *lines in sorted(mutants):
        print(f"@@ {function}", *lines, sep="\n")


def main() -> int:
    if sys.argv[1:] == ["--here"]:
        run_here()
    # mutmut remembers, but does not see that a test is new.
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    subprocess.run([sys.executable, __file__, "--here"], cwd=ROOT, check=True)
    found, known = surviving(), explained()
    show("No test notices these:", found - known)
    show(f"{EXPLAINED.name} explains these, which do not survive:", known - found)
    print(f"{len(found)} kinds of mutants survive, {len(found & known)} of them explained")
    return int(found != known)


if __name__ == "__main__":
    sys.exit(main())
