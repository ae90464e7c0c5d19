"""A login by SCRAM with nothing around it: no client can take less, as the rest is the server's.

A bare socket, a StartupMessage with the least that there can be, keys that have been derived
before; what comes is cut into messages, and nothing is verified. Not for anything but comparing.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
from base64 import b64decode, b64encode

import pgwire
from pgwire.protocol.scram_keys import ScramKeys

_CHALLENGE = re.compile(rb"r=([^,]+),s=([^,]+),i=(\d+)")


class Login:
    """`connect` opens a session, to be ended by the `close` of what it gives."""

    def __init__(self, url: str) -> None:
        self._given = pgwire.conninfo_to_dict(url)
        self._keys: dict[bytes, ScramKeys] = {}
        said = f"user\0{self._given['user']}\0database\0{self._given['dbname']}\0\0".encode()
        self._startup = _with_length(struct.pack("!i", 3 << 16) + said)

    def connect(self) -> _Session:
        session = _Session(self._given["host"], int(self._given["port"]))
        session.sock.sendall(self._startup)
        session.receive(b"R")
        bare = b"n=*,r=" + secrets.token_urlsafe(24).encode()
        first = b"n,," + bare
        length = struct.pack("!i", len(first))
        session.sock.sendall(b"p" + _with_length(b"SCRAM-SHA-256\0" + length + first))
        challenge = session.receive(b"R")[4:]
        found = _CHALLENGE.match(challenge)
        assert found is not None
        without_proof = b"c=biws,r=" + found[1]
        proof = self._keys_for(found[2], int(found[3])).client_proof(
            b"%b,%b,%b" % (bare, challenge, without_proof)
        )
        session.sock.sendall(b"p" + _with_length(without_proof + b",p=" + b64encode(proof)))
        session.receive(b"Z")
        return session

    def _keys_for(self, salt: bytes, iterations: int) -> ScramKeys:
        if salt not in self._keys:
            password = self._given["password"].encode()
            self._keys[salt] = ScramKeys.derive(password, b64decode(salt), iterations)
        return self._keys[salt]


class _Session:
    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def receive(self, code: bytes) -> bytes:
        """The body of the next message with this code; others before it are dropped."""
        while True:
            buffer = self._buffer
            end = 1 + struct.unpack_from("!i", buffer, 1)[0] if len(buffer) >= 5 else 5
            if len(buffer) < end or len(buffer) < 5:
                more = self.sock.recv(65_536)
                assert more, "the server has closed the connection"
                self._buffer += more
                continue
            self._buffer = buffer[end:]
            assert buffer[:1] != b"E", buffer
            if buffer[:1] == code:
                return buffer[5:end]

    def close(self) -> None:
        """Terminate, and wait for the server's end."""
        self.sock.sendall(b"X\0\0\0\4")
        while self.sock.recv(65_536):
            pass
        self.sock.close()


def _with_length(body: bytes) -> bytes:
    return struct.pack("!i", 4 + len(body)) + body
