"""One outcome or batch event as one line for people: the same columns for all, the colour tells good from bad."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

STYLES: Final[Mapping[str, str]] = {
    "delivered": "green",
    "accepted": "cyan",
    "unresolved": "yellow",
    "unknown": "yellow",
    "expired": "magenta",
    "failed": "red",
    "rejected": "red",
    "invalid": "red",
}
"""The colour of each status, wherever people see one."""

_ANSI: Final = {"red": 31, "green": 32, "yellow": 33, "magenta": 35, "cyan": 36}
_BOLD: Final = 1
_DIM: Final = 2


def outcome_line(event: Mapping[str, Any], *, color: bool) -> str:
    """Return the line for one message of the outcome topic, without its end. Tolerates missing fields."""
    return (_batch_line if "event" in event else _intent_line)(event, color=color)


def _intent_line(event: Mapping[str, Any], *, color: bool) -> str:
    status = _text(event.get("status"))
    columns = [
        _paint(_time(event.get("occurred_at")), _DIM, color=color),
        _paint(f"{status:<10}", _ANSI.get(STYLES.get(status, ""), 0), color=color),
        f"{_text(event.get('account_id')):.8}",
        f"{_text(event.get('intent_id')):<20}",
        _paint(f"{_place(event.get('source')):<10}", _DIM, color=color),
        *_remarks(event),
    ]
    return "  ".join(columns).rstrip()


def _batch_line(event: Mapping[str, Any], *, color: bool) -> str:
    counts = event.get("counts")
    told = ", ".join(f"{n} {_text(name)}" for name, n in counts.items() if n) if isinstance(counts, Mapping) else ""
    columns = [
        _paint(_time(event.get("occurred_at")), _DIM, color=color),
        _paint(f"{'batch':<10}", _BOLD, color=color),
        f"{_text(event.get('account_id')):.8}",
        f"{_text(event.get('event')):<20}",
        _paint(f"{event.get('records', '?')!s:<10}", _DIM, color=color),
        *([told] if told else []),
        *_remarks(event),
    ]
    return "  ".join(columns).rstrip()


def _remarks(event: Mapping[str, Any]) -> list[str]:
    reason = event.get("reason")
    remarks = [f"batch {_text(event['batch_id'])}"] if event.get("batch_id") else []
    if isinstance(reason, Mapping):
        remarks.append(f"{_text(reason.get('code'))}: {_text(reason.get('message'))}")
    if event.get("possible_duplicate"):
        remarks.append("(possible duplicate)")
    return remarks


def _place(source: Any) -> str:
    """Partition and offset; the topic is the same in every line."""
    return f"{source.get('partition')}@{source.get('offset')}" if isinstance(source, Mapping) else "-"


def _time(epoch_ms: Any) -> str:
    if not isinstance(epoch_ms, int):
        return "-"
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]


def _text(value: Any) -> str:
    """As text that cannot steer a terminal: a message may hold any character."""
    return "-" if value is None else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def _paint(text: str, code: int, *, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color and code else text
