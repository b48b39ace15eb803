"""Made-up client accounts: who the synthetic dialer calls for.

Decided here: everything about an account follows from its id, and the ids of a made-up set follow from a seed. So two
commands that are told the same thing (``publish`` and the worker's configuration, the demo and its fake API) agree on
accounts without exchanging a file. What must stay true: a caller and a label belong to one account.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import UUID, uuid5

_NAMESPACE: Final = UUID("6d0f5f5e-3c43-4a53-9a0e-2a1f3f8f8a57")

# Fixed-line numbers of one Indian exchange: +91 80 and eight digits. Nobody is ever called.
_CALLER_FIRST: Final = 91_80_0000_0000
_CALLERS: Final = 10**8


@dataclass(frozen=True, slots=True)
class SyntheticAccount:
    """One made-up client account: ids as canonical UUID text, ``caller`` as digits with the country code.

    ``key_id`` and ``api_key`` are made up too; the fake API takes any pair of UUIDs.
    """

    id: str
    caller: str = field(repr=False)
    label_id: str
    key_id: str = field(repr=False)
    api_key: str = field(repr=False)


def synthetic_accounts(count: int, seed: int = 0) -> tuple[SyntheticAccount, ...]:
    """Return ``count`` accounts for ``seed``. A larger count of the same seed begins with the same accounts."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    random = Random(f"accounts {seed}")
    return accounts_of(str(UUID(int=random.getrandbits(128), version=4)) for _ in range(count))


def accounts_of(ids: Iterable[str]) -> tuple[SyntheticAccount, ...]:
    """Return the made-up account of each id (canonical UUID text), with a caller and a label of its own.

    Raises :class:`ValueError` if an id is no UUID or comes twice.
    """
    callers: set[int] = set()
    accounts: dict[str, SyntheticAccount] = {}
    for identity in ids:
        account_id = str(UUID(identity))
        if account_id in accounts:
            raise ValueError(f"account {account_id} comes twice")
        caller = UUID(account_id).int % _CALLERS
        while caller in callers:
            caller = (caller + 1) % _CALLERS
        callers.add(caller)
        accounts[account_id] = SyntheticAccount(
            id=account_id,
            caller=str(_CALLER_FIRST + caller),
            label_id=_derived(account_id, "label"),
            key_id=_derived(account_id, "key"),
            api_key=_derived(account_id, "secret"),
        )
    return tuple(accounts.values())


def accounts_yaml(accounts: Iterable[SyntheticAccount]) -> str:
    """Return the ``accounts`` section of a callstream configuration for these accounts, as YAML text."""
    lines = ["accounts:"]
    for account in accounts:
        lines += [f"  - id: {account.id}", f"    key_id: {account.key_id}", f"    api_key: {account.api_key}"]
    return "\n".join(lines) + "\n"


def _derived(account_id: str, what: str) -> str:
    return str(uuid5(_NAMESPACE, f"{account_id}/{what}"))
