"""The life of one worker process: start, run until told to stop or until something fails, drain.

What must stay true: the committers are there before the first chunk and until the last hand-over is committed; the
death of any task ends the process, so that there is never a worker that is half alive; once it was told to stop, one
line says what became of its work.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, field
from typing import Any

import faust
import structlog

from streams import __version__, failpoint
from streams.contracts.exits import ExitCode
from streams.kafka.committer import Committer
from streams.kafka.transaction import TransactionFailed
from streams.kafka.transport_options import end_process
from streams.telemetry.health import Health
from streams.telemetry.loop import heartbeat
from streams.telemetry.metrics import Metrics
from streams.telemetry.server import TelemetryServer
from streams.truecaller.client import TruecallerClient
from streams.worker.clock import boot_s
from streams.worker.draining import GivenUp, bound_the_end
from streams.worker.housekeeping import Housekeeping
from streams.worker.lane_runner import LaneRunner
from streams.worker.takeover import TakeOver

log = structlog.stdlib.get_logger(__name__)

# A worker holds hundreds of thousands of tuples for seconds to hours, none of them in a cycle. With Python's default
# of 700 new objects the collector walks them all again and again: it was a third of the CPU of a lane. The few cycles
# that asyncio and exceptions leave are small, and found after this many objects all the same.
GC_NEW_OBJECTS = 200_000
GC_GENERATIONS = 50


def _collect_garbage_rarely() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_NEW_OBJECTS, GC_GENERATIONS, GC_GENERATIONS)


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """One worker process, ready to run. ``require_topics`` blocks, and raises if the topics are not as they must be."""

    instance: str
    app: faust.App
    committers: tuple[Committer, Committer]
    runner: LaneRunner
    take_over: TakeOver
    housekeeping: Housekeeping
    client: TruecallerClient
    health: Health
    metrics: Metrics
    telemetry: TelemetryServer
    require_topics: Callable[[], None]
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping_since_s: float | None = None

    async def run(self) -> ExitCode:
        """Work until SIGTERM or SIGINT, then drain; or until something fails.

        Raises:
            InstanceTaken: Another worker runs under the same instance name.
            TopicsWrong: A topic is missing or has another number of partitions than the settings say.
        """
        _collect_garbage_rarely()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self.telemetry.start()
        if not await self._started():
            return ExitCode.CRASH
        tasks = [
            loop.create_task(self._until_failure(work))
            for work in (self.runner.run(), self.housekeeping.run(), heartbeat(self.health, self.metrics))
        ]
        log.info("worker_started", version=__version__, instance=self.instance)
        await self.app.start()
        self.health.release("starting")
        await self._stop_or_crash()
        bound_the_end(self.end)
        self._stopping_since_s = boot_s()
        self.take_over.given_up = GivenUp()
        self.health.hold("draining")
        if failpoint.hit is not None and self._stop.is_set():
            failpoint.hit("drain_begin")
        await self.app.stop()
        crashed = self.app.crashed
        self._tell_drained(self.take_over.given_up)
        if not crashed:
            # A partition may have been lost while its requests were running; cut off, they would still be applied.
            await self.runner.finished()
        await asyncio.gather(*(committer.stop() for committer in self.committers))
        for task in tasks:
            task.cancel()
        await self.client.aclose()
        self.telemetry.stop()
        if failpoint.hit is not None and self._stop.is_set():
            failpoint.hit("drain_end")
        log.info("worker_stopped", crashed=crashed)
        return ExitCode.CRASH if crashed else ExitCode.DONE

    def end(self, code: int, reason: str) -> None:
        """End the process at once, whatever it is doing, and say what becomes of its work. Any thread."""
        self._tell_drained(self.take_over.cut_off(), cut_off=reason)
        end_process(code, reason)

    def _tell_drained(self, told: GivenUp, **cause: str) -> None:
        """The one line about the end of a worker that was told to stop."""
        if self._stopping_since_s is None or not self._stop.is_set():
            return
        since_s, self._stopping_since_s = self._stopping_since_s, None
        event = log.warning if told.unknown or cause else log.info
        event("drained", **asdict(told), seconds=round(boot_s() - since_s, 3), **cause)

    async def _started(self) -> bool:
        """Reach Kafka. A stop that comes before that ends the process at once: there is nothing in hand yet."""
        reaching = asyncio.ensure_future(self._reach_kafka())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({reaching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not reaching.done():
            end_process(ExitCode.DONE, "told to stop before Kafka was reached; nothing was in hand")
        stopping.cancel()
        try:
            await reaching
        except TransactionFailed as error:
            log.critical("kafka_unreachable", reason=str(error), remedy="check kafka.bootstrap_servers and the brokers")
            return False
        return True

    async def _reach_kafka(self) -> None:
        for committer in self.committers:
            await committer.start()
        await asyncio.to_thread(self.require_topics)

    async def _stop_or_crash(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stop, self.app._crashed)]  # noqa: SLF001 - mode has no public way to wait for a crash
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _until_failure(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            log.exception("task_failed")
            self.end(ExitCode.CRASH, f"a task of the worker failed: {type(error).__name__}")
