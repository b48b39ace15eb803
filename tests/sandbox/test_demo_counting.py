"""What the demo counts: intents in custody, requests in the ledger, how much may be under way."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from confluent_kafka import Message

from streams.contracts.dead_letter import dead_letter
from streams.contracts.outcome import (
    BatchFacts,
    OutcomeFacts,
    Reason,
    Source,
    Status,
    encode_batch_event,
    encode_intent_outcome,
)
from streams.contracts.parcel import Parcel, Row, encode_parcels
from streams.sandbox.accounts import synthetic_accounts
from streams.sandbox.demo.custody import Custody
from streams.sandbox.demo.holdback import UNREAD_BYTES_MAX, intents_allowed
from streams.sandbox.demo.requests import LedgerReader, Requests

ALICE, BOB = synthetic_accounts(2, seed=1)
INTENTS = "calls.intents.v1"


class Sent:
    """A message as a consumer gets it."""

    def __init__(self, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> None:
        self._value, self._headers = value, list(headers)

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return self._headers


def sent(*values: bytes) -> list[Message]:
    return cast("list[Message]", [Sent(value) for value in values])


def parcel(partition: int, *offsets: int) -> list[Message]:
    rows = [Row(offset, f"i-{offset}", ALICE.caller, "918000000001", ALICE.label_id, 1, 2) for offset in offsets]
    return sent(*encode_parcels(Parcel(ALICE.id, INTENTS, partition, rows)))


def outcome(partition: int, offset: int, status: Status, batch_ref: str | None = "ref") -> list[Message]:
    source = Source(INTENTS, partition, offset)
    return sent(encode_intent_outcome(OutcomeFacts("i", ALICE.id, status, source, batch_ref=batch_ref), 1))


def died(partition: int, offset: int, code: str) -> list[Message]:
    letter = dead_letter(
        source=Source(INTENTS, partition, offset),
        stage="route",
        reason=Reason(code, "why"),
        failed_at_ms=1,
        key=None,
        value=b"{}",
        headers=[("callstream.reason", b"claimed by the sender")],
    )
    return cast("list[Message]", [Sent(letter.value, letter.headers)])


def test_an_intent_is_pending_from_the_topic_through_the_parcel_to_its_final_outcome() -> None:
    custody, published = Custody(), {0: 2}
    seen = [(custody.pending(published), custody.routed, custody.accepted, custody.finals)]
    for take, messages in (
        (custody.take_parcels, parcel(0, 0, 1)),
        (custody.take_outcomes, outcome(0, 0, Status.ACCEPTED)),
        (custody.take_outcomes, outcome(0, 0, Status.DELIVERED)),
        (custody.take_outcomes, outcome(0, 1, Status.FAILED)),
    ):
        take(messages)
        seen.append((custody.pending(published), custody.routed, custody.accepted, custody.finals))
    assert seen == [(2, 0, 0, 0), (2, 2, 0, 0), (2, 2, 1, 0), (1, 2, 0, 1), (0, 2, 0, 2)]
    assert custody.final == {"delivered": 1, "failed": 1}
    assert custody.accounts[ALICE.id].final == {"delivered": 1, "failed": 1}


def test_an_intent_that_was_skipped_is_neither_final_nor_pending() -> None:
    custody = Custody()
    custody.take_parcels(parcel(0, 0, 2))
    custody.take_outcomes(outcome(0, 0, Status.DELIVERED) + outcome(0, 2, Status.DELIVERED))
    assert (3 - custody.finals - custody.pending({0: 3})) == 1


def test_an_invalid_intent_is_final_and_routed_without_a_parcel() -> None:
    custody = Custody()
    custody.take_outcomes(outcome(3, 0, Status.INVALID, batch_ref=None))
    assert (custody.routed, custody.finals, custody.pending({3: 1})) == (1, 1, 0)
    assert ALICE.id not in custody.accounts


def test_outcomes_that_are_read_before_the_parcel_count_once() -> None:
    custody = Custody()
    custody.take_outcomes(outcome(0, 0, Status.DELIVERED) + outcome(0, 0, Status.ACCEPTED))
    custody.take_parcels(parcel(0, 0))
    assert (custody.routed, custody.accepted, custody.pending({0: 1})) == (1, 0, 0)


def test_partitions_are_told_apart() -> None:
    custody = Custody()
    custody.take_parcels(parcel(0, 0) + parcel(1, 0))
    custody.take_outcomes(outcome(1, 0, Status.DELIVERED))
    assert (custody.routed, custody.pending({0: 1, 1: 1})) == (2, 1)


def test_a_second_final_outcome_is_counted_apart() -> None:
    custody = Custody()
    custody.take_outcomes(outcome(0, 0, Status.DELIVERED) + outcome(0, 0, Status.UNKNOWN))
    assert (custody.final, custody.final_twice) == ({"delivered": 1}, 1)


def test_a_parcel_that_was_produced_twice_counts_once() -> None:
    custody = Custody()
    custody.take_parcels(parcel(0, 0) + parcel(0, 0))
    assert (custody.routed, custody.accounts[ALICE.id].parcelled) == (1, 1)


def test_batch_events_and_commands_are_no_intents() -> None:
    custody = Custody()
    custody.take_outcomes(sent(encode_batch_event(BatchFacts("completed", ALICE.id, "ref", "b", 3, {}), 1)))
    custody.take_parcels(sent(b'{"kind":"command","version":1}', b"{}"))
    assert (custody.routed, custody.finals, custody.batch_events) == (0, 0, {"completed": 1})


def test_dead_letters_are_counted_by_our_reason_once_for_each_source() -> None:
    custody = Custody()
    custody.take_dead_letters(died(0, 0, "not_json") + died(0, 1, "not_json") + died(0, 1, "not_json"))
    assert custody.dead_letters == {"not_json": 2}


def request(kind: str = "post", **more: Any) -> bytes:
    entry = {
        "event": "request",
        "kind": kind,
        "account": ALICE.id,
        "token": None if kind == "mint" else 1,
        "received_at": 1000.0,
        "received_mono": 10.0,
        "status": 200,
        "applied": kind == "post",
        "fault": None,
        "over_limit": False,
        **more,
    }
    return orjson.dumps(entry)


def record(number: int, account: Any = ALICE) -> list[Any]:
    return [account.caller, f"91600000000{number}", account.label_id, 1000 + number, 2000]


def counted(*lines: bytes) -> Requests:
    requests = Requests([ALICE, BOB])
    for line in lines:
        requests.take(line)
    return requests


def test_batches_are_those_that_were_applied() -> None:
    requests = counted(
        request("mint"),
        request(records=[record(1), record(2)]),
        request(records=[record(3)]),
        request(applied=False, status=429, fault="429"),
        request("check"),
    )
    assert (requests.batches, requests.batch_records_max, requests.records) == (2, 2, 3)
    assert requests.kinds == {"mint": 1, "post": 3, "check": 1}
    assert (requests.http_429, requests.over_limit) == (1, 0)
    assert [batch.records for batch in requests.recent] == [2, 1, None]


def test_a_request_over_the_limit_is_counted_apart_from_other_429s() -> None:
    requests = counted(request("check", status=429, over_limit=True), request("check", status=429, fault="429"))
    assert (requests.http_429, requests.over_limit) == (2, 1)


@pytest.mark.parametrize(
    ("records", "mixed"),
    [
        pytest.param([record(1), record(2)], 0, id="one account"),
        pytest.param([record(1), record(2, BOB)], 1, id="two accounts"),
        pytest.param([record(1, BOB)], 1, id="another account's"),
        pytest.param([[ALICE.caller, "9160", BOB.label_id, 1, 2]], 1, id="another account's label"),
    ],
)
def test_a_batch_that_is_not_of_its_account_is_found(records: list[Any], mixed: int) -> None:
    assert counted(request(records=records)).mixed_batches == mixed


def test_a_record_that_is_applied_again_is_found() -> None:
    requests = counted(request(records=[record(1), record(2)]), request(records=[record(2), record(3)]))
    assert requests.applied_twice == 1


def test_only_the_last_run_of_a_ledger_counts() -> None:
    start = orjson.dumps({"event": "start"})
    requests = counted(start, request(records=[record(1)]), start, request(records=[record(1)]))
    assert (requests.batches, requests.applied_twice) == (1, 0)


def test_the_slots_of_an_account_come_back_after_a_minute() -> None:
    requests = counted(*(request("check", received_mono=float(at)) for at in (10, 20, 70)), request("mint"))
    account = requests.accounts[ALICE.id]
    assert [account.slots_used(now) for now in (70.0, 79.9, 80.0, 130.0)] == [2, 2, 1, 0]
    assert account.slots == 60


def test_a_ledger_is_read_in_whole_lines_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.ndjson"
    path.write_bytes(b"one\ntw")
    with LedgerReader(path) as ledger:
        assert ledger.lines() == [b"one"]
        assert ledger.lines() == []
        with path.open("ab") as file:
            file.write(b"o\nthree\n")
        assert ledger.lines() == [b"two", b"three"]


MEGABYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("counts", "allowed"),
    [
        pytest.param({"sent": 0, "routed": 0, "final": 0}, 4 * MEGABYTE // 500, id="nothing sent"),
        pytest.param({"sent": 8388, "routed": 0, "final": 0}, 0, id="a megabyte unread in each partition"),
        pytest.param({"sent": 8388, "routed": 1000, "final": 0}, 1000, id="some of it read"),
        pytest.param({"sent": 79_500, "routed": 79_500, "final": 0}, 500, id="as much as a lane holds"),
        pytest.param({"sent": 90_000, "routed": 90_000, "final": 0}, 0, id="more than a lane holds"),
        pytest.param({"sent": 90_000, "routed": 90_000, "final": 90_000}, 4 * MEGABYTE // 500, id="all final"),
    ],
)
def test_the_dialer_is_held_back_by_what_is_unread_and_by_what_lanes_hold(counts: dict[str, int], allowed: int) -> None:
    assert UNREAD_BYTES_MAX == MEGABYTE
    assert intents_allowed(accounts=1, partitions=4, intent_bytes=400.0, **counts) == allowed


def test_many_accounts_share_what_a_worker_holds() -> None:
    many = intents_allowed(accounts=50, partitions=1000, intent_bytes=0.0, sent=319_990, routed=319_990, final=0)
    assert many == 10
