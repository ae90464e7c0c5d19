"""Driver: one session and its channel, run by whichever thread has the turn.

`_drive` is the loop: write what the session has to say, wait, feed it what has come, until the
operation is done. Most of this file is for when that loop is left early:

- Time is up, or Ctrl-C while waiting: the operation is abandoned, the server is asked to
  cancel, and gets `PATIENCE` to answer; then an empty round trip, so that a cancel request
  that arrives late hits nobody. If that does not come off the connection is closed.
- An exception between reading bytes and having fed them, or in the middle of writing:
  nobody knows what is lost, so the connection is closed (`_unsafe`).

Threads take turns; the same thread coming back (from a callback, say) is an error.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgwire.blocking.canceling import end_what_was_left, have_canceled, is_among_others
from pgwire.blocking.net import Deadline, deadline_in
from pgwire.blocking.together import SharedRun
from pgwire.driving import CANCEL_PATIENCE, CLOSE_PATIENCE, PATIENCE, DriverBase, lost, out_of_time
from pgwire.errors import Error, InterfaceError, OperationalError, PostgresError, QueryTimeout
from pgwire.protocol import frontend
from pgwire.protocol.cleaning import cleaning
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.net import Channel
    from pgwire.blocking.together import Crowd
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session
    from pgwire.tls import TLSLayer

# More than this is written while reading, as it may not fit the socket's buffer.
_PUMP_ABOVE = 32_768

_REENTERED = (
    "this connection is in the middle of an operation of the same thread; "
    "callbacks cannot use the connection that called them"
)

_get_ident = threading.get_ident
_main_thread = threading.main_thread().ident


def _begin_anew() -> None:
    global _main_thread
    _main_thread = _get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Driver(DriverBase):
    """See the module. `cancel_request` opens a second connection and asks for a cancel."""

    def __init__(
        self,
        session: Session,
        channel: Channel,
        cancel_request: Callable[[Driver, float], None],
    ) -> None:
        super().__init__(session)
        self.channel = channel
        self._cancel_request = cancel_request
        # Reentrant for one reason: it knows whose it is, so that giving it back after Ctrl-C
        # does no harm, wherever that struck. `_owner` is what refuses reentry.
        self._turn = threading.RLock()
        self._owner: int | None = None
        self._unsafe = False
        self._caught: bytes | None = None  # what has been read, and not been fed yet
        self._cancelling = threading.Lock()
        self._cancelled = False  # or something was left behind
        self._left: list[Operation] = []

    @property
    def tls(self) -> TLSLayer | None:
        """The encryption in use; None without."""
        return self.channel.tls

    # ---------------------------------------------------------------- running operations

    def start(self, question: Operation, deadline: float | None) -> None:
        """Run what is asked before anybody has it; raises its error, `Deadline` or OSError."""
        self.session.submit(question)
        self._drive(question, deadline)
        if question.error is not None:
            raise question.error
        self.session.events.clear()  # from before anybody could listen

    def run(self, operation: Operation, timeout: float | None = None) -> Any:
        """Run one operation to its end; its result, or its error raised."""
        deadline = None
        if timeout is not None:
            deadline = deadline_in(timeout)
            if timeout <= 0:
                self.refuse()
        turn, me = self._turn, _get_ident()
        if self._owner == me:
            raise InterfaceError(_REENTERED)
        try:
            if not turn.acquire(False):
                self._wait_for_turn(deadline)
            self._owner = me
            session = self.session
            if self._unsafe:
                self.abort()  # Ctrl-C struck twice, and nobody was left to do it
            if session.failure is not None or self.generation != DriverBase.forks:
                self.check_usable()
            if self._cancelled:
                self._outlive_cancel(deadline)
            try:
                self._unsafe = True
                session.submit(operation)
                self._drive(operation, deadline)  # a misfit is done: nothing was written
            except BaseException as error:
                self._stopped(operation, error)
            if session.failure is not None:
                self.abort_when_gone()
            if session.events:
                self.deliver_events_after(operation)
        finally:
            # No call before `release`: only behind one can Ctrl-C strike.
            if self._owner == me:
                self._owner = None
            try:  # noqa: SIM105
                turn.release()
            except RuntimeError:
                pass  # it was never ours
        if operation.error is not None:
            raise operation.error
        return operation.result

    def in_turn(self, work: Callable[[], Any], deadline: float | None, reentered: str) -> None:
        """Do several things in one turn; `reentered` is said to a callback that comes back.

        `run` is the same for one operation, written out, as it is what most of all is called.
        """
        turn, me = self._turn, _get_ident()
        if self._owner == me:
            raise InterfaceError(reentered)
        try:
            if not turn.acquire(False):
                self._wait_for_turn(deadline)
            self._owner = me
            work()
        finally:
            if self._owner == me:
                self._owner = None
            try:  # noqa: SIM105
                turn.release()
            except RuntimeError:
                pass  # it was never ours

    def run_together(self, crowd: Crowd) -> None:
        """Run what the crowd has, and what joins it, in one turn; see `together`. Never raises."""
        with self._turn:
            self._owner = _get_ident()
            try:
                if self._cancelled:
                    with suppress(Error):
                        self._outlive_cancel(monotonic() + PATIENCE)
                self.session.unordered = True  # each operation is somebody else's
                SharedRun(self, crowd).run()
                self._unsafe = False
            finally:
                self._owner = None

    def send_cancel_request(self, deadline: float) -> None:
        """Ask the server to cancel what runs now; `Deadline` when time is up."""
        self._cancel_request(self, deadline)

    def _stopped(self, operation: Operation, error: BaseException) -> None:
        """`_drive` was left before the operation was done."""
        if isinstance(error, OSError):
            self.catch_up()  # the server may have said why
            self.session.fail(lost(error))
            return
        operation.told = out_of_time() if isinstance(error, Deadline) else error
        self._recover(operation)
        self.tell_observers()
        if not isinstance(error, Deadline):
            operation.told = None  # its traceback holds what will not come to its end until then
            raise error
        raise out_of_time(operation, closed=self.closed) from None

    def _wait_for_turn(self, deadline: float | None) -> None:
        if self.generation != DriverBase.forks:
            self.check_usable()  # who holds the turn is not here to give it back
        seconds = -1 if deadline is None else max(deadline - monotonic(), 0)
        if not self._turn.acquire(timeout=seconds):
            raise QueryTimeout("another thread kept the connection busy until time was up")

    def _drive(self, operation: Operation, deadline: float | None) -> None:
        """Write and read until the operation, which has been submitted, is done: it may be."""
        session, channel = self.session, self.channel
        arriving = channel.arriving
        while not operation.done:  # having written its Sync, it has no more to say
            self._unsafe = True
            if out := session.data_to_send():
                if len(out) > _PUMP_ABOVE:
                    self._pump(out, deadline)
                    continue  # the answer may have come meanwhile
                channel.send(out)
            self._unsafe = False
            # Nothing that was read may be lost to Ctrl-C, which strikes at calls.
            if deadline is not None or (arriving is None and _get_ident() == _main_thread):
                channel.wait_readable(deadline)
            if arriving is not None:
                for self._caught in arriving:
                    break
                _get_ident()  # here it does no harm, where it has come together with the bytes
                self._unsafe = True
                data, self._caught = self._caught, None
            else:
                self._unsafe = True
                data = channel.receive()
            if data:
                session.receive_data(data)
            elif data is not None:
                session.receive_eof()
        self._unsafe = False

    def write(self, data: bytes, deadline: float | None) -> None:
        """Send all of it; what may not fit the socket's buffer while reading what comes."""
        if len(data) <= _PUMP_ABOVE:
            self.channel.send(data)
        else:
            self._pump(data, deadline)

    def _pump(self, data: bytes, deadline: float | None) -> None:
        try:
            self.channel.pump(data, self._feed, self.session.data_to_send, deadline)
        except Deadline as time_is_up:
            # Half of it is sent: the rest must follow, or the end.
            if self.channel.tls is None:
                self.session.out.insert(0, time_is_up.unsent)
                self._unsafe = False
            else:  # it is encrypted already, in an order that cannot be changed
                self.abort()
            raise

    def _take(self, data: bytes) -> None:
        if data:
            self.session.receive_data(data)
        else:
            self.session.receive_eof()

    def _feed(self, data: bytes) -> bytes:
        self._take(data)
        return self.session.data_to_send(more=False)

    def _recover(self, operation: Operation) -> None:
        """The loop was left early: bring the conversation to its end, or close."""
        try:
            operation.abandon()
            if self._caught is not None:
                data, self._caught = self._caught, None
                self._take(data)
            if self._unsafe or self.closed:
                self.abort()
                return
            if is_among_others(self.session, operation):
                self.leave_behind(operation)
                return
            if operation.ends_by_itself and not operation.done:
                with suppress(Deadline):
                    self._drive(operation, monotonic() + PATIENCE)
            deadline = monotonic() + PATIENCE
            if not operation.done:
                have_canceled(self, operation, deadline)
            ping = Ping()
            self.session.submit(ping)
            self._drive(ping, deadline)
        except BaseException as error:
            self.abort()
            if not isinstance(error, Deadline | OSError | Error):
                raise
        else:
            if self.session.failure is not None:
                self.abort()

    def _outlive_cancel(self, deadline: float | None) -> None:
        """`cancel()` was called, and must not hit who begins now. What was left is ended, too."""
        floor = self.session.floor
        if floor is not None and floor.holds:
            return  # nothing will begin now
        end_what_was_left(self, deadline)
        seconds = -1 if deadline is None else max(deadline - monotonic(), 0)
        if not self._cancelling.acquire(timeout=seconds):
            raise QueryTimeout("a cancel request was still on its way when time was up")
        self._cancelled = self.session.is_canceled_at_large = False
        self._cancelling.release()
        ping = Ping()
        try:
            self._unsafe = True
            self.session.submit(ping)
            self._drive(ping, deadline)
        except BaseException as error:
            self._stopped(ping, error)

    def cancel(self) -> None:
        """Ask the server to cancel what runs now; any thread may call."""
        try:
            with self._cancelling:
                self._cancelled = self.session.is_canceled_at_large = True
                self._cancel_request(self, monotonic() + CANCEL_PATIENCE)
        except Deadline:
            raise OperationalError(
                f"the cancel request could not be delivered within {CANCEL_PATIENCE:g} s"
            ) from None
        except OSError as error:
            raise OperationalError(f"the cancel request could not be delivered: {error}") from error

    def leave_behind(self, operation: Operation) -> None:
        """An operation nobody goes on with is to be ended before the next. Any thread may call."""
        self._left.append(operation)
        self._cancelled = True

    # ---------------------------------------------------------------- between operations

    def catch_up(self) -> bool:
        """Read what came while nobody waited; whether the connection is still good.

        Never waits. A socket that can be read is not dead: there may be a notice, or the
        replies to a cleaning.
        """
        session, channel = self.session, self.channel
        if session.failure is None and not channel.is_readable():
            return True
        try:
            while session.failure is None:
                data = channel.receive_nowait()
                if data is None:
                    return True
                self._feed(data)
        except BaseException as error:
            session.fail(lost(error))
            if not isinstance(error, OSError | Error):  # Ctrl-C: what has been read may be gone
                raise
        return False

    def clean(self, reset: bool | None = None) -> bool:
        """Write what makes the session fit for its next user, without waiting.

        `reset` as in `protocol.cleaning`. Returns False where the connection is of no more
        use: it is lost, something is under way, or the socket takes nothing.
        """
        session = self.session
        if not session.in_step:
            return False
        clean = cleaning(session, reset)
        if clean is None:
            return True
        if self._owner is not None:
            return False
        try:
            if not self._turn.acquire(False):
                return False
            session.submit(clean)
            return self.channel.send_nowait(session.data_to_send())
        except OSError:
            return False
        finally:
            try:  # noqa: SIM105
                self._turn.release()
            except RuntimeError:
                pass  # it was never ours

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Terminate, read to the server's end (at most 2 s), close. Idempotent."""
        if self.closed:
            return
        if self.generation != DriverBase.forks:
            self.abort()  # the session is the parent's: not a word to the server
            return
        if self._owner == _get_ident():
            raise InterfaceError("a callback cannot close the connection that called it")
        with self._turn:
            try:
                if self.session.failure is None and not self.closed and not self._unsafe:
                    self._say_goodbye()
            finally:
                self.abort()

    def _say_goodbye(self) -> None:
        if (held := self.session.floor) is not None:
            self._recover(held)
        with suppress(OSError, Error):  # gone already: the socket is closed all the same
            self.channel.send(frontend.TERMINATE)
            self._read_to_end()

    def _read_to_end(self) -> None:
        """Wait until the server has closed its end, for `CLOSE_PATIENCE` at most."""
        deadline = monotonic() + CLOSE_PATIENCE
        with suppress(Deadline, OSError, Error):
            while True:
                self.channel.wait_readable(deadline)
                if self.channel.receive() == b"":
                    return

    def abort_when_gone(self) -> None:
        """The session has failed. A server that said so is about to end: wait for that.

        Else there might be one backend more than are counted, for a moment.
        """
        try:
            if isinstance(self.session.failure, PostgresError) and not self.closed:
                self._read_to_end()
        finally:
            self.abort()

    def drop(self) -> None:
        """Close the socket of a connection that belongs to the parent process: only here."""
        self.closed = True
        self.channel.close()

    def interrupt(self, *, always: bool = False) -> None:
        """End what another thread is doing here: on the server, then by cutting the line.

        `always` cuts the line even if nothing is being done.
        """
        deadline = monotonic() + PATIENCE
        with suppress(Deadline, OSError, Error):
            # The time is looked at here too: behind a pooler that gives no key there is
            # nothing to ask, and asking never runs out of time.
            while self._owner is not None and monotonic() < deadline:
                self._cancel_request(self, deadline)
                # The request may have overtaken its query, and hit nothing: ask again.
                if self._turn.acquire(timeout=0.1):
                    self._turn.release()
        if always or self._owner is not None:
            self.channel.shut_down()

    def abort(self) -> None:
        """Close the socket now, without a word."""
        self.closed = True
        self.session.fail(InterfaceError("the connection is closed"))
        self.channel.close()
        self.note_end()
