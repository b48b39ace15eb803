"""Cutting and back-pressure, without a broker."""

import pytest
from confluent_kafka import KafkaError, Message

from streams.kafka.chunks import Cutter, OffsetWentBackError
from streams.kafka.claim import Backlog
from streams.kafka.lease import Chunk, Lease
from streams.kafka.transport_options import Marks


def lease(start: int = 0) -> Lease:
    return Lease("t", 0, number=0, start_offset=start, assigned_at_s=0.0)


def message(offset: int, *, size: int = 10) -> Message:
    return Message(topic="t", partition=0, offset=offset, value=b"x" * size)


def end(offset: int) -> Message:
    return Message(topic="t", partition=0, offset=offset, error=KafkaError(KafkaError._PARTITION_EOF))


def shape(chunks: list[tuple[Chunk, int]]) -> list[tuple[int, int, list[int | None]]]:
    return [(chunk.start, chunk.next, [each.offset() for each in chunk.messages]) for chunk, _ in chunks]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([message(5), message(6)], [(5, 7, [5, 6])], id="consecutive"),
        pytest.param([message(7), message(9)], [(5, 10, [7, 9])], id="gaps-of-compaction-and-markers"),
        pytest.param([message(5), end(9)], [(5, 9, [5])], id="end-behind-markers"),
        pytest.param([end(9)], [(5, 9, [])], id="only-markers"),
        pytest.param([end(5)], [], id="end-where-we-are"),
        pytest.param([message(5), end(5)], [(5, 6, [5])], id="end-that-was-overtaken"),
        pytest.param([end(8), message(8)], [(5, 9, [8])], id="more-behind-the-end"),
        pytest.param([message(n) for n in range(5, 9)], [(5, 8, [5, 6, 7]), (8, 9, [8])], id="too-many"),
        pytest.param([message(5, size=60), message(6, size=60)], [(5, 6, [5]), (6, 7, [6])], id="too-large"),
        pytest.param([message(5, size=500), message(6)], [(5, 6, [5]), (6, 7, [6])], id="one-too-large-by-itself"),
    ],
)
@pytest.mark.faults("F77")
def test_cuts_contiguous_chunks(messages, expected):
    cutter = Cutter(lease(5), records_max=3, bytes_max=100)
    assert shape(cutter.cut(messages)) == expected
    assert cutter.position == (expected[-1][1] if expected else 5)


def test_goes_on_where_the_last_cut_ended():
    cutter = Cutter(lease(0), records_max=10, bytes_max=100)
    assert shape(cutter.cut([message(0), end(3)])) == [(0, 3, [0])]
    assert shape(cutter.cut([message(4)])) == [(3, 5, [4])]


@pytest.mark.parametrize("offsets", [[4], [5, 5], [6, 5]], ids=["before-the-start", "twice", "backwards"])
def test_reading_never_goes_back(offsets):
    cutter = Cutter(lease(5), records_max=10, bytes_max=100)
    with pytest.raises(OffsetWentBackError, match="t/0 delivered offset"):
        cutter.cut([message(offset) for offset in offsets])


def test_the_size_of_a_chunk_is_that_of_its_keys_and_values():
    keyed = Message(topic="t", partition=0, offset=2, key=b"1234", value=b"12345")
    assert [size for _, size in Cutter(lease(), records_max=2, bytes_max=100).cut([message(0), message(1), keyed])] == [
        20,
        9,
    ]


def chunk(start: int, records: int) -> Chunk:
    return Chunk(lease(), [message(start + n) for n in range(records)], start, start + records)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param(["+3", "+1"], [False, True], id="full-at-the-mark"),
        pytest.param(["+4", "+1"], [True, False], id="full-is-said-once"),
        pytest.param(["+3", "+1", "-3", "+3"], [False, True, True, True], id="full-again"),
        pytest.param(["+2", "+2", "-2", "-2"], [False, True, False, True], id="on-at-the-low-mark"),
        pytest.param(["+1", "-1"], [False, False], id="never-full"),
    ],
)
@pytest.mark.parametrize("unit", ["records", "bytes"])
@pytest.mark.faults("F14")
def test_back_pressure_has_a_high_and_a_low_mark(steps, expected, unit):
    of_records = Marks(records_high=4, records_low=1, bytes_high=10**6, bytes_low=10**6)
    of_bytes = Marks(records_high=10**6, records_low=10**6, bytes_high=4_000, bytes_low=1_000)
    backlog = Backlog(of_records if unit == "records" else of_bytes)
    said, waiting, position = [], [], 0
    for step in steps:
        count = int(step[1])
        if step[0] == "+":
            waiting.append(chunk(position, count))
            position += count
            said.append(backlog.add(waiting[-1], 1_000 * count))
        else:
            said.append(backlog.take(waiting.pop(0)))
    assert said == expected
