"""Tokens travel in the journal, which is a Kafka topic that people can read: there they are encrypted.

AES-256-GCM with a key derived from the account's API key (HKDF-SHA-256, RFC 5869), bound to the account id. Whoever may
use the API key could mint a token anyway, and nobody else can use the journaled one. After a rotation of the API key
old tokens cannot be decrypted, and are dropped.
"""

import base64
import binascii
import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12  # the size for which GCM is defined without extra hashing (NIST SP 800-38D)


class AccountSealer:
    """Encrypts and decrypts the tokens of one account. Satisfies :class:`streams.lane.tokens.Sealer`."""

    def __init__(self, account_id: str, api_key: str) -> None:
        self._bound_to = account_id.encode()
        derive = HKDF(algorithm=SHA256(), length=32, salt=self._bound_to, info=b"callstream journaled token v1")
        self._cipher = AESGCM(derive.derive(api_key.encode()))

    def seal(self, token: str) -> str:
        """Encrypt a token; the result is ASCII."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, token.encode(), self._bound_to)).decode()

    def open(self, sealed: str) -> str | None:
        """Decrypt a token, or ``None`` where it was sealed under another key, for another account, or damaged."""
        try:
            content = base64.b64decode(sealed, validate=True)
            nonce, encrypted = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, encrypted, self._bound_to).decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None


class FollowingSealer:
    """Seals with the API key of an account as it is now; keeps to the last one while there is none to be read.

    ``api_key`` returns the key, or ``None``. Satisfies :class:`streams.lane.tokens.Sealer`.
    """

    def __init__(self, account_id: str, api_key: Callable[[], str | None]) -> None:
        self._account_id = account_id
        self._api_key = api_key
        self._known: tuple[str, AccountSealer] | None = None

    def seal(self, token: str) -> str:
        """Encrypt a token. Without any key the result is something that nobody can open."""
        sealer = self._sealer()
        return "" if sealer is None else sealer.seal(token)

    def open(self, sealed: str) -> str | None:
        """Decrypt a token, or ``None`` where that is not possible."""
        sealer = self._sealer()
        return None if sealer is None else sealer.open(sealed)

    def _sealer(self) -> AccountSealer | None:
        key = self._api_key()
        if key is not None and (self._known is None or self._known[0] != key):
            self._known = (key, AccountSealer(self._account_id, key))
        return None if self._known is None else self._known[1]


class NoSealer:
    """For an account that is no longer configured: it has no key, so no token either."""

    def seal(self, token: str) -> str:  # noqa: ARG002 - the protocol's signature
        """Refuse: without credentials there is no token."""
        raise AssertionError("a token cannot be minted without credentials")

    def open(self, sealed: str) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Nothing can be decrypted."""
        return None
