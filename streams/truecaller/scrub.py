"""What the API writes in prose, made safe for logs, outcomes and dead letters.

An error text may echo what we sent. What must stay true: whatever comes in, seven or more digits in a row (also with
the usual separators between them) never come out, nor does anything as long as an access token.
"""

import re

TEXT_LENGTH_MAX = 200

# `\d` on purpose: a number in Devanagari digits is a number too.
_NUMBER = re.compile(r"\+?\d(?:[ ().\u00a0\u2010-\u2015-]{0,3}\d){6,}")
_SECRET = re.compile(r"[0-9A-Za-z._~+/=-]{40,}")
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,63}")


def scrub(text: str) -> str:
    """Return ``text`` on one line, at most 200 characters, without long digit runs and without token-like runs."""
    # Cut first, generously: the patterns then run on a bounded text, and a number cut in two is still masked or short.
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * TEXT_LENGTH_MAX]).split())
    line = _NUMBER.sub("…", _SECRET.sub("…", line))
    return line if len(line) <= TEXT_LENGTH_MAX else line[: TEXT_LENGTH_MAX - 1] + "…"


def slug_or_none(value: object) -> str | None:
    """Return ``value`` if it reads like an error slug and hides no number."""
    return _word(value, _SLUG)


def field_or_none(value: object) -> str | None:
    """Return ``value`` if it reads like the name or path of a field and hides no number."""
    return _word(value, _FIELD)


def _word(value: object, shape: re.Pattern[str]) -> str | None:
    if isinstance(value, str) and shape.fullmatch(value) and not _NUMBER.search(value):
        return value
    return None
