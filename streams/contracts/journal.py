"""The journal: what a lane must remember across crashes and changes of owner, as keyed messages of a compacted topic.

Keys are paths (``batch/<batch_ref>``); the latest value of a key is the truth and a tombstone forgets it. Values carry
a kind and a version. A reader ignores unknown fields and refuses unknown kinds and versions: skipping a journal entry
would lose the intents in it. Small values are JSON for people with a console; the content of a batch is packed
(a line of text that names kind, version and codec, then a Zstandard frame), because open batches are kept by the
thousand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self

import orjson
import zstandard

from streams.contracts.errors import UnreadableMessage
from streams.contracts.parcel import ROW_COLUMNS, Row

VERSION = 1

_PACKED_HEADER = b"intents 1 zstd\n"

# A batch holds at most 500 intents of at most about 2 KiB; a frame that claims more is damaged or hostile.
_UNPACKED_BYTES_MAX = 16 * 1024 * 1024


class Place(NamedTuple):
    """The identity of an intent inside callstream: the offset of its parcel and its index in it."""

    offset: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a place


class Held(NamedTuple):
    """An intent in custody: its place, its source, its content."""

    place: Place
    source_topic: str
    source_partition: int
    row: Row


class BatchState(StrEnum):
    """How far a batch has come.

    ``unsent``: its latest attempt was certainly not applied, it may be sent at once; so too once an operator has said
    that it may. ``open``: its POST may be running or may have been applied. ``ambiguous``: it was sent and no usable
    answer came; with the policy ``hold`` an operator has to decide. ``accepted``: the API took it. ``split``: replaced
    by the batches in ``split_into``; no release writes it: a batch is forgotten in the write that has its parts.
    """

    UNSENT = "unsent"
    OPEN = "open"
    AMBIGUOUS = "ambiguous"
    ACCEPTED = "accepted"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST of a batch. ``left_out`` are the indices of intents that it no longer carried (they had expired)."""

    number: int
    opened_at: int
    token: int
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchEntry:
    """``batch/<batch_ref>``. Times are epoch milliseconds; ``sequence`` is that of the next outcome of its intents.

    ``attempts`` are the latest ones. ``settled`` are the indices of intents that already have their final outcome.
    ``possible_duplicate`` is set once an attempt was ambiguous: from then on its intents never end as expired, rejected
    or invalid. ``policy`` is the account's when the batch was made, and stays. ``command_id`` and ``command_offset``
    are those of the last operator's command that changed the batch, so that reading it again changes nothing.
    ``part_of`` is the batch that the API refused as a whole and that this one is a part of, while it is not accepted;
    ``part_requests`` are the requests that all parts of that batch have had, ``part_accepted`` whether one was
    accepted, both as far as this entry knows.
    """

    account_id: str
    state: BatchState
    records: int
    policy: str
    attempts: tuple[Attempt, ...] = ()
    settled: tuple[int, ...] = ()
    sequence: int = 0
    batch_id: str | None = None
    accepted_at: int | None = None
    possible_duplicate: bool = False
    resends: int = 0
    split_into: tuple[str, ...] = ()
    command_id: str | None = None
    command_offset: int = -1
    part_of: str | None = None
    part_requests: int = 0
    part_accepted: bool = False


@dataclass(frozen=True, slots=True)
class CursorEntry:
    """``cursor/<account_id>``: all places below ``low`` are taken, and in the runs ``[from, to)`` of ``taken``."""

    low: Place
    taken: tuple[tuple[Place, Place], ...] = ()
    behind: bool = False


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """One access token, sealed.

    ``sends`` are (sent, ended) of its requests in the last minute, epoch milliseconds; given where it is released only.
    """

    ordinal: int
    minted_at: int
    sealed: str
    sends: tuple[tuple[int, int], ...] = ()


