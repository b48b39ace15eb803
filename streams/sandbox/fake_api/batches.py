"""Batches that were taken, and what becomes of their records.

A batch is processed in the background: nothing is visible in the first half of the delay, then its records become final
one after the other, and from the delay on all are. The result of a record depends on the seed, the batch's place in the
run and the record's place in the batch alone. Status answers come shuffled and, as in the vendor's newer examples, with
the numbers masked.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import orjson
import zstandard

from streams.sandbox.fake_api.clock import Moment
from streams.sandbox.fake_api.faults import FaultPlan
from streams.sandbox.fake_api.records import SHAPES, Version

# What the vendor documents as reasons of a failure, in its words.
REASONS: Final = (
    "Invalid input",
    "Not a Truecaller user",
    "OS not supported",
    "App version not supported",
    "Failed to push",
)
MASK: Final = "************"

# About five million records; beyond it the oldest batches are forgotten and answer 404.
_KEPT_BYTES_MAX: Final = 256 * 1024 * 1024
# Fast and good enough: bodies repeat the same names and labels over and over.
_COMPRESSION_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """One accepted batch; ``body`` is its request body, compressed."""

    batch_id: str
    account_id: str
    ordinal: int
    version: Version
    body: bytes
    taken: Moment


class BatchBook:
    """All batches of a fake."""

    def __init__(self, plan: FaultPlan, seed: int, delay_s: float) -> None:
        self._plan = plan
        self._seed = seed
        self._delay_s = delay_s
        self._batches: OrderedDict[str, Batch] = OrderedDict()
        self._kept_bytes = 0
        self._ordinal = 0
        self._compress = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def add(self, account_id: str, version: Version, body: bytes, now: Moment) -> Batch:
        """Take a batch. Its id is random, so that two runs never share one."""
        self._ordinal += 1
        batch = Batch(str(uuid.uuid4()), account_id, self._ordinal, version, self._compress(body), now)
        self._batches[batch.batch_id] = batch
        self._kept_bytes += len(batch.body)
        while self._kept_bytes > _KEPT_BYTES_MAX:
            _, oldest = self._batches.popitem(last=False)
            self._kept_bytes -= len(oldest.body)
        return batch

    def find(self, account_id: str, batch_id: str) -> Batch | None:
        """Return the account's batch, or ``None``."""
        batch = self._batches.get(batch_id)
        return batch if batch and batch.account_id == account_id else None

    def statuses(self, batch: Batch, version: Version, now: Moment) -> Any:
        """Return the status answer in the shape of ``version``, whichever generation created the batch."""
        rows = self._rows(batch, version, now)
        if version == "v1":
            return rows
        return {"client_account_id": batch.account_id, "batch_id": batch.batch_id, "data": rows}

    def _rows(self, batch: Batch, version: Version, now: Moment) -> list[dict[str, Any]]:
        elapsed_s = now.mono_s - batch.taken.mono_s
        progress = 1.0 if elapsed_s >= self._delay_s else elapsed_s / self._delay_s
        if progress < 0.5:  # noqa: PLR2004 - the first half, see above
            return []
        records = orjson.loads(self._decompress(batch.body))["call_records"]
        count = len(records)
        random = Random(f"{self._seed}/{batch.ordinal}")
        masked = random.random() < self._plan.masked
        reasons = [random.choice(REASONS) if random.random() < self._plan.failed else None for _ in records]
        ids = random.randbytes(16 * count).hex()
        order = random.sample(range(count), count)
        final = count if progress >= 1 else int(count * (2 * progress - 1))
        pending = set(random.sample(range(count), count)[final:])
        return [
            _row(
                batch,
                version,
                records[i],
                _uuid4(ids[32 * i : 32 * i + 32]),
                masked=masked,
                status="pending" if i in pending else "error" if reasons[i] else "success",
                reason=None if i in pending else reasons[i],
            )
            for i in order
        ]


def _uuid4(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _row(
    batch: Batch,
    version: Version,
    record: dict[str, Any],
    record_id: str,
    *,
    masked: bool,
    status: str,
    reason: str | None,
) -> dict[str, Any]:
    sent, shown = SHAPES[batch.version], SHAPES[version]
    plus = "+" if version == "v3" else ""
    row: dict[str, Any] = {"id": record_id}
    if version == "v1":
        row["client_account_id"] = batch.account_id
        row["batch_id"] = batch.batch_id
    row[shown.caller] = MASK if masked else plus + record[sent.caller].lstrip("+")
    row[shown.receiver] = MASK if masked else plus + record[sent.receiver].lstrip("+")
    row["label_id"] = record.get("label_id")
    if sent.label_name in record:
        row[shown.label_name] = record[sent.label_name]
    if sent.call_reason in record:
        row[shown.call_reason] = record[sent.call_reason]
    row["starts_at"], row["ends_at"] = record["starts_at"], record["ends_at"]
    info = {"status": status} if reason is None else {"status": status, "message": reason}
    if version == "v1":
        row.update(info)
    else:
        row["status_info"] = info
    row["created_at"] = batch.taken.stamp
    return row
