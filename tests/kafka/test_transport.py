"""The transport on a real Kafka, in both group protocols."""

import asyncio
import logging
import threading
import time
import uuid
from itertools import pairwise
from typing import Any

import pytest

from scripts.kafka import Cluster
from streams.contracts.exits import ExitCode, OperatorError
from streams.kafka import chunks, client_config, poll_thread
from streams.kafka.lease import Lease
from streams.kafka.standing import Committed, PartitionBlocked, Standing, first_start
from streams.kafka.transport import Marks
from tests.kafka.transport_workers import (
    PROTOCOLS,
    Worker,
    commit,
    delete_before,
    fill,
    load,
    running,
    transactional,
    with_transactions,
)

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def group() -> str:
    return f"g-{uuid.uuid4().hex[:12]}"


@pytest.mark.faults("F14")
async def test_chunks_of_a_lease_are_contiguous_and_bounded(
    bootstrap: str, new_topic: Any, group: str, protocol: str
) -> None:
    topic = new_topic(4)
    fill(bootstrap, topic, partitions=4, records=10_000)
    worker = Worker(bootstrap, topic, group, protocol, chunk_records_max=500, chunk_bytes_max=20_000)
    async with running(worker):
        await worker.until(lambda: worker.records() >= 10_000)
    for lease, of_lease in worker.by_lease().items():
        assert of_lease[0].start == lease.start_offset == 0
        assert all(later.start == earlier.next for earlier, later in pairwise(of_lease))
        assert all(len(chunk.messages) * 100 <= 20_000 for chunk in of_lease)
    assert worker.offsets() == {partition: list(range(2_500)) for partition in range(4)}
    assert worker.fatal == []


@pytest.mark.faults("F77")
async def test_reading_goes_on_behind_transaction_markers(
    bootstrap: str, new_topic: Any, group: str, protocol: str
) -> None:
    topic = new_topic(2)
    with_transactions(bootstrap, topic, partition=0, outcomes=["commit", "abort", "commit", "abort"])
    with_transactions(bootstrap, topic, partition=1, outcomes=["abort"])
    worker = Worker(bootstrap, topic, group, protocol)
    async with running(worker):
        # Ten records and a marker for each transaction.
        await worker.until(lambda: sorted(worker.positions().values()) == [11, 44])
        await worker.until_owning(2)
    assert worker.offsets() == {0: [*range(10), *range(22, 32)], 1: []}


@pytest.mark.faults("F19")
async def test_workers_join_and_leave_under_load(bootstrap: str, new_topic: Any, group: str, protocol: str) -> None:
    topic = new_topic(8)
    first, second = (
        Worker(bootstrap, topic, group, protocol, name=name, producer=transactional(bootstrap))
        for name in ("first", "second")
    )
    first.revoke_s = 0.2
    with load(bootstrap, topic, partitions=8, per_s=2_000) as sent:
        async with running(first):
            await first.until(lambda: len(first.by_lease()) == 8)
            joined_s = time.monotonic()
            async with running(second):
                await second.until(lambda: len(second.by_lease()) == 4)
                kept = {lease.partition for lease in first.owned.leases()}
                moved = {lease.partition for lease in second.owned.leases()}
                left_s = time.monotonic()
            await first.until(lambda: len({lease.partition for lease in first.owned.leases()} & moved) == 4)
            back_s = time.monotonic()
            await first.until(lambda: all(first.longest_gap_s(p, back_s) for p in range(8)))
            in_time = {p: (first.longest_gap_s(p, joined_s), first.longest_gap_s(p, left_s)) for p in kept}
    assert len(kept) == len(moved) == 4
    # Untouched partitions wait for the hook of the others (0.2 s), and when nobody revokes, for nothing.
    assert max(gap_s for gap_s, _ in in_time.values()) < 0.7, in_time
    assert max(gap_s for _, gap_s in in_time.values()) < 0.5, in_time
    # Given up only after the hook had returned, in both directions; and each record was processed once.
    for giver, taker in ((first, second), (second, first)):
        for lease, at_s in giver.revoked_at_s.items():
            later = [s for each, s in taker.assigned_at_s.items() if each.partition == lease.partition and s > joined_s]
            assert all(s >= at_s for s in later if s > giver.assigned_at_s[lease])
    assert first.lost == second.lost == []
    assert first.fatal == second.fatal == []
    processed = sorted((p, o) for worker in (first, second) for p, os in worker.offsets().items() for o in os)
    assert len(processed) == len(set(processed)) <= sent()
    for partition in range(8):
        offsets = [offset for p, offset in processed if p == partition]
        assert offsets == list(range(len(offsets)))


