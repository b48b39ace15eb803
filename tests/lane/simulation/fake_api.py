"""An API on virtual time that grants tokens, takes batches, tells statuses, and fails in every way the weather asks.

It counts requests when they arrive and holds them against the documented limits, by its own clock.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.contracts.journal import Held
from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    CheckVerdict,
    Minted,
    NotVisible,
    PostVerdict,
    Reauthenticate,
    RecordState,
    RecordStatus,
    Refuse,
    RetryLater,
    Split,
    Statuses,
    TokenVerdict,
)
from tests.lane.simulation.audit import Audit, demand
from tests.lane.simulation.virtual_time import VirtualTime
from tests.lane.simulation.weather import Weather, pick

POST_DEADLINE_S = 30.0
TOKEN_LIFE_S = 3600.0


@dataclass(slots=True)
class Record:
    """One record of an applied batch, with its true fate."""

    held: Held
    record_id: str
    state: RecordState
    known_at_us: int


class FakeApi:
    """``requests_max`` per token and minute, ``mints_max`` per account and half an hour."""

    def __init__(
        self, time: VirtualTime, rng: random.Random, audit: Audit, weather: Weather, requests_max: int, mints_max: int
    ) -> None:
        self.weather = weather
        self.batches: dict[str, list[Record]] = {}
        self._time = time
        self._rng = rng
        self._audit = audit
        self._requests_max = requests_max
        self._mints_max = mints_max
        self._tokens: dict[str, int] = {}
        self._requests: defaultdict[str, deque[int]] = defaultdict(deque)
        self._mints: defaultdict[str, deque[int]] = defaultdict(deque)
        self._named = 0

    # -- limits

    def _arrives(self, token: str) -> bool:
        """Count a request of a token; whether the token is good."""
        self._count(self._requests[token], 60, self._requests_max, f"requests of {token}")
        granted_us = self._tokens.get(token)
        return granted_us is not None and self._time.now_us < granted_us + TOKEN_LIFE_S * 1e6

    def _count(self, times: deque[int], window_s: int, count_max: int, what: str) -> None:
        now_us = self._time.now_us
        while times and times[0] <= now_us - window_s * 1_000_000:
            times.popleft()
        times.append(now_us)
        demand(len(times) <= count_max, "no window holds more than its limit", f"{len(times)} {what} in {window_s} s")

    def _latencies(self) -> tuple[float, float]:
        there, back = self._rng.uniform(*self.weather.latency_s), self._rng.uniform(*self.weather.latency_s)
        return there, min(POST_DEADLINE_S, there + back)

    # -- tokens

    def mint(self, account_id: str, answer: Callable[[TokenVerdict], None]) -> None:
        fault = pick(self._rng, self.weather.mints)
        there_s, answered_s = self._latencies()
        verdicts: dict[str, TokenVerdict] = {
            "throttled": RetryLater("429", throttled=True, retry_after_s=self._rng.choice([None, 5.0, 90.0])),
            "forbidden": Refuse("403"),
            "cut": RetryLater("no usable answer"),
        }

        def arrive() -> None:
            self._count(self._mints[account_id], 1800, self._mints_max, f"mints of {account_id}")
            if fault in {"fair", "cut"}:
                self._named += 1
                token = f"token-{self._named}"
                self._tokens[token] = self._time.now_us
                verdicts["fair"] = Minted(token)

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(verdicts[fault]))

    # -- batches

    def post(self, token: str, held: Sequence[Held], answer: Callable[[PostVerdict], None]) -> None:
        fault = pick(self._rng, self.weather.posts)
        there_s, answered_s = self._latencies()
        if fault == "unreachable":
            self._time.call_in(answered_s, lambda: answer(RetryLater("connect")))
            return
        if fault in {"cut", "lost", "late"} and self._rng.random() < 0.5:
            answered_s = POST_DEADLINE_S
        verdicts: list[PostVerdict] = []

        def arrive() -> None:
            if not self._arrives(token):
                verdicts.append(Reauthenticate("401"))
            else:
                verdicts.append(self._taken(fault, token, held))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(verdicts[0]))

    def _taken(self, fault: str, token: str, held: Sequence[Held]) -> PostVerdict:
        retry_after_s = self._rng.choice([None, None, 2.0, 45.0])
        match fault:
            case "fair":
                return Accepted(self._apply(held))
            case "untracked":
                self._apply(held)
                return Accepted(None)
            case "throttled":
                return RetryLater("429", throttled=True, retry_after_s=retry_after_s)
            case "unauthorised":
                self._tokens.pop(token)
                return Reauthenticate("401")
            case "bad_record":
                return Split("400", "receiver", "is invalid")
            case "forbidden":
                return Refuse("403")
        if fault == "cut" or (fault == "broken" and self._rng.random() < 0.5):
            self._apply(held)
        elif fault == "late":
            self._time.call_in(self._rng.uniform(0, 4.0), lambda: self._apply(held))
        return Ambiguous("500" if fault == "broken" else "no usable answer", retry_after_s)

    def _apply(self, held: Sequence[Held]) -> str:
        self._named += 1
        batch_id = f"batch-{self._named}"
        states = self._rng.choices([RecordState.DELIVERED, RecordState.FAILED], [3, 1], k=len(held))
        self._audit.applied({one.row.source_offset: state for one, state in zip(held, states, strict=True)}, batch_id)
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

    def check(self, token: str, batch_id: str, answer: Callable[[CheckVerdict], None]) -> None:
        fault = pick(self._rng, self.weather.checks)
        there_s, answered_s = self._latencies()
        verdicts: list[CheckVerdict] = []

        def arrive() -> None:
            good = self._arrives(token)
            verdicts.append(self._told(fault, token, batch_id) if good else Reauthenticate("401"))

        self._time.call_in(there_s, arrive)
        self._time.call_in(answered_s, lambda: answer(verdicts[0]))

    def _told(self, fault: str, token: str, batch_id: str) -> CheckVerdict:
        match fault:
            case "not_visible":
                return NotVisible("404")
            case "throttled":
                return RetryLater("429", throttled=True, retry_after_s=self._rng.choice([None, 30.0]))
            case "unauthorised":
                self._tokens.pop(token)
                return Reauthenticate("401")
            case "forbidden":
                return Refuse("403")
            case "broken":
                return Ambiguous("500")
        records = [self._status(record) for record in self.batches[batch_id]]
        self._rng.shuffle(records)
        return Statuses(tuple(records[1:] if fault == "incomplete" else records))

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
