"""Dial at a rate for a while, and wait where the embedded Kafka would otherwise drop what nobody has read yet."""

import asyncio
import time
from typing import Final

from streams.sandbox.demo.custody import Custody
from streams.sandbox.demo.holdback import intents_allowed
from streams.sandbox.dialer import Dialer
from streams.sandbox.pacer import Pacer
from streams.sandbox.publisher import Publisher

# One turn of the event loop that also serves the fake API: 200 intents take about 1 ms.
_BURST: Final = 200
_TURN_S: Final = 0.02


class Dialing:
    """Send the intents of ``dialer`` for ``accounts`` accounts; ``held_back`` tells whether it is waiting just now."""

    def __init__(self, publisher: Publisher, dialer: Dialer, custody: Custody, *, accounts: int, rate: float) -> None:
        self.publisher = publisher
        self.held_back = False
        self._dialer = dialer
        self._custody = custody
        self._accounts = accounts
        self._rate = rate
        self._bytes = 0

    async def run(self, duration_s: float, stop: asyncio.Event) -> None:
        """Dial for ``duration_s`` or until ``stop``, then wait until all that was sent is delivered or has failed."""
        start_s = time.monotonic()
        until_s = start_s + duration_s
        pacer = Pacer(self._rate, start_s, _BURST)
        while not stop.is_set():
            now_s = min(time.monotonic(), until_s)
            self.held_back = not self._allowed()
            due = 0 if self.held_back else pacer.due(now_s)
            self._send(due)
            self.publisher.wait(0)
            # With a rate, what is still due at the end is sent too, so that a run has rate times duration intents.
            if now_s >= until_s and not (due and self._rate):
                break
            await asyncio.sleep(_TURN_S if self.held_back else min(pacer.wait_s(), _TURN_S))
        self.held_back = False
        await asyncio.to_thread(self.publisher.close)

    def _send(self, count: int) -> None:
        for dialed in self._dialer.take(count, time.time_ns() // 1_000_000):
            self.publisher.send(dialed.value)
            self._bytes += len(dialed.value)

    def _allowed(self) -> int:
        sent = self._dialer.made
        return intents_allowed(
            accounts=self._accounts,
            partitions=self.publisher.partitions,
            intent_bytes=self._bytes / sent if sent else 0.0,
            sent=sent,
            routed=self._custody.routed,
            final=self._custody.finals,
        )
