"""What the commands share that talk to Kafka and to nothing else: their settings, and Kafka's errors in words.

Decided here: such a command works with a Kafka address alone. It reads the same settings as the worker, so that a
configuration file serves both, but does not ask for the API that it never calls.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from streams.accounts import AccountBook
from streams.contracts.errors import UnreadableMessage
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka.client_check import PropertiesRefused
from streams.kafka.client_config import KafkaOptions
from streams.kafka.follow import TopicMissing
from streams.kafka.replay import JournalUnreadable, ReplayStalled
from streams.settings import Settings
from streams.settings.load import read_layers, settings_of
from streams.settings.sections import TopicSettings

# The library's own codes begin with an underscore and are public all the same.
_AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - as the next ones
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
    }
)

# What the worker cannot do without and we do not look at.
_NOT_ASKED_FOR: dict[str, Any] = {
    "api": {"base_url": "https://not-called.invalid"},
    "accounts": [{"id": "00000000-0000-4000-8000-000000000000", "key_id": "none", "api_key": "none"}],
}


@dataclass(frozen=True, slots=True)
class KafkaView:
    """Where Kafka is, what the topics are called, and the ids of the accounts in the settings, if these list any.

    ``partitions`` is the number of partitions of parcels and journal. ``mints_per_30_min`` is the limit of each of
    these accounts. ``settings`` has placeholders for what is not asked for.
    """

    options: KafkaOptions
    topics: TopicSettings
    partitions: int
    account_ids: tuple[str, ...]
    mints_per_30_min: Mapping[str, int]
    settings: Settings


def kafka_view(config: Path | None, bootstrap_servers: str | None = None) -> KafkaView:
    """Read the settings of a command that never calls the API. ``bootstrap_servers`` wins over file and environment.

    Raises :class:`~streams.settings.ConfigError` for anything wrong in what is set.
    """
    environ = dict(os.environ)
    if bootstrap_servers is not None:
        environ["CALLSTREAM_KAFKA__BOOTSTRAP_SERVERS"] = bootstrap_servers
    layers = read_layers(config, environ)
    missing = {name: value for name, value in _NOT_ASKED_FOR.items() if name not in layers.merged()}
    settings = settings_of(replace(layers, file={**layers.file, **missing}))
    kafka = settings.kafka
    options = KafkaOptions(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=kafka.group_id,
        instance=kafka.instance,
        extra=kafka.extra_plain(),
    )
    book = {} if "accounts" in missing else AccountBook(settings)
    mints = {account_id: account.limits.token_mints_per_30_min for account_id, account in book.items()}
    return KafkaView(options, kafka.topics, kafka.partitions, tuple(book), mints, settings)


class TopicNotThere(OperatorError):
    """A topic of the settings, or one that was named, does not exist."""

    exit_code = ExitCode.PRECONDITION


class JournalDamaged(OperatorError):
    """A partition of the journal cannot be read, and its owner does not read it either."""

    exit_code = ExitCode.PRECONDITION


class KafkaRefused(OperatorError):
    """Kafka cannot be reached, or does not let us."""

    exit_code = ExitCode.CRASH


@contextmanager
def kafka_errors(options: KafkaOptions) -> Iterator[None]:
    """Turn what Kafka refuses into errors that name the remedy, with exit code 3 for a missing topic, else 1."""
    try:
        yield
    except UnreadableMessage as error:
        raise KafkaRefused(f"{error}; written by a newer release? Use that release's command") from error
    except JournalUnreadable as error:
        raise JournalDamaged(str(error)) from error
    except ReplayStalled as error:
        raise KafkaRefused(f"{error}; are all brokers up? Try again") from error
    except TopicMissing as error:
        raise TopicNotThere(f"{error}; `callstream topics apply` creates those of the settings") from error
    except KafkaException as error:
        if error.args[0].code() == KafkaError._INVALID_ARG:  # noqa: SLF001 - a published code
            raise PropertiesRefused(error) from error
        where, what = options.bootstrap_servers, error.args[0].str()
        away = "; is it running, and is this its address?" if error.args[0].code() in _AWAY else ""
        raise KafkaRefused(f"Kafka at {where} (kafka.bootstrap_servers): {what}{away}") from error
