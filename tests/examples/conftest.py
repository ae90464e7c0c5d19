"""The examples run in processes of their own, and see nothing of this machine's PG* variables."""

from __future__ import annotations

from tests.support.guards import no_environment as no_environment
