"""Read what the auditor needs from a deployment that may be at work, and have it judged.

Decided here: in which order a moving system is read. A round goes

1. the group's committed offsets of intents and parcels,
2. the journal, then outcomes, dead letters, requests and parcels, each to the high watermark that it has when its turn
   comes, as ``read_committed``,
3. intents, and the ledger where there is one.

Every step of an intent is one transaction, and all its messages are in the logs before it is committed. So whoever has
seen one part of it committed (an offset, a tombstone) finds the others below the high watermarks that he asks for after
that; reading there as ``read_committed`` waits until the transaction is decided in each partition. The last stable
offset would not do: it may still hide what is committed elsewhere. Hence nothing that a round saw leave one place can
be missed in the next place, and "lost" is never said of what is moving. The other way round it may be: an outcome is
read that was published after the journal was, and the intent seems to be in two places. So rounds are repeated while
something is suspected, until it is gone or nothing new came about it (:mod:`streams.audit.auditor`). On a deployment at
rest one round is enough, and on one with anomalies two.

What must stay true: nothing is written. The consumer is in no group and commits nothing; the group's offsets are asked
for, which the right to read the group allows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import KafkaException, Message

from streams.audit.auditor import Auditor
from streams.audit.evidence import Evidence
from streams.audit.report import Report
from streams.audit.rules import AuditRules
from streams.kafka.client_config import KafkaOptions
from streams.kafka.follow import TopicMissing
from streams.kafka.gather import Cluster, Log, Progress, Unread
from streams.kafka.ranges import Bounds, Range, bounds_of, not_there
from streams.kafka.received import headers_of, offset_of
from streams.kafka.topic_names import TopicNames

# Rounds until a suspicion is gone or confirmed. An intent moves four times in its life at most.
ROUNDS_MAX: Final = 8

# Dialers and workers have clocks of their own: what became of an intent is looked for from this long before it.
MARGIN_MS: Final = 3_600_000

_AT_ONCE: Final = 2_000
# A parcel has up to 256 KiB.
_LARGE_AT_ONCE: Final = 100
_WIRE_PREFIX_BYTES: Final = 5


@dataclass(slots=True)
class Verifier:
    """Verifies one deployment. ``progress`` is told what is read, how far it is and how far it goes, now and then.

    ``stall_s``: how long nothing may come before a topic counts as unreadable.
    """

    options: KafkaOptions
    topics: TopicNames
    rules: AuditRules
    wanted: Range = field(default_factory=Range)
    ledger: Path | None = None
    texts: Sequence[Path] = ()
    stall_s: float = 60.0
    progress: Progress = lambda _what, _done, _of: None

    def run(self) -> Report:
        """Read, judge, report. Never raises for what cannot be read: that is in the report as unknown."""
        try:
            with closing(Cluster(self.options, self.stall_s)) as cluster:
                bounds = bounds_of(cluster, self.topics.intents, self.wanted)
                evidence = Evidence(self.rules, {p: (each.first, each.end) for p, each in bounds.items()})
                return self._judged(cluster, bounds, evidence)
        except (Unread, TopicMissing) as error:
            return Report(unknown=[str(error)])
        except KafkaException as error:
            return Report(unknown=[f"Kafka at {self.options.bootstrap_servers}: {error.args[0].str()}"])

    def _judged(self, cluster: Cluster, bounds: Mapping[int, Bounds], evidence: Evidence) -> Report:
        auditor = Auditor(evidence)
        with closing(_Downstream(cluster, self.topics, evidence, self._from_ms(cluster, bounds))) as downstream:
            starts, ends = {p: each.first for p, each in bounds.items()}, {p: each.end for p, each in bounds.items()}
            intents, lines = downstream.open(self.topics.intents, starts, _AT_ONCE), _Lines(self.ledger)
            for _ in range(ROUNDS_MAX):
                evidence.committed = cluster.committed(self.topics.intents, bounds)
                evidence.custody.offsets = cluster.committed(self.topics.parcels)
                downstream.read(self.progress)
                self._read_causes(cluster, intents, ends, lines, evidence)
                evidence.horizons = downstream.horizons(evidence.ends)
                if auditor.judge():
                    break
            self._search(evidence)
        report = auditor.report()
        if auditor.moving:
            report.unknown.append(f"{auditor.moving} intents moved as often as they were looked at")
        report.unknown += downstream.unread
        self._cover(report, bounds, evidence)
        return report

    def _read_causes(
        self, cluster: Cluster, intents: Log, ends: Mapping[int, int], lines: "_Lines", evidence: Evidence
    ) -> None:
        def take(message: Message) -> None:
            evidence.intent(message.partition() or 0, offset_of(message), _unprefixed(message.value()))

        intents.read_to(ends, take, self.progress)
        if evidence.ledger is not None:
            for line in lines.read():
                try:
                    evidence.ledger.line(line)
                except (LookupError, TypeError, ValueError, AttributeError):
                    raise Unread(f"the ledger {self.ledger} has a line that is none of a ledger") from None
        evidence.ends = cluster.ends(self.topics.intents, ends)
        if evidence.ledger is not None and evidence.ledger.unmatched:
            # They may be of intents that were published since the range was taken.
            intents.read_to(evidence.ends, take, self.progress)

    def _search(self, evidence: Evidence) -> None:
        for path in self.texts:
            try:
                with path.open(encoding="utf-8", errors="replace") as lines:
                    evidence.text(str(path), lines)
            except OSError as error:
                raise Unread(f"{path}: {error.strerror}") from None

    def _from_ms(self, cluster: Cluster, bounds: Mapping[int, Bounds]) -> int | None:
        """From when on to look for what became of the intents; ``None``: from the beginning."""
        if self.wanted.from_ms is not None:
            return self.wanted.from_ms - MARGIN_MS
        if self.wanted.offsets is None:
            return None
        asked = {p: bounds[p] for p in self.wanted.offsets if bounds[p].first < bounds[p].end}
        if any(each.first == each.low for each in asked.values()):
            return None
        times_ms = [cluster.time_of(self.topics.intents, p, each.first) for p, each in asked.items()]
        return min((at for at in times_ms if at is not None), default=MARGIN_MS) - MARGIN_MS

    def _cover(self, report: Report, bounds: Mapping[int, Bounds], evidence: Evidence) -> None:
        report.unknown += not_there(self.topics.intents, self.wanted, bounds)
        report.covered["topic"] = self.topics.intents
        report.covered["partitions"] = {
            str(p): {
                "from": each.first,
                "to": each.end,
                "log": [each.low, each.high],
                "committed": evidence.committed.get(p),
            }
            for p, each in sorted(bounds.items())
        }


def _unprefixed(value: bytes | None) -> bytes | None:
    """Without the prefix of Confluent's serializers: a zero byte and a schema id of four bytes."""
    return value[_WIRE_PREFIX_BYTES:] if value is not None and value.startswith(b"\0") else value


