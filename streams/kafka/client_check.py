"""Whether the client library takes our configuration, asked before anything is begun with it.

It checks names, values and the files of TLS when a client is made, and connects only later. What it refuses is a
mistake in ``kafka.extra``: everything else in a configuration is ours.
"""

from confluent_kafka import Consumer, KafkaException, Producer

from streams.contracts.exits import OperatorError
from streams.kafka.client_config import GroupProtocol, KafkaOptions, consumer_config, producer_config, transactional_id


class PropertiesRefused(OperatorError):
    """The client library refuses a property."""

    def __init__(self, refused: KafkaException) -> None:
        super().__init__(f"kafka.extra: {refused.args[0].str()}; mend or remove the property")


def check_properties(options: KafkaOptions) -> None:
    """Make a client of each kind and let go of it. Raises :class:`PropertiesRefused`."""
    quiet = {"log_level": 0}
    protocol: GroupProtocol = "classic" if options.group_protocol == "classic" else "consumer"
    try:
        Producer(producer_config(options, transactional_id(options, "check")) | quiet).close()
        Consumer(consumer_config(options, protocol) | quiet).close()
    except KafkaException as refused:
        raise PropertiesRefused(refused) from None