class Throttle(NamedTuple):
    """What 429s have taught of a token, or of all of an account together (``ordinal`` null).

    ``learned`` requests a minute were believed to be taken at ``learned_at``, and nothing was to be sent before
    ``held_until`` (0: no pause). Times are epoch milliseconds.
    """

    ordinal: int | None
    learned: float
    learned_at: int
    held_until: int = 0


@dataclass(frozen=True, slots=True)
class TokensEntry:
    """``tokens/<account_id>``. ``mints`` are the times of attempts to mint, successful or not, of the last 30 minutes.

    They are in the order of the attempts. An attempt has the time at which it ended, or, while it has not, at which it
    was journaled. ``released`` says that the previous owner stopped in order: ``sends`` are exact and complete, and
    ``retired`` are the times at which those of the last minute ended whose tokens are not used any more.
    ``throttles`` has those that are slower than their limits, or paused, because of 429s.
    """

    tokens: tuple[TokenEntry, ...] = ()
    mints: tuple[int, ...] = ()
    next_ordinal: int = 0
    released: bool = False
    throttles: tuple[Throttle, ...] = ()
    retired: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """``account/<account_id>``: an operator has paused the account. Only there while it is; forgotten on resume.

    ``paused_at`` (epoch milliseconds), ``by`` and ``command_id`` are those of the command.
    """

    paused_at: int
    by: str
    command_id: str


@dataclass(frozen=True, slots=True)
class HeadEntry:
    """``head``: identity of the parcels partition that this journal partition belongs to, and its committed offset.

    ``at`` is when it was written, epoch milliseconds; 0 where the writer did not say.
    """

    topic_id: str | None
    offset: int
    at: int = 0


@dataclass(frozen=True, slots=True)
class StartedEntry:
    """``started`` (journal partition 0): identity and size of the intents topic when consumption first began.

    Partitions beyond that number were added later and are read from 0. Written again only when an operator accepts
    another topic of the same name.
    """

    topic_id: str | None
    partitions: int


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """``source/<partition>`` (journal partition 0): how far a partition of the intents has been routed.

    ``offset`` was committed in the transaction that wrote the entry, at ``at`` (epoch milliseconds). The committed
    offset may be further on, never less far.
    """

    topic_id: str | None
    offset: int
    at: int = 0


class Gap(NamedTuple):
    """Offsets ``[start, end)`` of one partition that were never read, in the topic of that identity.

    ``end`` is ``None`` where nobody can say any more: the topic itself is gone.
    """

    topic_id: str | None
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class ResetEntry:
    """``reset/<at>/<topic>/<partition>``: an operator has decided where reading goes on. One for each decision, kept.

    In the partition of the ``head`` or ``source`` that it changes. ``known_offset`` is where callstream stood as far as
    it was known, ``offset`` where it goes on. ``gaps`` are what the operator accepted as lost, ``repeated`` the offsets
    ``[start, end)`` that are read a second time. ``log_start`` and ``log_end`` are those of the log at ``at``.
    """

    topic: str
    partition: int
    topic_id: str | None
    known_offset: int | None
    offset: int
    gaps: tuple[Gap, ...]
    repeated: tuple[int, int] | None
    log_start: int
    log_end: int
    at: int


Entry = BatchEntry | CursorEntry | TokensEntry | AccountEntry | HeadEntry | StartedEntry | SourceEntry | ResetEntry

_KINDS: dict[str, type[Entry]] = {
    "batch": BatchEntry,
    "cursor": CursorEntry,
    "tokens": TokensEntry,
    "account": AccountEntry,
    "head": HeadEntry,
    "started": StartedEntry,
    "source": SourceEntry,
    "reset": ResetEntry,
}


