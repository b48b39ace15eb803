"""What must be true of every history, checked at every commit, at every request and at the end.

Each promise has a name, and a broken one is reported by it:

- nothing is lost: "an intent is in exactly one place", "no untaken place lies below the offset", "every intent ends";
- outcomes are true and final: "one final outcome", "sequences have no gap", "what is called accepted was applied",
  "an outcome tells the fate of its own record", "what was applied is never expired or rejected", "nothing expires
  before its time", "what is rejected is a dead letter";
- nothing is invented: "what is applied is what was asked for", "a token serves its own account";
- duplicates are bounded and explained: "what is sent again has a reason", "what is in doubt is sent again so often at
  most", "what may have been applied is flagged before it is sent again", "an intent is in one request at a time",
  "after an ambiguity one POST at a time";
- what is refused is divided: "what is rejected was refused alone", "few are rejected while nothing is accepted",
  "suspects do not mix with others", "a breaker that is not closed lets one intent out at a time";
- an operator decides: "what is held is never sent again by us", "what is unresolved may have been sent", "nothing is
  sent for an account that is paused";
- requests keep their limits: "no window holds more than its limit", "repetitions have a budget",
  "a batch has its bounds", "a lane has its bounds",
  "no request leaves without a commit that has confirmed the lease", "what is over is not sent";
- the order holds: "a batch is journaled before its POST", "intents of a pair do not overtake", "the offset never goes
  back", "nobody commits for a partition that is not theirs";
- it goes on: "all is done some time after everything has healed", "one account holds up no other", "no lane spins".
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streams.contracts.command import Command, Result, Verb
from streams.contracts.journal import BatchEntry, BatchState, CursorEntry, Held, JournalKey, Packer, Place, decode_entry
from streams.contracts.outcome import Status
from streams.contracts.parcel import Row
from streams.lane.actions import Outcomes, Write
from streams.lane.breaker import REJECTED_MAX
from streams.lane.labels import UNKNOWN_LABEL
from streams.lane.options import LaneOptions
from streams.lane.verdict import RecordState
from tests.lane.simulation.repetitions import Repetitions
from tests.lane.simulation.virtual_time import MachineClock, VirtualTime

# A request leaves only if a commit whose offsets were sent less than this ago has confirmed the lease.
FRESH_S = 5.0

NOTHING_TAKEN = CursorEntry(Place(0, 0))

STRANGE = "strange label"
"""A label that no account has."""

NEVER_AFTER_DOUBT = frozenset({Status.EXPIRED, Status.REJECTED, Status.INVALID})


class Violation(AssertionError):
    """A promise was broken. ``rule`` names it."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def demand(condition: object, rule: str, detail: object = "") -> None:
    if not condition:
        raise Violation(rule, str(detail))


@dataclass(slots=True)
class Known:
    """One intent of the log, and what the audit has seen of it.

    ``running`` are POSTs on their way, ``doubts`` those that may have been applied, ``applied`` the batches in which it
    was, with its true fate there. ``explained`` are the doubts that have a reason: an ambiguous answer, or the end of
    the ``sender`` of its last POST; after those that are ``permitted`` an operator had it sent again. A ``patient`` one
    has all the time in the world. ``sent_in`` are the batches in which it was sent, ``part_of`` is what the last of
    them was a part of.
    """

    number: int
    account_id: str
    place: Place
    row: Row
    patient: bool = False
    next_sequence: int = 0
    latest: Status | None = None
    final: Status | None = None
    flagged: bool = False
    batch_ref: str | None = None
    carry: str | None = None
    doubts: int = 0
    running: int = 0
    sender: str = ""
    explained: int = 0
    permitted: int = 0
    applied: dict[str, RecordState] = field(default_factory=dict)
    sent_in: set[str] = field(default_factory=set)
    part_of: str | None = None
    refused_alone: bool = False


def in_runs(runs: Iterable[tuple[Place, Place]], place: Place) -> bool:
    """Whether a place is taken beyond the cursor's low, by the words of the journal alone."""
    return any(start <= place < end for start, end in runs)


