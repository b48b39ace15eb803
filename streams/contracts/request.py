"""Request records: one per API request, the proof that the budget was kept.

An auditor reads them alone and can tell for every token whether any 60 s held more requests than its limit, and for
every account whether its mints kept theirs. ``token`` is an ordinal within the account, never the token itself.
"""

from typing import Literal, NamedTuple

import orjson

RequestKind = Literal["post", "check", "mint"]


class RequestRecord(NamedTuple):
    """One API request as the worker saw it; times are epoch milliseconds. ``records`` is 0 but for a POST."""

    account_id: str
    request: RequestKind
    token: int | None
    sent_at: int
    ended_at: int
    verdict: str
    batch_ref: str | None = None
    records: int = 0


def encode_request(record: RequestRecord) -> bytes:
    """The value of one message of the requests topic; its key is the account id."""
    return orjson.dumps({"kind": "request", "version": 1, **record._asdict()})
