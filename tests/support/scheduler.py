"""A scheduler that owns every lock, event, queue and clock, and tries all interleavings.

Of the threads of a scenario exactly one runs at a time. Whatever one may wait for is a model
(`model_threading`) that hands the turn on. Before each such operation there is a choice: go on,
let another thread go on, let time pass to the next deadline, or strike with Ctrl-C where the
scenario allows that. A run is the list of its choices, and does not depend on anything else.

The usual choice is that a thread goes on while it can, and then the oldest that can; time passes
when none can. `explore` runs a scenario again and again, depth first, until every list has been
tried that departs from that at most so many times ("preemptions"). Most mistakes need two. With
`lines`, each line of the given files is a place for a choice too: that finds what threads do to
each other without locks.

Who waits until a moment that has come has timed out, even if what it waits for comes before it
runs: so the two always meet.
"""

from __future__ import annotations

import _thread
import gc
import os
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tests.support import heap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import FrameType

    Condition = Callable[[], bool]

# A run that has not come to its end after so many steps, or moments in time, never will.
_MOST_STEPS = 20_000
_MOST_MOMENTS = 100


class ScheduleFailed(AssertionError):
    """What went wrong, the choices that lead there, and what was done in that order."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.choices = [choice for choice, _ in scheduler.chosen]
        error = scheduler.errors[0]
        steps = "".join(f"\n  {who} {what} {on}" for who, what, on in scheduler.log[-100:])
        schedule = ".".join(map(str, self.choices)) or "0"
        super().__init__(f"{type(error).__name__}: {error}\nschedule {schedule}{steps}")


class Killed(BaseException):
    """Ends the threads of a run that has failed."""


class Abandoned(Exception):
    """The run cannot go on: nobody can, or it has taken too long."""


class ModelThread:
    """A thread whose turn comes from the scheduler. Has what users of `Thread` want."""

    def __init__(
        self,
        scheduler: Scheduler,
        target: Callable[..., object],
        args: Iterable[Any] = (),
        name: str = "thread",
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        scheduler.made += 1
        self.number = scheduler.made
        self.label = f"{name}.{self.number}"
        self.started = self.finished = False
        self.waits_for: Condition | None = None
        self.deadline: float | None = None
        self.timed_out = False
        self.waits_at = ""
        self.ctrl_c: Collection[str] = ()  # where Ctrl-C may strike, once: "acquire", "enter"
        self.struck = False
        self.gate = threading.Lock()
        self.gate.acquire()
        self._target, self._args = target, args
        self._gone = threading.Lock()

    def __hash__(self) -> int:
        """Not the address: the order of sets must not differ from run to run."""
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other

    def start(self) -> None:
        self.scheduler.threads.append(self)
        self.started = True
        self.begin()
        self.scheduler.step("start", self.label)

    def begin(self) -> None:
        """The real thread begins. `Thread` would wait until it runs, which takes longer than it."""
        self._gone.acquire()
        _thread.start_new_thread(self._run, ())

    def join(self, timeout: float | None = None) -> None:
        if not self.started:
            raise RuntimeError("cannot join thread before it is started")
        if not self.finished:
            self.scheduler.wait("join", self.label, lambda: self.finished, timeout)

    def is_alive(self) -> bool:
        return self.started and not self.finished

    @property
    def ident(self) -> int | None:
        return self.number if self.started else None

    def reap(self) -> None:
        """Wait for the real thread, at the end of a run."""
        assert self._gone.acquire(timeout=10), f"{self.label} does not obey"

    @property
    def can_go_on(self) -> bool:
        return (
            self.waits_for is None
            or self.timed_out
            or self.struck
            or (not self.finished and self.waits_for())
        )

    @property
    def is_in_time(self) -> bool:
        """Whether it waits with a deadline that has not come yet."""
        return self.deadline is not None and not self.timed_out

    def itself(self) -> Self:
        return self

    def _run(self) -> None:
        self.gate.acquire()
        scheduler = self.scheduler
        trace_before = sys.gettrace()
        scheduler.trace_lines()
        try:
            if not scheduler.dying:
                self._target(*self._args)
                scheduler.step("exit")  # it has done its last, and is still there
        except Killed:
            pass
        except BaseException as error:
            scheduler.fail(error)
        finally:
            sys.settrace(trace_before)
            self.finished = True
            self.waits_for, self.deadline, self.ctrl_c = _never, None, ()
            scheduler.leave(self)
            self._gone.release()


def _never() -> bool:
    return False


class Scheduler:
    """One run. `choices` are made first, in this order; after them the first option always."""

    def __init__(
        self,
        choices: Sequence[int] = (),
        preemptions: int = 2,
        lines: Collection[str] = (),
    ) -> None:
        self.now = 1000.0
        self.threads: list[ModelThread] = []
        self.made = 0
        self.quiet = False  # no choices: for what comes before and after what is to be tried
        self.dying = False
        self.errors: list[BaseException] = []
        self.log: list[tuple[str, str, str]] = []
        # Every choice that there was: what was chosen, and what else could have been.
        self.chosen: list[tuple[int, int]] = []
        self._choices = choices
        self._left = preemptions
        self._lines = lines
        self._moments = 0
        self._current: ModelThread | None = None
        self._over = threading.Event()

    def run(self, scenario: Callable[[Scheduler], object]) -> None:
        """Run the scenario as the first thread, until all threads have come to their end."""
        first = ModelThread(self, scenario, [self], "main")
        self.threads.append(first)
        first.begin()
        self._current = first
        first.gate.release()
        self._over.wait()
        for thread in self.threads:
            thread.reap()

    @property
    def current(self) -> ModelThread:
        assert self._current is not None
        return self._current

    def clock(self) -> float:
        return self.now

    def spawn(self, target: Callable[..., object], *args: Any, name: str = "user") -> ModelThread:
        """A thread of the scenario's own."""
        thread = ModelThread(self, target, args, name)
        thread.start()
        return thread

    # What threads do

    def step(self, what: str, on: str = "") -> None:
        """The running thread is about to do something: others may go first."""
        self._switch(what, on)

    def wait(self, what: str, on: str, condition: Condition, timeout: float | None) -> bool:
        """Wait until the condition holds; False when time is up. One choice, if it holds."""
        me = self.current
        me.waits_for, me.waits_at = condition, what
        me.deadline = None if timeout is None or timeout < 0 else self.now + timeout
        me.timed_out = me.deadline is not None and me.deadline <= self.now and not condition()
        self._switch(what, on)
        timed_out, me.timed_out = me.timed_out, False
        me.waits_for = me.deadline = None
        me.waits_at = ""
        if me.struck:
            me.struck = False
            raise KeyboardInterrupt
        return not timed_out

    def fail(self, error: BaseException) -> None:
        """The run has failed: nobody goes on."""
        if not self.dying:
            self.errors.append(error)
        self.dying = True

    def leave(self, thread: ModelThread) -> None:
        """The running thread has ended; another one goes on, or the run is over."""
        left = [t for t in self.threads if not t.finished]
        if not left:
            self._over.set()
        elif self.dying:
            self._current = left[0]
            left[0].gate.release()
        else:
            try:
                following = self._choose("end", "")
            except Abandoned as error:
                self.fail(error)
                following = left[0]
            self._current = following
            following.gate.release()

    def trace_lines(self) -> None:
        """Make each line of the files that were asked for a step of the calling thread."""
        if not self._lines:
            return

        def line(frame: FrameType, event: str, _arg: object) -> Any:
            if event == "line" and not self.dying:
                self.step("line", f"{frame.f_code.co_name}:{frame.f_lineno}")
            return line

        def call(frame: FrameType, _event: str, _arg: object) -> Any:
            return line if frame.f_code.co_filename in self._lines else None

        sys.settrace(call)

    # Choices

    def _switch(self, what: str, on: str) -> None:
        me = self.current
        if self.dying:
            raise Killed
        try:
            following = self._choose(what, on)
        except Abandoned as error:
            self.fail(error)
            raise Killed from None
        if following is not me:
            self._current = following
            following.gate.release()
            me.gate.acquire()
            if self.dying:
                raise Killed

    def _choose(self, what: str, on: str) -> ModelThread:
        """Who goes on; before that, time may pass, and Ctrl-C may strike."""
        me = self.current
        self.log.append((me.label, what, on))
        if len(self.log) > _MOST_STEPS:
            raise Abandoned("too many steps")
        while True:
            able = [thread for thread in self.threads if thread.can_go_on]
            stays = me in able
            if stays:
                if self.quiet or not self._left:
                    return me
                able.remove(me)
                able.insert(0, me)
            if picked := self._pick(able):
                return picked

    def _pick(self, able: list[ModelThread]) -> ModelThread | None:
        """One of the options; None if it was that something else happens first.

        That the first of the threads goes on costs nothing.
        """
        options: list[tuple[int, Callable[[], ModelThread | None]]] = []
        options += [(min(number, 1), thread.itself) for number, thread in enumerate(able)]
        if any(thread.is_in_time for thread in self.threads):
            options.append((min(len(able), 1), self._pass_time))
        struck = [thread for thread in self.threads if thread.waits_at in thread.ctrl_c]
        options += [(1, partial(self._strike, thread)) for thread in struck]
        most = 0 if self.quiet else self._left
        options = [option for option in options if option[0] <= most]
        if not options:
            raise Abandoned("nobody can go on")
        choice = 0
        if len(options) > 1:
            taken = len(self.chosen)
            choice = self._choices[taken] if taken < len(self._choices) else 0
            self.chosen.append((choice, len(options)))
        cost, do = options[choice]
        self._left -= cost
        return do()

    def _pass_time(self) -> None:
        """The next deadline has come."""
        self._moments += 1
        if self._moments > _MOST_MOMENTS:
            raise Abandoned("it does not come to its end")
        self.now = min(t.deadline for t in self.threads if t.is_in_time and t.deadline is not None)
        self.log.append(("time", "passes", f"{self.now - 1000:g}"))
        for thread in self.threads:
            if thread.deadline is not None and thread.deadline <= self.now:
                thread.timed_out = thread.timed_out or not thread.can_go_on

    def _strike(self, thread: ModelThread) -> None:
        thread.ctrl_c = ()
        thread.struck = True
        self.log.append((thread.label, "Ctrl-C", ""))


