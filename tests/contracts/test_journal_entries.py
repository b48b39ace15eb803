"""Journal entries: what was written is read, newer fields are ignored, newer kinds and damage are refused."""

import hypothesis.strategies as st
import orjson
import pytest
import zstandard
from hypothesis import given, settings

from streams.contracts.errors import UnreadableMessage
from streams.contracts.journal import (
    Attempt,
    BatchEntry,
    BatchState,
    CursorEntry,
    HeadEntry,
    Held,
    JournalKey,
    Packer,
    Place,
    StartedEntry,
    Throttle,
    TokenEntry,
    TokensEntry,
    decode_entry,
    encode_entry,
)
from streams.contracts.parcel import Row

SMALL = st.integers(0, 2**40)
INDICES = st.lists(st.integers(0, 499), max_size=5).map(tuple)
NAMES = st.text(max_size=20)
PLACES = st.builds(Place, SMALL, st.integers(0, 999))

BATCHES = st.builds(
    BatchEntry,
    NAMES,
    st.sampled_from(BatchState),
    st.integers(1, 500),
    NAMES,
    st.lists(st.builds(Attempt, SMALL, SMALL, SMALL, INDICES), max_size=3).map(tuple),
    INDICES,
    SMALL,
    st.none() | NAMES,
    st.none() | SMALL,
    st.booleans(),
    SMALL,
    st.lists(NAMES, max_size=2).map(tuple),
)
CURSORS = st.builds(CursorEntry, PLACES, st.lists(st.tuples(PLACES, PLACES), max_size=4).map(tuple), st.booleans())
TOKENS = st.builds(
    TokensEntry,
    st.lists(
        st.builds(TokenEntry, SMALL, SMALL, NAMES, st.lists(st.tuples(SMALL, SMALL), max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    st.lists(SMALL, max_size=10).map(tuple),
    SMALL,
    st.booleans(),
    st.lists(st.builds(Throttle, st.none() | SMALL, st.floats(0.1, 600), SMALL, SMALL), max_size=3).map(tuple),
)
HEADS = st.builds(HeadEntry, st.none() | NAMES, SMALL)
STARTS = st.builds(StartedEntry, st.none() | NAMES, SMALL)
ENTRIES = {"batch": BATCHES, "cursor": CURSORS, "tokens": TOKENS, "head": HEADS, "started": STARTS}

ROWS = st.builds(
    Row,
    SMALL,
    NAMES,
    NAMES,
    NAMES,
    NAMES,
    SMALL,
    SMALL,
    st.sampled_from(["high", "normal", "low"]),
    st.none() | NAMES,
    st.none() | NAMES,
    st.none() | st.dictionaries(NAMES, NAMES, max_size=3),
    SMALL,
    st.none() | NAMES,
)
HELD = st.lists(st.builds(Held, PLACES, NAMES, st.integers(0, 100), ROWS), max_size=5)


def packed(content, header=b"intents 1 zstd\n"):
    return header + zstandard.ZstdCompressor().compress(orjson.dumps(content))


def entries_of(kind):
    return st.tuples(st.just(JournalKey(kind, "name")), ENTRIES[kind])


@settings(deadline=None)
@given(kind_and_entry=st.sampled_from(sorted(ENTRIES)).flatmap(entries_of))
def test_an_entry_is_read_as_it_was_written(kind_and_entry):
    key, entry = kind_and_entry
    value = encode_entry(entry)
    assert decode_entry(key, value) == entry

    newer = {**orjson.loads(value), "field_of_a_newer_release": {"a": [1]}}
    assert decode_entry(key, orjson.dumps(newer)) == entry


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param("batch", b"", id="empty"),
        pytest.param("batch", b"\xff\xfe", id="no text"),
        pytest.param("batch", b"{", id="cut"),
        pytest.param("batch", b"[]", id="a list"),
        pytest.param("batch", b"7", id="a number"),
        pytest.param("batch", b'"batch"', id="a string"),
        pytest.param("cursor", b"{}", id="no kind"),
        pytest.param("cursor", b'{"kind":"cursor"}', id="no version"),
        pytest.param("cursor", b'{"kind":"cursor","version":1}', id="no content"),
        pytest.param("cursor", b'{"kind":"cursor","version":2,"low":[0,0],"taken":[]}', id="newer version"),
        pytest.param("cursor", b'{"kind":"tokens","version":1,"low":[0,0],"taken":[]}', id="another kind than its key"),
        pytest.param("cursor", b'{"kind":"cursor","version":1,"low":[0],"taken":[]}', id="half a place"),
        pytest.param("cursor", b'{"kind":"cursor","version":1,"low":[0,0],"taken":[[0,0]]}', id="half a run"),
        pytest.param("carry", b'{"kind":"carry","version":1}', id="unknown kind"),
        pytest.param("", b"{}", id="no key"),
    ],
)
@pytest.mark.faults("F85")
def test_what_is_not_understood_is_refused(kind, value):
    with pytest.raises(UnreadableMessage):
        decode_entry(JournalKey(kind, "name"), value)


def test_an_unknown_state_is_refused():
    value = encode_entry(BatchEntry("a", BatchState.OPEN, 1, "retry")).replace(b'"open"', b'"parked"')
    with pytest.raises(UnreadableMessage):
        decode_entry(JournalKey("batch", "ref"), value)


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (b"batch/ref-1", JournalKey("batch", "ref-1")),
        (b"carry/account/7", JournalKey("carry", "account/7")),
        (b"head", JournalKey("head")),
        (b"", JournalKey("")),
        (None, JournalKey("")),
    ],
)
def test_keys_are_paths(key, parsed):
    assert JournalKey.parse(key) == parsed
    assert str(parsed).encode() == (key or b"")


