"""What a lane does with an answer to a request for its labels.

What must stay true: nothing else depends on it. Whatever goes wrong there costs the account no token, no breaker and no
pause, except that the API's wish to be asked less is heard: the list is tried again later.
"""

from streams.lane.actions import ListLabels, Write
from streams.lane.instant import Instant
from streams.lane.state import LaneState
from streams.lane.throttle import throttled
from streams.lane.verdict import LabelsVerdict, Listed, RetryLater, verdict_name


def listed(lane: LaneState, action: ListLabels, verdict: LabelsVerdict, sent_ms: int, now: Instant) -> Write:
    """The answer to a request for a page of labels. ``sent_ms`` is when it was sent."""
    ordinal, rng = action.token.ordinal, lane.tools.rng
    write = Write(requests=[lane.request_ended("labels", None, ordinal, sent_ms, now, verdict_name(verdict))])
    match verdict:
        case Listed(label_ids):
            lane.labels.listed(label_ids, now.boot_s, rng)
        case RetryLater(cause, retry_after_s=retry_after_s):
            if verdict.throttled:
                throttled(lane, lane.tokens.find(ordinal), retry_after_s, now, write)
            lane.labels.failed(cause, now.boot_s, rng, retry_after_s)
        case _:
            lane.labels.failed(verdict.cause, now.boot_s, rng)
    return write


def not_made(lane: LaneState, action: ListLabels) -> Write:
    """A request for labels was not made after all."""
    lane.tokens.unsent(action.token.ordinal)
    lane.labels.not_made()
    return Write()
