"""What the address of the API may look like.

Requests carry access tokens and phone numbers, so the address is held to one shape: https (plain http only to this
machine, or where the operator says so), a host, perhaps a port, and nothing else. Paths are built from it by appending.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit


class BadUrl(ValueError):
    """The address is not usable. The text says why and never quotes the address, which may hold a password."""


def check_base_url(url: str, *, insecure_http: bool = False) -> str:
    """Return ``url`` without a trailing slash, or raise :class:`BadUrl`.

    Refused: other schemes than https (http to loopback is fine, elsewhere only with ``insecure_http``), user
    information, a path, a query, a fragment, white space and control characters, an impossible port.
    """
    if any(character <= " " or character in "\x7f\\" for character in url):
        raise BadUrl("holds white space, a control character or a backslash")
    parts = _split(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise BadUrl("must look like https://host or https://host:port")
    if "@" in parts.netloc:
        raise BadUrl("must not hold a user name or password; credentials belong to the account")
    if parts.path not in {"", "/"} or parts.netloc.endswith(":") or "?" in url or "#" in url:
        raise BadUrl("must end after the host and port: no path, query or fragment")
    if parts.scheme == "http" and not insecure_http and not is_loopback(parts.hostname):
        raise BadUrl("must be https: plain http would show tokens and phone numbers to the network")
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise BadUrl("is no URL: bad host or port") from None
    return parts
