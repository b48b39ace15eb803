"""A synthetic dialer: a repeatable stream of believable call intents, some of them bad.

Decided here: what the made-up traffic looks like. Messages are cut from templates made once per account, since a model
per message would cost more than the worker that is to be measured. Pure: the time is an argument. What must stay true:

- a caller and a label belong to one account, and (receiver, ``starts_at``) occurs once in the stream of a dialer, so
  that every record in the fake API's ledger joins to the one intent it came from;
- ``ends_at`` is hours ahead, so that nothing expires while somebody watches;
- the same accounts, seed, shares and times give the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from streams.sandbox.accounts import SyntheticAccount
from streams.sandbox.templates import variants_of

RECEIVERS_DEFAULT: Final = 300_000_000
"""How many different people are called, unless told otherwise: Indian mobile numbers from +91 60000 00000 on."""

_RECEIVER_FIRST: Final = 91_60000_00000
# A prime above every possible number of receivers, so that a walk with this stride comes past each of them once before
# it comes back to the first.
_STRIDE: Final = 982_451_653

_LEAD_MS_MIN: Final = 5_000
_LEAD_MS_SPAN: Final = 55_000
_VALID_MS_MIN: Final = 3_600_000
_VALID_MS_SPAN: Final = 7 * 3_600_000
_NOBODY: Final = b"00000000-0000-4000-8000-000000000000"


class Dialed(NamedTuple):
    """One message of the dialer.

    ``value`` is the message as it goes to Kafka; the dialer keys its messages by nothing. ``account_id`` is whom it was
    made for. ``bad`` names what is wrong with it, one of :data:`BAD_KINDS`, or is ``None``.
    """

    value: bytes
    account_id: str
    bad: str | None


class Dialer:
    """Make call intents for ``accounts``, a ``bad_share`` (0..1) of which cannot be submitted.

    ``receivers_max`` bounds how many different people are called, by all accounts together; a small number makes the
    same pair of caller and receiver come again and again.
    """

    def __init__(
        self,
        accounts: Sequence[SyntheticAccount],
        *,
        seed: int = 0,
        bad_share: float = 0.01,
        receivers_max: int = RECEIVERS_DEFAULT,
    ) -> None:
        if not accounts or not 0 <= bad_share <= 1 or not 1 <= receivers_max <= RECEIVERS_DEFAULT:
            raise ValueError(f"need accounts, 0 <= bad_share <= 1 and 1 <= receivers_max <= {RECEIVERS_DEFAULT}")
        self._random = Random(f"dialer {seed}")
        self._variants = [(account.id, text) for account in accounts for text in variants_of(account, self._random)]
        self._bad_kinds = list(BAD_KINDS.items())
        self._bad_share = bad_share
        self._prefix = b"%x" % self._random.getrandbits(32)
        self._receivers_max = receivers_max
        self._receiver_offset = self._random.randrange(receivers_max)
        self._made = 0
        self._now_ms = 0

    @property
    def made(self) -> int:
        """How many intents have been made."""
        return self._made

    def take(self, count: int, now_ms: int) -> list[Dialed]:
        """Return the next ``count`` intents. ``now_ms`` is the time in epoch milliseconds; it never runs backwards."""
        self._now_ms = now_ms = max(now_ms, self._now_ms)
        random, variants, bad_share, prefix = self._random.random, self._variants, self._bad_share, self._prefix
        receivers_max, offset, variants_len = self._receivers_max, self._receiver_offset, len(variants)
        taken = []
        for number in range(self._made, self._made + count):
            account_id, template = variants[int(random() * variants_len)]
            walk = (number * _STRIDE + offset) % receivers_max
            # The lead follows from the receiver and grows by 1 ms whenever the receivers have all been called, so
            # that the same receiver never has the same start twice.
            starts_at = now_ms + _LEAD_MS_MIN + walk % _LEAD_MS_SPAN + number // receivers_max
            ends_at = starts_at + _VALID_MS_MIN + walk * 7 % _VALID_MS_SPAN
            value = template % (prefix, number, _RECEIVER_FIRST + walk, starts_at, ends_at)
            bad = None
            if random() < bad_share:
                bad, spoil = self._bad_kinds[int(random() * len(self._bad_kinds))]
                value = spoil(value)
            taken.append(Dialed(value, account_id, bad))
        self._made += count
        return taken


def _field(value: bytes, name: bytes) -> bytes:
    """Return the raw JSON of one top-level field, which no template puts last."""
    return value.split(b'"%s":' % name, 1)[1].split(b",", 1)[0]


def _replaced(value: bytes, name: bytes, raw: bytes) -> bytes:
    return value.replace(b'"%s":%s' % (name, _field(value, name)), b'"%s":%s' % (name, raw), 1)


def _without(value: bytes, name: bytes) -> bytes:
    return value.replace(b'"%s":%s,' % (name, _field(value, name)), b"", 1)


def _spaced(value: bytes) -> bytes:
    digits = _field(value, b"receiver").strip(b'"')
    return _replaced(value, b"receiver", b'"+%s %s-%s"' % (digits[:2], digits[2:7], digits[7:]))


def _in_seconds(value: bytes) -> bytes:
    return _replaced(value, b"starts_at", b"%d" % (int(_field(value, b"starts_at")) // 1000))


def _ends_first(value: bytes) -> bytes:
    return _replaced(value, b"ends_at", b"%d" % (int(_field(value, b"starts_at")) - 1))


BAD_KINDS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "bad_phone": _spaced,
    "seconds_for_milliseconds": _in_seconds,
    "ends_before_start": _ends_first,
    "not_json": lambda value: value[: len(value) // 2],
    "unknown_account": lambda value: _replaced(value, b"account_id", b'"%s"' % _NOBODY),
    # Not the other way round: the receiver and the start stay those of one intent.
    "calls_itself": lambda value: _replaced(value, b"caller", _field(value, b"receiver")),
    "label_missing": lambda value: _without(value, b"label_id"),
    "label_name_long": lambda value: _replaced(value, b"label_name", b'"%s"' % (b"Long " * 9)),
}
"""What can be wrong with a bad intent, and how a good one is spoilt to get there."""
