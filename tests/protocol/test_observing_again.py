"""A session that somebody ceases to observe while another begins, in another thread."""

from __future__ import annotations

import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.protocol import observing
from pgwire.protocol.observing import Endpoint, ObservedSession, observe, stop_observing
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from tests.support.backend_double import BackendDouble, run
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from types import FrameType


def begin(session: Session) -> None:
    observe(session, lambda: 0.0, Endpoint(), None)


class AtLine:
    """Somebody begins before the n-th line of this module that this thread comes to."""

    def __init__(self, nth: int, session: Session) -> None:
        self.left = nth
        self._session = session

    def __call__(self, frame: FrameType, event: str, _arg: object) -> Any:
        if frame.f_code.co_filename != observing.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == -1:
                begin(self._session)
        return self


def test_it_is_observed_from_then_on_whenever_that_is() -> None:
    for nth in count():
        session, server = Session(REGISTRY), BackendDouble()
        begin(session)
        stop_observing(session)
        strike, before = AtLine(nth, session), sys.gettrace()
        sys.settrace(strike)
        try:
            session.submit(Query("rows 1"))
        finally:
            sys.settrace(before)
        if strike.left >= 0:
            break
        run(session, server)
        assert isinstance(session, ObservedSession)
        session.take_reports()
        session.submit(Query("rows 2"))
        run(session, server)
        assert [report.sql for report, _ in session.take_reports()] == ["rows 2"]
    assert nth > 2


@pytest.mark.parametrize("step", ["submit", "data_to_send"])
def test_what_had_ended_when_ctrl_c_struck_is_told_with_the_next_step(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(REGISTRY)
    begin(session)
    assert isinstance(session, ObservedSession)
    session.submit(Query("rows 1"))

    def struck(session: ObservedSession) -> None:
        if session._watched[0].done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(ObservedSession, "_look", struck)
        with pytest.raises(KeyboardInterrupt):
            run(session, BackendDouble())
    assert session.take_reports() == []
    if step == "submit":
        session.submit(Ping())
    else:
        session.data_to_send()
    assert [report.sql for report, _ in session.take_reports()] == ["rows 1"]


def test_who_begins_while_another_ends_observes_what_comes_then() -> None:
    session = Session(REGISTRY)
    begin(session)
    assert isinstance(session, ObservedSession)
    stop_observing(session)
    session.is_muted = False  # so another thread has begun, between two steps of this one
    session._be_plain()
    assert isinstance(session, ObservedSession)
