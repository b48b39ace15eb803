"""``route``: what a chunk of mixed messages becomes, and in what order it is committed."""

import asyncio
from collections import Counter

import orjson
import pytest
from confluent_kafka import Message

from streams.contracts.outcome import IntentOutcome
from streams.contracts.parcel import decode_parcel
from streams.intake.rules import IntakeRules
from streams.kafka.lease import Chunk
from streams.kafka.message import OutMessage
from streams.kafka.partitions import partition_of
from streams.worker.contiguous import ChunkMissing
from streams.worker.encode import Encoder
from streams.worker.route import UNITS_WAITING_MAX, Router
from tests.worker.parts import (
    ACCOUNT,
    CALLER,
    EVENT_SOURCE,
    LABEL,
    OTHER_ACCOUNT,
    TOPICS,
    MemoryCommitter,
    lease,
    new_metrics,
)
from tests.worker.virtual import START_MS, settled

PARTITIONS = 12
RULES = IntakeRules(
    accounts=frozenset({ACCOUNT, OTHER_ACCOUNT}),
    default_account=None,
    horizon_ms=48 * 3_600_000,
    strict_unknown_fields=False,
    reason_characters="warn",
    expiry_margin_ms=30_000,
)


def intent(number, **changes):
    return orjson.dumps(
        {
            "intent_id": f"intent-{number}",
            "account_id": ACCOUNT,
            "caller": CALLER,
            "receiver": f"91700000{number:04}",
            "label_id": LABEL,
            "starts_at": START_MS + 60_000,
            "ends_at": START_MS + 3_600_000,
            **changes,
        }
    )


def message(offset, value, *, key=None, headers=None):
    return Message("intents", 3, offset, key, value, headers, timestamp=(1, START_MS - 100))


def chunk(*values, start=100, owner=None):
    owner = owner or lease("intents", 3, start=start)
    messages = [each if isinstance(each, Message) else message(start + n, each) for n, each in enumerate(values)]
    return Chunk(owner, messages, start, start + len(messages))


def router(committer=None, metrics=None, saw=lambda *_: None):
    encoder = Encoder(TOPICS, EVENT_SOURCE)
    return Router(RULES, encoder, PARTITIONS, committer, metrics or new_metrics(), lambda *_: (), saw)


def routed(*values):
    return router().route(chunk(*values), START_MS)


def by_topic(messages):
    found: dict[str, list[OutMessage]] = {}
    for each in messages:
        found.setdefault(each.topic, []).append(each)
    return found


@pytest.mark.faults("F27")
def test_a_chunk_of_mixed_messages_is_counted_and_loses_none():
    ended = {"starts_at": START_MS - 60_000, "ends_at": START_MS - 1}
    result = routed(
        intent(0), b"{", intent(1, account_id=OTHER_ACCOUNT), intent(2, **ended), None, intent(3), intent(4, caller="1")
    )
    assert (result.valid, result.expired) == (3, 1)
    assert result.invalid.total() == 3
    topics = {topic: len(messages) for topic, messages in by_topic(result.messages).items()}
    assert topics == {"parcels": 2, "dead_letters": 3, "outcomes": 4}


def test_a_parcel_holds_the_intents_of_one_account_in_the_partition_of_its_key():
    result = routed(intent(0), intent(1, account_id=OTHER_ACCOUNT), intent(2))
    parcels = [(decode_parcel(each.value), each) for each in by_topic(result.messages)["parcels"]]
    assert {parcel.account_id: [one.source_offset for one in parcel.rows] for parcel, _ in parcels} == {
        ACCOUNT: [100, 102],
        OTHER_ACCOUNT: [101],
    }
    for parcel, sent in parcels:
        assert sent.key == parcel.account_id.encode()
        assert sent.partition == partition_of(sent.key, PARTITIONS)
        assert (parcel.source_topic, parcel.source_partition) == ("intents", 3)
        assert {one.recorded_at for one in parcel.rows} == {START_MS - 100}


def test_a_dead_letter_carries_the_original_and_where_it_came_from():
    hostile = message(100, b'{"intent_id": "i-1"', key=b"\x00key", headers=[("tenant", b"a"), ("tenant", None)])
    (letter,) = by_topic(routed(hostile).messages)["dead_letters"]
    assert (letter.key, letter.value) == (b"\x00key", b'{"intent_id": "i-1"')
    assert letter.headers[:2] == (("tenant", b"a"), ("tenant", None))
    headers = dict(letter.headers[2:])
    assert headers["__connect.errors.topic"] == b"intents"
    assert (headers["__connect.errors.partition"], headers["__connect.errors.offset"]) == (b"3", b"100")
    assert headers["__connect.errors.stage"] == b"route"


