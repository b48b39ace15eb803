"""``uv run poe budget``: what becomes of the API's budget, as a table and, last, one JSON object.

Each section measures one thing and is held to what is promised of it; what is not kept is marked, and the exit code is
1. Sections on virtual time take up to a minute each; those in real time need Java and Maven, and the minutes that they
measure.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.budget import fairness, latency, outage, planning, pool, real, splitting, statuses, trickle

Figures = Mapping[str, Any]


class Promise(NamedTuple):
    """One figure, by the names that lead to it, and what it has to be."""

    path: str
    wanted: str
    kept: Callable[[Any], bool]


class Section(NamedTuple):
    """One thing that is measured. ``real_time``: by the clock on the wall, with real processes."""

    title: str
    measure: Callable[[argparse.Namespace], Figures]
    promises: Sequence[Promise]
    real_time: bool = False


def at_least(bound: float) -> Callable[[Any], bool]:
    """A figure that must not be lower."""
    return lambda figure: figure is not None and figure >= bound


def at_most(bound: float) -> Callable[[Any], bool]:
    """A figure that must not be higher."""
    return lambda figure: figure is not None and figure <= bound


NOTHING = at_most(0)

INTERRUPTED = 130

SECTIONS: Mapping[str, Section] = {
    "pool": Section(
        "Ten tokens, one hour once the pool is full (virtual time)",
        lambda _: pool.measure(),
        (
            Promise("share_of_limit", "≥ 0.99", at_least(0.99)),
            Promise("records_per_minute", "≥ 297,000", at_least(297_000)),
            Promise("status_429", "0", NOTHING),
            Promise("mints_per_30_min_max", "≤ 10", at_most(10)),
            Promise("requests_per_60_s_max_token", "≤ 60", at_most(60)),
            Promise("ramp_minutes", "≤ 35", at_most(35)),
        ),
    ),
    "latency": Section(
        "One token at 1, 50, 90 and 200 % of its limit: seconds from event to acceptance (virtual time)",
        lambda _: latency.measure(),
        (
            *(
                Promise(f"{load}.{priority}.p99_s", f"≤ {bound}", at_most(bound))
                for load, bound in (("at_1", 2.0), ("at_50", 2.0), ("at_90", 10.0), ("at_50_with_statuses", 4.0))
                for priority in ("high", "normal", "low")
            ),
            Promise("at_200.high.p99_s", "≤ 3", at_most(3.0)),
            Promise("at_200.low.share", "≥ 0.05", at_least(0.05)),
            Promise("at_200.records_per_post", "500", at_least(500)),
            Promise("at_200.budget_used", "≥ 0.99", at_least(0.99)),
            Promise("at_200.longest_pause_s", "≤ 3", at_most(3.0)),
            Promise("at_200.unaccounted", "0", NOTHING),
            Promise("at_200.status_429", "0", NOTHING),
        ),
    ),
    "trickle": Section(
        "Low and steady traffic: seconds from event to acceptance (virtual time)",
        lambda _: trickle.measure(),
        (
            Promise("below_the_limit.p50_s", "≤ 0.5", at_most(0.5)),
            Promise("below_the_limit.p99_s", "≤ 1.3", at_most(1.3)),
            Promise("above_it.p99_s", "≤ 1.6", at_most(1.6)),
            Promise("four_tokens.p99_s", "≤ 0.6", at_most(0.6)),
            Promise("status_429", "0", NOTHING),
        ),
    ),
    "fairness": Section(
        "What accounts cost each other (virtual time that counts CPU)",
        lambda _: fairness.measure(),
        (
            Promise("one_each.first.p99_s", "≤ 20", at_most(20.0)),
            Promise("one_each.second.p99_s", "≤ 10", at_most(10.0)),
            Promise("one_each.second.cpu_us_per_lane", "≤ 1,000", at_most(1000)),
            Promise("one_each.idle_hour_cpu_ms", "≤ 100", at_most(100)),
            Promise("neighbours.ratio", "≤ 1.2", at_most(1.2)),
            Promise("neighbours.others_p99_during_s", "≤ 3", at_most(3.0)),
        ),
    ),
    "outage": Section(
        "The API away for ten minutes at full input (virtual time)",
        lambda _: outage.measure(),
        (
            Promise("unaccounted", "0", NOTHING),
            Promise("other_outcomes", "0", NOTHING),
            Promise("memory_growth_while_full_mb", "≤ 20", at_most(20.0)),
            Promise("steps_per_s_max", "≤ 100", at_most(100)),
            Promise("requests_while_away", "≤ 100", at_most(100)),
            Promise("back_after_s", "≤ 65", at_most(65.0)),
            Promise("catching_up_share_of_limit", "≥ 0.99", at_least(0.99)),
            Promise("catching_up_records_per_post", "500", at_least(500)),
        ),
    ),
    "splitting": Section(
        "Bad records in a batch of 500, and nothing but bad ones (virtual time)",
        lambda _: splitting.measure(),
        (
            Promise("one_of_500.extra_requests_max", "≤ 20", at_most(20)),
            Promise("one_of_500.rejected", "≤ 1", at_most(1)),
            Promise("one_of_500.accepted", "≥ 499", at_least(499)),
            Promise("twenty_of_500_minutes", "≤ 10", at_most(10.0)),
            Promise("all_of_500.requests_until_tripped", "≤ 20", at_most(20)),
            Promise("all_of_500.rejected", "0", NOTHING),
        ),
    ),
    "statuses": Section(
        "The ceiling of each way to check statuses, one token and ten (virtual time)",
        lambda _: statuses.measure(),
        (
            Promise("least_share_of_limit", "≥ 0.99", at_least(0.99)),
            Promise("least_told_by_all", "≥ 0.99", at_least(0.99)),
            Promise("status_429", "0", NOTHING),
        ),
    ),
    "plan": Section(
        "`callstream plan` of a million intents, ten accounts, 1,250 a second",
        lambda _: planning.cost(),
        (
            Promise("intents", "≥ 1,000,000", at_least(1_000_000)),
            Promise("cpu_s", "≤ 90", at_most(90.0)),
            Promise("memory_mb", "≤ 200", at_most(200)),
        ),
    ),
    "plan_agrees": Section(
        "A plan, and what a worker then does (real time, embedded Kafka)",
        lambda _: planning.agreement(),
        (
            Promise("batches_off", "≤ 0.1", at_most(0.1)),
            Promise("drained_off", "≤ 0.1", at_most(0.1)),
        ),
        real_time=True,
    ),
    "steady": Section(
        "One token under twice its load (real time, real Kafka)",
        lambda options: real.steady(options.minutes),
        (
            Promise("share_of_limit", "≥ 0.99", at_least(0.99)),
            Promise("posts_not_full", "0", NOTHING),
            Promise("http_429", "0", NOTHING),
            Promise("busiest_minute_of_a_token", "≤ 60", at_most(60)),
        ),
        real_time=True,
    ),
    "moving": Section(
        "An account that moves between workers under the same load (real time, real Kafka)",
        lambda options: real.moving(options.moves),
        (
            Promise("http_429", "0", NOTHING),
            Promise("busiest_minute_of_a_token", "≤ 60", at_most(60)),
        ),
        real_time=True,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments say; 0 if everything is as promised, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="poe budget", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections (default: all)")
    parser.add_argument("--virtual", action="store_true", help="leave out what is measured in real time")
    parser.add_argument("--minutes", type=int, default=5, help="of the steady load in real time (default: 5)")
    parser.add_argument("--moves", type=int, default=3, help="of the account between workers (default: 3)")
    options = parser.parse_args(arguments)
    chosen = [name for name in options.only or SECTIONS if not (options.virtual and SECTIONS[name].real_time)]
    if not chosen:
        parser.error("argument --virtual: leaves nothing of --only, which is all measured in real time")
    try:
        return _measure(chosen, options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _measure(chosen: Sequence[str], options: argparse.Namespace) -> int:
    console = Console(soft_wrap=True)
    told: dict[str, Any] = {}
    for name in chosen:
        section = SECTIONS[name]
        began_s = time.monotonic()
        figures = section.measure(options)
        kept = _show(console, section, figures)
        told[name] = {**figures, "kept": kept, "took_s": round(time.monotonic() - began_s, 1)}
    told["kept"] = all(each["kept"] for each in told.values())
    print(json.dumps(told), flush=True)
    return 0 if told["kept"] else 1


def _show(console: Console, section: Section, figures: Figures) -> bool:
    """Print a section; returns whether all its promises are kept."""
    table = Table(title=section.title, title_justify="left", show_header=True)
    for heading in ("figure", "measured", "wanted", ""):
        table.add_column(heading)
    judged = {promise.path: (promise, promise.kept(_figure(figures, promise.path))) for promise in section.promises}
    for path, (promise, kept) in judged.items():
        table.add_row(path, _text(_figure(figures, path)), promise.wanted, "kept" if kept else "NOT KEPT")
    for name, figure in figures.items():
        if name not in judged and not isinstance(figure, Mapping | list):
            table.add_row(name, _text(figure), "", "")
    console.print(table)
    return all(kept for _, kept in judged.values())


def _figure(figures: Figures, path: str) -> Any:
    """The figure to which the names of a path lead, as in ``loads.high.p99_s``; ``None`` where there is none."""
    found: Any = figures
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def _text(figure: Any) -> str:
    return f"{figure:,}" if isinstance(figure, int | float) and not isinstance(figure, bool) else str(figure)


if __name__ == "__main__":
    sys.exit(main())
