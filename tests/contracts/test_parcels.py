import hypothesis.strategies as st
import orjson
import pytest
from hypothesis import given, settings

from streams.contracts.errors import UnreadableMessage
from streams.contracts.parcel import PARCEL_BYTES_MAX, ROW_COLUMNS, Parcel, Row, decode_parcel, encode_parcels

TEXT = st.text(max_size=30)
ROWS = st.builds(
    Row,
    st.integers(0, 2**60),
    TEXT,
    TEXT,
    TEXT,
    TEXT,
    st.integers(0, 2**60),
    st.integers(0, 2**60),
    st.sampled_from(["high", "normal", "low"]),
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
    st.integers(0, 2**60),
    st.none() | TEXT,
)
GOOD = orjson.loads(encode_parcels(Parcel("account", "t", 0, [Row(1, "i", "911", "922", "label", 5, 6)]))[0])


def encoded(**changes):
    return orjson.dumps({**GOOD, **changes})


@settings(deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=30), bytes_max=st.integers(1, 4000))
def test_a_parcel_is_read_as_it_was_written_however_often_it_was_cut(rows, bytes_max):
    parcel = Parcel("account", "intents", 3, rows)
    values = encode_parcels(parcel, bytes_max)
    read = [decode_parcel(value) for value in values]
    assert [row for part in read for row in part.rows] == rows
    assert all(part._replace(rows=rows) == parcel for part in read)
    assert all(len(value) <= bytes_max or len(part.rows) == 1 for value, part in zip(values, read, strict=True))


@pytest.mark.faults("F74")
def test_a_parcel_is_cut_below_its_limit():
    rows = [Row(n, f"i{n}", "911", "922", "l" * 1000, 5, 6) for n in range(1000)]
    values = encode_parcels(Parcel("account", "intents", 3, rows))
    assert len(values) > 1
    assert all(len(value) <= PARCEL_BYTES_MAX for value in values)
    assert len(values) <= 8, "halves, not crumbs"


@pytest.mark.faults("F85")
def test_columns_of_a_newer_release_are_ignored_and_missing_ones_are_absent():
    (row,) = decode_parcel(encoded(rows=[[*GOOD["rows"][0], "new", {"a": 1}]])).rows
    assert len(row) == ROW_COLUMNS
    assert row == Row(1, "i", "911", "922", "label", 5, 6)
    (row,) = decode_parcel(encoded(rows=[GOOD["rows"][0][:7]])).rows
    assert row == Row(1, "i", "911", "922", "label", 5, 6)


@pytest.mark.faults("F85")
def test_fields_of_a_newer_release_are_ignored():
    assert decode_parcel(encoded(new={"a": 1})).account_id == "account"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="a tombstone"),
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no kind"),
        pytest.param(encoded(kind="command"), id="another kind"),
        pytest.param(encoded(version=2), id="newer version"),
        pytest.param(encoded(rows=None), id="no rows"),
        pytest.param(encoded(rows=[7]), id="a row that is none"),
        pytest.param(encoded(rows=[["911234", 1]]), id="half a row"),
        pytest.param(encoded(rows=["thirteen char"]), id="a string instead of a row"),
        pytest.param(encoded(rows=[{str(n): n for n in range(13)}]), id="an object instead of a row"),
    ],
)
def test_what_is_not_understood_is_refused_without_quoting_it(value):
    with pytest.raises(UnreadableMessage) as refused:
        decode_parcel(value)
    assert "911234" not in str(refused.value)
