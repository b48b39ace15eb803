"""What we send: paths and record encodings of the three generations of the API.

The generations differ in the path prefix, in the names of a record's fields, and in whether a number carries a ``+``
(docs.truecaller.com, the pages on Call Personalisation Batch of the respective version). What must stay true: only a
canonical account id and a batch id of the safe alphabet ever become part of a URL, so that no value from an event or
from an answer can lead a request with somebody's token to another path.
"""

import re
from collections.abc import Iterable
from typing import Any, Final, Literal, Protocol

import orjson

from streams.contracts.batch_id import is_batch_id
from streams.contracts.intent import UUID_PATTERN

Version = Literal["v1", "v2", "v3"]

RECORDS_MAX: Final = 500

# The API's own default (vendor page "Get Call Personalisation Label").
LABELS_PER_PAGE: Final = 1000

_PREFIX: Final[dict[Version, str]] = {"v1": "", "v2": "/v2", "v3": "/v3"}
_ACCOUNT_ID: Final = re.compile(UUID_PATTERN)


class RecordRow(Protocol):
    """What a record is made of. Numbers are digits with country code and no ``+``, times are epoch milliseconds."""

    @property
    def caller(self) -> str: ...  # noqa: D102 - the fields of a record, see above
    @property
    def receiver(self) -> str: ...  # noqa: D102
    @property
    def label_id(self) -> str: ...  # noqa: D102
    @property
    def label_name(self) -> str | None: ...  # noqa: D102
    @property
    def call_reason(self) -> str | None: ...  # noqa: D102
    @property
    def starts_at(self) -> int: ...  # noqa: D102
    @property
    def ends_at(self) -> int: ...  # noqa: D102


def encode_batch(version: Version, rows: Iterable[RecordRow]) -> bytes:
    """Encode the body of a create request: ``{"call_records": [...]}``. Absent optional fields are left out."""
    records = _records_v1(rows) if version == "v1" else _records_v2(rows, "+" if version == "v3" else "")
    return orjson.dumps({"call_records": records})


def records_path(version: Version, account_id: str) -> str:
    """Path of an account's records: POST creates a batch.

    Raises:
        ValueError: the account id is not a canonical UUID.
    """
    return f"{_PREFIX[version]}/clients/{_canonical(account_id)}/dynamic_call_records"


def status_path(version: Version, account_id: str, batch_id: str) -> str:
    """Path and query of a status check.

    Raises:
        ValueError: the account id is not a canonical UUID, or the batch id is outside the safe alphabet.
    """
    if not is_batch_id(batch_id):
        raise ValueError("the batch id has characters or a length that must not enter a URL")
    return f"{records_path(version, account_id)}?batchId={batch_id}"


def labels_path(account_id: str, page: int) -> str:
    """Path and query of a page, counted from 1, of an account's labels, which have no version.

    Raises:
        ValueError: the account id is not a canonical UUID.
    """
    return f"/clients/{_canonical(account_id)}/labels?page={page}&limit={LABELS_PER_PAGE}"


def token_path(account_id: str) -> str:
    """Path of the token endpoint, which has no version.

    Raises:
        ValueError: the account id is not a canonical UUID.
    """
    return f"/clients/{_canonical(account_id)}/token"


def _canonical(account_id: str) -> str:
    if not _ACCOUNT_ID.fullmatch(account_id):
        raise ValueError("the account id is not a canonical UUID")
    return account_id


def _records_v1(rows: Iterable[RecordRow]) -> list[dict[str, Any]]:
    records = []
    for row in rows:
        record = {
            "caller": row.caller,
            "receiver": row.receiver,
            "label_id": row.label_id,
            "starts_at": row.starts_at,
            "ends_at": row.ends_at,
        }
        if row.label_name is not None:
            record["label_name"] = row.label_name
        if row.call_reason is not None:
            record["call_reason"] = row.call_reason
        records.append(record)
    return records


def _records_v2(rows: Iterable[RecordRow], plus: str) -> list[dict[str, Any]]:
    records = []
    for row in rows:
        record = {
            "caller_number": plus + row.caller,
            "receiver_number": plus + row.receiver,
            "label_id": row.label_id,
            "starts_at": row.starts_at,
            "ends_at": row.ends_at,
        }
        if row.label_name is not None:
            record["dynamic_label_name"] = row.label_name
        if row.call_reason is not None:
            record["dynamic_call_reason"] = row.call_reason
        records.append(record)
    return records
