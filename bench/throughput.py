"""CPU and throughput of the worker beside a hand-written loop, over the same intents, in one run.

    uv run poe bench [--intents N] [--accounts N] [--rounds N]

Both read the same topic of a real Apache Kafka and submit to a fake API with its limits off, one after the other, round
by round. CPU seconds are those of the whole process from start to end, as the kernel counts them; seconds of the clock
are from the first accepted batch to the last, so that neither side is charged for joining its group.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from scripts.kafka import ROOT, Cluster
from streams.kafka.client_config import KafkaOptions
from streams.sandbox.accounts import synthetic_accounts
from streams.sandbox.dialer import Dialer
from streams.sandbox.publisher import Publisher

RUN_TIMEOUT_S = 300
POLL_S = 0.2
GRACE_S = 2.0
CHUNK = 10_000
TOPICS = ("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run cost."""

    cpu_s: float
    wall_s: float
    batches: int
    records: int

    def per_100k(self, intents: int) -> float:
        """CPU seconds per 100,000 intents."""
        return self.cpu_s / intents * 100_000


def main() -> None:
    """Run all rounds and print a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intents", type=int, default=600_000)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as directory, Cluster() as kafka:
        for number in range(options.rounds):
            rounds.append(_round(kafka.bootstrap, Path(directory), number, options))
            ours, theirs = rounds[-1]
            print(f"round {number + 1}: {_row('callstream', ours, options)}   {_row('by hand', theirs, options)}")
    best = [sorted(side, key=lambda run: run.cpu_s)[len(side) // 2] for side in zip(*rounds, strict=True)]
    ours, theirs = best
    summary = {
        "intents": options.intents,
        "accounts": options.accounts,
        "cpu_s_per_100k": round(ours.per_100k(options.intents), 3),
        "cpu_s_per_100k_by_hand": round(theirs.per_100k(options.intents), 3),
        "cpu_ratio": round(ours.cpu_s / theirs.cpu_s, 2),
        "intents_per_s": round(ours.records / ours.wall_s),
        "intents_per_s_by_hand": round(theirs.records / theirs.wall_s),
        "records_per_batch": round(ours.records / ours.batches),
        "records_per_batch_by_hand": round(theirs.records / theirs.batches),
    }
    print(json.dumps(summary))


def _row(name: str, run: Measured, options: argparse.Namespace) -> str:
    fill = run.records / run.batches
    return (
        f"{name}: {run.per_100k(options.intents):.2f} CPU-s/100k, {run.records / run.wall_s:,.0f} intents/s, "
        f"{fill:.0f} records a batch"
    )


def _round(bootstrap: str, directory: Path, number: int, options: argparse.Namespace) -> tuple[Measured, Measured]:
    """Publish the intents of one round, then let both sides process them."""
    accounts = synthetic_accounts(options.accounts, seed=number)
    topics = {name: f"bench.{number}.{name}" for name in TOPICS}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, 12, 1) for topic in topics.values()]).values():
        created.result()
    publisher = Publisher(KafkaOptions(bootstrap, "bench", "bench"), topics["intents"])
    dialer = Dialer(accounts, seed=number, bad_share=0.01)
    valid = 0
    for begun in range(0, options.intents, CHUNK):
        for dialed in dialer.take(min(CHUNK, options.intents - begun), round(time.time() * 1000)):
            publisher.send(dialed.value)
            valid += dialed.bad is None
    publisher.close()
    settings = {
        "kafka": {"bootstrap_servers": bootstrap, "group_id": f"bench-{number}", "topics": topics},
        "accounts": [{"id": a.id, "key_id": a.key_id, "api_key": a.api_key} for a in accounts],
        "limits": {"requests_per_minute_per_token": 6_000},
        "statuses": "none",
        # The loop by hand waits for 500 records however long that takes.
        "window": {"linger_ms": 2_000},
        "outcomes": {"level": "batch"},
        "metrics": {"host": "127.0.0.1", "port": 0},
        "logging": {"level": "warning"},
    }
    here = Path(__file__).parent
    worker = [sys.executable, "-m", "streams", "worker", "--config"]
    by_hand = [sys.executable, str(here / "handwritten.py"), "--count", str(options.intents), "--config"]
    sides = [("callstream", worker), ("by-hand", by_hand)]
    measured = [_measure(command, settings, directory / f"{name}-{number}", valid) for name, command in sides]
    return measured[0], measured[1]


def _measure(command: list[str], settings: Mapping[str, object], directory: Path, valid: int) -> Measured:
    """Run one side against a fake API of its own until all valid intents are in the API's ledger."""
    directory.mkdir()
    ledger = directory / "ledger.ndjson"
    fake_api = [sys.executable, "-m", "streams", "fake-api", "--port", "0", "--limits", "off", "--ledger", str(ledger)]
    with subprocess.Popen(fake_api, stdout=subprocess.PIPE) as api:
        try:
            assert api.stdout is not None
            base_url = json.loads(api.stdout.readline())["url"]
            config = directory / "config.yaml"
            # JSON is YAML, so the settings need no YAML writer.
            config.write_text(json.dumps({**settings, "api": {"base_url": base_url}}))
            return _run([*command, str(config)], Progress(ledger), valid)
        finally:
            api.send_signal(signal.SIGTERM)


def _run(command: list[str], progress: "Progress", valid: int) -> Measured:
    # Compiling our modules anew at every start is no part of what either side costs.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    side = subprocess.Popen(command, env=environ | {"PYTHONPATH": str(ROOT)})
    try:
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while progress.read() < valid:
            if _ended(side):  # the ledger's last lines may still be on their way
                deadline = min(deadline, time.monotonic() + GRACE_S)
            if time.monotonic() > deadline:
                side.kill()
                raise SystemExit(f"{' '.join(command)}: stopped after {progress.records} of {valid} records")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        side.kill()
        raise
    if "worker" in command:  # the loop by hand ends by itself
        side.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(side.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with wait status {status}")
    cpu_s = usage.ru_utime + usage.ru_stime
    return Measured(cpu_s, progress.last_s - progress.first_s, progress.batches, progress.records)


def _ended(side: "subprocess.Popen[bytes]") -> bool:
    """Whether the process has ended, without reaping it: its usage is asked for later."""
    return os.waitid(os.P_PID, side.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class Progress:
    """What the API has taken so far, from its growing ledger."""

    def __init__(self, ledger: Path) -> None:
        self._ledger: BinaryIO | None = None
        self._path = ledger
        self._unfinished = b""
        self.records = self.batches = 0
        self.first_s = self.last_s = 0.0

    def read(self) -> int:
        """Take in what is new; return the records applied so far."""
        self._ledger = self._ledger or (self._path.open("rb") if self._path.exists() else None)
        if self._ledger is None:
            return 0
        *lines, self._unfinished = (self._unfinished + self._ledger.read()).split(b"\n")
        for line in lines:
            if b'"kind":"post"' in line:
                entry = json.loads(line)
                self.records += entry["count"]
                self.batches += 1
                self.first_s = self.first_s or entry["received_mono"]
                self.last_s = entry["answered_mono"]
        return self.records


if __name__ == "__main__":
    main()
