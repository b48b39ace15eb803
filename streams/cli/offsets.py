"""``callstream offsets``: where each partition stands, and deciding where a blocked one goes on."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import orjson
import typer
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from streams.cli.kafka import KafkaView, TopicNotThere, kafka_errors, kafka_view
from streams.cli.offsets_told import Row, as_json_of, print_rows, report
from streams.cli.options import BootstrapOption, ConfigOption, JsonOption
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.client_config import admin_config
from streams.kafka.offsets import Offsets
from streams.kafka.positions import Positions, read_positions
from streams.kafka.replay import JournalUnreadable
from streams.kafka.reset import Reset, entries_of, execute, journal_partition, reset_to, stood_at
from streams.kafka.standing import Standing

offsets_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Show where reading stands; decide where it goes on."
)

# Each has two connections for a moment.
_JOURNALS_AT_ONCE = 4
_QUESTIONS_AT_ONCE = 8
_MEMBERS_S = 10.0
# A worker asks without end; a person wants to hear that there is no answer.
_ANSWER_S = 60.0


class NotDone(OperatorError):
    """What was asked for cannot be done as things stand; the text says why and what to do next."""

    exit_code = ExitCode.PRECONDITION


class NoAnswer(OperatorError):
    """Kafka, or a part of it, is away."""

    exit_code = ExitCode.CRASH


class Misspelt(OperatorError):
    """The command line says nothing sensible."""


@offsets_app.callback()
def _offsets() -> None:
    """Show where reading stands; decide where it goes on."""


@offsets_app.command()
def show(
    *, as_json: JsonOption = False, bootstrap_servers: BootstrapOption = None, config: ConfigOption = None
) -> None:
    """Show for each partition of intents and parcels: the group's offset, the log, the journal's note; change nothing.

    State "new": not read yet. "blocked": a worker does not read it, for the reason that follows. What only the broker
    tells a worker (a damaged batch, a right that is missing) is in the worker's log and not known here.

    Exits with 0 if no partition is blocked, 3 if one is, 1 if Kafka cannot be asked.
    """
    view = kafka_view(config, bootstrap_servers)
    with kafka_errors(view.options):
        rows = asyncio.run(_rows(view))
        members = _members(view)
    if as_json:
        told = {
            "group": view.options.group_id,
            "members": len(members),
            "partitions": [as_json_of(row) for row in rows],
        }
        print(orjson.dumps(told).decode())
    else:
        print_rows(rows)
    if any(row.trouble is not None for row in rows):
        raise typer.Exit(ExitCode.PRECONDITION)


@offsets_app.command()
def reset(
    topics: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPIC[:PARTITION,...]...",
            help="Which partitions; a topic alone means those of it that are blocked.",
            show_default=False,
        ),
    ],
    *,
    to_journal: Annotated[
        bool, typer.Option("--to-journal", help="Where callstream stood, as far as group and journal know.")
    ] = False,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="The first message that the log has.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="Behind the last message.")] = False,
    to_offset: Annotated[int | None, typer.Option("--to-offset", min=0, help="This offset.")] = None,
    run: Annotated[bool, typer.Option("--execute/--dry-run", help="Do it, or only say what it would mean.")] = False,
    accept_loss: Annotated[bool, typer.Option("--accept-loss", help="Some messages will never be read.")] = False,
    accept_duplicates: Annotated[
        bool, typer.Option("--accept-duplicates", help="Some intents will be sent a second time.")
    ] = False,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Decide where the reading of partitions goes on, as `kafka-consumer-groups.sh --reset-offsets` does for others.

    Says what will be lost and what read again. With --execute the group's offset, the journal's note of it and a record
    of the decision are written in one transaction. All workers must have stopped: Kafka changes no offset of a group
    that has members.

    Exits with 0 if done or only asked, 3 if it cannot be done as things stand, 2 if it makes no sense, 1 if Kafka
    cannot be asked.
    """
    target = _target(to_journal=to_journal, to_earliest=to_earliest, to_latest=to_latest, to_offset=to_offset)
    view = kafka_view(config, bootstrap_servers)
    with kafka_errors(view.options):
        chosen = _chosen(view, asyncio.run(_rows(view)), topics)
        _require_journal(chosen)
        resets = [
            (row, reset_to(_offset(row, target), row.standing, row.known, row.trouble, row.lows)) for row in chosen
        ]
        if run:
            _require_consent(resets, accept_loss=accept_loss, accept_duplicates=accept_duplicates)
            _execute(view, resets)
    report(resets, executed=run, as_json=as_json)


# --- Reading ----------------------------------------------------------------------------------------------------------


