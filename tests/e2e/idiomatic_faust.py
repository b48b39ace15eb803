"""What a Faust user would write: take 500, POST, tell the outcomes; Faust decides what is committed.

It is here to be caught: where one POST fails, the handler raises, the agent is started again, and the batch is gone.
Run as a process of its own with stock Faust and its own transport. What to do comes from the environment:
``CONTROL_BOOTSTRAP``, ``CONTROL_GROUP``, ``CONTROL_INTENTS``, ``CONTROL_OUTCOMES``, ``CONTROL_API``,
``CONTROL_ACCOUNT``, and ``CONTROL_FAILS``, the number of the POST that fails (0: none does).
"""

import itertools
import os
import time

import faust
import httpx
import orjson

from streams.contracts.outcome import OutcomeFacts, Source, Status, encode_intent_outcome
from streams.contracts.parcel import Row
from streams.truecaller.wire import encode_batch, records_path

told = {name.removeprefix("CONTROL_").lower(): text for name, text in os.environ.items() if name.startswith("CONTROL_")}

app = faust.App(
    told["group"],
    broker=f"kafka://{told['bootstrap']}",
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=0.5,
    topic_allow_declare=False,
    topic_disable_leader=True,
    web_enabled=False,
)
intents = app.topic(told["intents"], value_serializer="raw")
outcomes = app.topic(told["outcomes"], value_serializer="raw")
posts = itertools.count(1)


@app.agent(intents)
async def submit(stream):
    async with httpx.AsyncClient(base_url=told["api"]) as client:
        token = await mint(client)
        async for batch in stream.take_events(500, within=1):
            if next(posts) == int(told["fails"]):
                raise ConnectionError("the POST failed")
            rows = [row_of(event.value) for event in batch]
            answer = await client.post(
                records_path("v1", told["account"]),
                content=encode_batch("v1", rows),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            answer.raise_for_status()
            batch_id = answer.json()["message"].rpartition(" ")[2]
            for event in batch:
                await tell(event, batch_id)


async def mint(client):
    body = {"key_id": told["account"], "api_key": told["account"]}
    answer = await client.post(f"/clients/{told['account']}/token", json=body, headers={"X-Public-Access": "Allow"})
    return answer.json()["token"]


def row_of(value):
    intent = orjson.loads(value)
    who = intent["intent_id"], intent["caller"], intent["receiver"]
    return Row(0, *who, intent["label_id"], intent["starts_at"], intent["ends_at"], "normal", intent.get("label_name"))


async def tell(event, batch_id):
    source = Source(told["intents"], event.message.partition, event.message.offset)
    for sequence, status in enumerate((Status.ACCEPTED, Status.UNKNOWN)):
        intent_id = orjson.loads(event.value)["intent_id"]
        facts = OutcomeFacts(intent_id, told["account"], status, source, sequence, batch_id, batch_id)
        await outcomes.send(value=encode_intent_outcome(facts, round(time.time() * 1000)))


if __name__ == "__main__":
    app.main()