def replay(
    scenario: Callable[[Scheduler], object],
    choices: Sequence[int],
    preemptions: int = 2,
    lines: Collection[str] = (),
) -> Scheduler:
    """Run once, with these choices; raises ScheduleFailed."""
    scheduler = Scheduler(choices, preemptions, lines)
    scheduler.run(scenario)
    if scheduler.errors:
        raise ScheduleFailed(scheduler) from scheduler.errors[0]
    return scheduler


def explore(
    scenario: Callable[[Scheduler], object],
    preemptions: int = 2,
    lines: Collection[str] = (),
) -> int:
    """Try every schedule with at most so many preemptions; how many there were."""
    choices: list[int] = []
    runs = 0
    with _one_processor(), _no_garbage_collection():
        while True:
            runs += 1
            chosen = replay(scenario, choices, preemptions, lines).chosen
            while chosen and chosen[-1][0] + 1 == chosen[-1][1]:
                chosen.pop()
            if not chosen:
                return runs
            choices = [choice for choice, _ in chosen[:-1]] + [chosen[-1][0] + 1]
            if runs % 100 == 0:
                gc.collect()


@contextmanager
def _one_processor() -> Iterator[None]:
    """As only one thread runs at a time, a second processor makes it five times slower."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Destructors of earlier runs would be steps of this one."""
    heap.set_aside()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()
