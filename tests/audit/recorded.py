"""A small run, recorded: the real rooms between a broker in memory and the fake API, on virtual time.

Intents of a synthetic dialer are routed, batched, submitted, refused, applied with the answer lost, sent again, checked
and told. What is kept is what an auditor would read: the messages of every topic, offsets and ledger.
"""

import asyncio
import copy
import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import orjson
from confluent_kafka import Message

from streams.audit.auditor import Auditor
from streams.audit.evidence import Evidence
from streams.audit.report import Report
from streams.audit.rules import AuditRules, Limits
from streams.contracts.journal import Packer
from streams.intake.rules import IntakeRules
from streams.kafka.lease import Chunk, Lease
from streams.kafka.message import OutMessage
from streams.lane.lane import Lane
from streams.lane.options import LaneOptions
from streams.lane.reading import Room
from streams.lane.state import Tools
from streams.sandbox.accounts import synthetic_accounts
from streams.sandbox.dialer import Dialer
from streams.sandbox.fake_api import FakeOptions, FakeTruecaller, FaultPlan
from streams.sandbox.fake_api.api import Call
from streams.sandbox.fake_api.clock import Moment
from streams.sandbox.fake_api.faults import Effect
from streams.truecaller.classify import Answer, Handed, NoAnswer, classify_check, classify_mint, classify_post
from streams.truecaller.wire import encode_batch
from streams.worker.clock import boot_s, read_clock
from streams.worker.encode import Encoder
from streams.worker.lane_runner import LaneRunner
from streams.worker.observe import LaneObserver
from streams.worker.owned import OwnedPartition
from streams.worker.route import Router
from streams.worker.sealing import AccountSealer
from tests.worker.parts import EVENT_SOURCE, TOPICS, MemoryCommitter, lease, new_metrics

ACCOUNTS = synthetic_accounts(3, seed=7)
PARTITIONS = 2
INTENTS = 300
CHUNK = 50
LIMITS = Limits(requests_per_minute_per_token=60, token_mints_per_30_min=10)


class Entry(NamedTuple):
    """A message as a topic has it. ``unit`` is the number of the transaction that wrote it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    unit: int = 0

    @property
    def told(self) -> dict[str, Any]:
        return dict(orjson.loads(self.value or b"{}"))

    def telling(self, **changes: Any) -> "Entry":
        return self._replace(value=orjson.dumps(self.told | changes))


@dataclass(slots=True)
class Recording:
    """What a run left behind.

    ``commits`` are the offsets that each transaction committed: its number, topic, partition, offset. ``ledger_units``
    has for each line of the ledger how many transactions there were before it.
    """

    topics: dict[str, list[Entry]] = field(default_factory=dict)
    commits: list[tuple[int, str, int, int]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    ledger_units: list[int] = field(default_factory=list)

    def copy(self) -> "Recording":
        topics = {name: list(entries) for name, entries in self.topics.items()}
        return Recording(topics, list(self.commits), copy.deepcopy(self.ledger), self.ledger_units)

    def committed(self, topic: str, units: int | None = None) -> dict[int, int]:
        """The group's offsets after so many transactions."""
        return {p: to for unit, name, p, to in self.commits if name == topic and (units is None or unit < units)}

    def outcomes(self, status: str) -> list[Entry]:
        return [entry for entry in self.topics["outcomes"] if entry.told.get("status") == status]

    def posts(self) -> list[dict[str, Any]]:
        return [line for line in self.ledger if line.get("applied") and line["kind"] == "post"]


def evidence_of(found: Recording, *, with_ledger: bool = True, **rules: Any) -> Evidence:
    """Evidence for all intents of a recording, with nothing read yet."""
    ends = {0: max(entry.offset for entry in found.topics["intents"]) + 1}
    settings = dataclasses.replace(AuditRules(TOPICS.intents, LIMITS, with_ledger=with_ledger), **rules)
    evidence = Evidence(settings, {partition: (0, end) for partition, end in ends.items()})
    evidence.ends = ends
    return evidence


