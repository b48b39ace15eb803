"""Errors that a broker of the mock cluster answers with, one for each request of a kind, before it is well again.

Names of requests are those of Kafka's protocol, with their API keys; error codes are Kafka's, :data:`DISCONNECT` closes
the connection instead of answering.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaError

from streams.kafka.embedded import EmbeddedKafka

API_KEYS = {
    "Produce": 0,
    "Fetch": 1,
    "FindCoordinator": 10,
    "JoinGroup": 11,
    "Heartbeat": 12,
    "InitProducerId": 22,
    "AddPartitionsToTxn": 24,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
    "ConsumerGroupHeartbeat": 68,
}
DISCONNECT = KafkaError._TRANSPORT
BROKER = 1


def push_errors(kafka: EmbeddedKafka, request: str, codes: Sequence[int]) -> None:
    """Answer the next ``len(codes)`` requests of this kind with these errors."""
    call = _function(kafka, "rd_kafka_mock_push_request_errors_array", ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p)
    errors = (ctypes.c_int * len(codes))(*codes)
    call(kafka._cluster, API_KEYS[request], len(codes), ctypes.cast(errors, ctypes.c_void_p))


def forget_errors(kafka: EmbeddedKafka, request: str) -> None:
    """Be well again for this kind of request."""
    _function(kafka, "rd_kafka_mock_clear_request_errors", ctypes.c_int16)(kafka._cluster, API_KEYS[request])


@contextmanager
def broker_down(kafka: EmbeddedKafka) -> Iterator[None]:
    """The broker closes its connections and takes no new ones."""
    _function(kafka, "rd_kafka_mock_broker_set_down", ctypes.c_int32)(kafka._cluster, BROKER)
    try:
        yield
    finally:
        _function(kafka, "rd_kafka_mock_broker_set_up", ctypes.c_int32)(kafka._cluster, BROKER)


def _function(kafka: EmbeddedKafka, name: str, *arguments: object) -> Any:
    assert kafka._library is not None, "the mock cluster runs"
    function = getattr(kafka._library, name)
    function.argtypes = (ctypes.c_void_p, *arguments)
    return function
