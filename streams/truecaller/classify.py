"""What an answer, or the lack of one, means: the only place that compares status codes.

The decision here is when a request counts as *not applied*. The API has no idempotency key, so a wrong "not applied"
doubles up to 500 records and a wrong "applied" loses them. What must stay true:

* "not applied" is said only of a request that was provably not handed over, of a refusal (4xx, or an answer that names
  an error in the request or in its token), and of the status codes which the operator says mean it;
* everything else that is not plainly accepted is ambiguous, redirects included: whoever answers 303 to a POST may well
  have applied it. Redirects are never followed;
* a token failure is one under any status: the vendor shows it inside a 500 ("Failed to parse token").

A verdict's ``cause`` comes from a bounded set (fixed words, ``http_NNN``, the documented slugs).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    CheckVerdict,
    LabelsVerdict,
    Listed,
    Minted,
    NotVisible,
    PostVerdict,
    Reauthenticate,
    Refuse,
    RetryLater,
    Split,
    Statuses,
    TokenVerdict,
)
from streams.truecaller.answers import (
    ApiError,
    read_batch_id,
    read_error,
    read_json,
    read_labels,
    read_statuses,
    read_token,
)
from streams.truecaller.rate_limit import Exhausted

# Longer wishes are cut: a limit per minute has refilled by then, and a wrong clock must not stop an account.
RETRY_AFTER_S_MAX: Final = 300.0

# An answer that was fair and says that no request is left is believed for as long as the documented limit lasts.
EXHAUSTED_S_MAX: Final = 60.0

_SPLIT: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
# Whoever answers 408 may have passed the request on before; 429 is a refusal only where the operator says so.
_NO_REFUSAL: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_SECONDS: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.[0-9]{1,9})?(?:[eE][+-]?[0-9]{1,3})?")


class Handed(Enum):
    """How much of a request was given to the network."""

    NOTHING = "nothing"
    PARTLY = "partly"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No status line came. ``timed_out`` tells that we gave up, not the network."""

    cause: str
    handed: Handed
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A status line and what came with it.

    ``flaw`` names what is wrong with the body (``answer_cut``, ``answer_framing``, ``answer_too_large``, ``deadline``),
    ``None`` if it is complete. ``exhausted`` says that the token has no request left. ``received_at_s`` is our clock
    (epoch seconds), for a date that comes without ``Date``.
    """

    status: int
    body: bytes
    flaw: str | None = None
    retry_after: str | None = None
    exhausted: Exhausted | None = None
    date: str | None = None
    received_at_s: float = 0.0
    handed: Handed = Handed.WHOLE

    @property
    def success(self) -> bool:
        """Whether the status is a 2xx."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


def classify_post(reply: Answer | NoAnswer, not_applied_statuses: Collection[int]) -> PostVerdict:
    """What the answer to a create request means. ``not_applied_statuses`` are the operator's, 429 by default."""
    if isinstance(reply, NoAnswer):
        if reply.handed is Handed.NOTHING or (reply.handed is Handed.PARTLY and not reply.timed_out):
            nothing = reply.handed is Handed.NOTHING
            return RetryLater(reply.cause if nothing else "request_cut", left=not nothing)
        return Ambiguous(reply.cause)
    if reply.success:
        return _accepted(reply)
    error = read_error(_json(reply))
    if reply.status == HTTPStatus.UNAUTHORIZED or (error and error.token):
        return Reauthenticate(_cause(reply, error))
    if reply.status in not_applied_statuses and reply.status >= HTTPStatus.BAD_REQUEST:
        return _later(reply)
    if reply.status in _SPLIT:
        too_large = reply.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return _split(f"http_{reply.status}", error, too_large=too_large)
    if _is_refusal(reply.status):
        return Refuse(_cause(reply, error))
    return Ambiguous(_unclear(reply), retry_after_s=_retry_after_s(reply))


def classify_check(reply: Answer | NoAnswer, batch_id: str) -> CheckVerdict:
    """What the answer to a status check means. ``Ambiguous`` is only "no usable answer": asking again is harmless."""
    if isinstance(reply, NoAnswer):
        return RetryLater(reply.cause) if reply.handed is Handed.NOTHING else Ambiguous(reply.cause)
    value = _json(reply)
    error = read_error(value)
    if reply.status == HTTPStatus.UNAUTHORIZED or (error and error.token):
        return Reauthenticate(_cause(reply, error))
    if reply.success:
        return _statuses(reply, value, error, batch_id)
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _later(reply)
    if reply.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        return NotVisible(_cause(reply, error))
    if reply.status in _NO_REFUSAL or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Ambiguous(_unclear(reply), retry_after_s=_retry_after_s(reply))
    return Refuse(_unclear(reply) if _is_redirect(reply.status) else _cause(reply, error))


