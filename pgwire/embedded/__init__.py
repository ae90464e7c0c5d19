"""A throw-away PostgreSQL: for the demo, for our tests, and for the tests of users.

    with pgwire.embedded.server() as server, pgwire.Pool(server.url) as pool:
        ...

`installation` finds PostgreSQL's programs, `cluster` makes a folder with a database cluster,
`launcher` starts and stops the server, and standbys of it. It takes POSIX and the standard
library, half a second, and leaves nothing behind. Must not know anything of the driver: nothing
here connects to the server. Whether it is ready stands in a file, and the roles are made before
the start.

The server listens on 127.0.0.1 with SCRAM-SHA-256, and on a Unix socket without a password,
in a folder that only its own user (and root) can enter. It does not make commits durable.
"""

from pgwire.embedded.installation import Installation, Unavailable, find_installation
from pgwire.embedded.launcher import Server, server, standby

__all__ = ["Installation", "Server", "Unavailable", "find_installation", "server", "standby"]
