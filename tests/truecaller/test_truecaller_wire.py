"""What is sent, in the words of each generation, and what never reaches a URL or a log line."""

from typing import NamedTuple
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.truecaller.scrub import TEXT_LENGTH_MAX, field_or_none, scrub, slug_or_none
from streams.truecaller.wire import encode_batch, records_path, status_path, token_path

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"


class Row(NamedTuple):
    caller: str = "918012345678"
    receiver: str = "919876543210"
    label_id: str = "c6d86658-008d-4c08-98fb-2bf2649d59a5"
    label_name: str | None = None
    call_reason: str | None = None
    starts_at: int = 1753246858000
    ends_at: int = 1753250458000


V1 = {
    "caller": "918012345678",
    "receiver": "919876543210",
    "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    "starts_at": 1753246858000,
    "ends_at": 1753250458000,
}
V2 = {
    "caller_number": "918012345678",
    "receiver_number": "919876543210",
    "label_id": "c6d86658-008d-4c08-98fb-2bf2649d59a5",
    "starts_at": 1753246858000,
    "ends_at": 1753250458000,
}
V3 = {**V2, "caller_number": "+918012345678", "receiver_number": "+919876543210"}


@pytest.mark.parametrize(("version", "record"), [("v1", V1), ("v2", V2), ("v3", V3)])
def test_encode_batch_leaves_absent_fields_out(version, record):
    assert orjson.loads(encode_batch(version, [Row(), Row()])) == {"call_records": [record, record]}


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("v1", {"label_name": "Bank", "call_reason": "About your card"}),
        ("v2", {"dynamic_label_name": "Bank", "dynamic_call_reason": "About your card"}),
        ("v3", {"dynamic_label_name": "Bank", "dynamic_call_reason": "About your card"}),
    ],
)
def test_encode_batch_names_the_optional_fields_as_the_generation_does(version, names):
    (record,) = orjson.loads(encode_batch(version, [Row(label_name="Bank", call_reason="About your card")]))[
        "call_records"
    ]
    assert names.items() <= record.items()
    assert len(record) == 7


@given(st.text(max_size=60))
def test_nothing_but_a_canonical_account_enters_a_path(account_id):
    for build in (lambda: records_path("v2", account_id), lambda: token_path(account_id)):
        with pytest.raises(ValueError, match="canonical"):
            build()


@given(st.text(max_size=140))
def test_a_batch_id_stays_in_its_place(batch_id):
    try:
        path = status_path("v2", ACCOUNT, batch_id)
    except ValueError:
        return
    parts = urlsplit(f"https://host{path}")
    assert (parts.path, parts.query) == (f"/v2/clients/{ACCOUNT}/dynamic_call_records", f"batchId={batch_id}")


@pytest.mark.parametrize("batch_id", ["a/b", "a b", "a\r\nX: y", "", "a" * 129, "a&b=c", "a#b", "é"])
def test_an_unsafe_batch_id_is_refused(batch_id):
    with pytest.raises(ValueError, match="batch id"):
        status_path("v1", ACCOUNT, batch_id)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param(
            "ends_at cannot be more than 24 hours after", "ends_at cannot be more than 24 hours after", id="kept"
        ),
        pytest.param("500/50011 - Failed to parse token", "500/50011 - Failed to parse token", id="codes-kept"),
        pytest.param("a\r\n b\tc\x00\u2028d", "a b c d", id="one-line"),
        pytest.param("no 919876543210!", "no …!", id="digits"),
        pytest.param("no +91 98765-43210!", "no …!", id="separated"),
        pytest.param("no (022) 2345 678", "no (…", id="brackets"),
        pytest.param("no ९१९८७६५४३२१०", "no …", id="devanagari"),
        pytest.param("six 123456", "six 123456", id="six-digits"),
        pytest.param("tok " + "aB3_" * 16, "tok …", id="token"),
    ],
)
def test_scrub_hides_numbers_and_secrets(text, clean):
    assert scrub(text) == clean


@given(st.text(alphabet=st.sampled_from("0123456789+- ().ab\n९"), max_size=1200))
def test_scrub_never_lets_a_long_number_through(text):
    clean = scrub(text)
    assert len(clean) <= TEXT_LENGTH_MAX
    assert clean.isprintable()
    run = 0
    for character in clean:
        run = run + 1 if character.isdecimal() else 0
        assert run < 7


def test_words_from_outside_are_taken_only_in_shape():
    assert slug_or_none("authorization-error") == "authorization-error"
    assert field_or_none("call_records[3].ends_at") == "call_records[3].ends_at"
    for bad in ("919876543210", "a b", "", None, 7, "x" * 65, "a\n"):
        assert slug_or_none(bad) is None
        assert field_or_none(bad) is None
    assert field_or_none("n919876543210") is None
