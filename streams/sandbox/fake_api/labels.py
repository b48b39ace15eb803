"""The dynamic labels of accounts: listed in pages, and held against the records of a batch where that is asked for.

An account has those that the file of accounts gives it; without one, the label that the synthetic dialer uses for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.sandbox.accounts import accounts_of
from streams.sandbox.fake_api.records import Flaw

LIMIT_DEFAULT: Final = 1000

_FLAW: Final = Flaw("label_id", "label_id does not belong to this client")


class LabelBook:
    """``labels`` by account. With ``strict`` off, a record may name any label."""

    def __init__(self, labels: Mapping[str, Sequence[str]], *, strict: bool) -> None:
        self._labels = {account_id: tuple(of_account) for account_id, of_account in labels.items()}
        self._strict = strict

    def of(self, account_id: str) -> tuple[str, ...]:
        """The labels of an account."""
        found = self._labels.get(account_id)
        if found is None:
            found = self._labels[account_id] = (accounts_of([account_id])[0].label_id,)
        return found

    def page(self, account_id: str, query: Mapping[str, str], stamp: str) -> list[dict[str, Any]] | None:
        """One page of an account's labels, empty behind the last; ``None`` where the query is none."""
        number, limit = query.get("page", "1"), query.get("limit", str(LIMIT_DEFAULT))
        if not (number.isdecimal() and limit.isdecimal() and int(number) and int(limit)):
            return None
        first = (int(number) - 1) * int(limit)
        return [
            {
                "id": label_id,
                "name": f"Label {label_id[:8]}",
                "logo_url": f"https://labels.invalid/{label_id}.png",
                "category": "Services",
                "sub_category": "Other",
                "created_by_email": "owner@labels.invalid",
                "created_at": stamp,
                "label_type": "dynamic",
            }
            for label_id in self.of(account_id)[first : first + int(limit)]
        ]

    def flaw(self, account_id: str, records: Sequence[Mapping[str, Any]]) -> Flaw | None:
        """What is wrong with the labels of a batch whose records are well-formed."""
        if not self._strict:
            return None
        mine = self.of(account_id)
        named = (record.get("label_id") for record in records)
        return _FLAW if any(label_id is not None and label_id.lower() not in mine for label_id in named) else None
