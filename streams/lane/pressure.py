"""What says that an account could use another token: work that waits for nothing but a request.

A batch that is not full is no such work: it leaves because there are slots to spare, and waits for company otherwise.
A full one is, and so is a part of a refused batch, however small: nothing can be added to it. Behind many requests in
flight only full batches count, for parts come a few at a time, and one that waits for the answer to the others is soon
over.
"""

from streams.lane.batch import Batch
from streams.lane.instant import Instant
from streams.lane.state import LaneState


def tell(lane: LaneState, now: Instant, *, in_flight: bool) -> None:
    """Tell the tokens what waits, after all that may leave has left. ``in_flight``: as many run as may."""
    held_up = lane.paused or lane.one_at_a_time or lane.breaker.cause or now.boot_s < lane.hold_until_s
    full = not held_up and lane.window.sendable >= lane.options.records_max
    parts = not held_up and lane.parts.due.first_at() <= now.boot_s
    lane.tokens.press(now, waits=full or parts, in_flight=in_flight and full)


def worth(lane: LaneState, batch: Batch) -> float:
    """How much of a request was needed for this batch: all of it where it could not have been fuller."""
    return 1.0 if batch.entry.part_of is not None else batch.unsettled_count / lane.options.records_max
