"""Accounts: what holds for each, and credentials that follow their files."""

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest

from streams.accounts import CREDENTIAL_BYTES_MAX, AccountBook, Credentials, Limits
from streams.app_options import lane_options
from streams.contracts.journal import Packer
from streams.lane.lane import Lane
from streams.lane.state import Tools
from streams.settings import ConfigError, Settings

FIRST = "91c173bb-28d8-4030-9722-8663ff9589f3"
SECOND = "0b0e7c1e-2f43-4f7c-9a54-1d2f3a4b5c6d"
SECRET = "hunter2-9f8e7d6c"


def settings_with(*accounts: dict[str, Any], **others) -> Settings:
    return Settings.model_validate({"api": {"base_url": "https://api.example"}, "accounts": accounts, **others})


def book_of(environ: dict[str, str] | None = None, **account) -> AccountBook:
    return AccountBook(settings_with({"id": FIRST, **account}), environ or {})


def test_what_is_set_for_an_account_wins_over_what_is_set_for_all():
    book = AccountBook(
        settings_with(
            {"id": FIRST, "key_id": "k", "api_key": "s"},
            {
                "id": SECOND,
                "key_id": "k",
                "api_key": "s",
                "statuses": "none",
                "limits": {"requests_per_minute_per_token": 30},
            },
            limits={"tokens_max": 3},
        )
    )

    assert list(book) == [FIRST, SECOND]
    assert book[FIRST].limits == Limits(3, 60, 10)
    assert book[SECOND].limits == Limits(3, 30, 10)
    assert (book[FIRST].policy, book[FIRST].statuses, book[FIRST].labels) == ("retry", "all", "off")
    assert book[SECOND].statuses == "none"
    assert "unknown" not in book


def test_the_limits_of_an_account_reach_its_lane():
    own = {"tokens_max": 2, "requests_per_minute_per_token": 30, "token_mints_per_30_min": 4}
    settings = settings_with({"id": FIRST, "key_id": "k", "api_key": "s", "limits": own}, limits={"tokens_max": 7})
    book = AccountBook(settings)

    def limits_of(account):
        options = lane_options(settings, FIRST, account)
        return options.tokens_max, options.requests_per_minute_per_token, options.token_mints_per_30_min

    assert limits_of(book[FIRST]) == (2, 30, 4)
    assert limits_of(None) == (7, 60, 10)
    lane = Lane(lane_options(settings, FIRST, book[FIRST]), Tools(Random(), str, PlainSealer(), Packer()))
    assert lane.tokens.pace.limit == 60


class PlainSealer:
    def seal(self, token: str) -> str:
        return token

    def open(self, sealed: str) -> str | None:
        return sealed


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_trailing_line_break_of_a_file_is_dropped(tmp_path, ending):
    (tmp_path / "key").write_bytes(f"{SECRET}{ending}".encode())

    assert book_of(key_id="k", api_key_file=str(tmp_path / "key")).credentials(FIRST) == Credentials("k", SECRET)


def test_credentials_come_from_variables_too():
    book = book_of({"ID": "k", "KEY": SECRET}, key_id_env="ID", api_key_env="KEY")

    assert book.credentials(FIRST).api_key == SECRET
    assert book.check() == []


def test_credentials_hide_themselves():
    assert SECRET not in repr(Credentials("k", SECRET))
    assert SECRET not in f"{book_of(key_id='k', api_key=SECRET)!r}"


UNUSABLE = [
    pytest.param(b"", "is missing or empty", id="empty"),
    pytest.param(b"\n", "is missing or empty", id="line break alone"),
    pytest.param(b"hunter2 9f8e7d6c", "holds white space", id="space inside"),
    pytest.param(b"hunter2\n9f8e7d6c", "holds white space", id="two lines"),
    pytest.param(b"hunter2\xff\xfe", "not plain ASCII", id="not ASCII"),
    pytest.param(b"h" * (CREDENTIAL_BYTES_MAX + 1), "is longer than 4096 bytes", id="too long"),
]


@pytest.mark.parametrize(("content", "expected"), UNUSABLE)
@pytest.mark.faults("F88")
def test_an_unusable_file_is_named_and_not_quoted(tmp_path, content, expected):
    path = tmp_path / "key"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=expected) as raised:
        book_of(key_id="k", api_key_file=str(path)).credentials(FIRST)

    assert f"account {FIRST}: api_key_file {path}: " in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.timeout(10)
def test_a_pipe_does_not_hold_up_whoever_reads_it(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    (problem,) = book_of(key_id="k", api_key_file=str(path)).check()

    assert problem == f"account {FIRST}: api_key_file {path}: is a pipe; name a file, it is read more than once"


def test_everything_that_is_missing_is_told_at_once(tmp_path):
    problems = book_of(key_id_env="NO_SUCH", api_key_file=str(tmp_path / "no")).check()

    assert problems == [
        f"account {FIRST}: key_id_env NO_SUCH: is missing or empty; put the credential there",
        (
            f"account {FIRST}: api_key_file {tmp_path / 'no'}: cannot be read (No such file or directory);"
            " check the path, the mount and the mode"
        ),
    ]


def test_an_account_that_is_not_configured_has_no_credentials():
    with pytest.raises(KeyError):
        book_of(key_id="k", api_key="s").credentials(SECOND)


@pytest.mark.faults("F88")
def test_a_key_is_rotated_as_the_kubelet_does_it(tmp_path):
    mount(tmp_path, "..first", "old-key")
    book = book_of(key_id="k", api_key_file=str(tmp_path / "api-key"))
    assert book.credentials(FIRST).api_key == "old-key"

    mount(tmp_path, "..second", "new-key")

    assert book.credentials(FIRST).api_key == "new-key"


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("key")
    book = book_of(key_id="k", api_key_file=str(tmp_path / "key"))
    first = book.credentials(FIRST)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("read again"))

    assert book.credentials(FIRST) is first


@pytest.mark.faults("F88")
def test_a_file_that_went_away_is_told_and_its_return_is_seen(tmp_path):
    path = tmp_path / "key"
    path.write_text("old-key")
    book = book_of(key_id="k", api_key_file=str(path))
    book.credentials(FIRST)

    path.unlink()
    assert len(book.check()) == 1
    path.write_text("new-key")

    assert book.credentials(FIRST).api_key == "new-key"


def mount(volume: Path, name: str, key: str) -> None:
    """Swap the content of a secret volume: a new directory, and ``..data`` renamed to it in one step."""
    directory = volume / name
    directory.mkdir()
    (directory / "api-key").write_text(key)
    link = volume / "..data_tmp"
    link.symlink_to(name)
    link.replace(volume / "..data")
    if not (volume / "api-key").is_symlink():
        (volume / "api-key").symlink_to("..data/api-key")
