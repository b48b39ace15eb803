"""What client and fake believe of each other: every pair of generations, every fault, one budget.

Client and fake share no code, so that a misunderstanding shows here. Time is the fake's: a clock that the test moves.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from streams.lane.actions import Post
from streams.lane.instant import Instant
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    Listed,
    Minted,
    NotVisible,
    Reauthenticate,
    RecordState,
    Refuse,
    RetryLater,
    Split,
    Statuses,
)
from streams.sandbox.accounts import accounts_of
from streams.sandbox.fake_api import Credentials, FakeOptions, FakeTruecaller, FaultPlan, Moment
from streams.truecaller.client import ClientOptions, TruecallerClient
from streams.truecaller.wire import RECORDS_MAX, Version, encode_batch
from tests.lane.making import START, Driven, minted_lane, row
from tests.truecaller.conftest import TLS

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER = "0ca10281-11a0-4f86-bb27-7452da543cb6"
LABEL = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
KEY = "7d1f5f0e-7f4a-4be5-bb6f-5b9f2f6f9a11"
NOW_MS = 1_790_000_000_000
VERSIONS: tuple[Version, ...] = ("v1", "v2", "v3")


class VirtualClock:
    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> Moment:
        return Moment(NOW_MS / 1000 + self.elapsed_s, self.elapsed_s)


class Intent(NamedTuple):
    caller: str
    receiver: str
    starts_at: int
    ends_at: int
    label_id: str = LABEL
    label_name: str | None = "Centro Bank"
    call_reason: str | None = "About your new card"


def intents(count: int) -> list[Intent]:
    """Each with a receiver and a start of its own, so that the ledger joins to it."""
    return [
        Intent(
            "918012345678",
            f"9198{i:08}",
            NOW_MS + i,
            NOW_MS + 6 * 3_600_000,
            call_reason=("ग्राहक सेवा" * 2, None)[i % 2],
        )
        for i in range(count)
    ]


class Pair(NamedTuple):
    client: TruecallerClient
    fake: FakeTruecaller
    clock: VirtualClock
    ledger: Path

    async def token(self, account: str = ACCOUNT) -> str:
        verdict = await self.client.mint(account, KEY, KEY)
        assert isinstance(verdict, Minted)
        return verdict.token

    def lines(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.ledger.read_bytes().splitlines()]


@asynccontextmanager
async def paired(
    directory: Path,
    faults: str = "",
    submit: Version = "v1",
    status: Version = "v2",
    deadline_s: float = 5.0,
    **options: Any,
) -> AsyncIterator[Pair]:
    clock, ledger = VirtualClock(), directory / "ledger.ndjson"
    fake = FakeTruecaller(FakeOptions(clock=clock, faults=FaultPlan.parse(faults), ledger=ledger, **options))
    url = await fake.start()
    try:
        client_options = ClientOptions(
            url, submit_version=submit, status_version=status, post_deadline_s=deadline_s, ssl_context=TLS
        )
        async with TruecallerClient(client_options) as client:
            yield Pair(client, fake, clock, ledger)
    finally:
        await fake.stop()


@pytest.mark.parametrize(("submit", "status"), list(product(VERSIONS, VERSIONS)))
@pytest.mark.parametrize("masked", [0, 1], ids=["clear", "masked"])
async def test_a_batch_goes_round_in_every_pair_of_generations(tmp_path, submit, status, masked):
    rows = intents(RECORDS_MAX)
    async with paired(tmp_path, f"failed=0.1,masked={masked}", submit, status) as pair:
        token = await pair.token()
        accepted = await pair.client.post(ACCOUNT, token, encode_batch(submit, rows))
        assert isinstance(accepted, Accepted)
        assert accepted.batch_id is not None
        assert await pair.client.check(ACCOUNT, token, accepted.batch_id) == Statuses(())
        pair.clock.elapsed_s += 4
        halfway = await pair.client.check(ACCOUNT, token, accepted.batch_id)
        pair.clock.elapsed_s += 1
        final = await pair.client.check(ACCOUNT, token, accepted.batch_id)
    assert isinstance(halfway, Statuses)
    assert isinstance(final, Statuses)
    assert Counter(record.state for record in halfway.records)[RecordState.PENDING] == 200
    states = Counter(record.state for record in final.records)
    assert states.keys() == {RecordState.DELIVERED, RecordState.FAILED}
    assert all((record.message is not None) == (record.state is RecordState.FAILED) for record in final.records)
    echoed = {
        (r.caller, r.receiver, r.label_id, r.label_name, r.call_reason, r.starts_at, r.ends_at) for r in final.records
    }
    assert echoed == {
        (
            None if masked else row.caller,
            None if masked else row.receiver,
            row.label_id,
            row.label_name,
            row.call_reason,
            row.starts_at,
            row.ends_at,
        )
        for row in rows
    }
    assert len({record.record_id for record in final.records}) == RECORDS_MAX
    (line,) = [line for line in pair.lines() if line.get("applied") and line["kind"] == "post"]
    assert line["records"] == [[r.caller, r.receiver, r.label_id, r.starts_at, r.ends_at] for r in rows]
    assert line["batch_id"] == accepted.batch_id


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_bad_record_is_a_split_that_names_its_field(tmp_path, version):
    bad = intents(3)[1]._replace(ends_at=NOW_MS + 25 * 3_600_000)
    async with paired(tmp_path, submit=version) as pair:
        token = await pair.token()
        verdict = await pair.client.post(ACCOUNT, token, encode_batch(version, [*intents(1), bad]))
        assert verdict == Split(
            "http_400", "ends_at", "Request body is invalid: ends_at cannot be more than 24 hours after starts_at"
        )
        too_many = await pair.client.post(ACCOUNT, token, encode_batch(version, intents(501)))
        assert isinstance(too_many, Split)
        assert pair.fake.stats().records == 0


@pytest.mark.parametrize(
    ("bad", "requests_max"), [pytest.param("0263", 21, id="F59-one"), pytest.param("63", 101, id="F59-five")]
)
async def test_bad_records_are_found_and_all_others_taken_once(tmp_path, bad, requests_max):
    rows = [
        row(number, caller=r.caller, receiver=r.receiver, label_id=r.label_id, starts_at=r.starts_at, ends_at=r.ends_at)
        for number, r in enumerate(intents(RECORDS_MAX))
    ]
    async with paired(tmp_path, f"bad={bad}", limits="off") as pair:
        driven = Driven(minted_lane(await pair.token(), statuses="none", tokens_max=1), Instant(NOW_MS, START.boot_s))
        driven.offer(rows)
        while not driven.lane.idle:
            for asked in driven.step(max(0.001, driven.lane.wake_at(driven.now) - driven.now.boot_s)):
                assert isinstance(asked, Post)
                body = encode_batch("v1", (held.row for held in asked.held))
                driven.answer(asked, await pair.client.post(ACCOUNT, asked.token.secret, body))
        lines = [line for line in pair.lines() if line.get("kind") == "post"]
    refused = [receiver for receiver in (each.receiver for each in rows) if receiver.endswith(bad)]
    assert sorted(one.row.receiver for write in driven.writes for one, _ in write.dead) == refused
    applied = Counter(receiver for line in lines if line.get("applied") for _, receiver, *_ in line["records"])
    assert applied == Counter(each.receiver for each in rows if each.receiver not in refused)
    assert len(lines) <= requests_max


async def test_a_generation_does_not_take_the_spelling_of_another(tmp_path):
    async with paired(tmp_path, submit="v3") as pair:
        verdict = await pair.client.post(ACCOUNT, await pair.token(), encode_batch("v2", intents(1)))
        assert isinstance(verdict, Split)
        assert verdict.field == "caller_number"


@pytest.mark.faults("F46", "F49")
async def test_tokens_end_and_are_minted_within_their_budget(tmp_path):
    async with paired(tmp_path, "retry_after=90") as pair:
        token = await pair.token()
        body = encode_batch("v1", intents(1))
        assert isinstance(await pair.client.post(ACCOUNT, token, body), Accepted)
        assert await pair.client.post(OTHER, token, body) == Refuse("forbidden-error")
        assert await pair.client.check(ACCOUNT, token, "nobody-s-batch") == NotVisible("http_404")
        for _ in range(9):
            await pair.token()
        assert await pair.client.mint(ACCOUNT, KEY, KEY) == RetryLater(
            "http_429", throttled=True, retry_after_s=90.0, left=True
        )
        pair.clock.elapsed_s += 3600
        assert await pair.client.post(ACCOUNT, token, body) == Reauthenticate("authorization-error")
        assert await pair.client.check(ACCOUNT, token, "b") == Reauthenticate("authorization-error")
        assert isinstance(await pair.client.mint(ACCOUNT, KEY, KEY), Minted)


async def test_wrong_keys_are_refused(tmp_path):
    async with paired(tmp_path, accounts={ACCOUNT: Credentials("id", "secret")}) as pair:
        assert await pair.client.mint(ACCOUNT, "id", "secrets") == Refuse("authorization-error")
        assert isinstance(await pair.client.mint(ACCOUNT, "id", "secret"), Minted)


LABELS = tuple(f"c6d86658-008d-4c08-98fb-{number:012}" for number in range(2300))


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        pytest.param(LABELS, [1000, 1000, 300, 0], id="pages"),
        pytest.param(LABELS[:1], [1, 0], id="one"),
        pytest.param((), [0], id="none"),
    ],
)
async def test_labels_are_listed_page_by_page_on_the_tokens_budget(tmp_path, labels, sizes):
    async with paired(tmp_path, accounts={ACCOUNT: Credentials(KEY, KEY, labels)}) as pair:
        token = await pair.token()
        found: set[str] = set()
        for page, size in enumerate(sizes, 1):
            verdict = await pair.client.labels(ACCOUNT, token, page)
            assert isinstance(verdict, Listed)
            assert len(verdict.label_ids) == size
            found |= verdict.label_ids
        assert found == set(labels)
        for _ in range(60 - len(sizes)):
            await pair.client.check(ACCOUNT, token, "none")
        assert await pair.client.labels(ACCOUNT, token, 1) == RetryLater("http_429", throttled=True, left=True)
    kinds = Counter(line["kind"] for line in pair.lines() if line["event"] == "request")
    assert kinds["labels"] == len(sizes) + 1


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        pytest.param("401", Reauthenticate("authorization-error"), id="401"),
        pytest.param("403", Refuse("forbidden-error"), id="403"),
        pytest.param("404", Refuse("http_404"), id="404"),
        pytest.param("429", RetryLater("http_429", throttled=True, left=True), id="429"),
        pytest.param("500", Ambiguous("http_500"), id="500"),
        pytest.param("token500", Reauthenticate("http_500"), id="token500"),
        pytest.param("cut", Ambiguous("answer_cut"), id="cut"),
        pytest.param("hang", Ambiguous("deadline"), id="hang"),
        pytest.param("reset", Ambiguous("no_answer"), id="reset"),
    ],
)
async def test_a_list_of_labels_that_fails_is_never_taken_for_an_empty_one(tmp_path, fault, verdict):
    async with paired(tmp_path, f"labels.{fault}=1", deadline_s=0.3) as pair:
        assert await pair.client.labels(ACCOUNT, await pair.token(), 1) == verdict


@pytest.mark.parametrize("submit", VERSIONS)
async def test_where_labels_are_strict_a_strange_one_is_refused_and_its_own_is_taken(tmp_path, submit):
    options: dict[str, Any] = {"accounts": {ACCOUNT: Credentials(KEY, KEY, (LABEL,))}, "strict_labels": True}
    async with paired(tmp_path, submit=submit, **options) as pair:
        token = await pair.token()
        mine = intents(2)
        assert isinstance(await pair.client.post(ACCOUNT, token, encode_batch(submit, mine)), Accepted)
        strange = [*mine, mine[0]._replace(label_id=OTHER)]
        refused = await pair.client.post(ACCOUNT, token, encode_batch(submit, strange))
        assert isinstance(refused, Split)
        assert refused.field == "label_id"


async def test_without_a_file_an_account_has_the_label_of_the_synthetic_dialer(tmp_path):
    async with paired(tmp_path) as pair:
        verdict = await pair.client.labels(ACCOUNT, await pair.token(), 1)
    assert verdict == Listed(frozenset({accounts_of([ACCOUNT])[0].label_id}))


FAULTS = [
    pytest.param("400", Split("http_400", "call_records", "Request body is invalid: refused on purpose"), id="400"),
    pytest.param("401", Reauthenticate("authorization-error"), id="401"),
    pytest.param("403", Refuse("forbidden-error"), id="403"),
    pytest.param("404", Refuse("http_404"), id="404"),
    pytest.param("408", Ambiguous("http_408"), id="408"),
    pytest.param("429", RetryLater("http_429", throttled=True, left=True), id="429"),
    pytest.param("500", Ambiguous("http_500"), id="500"),
    pytest.param("503", Ambiguous("http_503"), id="503"),
    pytest.param("token500", Reauthenticate("http_500"), id="token500"),
    pytest.param("applied500", Ambiguous("http_500"), id="applied500"),
    pytest.param("untracked", Accepted(None), id="untracked"),
    pytest.param("cut", Ambiguous("answer_cut"), id="cut"),
    pytest.param("hang", Ambiguous("deadline"), id="hang"),
    pytest.param("reset", Ambiguous("no_answer"), id="reset"),
]


@pytest.mark.parametrize(("fault", "verdict"), FAULTS)
@pytest.mark.faults("F53", "F62")
async def test_each_fault_is_understood_and_never_taken_for_its_opposite(tmp_path, fault, verdict):
    async with paired(tmp_path, f"post.{fault}=1", deadline_s=0.3) as pair:
        assert await pair.client.post(ACCOUNT, await pair.token(), encode_batch("v1", intents(2))) == verdict
        line = pair.lines()[-1]
    assert line["fault"] == fault
    if line["applied"]:
        assert isinstance(verdict, Accepted | Ambiguous)
    else:
        assert not isinstance(verdict, Accepted)


class Pace:
    """Sixty requests in any minute: a slot is free again a minute after its request ended."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.ended_s: deque[float] = deque(maxlen=60)

    def wait(self) -> None:
        if len(self.ended_s) == self.ended_s.maxlen:
            self.clock.elapsed_s = max(self.clock.elapsed_s, self.ended_s[0] + 60)

    def ended(self) -> None:
        self.ended_s.append(self.clock.elapsed_s)


