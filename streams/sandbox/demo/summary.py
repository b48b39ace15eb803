"""How a demo ended, as numbers that a script can check and as lines that a person can read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from streams.contracts.exits import ExitCode


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a demo.

    ``published`` intents are in the intents topic; ``final`` counts those with a final outcome by status; ``pending``
    are the others that are known to be somewhere; ``unaccounted`` is what remains, and must be 0. ``final_twice`` got a
    second final outcome. ``batches`` to ``applied_twice`` are what the API's ledger says. ``interrupted`` is Ctrl-C,
    ``worker_exit`` the worker's exit code.
    """

    published: int
    final: Mapping[str, int]
    dead_letters: int
    dead_letters_by_reason: Mapping[str, int]
    pending: int
    unaccounted: int
    final_twice: int
    not_published: int
    batches: int
    batch_records_max: int
    records: int
    mixed_batches: int
    applied_twice: int
    requests: Mapping[str, int]
    over_limit_requests: int
    http_429: int
    seconds: float
    interrupted: bool
    worker_exit: int

    @property
    def exit_code(self) -> ExitCode:
        """0 if every published intent is final and none is missing."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        whole = not (self.pending or self.unaccounted or self.not_published or self.worker_exit)
        return ExitCode.DONE if whole else ExitCode.CRASH

    def as_json(self) -> dict[str, Any]:
        """Return the values to print as one JSON object."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the lines for people."""
        final = ", ".join(f"{count:,} {status}" for status, count in self.final.items()) or "none"
        limits = f"{self.over_limit_requests:,} requests over the limit, {self.http_429:,} throttled"
        lines = [
            f"{self.published:,} intents published in {self.seconds:.0f} s: {final}",
            f"{self.dead_letters:,} dead letters, {self.pending:,} pending, {self.unaccounted:,} unaccounted for",
            f"{self.batches:,} batches of at most {self.batch_records_max:,} intents, {limits}",
        ]
        oddities = {
            "intents that Kafka did not take": self.not_published,
            "intents with two final outcomes": self.final_twice,
            "records applied twice": self.applied_twice,
            "batches that mix accounts": self.mixed_batches,
        }
        lines += [f"{count:,} {what}" for what, count in oddities.items() if count]
        return "\n".join(lines)
