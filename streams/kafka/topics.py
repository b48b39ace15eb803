"""The topics: what each must be like, created where missing, compared where there.

Decided here: partitions, retention and compaction of every topic, because promises stand on them: a parcel must outlive
the longest horizon, the journal must be compacted and never cut, and journal and parcels must have the same partitions.
What must stay true: an existing topic is never changed. Who made it may have reasons; a difference is reported with the
command that mends it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource  # re-exported by admin without saying so to type checkers
from confluent_kafka.cimpl import NewTopic

from streams.contracts.exits import ExitCode, OperatorError

Rule = Literal["equal", "at_least", "at_most"]

_TIMEOUT_S: Final = 15.0
_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class Wanted:
    """One property of a topic: what it is created with, and which values are as good."""

    value: str
    rule: Rule = "equal"

    def accepts(self, found: str | None) -> bool:
        """Whether a topic with this value keeps our promises. ``-1`` is Kafka's "without limit"."""
        if found is None or self.rule == "equal":
            return found == self.value
        if float(found) == -1:
            return self.rule == "at_least"
        if self.rule == "at_least":
            return float(found) >= float(self.value)
        return float(found) <= float(self.value)

    def __str__(self) -> str:
        return {"equal": "", "at_least": "at least ", "at_most": "at most "}[self.rule] + self.value


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic must be like. With ``partitions_fixed`` its number of partitions is a promise, too."""

    name: str
    partitions: int
    partitions_fixed: bool
    config: Mapping[str, Wanted]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be, and what to do about it."""

    topic: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.problem}; {self.remedy}"


class TopicsWrong(OperatorError):
    """The topics are not as a worker needs them; says what to do about each."""

    exit_code = ExitCode.PRECONDITION

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))


# A dead letter carries up to 900,000 bytes of the original, and its headers.
_MESSAGE_BYTES: Final = Wanted("1048588", "at_least")
# Compaction would forget all but the last message of a key.
_KEPT: Final = MappingProxyType({"cleanup.policy": Wanted("delete"), "max.message.bytes": _MESSAGE_BYTES})
_PARCELS: Final = MappingProxyType(
    {
        **_KEPT,
        # The horizon of an intent (48 h), the longest window after it (24 h), and a day to notice and mend.
        "retention.ms": Wanted(str(96 * _HOUR_MS), "at_least"),
        "retention.bytes": Wanted("-1"),
    }
)
_JOURNAL: Final = MappingProxyType(
    {
        "cleanup.policy": Wanted("compact"),
        "max.message.bytes": _MESSAGE_BYTES,
        # Small segments that are closed soon: only closed ones are compacted, and a take-over reads what is left.
        "segment.bytes": Wanted(str(64 * 1024 * 1024), "at_most"),
        "segment.ms": Wanted(str(10 * _MINUTE_MS), "at_most"),
        "min.cleanable.dirty.ratio": Wanted("0.1", "at_most"),
        "max.compaction.lag.ms": Wanted(str(30 * _MINUTE_MS), "at_most"),
        # A reader that has seen an entry must see its tombstone, too.
        "delete.retention.ms": Wanted(str(_DAY_MS), "at_least"),
    }
)
_REQUESTS: Final = MappingProxyType({**_KEPT, "retention.ms": Wanted(str(7 * _DAY_MS), "at_least")})


def topic_specs(
    *, intents: str, outcomes: str, dead_letters: str, parcels: str, journal: str, requests: str, partitions: int
) -> tuple[TopicSpec, ...]:
    """All topics by their names. ``partitions`` is a promise for parcels and journal, and a proposal for the others."""
    return (
        TopicSpec(intents, partitions, partitions_fixed=False, config=_KEPT),
        TopicSpec(outcomes, partitions, partitions_fixed=False, config=_KEPT),
        TopicSpec(dead_letters, partitions, partitions_fixed=False, config=_KEPT),
        TopicSpec(parcels, partitions, partitions_fixed=True, config=_PARCELS),
        TopicSpec(journal, partitions, partitions_fixed=True, config=_JOURNAL),
        TopicSpec(requests, partitions, partitions_fixed=False, config=_REQUESTS),
    )


