"""The loggers, which say nothing unless a program configures them (`logging`).

`pgwire.connection` (opened, closed, lost, what the server says by itself), `pgwire.pool` (leaks,
failing openings, hooks that raise) and `pgwire.query` (statements, see `log_queries`). No value, no
password and no key is in any line; what a server says, in an error or a notice, may have values.
"""

from __future__ import annotations

import logging

# Else a program that has not configured logging would get warnings on its stderr.
logging.getLogger("pgwire").addHandler(logging.NullHandler())

connection_logger = logging.getLogger("pgwire.connection")
query_logger = logging.getLogger("pgwire.query")
