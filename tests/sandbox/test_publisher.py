"""The publisher beside a Kafka that goes away."""

import threading
import time

from streams.kafka.client_config import KafkaOptions
from streams.kafka.embedded import EmbeddedKafka
from streams.sandbox.publisher import Publisher


def test_one_that_is_given_up_waits_for_nothing_and_counts_what_was_not_delivered():
    with EmbeddedKafka({"intents": 2}) as kafka:
        publisher = Publisher(KafkaOptions(kafka.bootstrap_servers, "group", "publish"), "intents", patience_s=600)
        publisher.send(b"delivered")
        publisher.wait(10)
    publisher.send(b"nobody is there")
    closing = threading.Thread(target=publisher.close, daemon=True)
    began_s = time.monotonic()
    closing.start()
    publisher.give_up()
    closing.join(20)
    assert not closing.is_alive()
    assert time.monotonic() - began_s < 10
    publisher.send(b"too late")
    assert (publisher.delivered, publisher.failed) == (1, {"unfinished": 2})
