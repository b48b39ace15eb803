"""The table does what a dict does."""

from hypothesis import given
from hypothesis import strategies as st

from streams.audit.table import Table, hash_of

keys = st.one_of(st.integers(1, 40), st.integers(1, (1 << 64) - 1), st.integers(1, 40).map(lambda n: n << 32))


@given(st.lists(st.tuples(keys, st.integers(0, (1 << 32) - 1)), max_size=300))
def test_it_keeps_the_first_number_of_a_key(pairs):
    table = Table()
    known: dict[int, int] = {}
    for key, value in pairs:
        assert table.add(key, value) == known.setdefault(key, value)
    assert len(table) == len(known)
    assert all(table.get(key) == value for key, value in known.items())


def test_it_grows():
    table = Table()
    for number in range(5_000):
        table.add(hash_of(number + 1), number)
    assert [table.get(hash_of(number + 1)) for number in range(5_000)] == list(range(5_000))
    assert table.get(hash_of("absent")) == -1