def audited(
    found: Recording,
    *,
    with_ledger: bool = True,
    texts: Mapping[str, Sequence[str]] | None = None,
    horizons: dict[int, int] | None = None,
    **rules: Any,
) -> Report:
    """Read a recording and judge it twice, as a verification does with a deployment at rest."""
    evidence = evidence_of(found, with_ledger=with_ledger, with_texts=texts is not None, **rules)
    evidence.horizons = horizons or {}
    evidence.committed, evidence.custody.offsets = found.committed("intents"), found.committed("parcels")
    for topic in READING_ORDER:
        for entry in found.topics[topic]:
            read(evidence, topic, entry)
    if evidence.ledger is not None:
        for line in found.ledger:
            evidence.ledger.line(line)
    for name, lines in (texts or {}).items():
        evidence.text(name, lines)
    auditor = Auditor(evidence)
    for _ in range(2):
        auditor.judge()
    return auditor.report()


READING_ORDER = ("journal", "outcomes", "dead_letters", "requests", "parcels", "intents")


def read(evidence: Evidence, topic: str, entry: Entry) -> None:
    """One message of a topic."""
    match topic:
        case "journal":
            evidence.custody.journal(f"journal[{entry.partition}]", entry.key, entry.value)
        case "outcomes":
            evidence.outcome(entry.value)
        case "dead_letters":
            evidence.letter(entry.headers)
        case "requests":
            evidence.request(entry.value)
        case "parcels":
            evidence.parcel(entry.partition, entry.offset, entry.value)
        case "intents":
            evidence.intent(entry.partition, entry.offset, entry.value)


# -- the run


