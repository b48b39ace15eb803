"""What an audit has read so far, folded into a few bytes for each intent. Order does not matter.

Messages are fed as the topics have them; one that cannot be understood is counted under ``unreadable``, since it may
have been the missing one.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from streams.audit import state as s
from streams.audit.batches import Batches
from streams.audit.budget import Budget
from streams.audit.custody import Custody
from streams.audit.intents import Intents, key_of, source_of
from streams.audit.judge import Anomaly
from streams.audit.leaks import Leaks
from streams.audit.ledger import RECORDS_MAX, LedgerBook, Record
from streams.audit.report import Found
from streams.audit.rules import AuditRules
from streams.contracts.command import COMMAND_KIND, Verb
from streams.contracts.errors import UnreadableMessage
from streams.contracts.parcel import PARCEL_KIND, PARCEL_VERSION
from streams.contracts.request import decode_request

Headers = Sequence[tuple[str, bytes | None]]

_PARCEL: Final = (PARCEL_KIND, PARCEL_VERSION)
# What it looks like in Python when a message is not what it should be; a JSON that is none is a ValueError.
_DAMAGE: Final = (AttributeError, LookupError, OverflowError, TypeError, ValueError)
# Enough to see what is wrong.
_BEYOND_MAX: Final = 10_000


class Evidence:
    """``ranges`` are the offsets of the intents to account for, first and behind the last, of each partition.

    To be set before each judgement: ``committed``, the group's offsets of the intents; ``horizons``, the offsets below
    which retention may have removed what became of an intent; ``ends``, the high watermarks of the intents; ``blind``,
    whether something could not be read at all.
    """

    def __init__(self, rules: AuditRules, ranges: dict[int, tuple[int, int]]) -> None:
        self.rules = rules
        self.intents = Intents(ranges)
        self.custody = Custody(rules.intents_topic)
        self.budget = Budget()
        self.ledger = LedgerBook(self.intents, self.note, self._resends_max) if rules.with_ledger else None
        self.leaks = Leaks() if rules.with_texts else None
        self.committed: dict[int, int] = {}
        self.horizons: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.blind = False
        self.unreadable: Counter[str] = Counter()
        self.noted: dict[str, Found] = {}
        self.beyond: dict[int, str] = {}
        self.counted: Counter[str] = Counter()
        self._records_wanted = rules.with_ledger or rules.with_texts
        self._batches = Batches(self.note)
        self._ordered_resends: Counter[str] = Counter()

    def intent(self, partition: int, offset: int, value: bytes | None) -> None:
        """A message of the intents topic, without a wire prefix."""
        found = self.intents.at(partition, offset)
        if found is not None:
            book, index = found
            book.states[index] |= s.SEEN
            if book.accounts[index] and not self._records_wanted:
                return  # a parcel or an outcome has named the account; that is all there was to learn
        told = _object(value)
        if found is not None:
            account_id = told.get("account_id", self.rules.default_account)
            if not book.accounts[index] and isinstance(account_id, str):
                book.accounts[index] = self.intents.names.number(account_id.lower())
        if self._records_wanted and (record := _record(told)) is not None:
            self._record(record, None if found is None else book.first + index)

    def _record(self, record: Record, ordinal: int | None) -> None:
        if self.leaks is not None:
            self.leaks.know(record.caller)
            self.leaks.know(record.receiver)
        if self.ledger is not None:
            if ordinal is None:
                self.ledger.outside(record)
            else:
                self.ledger.intent(ordinal, record)

    def outcome(self, value: bytes | None) -> None:
        """A message of the outcomes topic."""
        try:
            told = orjson.loads(value or b"")
            if "event" in told:
                self._batch_event(told)
            elif told["source"]["topic"] == self.rules.intents_topic:
                self._outcome(told)
        except _DAMAGE:
            self.unreadable["outcomes"] += 1

    def _outcome(self, told: Mapping[str, Any]) -> None:
        source = told["source"]
        found = self.intents.at(source["partition"], source["offset"])
        if found is None:
            self._out_of_range(key_of(source["partition"], source["offset"]), "outcome")
            return
        book, index = found
        status_bit, sequence = s.STATUS_BITS[told["status"]], min(told["sequence"], s.SEQUENCE_LAST)
        state = book.states[index]
        bits = status_bit | 1 << s.SEQUENCE_SHIFT + sequence
        if state & bits & s.SEQUENCES and sequence < s.SEQUENCE_LAST:
            bits |= s.OUTCOME_TWICE
        if status_bit & s.FINALS and state & s.FINALS:
            bits |= s.FINAL_TWICE
        if told["final"] != bool(status_bit & s.FINALS):
            bits |= s.MISLABELLED
        if told["possible_duplicate"]:
            bits |= s.FLAGGED
        book.states[index] = state | bits
        account = self.intents.names.number(told["account_id"])
        book.name_account(index, account)
        if told["batch_ref"] is not None:
            self._batches.outcome(told["batch_ref"], account, first=told["sequence"] == 0)
        if self.ledger is not None and told["status"] in ("accepted", "delivered", "failed"):
            self.ledger.accepted(book.first + index, told["batch_id"])

    def _batch_event(self, told: Mapping[str, Any]) -> None:
        if told["event"] == "completed":
            self.counted[told["account_id"]] += sum(told["counts"].values())

    def letter(self, headers: Headers | None) -> None:
        """A message of the dead-letter topic. Ours come last among headers of one name."""
        told = dict(headers or ())
        try:
            if (told["__connect.errors.topic"] or b"").decode() != self.rules.intents_topic:
                return
            key = key_of(*(int(told[f"__connect.errors.{name}"] or b"") for name in ("partition", "offset")))
        except _DAMAGE:
            self.unreadable["dead letters"] += 1
            return
        if found := self.intents.find(key):
            book, index = found
            book.states[index] |= s.LETTER_TWICE if book.states[index] & s.LETTER else s.LETTER
        else:
            self._out_of_range(key, "dead letter")

    def parcel(self, partition: int, offset: int, value: bytes | None) -> None:
        """A message of the parcels topic; one that is no parcel holds no intents."""
        try:
            told = orjson.loads(value or b"")
            if told["kind"] == COMMAND_KIND:
                self._ordered_resends[told["account_id"]] += told["verb"] == Verb.RESEND
                return
            if told["source_topic"] != self.rules.intents_topic:
                return
            source_partition = int(
                told["source_partition"] if (told["kind"], told["version"]) == _PARCEL else "unknown"
            )
            keys = array("Q", [key_of(source_partition, row[0]) for row in told["rows"]])
            account_id = told["account_id"]
        except _DAMAGE:
            self.unreadable["parcels"] += 1
            return
        account = self.intents.names.number(account_id)
        for key in keys:
            if found := self.intents.find(key):
                book, index = found
                book.states[index] |= s.PARCEL_TWICE if book.states[index] & s.PARCEL else s.PARCEL
                book.name_account(index, account)
            else:
                self._out_of_range(key, "parcel")
        self.custody.parcel(account_id, partition, offset, keys)

    def request(self, value: bytes | None) -> None:
        """A message of the requests topic."""
        try:
            told = decode_request(value)
        except UnreadableMessage:
            self.unreadable["requests"] += 1
            return
        sent_s, ended_s = told.sent_at / 1000, told.ended_at / 1000
        if told.records > RECORDS_MAX:
            self.note(Anomaly.BATCH_SIZE, f"request of {told.account_id}: {told.records} records")
        if told.request == "mint":
            self.budget.mint(told.account_id, sent_s, ended_s)
        elif told.token is not None:
            self.budget.request(told.account_id, str(told.token), sent_s, ended_s)

    def _out_of_range(self, key: int, what: str) -> None:
        partition, offset = source_of(key)
        book = self.intents.partitions.get(partition)
        if (book is None or offset >= book.end) and len(self.beyond) < _BEYOND_MAX:
            self.beyond[key] = what

    def _resends_max(self, account_id: str) -> int:
        """How often a batch of this account may have been sent again: by itself, and because an operator said so."""
        return self.rules.limits_of(account_id).resends_max + self._ordered_resends[account_id]

    def text(self, name: str, lines: Iterable[str]) -> None:
        """A text that people read, once all intents were."""
        for number in self.leaks.lines(lines) if self.leaks is not None else ():
            self.note(Anomaly.LEAKED_NUMBER, f"{name}, line {number}")

    def note(self, anomaly: Anomaly, where: str) -> None:
        """Something is wrong that is not about one intent."""
        self.noted.setdefault(anomaly, Found()).add({"where": where}, self.rules.examples_max)


def _object(value: bytes | None) -> dict[str, Any]:
    try:
        told = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _record(told: Mapping[str, Any]) -> Record | None:
    try:
        caller, receiver = told["caller"].lstrip("+"), told["receiver"].lstrip("+")
        return Record(caller, receiver, told["label_id"], told["starts_at"], told["ends_at"])
    except (KeyError, AttributeError):
        return None
