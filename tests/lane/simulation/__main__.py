"""``python -m tests.lane.simulation --seeds 1000``: live through many histories; stop at the first broken promise."""

import argparse
import sys
from collections import Counter

from tests.lane.simulation.audit import Violation
from tests.lane.simulation.history import replay


def main() -> int:
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many histories (500)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="only this one, with its whole trace if it fails")
    chosen = parser.parse_args()
    one = chosen.seed is not None
    seeds = [chosen.seed] if one else range(chosen.start, chosen.start + chosen.seeds)
    seen: Counter[str] = Counter()
    for seed in seeds:
        try:
            seen += replay(seed, None if one else 60)
        except Violation as violation:
            sys.stderr.write(f"{violation}\nreplay: poe simulate --seed {seed}\n")
            return 1
    counts = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
    sys.stdout.write(f"{len(seeds)} histories, no promise broken: {counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