@pytest.mark.faults("F22")
async def test_back_pressure_never_costs_the_membership(
    bootstrap: str, new_topic: Any, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    interval_s = 6.0  # the shortest session that a broker allows by default; the poll interval cannot be shorter
    monkeypatch.setattr(client_config, "MAX_POLL_INTERVAL_MS", int(interval_s * 1000))
    topic = new_topic(2)
    fill(bootstrap, topic, partitions=2, records=20_000)
    marks = Marks(records_high=2_000, records_low=500)
    workers = [Worker(bootstrap, topic, f"{group}-{each}", each, name=each, marks=marks) for each in PROTOCOLS]
    for worker in workers:
        worker.agent_may_go.clear()
    async with running(*workers):
        for worker in workers:
            await worker.until_owning(2)
        # Time passes that is longer than the interval. Nothing may happen in it.
        deadline_s = time.monotonic() + interval_s + 1.5
        for worker in workers:
            left_s = max(0.1, deadline_s - time.monotonic())
            with pytest.raises(AssertionError, match="not within"):
                await worker.until(lambda: bool(worker.revoked_at_s or worker.fatal), timeout_s=left_s)  # noqa: B023 - called at once
        lags = [sum(worker.owned.lag().values()) for worker in workers]
        for worker in workers:
            worker.agent_may_go.set()
            await worker.until(lambda: worker.records() == 20_000)  # noqa: B023 - called at once
    # Not read ahead of the agent by more than the marks and a chunk.
    assert min(lags) >= 20_000 - 2 * (2_000 + 1_000)
    assert [len(worker.assigned_at_s) for worker in workers] == [2, 2]


async def test_stops_within_two_seconds_and_leaves_the_group(
    bootstrap: str, new_topic: Any, group: str, protocol: str
) -> None:
    topic = new_topic(4)
    first = Worker(bootstrap, topic, group, protocol, name="first")
    with load(bootstrap, topic, partitions=4, per_s=2_000):
        async with running(first):
            await first.until(lambda: len(first.by_lease()) == 4)
            began_s = time.monotonic()
        took_s = time.monotonic() - began_s
        second = Worker(bootstrap, topic, group, protocol, name="second")
        async with running(second):
            began_s = time.monotonic()
            await second.until(lambda: len(second.by_lease()) == 4)
            waited_s = time.monotonic() - began_s
    assert took_s < 2.0
    assert len(first.revoked_at_s) == 4
    assert first.lost == []
    assert not any(lease.alive or not lease.lost for lease in first.revoked_at_s)
    assert first.owned.group_metadata() is None
    assert waited_s < 4.0, "the group waited for the session of a worker that had left"


async def test_a_slow_start_of_one_partition_stops_no_other(
    bootstrap: str, new_topic: Any, group: str, protocol: str
) -> None:
    topic = new_topic(3)
    fill(bootstrap, topic, partitions=3, records=3_000)
    worker = Worker(bootstrap, topic, group, protocol)
    may_start = asyncio.Event()

    async def assigned(lease: Lease) -> None:
        if lease.partition == 0:
            await may_start.wait()
        if lease.partition == 1:
            raise PartitionBlocked("the journal disagrees")

    worker.on_assigned = assigned
    async with running(worker):
        await worker.until(lambda: len(worker.offsets()[2]) == 1_000)
        assert set(worker.offsets()) == {2}
        await worker.until(lambda: worker.owned.blocked() == {(topic, 1): "the journal disagrees"})
        may_start.set()
        await worker.until(lambda: len(worker.offsets()[0]) == 1_000)
        # Stops while one partition is blocked: its lease, too, goes through the hook.
    assert set(worker.offsets()) == {0, 2}
    assert {lease.partition for lease in worker.revoked_at_s} == {0, 1, 2}


async def test_a_partition_that_is_still_starting_can_move(
    bootstrap: str, new_topic: Any, group: str, protocol: str
) -> None:
    topic = new_topic(2)
    fill(bootstrap, topic, partitions=2, records=20)
    first = Worker(bootstrap, topic, group, protocol, name="first")
    second = Worker(bootstrap, topic, group, protocol, name="second")

    async def assigned(lease: Lease) -> None:
        await asyncio.Event().wait()

    first.on_assigned = assigned
    async with running(first):
        await first.until(lambda: len(first.assigned_at_s) == 2)
        async with running(second):
            await second.until(lambda: second.records() == 10)
            assert len(first.revoked_at_s) == 1
        await first.until(lambda: len(first.assigned_at_s) == 3)
    assert first.assigned_at_s.keys() == first.revoked_at_s.keys()
    assert first.chunks == []
    assert first.fatal == second.fatal == []


async def test_the_application_pauses_one_partition(bootstrap: str, new_topic: Any, group: str, protocol: str) -> None:
    topic = new_topic(2)
    worker = Worker(bootstrap, topic, group, protocol)
    async with running(worker):
        await worker.until(lambda: len(worker.assigned_at_s) == 2)
        paused, other = sorted(worker.owned.leases(), key=lambda lease: lease.partition)
        worker.owned.pause(paused)
        worker.owned.pause(paused)
        fill(bootstrap, topic, partitions=2, records=2_000)
        await worker.until(lambda: len(worker.offsets()[other.partition]) == 1_000)
        assert worker.offsets()[paused.partition] == []
        # With everything paused, the client's own threads go to sleep, and may sleep for a second.
        worker.owned.pause(other)
        took_s = [await resumed_after_s(worker, bootstrap, paused) for _ in range(4)]
        assert len(worker.offsets()[other.partition]) == 1_000
    assert max(took_s) < 0.4, took_s


async def resumed_after_s(worker: Worker, bootstrap: str, paused: Lease) -> float:
    """Seconds from a resume to the first chunk, where a record waits; pauses again."""
    fill(bootstrap, paused.topic, partitions=1, records=1)
    before = len(worker.chunks)
    resumed_s = time.monotonic()
    worker.owned.resume(paused)
    worker.owned.resume(paused)
    await worker.until(lambda: len(worker.chunks) > before)
    took_s = time.monotonic() - resumed_s
    worker.owned.pause(paused)
    return took_s


@pytest.mark.faults("F8")
async def test_a_committed_offset_outside_the_log_blocks_the_partition(
    bootstrap: str, new_topic: Any, group: str
) -> None:
    topic = new_topic(3)
    fill(bootstrap, topic, partitions=3, records=300)
    commit(bootstrap, group, topic, {0: 40, 1: 500, 2: 60})
    delete_before(bootstrap, topic, {0: 50})
    worker = Worker(bootstrap, topic, group, "auto")
    async with running(worker):
        await worker.until(lambda: bool(worker.positions()) and len(worker.owned.blocked()) == 2)
        blocked = worker.owned.blocked()
    assert "10 offsets [40, 50) are gone" in blocked[(topic, 0)]
    assert "400 offsets [100, 500) were read and committed, and the log does not have them" in blocked[(topic, 1)]
    assert worker.offsets() == {2: list(range(60, 100))}
    (lease,) = worker.by_lease()
    assert lease.standing is not None
    assert (lease.start_offset, lease.standing.committed, lease.topic_id is None) == (60, Committed(60), False)


@pytest.mark.faults("F9")
async def test_a_first_read_starts_where_the_settings_say(bootstrap: str, new_topic: Any, group: str) -> None:
    topic = new_topic(1)
    fill(bootstrap, topic, partitions=1, records=10)

    async def start_of(standing: Standing) -> int:
        return first_start(standing, "latest")

    worker = Worker(bootstrap, topic, group, "auto", start_of=start_of)
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        fill(bootstrap, topic, partitions=1, records=5)
        await worker.until(lambda: worker.records() == 5)
    assert worker.offsets() == {0: [10, 11, 12, 13, 14]}


async def test_a_revoke_beyond_its_time_ends_the_process(bootstrap: str, new_topic: Any, group: str) -> None:
    topic = new_topic(1)
    worker = Worker(bootstrap, topic, group, "auto", revoke_timeout_s=0.2)
    worker.revoke_s = 30.0
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        (lease,) = worker.owned.leases()
    ((code, reason),) = worker.fatal
    assert (code, "took more than 0.2 s" in reason) == (1, True)
    assert lease.lost


@pytest.mark.faults("F5", "F18")
async def test_a_revocation_is_a_loss_once_the_group_knows_no_such_member(
    bootstrap: str, new_topic: Any, group: str
) -> None:
    worker = Worker(bootstrap, new_topic(1), group, "auto", revoke_timeout_s=20.0)
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        (lease,) = worker.owned.leases()

        async def commit_fails() -> None:
            while not lease.lost:
                member = worker.owned.group_metadata()
                assert member is not None
                worker.owned.expelled(member)
                await asyncio.sleep(0.05)

        worker.on_revoked = commit_fails
    assert lease in worker.revoked_at_s
    assert not worker.fatal


@pytest.mark.faults("F91")
async def test_an_error_in_the_poll_thread_ends_the_process(
    bootstrap: str, new_topic: Any, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_topic(1)
    worker = Worker(bootstrap, topic, group, "auto")
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        (lease,) = worker.owned.leases()
        monkeypatch.setattr(chunks.Cutter, "position", 1_000, raising=False)
        monkeypatch.setattr(chunks.Cutter, "cut", lambda *_: 1 / 0)
        fill(bootstrap, topic, partitions=1, records=10)
        await worker.until(lambda: bool(worker.fatal) and bool(worker.lost))
    assert worker.fatal == [(1, "the Kafka consumer failed: ZeroDivisionError: division by zero")]
    assert worker.lost == [lease]
    assert lease.lost


@pytest.mark.faults("F91")
async def test_a_call_that_hangs_ends_the_process(
    bootstrap: str, new_topic: Any, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll_thread, "STUCK_S", 0.3)
    may_end = threading.Event()
    worker = Worker(bootstrap, new_topic(1), group, "auto", revoke_timeout_s=0.2)
    async with running(worker):
        await worker.until(lambda: bool(worker.assigned_at_s))
        monkeypatch.setattr(poll_thread.PollThread, "_turn", lambda *_: may_end.wait(20))
        await worker.until(lambda: bool(worker.fatal))
        may_end.set()
    assert worker.fatal == [(ExitCode.WATCHDOG, "the Kafka consumer hangs in poll")]


@pytest.mark.faults("F91")
async def test_a_hook_that_fails_ends_the_process_with_its_code(bootstrap: str, new_topic: Any, group: str) -> None:
    class NotReady(OperatorError):
        exit_code = ExitCode.PRECONDITION

    async def assigned(lease: Lease) -> None:
        raise NotReady("create the journal first")

    worker = Worker(bootstrap, new_topic(1), group, "consumer")
    worker.on_assigned = assigned
    async with running(worker):
        await worker.until(lambda: bool(worker.fatal))
    ((code, reason),) = worker.fatal
    assert code == ExitCode.PRECONDITION
    assert "create the journal first" in reason


async def test_auto_goes_on_with_classic_where_the_new_protocol_is_refused(
    new_topic: Any, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Cluster(properties={"group.coordinator.rebalance.protocols": "classic"}) as old:
        topic = new_topic(2, at=old.bootstrap)
        fill(old.bootstrap, topic, partitions=2, records=100)
        worker = Worker(old.bootstrap, topic, group, "auto")
        async with running(worker):
            await worker.until(lambda: worker.records() == 100)
    loud = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) == 1
    assert "'consumer' is refused" in loud[0]
    assert worker.fatal == []