def classify_labels(reply: Answer | NoAnswer) -> LabelsVerdict:
    """What the answer to a request for labels means. ``Ambiguous`` is only "no usable answer"."""
    if isinstance(reply, NoAnswer):
        return RetryLater(reply.cause) if reply.handed is Handed.NOTHING else Ambiguous(reply.cause)
    value = _json(reply)
    error = read_error(value)
    if reply.status == HTTPStatus.UNAUTHORIZED or (error and error.token):
        return Reauthenticate(_cause(reply, error))
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        return _later(reply)
    if reply.success:
        label_ids = None if reply.flaw or error else read_labels(value)
        return Ambiguous(reply.flaw or "answer_unreadable") if label_ids is None else Listed(label_ids)
    if _is_refusal(reply.status) or _is_redirect(reply.status):
        return Refuse(_unclear(reply) if _is_redirect(reply.status) else _cause(reply, error))
    return Ambiguous(_unclear(reply))


def classify_mint(reply: Answer | NoAnswer) -> TokenVerdict:
    """What the answer to a token request means. ``RetryLater`` after an answer may still have cost one mint."""
    if isinstance(reply, NoAnswer):
        return RetryLater(reply.cause)
    value = _json(reply)
    error = read_error(value)
    if reply.success:
        token = read_token(value)
        if token is not None and error is None:
            return Minted(token)
        if error is not None and (error.rejection or error.token):
            return Refuse(_cause(reply, error))
        return RetryLater(reply.flaw or "no_token_in_answer")
    if reply.status in _NO_REFUSAL or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _later(reply)
    return Refuse(_unclear(reply) if _is_redirect(reply.status) else _cause(reply, error))


def retry_after_s(value: str, date: str | None, received_at_s: float) -> float | None:
    """Read a ``Retry-After`` header (RFC 9110, 10.2.3): seconds, or a date, held against the server's own clock.

    Returns seconds between 0 and 300, or ``None`` if it is neither.
    """
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return min(max(float(value), 0.0), RETRY_AFTER_S_MAX)
    until_s = _epoch_s(value)
    if until_s is None:
        return None
    now_s = _epoch_s(date) if date else None
    return min(max(until_s - (received_at_s if now_s is None else now_s), 0.0), RETRY_AFTER_S_MAX)


def clock_ahead_s(date: str | None, received_at_s: float) -> float | None:
    """How far the clock of whoever wrote a ``Date`` header is ahead of ours, in whole seconds; ``None`` without one."""
    written_s = _epoch_s(date) if date else None
    # The header is cut to whole seconds.
    return None if written_s is None else float(round(written_s + 0.5 - received_at_s))


def _accepted(reply: Answer) -> PostVerdict:
    if reply.handed is not Handed.WHOLE:
        # Somebody who answers before the records are there has not read them.
        return Ambiguous("answer_before_request")
    if reply.flaw is not None:
        return Ambiguous(reply.flaw)
    if not reply.body.strip():
        return Accepted(None, _exhausted_for_s(reply))
    value = read_json(reply.body)
    if not isinstance(value, dict):
        return Ambiguous("answer_unreadable")
    error = read_error(value)
    if error is None:
        return Accepted(read_batch_id(value), _exhausted_for_s(reply))
    if error.token:
        return Reauthenticate("authorization-error")
    if error.slug == "forbidden-error":
        return Refuse("forbidden-error")
    if error.rejection:
        return _split("error_in_2xx", error)
    return Ambiguous("error_in_2xx")


def _statuses(reply: Answer, value: object, error: ApiError | None, batch_id: str) -> CheckVerdict:
    if reply.flaw is not None:
        return Ambiguous(reply.flaw)
    if not reply.body.strip():
        return Statuses((), _exhausted_for_s(reply))
    if error is not None:
        return Refuse("forbidden-error") if error.slug == "forbidden-error" else NotVisible("error_in_2xx")
    records = read_statuses(value, batch_id)
    return Ambiguous("answer_unreadable") if records is None else Statuses(records, _exhausted_for_s(reply))


def _split(code: str, error: ApiError | None, *, too_large: bool = False) -> Split:
    if error is None:
        return Split(code, None, None, too_large)
    return Split(error.slug or code, error.field, error.message, too_large)


def _later(reply: Answer) -> RetryLater:
    throttled = reply.status == HTTPStatus.TOO_MANY_REQUESTS
    return RetryLater(f"http_{reply.status}", throttled, _retry_after_s(reply), left=True)


def _retry_after_s(reply: Answer) -> float | None:
    wish_s = retry_after_s(reply.retry_after, reply.date, reply.received_at_s) if reply.retry_after else None
    return _exhausted_for_s(reply, RETRY_AFTER_S_MAX) if wish_s is None else wish_s


def _exhausted_for_s(reply: Answer, max_s: float = EXHAUSTED_S_MAX) -> float | None:
    if reply.exhausted is None:
        return None
    server_now_s = _epoch_s(reply.date) if reply.date else None
    return min(max_s, reply.exhausted.for_s(reply.received_at_s if server_now_s is None else server_now_s))


def _json(reply: Answer) -> Any:
    return None if reply.flaw else read_json(reply.body)


def _cause(reply: Answer, error: ApiError | None) -> str:
    known = error is not None and error.slug in {"authorization-error", "forbidden-error", "invalid-input"}
    return str(error.slug) if error is not None and known else f"http_{reply.status}"


def _unclear(reply: Answer) -> str:
    return "redirect" if _is_redirect(reply.status) else f"http_{reply.status}"


def _is_redirect(status: int) -> bool:
    return HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST


def _is_refusal(status: int) -> bool:
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NO_REFUSAL


def _epoch_s(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
