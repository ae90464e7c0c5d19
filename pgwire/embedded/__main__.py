"""`python -m pgwire.embedded [--tls]`: a server until ^C; its URL goes to standard output."""

from __future__ import annotations

import argparse
import signal
import sys

from pgwire.embedded import Unavailable, server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pgwire.embedded")
    parser.add_argument("--tls", action="store_true", help="serve TLS, and verify it in the URL")
    options = parser.parse_args()
    try:
        with server(tls=options.tls) as running:
            print(f"{running.installation}; ^C ends it", file=sys.stderr, flush=True)
            print(running.tls_url if options.tls else running.url, flush=True)
            while True:
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
