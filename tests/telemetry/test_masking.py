"""Nothing that could be a phone number or a credential passes; what operators need does."""

import logging
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.telemetry.masking import DIGITS, SECRET, TEXT_MAX, mask_fields, mask_text

NUMBER = "919876543210"

HIDDEN = [
    pytest.param(NUMBER, id="alone"),
    pytest.param(f"+{NUMBER}", id="plus"),
    pytest.param(f'{{"caller":"{NUMBER}"}}', id="JSON"),
    pytest.param(f"caller={NUMBER}&x=1", id="query"),
    pytest.param(f"from {NUMBER}, to", id="sentence"),
    pytest.param(repr(f"\n{NUMBER}".encode()), id="repr of bytes"),
    pytest.param(f"x{NUMBER}y", id="between letters"),
    pytest.param("+91 98765 43210", id="spaced"),
    pytest.param("+91-98765-43210", id="dashed"),
    pytest.param("+1 (415) 555-0123", id="brackets"),
    pytest.param("98765 43210", id="national"),
    pytest.param(NUMBER * 2, id="two joined"),
    pytest.param("९१९८७६५४३२१०", id="Devanagari"),
    pytest.param(f"offset 5 {NUMBER}", id="after an offset"),
    pytest.param(f"v1.{NUMBER}", id="after a point"),
    pytest.param(f"{NUMBER}.5", id="before a point"),
]

KEPT = [
    "91c173bb-28d8-4030-9722-8663ff9589f3",
    "12345678-1234-7123-8123-123456789012",
    "2026-11-05T10:11:12.123456Z",
    "2026-11-05 10:11:12,123",
    "trace 4bf92f3577b34da6a3ce929d0e0e4736",
    "took 0.123456789 s",
    "offset 123456789012 is out of range",
    "fetched at offset 123456789 (leader epoch 12345678)",
    "the log has [123456789, 223456789)",
    "192.168.100.200:9092",
    "500 of 1000000 records",
    "calls.intents.v1/3",
    "tokens: 3, token_ordinal=4",
    "Failed to parse token",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_numbers_are_hidden_in_texts(text):
    masked = mask_text(text)

    assert DIGITS in masked
    assert not re.search(r"\d{6}", masked)


@pytest.mark.parametrize("text", KEPT)
def test_what_operators_need_is_kept(text):
    assert mask_text(text) == text


SECRETS = [
    pytest.param("Authorization: Bearer hunter2.x-y_z", id="header"),
    pytest.param("Illegal header value b'Bearer hunter2\\n'", id="h11"),
    pytest.param('{"api_key": "hunter2", "a": 1}', id="JSON"),
    pytest.param("{'token': 'hunter2'}", id="repr of a mapping"),
    pytest.param("api_key=hunter2&x=1", id="query"),
    pytest.param("sasl.password=hunter2", id="property"),
    pytest.param("key_id: hunter2", id="key id"),
    pytest.param("Authorization=hunter2", id="assigned"),
    pytest.param("access_token='hunter2 hunter2'", id="quoted with a space"),
]


@pytest.mark.parametrize("text", SECRETS)
def test_credentials_are_hidden_in_texts(text):
    masked = mask_text(text)

    assert "hunter2" not in masked
    assert SECRET in masked


@given(st.text(max_size=40), st.from_regex(r"\A[1-9][0-9]{7,14}\Z"), st.text(max_size=40))
def test_a_number_never_passes_whatever_stands_around_it(before, number, after):
    # Words that announce a coordinate, and shapes that are no number, keep their digits.
    if re.search(r"offset|position|watermark|epoch|generation|log end|target|[0-9a-fA-F.\[]", before + after):
        return
    assert number not in mask_text(f"{before}{number}{after}")


def test_fields_are_masked_by_name_and_by_content():
    masked = mask_fields(
        {
            "caller": 919876543210,
            "Authorization": "x",
            "api_key": "x",
            "nested": {"token": "x", "list": [NUMBER, (NUMBER,)]},
            "bytes": NUMBER.encode(),
            "error": ValueError(NUMBER),
            NUMBER: 1,
        }
    )

    assert masked == {
        "caller": DIGITS,
        "Authorization": SECRET,
        "api_key": SECRET,
        "nested": {"token": SECRET, "list": [DIGITS, [DIGITS]]},
        "bytes": f"b'{DIGITS}'",
        "error": f"ValueError('{DIGITS}')",
        DIGITS: 1,
    }


def test_fields_that_operators_need_are_kept():
    fields = {
        "offset": 123456789012,
        "ends_at": 1762345678901,
        "lag_records": 123456789,
        "batch_id": "d76s5-dfg9d-o32442-837467854",
        "topic": "intents-20261105",
        "token": 3,
        "ready": True,
        "reason": None,
        "seconds": 0.123456789,
    }

    assert mask_fields(fields) == fields


def test_a_huge_text_is_cut_before_a_number_and_not_through_it():
    text = "x" * (TEXT_MAX - 6) + NUMBER + "y" * 100

    masked = mask_text(text)

    assert len(masked) < TEXT_MAX + 50
    assert "919876" not in masked


def test_a_thousand_numbers_in_every_place():
    chance = random.Random(7)
    for _ in range(1000):
        number = str(chance.randint(1, 9)) + "".join(chance.choices("0123456789", k=chance.randint(7, 14)))
        fields = {"event": f"x {number}", "note": number, "deep": [{"a": f"+{number}"}], "exception": f"E: {number}\n"}
        assert number not in str(mask_fields(fields))


def test_masking_is_quick_on_hostile_text():
    for text in ("1 " * 8000, "a" * 16000, "f0" * 8000, "+1 (" * 4000, "token: " * 2000, "2026-11-" * 2000):
        logging.getLogger(__name__).debug("%d", len(mask_text(text)))
