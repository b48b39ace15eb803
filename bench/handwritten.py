"""The loop a user would write by hand: consume, validate, buffer by account, POST 500, one outcome a batch, commit.

It has the same model, the same HTTP client and the same batch size as the worker, so that what differs is what the
worker adds: exactly-once commits, a journal, cursors, pace, outcomes that can be trusted. It loses and doubles intents
in every crash; it is here to be compared with, not to be used.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import cast

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.accounts import AccountBook
from streams.app_options import client_options, intake_rules
from streams.intake.reader import ValidIntent, read_intent
from streams.kafka.received import headers_of, offset_of
from streams.lane.verdict import Accepted, Minted
from streams.settings import load_settings
from streams.truecaller.client import TruecallerClient
from streams.truecaller.wire import encode_batch

RECORDS_MAX = 500


async def run(config: str, count: int) -> None:
    """Process ``count`` messages and stop."""
    settings = load_settings(Path(config))
    accounts = AccountBook(settings)
    rules = intake_rules(settings, accounts)
    client = TruecallerClient(client_options(settings))
    kafka, topics = {"bootstrap.servers": settings.kafka.bootstrap_servers}, settings.kafka.topics
    consumer = Consumer(
        kafka | {"group.id": "handwritten", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    producer = Producer(kafka | {"enable.idempotence": True})
    consumer.subscribe([topics.intents])
    tokens: dict[str, str] = {}
    buffers: dict[str, list[ValidIntent]] = {}
    positions: dict[int, int] = {}

    async def submit(account_id: str, intents: list[ValidIntent]) -> None:
        if account_id not in tokens:
            credentials = accounts.credentials(account_id)
            minted = await client.mint(account_id, credentials.key_id, credentials.api_key)
            assert isinstance(minted, Minted), minted
            tokens[account_id] = minted.token
        body = encode_batch(settings.api.submit_version, intents)
        verdict = await client.post(account_id, tokens[account_id], body)
        assert isinstance(verdict, Accepted), verdict
        outcome = {"account_id": account_id, "batch_id": verdict.batch_id, "records": len(intents)}
        producer.produce(topics.outcomes, orjson.dumps(outcome))
        producer.flush()
        offsets = [TopicPartition(topics.intents, partition, offset) for partition, offset in positions.items()]
        consumer.commit(offsets=offsets, asynchronous=False)

    seen = 0
    while seen < count:
        for message in consumer.consume(1000, 0.1):
            seen += 1
            positions[cast("int", message.partition())] = offset_of(message) + 1
            read = read_intent(message.value(), headers_of(message), rules, round(time.time() * 1000))
            if not isinstance(read, ValidIntent):
                producer.produce(topics.dead_letters, message.value())
                continue
            buffer = buffers.setdefault(read.account_id, [])
            buffer.append(read)
            if len(buffer) == RECORDS_MAX:
                await submit(read.account_id, buffers.pop(read.account_id))
    for account_id, rest in buffers.items():
        await submit(account_id, rest)
    consumer.close()
    await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.config, arguments.count))