def apply(admin: AdminClient, specs: Sequence[TopicSpec], replication_factor: int = -1) -> list[str]:
    """Create the topics that are missing, and wait until they can be used. Those that exist stay as they are.

    ``replication_factor`` -1 is the brokers' default. Returns the names of those created.

    Raises:
        KafkaException: Kafka refuses, or does not answer.
    """
    there = _partitions(admin)
    missing = [spec for spec in specs if spec.name not in there]
    if not missing:
        return []
    topics = [
        NewTopic(
            spec.name,
            spec.partitions,
            replication_factor,
            config={name: wanted.value for name, wanted in spec.config.items()},
        )
        for spec in missing
    ]
    created = []
    for name, future in admin.create_topics(topics, operation_timeout=_TIMEOUT_S).items():
        try:
            future.result()
            created.append(name)
        except KafkaException as raised:
            # Somebody else was faster: then it exists, which is all that was asked for.
            if raised.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_for(admin, missing)
    return created


def check(admin: AdminClient, specs: Sequence[TopicSpec]) -> list[Problem]:
    """Compare the topics with what they must be like; an empty list is good news.

    Raises:
        KafkaException: Kafka refuses, or does not answer.
    """
    there = _partitions(admin)
    configs = _configs(admin, [spec.name for spec in specs if spec.name in there])
    problems: list[Problem] = []
    for spec in specs:
        if spec.name in there:
            problems += _differences(spec, there[spec.name], configs[spec.name])
        else:
            problems.append(_missing(spec))
    return problems


def require(admin: AdminClient, specs: Sequence[TopicSpec]) -> None:
    """What a worker insists on before it starts: every topic is there, those of fixed size with their partitions.

    Configurations are left to :func:`check`: reading them takes a right that a worker need not have.

    Raises:
        TopicsWrong: A topic is missing or has another number of partitions.
        KafkaException: Kafka refuses, or does not answer.
    """
    there = _partitions(admin)
    problems: list[Problem] = []
    for spec in specs:
        problems += _size(spec, there[spec.name]) if spec.name in there else [_missing(spec)]
    if problems:
        raise TopicsWrong(problems)


def _missing(spec: TopicSpec) -> Problem:
    return Problem(spec.name, "does not exist", "run `callstream topics apply`")


def _size(spec: TopicSpec, partitions: int) -> list[Problem]:
    if not spec.partitions_fixed or partitions == spec.partitions:
        return []
    problem = f"has {partitions} partitions, kafka.partitions is {spec.partitions}"
    remedy = (
        f"set kafka.partitions to {partitions}; or, for another number, drain the workers, name new topics for "
        "parcels and journal, and run `callstream topics apply`"
    )
    return [Problem(spec.name, problem, remedy)]


def _differences(spec: TopicSpec, partitions: int, config: Mapping[str, str]) -> list[Problem]:
    problems = _size(spec, partitions)
    for name, wanted in spec.config.items():
        found = config.get(name)
        if not wanted.accepts(found):
            remedy = (
                f"run `kafka-configs.sh --bootstrap-server HOST:PORT --alter --entity-type topics "
                f"--entity-name {spec.name} --add-config {name}={wanted.value}`"
            )
            problems.append(Problem(spec.name, f"{name} is {found}, needed is {wanted}", remedy))
    return problems


def _partitions(admin: AdminClient) -> dict[str, int]:
    # All topics at once: asking for one by its name would create it where brokers may create topics by themselves.
    found = admin.list_topics(timeout=_TIMEOUT_S).topics
    return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    described = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
    return {
        resource.name: {entry.name: entry.value for entry in future.result().values()}
        for resource, future in described.items()
    }


def _wait_for(admin: AdminClient, specs: Sequence[TopicSpec]) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    names = {spec.name for spec in specs}
    while True:
        topics = admin.list_topics(timeout=_TIMEOUT_S).topics
        ready = {
            name
            for name in names & topics.keys()
            if topics[name].partitions and all(part.leader >= 0 for part in topics[name].partitions.values())
        }
        if ready == names:
            return
        if time.monotonic() > deadline:
            late = ", ".join(sorted(names - ready))
            raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, f"created, but without leaders: {late}"))
        time.sleep(0.1)  # a command waits here, not the event loop
