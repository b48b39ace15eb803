"""The auditor: fed with artefacts in any order, it says at any time what would not add up if that were all.

A deployment at work is never looked at in one instant: while one topic is read, intents move on in the others. So a
suspicion is no finding yet. Whoever feeds the auditor reads in rounds, in the order that :mod:`streams.kafka.verify`
has: a suspicion about an intent becomes a finding once a further round, begun after the last one had ended, brought
nothing new about it. For each step of an intent is one transaction, so a round that begins after a part of it was seen
reads all of it; what is still missing then is missing.

Memory for ten million intents: 60 MB for the intents (:mod:`streams.audit.intents`), nothing for outcomes, parcels and
dead letters that were read, 16 bytes a request, 12 bytes a batch, the custody of what is on its way
(:mod:`streams.audit.custody`), 16 bytes a suspicion, and 400 MB more with a ledger (:mod:`streams.audit.ledger`).
"""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

from streams.audit import state as s
from streams.audit.answer import answer
from streams.audit.evidence import Evidence
from streams.audit.intents import PartitionBook, key_of
from streams.audit.judge import OF_ABSENCE, Anomaly, anomalies_of
from streams.audit.report import Report
from streams.audit.suspects import Suspects


class Auditor:
    """Judges ``evidence``, which goes on growing between judgements."""

    def __init__(self, evidence: Evidence) -> None:
        self.moving = 0
        self._evidence = evidence
        self._suspects: Suspects | None = None
        self._confirmed = Suspects()

    def judge(self) -> bool:
        """Judge what is known now, at the end of a round; whether that is enough to report.

        It is not while something is suspected that has never been seen in order, or that has changed and is still not
        in order.
        """
        evidence = self._evidence
        evidence.custody.mark(evidence.intents)
        suspects = Suspects()
        for book in evidence.intents.books():
            suspicious = {code for code in set(self._codes(book)) if self._anomalies(code)}
            if suspicious:
                for index, code in enumerate(self._codes(book)):
                    if code in suspicious:
                        suspects.add(key_of(book.partition, book.base + index), code)
        if self._suspects is None:
            self._confirmed, self.moving = Suspects(), len(suspects.keys)
        else:
            self._confirmed, self.moving = suspects.confirmed(self._suspects)
        self._suspects = suspects
        return not self.moving

    def report(self) -> Report:
        """The findings that two judgements agree on, and all figures. Call :meth:`judge` before."""
        return answer(
            self._evidence, self._codes, ((key, code, self._anomalies(code)) for key, code in self._confirmed)
        )

    def _anomalies(self, code: int) -> tuple[Anomaly, ...]:
        names = anomalies_of(code)
        if names and (self._evidence.blind or self._evidence.custody.damaged):
            return tuple(name for name in names if name not in OF_ABSENCE and name is not Anomaly.IN_TWO_PLACES)
        return names

    def _codes(self, book: PartitionBook) -> Iterator[int]:
        """What is known of each intent of a partition, in order, with what holds for all around it."""
        evidence = self._evidence
        always = s.COUNTED if evidence.rules.counted else 0
        committed, dim = evidence.committed.get(book.partition, 0), evidence.horizons.get(book.partition, 0)
        skipped = evidence.custody.skipped(book.partition)
        edges = (committed, dim, *chain.from_iterable(skipped))
        bounds = sorted({0, *(min(max(0, at - book.base), len(book)) for at in edges), len(book)})
        for start, end in pairwise(bounds):
            offset = book.base + start
            extra = always | (s.ROUTED if offset < committed else 0) | (s.DIM if offset < dim else 0)
            extra |= s.SKIPPED if any(first <= offset < last for first, last in skipped) else 0
            states: Iterable[int] = book.states[start:end]
            if evidence.ledger is None:
                yield from (state | extra for state in states) if extra else states
            else:
                bits = memoryview(evidence.ledger.bits)[book.first + start : book.first + end]
                extra |= s.LEDGER
                yield from (state | extra | bit << s.LEDGER_SHIFT for state, bit in zip(states, bits, strict=True))