class JournalKey(NamedTuple):
    """A journal key in parts: ``kind`` and, where there is one, ``name`` (a batch_ref or an account id)."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" if self.name else self.kind

    @classmethod
    def parse(cls, key: bytes | None) -> Self:
        """Read the key of a journal message."""
        kind, _, name = (key or b"").decode(errors="replace").partition("/")
        return cls(kind, name)


def encode_entry(entry: Entry) -> bytes:
    """The value of a small journal entry, as JSON with kind and version."""
    kind = next(kind for kind, model in _KINDS.items() if type(entry) is model)
    content = {field.name: getattr(entry, field.name) for field in fields(entry)}
    # Nested dataclasses are known to orjson; named tuples are not.
    return orjson.dumps({"kind": kind, "version": VERSION, **content}, default=tuple)


def decode_entry(key: JournalKey, value: bytes) -> Entry:
    """Read a small journal entry.

    Raises:
        UnreadableMessage: Kind or version is unknown to this release, or the value is damaged.
    """
    try:
        message = orjson.loads(value)
        model = _KINDS[key.kind]
        if message["kind"] != key.kind or message["version"] != VERSION:
            raise UnreadableMessage("journal entry", f"{key.kind} version {message['version']!r}")
        known = {field.name for field in fields(model)}
        return _restored(model, {name: content for name, content in message.items() if name in known})
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise UnreadableMessage("journal entry", f"{key.kind}: {type(error).__name__}") from None


def _restored(model: type[Entry], content: dict[str, Any]) -> Entry:
    if model is BatchEntry:
        content["state"] = BatchState(content["state"])
        content["attempts"] = tuple(
            Attempt(a["number"], a["opened_at"], a["token"], tuple(a["left_out"])) for a in content["attempts"]
        )
        content["settled"] = tuple(content["settled"])
        content["split_into"] = tuple(content["split_into"])
    elif model is CursorEntry:
        content["low"] = Place(*content["low"])
        content["taken"] = tuple((Place(*start), Place(*end)) for start, end in content["taken"])
    elif model is TokensEntry:
        content["mints"] = tuple(content["mints"])
        content["retired"] = tuple(content.get("retired", ()))
        content["tokens"] = tuple(
            TokenEntry(t["ordinal"], t["minted_at"], t["sealed"], tuple((sent, ended) for sent, ended in t["sends"]))
            for t in content["tokens"]
        )
        content["throttles"] = tuple(Throttle(*throttle) for throttle in content.get("throttles", ()))
    elif model is ResetEntry:
        content["gaps"] = tuple(Gap(*gap) for gap in content["gaps"])
        content["repeated"] = None if content["repeated"] is None else tuple(content["repeated"])
    return model(**content)


@dataclass(slots=True)
class Packer:
    """Packs the intents of a batch for the journal and for memory. One per thread: the compressor is reused."""

    _compressor: zstandard.ZstdCompressor = field(default_factory=lambda: zstandard.ZstdCompressor(level=1))
    _decompressor: zstandard.ZstdDecompressor = field(default_factory=zstandard.ZstdDecompressor)

    def pack(self, held: Sequence[Held]) -> bytes:
        """``intents/<batch_ref>`` and ``carry/<account_id>/<n>``: about 30 KB for 500 intents."""
        return _PACKED_HEADER + self._compressor.compress(orjson.dumps(held, default=tuple))

    def unpack(self, value: bytes) -> list[Held]:
        """The inverse of :meth:`pack`.

        Raises:
            UnreadableMessage: Kind, version or codec is unknown to this release, or the value is damaged.
        """
        if not value.startswith(_PACKED_HEADER):
            raise UnreadableMessage("packed intents", repr(value[:20].partition(b"\n")[0]))
        frame = value[len(_PACKED_HEADER) :]
        try:
            # A frame that states its size is unpacked to that size, whatever limit it is given.
            if not 0 <= zstandard.frame_content_size(frame) <= _UNPACKED_BYTES_MAX:
                raise UnreadableMessage("packed intents", "size")
            content = self._decompressor.decompress(frame)
            return [
                Held(Place(*place), topic, partition, Row(*row[:ROW_COLUMNS]))
                for place, topic, partition, row in orjson.loads(content)
            ]
        except (zstandard.ZstdError, orjson.JSONDecodeError, TypeError, ValueError) as error:
            raise UnreadableMessage("packed intents", type(error).__name__) from None
