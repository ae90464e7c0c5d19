"""The protocol core: bytes in, bytes out, no I/O.

A `Session` is fed with what the server sent and yields what is to be written; the work is
done by `Operation` objects. Nothing here knows of sockets, TLS, threads, loops or the time.
"""
