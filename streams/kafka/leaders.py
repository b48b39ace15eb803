"""Who leads the partitions of a topic, learned before an admin client is asked for offsets of its log.

An admin client that does not know the leaders looks them up within ``list_offsets``, in the caller's thread, and its
own thread works on the same question as soon as metadata arrive: now and then the process dies of it (librdkafka
2.16.1, ``rd_kafka_topic_partition_list_query_leaders_async``; of some hundred bursts of questions of a fresh client one
is a segmentation fault). What must stay true: ``list_offsets`` is called for topics that were learned here, and a topic
is forgotten when a question about it fails, for its leaders may have moved.
"""

import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka.admin import AdminClient

# The client forgets what it knows of a topic after 15 minutes (three times metadata.max.age.ms).
KNOWN_S: Final = 300.0


class Leaders:
    """What an admin client knows of topics. Any thread; two that learn the same topic at once ask twice."""

    def __init__(self, admin: AdminClient, timeout_s: float) -> None:
        self._admin = admin
        self._timeout_s = timeout_s
        self._known_until_s: dict[str, float] = {}

    def learn(self, topics: Iterable[str]) -> None:
        """Ask the cluster about those topics that are not known. Blocks, for up to the timeout for each.

        Raises:
            KafkaException: The cluster does not answer.
        """
        for topic in topics:
            now_s = time.monotonic()
            if self._known_until_s.get(topic, 0.0) <= now_s:
                self._admin.list_topics(topic, self._timeout_s)
                self._known_until_s[topic] = now_s + KNOWN_S

    def forget(self, topics: Iterable[str]) -> None:
        """Something about these topics went wrong."""
        for topic in topics:
            self._known_until_s.pop(topic, None)
