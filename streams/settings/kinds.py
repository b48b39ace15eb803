"""Kinds of values that several settings share, each refusing what it must with the remedy in the text."""

from collections.abc import Mapping
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema
from pydantic_core import PydanticCustomError

from streams.contracts.kafka_properties import PROMISES
from streams.contracts.urls import BadUrl, check_base_url, is_loopback

_UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

# The examples stand in the documentation and in error texts, where a pattern would help nobody.
AccountId = Annotated[str, Field(pattern=_UUID, examples=["91c173bb-28d8-4030-9722-8663ff9589f3"])]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", examples=["ACME_API_KEY"])]
FilePath = Annotated[str, Field(min_length=1, examples=["/run/secrets/acme-api-key"])]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$", examples=["calls.intents.v1"])]


def refuse(*problems: str, at: str | None = None) -> NoReturn:
    """Refuse the value under validation; each text says what is wrong and what to do. ``at`` names a field in it."""
    raise PydanticCustomError("refused", "{text}", {"text": "\n".join(problems), "problems": problems, "at": at})


def usable_base_url(section: Any) -> Any:
    """Check ``base_url`` of an ``api`` section beside its ``insecure_http`` and drop its trailing slash."""
    if not isinstance(section, dict) or not isinstance(section.get("base_url"), str):
        return section
    insecure = str(section.get("insecure_http", False)).lower() in {"true", "1", "yes", "on"}
    try:
        return {**section, "base_url": check_base_url(section["base_url"], insecure_http=insecure)}
    except BadUrl as bad:
        refuse(f"{bad}; set https://host or https://host:port", at="base_url")


def secure_token_endpoint(properties: Mapping[str, SecretStr]) -> None:
    """Refuse an OAuth token endpoint without TLS: the client's secret is sent there (RFC 6749 §3.2)."""
    name = "sasl.oauthbearer.token.endpoint.url"
    if name not in properties:
        return
    try:
        parts = urlsplit(properties[name].get_secret_value())
    except ValueError:
        refuse("is no URL; set an https address", at=f"extra.{name}")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        refuse("must be https, it is sent the client's secret; set an https address", at=f"extra.{name}")


def _allowed_property(name: str) -> str:
    if name in PROMISES:
        refuse(f"must not be set: {PROMISES[name]}; remove it")
    return name


def _property_text(given: Any) -> Any:
    """YAML reads `true` and `5` as what they look like; librdkafka wants text."""
    if isinstance(given, bool):
        return str(given).lower()
    return str(given) if isinstance(given, int | float) else given


PropertyName = Annotated[str, BeforeValidator(_allowed_property)]
PropertyValue = Annotated[
    SecretStr, BeforeValidator(_property_text), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
