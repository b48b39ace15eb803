"""Every client carries its promises, whatever the operator adds, and librdkafka accepts each configuration."""

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from streams.contracts.kafka_properties import PROMISES
from streams.kafka import client_config
from streams.kafka.client_config import KafkaOptions

OPTIONS = KafkaOptions("127.0.0.1:1", "group", "worker-0")

BUILDERS = {
    "classic": lambda options: client_config.consumer_config(options, "classic"),
    "consumer": lambda options: client_config.consumer_config(options, "consumer"),
    "reader": client_config.reader_config,
    "producer": lambda options: client_config.producer_config(options, "group.lanes.worker-0"),
    "admin": client_config.admin_config,
}


def with_extra(**extra):
    return KafkaOptions("127.0.0.1:1", "group", "worker-0", extra={k.replace("_", "."): v for k, v in extra.items()})


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.faults("F12", "F26")
def test_an_operator_changes_no_promise(name):
    hostile = KafkaOptions("127.0.0.1:1", "group", "worker-0", extra=dict.fromkeys(PROMISES, "hostile"))
    assert BUILDERS[name](hostile) == BUILDERS[name](OPTIONS)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_refused_property_that_we_set_has_our_value(name):
    config = BUILDERS[name](OPTIONS)
    tuning = {
        "client.id",
        "retry.backoff.ms",
        "reconnect.backoff.ms",
        "reconnect.backoff.max.ms",
        "log.connection.close",
    }
    tuning |= {
        "socket.keepalive.enable",
        "queued.min.messages",
        "queued.max.messages.kbytes",
        "linger.ms",
        "fetch.wait.max.ms",
    }
    tuning |= {
        "heartbeat.interval.ms",
        "fetch.queue.backoff.ms",
        "compression.type",
        "queue.buffering.max.messages",
        "check.crcs",
        "log_level",
        "logger",
    }
    assert set(config) - tuning <= PROMISES.keys()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("classic", Consumer),
        ("consumer", Consumer),
        ("reader", Consumer),
        ("producer", Producer),
        ("admin", AdminClient),
    ],
)
def test_librdkafka_accepts_it_without_a_warning(name, made, capfd):
    extra = with_extra(security_protocol="plaintext", linger_ms="20", fetch_max_bytes="1000000")
    made(BUILDERS[name](extra))
    assert "CONFWARN" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "has"),
    [("classic", False), ("consumer", False), ("reader", False), ("admin", False), ("producer", True)],
)
def test_an_extra_reaches_the_clients_that_know_it(name, has):
    assert ("linger.ms" in with_extra(linger_ms="20").extra) is True
    assert (BUILDERS[name](with_extra(linger_ms="20")).get("linger.ms") == "20") is has


def test_the_session_is_the_clients_in_the_classic_protocol_only():
    long = KafkaOptions("127.0.0.1:1", "group", "worker-0", session_timeout_s=90)
    classic, modern = BUILDERS["classic"](long), BUILDERS["consumer"](long)
    assert classic["session.timeout.ms"] == 90_000
    assert classic["max.poll.interval.ms"] == 90_000
    assert modern["max.poll.interval.ms"] == 60_000
    assert "session.timeout.ms" not in modern
    assert "heartbeat.interval.ms" not in modern


def test_options_do_not_show_secrets():
    assert "hunter2" not in repr(with_extra(sasl_password="hunter2"))


@pytest.mark.parametrize(("session_s", "heartbeat_ms"), [(45, 3000), (6, 2000), (1, 333)])
def test_a_short_session_has_three_heartbeats(session_s, heartbeat_ms):
    short = KafkaOptions("127.0.0.1:1", "group", "worker-0", session_timeout_s=session_s)
    assert BUILDERS["classic"](short)["heartbeat.interval.ms"] == heartbeat_ms
    assert "heartbeat.interval.ms" not in BUILDERS["consumer"](short)


def test_both_stages_are_shared_evenly_where_the_broker_assigns():
    assert client_config.consumer_config(OPTIONS, "consumer")["group.remote.assignor"] == "range"
    assert "group.remote.assignor" not in client_config.consumer_config(OPTIONS, "classic")
