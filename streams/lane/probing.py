"""What leaves while a breaker is not closed: one thing at a time, of which little is lost if it goes wrong.

Where no answers came, a status check goes first if one is due, for it can do no harm. Then a batch of one intent: one
that waits for its next attempt anyway, else a fresh one, else one of a batch that waits. Where whatever was sent was
refused, intents of refused batches are tried, and once that has opened the breaker fresh ones as well: either may have
been mended. Status checks go on meanwhile.
"""

from enum import Enum, auto

from streams.lane.batch import Batch
from streams.lane.breaker import Cause
from streams.lane.instant import Instant
from streams.lane.state import LaneState

NEVER = float("inf")


class Probe(Enum):
    """A probe that is not one intent of a batch that waits: a status check, or one intent of the window."""

    CHECK = auto()
    FRESH = auto()


def choose(lane: LaneState, now: Instant) -> Probe | Batch | None:
    """What should leave now; a batch stands for one of its intents."""
    checking = _check_at(lane) <= now.boot_s
    if checking and not lane.breaker.lets_checks:
        return Probe.CHECK
    if _post_at(lane) <= now.boot_s:
        return _to_post(lane, now)
    return Probe.CHECK if checking else None


def wanted_at(lane: LaneState) -> float:
    """When :func:`choose` has something, as far as is known (``boot_s``); infinity if only an event can help."""
    return min(_check_at(lane), _post_at(lane))


def _check_at(lane: LaneState) -> float:
    waits = lane.checks.running and not lane.breaker.lets_checks
    return NEVER if waits else lane.checks.next_at


def _post_at(lane: LaneState) -> float:
    if lane.paused or lane.posts_running or len(lane.held) >= lane.options.open_batches_max:
        return NEVER
    if lane.checks.running and not lane.breaker.lets_checks:
        return NEVER
    fresh_at_s = float("-inf") if _has_fresh(lane) else NEVER
    return max(lane.breaker.until_s, min(fresh_at_s, lane.retries.first_at(), lane.parts.due.first_at()))


def _has_fresh(lane: LaneState) -> bool:
    return bool(lane.window.sendable) and not lane.crowded


def _to_post(lane: LaneState, now: Instant) -> Probe | Batch:
    suspects = lane.parts.due.ready(now.boot_s)
    waiting = [*lane.retries.ready(now.boot_s), *suspects]
    fresh = _has_fresh(lane)
    if lane.breaker.cause is not Cause.REFUSED:
        smallest = min(waiting, key=lambda batch: (batch.unsettled_count, batch.ref), default=None)
        return smallest if smallest and (smallest.unsettled_count == 1 or not fresh) else Probe.FRESH
    chosen = suspects or waiting
    if fresh and (not chosen or (lane.breaker.openings and lane.tools.rng.random() < 1 / 2)):
        return Probe.FRESH
    # Any intent alike: those that were refused alone must not be tried over and over.
    return lane.tools.rng.choices(chosen, [batch.unsettled_count for batch in chosen])[0]
