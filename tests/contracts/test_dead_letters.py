import hashlib

import pytest

from streams.contracts.dead_letter import HEADERS_BYTES_MAX, VALUE_BYTES_MAX, dead_letter
from streams.contracts.outcome import Reason, Source

OURS = {
    "__connect.errors.topic": b"calls",
    "__connect.errors.partition": b"3",
    "__connect.errors.offset": b"17",
    "__connect.errors.stage": b"route",
    "__connect.errors.class.name": b"callstream",
    "__connect.errors.exception.message": b"ends_at is missing",
    "callstream.reason": b"missing_field",
    "callstream.attempt": b"1",
    "callstream.first.failed.at": b"1700000000000",
}


def letter(value=b"{}", key=b"key", headers=()):
    return dead_letter(
        source=Source("calls", 3, 17),
        stage="route",
        reason=Reason("missing_field", "ends_at is missing"),
        failed_at_ms=1_700_000_000_000,
        key=key,
        value=value,
        headers=headers,
    )


def message_bytes(made):
    return (
        len(made.key or b"")
        + len(made.value or b"")
        + sum(len(name.encode()) + len(content or b"") for name, content in made.headers)
    )


@pytest.mark.parametrize("value", [b"{}", b"", None, b"\xff\x00", b"x" * (VALUE_BYTES_MAX - 3)])
@pytest.mark.parametrize("key", [b"key", b"", None])
def test_key_and_value_are_the_original_ones(value, key):
    made = letter(value, key)
    assert (made.key, made.value) == (key, value)
    headers = dict(made.headers)
    assert headers["callstream.sha256"] == hashlib.sha256(value or b"").hexdigest().encode()
    assert headers["callstream.length"] == str(len(value or b"")).encode()


def test_coordinates_and_reason_stand_in_the_headers():
    assert OURS.items() <= dict(letter().headers).items()


def test_original_headers_come_first_and_a_spoofed_one_does_not_pass_for_ours():
    spoofed = [("callstream.reason", b"fine"), ("trace", None), ("__connect.errors.topic", b"elsewhere")]
    made = letter(headers=spoofed)
    assert list(made.headers[:3]) == spoofed
    assert OURS.items() <= dict(made.headers).items(), "the last of a name is the true one"


@pytest.mark.faults("F33")
def test_what_is_too_long_is_kept_as_prefix_digest_and_length():
    value = bytes(range(256)) * 5000
    made = letter(value, key=None)
    assert made.value == value[:VALUE_BYTES_MAX]
    headers = dict(made.headers)
    assert headers["callstream.length"] == b"%d" % len(value)
    assert headers["callstream.sha256"] == hashlib.sha256(value).hexdigest().encode()


@pytest.mark.parametrize("key_bytes", [100_000, 600_000, VALUE_BYTES_MAX, 1_048_000])
def test_a_long_key_counts_as_part_of_the_value(key_bytes):
    made = letter(b"v" * (1_048_000 - key_bytes), b"k" * key_bytes)
    assert made.key == b"k" * min(key_bytes, VALUE_BYTES_MAX)
    assert message_bytes(made) < VALUE_BYTES_MAX + 1000
    assert dict(made.headers)["callstream.length"] == b"%d" % (1_048_000 - key_bytes)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(f"h{n}", b"x" * 50) for n in range(10_000)], id="many"),
        pytest.param([("h", b"x" * 2_000_000)], id="one that is huge"),
        pytest.param([("ह" * 20_000, b"")], id="a huge name"),
        pytest.param([("", None)] * 1_000_000, id="a million empty ones"),
    ],
)
@pytest.mark.faults("F33")
def test_hostile_headers_do_not_make_it_too_large_to_be_written(headers):
    made = letter(b"x" * 2_000_000, headers=headers)
    assert message_bytes(made) < VALUE_BYTES_MAX + HEADERS_BYTES_MAX + 1000 < 1024 * 1024
    assert len(made.headers) < 5000
    assert OURS.items() <= dict(made.headers).items()
