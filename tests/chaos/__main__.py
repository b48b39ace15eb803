"""``uv run poe chaos``: workers, brokers and networks that come and go, on a real Kafka, with a verdict at the end.

The last line on standard output is one JSON object; everything else goes to standard error. Exit code 0 only if the
verdict is ``valid``.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.kafka import RELEASE_FOR_OUTAGES, Cluster
from tests.chaos import failpoints
from tests.chaos.arena import QUICK, SESSION_S, Plot
from tests.chaos.run import run

SIDE_BY_SIDE = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; 0 if all is as promised."""
    parser = argparse.ArgumentParser(prog="poe chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long things go wrong (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed is the same plan (default: 0)")
    parser.add_argument("--protocol", choices=("consumer", "classic"), default="consumer", help="of the consumer group")
    parser.add_argument("--policy", choices=("retry", "hold"), default="retry", help="of the accounts")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="number of brokers (default: 1)")
    parser.add_argument("--rate", type=int, default=300, help="intents a second (default: 300)")
    parser.add_argument(
        "--kafka-release",
        default=RELEASE_FOR_OUTAGES,
        help=f"of the brokers (default: {RELEASE_FOR_OUTAGES}; the releases after it lose transactions: KAFKA-20734)",
    )
    parser.add_argument("--keep", action="store_true", help="keep the files of a valid run, too")
    parser.add_argument("--failpoints", action="store_true", help="instead: every failpoint with every action")
    parser.add_argument("--only", default="", help="of the failpoints, those whose place:action contains this")
    chosen = parser.parse_args(arguments)
    # As at Ctrl-C, all that was started here is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if chosen.failpoints:
        return _failpoints(chosen.protocol, chosen.only)
    plot = Plot(
        chosen.minutes * 60,
        chosen.seed,
        chosen.protocol,
        chosen.policy,
        chosen.brokers,
        chosen.rate,
        chosen.kafka_release,
    )
    told = run(plot, keep=chosen.keep)
    for problem in told["problems"]:
        print(problem, file=sys.stderr)
    print(json.dumps(told), flush=True)
    return 0 if told["verdict"] == "valid" else 1


def _failpoints(protocol: str, only: str) -> int:
    cases = [case for case in failpoints.ALL if only in f"{case.place}:{case.action}"]
    with (
        tempfile.TemporaryDirectory(prefix="failpoints-") as directory,
        Cluster(session_timeout_s=SESSION_S, properties=QUICK) as cluster,
    ):
        tried = failpoints.run(Path(directory), cluster.bootstrap, cases, side_by_side=SIDE_BY_SIDE, protocol=protocol)
    print(failpoints.told(tried), file=sys.stderr)
    wrong = sum(bool(each.wrong) for each in tried)
    verdict = "valid" if cases and not wrong else "invalid"
    print(json.dumps({"verdict": verdict, "failpoints": len(cases), "wrong": wrong, "protocol": protocol}), flush=True)
    return 0 if verdict == "valid" else 1


if __name__ == "__main__":
    sys.exit(main())
