"""Pace: how long each statement has been running lately, for who decides what may share.

A short query disturbs nobody that is in flight on the same connection; a long one keeps all who
come after it waiting. How long one will run is not known beforehand, but most programs run the
same statements again and again. So a statement's first run is alone, and what it and the later
ones took tells whether it may share from then on. Pure, like the core: times are told, not taken.

It is not locked: who notes from several threads does so under a lock of their own. To ask needs
none, for it is one look at a dict.
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf

SHORT = 0.002  # seconds that a query may take if others are to wait behind it
_WEIGHT = 0.1  # of a slower run; a statement that jumps from 1 to 10 ms has become long in two

# No run was that long, and no measurement makes it shorter.
_PRIVATE = inf


class Pace:
    """Knows at most `size` statements; those that were run longest ago are forgotten.

    Each run is to be noted, by `note` or by `note_private`. What has been forgotten counts as
    unknown and may not share, so nothing is lost by it but one run that shares.
    """

    __slots__ = ("_size", "_times")

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._times: OrderedDict[str, float] = OrderedDict()  # the one noted last comes last

    def may_share(self, sql: str) -> bool:
        """Whether it has been timed, is short, and does not change its session."""
        return self._times.get(sql, inf) <= SHORT

    def note(self, sql: str, seconds: float) -> None:
        """A run of this statement took so long, from being sent to its end.

        The shortest time counts at once, for what makes a run slower is mostly none of its doing:
        a lock, a cold cache, a busy server. A longer one counts by a tenth, so that some in a row
        do tell that the statement has become slow.
        """
        known = self._times.get(sql, seconds)
        if known != _PRIVATE:
            known = seconds if seconds < known else known + (seconds - known) * _WEIGHT
        self._keep(sql, known)

    def note_private(self, sql: str) -> None:
        """A run of this statement may have changed its session: it is to have that alone."""
        self._keep(sql, _PRIVATE)

    def _keep(self, sql: str, seconds: float) -> None:
        self._times[sql] = seconds
        self._times.move_to_end(sql)
        if len(self._times) > self._size:
            self._times.popitem(last=False)
