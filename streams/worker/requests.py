"""The requests of lanes: what goes to the API for each action, and what to do where no request can be made."""

from dataclasses import dataclass

from streams import failpoint
from streams.accounts import AccountBook
from streams.lane.actions import Check, ListLabels, Post
from streams.lane.verdict import CheckVerdict, LabelsVerdict, PostVerdict, Refuse, TokenVerdict
from streams.settings import ConfigError
from streams.truecaller.client import TruecallerClient
from streams.truecaller.wire import Version, encode_batch


@dataclass(frozen=True, slots=True)
class LaneRequests:
    """Makes the requests. Never raises for anything that the network, the API or a credentials file does."""

    client: TruecallerClient
    accounts: AccountBook
    submit_version: Version

    async def post(self, account_id: str, action: Post) -> PostVerdict:
        """Submit a batch."""
        body = encode_batch(self.submit_version, (held.row for held in action.held))
        _reached("post_before_send", action.batch_ref)
        verdict = await self.client.post(account_id, action.token.secret, body)
        _reached("post_after_response", action.batch_ref)
        return verdict

    async def check(self, account_id: str, action: Check) -> CheckVerdict:
        """Ask for the statuses of a batch."""
        _reached("check_before_get", action.batch_ref)
        verdict = await self.client.check(account_id, action.token.secret, action.batch_id)
        _reached("check_after_get", action.batch_ref)
        return verdict

    async def labels(self, account_id: str, action: ListLabels) -> LabelsVerdict:
        """Ask for a page of the account's labels."""
        return await self.client.labels(account_id, action.token.secret, action.page)

    async def mint(self, account_id: str) -> TokenVerdict:
        """Mint a token with the account's credentials as they are now."""
        try:
            credentials = self.accounts.credentials(account_id)
        except (KeyError, ConfigError):
            return Refuse("no_credentials")
        _reached("token_before_get")
        verdict = await self.client.mint(account_id, credentials.key_id, credentials.api_key)
        _reached("token_after_get")
        return verdict


def _reached(place: str, batch_ref: str = "") -> None:
    if failpoint.hit is not None:
        failpoint.hit(place, batch_ref)
