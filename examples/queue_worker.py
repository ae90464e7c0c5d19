"""A queue in a table: workers take jobs with FOR UPDATE SKIP LOCKED, and NOTIFY wakes them.

Notifications only say "look". So none is needed: at the beginning, after a gap, and every
`POLL` seconds a worker looks by itself. A job is done in the transaction that takes it away: who is
killed in the middle of one leaves it to another.

    python examples/queue_worker.py DSN put '{"to": "ada@example.org"}'
    python examples/queue_worker.py DSN work        # as many of them as you like; Ctrl-C ends one
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire import Lease, Pool, Row, Subscription

POLL = 30.0  # seconds; a job whose time has come later is found by this

SCHEMA = """
create table if not exists jobs (
    id bigint generated always as identity primary key,
    what jsonb not null,
    due timestamptz not null default now(),
    attempts int not null default 0,
    error text
)"""
PUT = """
with job as (insert into jobs (what) values ($1) returning id)
select id, pg_notify('jobs', '') from job"""  # heard when it is committed, and not before
TAKE = """
select id, what, attempts from jobs where due <= now() order by due, id limit 1
for update skip locked"""
AGAIN = """
update jobs set attempts = attempts + 1, error = $2, due = now() + interval '1 s' * 2 ^ attempts
where id = $1"""

logger = logging.getLogger("queue_worker")


def put(pool: Pool, what: object) -> int:
    """Queue a job; its number."""
    number: int = pool.query(PUT, [pgwire.Json(what)]).one().id
    return number


def do_one(pool: Pool, do: Callable[[Lease, Any], object]) -> bool:
    """Take a job and do it; False if there was none."""
    with pool.transaction() as conn:
        job: Row | None = conn.query(TAKE).first()
        if job is None:
            return False
        try:
            with conn.transaction():  # what a job that fails has done is undone, its row kept
                do(conn, job.what)
                conn.query("delete from jobs where id = $1", [job.id])
        except Exception as error:
            if conn.closed:
                raise
            logger.warning("job %s failed: %r", job.id, error)
            conn.query(AGAIN, [job.id, repr(error)])
    return True


def work(pool: Pool, do: Callable[[Lease, Any], object], jobs: Subscription) -> None:
    """Do all jobs that come, until `jobs`, a subscription to "jobs", is closed."""
    while not jobs.closed:
        try:
            while not jobs.closed and do_one(pool, do):
                pass
        except Exception as error:  # the job is back in its place, and the server will be
            logger.warning("no job could be done: %r", error)
        next(jobs.notifications(timeout=POLL), None)  # a job, a gap, or time: look again


def main(dsn: str, command: str, what: str = "null") -> None:
    with pgwire.Pool(dsn, max_size=3) as pool:
        pool.query(SCHEMA)
        if command == "put":
            print(put(pool, json.loads(what)))
            return
        with pool.listen("jobs") as jobs:
            show = partial(print, flush=True)
            worker = threading.Thread(target=work, args=[pool, lambda _, what: show(what), jobs])
            worker.start()
            try:
                worker.join()
            finally:  # Ctrl-C: the job under way is done
                jobs.close()
                worker.join()


if __name__ == "__main__":
    logging.basicConfig()
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in ("put", "work"):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        pass
    except (pgwire.Error, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
