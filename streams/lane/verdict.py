"""What one answer of the API means to a lane.

The decision which answer is which verdict lives in one place, :mod:`streams.truecaller.classify`; the lane acts on
these values and never sees a status code, a header or an exception. A verdict carries only text that is free of
personal data: the classifier scrubs what the API sends back.
"""

from dataclasses import dataclass
from enum import StrEnum


class RecordState(StrEnum):
    """What a status answer says about one record, once its spelling has been read tolerantly."""

    DELIVERED = "delivered"
    FAILED = "failed"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class RecordStatus:
    """One record of a status answer: the fields that were echoed, and its state.

    ``caller`` and ``receiver`` are digits only, or ``None`` where the answer masks or omits them. ``raw`` is the
    status word as the API spelt it, ``message`` its reason, scrubbed of digits that could be a phone number.
    """

    record_id: str | None
    caller: str | None
    receiver: str | None
    label_id: str | None
    label_name: str | None
    call_reason: str | None
    starts_at: int | None
    ends_at: int | None
    state: RecordState
    raw: str
    message: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch was taken. ``batch_id`` is ``None`` where the answer names none: accepted, but untracked.

    ``exhausted_for_s``: the answer says that its token has no request left for so long.
    """

    batch_id: str | None
    exhausted_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Statuses:
    """A readable status answer. ``exhausted_for_s`` as in :class:`Accepted`."""

    records: tuple[RecordStatus, ...]
    exhausted_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of the account's dynamic labels, by id; empty behind the last one."""

    label_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class NotVisible:
    """The API does not know the batch (yet): 404, or 400, to a status check."""

    cause: str


@dataclass(frozen=True, slots=True)
class Minted:
    """A fresh access token. ``repr`` hides it."""

    token: str

    def __repr__(self) -> str:
        return "Minted(token=***)"


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Certainly not applied, and worth another try: not sent at all, or throttled.

    ``retry_after_s`` is the server's wish, already clamped to a sane range, or ``None`` if it named none. ``left``:
    some of it was handed over, so that sending it again is a repetition.
    """

    cause: str
    throttled: bool = False
    retry_after_s: float | None = None
    left: bool = False


@dataclass(frozen=True, slots=True)
class Reauthenticate:
    """The token was not accepted; the request was not applied."""

    cause: str


@dataclass(frozen=True, slots=True)
class Split:
    """The batch was refused as it is (400, 413, 422): some record in it, or its size, is bad. Not applied.

    ``too_large`` says that it is its size (413).
    """

    code: str
    field: str | None
    message: str | None
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refused for a reason that no retry mends (403, an unknown 4xx). Not applied; somebody must look.

    A redirect of a status check or of a token request is one too; a redirect of a POST is ambiguous.
    """

    cause: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Sent, but no usable answer came: it may have been applied (the two generals' problem).

    To a status check it only means that no usable answer came. ``retry_after_s`` is the server's wish (a 503 often
    carries one), clamped to a sane range, or ``None``.
    """

    cause: str
    retry_after_s: float | None = None


PostVerdict = Accepted | RetryLater | Reauthenticate | Split | Refuse | Ambiguous
CheckVerdict = Statuses | NotVisible | RetryLater | Reauthenticate | Refuse | Ambiguous
TokenVerdict = Minted | RetryLater | Refuse
LabelsVerdict = Listed | RetryLater | Reauthenticate | Refuse | Ambiguous


_NAMES: dict[type, str] = {
    Accepted: "accepted",
    Statuses: "statuses",
    Minted: "minted",
    Listed: "listed",
    NotVisible: "not_visible",
    RetryLater: "retry_later",
    Reauthenticate: "reauthenticate",
    Split: "split",
    Refuse: "refuse",
    Ambiguous: "ambiguous",
}


def verdict_name(verdict: PostVerdict | CheckVerdict | TokenVerdict | LabelsVerdict) -> str:
    """The verdict as a word, for request records, logs and metrics."""
    if isinstance(verdict, RetryLater) and verdict.throttled:
        return "throttled"
    return _NAMES[type(verdict)]