class Broker(MemoryCommitter):
    """Commits at once, and keeps each topic as a log."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Recording(topics={name: [] for name in TOPICS._asdict().values()})

    def submit(
        self, owner: Lease, messages: Sequence[OutMessage], next_offset: int | None, _step: str = ""
    ) -> "asyncio.Future[None]":
        for message in messages:
            log, partition = self.found.topics[message.topic], max(0, message.partition)
            offset = sum(entry.partition == partition for entry in log)
            log.append(Entry(partition, offset, message.key, message.value, message.headers, len(self.units)))
        if next_offset is not None:
            self.found.commits.append((len(self.units), owner.topic, owner.partition, next_offset))
        return super().submit(owner, messages, next_offset)


class Api:
    """The fake API without a network. The first POST is applied and its answer lost; one record is always refused."""

    def __init__(self, ledger: Path, broker: Broker) -> None:
        self._broker = broker
        self._fake = FakeTruecaller(FakeOptions(ledger=ledger, faults=FaultPlan(), clock=self, status_delay_s=3))
        self._posts = itertools.count(1)
        self._bad = ""

    def now(self) -> Moment:
        now = read_clock()
        return Moment(now.wall_ms / 1000, now.boot_s)

    async def mint(self, account_id: str) -> Any:
        account = next(each for each in ACCOUNTS if each.id == account_id)
        body = orjson.dumps({"key_id": account.key_id, "api_key": account.api_key})
        return classify_mint(await self._ask("POST", account_id, "token", {"x-public-access": "allow"}, body))

    async def post(self, account_id: str, action: Any) -> Any:
        body = encode_batch("v1", (held.row for held in action.held))
        number = next(self._posts)
        if number == 3:
            self._bad = action.held[0].row.receiver
        if self._bad in {held.row.receiver for held in action.held}:
            body = body.replace(b'"call_records"', b'"no_records"')
        reply = await self._ask("POST", account_id, "dynamic_call_records", _bearer(action), body)
        return classify_post(NoAnswer("reset", Handed.WHOLE) if number == 1 else reply, (429,))

    async def check(self, account_id: str, action: Any) -> Any:
        query = {"batchId": action.batch_id}
        reply = await self._ask("GET", account_id, "dynamic_call_records", _bearer(action), b"", query)
        return classify_check(reply, action.batch_id)

    async def _ask(
        self, method: str, account_id: str, what: str, headers: dict[str, str], body: bytes, query: Any = None
    ) -> Answer:
        received = self.now()
        headers = {"content-type": "application/json", **headers}
        path = f"/clients/{account_id}/{what}" if method == "POST" else f"/v2/clients/{account_id}/{what}"
        reply = self._fake._api.handle(Call(method, path, query or {}, headers, body, received))
        assert reply.effect is Effect.ANSWER
        await asyncio.sleep(0.05)  # plays the time of a request
        self._fake._write(reply.entry, received, reply.status, reply.records)
        self._broker.found.ledger_units.append(len(self._broker.units))
        return Answer(reply.status, orjson.dumps(reply.body))


def _bearer(action: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {action.token.secret}"}


async def record(ledger: Path) -> Recording:
    """The run. Needs the virtual clock of the worker's tests."""
    broker = Broker()
    api: Any = Api(ledger, broker)
    encoder, metrics, found = Encoder(TOPICS, EVENT_SOURCE), new_metrics(), broker.found
    fatal: list[tuple[int, str]] = []
    room = Room(400_000)
    runner = LaneRunner(cast("Any", broker), api, encoder, LaneObserver(metrics), lambda *why: fatal.append(why))
    running = asyncio.ensure_future(runner.run())
    _publish(found)
    rules = IntakeRules(frozenset(a.id for a in ACCOUNTS), None, 48 * 3_600_000, False, "warn", 30_000)
    router = Router(rules, encoder, PARTITIONS, cast("Any", broker), metrics, lambda *_: (), lambda *_: None)
    intents, leases = lease("intents"), [lease("parcels", number) for number in range(PARTITIONS)]
    for owner in leases:
        runner.partitions[owner] = OwnedPartition(owner, _lane, room)
    read_to = dict.fromkeys(leases, 0)
    for start in range(0, INTENTS, CHUNK):
        chunk = Chunk(intents, messages(found.topics["intents"][start : start + CHUNK]), start, start + CHUNK)
        broker.submit(intents, router.route(chunk, read_clock().wall_ms).messages, chunk.next)
        for owner, begin in read_to.items():
            parcels = [entry for entry in found.topics["parcels"] if entry.partition == owner.partition]
            runner.take(Chunk(owner, messages(parcels[begin:]), begin, len(parcels)))
            read_to[owner] = len(parcels)
        await asyncio.sleep(1)
    deadline_s = boot_s() + 300
    while sum(bool(entry.told.get("final")) for entry in found.topics["outcomes"]) < INTENTS:
        assert boot_s() < deadline_s, "the run does not end"
        assert not fatal, fatal
        await asyncio.sleep(1)
    for partition in runner.partitions.values():
        runner.submit_messages(partition, [])
    running.cancel()
    found.ledger = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
    assert len(found.ledger) == len(found.ledger_units)
    return found


def _publish(found: Recording) -> None:
    dialer, now_ms = Dialer(ACCOUNTS, seed=7, bad_share=0.05), read_clock().wall_ms
    values = [dialed.value for dialed in dialer.take(INTENTS, now_ms)]
    late = orjson.loads(values[0])
    values[0] = orjson.dumps(late | {"starts_at": now_ms - 60_000, "ends_at": now_ms + 1_000})
    found.topics["intents"] = [Entry(0, offset, None, value) for offset, value in enumerate(values)]


def messages(entries: Sequence[Entry]) -> list[Message]:
    stamp = (1, read_clock().wall_ms)
    return [Message("", e.partition, e.offset, e.key, e.value, timestamp=stamp) for e in entries]


def _lane(account_id: str) -> Lane:
    refs = itertools.count(1)
    tools = Tools(random.Random(1), lambda: f"{account_id[:8]}-{next(refs)}", AccountSealer(account_id, "k"), Packer())
    return Lane(LaneOptions(account_id, records_max=20), tools)
