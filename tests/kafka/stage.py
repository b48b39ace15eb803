"""A worker in small: copies every message of one topic to another through the committer, exactly once.

A plain consumer stands in for the transport. Tests use :class:`Stage` in their own process, or run this file as one
that dies or freezes at a chosen step of a transaction:

    python -m tests.kafka.stage BOOTSTRAP GROUP INSTANCE PROTOCOL SOURCE TARGET [kill|stop STEP TRANSACTION]
"""

import asyncio
import faulthandler
import os
import signal
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from streams.kafka import transaction
from streams.kafka.client_config import KafkaOptions, consumer_config
from streams.kafka.committer import CommitLimits, Committer, LeaseLost
from streams.kafka.lease import Lease
from streams.kafka.message import OutMessage

STEPS = ("begin", "produce", "flush", "send_offsets", "before_commit", "commit")


def say(*words):
    """One line for the test that runs this process."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def end(code, reason):
    say("fatal", code, reason)
    os._exit(code)


class Stage:
    """Reads ``source`` in the group of ``options``; copies to ``target`` on ``loop``. ``finished`` at all ends."""

    def __init__(self, options, protocol, source, target, on_fatal, limits=None, observe=None):
        self.committer = Committer(
            options,
            name="route",
            group_metadata=lambda: self.metadata,
            on_expelled=lambda _metadata: None,
            on_fatal=on_fatal,
            limits=limits,
            observe=observe,
        )
        self.metadata = None
        self.leases: dict[int, Lease] = {}
        self.all_leases: list[Lease] = []
        self.lost_units = 0
        self.positions: dict[int, int] = {}
        self.at_end: set[int] = set()
        self.finished = threading.Event()
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._consumer = Consumer(consumer_config(options, protocol))
        self._consumer.subscribe([source], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        self._partitions = len(self._consumer.list_topics(source, timeout=10).topics[source].partitions)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._closing = False

    async def start(self):
        await self.committer.start()
        self._thread.start()

    async def stop(self):
        self._closing = True
        await asyncio.to_thread(self._thread.join)
        await self.committer.stop()

    def _on_assign(self, consumer, partitions):
        say("assigned", *sorted(p.partition for p in partitions))
        known = self._committed(partitions)
        for position in known:
            start = max(0, position.offset)
            lease = Lease(position.topic, position.partition, len(self.all_leases), start, time.monotonic())
            self.leases[position.partition] = lease
            self.all_leases.append(lease)
            self.positions[position.partition] = start
        consumer.incremental_assign([TopicPartition(p.topic, p.partition, max(0, p.offset)) for p in known])
        self.metadata = consumer.consumer_group_metadata()

    def _committed(self, partitions):
        # A question that was asked while the coordinator was away may never be answered: ask again, not longer.
        for _ in range(12):
            try:
                return self._consumer.committed(partitions, timeout=5)
            except KafkaException as error:
                if not error.args[0].retriable() and error.args[0].code() != KafkaError._TIMED_OUT:
                    raise
        raise AssertionError("the group's offsets are not told")

    def _on_revoke(self, consumer, partitions):
        gone = self._take(partitions)
        self.metadata = consumer.consumer_group_metadata()
        drained = asyncio.run_coroutine_threadsafe(self.committer.drain(gone, 10), self._loop).result(20)
        assert drained or any(lease.lost for lease in gone)
        self._give_up(consumer, partitions, gone)

    def _on_lost(self, consumer, partitions):
        say("lost", *sorted(p.partition for p in partitions))
        self._give_up(consumer, partitions, self._take(partitions))

    def _take(self, partitions):
        self.at_end -= {p.partition for p in partitions}
        gone = [self.leases.pop(p.partition) for p in partitions if p.partition in self.leases]
        for lease in gone:
            lease.alive = False
        return gone

    def _give_up(self, consumer, partitions, gone):
        for lease in gone:
            lease.lost = True
        self._loop.call_soon_threadsafe(self.committer.abandon, gone)
        consumer.incremental_unassign(partitions)

    def _poll(self):
        while not self._closing:
            for message in self._consumer.consume(50, 0.02):
                self._take_message(message)
            self.metadata = self._consumer.consumer_group_metadata()
            if len(self.at_end) == self._partitions and self.committer.depth() == (0, 0):
                self.finished.set()
        self._consumer.close()

    def _take_message(self, message):
        lease = self.leases.get(message.partition())
        if message.error() is not None:
            if message.error().code() == KafkaError._PARTITION_EOF and lease is not None:
                self.at_end.add(message.partition())
            return
        if lease is None:
            return
        assert message.offset() >= self.positions[message.partition()], "delivered twice under one lease"
        self.positions[message.partition()] = message.offset() + 1
        value = f"{message.partition()}:{message.offset()}".encode()
        copy = [OutMessage(self._target, value, message.key())]
        self._loop.call_soon_threadsafe(self._submit, lease, copy, message.offset() + 1)

    def _submit(self, lease, messages, next_offset):
        self.committer.submit(lease, messages, next_offset).add_done_callback(self._done)

    def _done(self, future):
        if isinstance(future.exception(), LeaseLost):
            self.lost_units += 1


def interrupted_at(how, step, nth):
    """A producer class whose ``nth`` transaction is interrupted after ``step``."""
    number = signal.SIGKILL if how == "kill" else signal.SIGSTOP

    class Interrupted(Producer):
        transactions = 0
        produced = 0
        interrupted = False

        def _reached(self, now):
            if now == step and self.transactions == nth and not self.interrupted:
                self.interrupted = True
                say("at", step)
                os.kill(os.getpid(), number)

        def begin_transaction(self, *given):
            super().begin_transaction(*given)
            self.transactions += 1
            self.produced = 0
            self._reached("begin")

        def produce(self, *given, **named):
            super().produce(*given, **named)
            self.produced += 1
            if self.produced == 2:
                self._reached("produce")

        def flush(self, *given):
            left = super().flush(*given)
            self._reached("flush")
            return left

        def send_offsets_to_transaction(self, *given):
            super().send_offsets_to_transaction(*given)
            self._reached("send_offsets")

        def commit_transaction(self, *given):
            self._reached("before_commit")
            super().commit_transaction(*given)
            self._reached("commit")

    return Interrupted


async def main(bootstrap, group, instance, protocol, source, target, *interruption):
    if interruption:
        how, step, nth = interruption
        setattr(transaction, "Producer", interrupted_at(how, step, int(nth)))  # noqa: B010 - not exported
    options = KafkaOptions(bootstrap, group, instance, session_timeout_s=2)
    # Small transactions, so that there are many to be interrupted.
    stage = Stage(options, protocol, source, target, end, CommitLimits(messages_max=100))
    await stage.start()
    say("started")
    await asyncio.to_thread(stage.finished.wait)
    await stage.stop()
    say("done")


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    asyncio.run(main(*sys.argv[1:]))
