"""The sections of the settings: every setting with its default, its bounds and its meaning.

The names are promises. Each default is the recommended value; a setting without one has to be set. Bounds keep promises
made elsewhere (the API's limits, Kafka's timeouts), and what this release does not act on yet is refused rather than
silently ignored. The models are frozen and closed: a misspelt key never passes for a setting.
"""

import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from streams.settings.kinds import (
    AccountId,
    EnvName,
    FilePath,
    PropertyName,
    PropertyValue,
    TopicName,
    refuse,
    secure_token_endpoint,
    usable_base_url,
)

# A revocation waits for requests in flight, inside the callback in which Kafka waits for us, so these must nest:
# POST deadline < revoke bound < poll interval and rebalance timeout < the supervisor's grace period (90 s).
REVOKE_BOUND_S = 35.0
POLL_INTERVAL_MAX_S = 60.0
assert REVOKE_BOUND_S < POLL_INTERVAL_MAX_S

# A request leaves within this of the commit that has confirmed the lease. After both together none can be running.
LEASE_FRESH_S = 5.0

# The API takes no more records in one request.
BATCH_RECORDS_MAX = 500

# Parcels are retained for 96 h: the horizon, the longest validity of an intent (24 h), and a day for the operator.
HORIZON_H_MAX = 48

ApiVersion = Literal["v1", "v2", "v3"]
Policy = Literal["retry", "hold"]
Statuses = Literal["all", "best_effort", "none"]
Labels = Literal["off", "warn", "reject"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class TopicSettings(_Section):
    """Names of the topics."""

    intents: TopicName = Field("calls.intents.v1", description="Call intents, written by the dialers.")
    outcomes: TopicName = Field("calls.outcomes.v1", description="What became of each intent.")
    dead_letters: TopicName = Field("calls.intents.dead-letters.v1", description="Intents that can never be submitted.")
    parcels: TopicName = Field("callstream.parcels.v1", description="Internal: valid intents by account.")
    journal: TopicName = Field("callstream.journal.v1", description="Internal: the write-ahead log of the lanes.")
    requests: TopicName = Field("callstream.requests.v1", description="Internal: one record per API request.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = list(self.model_dump().values())
        if len(set(names)) < len(names):
            refuse("two topics have the same name; give each its own")
        return self


def _host_name(given: Any = None) -> Any:
    return socket.gethostname() if given is None else given


def _property_names(given: Any) -> Any:
    """A shell cannot set variables with dots, so underscores stand for them; no property that takes text has any."""
    if not isinstance(given, Mapping):
        return given
    return {str(name).strip().lower().replace("_", "."): value for name, value in given.items()}


class KafkaSettings(_Section):
    """The Kafka cluster, the consumer group and the topics."""

    bootstrap_servers: Annotated[str, StringConstraints(pattern=r"^[^\s,]+:\d{1,5}(,[^\s,]+:\d{1,5})*$")] = Field(
        "127.0.0.1:9092",
        examples=["kafka-0:9092,kafka-1:9092"],
        description="Brokers to begin with, as host:port, separated by commas.",
    )
    group_id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        "callstream", examples=["callstream"], description="Consumer group; all workers of a deployment share it."
    )
    instance: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,255}$"),
        BeforeValidator(_host_name),
        WithJsonSchema(
            {"type": ["string", "null"], "pattern": "^[A-Za-z0-9._-]{1,255}$", "examples": ["callstream-0"]}
        ),
    ] = Field(
        default_factory=_host_name,
        description="Stable name of this worker, unique in the group; null is the host name.",
    )
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto",
        description="`consumer` is KIP-848; `auto` tries it and falls back to `classic` where it is unsupported.",
    )
    session_timeout_s: float = Field(
        45,
        ge=1,
        le=POLL_INTERVAL_MAX_S,
        description="Silence after which a worker counts as dead (classic protocol only).",
    )
    start_at: Literal["earliest", "latest"] = Field(
        "earliest", description="Where a group without offsets begins to read intents, at its very first start."
    )
    partitions: int = Field(
        12, ge=1, le=1000, description="Partitions of parcels and journal. Never change it in place."
    )
    topics: TopicSettings = Field(default_factory=TopicSettings)
    extra: Annotated[dict[PropertyName, PropertyValue], BeforeValidator(_property_names)] = Field(
        default_factory=dict,
        description="librdkafka properties (TLS, SASL, tuning). Those that carry a promise of callstream are refused.",
    )

    @model_validator(mode="after")
    def _secure_token_endpoint(self) -> Self:
        secure_token_endpoint(self.extra)
        return self

    def extra_plain(self) -> dict[str, str]:
        """The properties with their values in clear, for the client alone."""
        return {name: value.get_secret_value() for name, value in self.extra.items()}


