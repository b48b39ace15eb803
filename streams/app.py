"""The composition root: settings in, a worker out. The only file that knows everyone."""

import random
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Literal, cast, get_args

import faust
import uuid_utils
from confluent_kafka.admin import AdminClient
from faust.types import StreamT

from streams import __version__
from streams.accounts import AccountBook
from streams.app_options import client_options, encoder, intake_rules, kafka_options, lane_options
from streams.contracts.journal import Packer
from streams.contracts.request import RequestKind
from streams.kafka.client_check import check_properties
from streams.kafka.client_config import KafkaOptions, admin_config
from streams.kafka.committer import Committer
from streams.kafka.lease import Chunk, Lease
from streams.kafka.positions import INTENTS_JOURNAL_PARTITION, read_positions
from streams.kafka.recall import RecallReader
from streams.kafka.replay import one_by_one, replay
from streams.kafka.topics import require, topic_specs
from streams.kafka.transport import FAUST_SETTINGS, TransportOptions, chunk_topic, install
from streams.lane.lane import Lane
from streams.lane.reading import Room
from streams.lane.recovery import JournalFold
from streams.lane.state import Tools
from streams.lane.tokens import Sealer
from streams.settings import REVOKE_BOUND_S, ConfigError, Settings
from streams.settings.sections import KafkaSettings
from streams.telemetry.health import Health
from streams.telemetry.metrics import Metrics, create_registry
from streams.telemetry.server import TelemetryServer
from streams.truecaller.client import Observe, TruecallerClient
from streams.worker.consuming import ConsumingSampler
from streams.worker.hooks import PartitionHooks
from streams.worker.housekeeping import Housekeeping
from streams.worker.intents import IntentsPositions
from streams.worker.invalid import InvalidWatch
from streams.worker.lane_runner import LaneRunner
from streams.worker.observe import LaneObserver
from streams.worker.process import WorkerProcess
from streams.worker.recall import Recaller
from streams.worker.requests import LaneRequests
from streams.worker.route import Router
from streams.worker.sealing import FollowingSealer, NoSealer
from streams.worker.submit import Submitter
from streams.worker.takeover import ReadJournal, TakeOver


def create_app(settings: Settings) -> WorkerProcess:
    """Put a worker together. To be called in the event loop that it will run in.

    Raises:
        ConfigError: The credentials of an account cannot be read.
        PropertiesRefused: The Kafka client refuses a property of ``kafka.extra``.
    """
    accounts = AccountBook(settings)
    if problems := accounts.check():
        raise ConfigError(*problems)
    kafka = kafka_options(settings)
    check_properties(kafka)
    registry = create_registry()
    metrics, health = Metrics(registry, __version__), Health()
    encoding = encoder(settings)
    client = TruecallerClient(client_options(settings), _observe_requests(metrics), metrics.api_clock_ahead_seconds.set)

    def on_fatal(code: int, reason: str) -> None:
        process.end(code, reason)

    def committer(name: Literal["route", "lanes"]) -> Committer:
        return Committer(
            kafka,
            name=name,
            group_metadata=lambda: ownership.group_metadata(),  # noqa: PLW0108 - the transport is installed below
            on_expelled=lambda metadata: ownership.expelled(metadata),  # noqa: PLW0108
            on_fatal=on_fatal,
            observe=metrics.commit_observer(name),
        )

    to_route, to_lanes = committer("route"), committer("lanes")
    requests = LaneRequests(client, accounts, settings.api.submit_version)
    runner = LaneRunner(to_lanes, requests, encoding, LaneObserver(metrics), on_fatal)
    take_over = TakeOver(
        runner,
        _journal_reader(kafka, settings.kafka.topics.journal),
        _lane_factory(settings, accounts),
        Room(settings.worker_intents_max),
    )
    intents = _intents_positions(kafka, settings.kafka, to_route)
    hooks = PartitionHooks(settings.kafka.topics.parcels, intents, take_over, to_route, to_lanes, metrics)
    app = faust.App("callstream", **FAUST_SETTINGS)
    transport = TransportOptions(
        kafka=kafka, hooks=hooks, start_of=hooks.start_of, revoke_timeout_s=REVOKE_BOUND_S, on_fatal=on_fatal
    )
    ownership = install(app, transport)
    recaller = Recaller(runner, _recall_reader(kafka), ownership.block, ownership.log_start)
    invalid = InvalidWatch(settings.intents.invalid_ratio_action, ownership.pause, ownership.resume, metrics)
    rules, partitions = intake_rules(settings, accounts), settings.kafka.partitions
    router = Router(rules, encoding, partitions, to_route, metrics, intents.note, invalid.saw)
    topics = settings.kafka.topics
    _add_agent(app, topics.intents, router.run)
    _add_agent(app, topics.parcels, Submitter(runner).run)
    sampler = ConsumingSampler(topics.intents, topics.parcels, ownership, metrics, health, invalid)
    process = WorkerProcess(
        instance=kafka.instance,
        app=app,
        committers=(to_route, to_lanes),
        runner=runner,
        take_over=take_over,
        housekeeping=Housekeeping(runner, recaller, sampler.sample),
        client=client,
        health=health,
        metrics=metrics,
        telemetry=TelemetryServer(settings.metrics.host, settings.metrics.port, registry, health),
        require_topics=_topics_check(kafka, settings.kafka),
    )
    return process