async def _rows(view: KafkaView) -> list[Row]:
    counts = _partition_counts(view)
    offsets = Offsets(view.options)
    asking, reading = asyncio.Semaphore(_QUESTIONS_AT_ONCE), asyncio.Semaphore(_JOURNALS_AT_ONCE)

    async def standing_of(topic: str, partition: int) -> Standing:
        async with asking:
            return await offsets.standing_of(topic, partition)

    async def positions_of(partition: int) -> Positions:
        async with reading:
            try:
                return await read_positions(view.options, view.topics.journal, partition)
            except JournalUnreadable as error:
                return Positions(unreadable=str(error))

    async def ask() -> list[Row]:
        journal = await asyncio.gather(*(positions_of(each) for each in range(counts[view.topics.journal])))
        rows = []
        for topic in (view.topics.intents, view.topics.parcels):
            standings = await asyncio.gather(*(standing_of(topic, each) for each in range(counts[topic])))
            intents = topic == view.topics.intents
            rows += [Row(each, intents, journal[journal_partition(each, intents=intents)]) for each in standings]
        return rows

    try:
        return await asyncio.wait_for(ask(), _ANSWER_S)
    except TimeoutError:
        where = view.options.bootstrap_servers
        raise NoAnswer(
            f"Kafka at {where} (kafka.bootstrap_servers) has not told all of it within {_ANSWER_S:g} s"
        ) from None
    finally:
        offsets.close()


def _partition_counts(view: KafkaView) -> dict[str, int]:
    there = _admin(view).list_topics(timeout=_MEMBERS_S).topics
    counts = {}
    for topic in (view.topics.intents, view.topics.parcels, view.topics.journal):
        if topic not in there:
            raise TopicNotThere(f"topic {topic} does not exist; `callstream topics apply` creates it")
        counts[topic] = len(there[topic].partitions)
    if counts[view.topics.journal] < counts[view.topics.parcels]:
        raise NotDone("parcels and journal have different numbers of partitions; see `callstream topics check`")
    return counts


def _members(view: KafkaView) -> list[str]:
    """The client ids of the workers that are in the group now."""
    group = view.options.group_id
    # The client must outlive its answers.
    admin = _admin(view)
    try:
        described = admin.describe_consumer_groups([group], request_timeout=_MEMBERS_S)[group].result(_MEMBERS_S)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise
    return sorted({member.client_id for member in described.members})


def _admin(view: KafkaView) -> AdminClient:
    return AdminClient(admin_config(view.options) | {"log_level": 0})


# --- Deciding ---------------------------------------------------------------------------------------------------------


def _target(*, to_journal: bool, to_earliest: bool, to_latest: bool, to_offset: int | None) -> str | int:
    named = {"journal": to_journal, "earliest": to_earliest, "latest": to_latest}
    given: list[str | int] = [name for name, is_given in named.items() if is_given]
    if to_offset is not None:
        given.append(to_offset)
    if len(given) != 1:
        raise Misspelt("say one of --to-journal, --to-earliest, --to-latest and --to-offset N")
    return given[0]


def _chosen(view: KafkaView, rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    names = {"intents": view.topics.intents, "parcels": view.topics.parcels}
    chosen: list[Row] = []
    for each in wanted:
        name, _, partitions = each.partition(":")
        of_topic = [row for row in rows if row.standing.topic == names.get(name, name)]
        if not of_topic:
            raise Misspelt(
                f"{name} is neither {view.topics.intents} (or: intents) nor {view.topics.parcels} (or: parcels)"
            )
        if not partitions:
            blocked = [row for row in of_topic if row.trouble is not None]
            if not blocked:
                raise NotDone(f"no partition of {name} is blocked; name those that you mean ({name}:0,1,…)")
            chosen += blocked
            continue
        by_number = {str(row.standing.partition): row for row in of_topic}
        numbers = partitions.split(",")
        if unknown := [number for number in numbers if number not in by_number]:
            raise Misspelt(f"{name} has no partition {', '.join(unknown)}; it has 0 to {len(by_number) - 1}")
        chosen += [by_number[number] for number in numbers]
    return chosen


def _offset(row: Row, target: str | int) -> int:
    standing = row.standing
    if isinstance(target, int):
        return target
    if target == "journal":
        stood = stood_at(standing, row.known)
        if stood is None:
            raise NotDone(f"{standing}: neither group nor journal know where callstream stood in this topic")
        return stood
    return standing.log_start if target == "earliest" else standing.stable_end


def _require_journal(rows: Sequence[Row]) -> None:
    for row in rows:
        if row.positions.unreadable is not None:
            raise NotDone(f"{row.standing}: the journal does not say what was taken: {row.positions.unreadable}")


def _require_consent(resets: Sequence[tuple[Row, Reset]], *, accept_loss: bool, accept_duplicates: bool) -> None:
    if not accept_loss and any(reset.gaps for _, reset in resets):
        raise NotDone("messages would never be read; look at the dry run, then say --accept-loss")
    if not accept_duplicates and any(reset.repeated and row.intents for row, reset in resets):
        raise NotDone("intents would be sent a second time; look at the dry run, then say --accept-duplicates")


def _execute(view: KafkaView, resets: Sequence[tuple[Row, Reset]]) -> None:
    _require_empty(view)
    at_ms = time.time_ns() // 1_000_000
    work = []
    for row, reset in resets:
        entries = list(entries_of(reset, row.positions, at_ms, intents=row.intents))
        work.append((reset, journal_partition(row.standing, intents=row.intents), entries))
    execute(view.options, view.topics.journal, work)
    if members := _members(view):
        raise NotDone(
            f"done, but {', '.join(members)} came in meanwhile: restart, and look at `callstream offsets show` again"
        )


def _require_empty(view: KafkaView) -> None:
    if members := _members(view):
        raise NotDone(
            f"the group {view.options.group_id} has members ({', '.join(members)}): stop all workers first. One "
            "that has crashed is a member until its session ends (45 s by default)"
        )
