"""The requests of lanes: what goes to the API for each action, and what to do where no request can be made."""

from dataclasses import dataclass

from streams.accounts import AccountBook
from streams.lane.actions import Check, Post
from streams.lane.verdict import CheckVerdict, PostVerdict, Refuse, TokenVerdict
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
        return await self.client.post(account_id, action.token.secret, body)

    async def check(self, account_id: str, action: Check) -> CheckVerdict:
        """Ask for the statuses of a batch."""
        return await self.client.check(account_id, action.token.secret, action.batch_id)

    async def mint(self, account_id: str) -> TokenVerdict:
        """Mint a token with the account's credentials as they are now."""
        try:
            credentials = self.accounts.credentials(account_id)
        except (KeyError, ConfigError):
            return Refuse("no_credentials")
        return await self.client.mint(account_id, credentials.key_id, credentials.api_key)