def _intents_positions(options: KafkaOptions, kafka: KafkaSettings, committer: Committer) -> IntentsPositions:
    journal = kafka.topics.journal
    return IntentsPositions(
        journal, kafka.start_at, lambda: read_positions(options, journal, INTENTS_JOURNAL_PARTITION), committer
    )


def _topics_check(options: KafkaOptions, kafka: KafkaSettings) -> Callable[[], None]:
    specs = topic_specs(**kafka.topics.model_dump(), partitions=kafka.partitions)
    return lambda: require(AdminClient(admin_config(options)), specs)


def _add_agent(app: faust.App, topic: str, run: Callable[[AsyncIterable[Chunk]], Awaitable[None]]) -> None:
    async def agent(stream: StreamT[Chunk]) -> None:
        await run(_chunks(stream))

    agent.__name__ = agent.__qualname__ = run.__qualname__.replace(".", "_")
    app.agent(chunk_topic(app, topic))(agent)


async def _chunks(stream: StreamT[Chunk]) -> AsyncIterator[Chunk]:
    async for event in stream.events():
        yield cast("Chunk", event.value)


def _observe_requests(metrics: Metrics) -> Observe:
    seconds_of = {kind: metrics.request_seconds.labels(kind).observe for kind in get_args(RequestKind)}
    return lambda kind, _status, seconds: seconds_of[kind](seconds)


def _recall_reader(kafka: KafkaOptions) -> Callable[[Lease], RecallReader]:
    return lambda lease: RecallReader(kafka, lease.topic, lease.partition)


def _journal_reader(kafka: KafkaOptions, topic: str) -> ReadJournal:
    async def read_journal(partition: int) -> JournalFold:
        fold = JournalFold()
        await replay(kafka, topic, partition, one_by_one(fold.apply))
        return fold

    return read_journal


def _lane_factory(settings: Settings, accounts: AccountBook) -> Callable[[str], Lane]:
    packer = Packer()
    rng = random.SystemRandom()

    def new_lane(account_id: str) -> Lane:
        account = accounts.get(account_id)
        sealer: Sealer = NoSealer()
        if account is not None:
            sealer = FollowingSealer(account_id, lambda: _api_key(accounts, account_id))
        tools = Tools(rng, lambda: str(uuid_utils.uuid7()), sealer, packer)
        return Lane(lane_options(settings, account_id, account), tools)

    return new_lane


def _api_key(accounts: AccountBook, account_id: str) -> str | None:
    try:
        return accounts.credentials(account_id).api_key
    except ConfigError:
        return None
