"""An API on virtual time that grants tokens, takes batches, tells statuses, and fails in every way the weather asks.

It counts requests when they arrive and holds them against the documented limits, by its own clock. What it answers to
a POST and to a mint is a status and a body: what that means is read by the classifier of the real client.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

import orjson

from streams.contracts.journal import Held
from streams.lane.verdict import (
    CheckVerdict,
    LabelsVerdict,
    PostVerdict,
    RecordState,
    RecordStatus,
    Statuses,
    TokenVerdict,
)
from streams.truecaller.classify import (
    Answer,
    Handed,
    NoAnswer,
    classify_check,
    classify_labels,
    classify_mint,
    classify_post,
)
from streams.truecaller.rate_limit import Exhausted
from tests.lane.simulation.audit import Audit
from tests.lane.simulation.nature import Limits
from tests.lane.simulation.virtual_time import VirtualTime
from tests.lane.simulation.weather import Weather, pick

POST_DEADLINE_S = 30.0
NOT_APPLIED = frozenset({429})

Reply = Answer | NoAnswer

# What an answer with no more to it than a status and an error looks like.
REFUSALS = {
    "unauthorised": Answer(401, b'{"slug":"authorization-error","message":"Unauthorized"}'),
    "token_unread": Answer(500, b'{"slug":"internal-server-error","message":"500/50011 - Failed to parse token"}'),
    "forbidden": Answer(403, b'{"slug":"forbidden-error","message":"Forbidden"}'),
    "refused": Answer(400, b'{"status_info":{"status":"error","field":"receiver","message":"is invalid"}}'),
    "not_visible": Answer(404, b"{}"),
    "throttled": Answer(429, b"{}"),
    "broken": Answer(500, b'{"slug":"internal-server-error","message":"oops"}'),
    "redirect": Answer(303, b""),
}
UNREACHABLE = NoAnswer("connect", Handed.NOTHING)
NO_ANSWER = NoAnswer("no_answer", Handed.WHOLE, timed_out=True)

# The API applies these, or does not: the answer does not tell.
DOUBTFUL = frozenset({"broken", "unavailable", "redirect"})


@dataclass(slots=True)
class Record:
    """One record of an applied batch, with its true fate."""

    held: Held
    record_id: str
    state: RecordState
    known_at_us: int


class FakeApi:
    """It asks ``limits`` about every request that arrives."""

    def __init__(self, time: VirtualTime, rng: random.Random, audit: Audit, weather: Weather, limits: Limits) -> None:
        self.weather = weather
        self.forsaken: str | None = None
        self.batches: dict[str, list[Record]] = {}
        self._time = time
        self._rng = rng
        self._audit = audit
        self._limits = limits
        self._named = 0

    def _latencies(self) -> tuple[float, float]:
        there, back = self._rng.uniform(*self.weather.latency_s), self._rng.uniform(*self.weather.latency_s)
        return there, min(POST_DEADLINE_S, there + back)

    def _fault(self, kind: str, account_id: str, faults: dict[str, float]) -> str:
        fault = "forbidden" if account_id == self.forsaken else pick(self._rng, faults)
        if fault != "fair":
            self._audit.seen[f"{kind} {fault}"] += 1
        return fault

    def _later(self) -> Answer:
        now_s = self._time.wall_ms / 1000
        server_s = now_s + self._rng.choice([0.0, -3600.0, 3600.0])
        date, later = (formatdate(at_s, usegmt=True) for at_s in (server_s, server_s + 30.0))
        wish = self._rng.choice(["0", "0", "2", "45", "90", later, None])
        exhausted = Exhausted(self._rng.choice([5.0, server_s + 20.0])) if wish is None else None
        return Answer(429, b"{}", retry_after=wish, date=date, exhausted=exhausted, received_at_s=now_s)

    # -- tokens

    def mint(self, account_id: str, answer: Callable[[TokenVerdict], None]) -> None:
        fault = self._fault("mint", account_id, self.weather.mints)
        there_s, answered_s = self._latencies()
        replies: list[Reply] = []

        def arrive() -> None:
            if fault == "unreachable":
                replies.append(UNREACHABLE)
                return
            self._limits.minting(account_id)
            replies.append(self._granted(fault, account_id))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(classify_mint(replies[0])))

    def _granted(self, fault: str, account_id: str) -> Reply:
        if fault == "throttled" and self._rng.random() < 0.5:
            return self._later()
        if fault in REFUSALS:
            return REFUSALS[fault]
        self._named += 1
        token = f"token-{self._named:04}"
        self._limits.granted(account_id, token)
        return NO_ANSWER if fault == "cut" else Answer(200, orjson.dumps({"token": token}))

    # -- labels

    def labels(self, account_id: str, token: str, page: int, answer: Callable[[LabelsVerdict], None]) -> None:
        fault = self._fault("labels", account_id, self.weather.labels)
        there_s, answered_s = self._latencies()
        replies: list[Reply] = []

        def arrive() -> None:
            if fault == "unreachable":
                replies.append(UNREACHABLE)
            elif (judged := self._limits.request(account_id, token)) != "fair":
                replies.append(REFUSALS[judged])
            elif fault == "lost":
                replies.append(NO_ANSWER)
            elif fault in REFUSALS:
                replies.append(self._later() if fault == "throttled" else REFUSALS[fault])
            else:
                listed = [{"id": "label"}, {"id": "another"}][page - 1 : page] if fault == "fair" else []
                replies.append(Answer(200, orjson.dumps(listed)))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(classify_labels(replies[0])))

    # -- batches

    def post(self, account_id: str, token: str, held: Sequence[Held], answer: Callable[[PostVerdict], None]) -> None:
        fault = self._fault("post", account_id, self.weather.posts)
        there_s, answered_s = self._latencies()
        if fault in {"cut", "lost", "late"} and self._rng.random() < 0.5:
            answered_s = POST_DEADLINE_S
        replies: list[Reply] = []

        def arrive() -> None:
            if fault == "unreachable":
                replies.append(UNREACHABLE)
            elif (judged := self._limits.request(account_id, token)) != "fair":
                replies.append(REFUSALS[judged])
            else:
                replies.append(self._taken(fault, token, held))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(classify_post(replies[0], NOT_APPLIED)))

    def _taken(self, fault: str, token: str, held: Sequence[Held]) -> Reply:
        if fault in {"unauthorised", "token_unread"}:
            self._limits.revoke(token)
        if fault in {"fair", "cut", "untracked", "late", "refused"} and (reply := self._refused(fault, held)):
            return reply
        batch_id = ""
        if fault in {"cut", "answer_cut", "untracked", "fair"} or (fault in DOUBTFUL and self._rng.random() < 0.5):
            batch_id = self._apply(held)
        elif fault == "late":
            self._time.call_in(self._rng.uniform(0, 4.0), lambda: self._apply(held))
        return self._answered(fault, batch_id, token)

    def _answered(self, fault: str, batch_id: str, token: str) -> Reply:
        match fault:
            case "fair":
                body = orjson.dumps({"batch_id": batch_id, "message": "accepted"})
                return Answer(200, body, exhausted=self._limits.left(token))
            case "answer_cut":
                return Answer(200, orjson.dumps({"batch_id": batch_id})[:9], flaw="answer_cut")
            case "untracked":
                return self._rng.choice([Answer(200, b""), Answer(202, b"{}")])
            case "request_cut":
                return NoAnswer("reset", Handed.PARTLY)
            case "throttled_until":
                return self._later()
            case "unavailable":
                return Answer(503, b"", retry_after=self._rng.choice([None, "2", "45"]))
        return REFUSALS.get(fault, NO_ANSWER)

    def _refused(self, fault: str, held: Sequence[Held]) -> Answer | None:
        """The refusal of a batch for its content: something in it is bad, or just now everything is."""
        bad = [index for index, one in enumerate(held) if self._audit.is_bad(one, self.weather.bad)]
        start_s, end_s = self.weather.drift_s
        drift = start_s <= self._time.now_s < end_s
        if not (bad or drift or fault == "refused"):
            return None
        self._audit.seen["post drift" if drift else "post bad record" if bad else "post refused at random"] += 1
        self._audit.refused(held)
        index = bad[0] if bad else 0
        field, message = self._rng.choice(
            [("receiver", "is invalid"), (f"call_records[{index}].receiver", ""), ("", f"record {index + 1}"), ("", "")]
        )
        status = self._rng.choice([400, 413, 422])
        return Answer(status, orjson.dumps({"status": "error", "field": field, "message": message}))

    def _apply(self, held: Sequence[Held]) -> str:
        self._named += 1
        batch_id = f"batch-{self._named}"
        states = self._rng.choices([RecordState.DELIVERED, RecordState.FAILED], [3, 1], k=len(held))
        self._audit.applied(held, states, batch_id)
        self.batches[batch_id] = [
            Record(
                one,
                f"{batch_id}/{index}",
                state,
                self._time.now_us + round(self._rng.choice([1.0, 5.0, 40.0, 400.0]) * 1e6),
            )
            for index, (one, state) in enumerate(zip(held, states, strict=True))
        ]
        return batch_id

    # -- statuses

    def check(self, account_id: str, token: str, batch_id: str, answer: Callable[[CheckVerdict], None]) -> None:
        fault = self._fault("check", account_id, self.weather.checks)
        there_s, answered_s = self._latencies()
        verdicts: list[CheckVerdict] = []

        def arrive() -> None:
            if fault == "unreachable":
                verdicts.append(classify_check(UNREACHABLE, batch_id))
            elif (judged := self._limits.request(account_id, token)) != "fair":
                verdicts.append(classify_check(REFUSALS[judged], batch_id))
            else:
                verdicts.append(self._told(fault, token, batch_id))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(verdicts[0]))

    def _told(self, fault: str, token: str, batch_id: str) -> CheckVerdict:
        if fault in {"unauthorised", "token_unread"}:
            self._limits.revoke(token)
        if fault in REFUSALS:
            reply = self._later() if fault == "throttled" and self._rng.random() < 0.5 else REFUSALS[fault]
            return classify_check(reply, batch_id)
        records = [self._status(record) for record in self.batches[batch_id]]
        self._rng.shuffle(records)
        exhausted = self._limits.left(token)
        for_s = exhausted.for_s(0.0) if exhausted else None
        return Statuses(tuple(records[1:] if fault == "incomplete" else records), for_s)

    def _status(self, record: Record) -> RecordStatus:
        row = record.held.row
        state = record.state if record.known_at_us <= self._time.now_us else RecordState.PENDING
        masked = self.weather.masked
        return RecordStatus(
            record.record_id,
            None if masked else row.caller,
            None if masked else row.receiver,
            row.label_id,
            row.label_name,
            row.call_reason,
            row.starts_at,
            row.ends_at,
            state,
            state.value,
            None,
        )
