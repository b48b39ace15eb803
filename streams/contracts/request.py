"""Request records: one per API request, the proof that the budget was kept.

An auditor reads them alone and can tell for every token whether any 60 s held more requests than its limit, and for
every account whether its mints kept theirs. ``token`` is an ordinal within the account, never the token itself.
"""

from typing import Literal, NamedTuple

import orjson

from streams.contracts.errors import UnreadableMessage

VERSION = 1

RequestKind = Literal["post", "check", "mint", "labels"]


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
    return orjson.dumps({"kind": "request", "version": VERSION, **record._asdict()})


def decode_request(value: bytes | None) -> RequestRecord:
    """Read a message of the requests topic.

    Raises:
        UnreadableMessage: It is not a request record of a version this release knows.
    """
    try:
        message = orjson.loads(value or b"")
        if message["kind"] != "request" or message["version"] != VERSION:
            raise UnreadableMessage("request record", f"kind {message['kind']!r} version {message['version']!r}")
        return RequestRecord(*(message[name] for name in RequestRecord._fields))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UnreadableMessage("request record", type(error).__name__) from None
