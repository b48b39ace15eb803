"""What must be true of every history, checked at every commit and at every request."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.contracts.journal import BatchEntry, BatchState, CursorEntry, Held, JournalKey, Packer, Place, decode_entry
from streams.contracts.outcome import Status
from streams.contracts.parcel import Row
from streams.lane.actions import Outcomes, Write
from streams.lane.verdict import RecordState

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
    was, with its true fate there. A ``patient`` one has all the time in the world.
    """

    number: int
    account_id: str
    place: Place
    row: Row
    patient: bool = False
    next_sequence: int = 0
    final: Status | None = None
    flagged: bool = False
    batch_ref: str | None = None
    doubts: int = 0
    running: int = 0
    applied: dict[str, RecordState] = field(default_factory=dict)


def taken_by(cursor: CursorEntry | None, place: Place) -> bool:
    """Whether a place is taken, by the words of the journal alone."""
    if cursor is None:
        return False
    return place < cursor.low or any(start <= place < end for start, end in cursor.taken)


class Audit:
    """Follows what is committed, and holds every commit and every POST against the promises."""

    def __init__(self, resends_max: int) -> None:
        self.intents: dict[int, Known] = {}
        self.offset = 0
        self.journal: dict[str, bytes] = {}
        self.seen: Counter[str] = Counter()
        self._resends_max = resends_max
        self._accounts: defaultdict[str, list[Known]] = defaultdict(list)
        self._cursors: dict[str, CursorEntry] = {}
        self._batches: dict[str, BatchEntry] = {}
        self._contents: dict[str, list[int]] = {}
        self._first_untaken: dict[str, Place] = {}
        self._predecessors: defaultdict[tuple[str, str, str], list[Known]] = defaultdict(list)
        self._packer = Packer()
        self._open = 0

    def published(self, known: Known) -> None:
        """An intent was appended to the log."""
        self.intents[known.number] = known
        self._open += 1
        self._accounts[known.account_id].append(known)
        self._first_untaken.setdefault(known.account_id, known.place)
        self._predecessors[known.account_id, known.row.caller, known.row.receiver].append(known)

    @property
    def settled(self) -> bool:
        return self._open == 0

    # -- commits

    def committed(self, writes: Sequence[tuple[str, Write]], offset: int) -> None:
        """One transaction became visible: writes by account, and the offset."""
        touched = {account_id for account_id, _ in writes}
        for account_id, write in writes:
            for key, value in write.entries:
                self._entry(account_id, key, value)
            for outcomes in write.outcomes:
                demand(outcomes.held, "an outcome speaks of an intent", outcomes.status)
                for one in outcomes.held:
                    self._outcome(one, outcomes)
        for account_id in touched:
            self._custody(account_id)
        demand(offset >= self.offset, "the offset never goes back", f"{self.offset} to {offset}")
        self.offset = offset
        for account_id, place in self._first_untaken.items():
            demand(offset <= place.offset, "no untaken place lies below the offset", f"{account_id} {place} < {offset}")
        self.seen["commits"] += 1

    def _entry(self, account_id: str, key: str, value: bytes | None) -> None:
        kind, name = JournalKey.parse(key.encode())
        if value is None:
            demand(key in self.journal, "only what is in the journal is forgotten", key)
            del self.journal[key]
            if kind == "batch":
                self._carry(name, self._batches.pop(name), carried=False)
            return
        self.journal[key] = value
        if kind == "intents":
            demand(name not in self._contents, "the content of a batch is written once", name)
            self._contents[name] = [one.row.source_offset for one in self._packer.unpack(value)]
            return
        entry = decode_entry(JournalKey(kind, name), value)
        if isinstance(entry, CursorEntry):
            demand(name == account_id, "a lane writes its own cursor", name)
            self._cursors[name] = entry
        elif isinstance(entry, BatchEntry):
            if name in self._batches:
                self._carry(name, self._batches[name], carried=False)
            self._batches[name] = entry
            self._carry(name, entry, carried=True)

    def _carry(self, ref: str, entry: BatchEntry, *, carried: bool) -> None:
        for index, number in enumerate(self._contents[ref]):
            if index not in entry.settled:
                known = self.intents[number]
                demand(known.batch_ref in {None, ref}, "an intent is in one batch at most", f"{number}: {ref}")
                known.batch_ref = ref if carried else None

    def _outcome(self, one: Held, outcomes: Outcomes) -> None:
        status, sequence = outcomes.status, outcomes.sequence
        known = self.intents[one.row.source_offset]
        said = f"intent {known.number} {status} {sequence}"
        demand(one.place == known.place, "an outcome has the place of its intent", said)
        demand(known.final is None, "one final outcome", f"{said} after {known.final}")
        demand(sequence == known.next_sequence, "sequences have no gap", f"{said}, not {known.next_sequence}")
        known.next_sequence += 1
        known.flagged = outcomes.possible_duplicate
        if status.final:
            known.final = status
            self._open -= 1
            self.seen[status] += 1
        if status in NEVER_AFTER_DOUBT:
            demand(not known.doubts, "what was in doubt is never expired or rejected", said)
            demand(not known.applied, "what was applied is never expired or rejected", said)
        if status is Status.ACCEPTED:
            demand(known.applied, "what is called accepted was applied", said)
        if status in {Status.DELIVERED, Status.FAILED}:
            fate = known.applied.get(outcomes.batch_id or "")
            demand(
                fate is not None and fate.value == status.value,
                "an outcome tells the fate of its own record",
                f"{said}: {fate}",
            )

    def _custody(self, account_id: str) -> None:
        cursor = self._cursors.get(account_id)
        first_untaken = Place(2**62, 0)
        for known in self._accounts[account_id]:
            waiting = not taken_by(cursor, known.place)
            if waiting and known.place < first_untaken:
                first_untaken = known.place
            places = waiting + (known.batch_ref is not None) + (known.final is not None)
            demand(
                places == 1,
                "an intent is in exactly one place",
                f"intent {known.number} at {known.place}: {waiting=} {known.batch_ref=} {known.final=}",
            )
        self._first_untaken[account_id] = first_untaken

    # -- requests

    def posted(self, account_id: str, ref: str, held: Sequence[Held], records_max: int) -> None:
        """A POST leaves the worker."""
        entry = self._batches.get(ref)
        demand(entry is not None and f"intents/{ref}" in self.journal, "a batch is journaled before its POST", ref)
        assert entry is not None
        demand(entry.state is BatchState.OPEN, "a POST has a durable attempt", f"{ref} {entry.state}")
        demand(0 < len(held) <= records_max, "a batch has its bounds", len(held))
        numbers = [one.row.source_offset for one in held]
        wanted = [number for index, number in enumerate(self._contents[ref]) if index not in entry.settled]
        demand(numbers == wanted, "a POST carries what the journal says", ref)
        pairs = {(one.row.caller, one.row.receiver) for one in held}
        demand(len(pairs) == len(held), "two intents of a pair never share a batch", ref)
        for number in numbers:
            self._may_be_posted(self.intents[number], account_id, entry)
        self.seen["posts"] += 1

    def _may_be_posted(self, known: Known, account_id: str, entry: BatchEntry) -> None:
        demand(known.account_id == account_id, "a batch has one account", known.number)
        demand(known.next_sequence == 0, "what has an outcome is not sent again", known.number)
        if known.doubts:
            demand(entry.possible_duplicate, "what may have been applied is flagged before it is sent again", known)
            demand(known.doubts <= self._resends_max, "what is in doubt is sent again so often at most", known)
        for earlier in self._predecessors[known.account_id, known.row.caller, known.row.receiver]:
            if earlier.place < known.place:
                demand(earlier.next_sequence > 0, "intents of a pair do not overtake", f"{earlier} {known}")

    def sent(self, numbers: Iterable[int]) -> None:
        """A POST of these intents is on its way: from now on it may be applied."""
        for number in numbers:
            known = self.intents[number]
            demand(not known.running, "an intent is in one request at a time", known)
            known.running += 1
            known.doubts += 1

    def done(self, numbers: Iterable[int]) -> None:
        """A POST of these intents has ended, whether or not anybody was there to hear the answer."""
        for number in numbers:
            self.intents[number].running -= 1

    def refused(self, numbers: Iterable[int]) -> None:
        """A worker was told that a POST was not applied."""
        for number in numbers:
            self.intents[number].doubts -= 1

    def applied(self, fates: Mapping[int, RecordState], batch_id: str) -> None:
        """The API took these records."""
        for number, fate in fates.items():
            known = self.intents[number]
            known.applied[batch_id] = fate
            demand(known.final not in NEVER_AFTER_DOUBT, "what is expired or rejected is not applied", known)
        self.seen["applied"] += 1

    # -- the end

    def ended(self, log_end: int) -> None:
        """Everything has healed, and nothing is left to do."""
        demand(self.offset == log_end, "the offset reaches the end", f"{self.offset} of {log_end}")
        leftovers = [key for key in self.journal if key.startswith(("batch/", "intents/"))]
        demand(not leftovers, "nothing stays in the journal", leftovers)
        for known in self.intents.values():
            demand(known.final is not None, "every intent ends", known)
            demand(not known.patient or known.applied, "what has time is sent", known)
            if len(known.applied) > 1:
                demand(known.flagged, "what was applied twice is flagged", known)
                self.seen["duplicates"] += 1