class ApiSettings(_Section):
    """Truecaller's Call Personalisation API."""

    base_url: str = Field(description="Address of the API, without a path: https://host or https://host:port.")
    insecure_http: bool = Field(default=False, description="Allow plain http to other machines. For tests only.")
    submit_version: ApiVersion = Field("v1", description="Generation of the endpoint that takes batches.")
    status_version: ApiVersion = Field("v2", description="Generation of the endpoint that tells statuses.")
    post_deadline_s: float = Field(
        30,
        gt=0,
        le=REVOKE_BOUND_S - LEASE_FRESH_S,
        description=(
            "Longest time for one request. With the 5 s for which a lease counts as confirmed it stays within the "
            "35 s that a revocation waits, and that the next owner of an account waits for requests of the last one."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _usable_base_url(cls, given: Any) -> Any:
        return usable_base_url(given)


class LimitSettings(_Section):
    """The API's limits, which are per account and per token."""

    tokens_max: int = Field(
        10,
        ge=1,
        le=10,
        description="Most access tokens of one account at a time. There are as many as the load asks for, one while "
        "the account is quiet. All together make at most this many times `requests_per_minute_per_token` requests.",
    )
    requests_per_minute_per_token: int = Field(60, ge=1, le=6000, description="Requests in any minute with one token.")
    token_mints_per_30_min: int = Field(10, ge=1, le=1000, description="Tokens asked for in any 30 minutes.")


class LimitOverrides(_Section):
    """Limits of one account, where they differ from the others'."""

    tokens_max: int | None = Field(None, ge=1, le=10, description="As `limits.tokens_max`, for this account.")
    requests_per_minute_per_token: int | None = Field(
        None, ge=1, le=6000, description="As `limits.requests_per_minute_per_token`, for this account."
    )
    token_mints_per_30_min: int | None = Field(
        None, ge=1, le=1000, description="As `limits.token_mints_per_30_min`, for this account."
    )


class AccountSettings(_Section):
    """One client account of the API and where its credentials are."""

    id: AccountId = Field(description="The client account id, a UUID in lower case.")
    key_id: SecretStr | None = Field(None, min_length=1, description="Id of the API key.")
    key_id_file: FilePath | None = Field(None, description="File that holds the id of the API key.")
    key_id_env: EnvName | None = Field(None, description="Environment variable that holds the id of the API key.")
    api_key: SecretStr | None = Field(None, min_length=1, description="The secret API key. Prefer a file.")
    api_key_file: FilePath | None = Field(
        None, description="File that holds the secret API key; re-read when it changes."
    )
    api_key_env: EnvName | None = Field(None, description="Environment variable that holds the secret API key.")
    policy: Policy | None = Field(
        None,
        description="What to do with a batch whose fate is not known; null is `retry`: send again, flagged. `hold`: "
        "never again by itself, an operator decides. Batches that are open keep the policy they were made under.",
    )
    limits: LimitOverrides | None = Field(None, description="Limits that differ from `limits`.")
    statuses: Statuses | None = Field(None, description="As `statuses`, for this account.")
    labels: Labels | None = Field(None, description="As `labels`, for this account.")

    @model_validator(mode="after")
    def _one_source_each(self) -> Self:
        for name in ("key_id", "api_key"):
            given = [each for each in (name, f"{name}_file", f"{name}_env") if getattr(self, each) is not None]
            if len(given) != 1:
                found = "none" if not given else " and ".join(given)
                refuse(f"needs exactly one of {name}, {name}_file, {name}_env, has {found}; set one")
        return self


class IntentSettings(_Section):
    """What is accepted as a call intent, beyond its schema."""

    horizon_h: int = Field(48, ge=1, le=HORIZON_H_MAX, description="How far ahead `ends_at` of an intent may lie.")
    strict_unknown_fields: bool = Field(
        default=False, description="Refuse intents with unknown fields instead of dropping these."
    )
    reason_characters: Literal["off", "warn", "reject"] = Field(
        "warn", description="What to do when a call reason breaks the vendor's rules on characters."
    )
    invalid_ratio_action: Literal["alert", "pause"] = Field(
        "alert",
        description="What to do when more than half of 1,000 messages of a partition are invalid: `alert` tells, "
        "`pause` also does not read it for five minutes.",
    )


class WindowSettings(_Section):
    """How intents are gathered into batches."""

    records_max: int = Field(500, ge=1, le=BATCH_RECORDS_MAX, description="Most intents in a batch; the API takes 500.")
    linger_ms: int = Field(250, ge=0, le=60_000, description="How long the first intent waits for company.")


class PriorityOffsets(_Section):
    """How long after `starts_at` an intent of each priority may leave without being late."""

    high: float = Field(0, ge=0, le=86_400, description="How long after `starts_at` a `high` intent is not yet late.")
    normal: float = Field(30, ge=0, le=86_400, description="The same for `normal` intents.")
    low: float = Field(300, ge=0, le=86_400, description="The same for `low` intents.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.high <= self.normal <= self.low:
            refuse("a higher priority must not wait longer; set high <= normal <= low")
        return self


class RetrySettings(_Section):
    """What is sent again."""

    ambiguous_resends_max: int = Field(
        2,
        ge=0,
        le=10,
        description="How often a batch is sent again whose fate is not known. 0 never risks a duplicate.",
    )
    not_applied_statuses: tuple[Annotated[int, Field(ge=400, le=599)], ...] = Field(
        (429,), description="HTTP statuses that mean: certainly not applied, so safe to send again."
    )


class LaneSettings(_Section):
    """Bounds of one account's work in its worker."""

    intents_max: int = Field(
        100_000,
        ge=1,
        description="Intents that wait in memory; beyond it, the account is passed over and read again later.",
    )
    in_flight_max_per_token: int = Field(
        2, ge=1, le=60, description="POSTs at a time; bounds the duplicates of a crash."
    )
    open_batches_max: int = Field(1200, ge=1, description="Batches that wait for their statuses.")


class OutcomeSettings(_Section):
    """What is published."""

    level: Literal["intent", "batch", "both"] = Field(
        "both",
        description="Outcomes of each intent, of each batch, or both. `batch` only counts what holds for a "
        "whole batch: accepted, delivered, failed, and unknown where `statuses` is `none`; "
        "all else is told intent by intent.",
    )


class MetricsSettings(_Section):
    """The port of `/metrics`, `/livez` and `/readyz`."""

    host: str = Field("0.0.0.0", min_length=1, description="Address to listen on.")  # noqa: S104 - scraped from other machines
    port: int = Field(9464, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")


class LoggingSettings(_Section):
    """Logs, on standard error."""

    format: Literal["auto", "json", "console"] = Field("auto", description="`auto`: console on a terminal, else JSON.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity that is logged.")
