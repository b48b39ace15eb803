"""The demo itself: who starts when, who waits for whom, how it ends.

One event loop serves the fake API, dials, reads the topics and draws; the embedded Kafka has threads of its own, the
worker is another process. What must stay true: whatever happens, the worker is stopped before the Kafka and the API it
works with, and what it wrote last is read before anything is counted.
"""

import asyncio
import http.client
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

from streams.kafka.client_config import KafkaOptions, reader_config
from streams.kafka.embedded import CLIENT_PROPERTIES, PARTITIONS_DEFAULT, EmbeddedKafka
from streams.kafka.follow import Follower
from streams.sandbox.accounts import SyntheticAccount, synthetic_accounts
from streams.sandbox.demo.dialing import Dialing
from streams.sandbox.demo.painter import Painter
from streams.sandbox.demo.picture import Phase
from streams.sandbox.demo.requests import LedgerReader, Requests
from streams.sandbox.demo.screen import Screen
from streams.sandbox.demo.summary import Summary
from streams.sandbox.demo.watch import Watch
from streams.sandbox.demo.worker import Worker, WorkerPlan, free_port
from streams.sandbox.dialer import Dialer
from streams.sandbox.fake_api import Credentials, FakeOptions, FakeTruecaller, FaultPlan
from streams.sandbox.publisher import Publisher
from streams.settings.sections import TopicSettings

_TOPICS: Final = TopicSettings()
_START_S: Final = 30.0
_READY_POLL_S: Final = 0.1
_FRAME_S: Final = 0.25
_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What to show. ``rate`` is in intents a second, 0 as fast as possible; ``ledger`` ``None`` keeps none."""

    rate: float
    accounts: int
    seed: int
    duration_s: float
    settle_s: float
    bad_share: float
    faults: FaultPlan
    status_delay_s: float = 4.0
    ledger: Path | None = None


class Ending(NamedTuple):
    """How it went; ``worker_log`` is the end of the worker's log where the worker failed, else empty."""

    summary: Summary
    worker_log: str


async def run_demo(options: DemoOptions, screen: Screen) -> Ending:
    """Run the demo from start to end, shown on ``screen``. Ctrl-C and SIGTERM end it early, in order.

    Raises ``OSError`` if the ledger cannot be written, :class:`~streams.kafka.embedded.EmbeddedKafkaError` if there is
    no embedded Kafka.
    """
    accounts = synthetic_accounts(options.accounts, options.seed)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="callstream-demo-")))
        topics = dict.fromkeys(_TOPICS.model_dump().values(), PARTITIONS_DEFAULT)
        kafka = stack.enter_context(EmbeddedKafka(topics))
        ledger = options.ledger or folder / "ledger.ndjson"
        fake = FakeTruecaller(_fake_options(options, accounts, ledger))
        stack.push_async_callback(fake.stop)
        plan = WorkerPlan(kafka.bootstrap_servers, PARTITIONS_DEFAULT, await fake.start(), accounts, free_port())
        worker = await Worker.start(plan, folder)
        stack.callback(worker.kill)
        reader = KafkaOptions(kafka.bootstrap_servers, "callstream-demo-reader", "demo", extra=CLIENT_PROPERTIES)
        follower = Follower(
            reader_config(reader), [_TOPICS.parcels, _TOPICS.outcomes, _TOPICS.dead_letters], from_beginning=True
        )
        watch = Watch(follower, stack.enter_context(LedgerReader(ledger)), Requests(accounts), _TOPICS)
        await stack.enter_async_context(watch)
        publisher = Publisher(reader, _TOPICS.intents)
        painter = Painter([account.id for account in accounts], options.duration_s, options.rate, plan.metrics_url)
        stack.enter_context(screen)
        return await Show(options, accounts, worker, watch, publisher, painter, screen).run(plan.metrics_port)


def _fake_options(options: DemoOptions, accounts: tuple[SyntheticAccount, ...], ledger: Path) -> FakeOptions:
    return FakeOptions(
        ledger=ledger,
        status_delay_s=options.status_delay_s,
        faults=options.faults,
        seed=options.seed,
        accounts={account.id: Credentials(account.key_id, account.api_key) for account in accounts},
    )


