"""``poe simulate --seeds 1000``: live through many histories on all cores; stop at the first broken promise.

``poe simulate --seed N --trace`` replays one and prints all that happened in it.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter

from tests.lane.simulation.audit import Violation
from tests.lane.simulation.history import History
from tests.lane.simulation.many import cores, found_seeds, missing, on_all_cores
from tests.lane.simulation.weather import FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="poe simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many histories (500)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="only this one; the end of its trace is printed if it fails")
    parser.add_argument("--trace", action="store_true", help="print all that happens in it")
    chosen = parser.parse_args()
    if chosen.seed is not None:
        return _one(chosen.seed, trace=chosen.trace)
    return _many([*found_seeds(), *range(chosen.start, chosen.start + chosen.seeds)])


def _one(seed: int, *, trace: bool) -> int:
    history = History(seed, None if trace else 60)
    try:
        history.run()
        verdict = "no promise broken"
    except Violation as violation:
        verdict = f"BROKEN: {violation}"
    if trace or verdict.startswith("BROKEN"):
        sys.stdout.write("\n".join([*history.trace, ""]))
    sys.stdout.write(f"seed {seed}: {verdict}\n")
    return int(verdict.startswith("BROKEN"))


def _many(seeds: list[int]) -> int:
    began_s = time.monotonic()
    seen: Counter[str] = Counter()
    for part in on_all_cores(seeds):
        seen += part.seen
        if part.failed is not None:
            sys.stderr.write(f"seed {part.failed} at {_commit()}: {part.story}\n")
            sys.stderr.write(f"replay it: uv run poe simulate --seed {part.failed} --trace\n")
            return 1
    seconds = time.monotonic() - began_s
    faults = sum(seen[fault] for fault in FAULTS)
    sys.stdout.write("".join(f"{seen[name]:>9} {name}\n" for name in sorted(seen, key=str)))
    if absent := missing(seen, len(seeds)):
        sys.stderr.write(f"nothing is proven: {len(seeds)} histories met no {', no '.join(absent)}\n")
        return 1
    speed = f"{seconds:.0f} s on {cores()} cores, {len(seeds) / seconds * 60:.0f} a minute"
    sys.stdout.write(f"{len(seeds)} histories, {faults} faults, no promise broken; {speed}\n")
    return 0


def _commit() -> str:
    try:
        return subprocess.check_output(["git", "describe", "--always", "--dirty"], text=True, timeout=5).strip()
    except (OSError, subprocess.SubprocessError):
        return "an unknown commit"


if __name__ == "__main__":
    sys.exit(main())
