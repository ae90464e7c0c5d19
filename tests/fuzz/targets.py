"""The fuzz targets: a table of all of them, by name.

A target is a function of any bytes. It raises nothing: where a parser promises an error, that
error is part of the answer, and everything else is a bug, the target's AssertionErrors included.
They are run in three ways (CONTRIBUTING.md, "Fuzzing"): on the corpus, by Hypothesis
(`test_targets`), and for as long as one likes by a fuzzer that looks for coverage (`make fuzz`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz import logins, messages, rows, sessions, settings, sql, values

if TYPE_CHECKING:
    from collections.abc import Callable

TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": messages.message,
    "error_fields": messages.error_fields,
    "replication": messages.replication,
    "lsn": messages.place,
    **sessions.TARGETS,
    **rows.TARGETS,
    **values.TARGETS,
    **logins.TARGETS,
    **settings.TARGETS,
    **sql.TARGETS,
}
