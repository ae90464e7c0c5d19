"""What settings add up to, for tests: configurations, and why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.config import Config, HostSpec, UserFiles, resolve
from pgwire.errors import NotSupportedError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Mapping

MY_FILES = UserFiles("/home/me/.pgpass", "/home/me/.pg_service.conf")


def config(
    conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> Config:
    """What these sources add up to for the operating system's user "me"."""
    return resolve(conninfo, params, environ=environ or {}, default_user="me")


def hosts(conninfo: str = "", **params: Any) -> list[HostSpec]:
    return list(config(conninfo, **params).hosts)


def refusal(conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any) -> str:
    """The text of the ProgrammingError that these sources raise."""
    with pytest.raises(ProgrammingError) as caught:
        config(conninfo, environ, **params)
    return str(caught.value)


def not_supported(
    conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> str:
    """The text of the NotSupportedError that these sources raise."""
    with pytest.raises(NotSupportedError) as caught:
        config(conninfo, environ, **params)
    return str(caught.value)


def with_services(
    text: str, conninfo: str = "", environ: Mapping[str, str] | None = None, /, **params: Any
) -> Config:
    """What these sources add up to where the user's service file says `text`."""
    files = MY_FILES._replace(read={MY_FILES.services: text, "/named": text}.get)
    return resolve(conninfo, params, environ=environ or {}, default_user="me", files=files)
