"""A small run, recorded: the real rooms between a broker in memory and the fake API, on virtual time.

Intents of a synthetic dialer are routed, batched, submitted, refused, applied with the answer lost, sent again, checked
and told. What is kept is what an auditor would read: the messages of every topic, offsets and ledger.
"""

import asyncio
import copy
import dataclasses
import itertools
import random
from collections.abc import Sequence
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
LIMITS = Limits(requests_per_minute_per_token=60, token_mints_per_30_min=10)


class Entry(NamedTuple):
    """A message as a topic has it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def told(self) -> dict[str, Any]:
        return dict(orjson.loads(self.value or b"{}"))

    def telling(self, **changes: Any) -> "Entry":
        return self._replace(value=orjson.dumps(self.told | changes))


@dataclass(slots=True)
class Recording:
    """What a run left behind. ``committed`` are the group's offsets by topic and partition."""

    topics: dict[str, list[Entry]] = field(default_factory=dict)
    committed: dict[str, dict[int, int]] = field(default_factory=dict)
    ledger: list[dict[str, Any]] = field(default_factory=list)

    def copy(self) -> "Recording":
        return copy.deepcopy(self)

    def outcomes(self, status: str) -> list[Entry]:
        return [entry for entry in self.topics["outcomes"] if entry.told.get("status") == status]

    def posts(self) -> list[dict[str, Any]]:
        return [line for line in self.ledger if line.get("applied") and line["kind"] == "post"]


def audited(found: Recording, *, with_ledger: bool = True, **rules: Any) -> Report:
    """Feed a recording to the auditor twice, as a verification reads a deployment at rest."""
    ends = {0: max(entry.offset for entry in found.topics["intents"]) + 1}
    settings = AuditRules(TOPICS.intents, LIMITS, with_ledger=with_ledger, **rules)
    evidence = Evidence(settings, {partition: (0, end) for partition, end in ends.items()})
    evidence.committed, evidence.ends = found.committed["intents"], ends
    evidence.custody.offsets = found.committed["parcels"]
    feed(evidence, found)
    auditor = Auditor(evidence)
    for _ in range(2):
        auditor.judge()
    return auditor.report()


def feed(evidence: Evidence, found: Recording) -> None:
    for entry in found.topics["journal"]:
        evidence.custody.journal(f"journal[{entry.partition}]", entry.key, entry.value)
    for entry in found.topics["outcomes"]:
        evidence.outcome(entry.value)
    for entry in found.topics["dead_letters"]:
        evidence.letter(entry.headers)
    for entry in found.topics["requests"]:
        evidence.request(entry.value)
    for entry in found.topics["parcels"]:
        evidence.parcel(entry.partition, entry.offset, entry.value)
    for entry in found.topics["intents"]:
        evidence.intent(entry.partition, entry.offset, entry.value)
    if evidence.ledger is not None:
        for line in found.ledger:
            evidence.ledger.line(line)


# -- the run


class Broker(MemoryCommitter):
    """Commits at once, and keeps each topic as a log."""

    def __init__(self) -> None:
        super().__init__()
        self.found = Recording(topics={name: [] for name in dataclasses.asdict(TOPICS).values()})

    def submit(
        self, owner: Lease, messages: Sequence[OutMessage], next_offset: int | None, _step: str = ""
    ) -> "asyncio.Future[None]":
        for message in messages:
            log, partition = self.found.topics[message.topic], max(0, message.partition)
            offset = sum(entry.partition == partition for entry in log)
            log.append(Entry(partition, offset, message.key, message.value, message.headers))
        if next_offset is not None:
            self.found.committed.setdefault(owner.topic, {})[owner.partition] = next_offset
        return super().submit(owner, messages, next_offset)


class Api:
    """The fake API without a network. The first POST is applied and its answer lost; another one is refused."""

    def __init__(self, ledger: Path) -> None:
        self._fake = FakeTruecaller(FakeOptions(ledger=ledger, faults=FaultPlan(), clock=self, status_delay_s=3))
        self._posts = itertools.count(1)

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
        return Answer(reply.status, orjson.dumps(reply.body))


def _bearer(action: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {action.token.secret}"}


async def record(ledger: Path) -> Recording:
    """The run. Needs the virtual clock of the worker's tests."""
    broker = Broker()
    api: Any = Api(ledger)
    encoder, metrics, found = Encoder(TOPICS, EVENT_SOURCE), new_metrics(), broker.found
    fatal: list[tuple[int, str]] = []
    runner = LaneRunner(cast("Any", broker), api, encoder, LaneObserver(metrics), lambda *why: fatal.append(why))
    running = asyncio.ensure_future(runner.run())
    _publish(found)
    rules = IntakeRules(frozenset(a.id for a in ACCOUNTS), None, 48 * 3_600_000, False, "warn", 30_000)
    router = Router(rules, encoder, PARTITIONS, cast("Any", broker), metrics)
    intents, leases = lease("intents"), [lease("parcels", number) for number in range(PARTITIONS)]
    for owner in leases:
        runner.partitions[owner] = OwnedPartition(owner, _lane)
    for start in range(0, INTENTS, 100):
        chunk = Chunk(
            intents, [_message(entry) for entry in found.topics["intents"][start : start + 100]], start, start + 100
        )
        broker.submit(intents, router.route(chunk, read_clock().wall_ms).messages, chunk.next)
    for owner in leases:
        parcels = [entry for entry in found.topics["parcels"] if entry.partition == owner.partition]
        runner.take(Chunk(owner, [_message(entry) for entry in parcels], 0, len(parcels)))
    deadline_s = boot_s() + 300
    while sum(bool(entry.told.get("final")) for entry in found.topics["outcomes"]) < INTENTS:
        assert boot_s() < deadline_s, "the run does not end"
        assert not fatal, fatal
        await asyncio.sleep(1)
    for partition in runner.partitions.values():
        runner.submit_messages(partition, [])
    running.cancel()
    found.ledger = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
    return found


def _publish(found: Recording) -> None:
    dialer, now_ms = Dialer(ACCOUNTS, seed=7, bad_share=0.05), read_clock().wall_ms
    values = [dialed.value for dialed in dialer.take(INTENTS, now_ms)]
    late = orjson.loads(values[0])
    values[0] = orjson.dumps(late | {"starts_at": now_ms - 60_000, "ends_at": now_ms + 1_000})
    found.topics["intents"] = [Entry(0, offset, None, value) for offset, value in enumerate(values)]


def _message(entry: Entry) -> Message:
    return Message("", entry.partition, entry.offset, entry.key, entry.value, timestamp=(1, read_clock().wall_ms))


def _lane(account_id: str) -> Lane:
    refs = itertools.count(1)
    tools = Tools(random.Random(1), lambda: f"{account_id[:8]}-{next(refs)}", AccountSealer(account_id, "k"), Packer())
    return Lane(LaneOptions(account_id, records_max=20), tools)
