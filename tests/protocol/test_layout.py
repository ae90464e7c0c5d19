"""How CPython keeps the attributes of a query, which are set for each."""

from __future__ import annotations

import subprocess
import sys

_BURST = """
import gc
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session

DESCRIBED = b"1\\0\\0\\0\\4" + b"t\\0\\0\\0\\6\\0\\0" + b"n\\0\\0\\0\\4"
DONE = b"2\\0\\0\\0\\4" + b"C\\0\\0\\0\\x0dSELECT 0\\0" + b"Z\\0\\0\\0\\5I"
queries = [Query("select") for _ in range(100)]
session = Session(TypeRegistry())
for query in queries[:10]:
    query.waiter = object()
    session.submit(query)
    session.data_to_send()
    session.receive_data(DESCRIBED if query is queries[0] else b"")
    session.data_to_send()
    session.receive_data(DONE)
    assert query.done and query.error is None, query
print(sum(isinstance(kept, dict) for query in queries[1:] for kept in gc.get_referents(query)))
"""


def test_a_burst_of_queries_costs_no_dict_for_each() -> None:
    """But for one that prepares. In an interpreter of its own, as its first objects settle it."""
    found = subprocess.run(
        [sys.executable, "-c", _BURST], capture_output=True, text=True, check=True
    )
    assert found.stdout == "0\n"
