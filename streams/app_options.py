"""Settings, translated into the plain values that each part is given."""

from streams.accounts import Account, AccountBook
from streams.intake.rules import IntakeRules
from streams.kafka.client_config import KafkaOptions
from streams.kafka.topic_names import TopicNames
from streams.lane.options import LaneOptions
from streams.settings import Settings
from streams.truecaller.client import ClientOptions
from streams.worker.encode import Encoder


def kafka_options(settings: Settings) -> KafkaOptions:
    """Where Kafka is, and who this worker is there."""
    kafka = settings.kafka
    return KafkaOptions(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=kafka.group_id,
        instance=kafka.instance,
        group_protocol=kafka.group_protocol,
        session_timeout_s=kafka.session_timeout_s,
        extra=kafka.extra_plain(),
    )


def client_options(settings: Settings) -> ClientOptions:
    """Where the API is, and how it is spoken to."""
    api = settings.api
    return ClientOptions(
        base_url=api.base_url,
        insecure_http=api.insecure_http,
        submit_version=api.submit_version,
        status_version=api.status_version,
        post_deadline_s=api.post_deadline_s,
        not_applied_statuses=frozenset(settings.retry.not_applied_statuses),
    )


def intake_rules(settings: Settings, accounts: AccountBook) -> IntakeRules:
    """What makes an intent valid here."""
    return IntakeRules(
        accounts=frozenset(accounts),
        default_account=settings.default_account,
        horizon_ms=settings.intents.horizon_h * 3_600_000,
        strict_unknown_fields=settings.intents.strict_unknown_fields,
        reason_characters=settings.intents.reason_characters,
        expiry_margin_ms=round(settings.api.post_deadline_s * 1000),
    )


def encoder(settings: Settings) -> Encoder:
    """How writes become messages."""
    topics = TopicNames(**settings.kafka.topics.model_dump())
    return Encoder(topics, f"/callstream/{settings.kafka.group_id}", settings.outcomes.level)


def lane_options(settings: Settings, account_id: str, account: Account | None) -> LaneOptions:
    """The numbers of one account's lane; those for all where the account is no longer configured."""
    limits = account.limits if account else settings.limits
    offsets = settings.priority_offsets_s
    return LaneOptions(
        account_id=account_id,
        policy=account.policy if account else "retry",
        records_max=settings.window.records_max,
        linger_ms=settings.window.linger_ms,
        priority_offsets_ms={
            "high": round(offsets.high * 1000),
            "normal": round(offsets.normal * 1000),
            "low": round(offsets.low * 1000),
        },
        tokens_max=limits.tokens_max,
        requests_per_minute_per_token=limits.requests_per_minute_per_token,
        token_mints_per_30_min=limits.token_mints_per_30_min,
        intents_max=settings.lane.intents_max,
        in_flight_max_per_token=settings.lane.in_flight_max_per_token,
        open_batches_max=settings.lane.open_batches_max,
        ambiguous_resends_max=settings.retry.ambiguous_resends_max,
        expiry_margin_ms=round(settings.api.post_deadline_s * 1000),
        statuses=account.statuses if account else settings.statuses,
        labels=account.labels if account else settings.labels,
        status_deadline_s=settings.status_deadline_s,
        blocked=account is None,
    )
