"""What ``callstream plan`` costs, and how near it comes to what a worker then does.

    uv run python -m bench.budget.planning

The cost: a million synthetic intents of ten accounts, 1,250 a second, through a pipe into the command. The comparison,
in real time: intents that are all there at once are planned, and run by a worker process between the embedded Kafka and
the fake API with its limits kept; what that API saw is compared with the plan.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Producer

from streams.kafka.embedded import CLIENT_PROPERTIES, EmbeddedKafka
from streams.kafka.topic_names import TopicNames
from streams.sandbox.accounts import SyntheticAccount, synthetic_accounts
from streams.sandbox.dialer import Dialer

START_MS = 1_795_320_000_000
COMMAND = (sys.executable, "-m", "streams")

# Runs a command and says on standard error what it cost, kilobytes and seconds. A process is taken to have used at
# least as much memory as the one that started it, so this is a small one.
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)
"""

MANY = 1_000_000
MANY_PER_S = 1_250
AT_A_TIME = 1_250

RUN = 20_000
PARTITIONS = 8
TOPICS = TopicNames("intents", "outcomes", "dead_letters", "parcels", "journal", "requests")
WAIT_TIMEOUT_S = 180.0
# Nobody asks for statuses any more by then: they are final five seconds after a batch was taken.
STATUSES_S = 20.0


def cost() -> dict[str, Any]:
    """Seconds and memory of a plan of a million intents."""
    arguments = [*COMMAND, "plan", "-", "--rate", str(MANY_PER_S), "--now", str(START_MS), "--json"]
    measured = [sys.executable, "-c", MEASURED, *arguments]
    began_s = time.monotonic()
    with subprocess.Popen(measured, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdin is not None
        dialer = Dialer(synthetic_accounts(10), bad_share=0.01)
        for second in range(MANY // AT_A_TIME):
            values = dialer.take(AT_A_TIME, START_MS + second * 1000)
            command.stdin.writelines(one.value + b"\n" for one in values)
        answer, cost = command.communicate()
    told = orjson.loads(answer)
    memory_kb, cpu_s = cost.split()[-2:]
    return {
        "intents": told["read"],
        "seconds": round(time.monotonic() - began_s, 1),
        "cpu_s": round(float(cpu_s), 1),
        "memory_mb": round(int(memory_kb) / 1024),
        "batches": told["batches"],
    }


def agreement() -> dict[str, Any]:
    """By how much a plan is off, as a share of what a worker then did."""
    accounts = synthetic_accounts(2)
    with tempfile.TemporaryDirectory() as directory, EmbeddedKafka(dict.fromkeys(TOPICS, PARTITIONS)) as kafka:
        place = Path(directory)
        ledger = place / "ledger.ndjson"
        with _running("fake-api", "--port", "0", "--ledger", str(ledger), log=place / "api") as api_said:
            _wait(lambda: b"fake_api_ready" in api_said.read_bytes())
            url = orjson.loads(api_said.read_bytes().splitlines()[0])["url"]
            config = _config(place, kafka.bootstrap_servers, url, accounts)
            with _running("worker", "--config", str(config), log=place / "worker") as said:
                _wait(lambda: said.read_bytes().count(b"partition_taken_over") > 0)
                began_s = time.time()
                file = _publish(kafka.bootstrap_servers, place, accounts)
                _wait(lambda: sum(line["count"] for line in _posts(ledger)) >= RUN)
                time.sleep(STATUSES_S)  # the last checks
        arguments = ("plan", str(file), "--config", str(config), "--now", str(round(began_s * 1000)), "--json")
        planned = subprocess.run([*COMMAND, *arguments], capture_output=True, check=True)
        plan = orjson.loads(planned.stdout)
        posts = _posts(ledger)
        # From its first request on: before that the worker was still being given its partitions.
        run_s = max(line["answered_at"] for line in posts) - min(line["received_at"] for line in _requests(ledger))
        return {
            "intents": RUN,
            "batches_planned": plan["batches"],
            "batches": len(posts),
            "batches_off": _off(plan["batches"], len(posts)),
            "drained_s_planned": plan["drained_s"],
            "drained_s": round(run_s, 1),
            "drained_off": _off(plan["drained_s"], run_s),
            "requests_planned": sum(plan["requests"].values()),
            "requests": len(_requests(ledger)),
        }


def _off(planned: float, done: float) -> float:
    return round(abs(planned - done) / done, 4)


@contextmanager
def _running(*arguments: str, log: Path) -> Iterator[Path]:
    with log.open("wb") as said:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=said, stderr=said)
        try:
            yield log
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT_TIMEOUT_S)


def _wait(happened: Any) -> None:
    deadline_s = time.monotonic() + WAIT_TIMEOUT_S
    while not happened():
        assert time.monotonic() < deadline_s, "it does not happen"
        time.sleep(0.2)  # between looks


def _config(place: Path, servers: str, url: str, accounts: Sequence[SyntheticAccount]) -> Path:
    kafka = {
        "bootstrap_servers": servers,
        "partitions": PARTITIONS,
        "group_protocol": "classic",
        "topics": TOPICS._asdict(),
        "extra": dict(CLIENT_PROPERTIES),
    }
    settings = {
        "kafka": kafka,
        "api": {"base_url": url},
        "accounts": [{"id": each.id, "key_id": each.key_id, "api_key": each.api_key} for each in accounts],
        "metrics": {"host": "127.0.0.1", "port": 0},
        "logging": {"format": "json"},
    }
    path = place / "callstream.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _publish(servers: str, place: Path, accounts: Sequence[SyntheticAccount]) -> Path:
    """Publish all intents at once; returns the file that holds them, too."""
    values = [one.value for one in Dialer(accounts, bad_share=0.0).take(RUN, time.time_ns() // 1_000_000)]
    producer = Producer({"bootstrap.servers": servers})
    for number, value in enumerate(values):
        producer.produce(TOPICS.intents, value, partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    path = place / "intents.ndjson"
    path.write_bytes(b"".join(value + b"\n" for value in values))
    return path


def _requests(ledger: Path) -> list[dict[str, Any]]:
    lines = [orjson.loads(line) for line in ledger.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [line for line in lines if line["event"] == "request"]


def _posts(ledger: Path) -> list[dict[str, Any]]:
    return [line for line in _requests(ledger) if line["kind"] == "post" and line["applied"]]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"cost": cost(), "agreement": agreement()}, indent=2) + "\n")