def test_an_invalid_intent_has_one_outcome_under_its_id_or_its_source():
    result = routed(b"\xff\xfe", intent(1, caller="+91 99"))
    sent = by_topic(result.messages)["outcomes"]
    told = [IntentOutcome.model_validate_json(each.value) for each in sent]
    assert [(each.intent_id, each.status, each.final) for each in told] == [
        (None, "invalid", True),
        ("intent-1", "invalid", True),
    ]
    assert [each.key for each in sent] == [b"intents/3/100", b"intent-1"]
    assert Counter(each.reason.code for each in told if each.reason) == result.invalid


def test_an_expired_intent_has_an_outcome_and_no_dead_letter():
    result = routed(intent(0, starts_at=START_MS - 60_000, ends_at=START_MS + 1_000, attributes={"a": "b"}))
    (outcome,) = result.messages
    told = IntentOutcome.model_validate_json(outcome.value)
    assert (told.status, told.attributes, told.source.offset) == ("expired", {"a": "b"}, 100)


def test_nothing_readable_holds_a_number():
    result = routed(intent(0, caller="91 801111 1111"), intent(1, ends_at=START_MS - 1, starts_at=START_MS - 2))
    for each in by_topic(result.messages)["outcomes"]:
        assert b"801111" not in each.value
        assert b"917000" not in each.value


def test_a_w3c_trace_goes_along():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    result = routed(message(100, intent(0), headers=[("traceparent", trace.encode())]))
    (parcel,) = result.messages
    assert decode_parcel(parcel.value).rows[0].traceparent == trace


async def run(route, *chunks):
    async def come():
        for each in chunks:
            yield each

    await route.run(come())


def test_a_chunk_and_the_offset_behind_it_are_one_unit(play):
    async def story():
        committer = MemoryCommitter()
        await run(router(committer), chunk(intent(0), b"{"))
        (unit,) = committer.units
        assert unit.next_offset == 102
        assert len(unit.messages) == 3

    play(story)


def test_chunks_of_a_lease_that_ends_are_left_to_the_next_owner(play):
    async def story():
        committer = MemoryCommitter()
        ending = chunk(intent(0))
        ending.lease.alive = False
        await run(router(committer), ending)
        assert not committer.units

    play(story)


def test_a_lost_unit_does_not_end_the_routing(play):
    async def story():
        committer = MemoryCommitter()
        lost = chunk(intent(0))
        lost.lease.lost = True
        await run(router(committer), lost, chunk(intent(1)))
        assert len(committer.units) == 2

    play(story)


@pytest.mark.faults("F31")
def test_units_that_wait_for_their_commit_are_bounded(play):
    async def story():
        committer = MemoryCommitter()
        committer.at_once = False
        owner = lease("intents", 3)
        chunks = [chunk(intent(n), start=n, owner=owner) for n in range(UNITS_WAITING_MAX + 5)]
        running = asyncio.ensure_future(run(router(committer), *chunks))
        await settled()
        assert len(committer.units) == UNITS_WAITING_MAX
        committer.at_once = True
        committer.commit()
        await running
        assert len(committer.units) == len(chunks)

    play(story)


@pytest.mark.parametrize("second", [pytest.param(103, id="a gap"), pytest.param(100, id="a repetition")])
def test_a_chunk_that_is_not_the_next_ends_the_worker(play, second):
    async def story():
        owner = lease("intents", 3, start=100)
        with pytest.raises(ChunkMissing):
            await run(
                router(MemoryCommitter()),
                chunk(intent(0), start=100, owner=owner),
                chunk(intent(1), start=second, owner=owner),
            )

    play(story)


@pytest.mark.faults("F30")
def test_invalid_messages_are_told_of_by_partition(play):
    async def chunks():
        yield chunk(intent(0), b"{", intent(1, caller="1"))

    async def story():
        told = []
        routing = router(MemoryCommitter(), saw=lambda *each: told.append(each))
        await routing.run(chunks())
        ((owner, messages, invalid),) = told
        assert (owner.partition, messages, invalid.total()) == (3, 3, 2)

    play(story)
