"""The whole of what an operator may set, and the rules that hold between sections.

The names are promises; the order of the fields is that of the documentation and of the example file.
"""

from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from streams.settings.kinds import AccountId, refuse
from streams.settings.sections import (
    AccountSettings,
    ApiSettings,
    IntentSettings,
    KafkaSettings,
    Labels,
    LaneSettings,
    LimitSettings,
    LoggingSettings,
    MetricsSettings,
    OutcomeSettings,
    PriorityOffsets,
    RetrySettings,
    Statuses,
    WindowSettings,
)


class Settings(BaseSettings):
    """All settings of callstream, in reading order. Built by :func:`streams.settings.load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="CALLSTREAM_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    api: ApiSettings
    accounts: tuple[AccountSettings, ...] = Field(min_length=1, description="The accounts that this deployment serves.")
    default_account: AccountId | None = Field(None, description="Account of intents that name none.")
    intents: IntentSettings = Field(default_factory=IntentSettings)
    window: WindowSettings = Field(default_factory=WindowSettings)
    priority_offsets_s: PriorityOffsets = Field(default_factory=PriorityOffsets)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    lane: LaneSettings = Field(default_factory=LaneSettings)
    worker_intents_max: int = Field(
        400_000,
        ge=1,
        description="Intents that wait in memory, over all lanes of a worker; the fullest lanes are passed over first.",
    )
    statuses: Statuses = Field(
        "all", description="`all`: every batch is checked to its end; `best_effort`: when the budget allows; `none`."
    )
    status_deadline_s: float = Field(
        1800, gt=0, le=86_400, description="How long a status is waited for before it is `unknown`."
    )
    labels: Labels = Field(
        "off",
        description="Check `label_id` against the labels that the API lists for the account, on its budget: `warn` "
        "tells of those it does not have and sends all the same, `reject` ends such intents as `rejected`. Where the "
        "list cannot be read, all are sent.",
    )
    outcomes: OutcomeSettings = Field(default_factory=OutcomeSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: :mod:`streams.settings.load` lays the layers and can say where a value is from."""
        return (init_settings,)

    @model_validator(mode="after")
    def _related(self) -> Self:
        ids = [account.id for account in self.accounts]
        problems = []
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            problems.append(f"accounts: {', '.join(twice)} stands twice; list each account once")
        if self.default_account is not None and self.default_account not in ids:
            problems.append("default_account: is not in accounts; add it there or name one that is")
        if self.lane.intents_max < self.window.records_max:
            problems.append("lane.intents_max: is below window.records_max; a full batch must fit into a lane")
        if self.worker_intents_max < self.lane.intents_max:
            problems.append("worker_intents_max: is below lane.intents_max; raise the first or lower the second")
        if problems:
            refuse(*problems)
        return self
