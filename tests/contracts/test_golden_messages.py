"""What a release has written, every later one reads: messages of journal and parcels, kept as they were written.

A file is never changed. A release that writes something new adds a folder of its own, with the expectation beside it.
"""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.contracts import journal
from streams.contracts.command import Command, decode_delivery
from streams.contracts.journal import (
    AccountEntry,
    Attempt,
    BatchEntry,
    BatchState,
    CursorEntry,
    Gap,
    HeadEntry,
    Held,
    JournalKey,
    Packer,
    Place,
    ResetEntry,
    SourceEntry,
    StartedEntry,
    TokenEntry,
    TokensEntry,
    decode_entry,
)
from streams.contracts.parcel import Parcel, Row
from streams.kafka.positions import Positions
from streams.lane.recovery import JournalFold

GOLDEN = Path(__file__).parent / "golden"
ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
LABEL = "6dab73bb-28d8-4030-9722-8663ff9589f3"
REF = "019aa0e2-0b6a-7000-8000-000000000001"
COMMAND = "019aa0e2-0b6a-7000-8000-0000000000fe"
INTENTS_ID = "q0pX7m1lTJe2bJ0eC2hYJw"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

CALL_REASON = "Your delivery is close"
AT_MS = 1_763_780_000_123
CALL = (1_763_780_060_000, 1_763_783_660_000)
ROWS = (
    Row(
        41,
        "crm:1",
        "918011111111",
        "917000000001",
        LABEL,
        *CALL,
        "high",
        "Acme Support",
        CALL_REASON,
        {"campaign": "a"},
        AT_MS,
        TRACE,
    ),
    Row(42, "crm:2", "918011111111", "917000000002", LABEL, *CALL),
)
ATTEMPTS = (Attempt(1, 1_763_780_001_000, 0), Attempt(2, 1_763_780_040_000, 1, (1,)))
TOKEN = TokenEntry(3, 1_763_779_000_000, "c2VhbGVk", ((1_763_780_001_000, 1_763_780_001_400),))
GAPS = (Gap(INTENTS_ID, 38, 43), Gap("old", 5, None))

JOURNAL_0_1 = {
    f"batch/{REF}": BatchEntry(
        ACCOUNT,
        BatchState.OPEN,
        2,
        "retry",
        ATTEMPTS,
        settled=(1,),
        sequence=2,
        possible_duplicate=True,
        resends=1,
        command_id="019aa0e2-0b6a-7000-8000-0000000000ff",
        command_offset=9,
    ),
    f"cursor/{ACCOUNT}": CursorEntry(Place(7, 2), ((Place(9, 0), Place(9, 5)),)),
    f"tokens/{ACCOUNT}": TokensEntry((TOKEN,), (1_763_779_000_000,), 4, released=True),
    f"account/{ACCOUNT}": AccountEntry(1_763_780_002_000, "ops@host", COMMAND),
    "head": HeadEntry("wYk3bV2ZRxWn1fO0fGmC5A", 7, 1_763_780_003_000),
    "started": StartedEntry(INTENTS_ID, 12),
    "source/3": SourceEntry(INTENTS_ID, 43, 1_763_780_003_000),
    "reset/1763780004000/calls.intents.v1/3": ResetEntry(
        "calls.intents.v1", 3, INTENTS_ID, 38, 43, GAPS, (1, 2), 43, 90, 1_763_780_004_000
    ),
    f"intents/{REF}": [Held(Place(7, index), "calls.intents.v1", 3, row) for index, row in enumerate(ROWS)],
}
PARCELS_0_1 = [
    Parcel(ACCOUNT, "calls.intents.v1", 3, list(ROWS)),
    Command(COMMAND, ACCOUNT, "pause", {}, 1_763_780_002_000, "ops@host"),
]

# Fields that a kind got after it was first written, with what their absence means.
ADDED: dict[str, dict[str, Any]] = {
    "batch": {
        "command_id": None,
        "command_offset": -1,
        "part_of": None,
        "part_requests": 0,
        "part_accepted": False,
    },
    "tokens": {"throttles": ()},
    "head": {"at": 0},
    "source": {"at": 0},
}


def messages(name):
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    for line in map(orjson.loads, lines):
        yield line["key"], base64.b64decode(line["base64"]) if "base64" in line else line["value"].encode()


def read(key, value):
    parsed = JournalKey.parse(key.encode())
    return Packer().unpack(value) if parsed.kind == "intents" else decode_entry(parsed, value)


@pytest.mark.faults("F85")
def test_the_journal_of_0_1_is_read():
    assert {key: read(key, value) for key, value in messages("0.1/journal.ndjson")} == JOURNAL_0_1


@pytest.mark.faults("F85")
def test_the_parcels_of_0_1_are_read():
    assert [decode_delivery(value) for _, value in messages("0.1/parcels.ndjson")] == PARCELS_0_1


def test_a_new_owner_starts_from_the_journal_of_0_1():
    fold, positions = JournalFold(), Positions()
    for key, value in messages("0.1/journal.ndjson"):
        fold.apply(key.encode(), value)
        positions.apply([(key.encode(), value)])
    ((account_id, state),) = fold.accounts()
    assert (account_id, set(state.batches), state.cursor) == (ACCOUNT, {REF}, JOURNAL_0_1[f"cursor/{ACCOUNT}"])
    assert (fold.head, positions.head) == (JOURNAL_0_1["head"], JOURNAL_0_1["head"])
    assert positions.sources == {3: JOURNAL_0_1["source/3"]}


@pytest.mark.parametrize("kind", sorted(ADDED))
def test_a_field_that_was_added_may_be_missing(kind):
    ((key, value),) = [each for each in messages("0.1/journal.ndjson") if each[0].split("/")[0] == kind]
    told = orjson.loads(value)
    entry = read(key, orjson.dumps({name: told[name] for name in told if name not in ADDED[kind]}))
    assert {name: getattr(entry, name) for name in ADDED[kind]} == ADDED[kind]


def test_every_kind_of_journal_entry_is_kept():
    kept = {key.split("/")[0] for path in GOLDEN.glob("*/journal.ndjson") for key, _ in messages(path)}
    assert kept >= journal._KINDS.keys()
