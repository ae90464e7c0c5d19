"""The user's files: where they are, and when a password file is left alone."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from pgwire.config import Secret
from pgwire.files import PassFile, read_text, user_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A password file as it should be."""
    path = tmp_path / "pgpass"
    path.write_bytes(b"*:*:*:*:pw\n")
    path.chmod(0o600)
    return path


def test_where_they_are() -> None:
    found = user_files({"HOME": "/home/me"})
    assert found.passfile == "/home/me/.pgpass"
    assert found.services == "/home/me/.pg_service.conf"


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}])
def test_without_home_the_account_knows(environ: dict[str, str]) -> None:
    pwd = pytest.importorskip("pwd")
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert user_files(environ).passfile == f"{home}/.pgpass"


def test_an_account_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    pwd = pytest.importorskip("pwd")

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    found = user_files({})
    assert (found.passfile, found.services) == (None, None)


def test_text_is_utf8_or_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("é\r\n".encode() + b"\xff")
    assert read_text(str(path)) == "é\r\n\udcff"


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_text(str(tmp_path)) is None
    assert read_text(str(tmp_path / "nowhere")) is None
    assert read_text("a\0b") is None
    assert PassFile(str(tmp_path / "nowhere")).read() is None
    assert PassFile("a\0b").read() is None


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_password_file_of_the_users_own(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert PassFile(str(path)).read() == Secret("*:*:*:*:pw\n")


def test_it_is_read_anew_each_time(path: Path) -> None:
    file = PassFile(str(path))
    assert file.read() == Secret("*:*:*:*:pw\n")
    path.write_bytes(b"other")
    assert file.read() == Secret("other")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_one_that_others_have_access_to_is_ignored(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.chmod(mode)
    file = PassFile(str(path))
    assert file.read() is None
    assert file.read() is None
    (record,) = caplog.records  # once, however many connections there are
    assert (record.name, record.levelno) == ("pgwire", logging.WARNING)
    assert record.getMessage() == (
        f"the password file {path} is ignored: others than its owner have access to it; "
        "chmod 0600 mends that"
    )
    path.chmod(0o600)
    assert file.read() is not None


def test_what_is_no_plain_file_is_ignored_and_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    assert PassFile(str(pipe)).read() is None
    assert caplog.messages == [f"the password file {pipe} is ignored: it is no plain file"]


def test_a_link_counts_as_what_it_leads_to(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert PassFile(str(link)).read() is not None
    path.chmod(0o644)
    assert PassFile(str(link)).read() is None
