"""The settings of TLS, and which of them contradict each other."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from pgwire.config import Secret
from pgwire.parameters import PARAMETERS
from tests.support.settings import config, not_supported, refusal


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    """A context that verifies certificates and names."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture(scope="module")
def lax_context() -> ssl.SSLContext:
    """A context that verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "mode", ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
)
def test_all_six_modes(mode: str) -> None:
    assert config(sslmode=mode).sslmode == mode
    assert config("", {"PGSSLMODE": mode}).sslmode == mode


def test_the_old_ways_to_require_tls() -> None:
    assert config("requiressl=1").sslmode == "require"
    assert config("", {"PGREQUIRESSL": "1"}).sslmode == "require"
    assert config("", {"PGREQUIRESSL": "0"}).sslmode == "prefer"
    assert config("", {"PGREQUIRESSL": "1", "PGSSLMODE": "allow"}).sslmode == "allow"


def test_the_systems_certificates_need_verify_full() -> None:
    assert config(sslrootcert="system").sslmode == "verify-full"
    assert config("", {"PGSSLROOTCERT": "system"}).sslmode == "verify-full"
    assert config(sslrootcert="system", sslmode="verify-full").sslrootcert == "system"
    for mode in ("disable", "allow", "prefer", "require", "verify-ca"):
        assert refusal(sslrootcert="system", sslmode=mode).startswith("sslrootcert=system needs")


def test_verify_full_needs_a_name_to_verify() -> None:
    assert "needs a host" in refusal(hostaddr="10.0.0.1", sslmode="verify-full")
    assert "needs a host" in refusal("host=a, hostaddr=::1,::2", sslmode="verify-full")
    assert config(host="a", hostaddr="10.0.0.1", sslmode="verify-full").sslmode == "verify-full"


def test_secure_is_verify_full() -> None:
    found = config(secure=True)
    assert (found.secure, found.sslmode) == (True, "verify-full")
    assert config(secure=True, sslmode="verify-full").sslmode == "verify-full"
    assert config("", {"PGSSLMODE": "disable"}, secure=True).sslmode == "verify-full"
    assert config(secure=True, sslrootcert="system").sslrootcert == "system"
    assert config("sslmode=disable", secure=False).sslmode == "disable"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_secure_contradicts_a_weaker_mode(mode: str) -> None:
    assert "contradicts" in refusal(secure=True, sslmode=mode)
    assert "contradicts" in refusal(f"sslmode={mode}", secure=True)


def test_secure_contradicts_what_weakens_authentication() -> None:
    assert "allow_cleartext contradicts" in refusal(secure=True, allow_cleartext=True)
    assert "channel_binding=disable contradicts" in refusal(secure=True, channel_binding="disable")


def test_a_context_asks_for_tls(context: ssl.SSLContext) -> None:
    found = config(ssl_context=context)
    assert found.ssl_context is context
    assert found.sslmode == "require"
    assert config("", {"PGSSLMODE": "allow"}, ssl_context=context).sslmode == "require"
    assert config("", {"PGSSLMODE": "verify-full"}, ssl_context=context).sslmode == "verify-full"
    assert config(sslmode="prefer", ssl_context=context).sslmode == "prefer"
    assert config(secure=True, ssl_context=context).sslmode == "verify-full"


def test_a_context_contradicts_sslmode_disable(context: ssl.SSLContext) -> None:
    wanted = "ssl_context contradicts sslmode=disable"
    assert refusal(ssl_context=context, sslmode="disable") == wanted
    assert refusal("sslmode=disable", ssl_context=context) == wanted
    assert refusal("", {"PGSSLMODE": "disable"}, ssl_context=context) == wanted


def test_a_context_brings_its_own_certificates(context: ssl.SSLContext) -> None:
    assert config("", {"PGSSLROOTCERT": "system"}, ssl_context=context).sslrootcert is None


@pytest.mark.parametrize(
    "name",
    [
        *("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    ],
)
def test_nothing_is_given_beside_a_context_that_it_has_itself(
    context: ssl.SSLContext, name: str
) -> None:
    text = refusal(ssl_context=context, **{name: "TLSv1.3"})
    assert text == f"ssl_context has all that itself: {name} is too much"
    if (env := PARAMETERS[name].env) is not None:
        assert config("", {env: "TLSv1.3"}, ssl_context=context).ssl_context is context


def test_files_of_tls() -> None:
    names = ("sslcert", "sslkey", "sslcrl", "sslcrldir")
    found = config(**{name: Path(f"/{name}") for name in names}, sslpassword="pw")
    assert [getattr(found, name) for name in names] == [f"/{name}" for name in names]
    assert found.sslpassword == Secret("pw")
    assert config(" ".join(f"{name}=''" for name in (*names, "sslpassword"))) == config()
    assert config(sslcertmode="disable").sslcertmode == "disable"


def test_versions_of_tls() -> None:
    assert config(ssl_min_protocol_version="tlsv1.3").ssl_min_protocol_version == "TLSv1.3"
    assert config("ssl_min_protocol_version=''").ssl_min_protocol_version == ""
    assert config("", {"PGSSLMAXPROTOCOLVERSION": "TLSV1.2"}).ssl_max_protocol_version == "TLSv1.2"
    assert config("ssl_max_protocol_version=''").ssl_max_protocol_version == ""
    text = refusal(ssl_min_protocol_version="TLSv1.3", ssl_max_protocol_version="TLSv1.2")
    assert text == "ssl_min_protocol_version is above ssl_max_protocol_version"
    assert "is above" in refusal(ssl_max_protocol_version="TLSv1.1")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_from_the_first_byte_on(mode: str) -> None:
    found = config(sslnegotiation="direct", sslmode=mode)
    assert found.sslnegotiation == "direct"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_tls_from_the_first_byte_on_goes_with_no_weaker_mode(mode: str) -> None:
    assert "sslmode=require or better" in refusal(sslnegotiation="direct", sslmode=mode)
    assert "sslmode=require or better" in refusal("", {"PGSSLNEGOTIATION": "direct"})


def test_a_name_that_is_not_sent_cannot_be_verified() -> None:
    assert config(sslsni=0).sslsni is False
    assert config(sslsni="0", sslmode="verify-ca").sslsni is False
    assert "sslsni=0 is not supported" in not_supported(sslsni=0, sslmode="verify-full")


def test_a_context_must_verify_what_the_mode_promises(lax_context: ssl.SSLContext) -> None:
    assert config(ssl_context=lax_context).sslmode == "require"
    assert "check_hostname" in refusal(ssl_context=lax_context, sslmode="verify-full")
    assert "check_hostname" in refusal(ssl_context=lax_context, secure=True)
    assert "verifies" in refusal(ssl_context=lax_context, sslmode="verify-ca")
