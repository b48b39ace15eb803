"""Reading what a run left behind: topics, ledger, logs."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.audit.intents import Source
from streams.audit.report import Report
from streams.audit.rules import AuditRules, Limits
from streams.contracts.journal import BatchEntry, JournalKey, Packer, TokensEntry, decode_entry
from streams.kafka.client_config import KafkaOptions
from streams.kafka.topic_names import TopicNames
from streams.kafka.verify import Verifier
from streams.worker.sealing import AccountSealer
from tests.e2e.audit import Artefacts, Finding, Intent, JournalState, Outcome, Story, world_findings
from tests.e2e.world import Worker, World, log_ends, until

UNLIMITED = Limits(1_000_000, 1_000_000)
INTENT_OUTCOME = b"io.callstream.intent.outcome.v1"


class Follower:
    """Reads a whole topic ``read_committed``, and goes on as it grows. ``take`` gets each message once."""

    def __init__(self, bootstrap: str, topic: str, take: Callable[[Message], None]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "unused",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.queue.backoff.ms": 5,
                "log_level": 0,
            }
        )
        self.again = 0
        self._bootstrap = bootstrap
        self._topic = topic
        self._take = take
        self._partitions = list(self._consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        self._positions = dict.fromkeys(self._partitions, 0)
        self._consumer.assign([TopicPartition(topic, p, 0) for p in self._partitions])

    def read(self, wait_s: float = 0.05) -> int:
        """Take what has come meanwhile; returns how many messages."""
        taken = 0
        while messages := self._consumer.consume(10_000, wait_s):
            for message in messages:
                taken += self._advance(message)
        return taken

    def _advance(self, message: Message) -> int:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is None:
            assert partition is not None
            assert offset is not None
            if offset < self._positions[partition]:
                # The client may deliver again what it fetched before a broker came back.
                self.again += 1
                return 0
            self._positions[partition] = offset + 1
            self._take(message)
            return 1
        if error.code() == KafkaError._PARTITION_EOF:
            assert partition is not None
            assert offset is not None
            self._positions[partition] = max(self._positions[partition], offset)
        return 0

    def read_to_end(self, timeout_s: float = 30.0) -> None:
        """Take everything up to the high watermark of now, transactions that are still open included."""
        ends = log_ends(self._bootstrap, self._topic, self._positions)

        def there() -> bool:
            self.read()
            return all(self._positions[p] >= end for p, end in ends.items())

        until(there, timeout_s, lambda: f"{self._topic} read to {ends}, stands at {self._positions}")

    def close(self) -> None:
        self._consumer.close()


class Outcomes:
    """All intent outcomes so far, and how many intents are final."""

    def __init__(self, world: World) -> None:
        self.all: list[Outcome] = []
        self.texts: list[str] = []
        self.finals: Counter[str] = Counter()
        self.unresolved: set[Source] = set()
        self._final_sources: set[Source] = set()
        self._follower = Follower(world.bootstrap, world.topics["outcomes"], self._take)
        self._world = world

    def _take(self, message: Message) -> None:
        value = message.value() or b""
        self.texts.append(f"{(message.key() or b'').decode()} {value.decode()}")
        headers = dict(message.headers() or ())
        if headers["ce_type"] != INTENT_OUTCOME:
            return
        told = orjson.loads(value)
        source = Source(told["source"]["partition"], told["source"]["offset"])
        place = f"{told['source']['topic']}/{source.partition}/{source.offset}/{told['sequence']}"
        assert headers["ce_id"] == place.encode(), headers
        self.all.append(
            Outcome(
                source, told["status"], told["final"], told["sequence"], told["batch_id"], told["possible_duplicate"]
            )
        )
        if told["final"]:
            self.finals[told["status"]] += 1
            self._final_sources.add(source)
            self.unresolved.discard(source)
        elif told["status"] == "unresolved":
            self.unresolved.add(source)

    def final_count(self) -> int:
        """Intents with a final outcome, as of now."""
        self._follower.read()
        return len(self._final_sources)

    def until_final(self, count: int, timeout_s: float) -> None:
        """Wait until so many intents are final."""
        until(lambda: self.final_count() >= count, timeout_s, lambda: f"{count} intents final; {self.finals}")

    def read_to_end(self) -> None:
        self._follower.read_to_end()

    @property
    def again(self) -> int:
        """Messages that the client delivered a second time; they count once."""
        return self._follower.again

    def close(self) -> None:
        self._follower.close()


def collect(world: World, outcomes: Outcomes, *, crashes: bool = True) -> Artefacts:
    """All artefacts of a world whose work is done. ``crashes``: whether the world knows of each of them."""
    outcomes.read_to_end()
    intents: dict[Source, Intent] = {}
    stories: dict[str, Story] = {}
    requests: list[str] = []
    packer = Packer()

    def take_journal(message: Message) -> None:
        key, value = JournalKey.parse(message.key()), message.value()
        if key.kind not in {"intents", "batch"} or value is None:
            return
        story = stories.setdefault(key.name, Story(message.partition() or 0))
        if key.kind == "intents":
            story.sources = tuple(Source(one.source_partition, one.row.source_offset) for one in packer.unpack(value))
        else:
            entry = decode_entry(key, value)
            assert isinstance(entry, BatchEntry)
            story.states.append(JournalState(message.offset() or 0, entry.state, message.timestamp()[1]))

    def take_intent(message: Message) -> None:
        intents[Source(message.partition() or 0, message.offset() or 0)] = intent_of(message.value())

    read_whole(world, "intents", take_intent)
    read_whole(world, "journal", take_journal)
    read_whole(world, "requests", lambda message: requests.append((message.value() or b"").decode()))
    return Artefacts(
        intents,
        list(outcomes.all),
        stories,
        list(world.ledger_lines()),
        dict(texts_of(world)) | {"outcomes": "\n".join(outcomes.texts), "requests": "\n".join(requests)},
        list(world.crashes) if crashes else None,
    )


def intent_of(value: bytes | None) -> Intent:
    try:
        told: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return Intent(None, None, None, None, None)
    receiver = str(told["receiver"]).lstrip("+")
    return Intent(told["account_id"], told["caller"].lstrip("+"), receiver, told.get("label_id"), told["starts_at"])


def read_whole(world: World, topic: str, take: Callable[[Message], None]) -> None:
    follower = Follower(world.bootstrap, world.topics[topic], take)
    try:
        follower.read_to_end()
    finally:
        follower.close()


def texts_of(world: World) -> Iterator[tuple[str, str]]:
    """What people may read: logs of workers, and the metrics of those that still run."""
    for process in world.processes:
        if isinstance(process, Worker):
            yield process.log.name, process.said()
            if process.code is None:
                metrics = process.metrics()
                assert "callstream_intents_total" in metrics
                yield f"metrics of {process.log.name}", metrics


def secrets_of(world: World) -> list[str]:
    """API keys, key ids, and every token that was ever journaled."""
    keys = {account.id: account.api_key for account in world.accounts}
    found = [*keys.values(), *(account.key_id for account in world.accounts)]

    def take(message: Message) -> None:
        key, value = JournalKey.parse(message.key()), message.value()
        if key.kind == "tokens" and value is not None:
            entry = decode_entry(key, value)
            assert isinstance(entry, TokensEntry)
            opened = (AccountSealer(key.name, keys[key.name]).open(token.sealed) for token in entry.tokens)
            found.extend(secret for secret in opened if secret is not None)

    read_whole(world, "journal", take)
    return sorted(set(found))


def audited(world: World, found: Artefacts, limits: Limits = UNLIMITED) -> Report:
    """Have the product's auditor judge a world whose work is done, and add what only a world can know."""
    paths = []
    for number, text in enumerate(found.texts.values()):
        paths.append(world.directory / f"text-{number}.txt")
        paths[-1].write_text(text)
    rules = AuditRules(world.topics["intents"], limits, with_ledger=True, with_texts=True)
    options = KafkaOptions(world.bootstrap, world.group, "audit")
    report = Verifier(options, TopicNames(**world.topics), rules, ledger=world.ledger, texts=paths).run()
    for finding in world_findings(found, secrets_of(world)):
        report.anomaly(finding.name, {"where": finding.where})
    return report


def findings_of(report: Report) -> list[Finding]:
    """What is wrong, and what could not be told, one line each."""
    wrong = [Finding(name, f"{each.count}: {each.examples}") for name, each in report.anomalies.items()]
    return wrong + [Finding("unknown", what) for what in report.unknown]


def figures(report: Report) -> str:
    """A report in one line."""
    return orjson.dumps({name: told for name, told in report.told().items() if name != "accounts"}).decode()
