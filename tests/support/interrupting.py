"""What the storms of interruptions share: their numbers, what is asked, and what must hold.

Whatever is interrupted writes in batches, each all or nothing, and knows its answers. Neighbours
ask for what only they can know, and are never to fail. Moments are drawn over the life of the work,
as it was when nobody interrupted it: a seed gives the same ones, in units of that.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from hashlib import md5

# How many interruptions; a thousand is what is promised, and takes some minutes.
INTERRUPTIONS = int(os.environ.get("PGWIRE_INTERRUPTIONS", "40"))
SEED = os.environ.get("PGWIRE_INTERRUPTIONS_SEED", "moments")
PATIENCE = 60.0 + INTERRUPTIONS  # seconds; it bounds what a mistake costs

TABLE = "interrupted"
CREATE = f"""
drop table if exists {TABLE};
create unlogged table {TABLE} (batch int8, n int);
create index on {TABLE} (batch);
"""
INSERT = f"insert into {TABLE} values ($1, $2)"
COPY_IN = f"copy {TABLE} from stdin"
FOUND = f"select count(*) from {TABLE} where batch = $1"
ROWS = "select $1::int8 + i as n, repeat('x', 50) as text from generate_series(1, 5000) i"
COPY_OUT = "copy (select i from generate_series({0} + 1, {0} + 50000) i) to stdout"
SLEEP = "select pg_sleep(0.02), $1::int8"
NEIGHBOUR = (
    "select $1::int8, md5($1::int8::text), sum(i * $1::int8)::int8 from generate_series(1, 200) i"
)
BATCH, MANY = 5000, 2000  # records of a COPY, and of a `query_many`


def neighbours_answer(number: int) -> tuple[int, str, int]:
    return number, md5(str(number).encode()).hexdigest(), number * 20_100


def sums_of(start: int) -> int:
    """The sum of the numbers of `ROWS`."""
    return 5000 * start + 12_502_500


def size_of(start: int) -> int:
    """How many bytes `COPY_OUT` gives."""
    return sum(len(f"{n}\n") for n in range(start + 1, start + 50_001))


def script_of(batch: int) -> str:
    inserted = f"insert into {TABLE} select {batch}, i from generate_series(1, {MANY}) i"
    return f"{inserted}; select pg_sleep(0.005); select {batch}::int8"


class Moments:
    """When to strike, in seconds; how long each kind of work takes is told once."""

    def __init__(self) -> None:
        self.dice = random.Random(SEED)
        self.life: dict[str, float] = {}
        self.struck: Counter[str] = Counter()  # by what came of it
        self.closed = 0

    @property
    def are_enough(self) -> bool:
        return self.struck.total() >= INTERRUPTIONS

    def draw(self, what: str) -> float:
        return self.dice.uniform(0.0, 1.1) * self.life[what]
