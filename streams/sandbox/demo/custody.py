"""Where each intent is, told from the topics alone: unrouted, in a parcel, or settled by one final outcome.

An intent is its source (partition and offset of the intents topic). What must stay true: ``pending`` counts only what
can be pointed at, an intent that nobody has routed yet or one that lies in a parcel without a final outcome. So
``published - finals - pending`` is zero unless an intent was really lost, and is no definition of itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Message

from streams.contracts.outcome import Status
from streams.contracts.parcel import PARCEL_KIND

# A source as one number: twice as small and as fast as a tuple, and there are as many as intents.
_OFFSET_BITS = 48

_REASON_HEADER = "callstream.reason"
_PARTITION_HEADER = "__connect.errors.partition"
_OFFSET_HEADER = "__connect.errors.offset"


@dataclass(slots=True)
class AccountCustody:
    """Counts of one account: intents in parcels, and the final outcomes of those that were in a batch, by status."""

    parcelled: int = 0
    final: Counter[str] = field(default_factory=Counter)


class Custody:
    """Follow intents through the topics, in whatever order the partitions are read.

    ``final`` counts intents by their final status, ``final_twice`` those that got a second one, ``dead_letters``
    intents by reason, ``batch_events`` events by name. ``routed`` intents have left the intents topic, into a parcel or
    straight to a final outcome; ``accepted`` ones are with the API, which has not yet told more.
    """

    def __init__(self) -> None:
        self.final: Counter[str] = Counter()
        self.final_twice = 0
        self.routed = 0
        self.dead_letters: Counter[str] = Counter()
        self.batch_events: Counter[str] = Counter()
        self.accounts: dict[str, AccountCustody] = {}
        self._parcelled: set[int] = set()
        self._settled: set[int] = set()
        self._accepted: set[int] = set()
        self._dead: set[int] = set()
        self._routed_to: dict[int, int] = {}

    @property
    def finals(self) -> int:
        """How many intents have a final outcome."""
        return len(self._settled)

    @property
    def accepted(self) -> int:
        """How many intents are accepted, and not yet final."""
        return len(self._accepted)

    def pending(self, published: Mapping[int, int]) -> int:
        """Return how many intents are somewhere and not final; ``published`` is how many each partition holds."""
        unrouted = sum(max(0, count - self._routed_to.get(partition, 0)) for partition, count in published.items())
        return unrouted + len((self._parcelled | self._accepted) - self._settled)

    def take_parcels(self, messages: Iterable[Message]) -> None:
        """Take messages of the parcels topic."""
        for message in messages:
            parcel = orjson.loads(message.value() or b"{}")
            if parcel.get("kind") != PARCEL_KIND:
                continue
            partition = parcel["source_partition"]
            account = self._account(parcel["account_id"])
            for row in parcel["rows"]:
                source = self._source(partition, row[0])
                if source not in self._parcelled:
                    self._parcelled.add(source)
                    self.routed += source not in self._settled
                    account.parcelled += 1

    def take_outcomes(self, messages: Iterable[Message]) -> None:
        """Take messages of the outcomes topic."""
        for message in messages:
            event = orjson.loads(message.value() or b"{}")
            if "event" in event:
                self.batch_events[event["event"]] += 1
                continue
            source = self._source(event["source"]["partition"], event["source"]["offset"])
            if not event["final"]:
                if event["status"] == Status.ACCEPTED and source not in self._settled:
                    self._accepted.add(source)
            elif source in self._settled:
                self.final_twice += 1
            else:
                self._settled.add(source)
                self._accepted.discard(source)
                self.final[event["status"]] += 1
                self.routed += source not in self._parcelled
                if event["batch_ref"] is not None:
                    self._account(event["account_id"]).final[event["status"]] += 1

    def take_dead_letters(self, messages: Iterable[Message]) -> None:
        """Take messages of the dead-letter topic. Ours come last among headers of one name."""
        for message in messages:
            headers: dict[str, Any] = dict(message.headers() or ())
            source = self._source(int(headers[_PARTITION_HEADER]), int(headers[_OFFSET_HEADER]))
            if source not in self._dead:
                self._dead.add(source)
                self.dead_letters[headers[_REASON_HEADER].decode()] += 1

    def _account(self, account_id: str) -> AccountCustody:
        return self.accounts.setdefault(account_id, AccountCustody())

    def _source(self, partition: int, offset: int) -> int:
        self._routed_to[partition] = max(self._routed_to.get(partition, 0), offset + 1)
        return partition << _OFFSET_BITS | offset
