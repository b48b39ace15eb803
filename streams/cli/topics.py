"""``callstream topics``: create the Kafka topics, or compare those that are there with what they must be like."""

from typing import Annotated

import orjson
import typer
from confluent_kafka.admin import AdminClient

from streams.cli.kafka import KafkaView, kafka_errors, kafka_view
from streams.cli.options import BootstrapOption, ConfigOption, JsonOption
from streams.contracts.exits import ExitCode
from streams.kafka import topics
from streams.kafka.client_config import admin_config

topics_app = typer.Typer(add_completion=False, no_args_is_help=True, help="Create the Kafka topics, or check them.")


@topics_app.callback()
def _topics() -> None:
    """Create the Kafka topics, or check them."""


@topics_app.command()
def apply(
    *,
    replication_factor: Annotated[
        int, typer.Option(help="Copies of each new topic; -1 is the brokers' default.", min=-1)
    ] = -1,
    as_json: JsonOption = False,
    bootstrap_servers: BootstrapOption = None,
    config: ConfigOption = None,
) -> None:
    """Create the topics that are missing, then check all. Topics that exist are never changed.

    Exits with 0 if all is as it must be, 3 with a line for each problem and its remedy, 1 if Kafka cannot be asked.
    """
    view = kafka_view(config, bootstrap_servers)
    with kafka_errors(view.options):
        admin = _admin(view)
        specs = _specs(view)
        created = topics.apply(admin, specs, replication_factor)
        problems = topics.check(admin, specs)
    _report([spec.name for spec in specs], created, problems, as_json=as_json)


@topics_app.command()
def check(
    *, as_json: JsonOption = False, bootstrap_servers: BootstrapOption = None, config: ConfigOption = None
) -> None:
    """Compare the topics with what they must be like; change nothing.

    Exits with 0 if all is as it must be, 3 with a line for each problem and its remedy, 1 if Kafka cannot be asked.
    """
    view = kafka_view(config, bootstrap_servers)
    with kafka_errors(view.options):
        specs = _specs(view)
        problems = topics.check(_admin(view), specs)
    _report([spec.name for spec in specs], [], problems, as_json=as_json)


def _admin(view: KafkaView) -> AdminClient:
    return AdminClient(admin_config(view.options))


def _specs(view: KafkaView) -> tuple[topics.TopicSpec, ...]:
    return topics.topic_specs(**view.topics.model_dump(), partitions=view.partitions)


def _report(names: list[str], created: list[str], problems: list[topics.Problem], *, as_json: bool) -> None:
    if as_json:
        found = [{"topic": each.topic, "problem": each.problem, "remedy": each.remedy} for each in problems]
        print(orjson.dumps({"ok": not problems, "created": created, "problems": found}).decode())
    else:
        wrong = {each.topic for each in problems}
        for name in names:
            if name not in wrong:
                print(f"{'created' if name in created else 'ok':<8} {name}")
        for each in problems:
            print(f"{'problem':<8} {each}")
    if problems:
        raise typer.Exit(ExitCode.PRECONDITION)
