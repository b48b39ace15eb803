"""The auditor finds nothing in a clean run, and each thing that is wrong under its own name."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from streams.audit.rules import Limits
from streams.contracts.command import Command, encode_command
from streams.contracts.journal import (
    BatchEntry,
    BatchState,
    CursorEntry,
    Gap,
    Held,
    Packer,
    Place,
    ResetEntry,
    encode_entry,
)
from streams.contracts.parcel import decode_parcel
from streams.contracts.request import RequestRecord, encode_request
from tests.audit.recorded import ACCOUNTS, INTENTS, Entry, Recording, audited
from tests.worker.parts import TOPICS
from tests.worker.virtual import START_MS

Change = Callable[[Recording], None]


def test_a_clean_run_is_valid(clean):
    report = audited(clean)
    assert (report.verdict, report.anomalies, report.unknown) == ("valid", {}, [])
    assert report.intents == INTENTS == report.outcomes.total()
    assert set(report.outcomes) == {"delivered", "failed", "invalid", "expired", "rejected"}
    assert report.dead_letters == report.outcomes["invalid"] + report.outcomes["rejected"]
    assert report.applied_twice == report.possible_duplicates > 0
    assert report.applied == report.outcomes["delivered"] + report.outcomes["failed"]
    assert report.budget["kept"]


# -- one thing that is wrong


def first(entries: list[Entry], **wanted: Any) -> Entry:
    return next(entry for entry in entries if all(entry.told.get(name) == value for name, value in wanted.items()))


def one_of(found: Recording, status: str) -> Entry:
    return first(found.topics["outcomes"], status=status)


def drop(found: Recording, topic: str, entry: Entry) -> None:
    found.topics[topic].remove(entry)


def replace(found: Recording, topic: str, entry: Entry, by: Entry) -> None:
    found.topics[topic][found.topics[topic].index(entry)] = by


def drop_final_outcome(found: Recording) -> None:
    drop(found, "outcomes", one_of(found, "delivered"))


def drop_outcome_of_a_dead_letter(found: Recording) -> None:
    drop(found, "outcomes", one_of(found, "invalid"))


def drop_first_outcome(found: Recording) -> None:
    drop(found, "outcomes", one_of(found, "accepted"))


def final_outcome_twice(found: Recording) -> None:
    outcome = one_of(found, "delivered")
    found.topics["outcomes"].append(outcome.telling(sequence=2))


def outcome_twice(found: Recording) -> None:
    found.topics["outcomes"].append(one_of(found, "accepted"))


def flipped_disposition(found: Recording) -> None:
    outcome = one_of(found, "delivered")
    replace(found, "outcomes", outcome, outcome.telling(status="rejected"))


def delivered_without_being_accepted(found: Recording) -> None:
    outcome = one_of(found, "accepted")
    replace(found, "outcomes", outcome, outcome.telling(status="unresolved"))


def final_that_is_none(found: Recording) -> None:
    outcome = one_of(found, "accepted")
    replace(found, "outcomes", outcome, outcome.telling(final=True))


def two_finals(found: Recording) -> None:
    outcome = one_of(found, "delivered")
    found.topics["outcomes"].append(outcome.telling(status="failed", sequence=2))


def outcome_of_nothing(found: Recording) -> None:
    outcome = one_of(found, "expired")
    found.topics["outcomes"].append(outcome.telling(source={"topic": "intents", "partition": 5, "offset": 5}))


def outcome_of_another_account(found: Recording) -> None:
    outcome = one_of(found, "delivered")
    other = next(account.id for account in ACCOUNTS if account.id != outcome.told["account_id"])
    replace(found, "outcomes", outcome, outcome.telling(account_id=other))


def intent_never_published(found: Recording) -> None:
    offset = one_of(found, "delivered").told["source"]["offset"]
    found.topics["intents"] = [entry for entry in found.topics["intents"] if entry.offset != offset]


def drop_dead_letter(found: Recording) -> None:
    found.topics["dead_letters"].pop()


def dead_letter_twice(found: Recording) -> None:
    found.topics["dead_letters"].append(found.topics["dead_letters"][0])


def dead_letter_of_a_delivered_intent(found: Recording) -> None:
    letter = found.topics["dead_letters"][0]
    offset = b"%d" % one_of(found, "delivered").told["source"]["offset"]
    headers = (*letter.headers, ("__connect.errors.offset", offset))
    found.topics["dead_letters"].append(letter._replace(headers=headers))


def drop_parcel(found: Recording) -> None:
    del found.topics["parcels"][0]


def parcel_twice(found: Recording) -> None:
    parcel = found.topics["parcels"][0]
    found.topics["parcels"].append(parcel)


def parcel_of_an_invalid_intent(found: Recording) -> None:
    parcel = found.topics["parcels"][0]
    row = [one_of(found, "invalid").told["source"]["offset"], *parcel.told["rows"][0][1:]]
    found.topics["parcels"][0] = parcel.telling(rows=[*parcel.told["rows"][:-1], row])


def drop_cursor(found: Recording) -> None:
    found.topics["journal"] = [e for e in found.topics["journal"] if e.key != f"cursor/{ACCOUNTS[0].id}".encode()]


def drop_tombstones_of_a_batch(found: Recording) -> None:
    ref = one_of(found, "delivered").told["batch_ref"].encode()
    journal = found.topics["journal"]
    found.topics["journal"] = [e for e in journal if not (e.value is None and e.key and ref in e.key)]


def intents_in_two_batches(found: Recording) -> None:
    journal = found.topics["journal"]
    account = one_of(found, "accepted").told["account_id"]
    for ref in ("one", "two"):
        journal += open_batch(ref, account, [held(found, "accepted")])


def held(found: Recording, status: str) -> Held:
    """An intent that had that outcome, as a batch holds it."""
    offset = one_of(found, status).told["source"]["offset"]
    for entry in found.topics["parcels"]:
        for index, row in enumerate(decode_parcel(entry.value).rows):
            if row.source_offset == offset:
                return Held(Place(entry.offset, index), "intents", 0, row)
    raise AssertionError(status)


def open_batch(ref: str, account_id: str, intents: list[Held]) -> list[Entry]:
    entry = encode_entry(BatchEntry(account_id, BatchState.OPEN, len(intents), "retry"))
    packed = Packer().pack(intents)
    return [Entry(0, 900, f"intents/{ref}".encode(), packed), Entry(0, 901, f"batch/{ref}".encode(), entry)]


def commit_too_early(found: Recording) -> None:
    unrouted(found, INTENTS - 20)


def unrouted(found: Recording, offset: int) -> None:
    """Nothing became of the intents from ``offset`` on, and there is no ledger that says otherwise."""
    found.topics["parcels"] = [
        entry.telling(rows=[row for row in entry.told["rows"] if row[0] < offset]) for entry in found.topics["parcels"]
    ]
    for topic in ("outcomes", "dead_letters"):
        found.topics[topic] = [entry for entry in found.topics[topic] if offset_of(entry) < offset]
    found.ledger.clear()


def offset_of(entry: Entry) -> int:
    """The offset of the intent that an outcome or a dead letter is about; -1 for a batch event."""
    if about := dict(entry.headers).get("__connect.errors.offset"):
        return int(about)
    return int(entry.told.get("source", {"offset": -1})["offset"])


def commit_moved_back(found: Recording) -> None:
    commit(found, INTENTS - 10)


def commit(found: Recording, offset: int) -> None:
    found.commits.append((0, "intents", 0, offset))


def offset_passes_an_untaken_place(found: Recording) -> None:
    """The last place of an account that is not behind, below the offset, and nobody took it."""
    account = ACCOUNTS[0].id.encode()
    parcel = [entry for entry in found.topics["parcels"] if entry.key == account][-1]
    rows = parcel.told["rows"]
    found.topics["outcomes"] = [entry for entry in found.topics["outcomes"] if offset_of(entry) != rows[-1][0]]
    cursor = [entry for entry in found.topics["journal"] if entry.key == b"cursor/" + account][-1]
    replace(found, "journal", cursor, cursor.telling(low=[parcel.offset, len(rows) - 1], taken=[]))
    found.ledger.clear()


def swap_accounts(found: Recording) -> None:
    one = found.posts()[0]
    other = next(line for line in found.posts() if line["account"] != one["account"])
    one["account"], other["account"] = other["account"], one["account"]


def mixed_batch(found: Recording) -> None:
    outcome = one_of(found, "delivered")
    other = next(e for e in found.outcomes("delivered") if e.told["account_id"] != outcome.told["account_id"])
    replace(found, "outcomes", outcome, outcome.telling(batch_ref=other.told["batch_ref"]))


def too_many_intents_of_a_batch(found: Recording) -> None:
    outcome, parcel = one_of(found, "delivered").told, found.topics["parcels"][0]
    beyond = range(INTENTS, INTENTS + 501)
    found.topics["intents"] += [Entry(0, offset, None, b"{}") for offset in beyond]
    rows = [[offset, *parcel.told["rows"][0][1:]] for offset in beyond]
    found.topics["parcels"].append(parcel._replace(offset=900).telling(rows=rows, account_id=outcome["account_id"]))
    taken = encode_entry(CursorEntry(Place(901, 0)))
    found.topics["journal"].append(Entry(0, 900, f"cursor/{outcome['account_id']}".encode(), taken))
    for offset in beyond:
        told = outcome | {"source": {"topic": "intents", "partition": 0, "offset": offset}, "batch_ref": "large"}
        value = orjson.dumps(told | {"status": "unknown", "sequence": 0})
        found.topics["outcomes"].append(Entry(0, offset, None, value))
    commit(found, INTENTS + 501)
    found.ledger.clear()


def too_many_records_in_a_request(found: Recording) -> None:
    found.topics["requests"].append(request(1_000, records=501))


def too_many_records_applied(found: Recording) -> None:
    line = found.posts()[0]
    line["records"] = line["records"] * 40


def empty_batch(found: Recording) -> None:
    found.ledger.append(found.posts()[0] | {"records": [], "received_mono": 5_000.0})


def applied_again(found: Recording) -> None:
    found.ledger.append(found.posts()[-1] | {"received_mono": 5_000.0})


def applied_four_times(found: Recording) -> None:
    """Flagged, but more often than a batch in doubt is sent."""
    found.ledger += [found.posts()[0] | {"received_mono": 5_000.0 + number} for number in range(2)]


def flag_forgotten(found: Recording) -> None:
    found.topics["outcomes"] = [
        entry.telling(possible_duplicate=False) if entry.told.get("possible_duplicate") else entry
        for entry in found.topics["outcomes"]
    ]


def never_applied(found: Recording) -> None:
    found.ledger.remove(found.posts()[-1])


def batch_id_of_another(found: Recording) -> None:
    outcomes = found.outcomes("delivered")
    other = next(e for e in outcomes if e.told["batch_id"] != outcomes[0].told["batch_id"])
    ours = outcomes[0].told["source"]
    found.topics["outcomes"] = [
        e.telling(batch_id=other.told["batch_id"]) if e.told.get("source") == ours else e
        for e in found.topics["outcomes"]
    ]


def batch_id_of_nothing(found: Recording) -> None:
    ref = one_of(found, "delivered").told["batch_ref"]
    found.topics["outcomes"] = [
        e.telling(batch_id="made-up") if e.told.get("batch_ref") == ref and "source" in e.told else e
        for e in found.topics["outcomes"]
    ]


def applied_and_called_expired(found: Recording) -> None:
    record_of_it = found.posts()[-1]["records"][0]
    offset = one_of(found, "expired").told["source"]["offset"]
    intent = found.topics["intents"][offset]
    receiver = intent.told["receiver"].lstrip("+")
    applied = [record_of_it[0], receiver, record_of_it[2], intent.told["starts_at"], intent.told["ends_at"]]
    found.ledger.append(found.posts()[-1] | {"records": [applied], "account": intent.told["account_id"]})
    found.ledger[-1]["records"][0][0] = intent.told["caller"].lstrip("+")
    found.ledger[-1]["records"][0][2] = intent.told["label_id"]


def applied_without_a_journal(found: Recording) -> None:
    """Posted before it was journaled: the intent was not even routed."""
    ledger = list(found.ledger)
    offset = max(offset_of(entry) for entry in found.outcomes("delivered"))
    unrouted(found, offset)
    commit(found, offset)
    found.ledger = ledger


def invented_record(found: Recording) -> None:
    found.posts()[-1]["records"][0][1] = "919999999999"


def another_label(found: Recording) -> None:
    found.posts()[-1]["records"][0][2] = "another"


def record_twice(found: Recording) -> None:
    line = found.posts()[-1]
    line["records"] = [*line["records"], line["records"][0]]


def full_window(found: Recording) -> None:
    found.topics["requests"] += [request(100_000 + 900 * number) for number in range(61)]


def full_window_of_an_account(found: Recording) -> None:
    """Eleven tokens side by side, each within its limit."""
    for number in range(601):
        found.topics["requests"].append(request(100_000 + 95 * number, token=7 + number % 11))


def full_window_of_an_account_at_the_server(found: Recording) -> None:
    found.ledger += [check(5_000 + 0.095 * number) | {"token": 7 + number % 11} for number in range(601)]


def full_window_at_the_server(found: Recording) -> None:
    found.ledger += [check(5_000 + 0.9 * number) for number in range(61)]


def eleventh_mint(found: Recording) -> None:
    found.topics["requests"] += [request(100_000 + 170_000 * number, kind="mint") for number in range(11)]


def eleventh_mint_at_the_server(found: Recording) -> None:
    found.ledger += [check(5_000 + 170 * number) | {"kind": "mint"} for number in range(11)]


def refused_for_the_limit(found: Recording) -> None:
    found.ledger.append(check(5_000) | {"over_limit": True, "status": 429})


def request(sent_ms: int, *, kind: Any = "check", records: int = 0, token: int = 7) -> Entry:
    sent_at = START_MS + 10_000_000 + sent_ms
    used = None if kind == "mint" else token
    record = RequestRecord(ACCOUNTS[0].id, kind, used, sent_at, sent_at + 50, "statuses", None, records)
    return Entry(0, 10_000 + sent_ms, None, encode_request(record))


def check(at_s: float) -> dict[str, Any]:
    line = {"event": "request", "kind": "check", "account": ACCOUNTS[0].id, "token": 7, "status": 200}
    return line | {"received_mono": at_s, "received_at": at_s, "applied": False, "over_limit": False}


DOCTORED: list[tuple[Change, set[str]]] = [
    (drop_final_outcome, {"lost"}),
    (drop_outcome_of_a_dead_letter, {"outcome_missing"}),
    (drop_first_outcome, {"sequence_gap", "conflict"}),
    (final_outcome_twice, {"final_twice"}),
    (outcome_twice, {"outcome_twice"}),
    (flipped_disposition, {"conflict", "lied", "dead_letter_missing"}),
    (delivered_without_being_accepted, {"conflict"}),
    (final_that_is_none, {"conflict"}),
    (two_finals, {"conflict"}),
    (outcome_of_nothing, {"invented"}),
    (outcome_of_another_account, {"accounts_differ", "mixed_batch"}),
    (intent_never_published, {"invented", "invented_payload"}),
    (drop_dead_letter, {"dead_letter_missing"}),
    (dead_letter_twice, {"dead_letter_twice"}),
    (dead_letter_of_a_delivered_intent, {"conflict"}),
    (drop_parcel, {"parcel_missing"}),
    (parcel_twice, {"routed_twice"}),
    (parcel_of_an_invalid_intent, {"in_two_places", "parcel_missing"}),
    (drop_cursor, {"in_two_places"}),
    (drop_tombstones_of_a_batch, {"in_two_places"}),
    (intents_in_two_batches, {"in_two_places"}),
    (commit_too_early, {"lost", "early_commit"}),
    (commit_moved_back, {"in_two_places"}),
    (offset_passes_an_untaken_place, {"lost"}),
    (swap_accounts, {"foreign_account"}),
    (mixed_batch, {"mixed_batch"}),
    (too_many_intents_of_a_batch, {"batch_size"}),
    (too_many_records_in_a_request, {"batch_size"}),
    (too_many_records_applied, {"batch_size", "record_twice", "unexplained_duplicate"}),
    (empty_batch, {"batch_size"}),
    (applied_again, {"unexplained_duplicate"}),
    (applied_four_times, {"unexplained_duplicate"}),
    (flag_forgotten, {"unexplained_duplicate"}),
    (never_applied, {"phantom_accept"}),
    (batch_id_of_another, {"phantom_accept"}),
    (batch_id_of_nothing, {"phantom_accept"}),
    (applied_and_called_expired, {"lied"}),
    (applied_without_a_journal, {"not_journaled"}),
    (invented_record, {"invented_payload", "phantom_accept"}),
    (another_label, {"changed_payload"}),
    (record_twice, {"record_twice", "unexplained_duplicate"}),
    (full_window, {"rate_exceeded"}),
    (full_window_at_the_server, {"rate_exceeded"}),
    (full_window_of_an_account, {"account_rate_exceeded"}),
    (full_window_of_an_account_at_the_server, {"account_rate_exceeded"}),
    (eleventh_mint, {"mints_exceeded"}),
    (eleventh_mint_at_the_server, {"mints_exceeded"}),
    (refused_for_the_limit, {"over_limit"}),
]


@pytest.mark.faults("F63")
@pytest.mark.parametrize(("change", "expected"), [pytest.param(*case, id=case[0].__name__) for case in DOCTORED])
def test_one_thing_that_is_wrong_is_found(clean, change, expected):
    found = clean.copy()
    change(found)
    report = audited(found, with_ledger=bool(found.ledger))
    assert (report.verdict, set(report.anomalies)) == ("invalid", expected)
    told = orjson.loads(orjson.dumps(report.told()))
    assert {each["name"] for each in told["anomalies"]} == expected


def test_a_number_in_a_text_is_found_and_not_repeated(clean):
    receiver = clean.topics["intents"][1].told["receiver"].lstrip("+")
    text = ["all is well at 1700000000000", f"called +{receiver}", f"called {receiver[-10:]}", f"batch-{receiver}"]
    report = audited(clean, texts={"a log": text})
    assert set(report.anomalies) == {"leaked_number"}
    assert report.anomalies["leaked_number"].examples == [{"where": f"a log, line {line}"} for line in (2, 3)]


def test_a_text_without_numbers_is_no_anomaly(clean):
    assert (
        audited(clean, texts={"a log": ["batch 019a2018-4c71-7411-8750-919800000001, 500 records"]}).verdict == "valid"
    )


def test_where_batches_in_doubt_are_held_nothing_is_applied_twice(clean):
    held = Limits(60, 10, resends_max=0)
    assert set(audited(clean, default_limits=held).anomalies) == {"unexplained_duplicate"}


def test_an_operator_may_have_a_held_batch_sent_again(clean):
    found = clean.copy()
    account_id = found.posts()[0]["account"]
    command = Command("id", account_id, "resend", {"batch_ref": "any"}, 0, "somebody")
    found.topics["parcels"].insert(0, Entry(0, 900, account_id.encode(), encode_command(command)))
    assert audited(found, default_limits=Limits(60, 10, resends_max=0)).verdict == "valid"


def test_the_limits_of_an_account_hold_for_it_alone(clean):
    report = audited(clean, limits={ACCOUNTS[0].id: Limits(1, 10, tokens_max=1)})
    assert set(report.anomalies) == {"rate_exceeded", "account_rate_exceeded"}
    assert {account for account, figures in report.accounts.items() if figures.anomalies} == {ACCOUNTS[0].id}


def test_examples_have_coordinates_and_are_few(clean):
    found = clean.copy()
    found.topics["outcomes"].clear()
    report = audited(found, with_ledger=False, examples_max=3)
    lost = report.anomalies["lost"]
    assert lost.count > 100
    assert len(lost.examples) == 3
    example = lost.examples[1]  # the first had expired before it was routed
    assert (example["topic"], example["partition"]) == ("intents", 0)
    assert clean.topics["intents"][example["offset"]].told["account_id"] == example["account_id"]
    assert example["traces"] == ["parcel", "below the committed offset"]


# -- what cannot be known


def test_where_retention_was_faster_what_is_missing_is_unknown(clean):
    found = clean.copy()
    drop_final_outcome(found)
    report = audited(found, horizons={0: INTENTS})
    assert (report.verdict, report.anomalies) == ("unknown", {})
    assert report.unknown == ["1 intents look lost, but retention has removed messages of their time"]


def test_a_damaged_journal_makes_what_is_missing_unknown(clean):
    found = clean.copy()
    drop_final_outcome(found)
    found.topics["journal"].append(Entry(0, 900, b"cursor/x", b"{}"))
    report = audited(found)
    assert (report.verdict, report.anomalies) == ("unknown", {})
    assert "journal[0]: unreadable journal entry" in report.unknown[0]


@pytest.mark.parametrize("value", [b"{}", b"", b"[]", b"null", b"1", b'{"kind": [], "source": 7}'])
@pytest.mark.parametrize("topic", ["outcomes", "parcels", "requests"])
def test_a_message_that_cannot_be_read_makes_the_verdict_unknown(clean, topic, value):
    found = clean.copy()
    found.topics[topic].append(Entry(0, 900, None, value))
    report = audited(found)
    assert (report.verdict, report.unknown) == ("unknown", [f"1 messages of the {topic} could not be read"])


def test_what_is_wrong_is_wrong_whatever_could_not_be_read(clean):
    found = clean.copy()
    found.topics["outcomes"].append(Entry(0, 900, None, b"{}"))
    outcome_twice(found)
    assert audited(found).verdict == "invalid"


# -- outcomes as counts


def counted(found: Recording) -> Recording:
    """As `outcomes.level: batch` tells it: what holds for a whole batch is a count alone."""
    told = {"accepted", "delivered", "failed"}
    found.topics["outcomes"] = [entry for entry in found.topics["outcomes"] if entry.told.get("status") not in told]
    return found


def test_outcomes_that_are_told_as_counts_add_up(clean):
    report = audited(counted(clean.copy()), counted=True)
    assert (report.verdict, report.anomalies) == ("valid", {})
    assert report.outcomes["counted"] == audited(clean).outcomes["delivered"] + audited(clean).outcomes["failed"]


def test_a_batch_that_is_not_counted_is_lost(clean):
    found = counted(clean.copy())
    drop(found, "outcomes", first(found.topics["outcomes"], event="completed"))
    report = audited(found, counted=True)
    assert (report.verdict, set(report.anomalies)) == ("invalid", {"lost"})


@pytest.mark.parametrize(
    ("gap", "found"),
    [
        pytest.param(Gap("topic-id", INTENTS - 20, INTENTS), {}, id="all"),
        pytest.param(Gap("topic-id", INTENTS - 20, INTENTS - 5), {"lost": 5, "early_commit": 1}, id="a part"),
        pytest.param(
            Gap("topic-id", INTENTS - 20, None), {"lost": 20, "early_commit": 1}, id="of a topic that is gone"
        ),
        pytest.param(Gap("older", INTENTS - 20, INTENTS), {"lost": 20, "early_commit": 1}, id="of a topic before this"),
    ],
)
def test_what_an_operator_decided_to_skip_is_not_lost(clean, gap, found):
    run = clean.copy()
    unrouted(run, INTENTS - 20)
    decision = ResetEntry(TOPICS.intents, 0, "topic-id", gap.start, INTENTS, (gap,), None, 0, INTENTS, START_MS)
    key = f"reset/{START_MS}/{TOPICS.intents}/0".encode()
    run.topics["journal"].append(Entry(0, 999, key, encode_entry(decision)))
    report = audited(run, with_ledger=False)
    assert {name: each.count for name, each in report.anomalies.items()} == found
    assert report.skipped == 20 - found.get("lost", 0)
    assert report.skipped + report.outcomes.total() + found.get("lost", 0) == report.intents
    assert not report.pending
