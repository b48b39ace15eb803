"""Put together the picture of a moment from what was read, dialled and decided."""

import time
from collections.abc import Sequence
from typing import Final

from streams.sandbox.demo.custody import AccountCustody, Custody
from streams.sandbox.demo.picture import AccountRow, Phase, Picture, Pulse, eta_s
from streams.sandbox.demo.requests import AccountRequests, Requests
from streams.sandbox.publisher import Publisher

_PULSE_S: Final = 60


class Painter:
    """Paint ``duration_s`` seconds of dialing at ``rate`` a second for the accounts with ``account_ids``."""

    def __init__(self, account_ids: Sequence[str], duration_s: float, rate: float, metrics_url: str) -> None:
        self._account_ids = account_ids
        self._duration_s = duration_s
        self._rate = rate
        self._metrics_url = metrics_url
        self._intake, self._settled = Pulse(_PULSE_S), Pulse(_PULSE_S)
        self._started_s: float | None = None

    def start(self) -> None:
        """Begin to count time: dialing begins."""
        self._started_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since dialing began."""
        return 0.0 if self._started_s is None else time.monotonic() - self._started_s

    def paint(self, phase: Phase, publisher: Publisher, custody: Custody, requests: Requests) -> Picture:
        """Return the picture of now."""
        elapsed_s, published, finals = self.elapsed_s, publisher.delivered, custody.finals
        self._intake.take(elapsed_s, published)
        self._settled.take(elapsed_s, finals)
        rows = tuple(self._row(account_id, custody, requests) for account_id in self._account_ids)
        dialing = phase in {Phase.DIALING, Phase.HELD_BACK}
        return Picture(
            phase=phase,
            elapsed_s=elapsed_s,
            duration_s=self._duration_s,
            published=published,
            unread=max(0, published - custody.routed),
            waiting=sum(row.waiting for row in rows),
            accepted=custody.accepted,
            finals=finals,
            final=dict(custody.final),
            dead_letters=dict(custody.dead_letters),
            accounts=rows,
            recent=tuple(requests.recent),
            intake=self._intake.values,
            settled=self._settled.values,
            batches=requests.batches,
            batch_records_max=requests.batch_records_max,
            requests=dict(requests.kinds),
            over_limit=requests.over_limit,
            http_429=requests.http_429,
            eta_s=eta_s(
                dialing_left_s=max(0.0, self._duration_s - elapsed_s) if dialing else 0.0,
                rate=self._rate,
                published=published,
                finals=finals,
                settling_per_s=self._settled.rate(),
            ),
            metrics_url=self._metrics_url,
        )

    def _row(self, account_id: str, custody: Custody, requests: Requests) -> AccountRow:
        held = custody.accounts.get(account_id, AccountCustody())
        asked = requests.accounts.get(account_id, AccountRequests())
        return AccountRow(
            account_id=account_id,
            # A batch that was applied twice counts twice in the ledger.
            waiting=max(0, held.parcelled - asked.records),
            open=max(0, asked.records - held.final.total()),
            batches=asked.batches,
            slots_used=asked.slots_used(time.monotonic()),
            slots=asked.slots,
            final=dict(held.final),
        )
