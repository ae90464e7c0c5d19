"""The loggers, which say nothing unless a program configures them (`logging`).

`pgwire.connection` (opened, closed, lost, what the server says by itself), `pgwire.pool` (leaks,
failing openings, hooks that raise) and `pgwire.query` (statements, see `log_queries`). No value, no
password and no key is in any line; what a server says, in an error or a notice, may have values.

What a program's handlers and filters raise goes no further, as with what `logging` catches itself:
lines are written in the middle of opening and closing connections, which would be left undone.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


# Else a program that has not configured logging would get warnings on its stderr.
logging.getLogger("pgwire").addHandler(logging.NullHandler())


class _Safe(Adapter):
    """A logger that raises nothing."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        try:
            if self.logger.isEnabledFor(level):
                self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
        except Exception:
            if logging.raiseExceptions and sys.stderr:
                traceback.print_exc()


connection_logger = _Safe(logging.getLogger("pgwire.connection"))
pool_logger = _Safe(logging.getLogger("pgwire.pool"))
query_logger = logging.getLogger("pgwire.query")