class Show:
    """One run, from the moment the worker has been started."""

    def __init__(
        self,
        options: DemoOptions,
        accounts: tuple[SyntheticAccount, ...],
        worker: Worker,
        watch: Watch,
        publisher: Publisher,
        painter: Painter,
        screen: Screen,
    ) -> None:
        dialer = Dialer(accounts, seed=options.seed, bad_share=options.bad_share)
        self._options = options
        self._worker = worker
        self._watch = watch
        self._publisher = publisher
        self._dialing = Dialing(publisher, dialer, watch.custody, accounts=len(accounts), rate=options.rate)
        self._painter = painter
        self._screen = screen
        self._phase = Phase.STARTING
        self._stop = asyncio.Event()
        self._interrupted = False

    async def run(self, metrics_port: int) -> Ending:
        """Dial, settle, drain, count."""
        background = [asyncio.create_task(work) for work in (self._draw(), self._watch_worker())]
        try:
            with self._signals():
                await self._play(metrics_port)
                self._phase = Phase.DRAINING
                crashed = self._worker.exit_code is not None
                worker_exit = await self._worker.stop()
                await self._watch.finish()
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)
        for task in background:
            if not task.cancelled():
                task.result()
        self._phase = Phase.DONE
        self._show()
        return Ending(self._summary(worker_exit), self._worker.last_words() if crashed or worker_exit else "")

    async def _play(self, metrics_port: int) -> None:
        await self._until_ready(metrics_port)
        self._painter.start()
        self._phase = Phase.DIALING
        await self._dialing.run(self._options.duration_s, self._stop)
        self._phase = Phase.SETTLING
        await self._watch.until(self._settled, self._options.settle_s)

    def _settled(self) -> bool:
        return self._stop.is_set() or self._watch.custody.finals >= self._publisher.delivered

    async def _until_ready(self, metrics_port: int) -> None:
        deadline_s = time.monotonic() + _START_S
        while not self._stop.is_set() and time.monotonic() < deadline_s:
            if await asyncio.to_thread(_is_ready, metrics_port):
                return
            await asyncio.sleep(_READY_POLL_S)

    async def _watch_worker(self) -> None:
        await self._worker.ended()
        self._end()

    def _end(self) -> None:
        self._stop.set()
        self._watch.nudge()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal ends the demo in order; the next one does not wait for the worker."""
        loop = asyncio.get_running_loop()
        for number in _ENDING_SIGNALS:
            loop.add_signal_handler(number, self._interrupt)
        try:
            yield
        finally:
            for number in _ENDING_SIGNALS:
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        if self._interrupted:
            self._worker.kill()
        self._interrupted = True
        self._end()

    async def _draw(self) -> None:
        while True:
            self._watch.read_ledger()
            self._show()
            await asyncio.sleep(_FRAME_S)

    def _show(self) -> None:
        held_back = self._phase is Phase.DIALING and self._dialing.held_back
        phase = Phase.HELD_BACK if held_back else self._phase
        self._screen.show(self._painter.paint(phase, self._publisher, self._watch.custody, self._watch.requests))

    def _summary(self, worker_exit: int) -> Summary:
        custody, requests, publisher = self._watch.custody, self._watch.requests, self._publisher
        pending = custody.pending(publisher.delivered_to)
        return Summary(
            published=publisher.delivered,
            final=dict(custody.final),
            dead_letters=custody.dead_letters.total(),
            dead_letters_by_reason=dict(custody.dead_letters),
            pending=pending,
            unaccounted=publisher.delivered - custody.finals - pending,
            final_twice=custody.final_twice,
            not_published=publisher.failed.total(),
            batches=requests.batches,
            batch_records_max=requests.batch_records_max,
            records=requests.records,
            mixed_batches=requests.mixed_batches,
            applied_twice=requests.applied_twice,
            requests=dict(requests.kinds),
            over_limit_requests=requests.over_limit,
            http_429=requests.http_429,
            seconds=round(self._painter.elapsed_s, 3),
            interrupted=self._interrupted,
            worker_exit=worker_exit,
        )


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
