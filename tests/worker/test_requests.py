"""Credentials that are missing, half-written or replaced: what is asked of the API, and with what."""

import pytest

from streams.accounts import AccountBook
from streams.lane.verdict import Minted, Refuse
from streams.settings import Settings
from streams.worker.requests import LaneRequests

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
KEYS = ["old-key", "new-key"]


class Endpoint:
    """Knows two keys; keeps what it was asked with."""

    def __init__(self):
        self.asked: list[str] = []

    async def mint(self, account_id, key_id, api_key):
        self.asked.append(api_key)
        return Minted(f"token-of-{api_key}") if api_key in KEYS else Refuse("authorization-error")


@pytest.fixture
def requests(tmp_path):
    (tmp_path / "key").write_text(KEYS[0])
    account = {"id": ACCOUNT, "key_id": "id", "api_key_file": str(tmp_path / "key")}
    settings = Settings.model_validate({"api": {"base_url": "https://api.example"}, "accounts": [account]})
    return LaneRequests(Endpoint(), AccountBook(settings), "v1")  # type: ignore[arg-type]  # one method of the client


@pytest.mark.faults("F88")
@pytest.mark.parametrize(
    ("content", "asks"),
    [
        pytest.param(None, False, id="missing"),
        pytest.param("", False, id="empty"),
        pytest.param("new-k", True, id="half-written"),
        pytest.param("new-key with more", False, id="not-a-credential"),
    ],
)
async def test_a_credential_that_is_not_there_costs_no_mint_and_comes_back_by_itself(requests, tmp_path, content, asks):
    assert await requests.mint(ACCOUNT) == Minted("token-of-old-key")
    path = tmp_path / "key"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    verdict = await requests.mint(ACCOUNT)
    assert verdict == (Refuse("authorization-error") if asks else Refuse("no_credentials"))
    path.write_text(KEYS[1])
    assert await requests.mint(ACCOUNT) == Minted("token-of-new-key")
    assert len(requests.client.asked) == (3 if asks else 2)


@pytest.mark.faults("F47")
async def test_an_account_that_is_not_configured_asks_for_nothing(requests):
    assert await requests.mint("0b0e7c1e-2f43-4f7c-9a54-1d2f3a4b5c6d") == Refuse("no_credentials")
    assert not requests.client.asked
