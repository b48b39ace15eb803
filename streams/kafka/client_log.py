"""What the client library says by itself, as lines of our own log.

Left alone it writes to standard error in a format of its own, one line for every attempt to connect and every client
there is. What must stay true: nothing is written past our logging; an outage costs a line of each kind now and then,
not a flood.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
# The library has few kinds of messages; texts from brokers are in some of them.
KINDS_MAX: Final = 200

_VARIES = re.compile(r"\d+|\[.*?\]|, \d+ identical error\(s\) suppressed")


class Sparing(logging.Filter):
    """Lets a line through unless one of its kind came within the last :data:`EVERY_S`, and says how many did not.

    Two lines are of one kind if they differ in numbers and names of clients, brokers and threads only. Called from the
    threads of all clients; at worst two of them write the same line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write ``record``."""
        text = record.getMessage()
        kind = _VARIES.sub("", text)
        now_s = self._clock()
        said_s, held_back = self._seen.get(kind, (now_s - EVERY_S, 0))
        if now_s - said_s < EVERY_S:
            self._seen[kind] = (said_s, held_back + 1)
            return False
        if len(self._seen) >= KINDS_MAX:
            self._seen.clear()
        self._seen[kind] = (now_s, 0)
        if held_back:
            record.msg, record.args = f"{text} (and {held_back} more like it)", ()
        return True


SPARING: Final = Sparing()

# The ``logger`` of every client's configuration. It is served whenever the client is polled.
CLIENT_LOG: Final = logging.getLogger("streams.kafka.client")
CLIENT_LOG.addFilter(SPARING)
