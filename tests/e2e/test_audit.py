"""The auditor finds nothing in a clean run, and each thing that can be wrong under its own name."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from streams.contracts.journal import BatchState
from tests.e2e.audit import Artefacts, Finding, Intent, JournalState, Outcome, Rules, Source, Story, audit, figures

ACCOUNTS = {f"account-{n}": (f"91801111111{n}", f"label-{n}") for n in range(2)}
RULES = Rules(ACCOUNTS, requests_per_minute=60, mints_per_30_min=10, secrets=["the-api-key"])
BATCHES = {f"b{n}": [Source(0, 10 * n + i) for i in range(4)] for n in range(4)}
INVALID, EXPIRED, REJECTED = Source(1, 0), Source(1, 1), Source(1, 2)
OPEN, AMBIGUOUS, ACCEPTED = BatchState.OPEN, BatchState.AMBIGUOUS, BatchState.ACCEPTED
RESENT = "b3"  # it was open when its owner was killed, and went twice


def intent(source: Source) -> Intent:
    number = source.partition * 1000 + source.offset
    account = f"account-{account_of(source)}"
    caller, label = ACCOUNTS[account]
    return Intent(account, caller, f"9198000{number:05}", label, 1_700_000_000_000 + number)


def account_of(source: Source) -> int:
    return source.offset // 10 % 2


def post(ref: str, at_s: float, batch_id: str) -> dict[str, Any]:
    intents = [intent(source) for source in BATCHES[ref]]
    records = [[one.caller, one.receiver, one.label_id, one.starts_at, 0] for one in intents]
    line = request("post", str(intents[0].account_id), at_s)
    return line | {"applied": True, "batch_id": batch_id, "count": len(records), "records": records}


def request(kind: str, account: str, at_s: float, *, token: int | None = 1) -> dict[str, Any]:
    return {"event": "request", "kind": kind, "account": account, "token": token, "received_mono": at_s, "status": 200}


def clean() -> Artefacts:
    outcomes = [
        Outcome(INVALID, "invalid", True, 0, None, False),
        Outcome(EXPIRED, "expired", True, 0, None, False),
        Outcome(REJECTED, "rejected", True, 0, None, False),
    ]
    journal, ledger = {}, [request("mint", account, 0.0) for account in ACCOUNTS]
    for number, (ref, sources) in enumerate(BATCHES.items()):
        twice = ref == RESENT
        states = [OPEN, AMBIGUOUS, OPEN, ACCEPTED] if twice else [OPEN, ACCEPTED]
        journal[ref] = Story(
            0, tuple(sources), [JournalState(10 * number + n, state) for n, state in enumerate(states)]
        )
        ledger.append(post(ref, 1.0 + number, f"id-{ref}"))
        if twice:
            ledger.append(post(ref, 40.0, f"id-{ref}-again"))
        batch_id = f"id-{ref}-again" if twice else f"id-{ref}"
        outcomes += [Outcome(source, "accepted", False, 0, batch_id, twice) for source in sources]
        outcomes += [Outcome(source, "delivered", True, 1, batch_id, twice) for source in sources]
    sources = [source for batch in BATCHES.values() for source in batch]
    return Artefacts(
        intents={source: intent(source) for source in [*sources, INVALID, EXPIRED, REJECTED]},
        outcomes=outcomes,
        dead_letters=[INVALID, REJECTED],
        parcels=[sources[:9], sources[9:], [REJECTED]],
        journal=journal,
        ledger=ledger,
        texts={"log": '{"event":"batch_accepted","batch_ref":"01a20186-4c71-7411-8750-919800000001","records":4}'},
        crashes=[{0: 31}],
    )


def names(findings: list[Finding]) -> set[str]:
    return {finding.name for finding in findings}


def test_a_clean_run_has_no_finding():
    assert audit(clean(), RULES) == []


def test_the_figures_of_a_clean_run():
    told = figures(clean())
    assert told["finals"] == {"invalid": 1, "expired": 1, "rejected": 1, "delivered": 16}
    assert (told["intents"], told["dead_letters"], told["batches"]) == (19, 2, 4)
    assert (told["applied_twice"], told["flagged"]) == (4, 4)


def replaced(found: Artefacts, source: Source, number: int, /, **changes: Any) -> None:
    at = next(n for n, each in enumerate(found.outcomes) if (each.source, each.sequence) == (source, number))
    found.outcomes[at] = found.outcomes[at]._replace(**changes)


def without_outcome(found: Artefacts, source: Source, sequence: int) -> None:
    found.outcomes = [each for each in found.outcomes if (each.source, each.sequence) != (source, sequence)]


def applied_to(found: Artefacts, ref: str) -> dict[str, Any]:
    return next(line for line in found.ledger if line.get("batch_id") == f"id-{ref}")


def no_outcome(found: Artefacts) -> None:
    found.outcomes = [each for each in found.outcomes if each.source != Source(0, 0)]


def no_final(found: Artefacts) -> None:
    without_outcome(found, Source(0, 0), 1)


def a_gap(found: Artefacts) -> None:
    replaced(found, Source(0, 0), 1, sequence=2)


def a_final_twice(found: Artefacts) -> None:
    found.outcomes.append(Outcome(Source(0, 0), "delivered", True, 2, "id-b0", False))


def rejected_after_accepted(found: Artefacts) -> None:
    replaced(found, Source(0, 0), 1, status="expired")


def delivered_without_being_accepted(found: Artefacts) -> None:
    replaced(found, Source(0, 0), 0, status="unresolved")


def an_outcome_of_nothing(found: Artefacts) -> None:
    found.outcomes.append(Outcome(Source(5, 5), "invalid", True, 0, None, False))


def a_dead_letter_lost(found: Artefacts) -> None:
    found.dead_letters.remove(REJECTED)


def a_dead_letter_twice(found: Artefacts) -> None:
    found.dead_letters.append(INVALID)


def a_dead_letter_elsewhere(found: Artefacts) -> None:
    found.dead_letters[0] = Source(9, 9)


def a_parcel_twice(found: Artefacts) -> None:
    found.parcels.append(found.parcels[0])


def a_parcel_lost(found: Artefacts) -> None:
    del found.parcels[0]


def a_parcel_of_an_invalid_intent(found: Artefacts) -> None:
    found.parcels.append([INVALID])


def accounts_swapped(found: Artefacts) -> None:
    applied_to(found, "b0")["account"], applied_to(found, "b1")["account"] = "account-1", "account-0"


def another_label(found: Artefacts) -> None:
    applied_to(found, "b0")["records"][0][2] = "label-1"


def another_receiver(found: Artefacts) -> None:
    applied_to(found, "b0")["records"][0][1] = "919999999999"


def a_batch_too_large(found: Artefacts) -> None:
    line = applied_to(found, "b0")
    line["records"] = line["records"] * 126


def an_empty_batch(found: Artefacts) -> None:
    found.ledger.append(post("b0", 9.0, "empty") | {"records": []})


def a_record_twice(found: Artefacts) -> None:
    line = applied_to(found, "b0")
    line["records"].append(line["records"][0])


def never_applied(found: Artefacts) -> None:
    found.ledger.remove(applied_to(found, "b0"))


def another_batch_id(found: Artefacts) -> None:
    replaced(found, Source(0, 0), 0, batch_id="id-b1")


def applied_and_called_expired(found: Artefacts) -> None:
    found.outcomes = [each for each in found.outcomes if each.source != Source(0, 0)]
    found.outcomes.append(Outcome(Source(0, 0), "expired", True, 0, None, False))


def applied_twice_without_a_reason(found: Artefacts) -> None:
    found.ledger.append(post("b0", 9.0, "id-b0-again"))


def applied_twice_without_a_flag(found: Artefacts) -> None:
    replaced(found, BATCHES[RESENT][0], 1, possible_duplicate=False)


def applied_thrice(found: Artefacts) -> None:
    found.ledger.append(post(RESENT, 80.0, "thrice"))


def flagged_but_not_open_at_the_crash(found: Artefacts) -> None:
    found.crashes = [{0: 34}]


def flagged_without_any_crash(found: Artefacts) -> None:
    found.crashes = []


def in_no_batch(found: Artefacts) -> None:
    del found.journal["b0"]


def in_two_batches(found: Artefacts) -> None:
    found.journal["b9"] = copy.deepcopy(found.journal["b0"])


def too_many_requests(found: Artefacts) -> None:
    found.ledger += [request("check", "account-0", 100.0 + n * 0.99) for n in range(61)]


def too_many_mints(found: Artefacts) -> None:
    found.ledger += [request("mint", "account-0", 100.0 + n * 170) for n in range(10)]


def refused_by_the_api(found: Artefacts) -> None:
    found.ledger.append(request("check", "account-0", 500.0) | {"over_limit": True})


def a_number_in_a_log(found: Artefacts) -> None:
    found.texts["log"] += f" +{intent(Source(0, 1)).receiver}"


def a_national_number_in_the_metrics(found: Artefacts) -> None:
    found.texts["metrics"] = f'callstream_x{{receiver="{str(intent(Source(0, 1)).receiver)[-10:]}"}} 1'


def a_caller_in_an_outcome(found: Artefacts) -> None:
    found.texts["outcomes"] = f'"{ACCOUNTS["account-0"][0]}"'


def a_key_in_a_log(found: Artefacts) -> None:
    found.texts["log"] += "Bearer the-api-key"


MUTATIONS: list[tuple[Callable[[Artefacts], None], set[str]]] = [
    (no_outcome, {"lost"}),
    (no_final, {"lost"}),
    (a_gap, {"sequence"}),
    (a_final_twice, {"final_twice", "course"}),
    (rejected_after_accepted, {"course", "lie"}),
    (delivered_without_being_accepted, {"course"}),
    (an_outcome_of_nothing, {"invented_outcome"}),
    (a_dead_letter_lost, {"dead_letter"}),
    (a_dead_letter_twice, {"dead_letter"}),
    (a_dead_letter_elsewhere, {"dead_letter", "invented_source"}),
    (a_parcel_twice, {"parcel_twice"}),
    (a_parcel_lost, {"not_routed"}),
    (a_parcel_of_an_invalid_intent, {"parcel_of_invalid"}),
    (accounts_swapped, {"foreign_account"}),
    (another_label, {"changed_payload", "foreign_account"}),
    (another_receiver, {"invented_payload", "phantom"}),
    (a_batch_too_large, {"batch_size", "record_twice", "not_flagged"}),
    (an_empty_batch, {"batch_size"}),
    (a_record_twice, {"record_twice", "not_flagged"}),
    (never_applied, {"phantom"}),
    (another_batch_id, {"phantom"}),
    (applied_and_called_expired, {"lie"}),
    (applied_twice_without_a_reason, {"not_flagged"}),
    (applied_twice_without_a_flag, {"not_flagged"}),
    (applied_thrice, {"unexplained_duplicate"}),
    (flagged_but_not_open_at_the_crash, {"flagged_without_crash"}),
    (flagged_without_any_crash, {"flagged_without_crash"}),
    (in_no_batch, {"not_journaled"}),
    (in_two_batches, {"batch_twice"}),
    (too_many_requests, {"rate"}),
    (too_many_mints, {"mints"}),
    (refused_by_the_api, {"over_limit"}),
    (a_number_in_a_log, {"leaked_number"}),
    (a_national_number_in_the_metrics, {"leaked_number"}),
    (a_caller_in_an_outcome, {"leaked_number"}),
    (a_key_in_a_log, {"leaked_secret"}),
]


@pytest.mark.faults("F63")
@pytest.mark.parametrize(("change", "expected"), [pytest.param(*case, id=case[0].__name__) for case in MUTATIONS])
def test_one_thing_that_is_wrong_is_found(change, expected):
    found = clean()
    change(found)
    assert names(audit(found, RULES)) == expected


def test_sixty_requests_a_minute_are_no_finding():
    found = clean()
    found.ledger += [request("check", "account-0", 100.0 + n * 0.99) for n in range(60)]
    found.ledger += [request("check", "account-0", 160.1 + n * 0.99) for n in range(60)]
    assert audit(found, RULES) == []


def test_where_crashes_are_unknown_an_ambiguous_answer_explains_a_flag():
    found = clean()
    found.crashes = None
    assert audit(found, RULES) == []
