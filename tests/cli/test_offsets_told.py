"""What `callstream offsets` says of a partition whose journal cannot be read."""

import pytest

from streams.cli.offsets import NotDone, _require_journal
from streams.cli.offsets_told import Row, as_json_of
from streams.kafka.positions import Positions
from streams.kafka.standing import Committed, Standing

UNREADABLE = Positions(unreadable="journal[3]: offsets [17, 20) cannot be read")


def row(committed, *, intents):
    return Row(Standing("topic", 3, committed, 0, 100, 100, "A", 6), intents, UNREADABLE)


@pytest.mark.parametrize(
    ("committed", "intents", "state"),
    [
        pytest.param(Committed(40, ours=True, topic_id="A"), False, "blocked", id="parcels"),
        pytest.param(Committed(40), True, "blocked", id="intents that somebody has moved"),
        pytest.param(Committed(40, ours=True, topic_id="A"), True, "ok", id="intents from an offset of our own"),
    ],
)
@pytest.mark.faults("F12")
def test_who_needs_the_journal_is_blocked_and_cannot_be_moved(committed, intents, state):
    shown = as_json_of(row(committed, intents=intents))
    assert shown["state"] == state
    if state == "blocked":
        assert shown["reason"] == "journal_unreadable"
        assert "offsets [17, 20)" in shown["message"]
        assert shown["gap"]["offsets"] == 0
    with pytest.raises(NotDone, match=r"topic\[3\]: .*offsets \[17, 20\)"):
        _require_journal([row(committed, intents=intents)])
