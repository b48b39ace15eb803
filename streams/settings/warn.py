"""What is allowed but deserves a word: settings that weaken the protection of personal data on the wire."""

from streams.contracts.urls import is_loopback
from streams.settings.model import Settings


def warnings(settings: Settings) -> list[str]:
    """One line for each doubtful setting: ``setting: what is doubtful; remedy``."""
    found: list[str] = []
    extra = settings.kafka.extra_plain()
    hosts = [server.rpartition(":")[0].strip("[]") for server in settings.kafka.bootstrap_servers.split(",")]
    protocol = extra.get("security.protocol", "plaintext").lower()
    if protocol in {"plaintext", "sasl_plaintext"} and not all(map(is_loopback, hosts)):
        found.append(
            "kafka.extra: connections to Kafka are not encrypted, and intents hold phone numbers;"
            " set security.protocol: SASL_SSL or SSL"
        )
    if extra.get("enable.ssl.certificate.verification", "true").lower() == "false":
        found.append(
            "kafka.extra: certificates of brokers are not verified; remove enable.ssl.certificate.verification"
        )
    if extra.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        found.append("kafka.extra: host names of brokers are not checked; remove ssl.endpoint.identification.algorithm")
    if settings.api.base_url.startswith("http:") and settings.api.insecure_http:
        found.append("api.insecure_http: tokens and phone numbers travel in clear; use https")
    for index, account in enumerate(settings.accounts):
        if account.api_key is not None:
            found.append(f"accounts[{index}].api_key: a secret stands in the settings; use api_key_file")
    return found