async def test_a_file_of_intents_is_submitted_and_checked_within_sixty_requests_a_minute(tmp_path):
    """20,000 intents in batches of 250: 80 POSTs and 80 checks with one token, so most of three minutes."""
    path = tmp_path / "intents.ndjson"
    path.write_bytes(b"\n".join(orjson.dumps(intent._asdict()) for intent in intents(20_000)))
    rows = [Intent(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    async with paired(tmp_path, "masked=0", status_delay_s=10) as pair:
        pace, token = Pace(pair.clock), await pair.token()
        batches: dict[str, set[tuple[str, int]]] = {}
        for start in range(0, len(rows), 250):
            batch = rows[start : start + 250]
            pace.wait()
            accepted = await pair.client.post(ACCOUNT, token, encode_batch("v1", batch))
            pace.ended()
            assert isinstance(accepted, Accepted)
            assert accepted.batch_id is not None
            batches[accepted.batch_id] = {(row.receiver, row.starts_at) for row in batch}
        pair.clock.elapsed_s += 10
        final: Counter[RecordState] = Counter()
        for batch_id, expected in batches.items():
            pace.wait()
            statuses = await pair.client.check(ACCOUNT, token, batch_id)
            pace.ended()
            assert isinstance(statuses, Statuses)
            assert {(record.receiver, record.starts_at) for record in statuses.records} == expected
            final.update(record.state for record in statuses.records)
        stats = pair.fake.stats()
    assert final[RecordState.DELIVERED] + final[RecordState.FAILED] == 20_000
    assert (stats.over_limit, stats.http_429, stats.batches, stats.records) == (0, 0, 80, 20_000)
    assert 120 <= pair.clock.elapsed_s < 180
    received = [line["received_mono"] for line in pair.lines() if line.get("kind") in ("post", "check")]
    assert len(received) == 160
    assert all(later - earlier >= 60 for earlier, later in zip(received, received[60:], strict=False))
    applied = [tuple(record[1::2]) for line in pair.lines() for record in line.get("records", ())]
    assert sorted(applied) == sorted((row.receiver, row.starts_at) for row in rows)


async def test_one_request_more_than_sixty_is_seen_by_both(tmp_path):
    async with paired(tmp_path) as pair:
        token, body = await pair.token(), encode_batch("v1", intents(1))
        verdicts = await asyncio.gather(*(pair.client.post(ACCOUNT, token, body) for _ in range(61)))
        assert Counter(type(verdict) for verdict in verdicts) == {Accepted: 60, RetryLater: 1}
        assert sum(line.get("over_limit", False) for line in pair.lines()) == 1
