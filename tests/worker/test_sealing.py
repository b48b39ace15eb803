"""Journaled tokens: readable by their account's key alone."""

import base64

import pytest

from streams.worker.sealing import AccountSealer, FollowingSealer, NoSealer
from tests.worker.parts import ACCOUNT, OTHER_ACCOUNT

SEALER = AccountSealer(ACCOUNT, "key")


def test_a_sealed_token_can_be_opened_and_not_read():
    sealed = SEALER.seal("the token")
    assert SEALER.open(sealed) == "the token"
    assert b"token" not in base64.b64decode(sealed)
    assert AccountSealer(ACCOUNT, "key").open(sealed) == "the token", "also after a restart"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(AccountSealer(ACCOUNT, "another key"), id="after a rotation of the key"),
        pytest.param(AccountSealer(OTHER_ACCOUNT, "key"), id="of another account with the same key"),
        pytest.param(NoSealer(), id="without a key"),
    ],
)
def test_nobody_else_opens_it(other):
    assert other.open(SEALER.seal("the token")) is None


def damaged(at):
    content = bytearray(base64.b64decode(SEALER.seal("the token")))
    content[at] ^= 1
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param("", id="nothing"),
        pytest.param("not base64!", id="no base64"),
        pytest.param("\N{SNOWMAN}", id="no ASCII"),
        pytest.param("AAAA", id="shorter than a nonce"),
        pytest.param(base64.b64encode(bytes(12)).decode(), id="a nonce alone"),
        pytest.param(base64.b64encode(bytes(100)).decode(), id="zeros"),
        pytest.param(damaged(0), id="a bit of the nonce"),
        pytest.param(damaged(14), id="a bit of the content"),
        pytest.param(damaged(-1), id="a bit of the tag"),
        pytest.param(SEALER.seal("the token")[:-4], id="cut short"),
    ],
)
def test_what_is_damaged_is_dropped(sealed):
    assert SEALER.open(sealed) is None


def test_a_nonce_never_comes_twice():
    nonces = {base64.b64decode(SEALER.seal("the token"))[:12] for _ in range(10_000)}
    assert len(nonces) == 10_000


def test_without_a_key_nothing_is_sealed():
    with pytest.raises(AssertionError):
        NoSealer().seal("the token")


@pytest.mark.faults("F88")
def test_a_key_that_is_replaced_or_cannot_be_read_loses_no_token():
    keys: list[str | None] = ["key"]
    following = FollowingSealer(ACCOUNT, lambda: keys[-1])
    assert SEALER.open(following.seal("the token")) == "the token"
    keys.append(None)
    assert SEALER.open(following.seal("the token")) == "the token", "the last one that could be read"
    assert following.open(SEALER.seal("the token")) == "the token"
    keys.append("new key")
    assert AccountSealer(ACCOUNT, "new key").open(following.seal("the token")) == "the token"


@pytest.mark.faults("F88")
def test_without_any_key_nothing_is_sealed_that_somebody_could_open():
    keyless = FollowingSealer(ACCOUNT, lambda: None)
    assert keyless.open(SEALER.seal("the token")) is None
    assert SEALER.open(keyless.seal("the token")) is None
