"""A Kafka in this process: librdkafka's mock cluster, for the demo and for quick tests.

What is decided here is only where the mock cluster comes from and what it is told. It speaks Kafka's protocol on a
loopback port, so other processes can use it too, in transactions, with the classic group protocol and with KIP-848. It
shows the shape of a Kafka, never its durability. What must stay true for whoever uses it:

- a partition keeps about 5 MB and drops its oldest messages beyond that, read or not, so a writer has to hold back;
- offsets sent in a transaction are dropped, ``read_committed`` is not honoured, transactional ids fence nobody;
- topics exist because they were created here: the CreateTopics request is not understood.
"""

import ctypes
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import cimpl

PARTITIONS_DEFAULT = 16
"""Partitions a topic gets where nothing else is asked for: 16 of 5 MB hold a demo's backlog many times over."""

CLIENT_PROPERTIES = {"check.crcs": "false"}
"""What readers need in ``kafka.extra``: the mock cluster writes transaction markers without their checksum."""

PARTITION_BYTES_MAX = 5 * 1024 * 1024
"""What a partition of the mock cluster keeps (``max_size`` in librdkafka's rdkafka_mock.c)."""

_PRODUCER = 0
_BROKER_ID = 1
_CONF_OK = 0
_LOG_ERRORS = b"3"
# The classic protocol's mock coordinator waits this long for more members before the first assignment (default 3 s).
_JOIN_DELAY_MS = 100


class EmbeddedKafkaError(RuntimeError):
    """The mock cluster could not be found or started; the message says which, and what to do."""


class EmbeddedKafka:
    """A one-broker mock cluster that lives as long as the ``with`` block.

    ``topics`` maps names to numbers of partitions. ``bootstrap_servers`` is ``host:port`` on loopback, reachable from
    other processes of this machine. Leaving the block drops everything the cluster held.

    Raises :class:`EmbeddedKafkaError` on entry if the librdkafka under confluent-kafka has no mock cluster, or if it
    refuses a topic.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self._library: ctypes.CDLL | None = None
        self._handle: int | None = None
        self._cluster: int | None = None
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of the broker. Raises :class:`EmbeddedKafkaError` outside the ``with`` block."""
        if not self._bootstrap_servers:
            raise EmbeddedKafkaError("the embedded Kafka is not running: use it inside its with block")
        return self._bootstrap_servers

    def __enter__(self) -> Self:
        self._library = library = load_library()
        try:
            self._start(library)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, library: ctypes.CDLL) -> None:
        self._handle = _new_handle(library)
        self._cluster = library.rd_kafka_mock_cluster_new(self._handle, 1)
        if not self._cluster:
            raise EmbeddedKafkaError("librdkafka could not start its mock cluster: no free loopback port?")
        # Some requests go to the controller; without one, clients would wait for it.
        library.rd_kafka_mock_set_controller_id(self._cluster, _BROKER_ID)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, _JOIN_DELAY_MS)
        for topic, partitions in self._topics.items():
            # librdkafka itself would take a topic without partitions, which no client can then use.
            if partitions < 1 or library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1):
                raise EmbeddedKafkaError(f"the mock cluster cannot have topic {topic!r} with {partitions} partitions")
        self._bootstrap_servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def _stop(self) -> None:
        self._bootstrap_servers = ""
        if self._library is None:
            return
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        if self._handle:
            self._library.rd_kafka_destroy(self._handle)
        self._library = self._cluster = self._handle = None


def load_library(path: str | None = None) -> ctypes.CDLL:
    """Return the librdkafka that confluent-kafka itself uses, with the signatures of its mock cluster declared.

    ``path`` defaults to confluent-kafka's own extension module. Symbols of a loaded module are looked up in what it is
    linked with, so it does not matter whether the wheel bundles librdkafka, where it puts it, or whether the system's
    is used. Raises :class:`EmbeddedKafkaError` if that library cannot be loaded or has no mock cluster.
    """
    path = path or str(cimpl.__file__)
    try:
        library = ctypes.CDLL(path)
        _declare(library)
    except (OSError, AttributeError) as error:
        msg = (
            f"no mock cluster in the librdkafka of confluent-kafka ({path}): {error}. "
            "Install confluent-kafka from its binary wheel, or give a real Kafka instead of the embedded one"
        )
        raise EmbeddedKafkaError(msg) from error
    return library


# Signatures of rdkafka.h and rdkafka_mock.h. Pointers are kept as c_void_p: ctypes' default of int would cut them.
_SIGNATURES: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (ctypes.c_void_p, ()),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t),
    ),
    "rd_kafka_new": (ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)),
    "rd_kafka_destroy": (None, (ctypes.c_void_p,)),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int)),
    "rd_kafka_mock_cluster_destroy": (None, (ctypes.c_void_p,)),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, (ctypes.c_void_p,)),
    "rd_kafka_mock_topic_create": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int),
    ),
    "rd_kafka_mock_set_controller_id": (None, (ctypes.c_void_p, ctypes.c_int32)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (ctypes.c_void_p, ctypes.c_int32)),
}


def _declare(library: ctypes.CDLL) -> None:
    for name, (result, arguments) in _SIGNATURES.items():
        function: Any = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def _new_handle(library: ctypes.CDLL) -> int:
    error = ctypes.create_string_buffer(512)
    conf = library.rd_kafka_conf_new()
    # Its own client never produces; without this it warns that no bootstrap servers are configured.
    if library.rd_kafka_conf_set(conf, b"log_level", _LOG_ERRORS, error, len(error)) != _CONF_OK:
        raise EmbeddedKafkaError(error.value.decode(errors="replace"))
    handle: int | None = library.rd_kafka_new(_PRODUCER, conf, error, len(error))
    if not handle:
        raise EmbeddedKafkaError(f"librdkafka could not start: {error.value.decode(errors='replace')}")
    return handle