@settings(deadline=None)
@given(held=HELD)
def test_packed_intents_are_unpacked(held):
    packer = Packer()
    assert packer.unpack(packer.pack(held)) == held
    assert Packer().unpack(packer.pack(held)) == held


@pytest.mark.faults("F85")
def test_columns_of_a_newer_release_are_ignored_and_missing_ones_are_absent():
    row = [1, "i", "911", "922", "label", 5, 6]
    (longer,) = Packer().unpack(packed([[[7, 1], "t", 2, [*row, "low", None, None, {}, 3, None, "new", 9]]]))
    assert longer == Held(Place(7, 1), "t", 2, Row(1, "i", "911", "922", "label", 5, 6, "low", None, None, {}, 3))
    (shorter,) = Packer().unpack(packed([[[7, 1], "t", 2, row]]))
    assert shorter.row == Row(1, "i", "911", "922", "label", 5, 6)


GOOD = Packer().pack([Held(Place(0, 0), "t", 0, Row(1, "i", "911234", "922345", "label", 5, 6))])


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(GOOD[:-3], id="cut"),
        pytest.param(GOOD[:30] + bytes([GOOD[30] ^ 255]) + GOOD[31:], id="a flipped byte"),
        pytest.param(GOOD.replace(b"intents 1", b"intents 2"), id="newer version"),
        pytest.param(GOOD.replace(b"intents", b"parcels"), id="another kind"),
        pytest.param(GOOD.replace(b"zstd", b"gzip"), id="another codec"),
        pytest.param(b"intents 1 zstd\nplain", id="not compressed"),
        pytest.param(packed([[[0, 0], "t", 0]]), id="no row"),
        pytest.param(packed([[[0, 0], "t", 0, [1, "i"]]]), id="half a row"),
        pytest.param(packed({"a": 1}), id="no list"),
        pytest.param(b"intents 1 zstd\n" + zstandard.ZstdCompressor().compress(b"{"), id="no JSON"),
        pytest.param(
            b"intents 1 zstd\n" + zstandard.ZstdCompressor().compress(b"[" + b" " * 17 * 1024**2 + b"]"), id="a bomb"
        ),
    ],
)
def test_damage_is_refused_without_quoting_it(value):
    with pytest.raises(UnreadableMessage) as refused:
        Packer().unpack(value)
    assert "911234" not in str(refused.value)
    assert len(str(refused.value)) < 100


@pytest.mark.faults("F74")
def test_a_full_batch_takes_about_thirty_kilobytes():
    held = [
        Held(
            Place(n, n),
            "calls.intents.v1",
            3,
            Row(
                n,
                f"crm:2f81-{n:09}",
                "919876543210",
                f"91{n * 7919 % 10**10:010}",
                "6dab73bb-28d8-4030-9722-8663ff9589f3",
                1_752_760_800_000 + n,
                1_752_764_400_000 + n,
            ),
        )
        for n in range(500)
    ]
    assert len(Packer().pack(held)) < 30_000
