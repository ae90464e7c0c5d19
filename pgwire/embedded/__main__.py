"""`python -m pgwire.embedded [--tls]`: a server until ^C; its URL goes to standard output."""

from __future__ import annotations

import argparse
import select
import signal
import socket
import sys
from typing import NoReturn

from pgwire.embedded import Unavailable, server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwire.embedded")
    parser.add_argument("--tls", action="store_true", help="serve TLS, and verify it in the URL")
    options = parser.parse_args()
    try:
        with server(tls=options.tls) as running:
            print(f"{running.installation}; ^C ends it", file=sys.stderr, flush=True)
            print(running.tls_url if options.tls else running.url, flush=True)
            wait_for_interrupt()
    except KeyboardInterrupt:
        return 0
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1


def wait_for_interrupt() -> NoReturn:
    """Wait for a KeyboardInterrupt, which is raised.

    Before the system call that waits Python does not look for signals: `signal.pause` would sleep
    through one that comes then. Its byte is there to be read.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        former = signal.set_wakeup_fd(theirs.fileno())
        try:
            while True:
                select.select([ours], [], [])
                ours.recv(4096)
        finally:
            signal.set_wakeup_fd(former)


if __name__ == "__main__":
    sys.exit(main())
