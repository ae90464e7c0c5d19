"""Hosts, passwords and services: what of them comes from where."""

from __future__ import annotations

import pytest

from pgwire.config import HostSpec, Secret, UserFiles, resolve
from pgwire.errors import NotSupportedError, ProgrammingError
from tests.support.settings import MY_FILES, config, with_services


@pytest.mark.parametrize(
    "role", ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
)
def test_all_six_roles_can_be_asked_for(role: str) -> None:
    assert config(target_session_attrs=role).target_session_attrs == role
    assert config("", {"PGTARGETSESSIONATTRS": role}).target_session_attrs == role


def test_who_runs_the_server() -> None:
    assert config(requirepeer="postgres").requirepeer == "postgres"
    assert config("requirepeer=''").requirepeer is None


def test_hosts_in_random_order() -> None:
    assert config(load_balance_hosts="random").load_balance is True
    assert config("load_balance_hosts=disable").load_balance is False


def test_the_password_file_is_the_one_that_is_named_or_the_users() -> None:
    def passfile(conninfo: str = "", **environ: str) -> str | None:
        return resolve(conninfo, environ=environ, default_user="me", files=MY_FILES).passfile

    assert passfile() == "/home/me/.pgpass"
    assert passfile(PGPASSFILE="/env") == "/env"
    assert passfile("passfile=/string", PGPASSFILE="/env") == "/string"
    assert passfile("passfile=''", PGPASSFILE="/env") == "/home/me/.pgpass"
    assert passfile(PGPASSWORD="") == "/home/me/.pgpass"


def test_a_password_file_is_no_matter_where_the_password_is_known() -> None:
    environ = {"PGPASSFILE": "/home/me/.pgpass"}
    assert config("", environ).passfile == "/home/me/.pgpass"
    assert config("password=pw", environ).passfile is None
    assert config("", environ, password=lambda: "pw").passfile is None
    assert config("", {"PGPASSWORD": "pw", **environ}).passfile is None


def test_a_service_comes_behind_the_string_and_before_the_environment() -> None:
    text = "[s]\nhost=service\nport=1\nuser=service\ndbname=service\n"
    environ = {"PGSERVICE": "s", "PGPORT": "2", "PGAPPNAME": "env"}
    found = with_services(text, "host=string", environ, user="keyword")
    assert found.hosts == (HostSpec("string", None, 1),)
    assert (found.user, found.dbname, found.application_name) == ("keyword", "service", "env")


def test_the_service_asked_for_is_the_nearest() -> None:
    text = "[a]\nport=1\n[b]\nport=2\n[c]\nport=3\n"
    environ = {"PGSERVICE": "c"}
    assert with_services(text, "", environ).hosts[0].port == 3
    assert with_services(text, "service=b", environ).hosts[0].port == 2
    assert with_services(text, "service=b", environ, service="a").hosts[0].port == 1
    assert with_services(text, "", {"PGSERVICE": ""}).hosts[0].port == 5432


def test_the_service_file_that_is_named_is_the_one_that_is_read() -> None:
    def port_with(conninfo: str, **environ: str) -> int:
        read = {"/env": "[s]\nport=1", "/string": "[s]\nport=2"}.get
        files = UserFiles(read=read)
        found = resolve(conninfo, environ=environ, default_user="me", files=files)
        return found.hosts[0].port

    assert port_with("service=s", PGSERVICEFILE="/env") == 1
    assert port_with("service=s servicefile=/string", PGSERVICEFILE="/env") == 2
    assert port_with("servicefile=/string", PGSERVICEFILE="/env") == 5432
    with pytest.raises(ProgrammingError, match="service file '/nowhere' cannot be read"):
        port_with("service=s", PGSERVICEFILE="/nowhere")


def test_values_of_a_service_are_checked_as_all_others() -> None:
    with pytest.raises(ProgrammingError) as caught:
        with_services("[s]\nport=x", "service=s")
    assert str(caught.value).startswith("port (from the service file) must be a port number")
    refused = r"gssencmode \(from the service file\) is not supported"
    with pytest.raises(NotSupportedError, match=refused):
        with_services("[s]\ngssencmode=require", "service=s")
    with pytest.raises(ProgrammingError, match=r"user \(from the service file\) is not valid"):
        with_services("[s]\nuser=\udcff", "service=s")


def test_what_is_asked_for_explicitly_is_not_weakened_by_a_service() -> None:
    text = "[s]\nsslmode=disable\npassword=pw\nsslrootcert=system\n"
    assert with_services(text, "service=s", secure=True).sslmode == "verify-full"
    assert with_services(text, "service=s sslmode=verify-full").password == Secret("pw")
    assert with_services("[s]\nsslrootcert=system", "service=s").sslmode == "verify-full"
