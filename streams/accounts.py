"""The accounts of a deployment, with what holds for each, and their credentials.

What is set for an account wins over what is set for all. Credentials are read when they are needed: a file is read
again when it changed, so that a key can be rotated without a restart (Kubernetes swaps a whole directory through a
symbolic link). What must stay true: no repr, error or log of ours holds a credential.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from streams.settings import AccountSettings, ConfigError, Settings
from streams.settings.sections import Labels, Policy, Statuses

# Both halves of a credential are UUIDs; a wrong path may name anything.
CREDENTIAL_BYTES_MAX = 4096

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """Id and secret of an API key."""

    key_id: str
    api_key: str

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Limits:
    """The API's limits for one account."""

    tokens_max: int
    requests_per_minute_per_token: int
    token_mints_per_30_min: int


@dataclass(frozen=True, slots=True)
class Account:
    """What holds for one account, after its own settings were laid over those for all."""

    id: str
    policy: Policy
    limits: Limits
    statuses: Statuses
    labels: Labels


def load_credentials(account: AccountSettings, environ: Mapping[str, str] | None = None) -> Credentials:
    """Read the credentials of an account from where its settings say. Raises :class:`ConfigError` naming the place.

    A trailing line break of a file is dropped: editors and ``kubectl create secret --from-file`` leave one.
    """
    variables = os.environ if environ is None else environ
    found: dict[str, str] = {}
    problems: list[str] = []
    for name in ("key_id", "api_key"):
        try:
            found[name] = _half(account, name, variables)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return Credentials(**found)


class AccountBook(Mapping[str, Account]):
    """The configured accounts by id. Read only, but for credentials, which follow their files."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._settings = {account.id: account for account in settings.accounts}
        self._accounts = {account.id: _effective(settings, account) for account in settings.accounts}
        self._read: dict[str, tuple[tuple[_Stamp, ...], Credentials]] = {}

    def __getitem__(self, account_id: str) -> Account:
        return self._accounts[account_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._accounts)

    def __len__(self) -> int:
        return len(self._accounts)

    def credentials(self, account_id: str) -> Credentials:
        """Return the credentials of an account as they are now.

        Files are read again when their stamp (device-independent: inode, time of change, size) differs from the last
        time. Raises ``KeyError`` for an account that is not configured, :class:`ConfigError` where a file or variable
        is missing, empty or unreadable.
        """
        account = self._settings[account_id]
        stamps = _stamps(account)
        known = self._read.get(account_id)
        if known is not None and known[0] == stamps:
            return known[1]
        credentials = load_credentials(account, self._environ)
        self._read[account_id] = (stamps, credentials)
        return credentials

    def check(self) -> list[str]:
        """Return what is wrong with the accounts' credentials, one line each; empty if all can be read."""
        problems: list[str] = []
        for account_id in self:
            try:
                self.credentials(account_id)
            except ConfigError as error:
                problems += error.problems
        return problems


def _effective(settings: Settings, account: AccountSettings) -> Account:
    own = {} if account.limits is None else account.limits.model_dump(exclude_none=True)
    return Account(
        id=account.id,
        policy=account.policy or "retry",
        limits=Limits(**{**settings.limits.model_dump(), **own}),
        statuses=account.statuses or settings.statuses,
        labels=account.labels or settings.labels,
    )


def _stamps(account: AccountSettings) -> tuple[_Stamp, ...]:
    """One stamp per file, following links; a file that is missing has a stamp too, so that its return is seen."""
    return tuple(_stamp(path) for path in (account.key_id_file, account.api_key_file) if path is not None)


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - a plain path, hundreds of times a minute
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _half(account: AccountSettings, name: str, environ: Mapping[str, str]) -> str:
    where = f"account {account.id}: {name}"
    inline: SecretStr | None = getattr(account, name)
    file: str | None = getattr(account, f"{name}_file")
    variable: str | None = getattr(account, f"{name}_env")
    if inline is not None:
        text = inline.get_secret_value()
    elif file is not None:
        where = f"{where}_file {file}"
        text = _read_file(where, Path(file))
    else:
        where = f"{where}_env {variable}"
        text = environ.get(str(variable), "")
    return _usable(where, text)


def _read_file(where: str, path: Path) -> str:
    try:
        # Without O_NONBLOCK a pipe that nobody writes to would hold up whoever reads it, which is the event loop.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - a descriptor
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{where}: is a pipe; name a file, it is read more than once")
            content = file.read(CREDENTIAL_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"{where}: cannot be read ({error.strerror}); check the path, the mount and the mode"
        ) from None
    if len(content) > CREDENTIAL_BYTES_MAX:
        raise ConfigError(f"{where}: is longer than {CREDENTIAL_BYTES_MAX} bytes; name the file of the credential")
    return content.decode("utf-8", errors="replace").removesuffix("\n").removesuffix("\r")


def _usable(where: str, text: str) -> str:
    if not text:
        raise ConfigError(f"{where}: is missing or empty; put the credential there")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(f"{where}: holds white space or characters that are not plain ASCII; store it alone")
    return text
