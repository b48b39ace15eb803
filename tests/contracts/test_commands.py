"""Commands on the wire: read as written, told from parcels, refused where they cannot be read."""

import orjson
import pytest

from streams.contracts.command import Command, Verb, decode_delivery, encode_command
from streams.contracts.errors import UnreadableMessage
from streams.contracts.parcel import Parcel, Row, decode_parcel, encode_parcels

COMMAND = Command("c-1", "account", Verb.ACCEPT, {"batch_ref": "r", "batch_id": "b"}, 1_700_000_000_000, "ann@desk")
GOOD = orjson.loads(encode_command(COMMAND))


def test_a_command_is_read_as_it_was_written():
    assert decode_delivery(encode_command(COMMAND)) == COMMAND


def test_a_parcel_beside_it_is_still_a_parcel():
    parcel = Parcel("account", "intents", 3, [Row(1, "i", "911", "922", "label", 5, 6)])
    (value,) = encode_parcels(parcel)
    assert decode_delivery(value) == parcel == decode_parcel(value)


def test_what_a_newer_release_adds_is_ignored_and_its_verbs_are_read():
    value = orjson.dumps({**GOOD, "verb": "reconcile", "reason": "new"})
    assert decode_delivery(value) == COMMAND._replace(verb="reconcile")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="tombstone"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[]", id="a list"),
        pytest.param(orjson.dumps({**GOOD, "kind": "order"}), id="unknown kind"),
        pytest.param(orjson.dumps({**GOOD, "version": 2}), id="unknown version"),
        pytest.param(orjson.dumps({**GOOD, "arguments": 5}), id="arguments that are none"),
        pytest.param(orjson.dumps({**GOOD, "issued_at": "soon"}), id="a time that is none"),
        pytest.param(orjson.dumps({k: v for k, v in GOOD.items() if k != "id"}), id="no id"),
    ],
)
def test_what_cannot_be_read_is_refused(value):
    with pytest.raises(UnreadableMessage):
        decode_delivery(value)


def test_a_reader_that_wants_parcels_only_refuses_a_command():
    with pytest.raises(UnreadableMessage, match="command"):
        decode_parcel(encode_command(COMMAND))
