"""Writes the table of all connection parameters in docs/connecting.md.

    python tools/generate_parameters.py            rewrite what stands between the markers
    python tools/generate_parameters.py --check    exit status 1 where that would change the file

Names, variables, defaults, words and refusals come from `pgwire.parameters`; what each parameter
is for stands here. A parameter without a description is an error, and so is one too many.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pgwire.parameters import OWN_KEYWORDS, PARAMETERS, Form, Parameter

TARGET = Path(__file__).parent.parent / "docs" / "connecting.md"
BEGIN = f"<!-- parameters:begin, written by tools/{Path(__file__).name} -->\n"
END = "<!-- parameters:end -->\n"

_WHAT = {
    "host": "name, address, directory of a Unix socket (begins with `/`) or abstract socket "
    "(begins with `@`); a list, separated by commas",
    "hostaddr": "address to connect to without looking `host` up, which TLS still verifies; a list",
    "port": "port, or the socket's number; one for all hosts, or a list",
    "dbname": "database; the user's name where it is not given",
    "user": "role; the operating system's user where it is not given",
    "password": "password; as a keyword argument also a function that fetches it",
    "passfile": "[password file](#passwords-in-a-file)",
    "service": "name of a [service](#services)",
    "servicefile": "file with [services](#services)",
    "connect_timeout": "seconds for each attempt, looking the host up, TLS, hashing and a "
    "`password` function included; 0 and less: no limit. Fractions as a keyword argument",
    "target_session_attrs": "[role](#roles) that the server must have",
    "load_balance_hosts": "`random`: hosts, and the addresses of each, in random order",
    "client_encoding": "encoding of text on its way",
    "options": "command-line options for the session, such as `-c geqo=off`",
    "application_name": "name for logs and `pg_stat_activity`",
    "fallback_application_name": "the same, where `application_name` is not given",
    "replication": "`database`: a connection for [logical replication](replication.md)",
    "min_protocol_version": "oldest protocol to accept; 3.0",
    "max_protocol_version": "newest protocol to speak; 3.0, or `min_protocol_version`. 3.2 has "
    "longer keys for cancelling",
    "keepalives": "0: no TCP keepalives",
    "keepalives_idle": "seconds of silence before the first keepalive; 0: the system's",
    "keepalives_interval": "seconds between keepalives; 0: the system's",
    "keepalives_count": "lost keepalives that end the connection; 0: the system's",
    "tcp_user_timeout": "milliseconds that data may stay unacknowledged; 0: the system's",
    "sslmode": "whether there is TLS and what it must prove; `prefer` where nothing asks for more",
    "sslrootcert": "file with trusted certificates, or `system`, which needs `verify-full`; "
    "`~/.postgresql/root.crt` where that exists",
    "sslnegotiation": "`direct`: with the first byte (PostgreSQL 17 and later), which needs "
    "`sslmode=require` or better",
    "sslcompression": "compression, which TLS has not any more",
    "sslcert": "file with the client's certificate; `~/.postgresql/postgresql.crt` where that "
    "exists",
    "sslkey": "file with its key, which nobody else may read; `~/.postgresql/postgresql.key`",
    "sslpassword": "the key's password",
    "sslcertmode": "`disable`: no client certificate is sent",
    "sslcrl": "file of revoked certificates; `~/.postgresql/root.crl` where that exists",
    "sslcrldir": "directory of revoked certificates, as `openssl rehash` makes it",
    "sslsni": "0: the host's name is not sent in clear when TLS begins; not with "
    "`sslmode=verify-full`, as Python's ssl verifies only what it sends",
    "sslkeylogfile": "file for the secrets of TLS",
    "ssl_min_protocol_version": "oldest TLS to accept; empty: OpenSSL's",
    "ssl_max_protocol_version": "newest TLS to speak",
    "channel_binding": "[whether SCRAM is bound to the TLS connection](#logins)",
    "require_auth": "[methods of authentication](#logins) that the server may use: a list of "
    "`password`, `md5`, `gss`, `sspi`, `scram-sha-256`, `oauth` and `none`, or with `!` before "
    "each, of those that it may not",
    "requirepeer": "the operating system's user who must run the server behind a Unix socket",
    "scram_client_key": "base64 of SCRAM's ClientKey, in the password's place; with the other",
    "scram_server_key": "base64 of SCRAM's ServerKey, with the other",
    "oauth_issuer": "OAuth",
    "oauth_client_id": "OAuth",
    "oauth_client_secret": "OAuth",
    "oauth_scope": "OAuth",
    "oauth_ca_file": "OAuth",
    "gssencmode": "encryption by GSSAPI, which is never used",
    "krbsrvname": "name of the service, for GSSAPI",
    "gsslib": "library, for GSSAPI",
    "gssdelegation": "delegation of GSSAPI's credentials",
}

_SUPPORT = {
    "client_encoding": "only `UTF8`, whatever it is called, and `auto`: it holds all text that "
    "Python has",
    "sslcompression": "ignored, as by libpq",
    "krbsrvname": "ignored, as GSSAPI is never used",
    "gsslib": "ignored, as GSSAPI is never used",
}


def _support(row: Parameter) -> str:
    """What is served of the words, and why not the rest."""
    if row.name in _SUPPORT:
        return _SUPPORT[row.name]
    if row.served is None:
        if row.form is Form.WORD:
            return ", ".join(f"`{word}`" for word in row.words)
        return "yes"
    served = ", ".join(f"`{word}`" for word in sorted(row.served))
    return f"only {served}: {row.reason}" if served else f"no: {row.reason}"


def table() -> str:
    """The whole of it, in Markdown."""
    if difference := PARAMETERS.keys() ^ _WHAT.keys():
        raise SystemExit(f"described, or known, but not both: {', '.join(sorted(difference))}")
    lines = ["| parameter | variable | default | what it is | supported |", "|---|---|---|---|---|"]
    for name, row in PARAMETERS.items():
        env = f"`{row.env}`" if row.env else ""
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{name}` | {env} | {default} | {_WHAT[name]} | {_support(row)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = TARGET.read_text(encoding="utf-8")
    if missing := sorted(name for name in OWN_KEYWORDS if f"`{name}`" not in text):
        raise SystemExit(f"{TARGET} says nothing of the keyword arguments {', '.join(missing)}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    new = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        if new != text:
            print(f"{TARGET} is not up to date: run python tools/{Path(__file__).name}")
        return int(new != text)
    TARGET.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