class _Downstream:
    """The topics behind the intents. ``unread`` says what could not be read of them."""

    def __init__(self, cluster: Cluster, topics: TopicNames, evidence: Evidence, from_ms: int | None) -> None:
        self.unread: list[str] = []
        self._cluster = cluster
        self._topics = topics
        self._evidence = e = evidence
        self._from_ms = from_ms
        self._open: dict[str, Log] = {}
        self._cut: dict[str, set[int]] = {}
        self._takers: dict[str, Callable[[Message], None]] = {
            topics.journal: lambda m: e.custody.journal(
                f"{topics.journal}[{m.partition()}] offset {m.offset()}", m.key(), m.value()
            ),
            topics.outcomes: lambda m: e.outcome(m.value()),
            topics.dead_letters: lambda m: e.letter(headers_of(m)),
            topics.requests: lambda m: e.request(m.value()),
            topics.parcels: lambda m: e.parcel(m.partition() or 0, offset_of(m), m.value()),
        }

    def open(self, topic: str, starts: Mapping[int, int], at_once: int) -> Log:
        """Begin to read a topic; it is closed with the others."""
        log = self._open[topic] = Log(self._cluster, topic, starts, at_once)
        return log

    def close(self) -> None:
        """Read no more."""
        for log in self._open.values():
            log.close()

    def read(self, progress: Progress) -> None:
        """Read each topic to its end, in order."""
        for topic, take in self._takers.items():
            try:
                log = self._open.get(topic) or self._first(topic)
                log.read_to(self._cluster.ends(topic, self._cluster.partitions(topic)), take, progress)
            except (Unread, TopicMissing, KafkaException) as error:
                text = f"{topic}: {error.args[0].str()}" if isinstance(error, KafkaException) else str(error)
                if text not in self.unread:
                    self.unread.append(text)
                self._evidence.blind |= topic != self._topics.requests

    def _first(self, topic: str) -> Log:
        starts = low = self._cluster.starts(topic)
        if self._from_ms is not None and topic != self._topics.journal:
            starts = self._cluster.at(topic, low, self._from_ms, self._cluster.ends(topic, low))
        if topic not in (self._topics.journal, self._topics.requests):
            self._cut[topic] = {p for p in low if starts[p] == low[p] > 0}
        large = topic in (self._topics.parcels, self._topics.journal)
        return self.open(topic, starts, _LARGE_AT_ONCE if large else _AT_ONCE)

    def horizons(self, ends: Mapping[int, int]) -> dict[int, int]:
        """Up to which offsets of the intents, which end at ``ends``, retention may have removed what became of them."""
        times_ms = [
            self._open[topic].first_times_ms.get(partition)
            for topic, partitions in self._cut.items()
            for partition in partitions
        ]
        known_ms = [at for at in times_ms if at is not None]
        if len(known_ms) < len(times_ms):
            return dict(ends)
        return self._cluster.at(self._topics.intents, ends, max(known_ms), ends) if known_ms else {}


class _Lines:
    """The lines of a ledger, read on as it grows. A line that is not finished is left for later."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read_bytes = 0

    def read(self) -> Iterator[dict[str, Any]]:
        if self._path is None:
            return
        try:
            with self._path.open("rb") as ledger:
                ledger.seek(self._read_bytes)
                for line in ledger:
                    if not line.endswith(b"\n"):
                        return
                    self._read_bytes += len(line)
                    yield orjson.loads(line)
        except (OSError, orjson.JSONDecodeError) as error:
            raise Unread(f"the ledger {self._path}: {type(error).__name__}") from None
