"""Ctrl-C at a moment of one's choice: the n-th of those at which Python looks for it."""

from __future__ import annotations

import dis
import sys
import threading
from contextlib import suppress
from functools import cache
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from tests.support import heap

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_CALLS = frozenset(
    code for name, code in dis.opmap.items() if name.startswith("CALL") and "INTRINSIC" not in name
)
_JUMPS_BACK = frozenset(
    code
    for name, code in dis.opmap.items()
    if "JUMP_BACKWARD" in name and "NO_INTERRUPT" not in name
)
# From Python 3.14 on a `with` is entered by a call, behind which Python does not look; 3.14 itself
# does, by mistake (gh-148874).
_ENTERS = dis.opmap.get("LOAD_SPECIAL", -1)
_UNIT = 2  # bytes of an instruction
_RESUME, _AFTER_AWAIT = dis.opmap["RESUME"], 2

_TOOL = 4  # of those that are nobody's by name


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, but ours."""


class Strike:
    """Ctrl-C the n-th time that Python looks for it while the calling thread is in these files.

    It looks when a function begins and when a built-in one has returned. (And at the end of a
    loop's body: `StrikeAnywhere` knows that as well.)
    """

    def __init__(self, nth: int, files: frozenset[str]) -> None:
        self._left = nth
        self.files = files
        self.at = ""

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event not in ("call", "c_return") or frame.f_code.co_filename not in self.files:
            return
        if event == "c_return" and getattr(arg, "__name__", "") == "__enter__":
            return  # see `_ENTERS`
        self.count(frame)

    def count(self, frame: FrameType) -> None:
        """One more moment."""
        self._left -= 1
        if self._left < 0 and not self.at:
            self.at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            raise Interrupted


class StrikeAnywhere(Strike):
    """The same to the last moment, for what is short: it goes from instruction to instruction.

    Python looks when a function of its own begins, when any other call has returned, that of a
    class included, and when a loop jumps back. It does not when a function of its own returns.
    """

    def __init__(self, nth: int, files: frozenset[str]) -> None:
        super().__init__(nth, files)
        self._done: dict[FrameType, int] = {}  # the instruction before, in each frame
        self._looked: set[FrameType] = set()  # it has called a function that looked by itself
        self._codes: dict[CodeType, bytes] = {}
        self._thread = threading.get_ident()

    def begins(self, frame: FrameType) -> bool:
        """A function begins: whether it is in one of the files."""
        if frame.f_code.co_filename not in self.files:
            return False
        self._done[frame] = frame.f_lasti
        self.enter(frame)
        return True

    def enter(self, frame: FrameType) -> None:
        """A function begins, in one of the files."""
        self.count(frame)

    def forget(self) -> None:
        """Keep no frame, and nothing that is in one, alive."""
        self._done.clear()
        self._looked.clear()

    def goes_on(self, frame: FrameType, offset: int) -> None:
        """One more instruction, of a function that is in one of the files."""
        code = frame.f_code
        if code not in self._codes:
            self._codes[code] = code.co_code
        instructions, at = self._codes[code], self._done.get(frame, 0)
        done, before = instructions[at], instructions[at - _UNIT]
        self._done[frame] = offset
        called = done in _CALLS and before != _ENTERS and frame not in self._looked
        if called or done in _JUMPS_BACK:
            self.count(frame)
        self._looked.discard(frame)

    # Up to Python 3.11

    def __call__(self, frame: FrameType, event: str, _arg: object) -> Any:
        if event == "opcode":
            self.goes_on(frame, frame.f_lasti)
        elif event == "call":
            caller = frame.f_back
            # What a built-in function has called has another name than what was called here.
            if caller in self._done and frame.f_code.co_name in caller.f_code.co_names:
                self._looked.add(caller)
            if _goes_on(frame) and frame.f_code.co_filename in self.files:
                self._done[frame] = frame.f_lasti
            elif not self.begins(frame):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self

    # Since Python 3.12, where events are everybody's

    def on_start(self, _code: CodeType, _offset: int) -> None:
        if threading.get_ident() == self._thread:
            self.begins(sys._getframe(1))

    def on_call(self, _code: CodeType, _offset: int, called: object, _first: object) -> None:
        if threading.get_ident() == self._thread and isinstance(called, FunctionType | MethodType):
            self._looked.add(sys._getframe(1))

    def on_instruction(self, _code: CodeType, offset: int) -> None:
        if threading.get_ident() == self._thread:
            self.goes_on(sys._getframe(1), offset)


def strike_at(nth: int, call: Callable[[], object], files: frozenset[str]) -> str:
    """Where it struck; nowhere if there were not so many moments."""
    strike = Strike(nth, files)
    sys.setprofile(strike)
    try:
        call()
    except Interrupted:
        pass
    finally:
        sys.setprofile(None)
    return strike.at


def strike_anywhere(nth: int, call: Callable[[], object], files: frozenset[str]) -> str:
    """The same with every moment that there is. What is measured by tracing meanwhile is not."""
    return strike_with(StrikeAnywhere(nth, files), call)


def strike_with(strike: StrikeAnywhere, call: Callable[[], object]) -> str:
    """The same with a strike of one's own."""
    go = _traced if sys.version_info < (3, 12) else _monitored
    with suppress(Interrupted):
        go(strike, call)
    strike.forget()
    return strike.at


def _traced(strike: StrikeAnywhere, call: Callable[[], object]) -> None:
    before = sys.gettrace()
    sys.settrace(strike)
    try:
        call()
    finally:
        sys.settrace(before)


def _monitored(strike: StrikeAnywhere, call: Callable[[], object]) -> None:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    events, codes = monitoring.events, codes_of(strike.files)
    monitoring.use_tool_id(_TOOL, "striking")
    monitoring.register_callback(_TOOL, events.PY_START, strike.on_start)
    monitoring.register_callback(_TOOL, events.CALL, strike.on_call)
    monitoring.register_callback(_TOOL, events.INSTRUCTION, strike.on_instruction)
    for code in codes:
        wanted = events.PY_START | events.CALL | events.INSTRUCTION
        monitoring.set_local_events(_TOOL, code, wanted)
    try:
        call()
    finally:
        for code in codes:
            monitoring.set_local_events(_TOOL, code, 0)
        monitoring.free_tool_id(_TOOL)


def _goes_on(frame: FrameType) -> bool:
    """Whether it is a coroutine that goes on after an `await`: Python does not look there."""
    instruction = frame.f_code.co_code[frame.f_lasti : frame.f_lasti + _UNIT]
    return instruction[0] == _RESUME and instruction[1] >= _AFTER_AWAIT


@cache
def codes_of(files: frozenset[str]) -> list[CodeType]:
    """What the functions of these files are made of."""
    codes: list[CodeType] = []
    codes.extend(f.__code__ for f in heap.functions() if f.__code__.co_filename in files)
    for code in codes:  # which grows: comprehensions, and functions within functions
        codes.extend(const for const in code.co_consts if isinstance(const, CodeType))
    assert codes, "there is nothing to strike"
    return codes
