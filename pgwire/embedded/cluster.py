"""A database cluster in a folder of its own, from the first file to the last trace.

Knows the folder, what initdb, single-user mode and openssl put into it, how the postmaster
is run in it, and how it goes away. Must not know ports, URLs, or when to start and stop.

The folder belongs to a janitor, a small shell process that waits for the end of a pipe of
which only we hold the other side. However this process ends, by leaving the block, by an
exception or by SIGKILL, the pipe closes; the janitor ends what is left of the server and
removes the folder. There is no second way out, so what runs every day is what works in the
accident. (A process that we forked and that outlives us holds the pipe open as well.)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pgwire.embedded.installation import (
    Unavailable,
    copy_programs,
    everyone_reaches,
    server_account,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgwire.embedded.installation import Installation

DATABASE: Final = "postgres"

# SIGQUIT ("immediate") is right: whoever could want the data is gone. The pid file vanishes
# when the server is down; rm is tried again as an initdb may still be writing.
_JANITOR: Final = """
read -r _
pid_file=$1/data/postmaster.pid
tries=100
if [ -s "$pid_file" ] && kill -QUIT "$(head -n 1 "$pid_file")"; then
    while [ -e "$pid_file" ] && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
fi
tries=25
until rm -rf "$1" || [ $((tries -= 1)) -eq 0 ]; do sleep 0.2; done
"""

_OPENSSL_CONFIGURATION: Final = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

_OPENSSL_KEY: Final = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
_OPENSSL_STEPS: Final = (
    f"req -x509 {_OPENSSL_KEY} -days 30 -subj /CN=pgwire-embedded-ca"
    " -config openssl.cnf -extensions authority -keyout ca.key -out ca.crt",
    f"req {_OPENSSL_KEY} -subj /CN=localhost"
    " -config openssl.cnf -keyout server.key -out server.csr",
    "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30"
    " -extfile openssl.cnf -extensions server -out server.crt",
)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Make a folder, and the janitor that sees to its end.

    It lies below /tmp: a socket's path may have no more than 103 bytes, and $TMPDIR may be
    where only root comes.
    """
    directory = Path(tempfile.mkdtemp(prefix="pgwire-", dir="/tmp"))
    janitor = subprocess.Popen(
        ["/bin/sh", "-c", _JANITOR, "janitor", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    with janitor:  # leaving it closes the pipe, and waits
        yield directory


class Cluster:
    """A data directory, and the programs that work on it as the right user.

    `beside` is a cluster whose programs are used, as long as it is there.
    """

    def __init__(
        self, installation: Installation, directory: Path, beside: Cluster | None = None
    ) -> None:
        self.installation = installation
        self.directory = directory
        self.data = directory / "data"
        self.pid_file = self.data / "postmaster.pid"
        self.log_file = directory / "log"
        self.log_file.touch()
        self._programs: Path = installation.programs if beside is None else beside._programs
        self._account = server_account()
        # What the environment says to clients and about language is not for this server.
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        self._run: dict[str, Any] = {"cwd": directory, "env": own | {"LC_ALL": "C", "TZ": "UTC"}}
        if self._account is not None:
            uid, gid = self._account
            self._run |= {"user": uid, "group": gid, "extra_groups": []}
            if not everyone_reaches(self._programs):
                self._programs = copy_programs(self._programs, directory / "programs")
            self._give_away()

    def initialize(self, user: str, hba: Iterable[str]) -> None:
        """Make the data directory (manual: "initdb") with these lines in pg_hba.conf."""
        self._call(
            "initdb", "-D", str(self.data), "-U", user, "-E", "UTF8", "--locale=C",
            "--auth=trust", "--no-sync", "--no-instructions",
        )  # fmt: skip
        (self.data / "pg_hba.conf").write_text("\n".join([*hba, ""]))

    def create_roles(
        self, user: str, password: str, logins: Mapping[str, str], arguments: Sequence[str]
    ) -> None:
        """Create the roles, in single-user mode (manual: "postgres"): no client is needed."""
        statements = _role_statements(user, password, logins)
        self._call(
            "postgres", "--single", "-j", "-D", str(self.data), "--exit_on_error=on",
            *arguments, DATABASE,
            stdin="".join(f"{statement};\n\n" for statement in statements),
        )  # fmt: skip

    def copy(self, url: str) -> None:
        """Have the data of the server there, and follow it (manual: "pg_basebackup")."""
        shutil.rmtree(self.data, ignore_errors=True)
        self._call(
            "pg_basebackup", "-D", str(self.data), "-d", url, "--write-recovery-conf",
            "--checkpoint=fast", "--no-sync", "--no-manifest",
        )  # fmt: skip

    def promote(self) -> None:
        """Make the standby that runs here a primary. Returns when it is."""
        self._call("pg_ctl", "promote", "-D", str(self.data), "--wait")

    def make_certificates(self) -> dict[str, str]:
        """Make an authority and a certificate signed by it; returns the settings for them."""
        (self.directory / "openssl.cnf").write_text(_OPENSSL_CONFIGURATION)
        for step in _OPENSSL_STEPS:
            try:
                done = subprocess.run(
                    ["openssl", *step.split()], cwd=self.directory, capture_output=True, text=True
                )
            except FileNotFoundError:
                raise Unavailable(
                    "TLS needs the openssl tool, for a certificate: apt-get install openssl"
                ) from None
            if done.returncode:
                raise Unavailable(f"openssl {step.split()[0]} failed: {complaint(done.stderr)}")
        key = self.directory / "server.key"
        key.chmod(0o600)
        self._give_away()
        return {
            "ssl": "on",
            "ssl_ca_file": str(self.directory / "ca.crt"),
            "ssl_cert_file": str(self.directory / "server.crt"),
            "ssl_key_file": str(key),
        }

    def launch(self, arguments: Sequence[str], inherited: int) -> subprocess.Popen[bytes]:
        """Start the postmaster. In a session of its own: ^C at our terminal is not for it."""
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(inherited,),
                **self._run,
            )

    def ready(self) -> bool:
        """Whether the postmaster says so, in the eighth line of its file."""
        with contextlib.suppress(OSError, IndexError):
            return self.pid_file.read_text().splitlines()[7].strip() == "ready"
        return False

    def _give_away(self) -> None:
        """Make the server's user the owner of all that is in the folder."""
        if self._account is not None:
            owner = "{}:{}".format(*self._account)
            subprocess.run(["chown", "-hR", owner, self.directory], check=True)

    def _call(self, program: str, *arguments: str, stdin: str = "") -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **self._run,
        )
        if done.returncode:
            output = done.stdout.decode(errors="replace")
            raise Unavailable(f"{program} failed: {complaint(output)}")


def _role_statements(user: str, password: str, logins: Mapping[str, str]) -> Iterator[str]:
    """SQL that gives every role the password, stored in the form that its method needs."""
    secret = "'" + password.replace("'", "''") + "'"
    yield "set password_encryption = 'scram-sha-256'"
    yield f"alter role {identifier(user)} password {secret}"
    for name, method in logins.items():
        stored = "md5" if method == "md5" else "scram-sha-256"
        yield f"set password_encryption = '{stored}'"
        yield f"create role {identifier(name)} login password {secret}"


def identifier(name: str) -> str:
    """A name in double quotes, which SQL and pg_hba.conf read alike."""
    return '"' + name.replace('"', '""') + '"'


def complaint(output: str) -> str:
    """What a program's output says of what went wrong."""
    errors: list[str] = re.findall(r"(?:FATAL|error): +(.*)", output)
    lines = [line for line in output.splitlines() if line.strip()]
    return (errors or lines or ["it said nothing"])[-1]