class Audit:
    """Follows what is committed, and holds every commit and every POST against the promises."""

    def __init__(self, time: VirtualTime, options: LaneOptions) -> None:
        self.intents: dict[int, Known] = {}
        self.log_end = 0
        self.crashed: set[str] = set()
        self.offset = 0
        self.journal: dict[str, bytes] = {}
        self.seen: Counter[str] = Counter()
        self._time = time
        self._options = options
        self._confirmed_s: dict[str, float] = {}
        self._attempts: set[tuple[str, int]] = set()
        self._in_doubt: set[tuple[str, str]] = set()
        self._paused: dict[tuple[str, str], bool] = {}
        # The intents of each account whose place may still change: not yet final, or final but above the cursor's low.
        self._accounts: defaultdict[str, list[Known]] = defaultdict(list)
        self._cursors: dict[str, CursorEntry] = {}
        self._batches: dict[str, BatchEntry] = {}
        self._contents: dict[str, list[int]] = {}
        self._first_untaken: dict[str, Place] = {}
        self._predecessors: defaultdict[tuple[str, str, str], list[Known]] = defaultdict(list)
        self._packer = Packer()
        self._repetitions = Repetitions()
        self._open = 0
        self._rejected: Counter[str] = Counter()
        self._accepted_parts: set[str] = set()

    def published(self, known: Known) -> None:
        """An intent was appended to the log."""
        self.intents[known.number] = known
        self._open += 1
        self._accounts[known.account_id].append(known)
        first = self._first_untaken.get(known.account_id, known.place)
        self._first_untaken[known.account_id] = min(first, known.place)
        self._predecessors[known.account_id, known.row.caller, known.row.receiver].append(known)

    @property
    def settled(self) -> bool:
        return self._open == 0

    def only(self, account_id: str | None) -> bool:
        """Whether all others than this account are settled."""
        return all(known.final is not None for known in self.intents.values() if known.account_id != account_id)

    # -- commits

    def confirmed(self, worker: str, sent_s: float) -> None:
        """A commit of this worker has happened, whose offsets it sent at this time."""
        self._confirmed_s[worker] = sent_s

    def committed(self, writes: Sequence[tuple[str, Write]], offset: int) -> None:
        """One transaction became visible: writes by account, and the offset."""
        touched = {account_id for account_id, _ in writes}
        for account_id, write in writes:
            for key, value in write.entries:
                self._entry(account_id, key, value)
            dead = {one.place for one, _ in write.dead}
            for outcomes in write.outcomes:
                demand(outcomes.held, "an outcome speaks of an intent", outcomes.status)
                for one in outcomes.held:
                    self._outcome(one, outcomes)
                    rejected = outcomes.status is Status.REJECTED
                    demand(rejected == (one.place in dead), "what is rejected is a dead letter", one)
        for account_id in touched:
            self._custody(account_id)
        demand(self.offset <= offset <= self.log_end, "the offset never goes back", (self.offset, offset))
        self.offset = offset
        for account_id, place in self._first_untaken.items():
            behind = account_id in self._cursors and self._cursors[account_id].behind
            demand(offset <= place.offset or behind, "who is not behind is waited for", (account_id, place, offset))
        self.seen["commits"] += 1

    def _entry(self, account_id: str, key: str, value: bytes | None) -> None:
        kind, name = JournalKey.parse(key.encode())
        if value is None and kind in {"command", "account"}:
            # The answer to a command is a tombstone, and an account may be resumed that was not paused.
            self.journal.pop(key, None)
        elif value is None:
            self._forgotten(key, kind, name)
        else:
            if kind == "carry":
                self._carried(key, value)
            self.journal[key] = value
            self._written(account_id, kind, name, value)

    def _carried(self, key: str, value: bytes) -> None:
        if key in self.journal:
            self._carry(key, self.journal[key], carried=False)
        self._carry(key, value, carried=True)
        self.seen["carried"] += 1

    def _written(self, account_id: str, kind: str, name: str, value: bytes) -> None:
        if kind == "intents":
            demand(name not in self._contents, "the content of a batch is written once", name)
            self._contents[name] = [one.row.source_offset for one in self._packer.unpack(value)]
        if kind in {"intents", "carry"}:
            return
        entry = decode_entry(JournalKey(kind, name), value)
        if isinstance(entry, CursorEntry):
            demand(name == account_id, "a lane writes its own cursor", name)
            before = self._cursors.get(name)
            demand(before is None or before.low <= entry.low, "a cursor never goes back", (before, entry))
            runs_max = self._options.cursor_runs_max + self._options.records_max
            demand(len(entry.taken) <= runs_max, "a cursor has its bounds", entry)
            self._cursors[name] = entry
        elif isinstance(entry, BatchEntry):
            if name in self._batches:
                self._hold(name, self._batches[name], held=False)
            self._batches[name] = entry
            if entry.state is BatchState.OPEN:
                self._attempts.add((name, entry.attempts[-1].number))
            self._hold(name, entry, held=True)

    def _forgotten(self, key: str, kind: str, name: str) -> None:
        demand(key in self.journal, "only what is in the journal is forgotten", key)
        if kind == "batch":
            self._hold(name, self._batches.pop(name), held=False)
        elif kind == "carry":
            self._carry(key, self.journal[key], carried=False)
        del self.journal[key]

    def _carry(self, key: str, value: bytes, *, carried: bool) -> None:
        for one in self._packer.unpack(value):
            known = self.intents[one.row.source_offset]
            demand(known.carry in {None, key}, "an intent is in exactly one place", (known, key))
            known.carry = key if carried else None

    def _hold(self, ref: str, entry: BatchEntry, *, held: bool) -> None:
        for index, number in enumerate(self._contents[ref]):
            if index not in entry.settled:
                known = self.intents[number]
                alone = known.batch_ref in {None, ref} and (known.final is None or not held)
                demand(alone, "an intent is in exactly one place", (known, ref))
                known.batch_ref = ref if held else None

    def _outcome(self, one: Held, outcomes: Outcomes) -> None:
        status, sequence = outcomes.status, outcomes.sequence
        known = self.intents[one.row.source_offset]
        said = (known, status, sequence)
        demand(one.place == known.place, "an outcome has the place of its intent", said)
        demand(known.final is None, "one final outcome", said)
        demand(sequence == known.next_sequence, "sequences have no gap", said)
        known.next_sequence += 1
        known.latest = status
        known.flagged = outcomes.possible_duplicate
        if status.final:
            known.final = status
            self._open -= 1
            self.seen[status] += 1
        if status in NEVER_AFTER_DOUBT:
            demand(not known.doubts, "what was in doubt is never expired or rejected", said)
            demand(not known.applied, "what was applied is never expired or rejected", said)
        if status is Status.UNRESOLVED:
            demand(known.doubts or self.crashed, "what is unresolved may have been sent", said)
            self.seen["unresolved"] += 1
        if status is Status.EXPIRED:
            over_ms = known.row.ends_at - self._options.expiry_margin_ms - MachineClock.OFF_MS_MAX
            demand(self._time.wall_ms >= over_ms, "nothing expires before its time", said)
        if status is Status.ACCEPTED:
            demand(known.applied, "what is called accepted was applied", said)
            self._rejected[known.account_id] = 0
        if status is Status.REJECTED and outcomes.reason == UNKNOWN_LABEL:
            strange = known.row.label_id == STRANGE and self._options.labels == "reject"
            demand(strange, "only what names a strange label is refused for it", said)
            self.seen["unknown label"] += 1
        elif status is Status.REJECTED:
            self._was_rejected(known)
        if status in {Status.DELIVERED, Status.FAILED}:
            fate = known.applied.get(outcomes.batch_id or "")
            true = fate is not None and fate.value == status.value
            demand(true, "an outcome tells the fate of its own record", (said, fate))

    def _was_rejected(self, known: Known) -> None:
        demand(known.refused_alone, "what is rejected was refused alone", known)
        if known.part_of not in self._accepted_parts:
            self._rejected[known.account_id] += 1
            count = self._rejected[known.account_id]
            demand(count <= REJECTED_MAX, "few are rejected while nothing is accepted", (known, count))

    def _custody(self, account_id: str) -> None:
        cursor = self._cursors.get(account_id, NOTHING_TAKEN)
        low, runs = cursor.low, cursor.taken
        first_untaken = Place(2**62, 0)
        moving = []
        for known in self._accounts[account_id]:
            place = known.place
            waiting = place >= low and not (runs and in_runs(runs, place))
            if waiting and place < first_untaken:
                first_untaken = place
            places = waiting + (known.batch_ref is not None) + (known.carry is not None) + (known.final is not None)
            demand(places == 1, "an intent is in exactly one place", (known, waiting))
            if known.final is None or place >= low:
                moving.append(known)
        self._accounts[account_id] = moving
        self._first_untaken[account_id] = first_untaken

    # -- requests

    def leaves(self, worker: str) -> None:
        """A request leaves a worker."""
        since_s = self._time.now_s - self._confirmed_s.get(worker, float("-inf"))
        demand(since_s < FRESH_S, "no request leaves without a commit that has confirmed the lease", since_s)

    def posted(
        self, worker: str, account_id: str, ref: str, entry: BatchEntry, held: Sequence[Held], *, alone: bool
    ) -> None:
        """A POST leaves a worker: the only one of its lane or not. ``entry`` is the batch as its lane knows it."""
        self.leaves(worker)
        within = self._repetitions.posted(worker, account_id, ref, self._time.now_s)
        demand(within, "repetitions have a budget", (worker, account_id))
        demand(not self._paused.get((worker, account_id)), "nothing is sent for an account that is paused", account_id)
        doubtful = (worker, account_id) in self._in_doubt
        demand(alone or not doubtful, "after an ambiguity one POST at a time", account_id)
        attempt = entry.attempts[-1]
        demand((ref, attempt.number) in self._attempts, "a batch is journaled before its POST", (ref, attempt))
        demand(0 < len(held) <= self._options.records_max, "a batch has its bounds", len(held))
        numbers = [one.row.source_offset for one in held]
        for number in numbers:
            known = self.intents[number]
            known.part_of = entry.part_of
            known.sent_in.add(ref)
            mixed = entry.part_of is not None and entry.part_of not in known.sent_in
            demand(not mixed, "suspects do not mix with others", (ref, known))
        wanted = [number for index, number in enumerate(self._contents[ref]) if index not in attempt.left_out]
        demand(numbers == wanted, "a POST carries what the journal says", ref)
        pairs = {(one.row.caller, one.row.receiver) for one in held}
        demand(len(pairs) == len(held), "two intents of a pair never share a batch", ref)
        for number in numbers:
            known = self.intents[number]
            self._may_be_posted(known, worker, account_id, entry)
            # From now on it may be applied.
            known.running += 1
            known.doubts += 1
            known.sender = worker
        self.seen["posts"] += 1

    def _may_be_posted(self, known: Known, worker: str, account_id: str, entry: BatchEntry) -> None:
        demand(known.account_id == account_id, "a batch has one account", known)
        demand(known.latest in {None, Status.UNRESOLVED}, "what has an outcome is not sent again", known)
        demand(not known.running, "an intent is in one request at a time", known)
        over_ms = known.row.ends_at + MachineClock.OFF_MS_MAX
        demand(self._time.wall_ms < over_ms, "what is over is not sent", known)
        if known.doubts:
            demand(entry.possible_duplicate, "what may have been applied is flagged before it is sent again", known)
            if entry.policy == "hold":
                demand(known.doubts <= known.permitted, "what is held is never sent again by us", known)
            resends_max = self._options.ambiguous_resends_max + known.permitted
            demand(known.doubts <= resends_max, "what is in doubt is sent again so often at most", known)
            if known.doubts > known.explained:
                demand(known.sender in self.crashed, "what is sent again has a reason", known)
                known.explained = known.doubts
        pair = self._predecessors[known.account_id, known.row.caller, known.row.receiver]
        for earlier in pair:
            if earlier.place < known.place:
                demand(earlier.next_sequence > 0, "intents of a pair do not overtake", (earlier, known))

    def done(self, held: Iterable[Held]) -> None:
        """A POST of these intents has ended, whether or not anybody was there to hear the answer."""
        for one in held:
            self.intents[one.row.source_offset].running -= 1

    def told(self, worker: str, account_id: str, ref: str, held: Iterable[Held], answer: str) -> None:
        """A worker was told what has become of its POST."""
        self._repetitions.told(worker, account_id, ref, answer)
        if answer == "ambiguous":
            self._in_doubt.add((worker, account_id))
        elif answer == "accepted":
            self._in_doubt.discard((worker, account_id))
            self._accepted_parts.update(self.intents[one.row.source_offset].part_of or "" for one in held)
        for one in held:
            known = self.intents[one.row.source_offset]
            if answer == "ambiguous":
                known.explained += 1
            elif answer != "accepted":
                known.doubts -= 1

    def doubtful(self) -> list[tuple[str, str, set[str]]]:
        """What an operator could decide: accounts, batches, and the ids under which the API has all that is open."""
        found = []
        for ref, entry in self._batches.items():
            if entry.state is BatchState.AMBIGUOUS:
                open_ones = [n for index, n in enumerate(self._contents[ref]) if index not in entry.settled]
                ids = [set(self.intents[number].applied) for number in open_ones]
                found.append((entry.account_id, ref, set.intersection(*ids)))
        return found

    def took_over(self, worker: str) -> None:
        """A worker has read the journal as it is now."""
        self._rejected.clear()
        for key in self.journal:
            kind, account_id = JournalKey.parse(key.encode())
            if kind == "account":
                self._paused[worker, account_id] = True

    def commanded(self, worker: str, command: Command, result: Result) -> None:
        """A worker has read an operator's command."""
        self.seen[f"{command.verb} {result}"] += 1
        if command.verb in {Verb.PAUSE, Verb.RESUME}:
            self._paused[worker, command.account_id] = command.verb == Verb.PAUSE
        elif command.verb == Verb.RESEND and result is Result.APPLIED:
            self._permit(command.arguments["batch_ref"])

    def _permit(self, ref: str) -> None:
        for number in self._contents[ref]:
            known = self.intents[number]
            known.permitted = known.explained = known.doubts

    def is_bad(self, one: Held, share: float) -> bool:
        """Whether the API refuses this intent, where it refuses such a share; it takes what is patient."""
        number = one.row.source_offset
        return random.Random(number).random() < share and not self.intents[number].patient

    def refused(self, held: Sequence[Held]) -> None:
        """The API refuses a batch for its content."""
        if len(held) == 1:
            self.intents[held[0].row.source_offset].refused_alone = True

    def applied(self, held: Sequence[Held], fates: Sequence[RecordState], batch_id: str) -> None:
        """The API took these records."""
        for one, fate in zip(held, fates, strict=True):
            known = self.intents[one.row.source_offset]
            demand(one.row == known.row, "what is applied is what was asked for", known)
            known.applied[batch_id] = fate
            demand(known.final not in NEVER_AFTER_DOUBT, "what is expired or rejected is not applied", known)
        self.seen["applied"] += 1

    # -- the end

    def ended(self, forsaken: str | None) -> None:
        """Everything has healed, but for one account maybe, and nothing is left to do."""
        demand(self.offset == self.log_end, "the offset reaches the end", (self.offset, self.log_end))
        leftovers = [key for key in self.journal if key.startswith(("batch/", "intents/", "carry/"))]
        demand(not leftovers, "nothing stays in the journal", leftovers)
        for known in self.intents.values():
            demand(known.final is not None, "every intent ends", known)
            sent = known.applied or known.account_id == forsaken
            demand(sent or not known.patient, "what has time is sent", known)
            if len(known.applied) > 1:
                demand(known.flagged, "what was applied twice is flagged", known)
                self.seen["duplicates"] += 1
