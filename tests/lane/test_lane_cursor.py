"""The cursor against a plain set of places, across crashes."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.contracts.journal import CursorEntry, JournalKey, Place, decode_entry, encode_entry
from streams.lane.cursor import Cursor


class CursorMachine(RuleBasedStateMachine):
    """The log is read from a position that is never behind an untaken place; a crash reads it again."""

    @initialize(parcels=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 8)), min_size=1, max_size=8))
    def log(self, parcels):
        self.parcels = []
        offset = 0
        for gap, rows in parcels:
            offset += gap
            self.parcels.append((offset, rows))
        self.taken = set()
        self.journaled: tuple[CursorEntry, set[Place]] = (CursorEntry(Place(0, 0)), set())
        self.restart_at = 0
        self.crash()

    @rule()
    def crash(self):
        entry, taken = self.journaled
        self.cursor = Cursor(entry)
        self.taken = set(taken)
        self.waiting = []
        self.unread = [parcel for parcel in self.parcels if parcel[0] >= self.restart_at]

    @precondition(lambda self: self.unread)
    @rule()
    def read(self):
        offset, rows = self.unread.pop(0)
        indices = self.cursor.read(offset, rows)
        assert indices == [index for index in range(rows) if (offset, index) not in self.taken]
        self.waiting.extend(Place(offset, index) for index in indices)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def take(self, data):
        chosen = data.draw(st.lists(st.sampled_from(self.waiting), min_size=1, unique=True))
        self.cursor.take(chosen)
        self.taken.update(chosen)
        self.waiting = [place for place in self.waiting if place not in set(chosen)]

    @rule(data=st.data())
    def journal(self, data):
        entry = self.entry()
        self.journaled = (entry, set(self.taken))
        # The group's offset may lie anywhere up to the first untaken place, as other accounts hold it back.
        untaken = [offset for offset, rows in self.parcels if any((offset, i) not in self.taken for i in range(rows))]
        first = min(untaken, default=self.parcels[-1][0] + 1)
        self.restart_at = data.draw(st.integers(min(self.restart_at, first), first))

    def entry(self):
        key = JournalKey("cursor", "account")
        entry = decode_entry(key, encode_entry(self.cursor.entry()))
        assert isinstance(entry, CursorEntry)
        return entry

    @invariant()
    def the_entry_says_what_is_taken(self):
        if not hasattr(self, "cursor"):
            return
        entry = self.entry()
        for offset, rows in self.parcels:
            for index in range(rows):
                place = Place(offset, index)
                told = place < entry.low or any(start <= place < end for start, end in entry.taken)
                assert told == (place in self.taken), (place, entry)

    @invariant()
    def runs_are_sorted_and_apart(self):
        if not hasattr(self, "cursor"):
            return
        entry = self.cursor.entry()
        places = [entry.low, *(place for run in entry.taken for place in run)]
        assert places == sorted(places)
        assert all(start < end for start, end in entry.taken)
        assert self.cursor.runs() == len(entry.taken)


CursorMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCursor = CursorMachine.TestCase


def test_a_place_is_taken_once():
    cursor = Cursor()
    cursor.read(0, 2)
    cursor.take([Place(0, 1)])
    with pytest.raises(AssertionError, match="taken once"):
        cursor.take([Place(0, 1)])


def test_a_run_goes_on_across_parcels():
    cursor = Cursor()
    for offset in (3, 4, 6):
        cursor.read(offset, 2)
    cursor.take([Place(3, 1), Place(4, 0), Place(4, 1), Place(6, 0)])

    assert cursor.entry() == CursorEntry(Place(3, 0), ((Place(3, 1), Place(6, 1)),))


def test_an_entry_costs_what_its_runs_cost_not_what_waits():
    cursor = Cursor()
    for offset in range(1000):
        cursor.read(offset, 1000)
    cursor.take([Place(500, 500)])

    assert cursor.entry() == CursorEntry(Place(0, 0), ((Place(500, 500), Place(500, 501)),))
