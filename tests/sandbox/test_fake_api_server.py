"""The fake over HTTP: what a client sees of a fault, and what the ledger says afterwards."""

import asyncio
import errno
import io
import os
import signal
import sys
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import orjson
import pytest

from streams.cli import app
from streams.cli.fake_api import read_accounts
from streams.contracts.exits import OperatorError
from streams.sandbox.fake_api import Credentials, FakeOptions, FakeTruecaller, FaultPlan, SystemClock

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
RECORDS_PATH = f"/clients/{ACCOUNT}/dynamic_call_records"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def start(tmp_path):
    """``await start(faults="", **options)``: a running fake, its ledger's reader, and a session with a token."""
    running: list[tuple[FakeTruecaller, aiohttp.ClientSession]] = []

    async def begin(faults="", **options):
        path = tmp_path / f"ledger-{len(running)}.ndjson"
        fake = FakeTruecaller(FakeOptions(ledger=path, faults=FaultPlan.parse(faults), **options))
        session = aiohttp.ClientSession(await fake.start(), headers=JSON, timeout=aiohttp.ClientTimeout(5))
        running.append((fake, session))
        key = {"key_id": ACCOUNT, "api_key": ACCOUNT}
        async with session.post(f"/clients/{ACCOUNT}/token", json=key, headers={"X-Public-Access": "allow"}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['token']}"
        return fake, session, lambda: [orjson.loads(line) for line in path.read_bytes().splitlines()]

    yield begin
    for fake, session in running:
        await session.close()
        await fake.stop()


def batch(count=2):
    now_ms = SystemClock().now().wall_ms
    return orjson.dumps(
        {
            "call_records": [
                {
                    "caller": "918012345678",
                    "receiver": f"9198765{i:05}",
                    "label_id": ACCOUNT,
                    "starts_at": now_ms,
                    "ends_at": now_ms + 60_000,
                }
                for i in range(count)
            ]
        }
    )


async def test_the_ledger_tells_what_was_applied_and_to_whom(start):
    fake, session, ledger = await start()
    async with session.post(RECORDS_PATH, data=batch()) as answer:
        assert answer.status == 200
        batch_id = (await answer.json())["message"].rpartition(" ")[2]
    async with session.post(RECORDS_PATH, data=b"{}") as answer:
        assert answer.status == 400
    started, mint, create, refused = ledger()
    assert (started["event"], started["limits"]) == ("start", "strict")
    assert (mint["kind"], mint["token"], mint["status"]) == ("mint", 1, 200)
    assert (create["kind"], create["account"], create["token"], create["status"]) == ("post", ACCOUNT, 1, 200)
    assert (create["applied"], create["batch_id"], create["count"]) == (True, batch_id, 2)
    assert [row[:3] for row in create["records"]] == [
        ["918012345678", "919876500000", ACCOUNT],
        ["918012345678", "919876500001", ACCOUNT],
    ]
    assert create["received_mono"] <= create["answered_mono"]
    assert (refused["applied"], refused["status"], refused["over_limit"]) == (False, 400, False)
    assert "records" not in refused
    secret = session.headers["Authorization"].removeprefix("Bearer ")
    assert secret not in str(ledger())
    stats = fake.stats()
    assert (stats.requests, stats.batches, stats.records) == ({"mint": 1, "post": 2}, 1, 2)


async def test_the_ledger_has_the_line_before_the_client_has_the_answer(start):
    _, session, ledger = await start()
    for count in range(1, 6):
        async with session.post(RECORDS_PATH, data=batch(1)):
            assert len(ledger()) == 2 + count


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        pytest.param("hang", True, id="hang"),
        pytest.param("cut", True, id="cut"),
        pytest.param("reset", False, id="reset"),
    ],
)
async def test_a_fault_on_the_wire_keeps_the_answer_from_the_client(start, caplog, fault, applied):
    fake, session, ledger = await start(f"post.{fault}=1")
    with pytest.raises((aiohttp.ClientError, TimeoutError)):
        async with asyncio.timeout(0.3), session.post(RECORDS_PATH, data=batch()) as answer:
            await answer.read()
    line = ledger()[-1]
    assert (line["fault"], line["applied"], line["status"]) == (fault, applied, None)
    assert ("records" in line) is applied
    assert fake.stats().batches == int(applied)
    await fake.stop()
    assert not caplog.records


async def test_an_untracked_batch_is_applied_and_answered_with_nothing(start):
    _, session, ledger = await start("untracked=1")
    async with session.post(RECORDS_PATH, data=batch()) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert ledger()[-1]["applied"]


async def test_retry_after_goes_with_every_429(start):
    _, session, _ = await start("429=1,retry_after=2.5")
    async with session.post(RECORDS_PATH, data=batch()) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "2.5")


async def test_a_body_that_never_comes_whole_is_written_down_as_cut(start):
    _, session, ledger = await start()
    base = str(session._base_url)
    port = int(base.rstrip("/").rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST {RECORDS_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
    await writer.drain()
    writer.close()
    async with asyncio.timeout(5):
        while "flaw" not in (line := ledger()[-1]):
            await asyncio.sleep(0)
    assert (line["flaw"], line["applied"], line["status"]) == ("cut", False, None)


async def test_a_body_beyond_the_cap_is_refused(start):
    _, session, ledger = await start()
    async with session.post(RECORDS_PATH, data=io.BytesIO(b" " * (4 * 1024 * 1024 + 1))) as answer:
        assert answer.status == 413
    assert ledger()[-1]["flaw"] == "too_large"


async def test_what_hangs_ends_when_its_client_goes_away(start):
    _, session, _ = await start("post.hang=1")
    with_the_connection = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), session.post(RECORDS_PATH, data=batch()):
            pass
    async with asyncio.timeout(5):
        while len(asyncio.all_tasks()) >= with_the_connection:
            await asyncio.sleep(0)


async def test_stop_ends_what_hangs(start):
    fake, session, ledger = await start("post.hang=1")
    hanging = asyncio.create_task(session.post(RECORDS_PATH, data=batch()))
    async with asyncio.timeout(5):
        while len(ledger()) < 3:
            await asyncio.sleep(0)
        await fake.stop()
        with pytest.raises(aiohttp.ClientError):
            await hanging


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["TERM", "INT"])
async def test_the_command_says_when_it_listens_and_stops_on_a_signal(tmp_path, number, code):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streams",
        "fake-api",
        "--port=0",
        f"--ledger={tmp_path / 'l'}",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = orjson.loads(await process.stdout.readline())
        assert ready["event"] == "fake_api_ready"
        async with aiohttp.ClientSession() as session, session.get(ready["url"]) as answer:
            assert answer.status == 404
        process.send_signal(number)
        assert await process.wait() == code
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--ledger", "{tmp}/no/l"], "--ledger {tmp}/no/l: No such file or directory", id="no directory"),
        pytest.param(["--ledger", "/dev/full"], "--ledger /dev/full: No space left on device", id="no space"),
        pytest.param(["--host", "256.0.0.1"], "--host 256.0.0.1 --port 0: ", id="no address"),
    ],
)
def test_what_keeps_the_command_from_running_is_named(tmp_path, capsys, arguments, complaint):
    with pytest.raises(OperatorError) as told:
        app(["fake-api", "--port=0", *(each.format(tmp=tmp_path) for each in arguments)], standalone_mode=False)
    assert f"the fake API cannot run: {complaint.format(tmp=tmp_path)}" in str(told.value)


async def test_a_ledger_that_is_full_ends_the_fake(tmp_path, monkeypatch, caplog):
    fake = FakeTruecaller(FakeOptions(ledger=tmp_path / "l"))
    url = await fake.start()
    try:
        monkeypatch.setattr(os, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.post(f"{url}/clients/{ACCOUNT}/token", data=b"{}")
        assert str(await fake.failed()) == f"[Errno {errno.ENOSPC}] No space left on device"
        assert not caplog.records
    finally:
        monkeypatch.undo()
        await fake.stop()


ENTRY = f"{{id: {ACCOUNT.upper()}, key_id: k, api_key: s}}"


@pytest.mark.parametrize(
    "text", [f"[{ENTRY}]", f"accounts: [{ENTRY}]", f'[{{"id":"{ACCOUNT}","key_id":"k","api_key":"s"}}]']
)
def test_accounts_are_read_from_yaml_or_json(tmp_path: Path, text):
    path = tmp_path / "accounts.yaml"
    path.write_text(text)
    assert read_accounts(path) == {ACCOUNT: Credentials("k", "s")}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(f"[{ACCOUNT.upper()}]", (ACCOUNT,), id="a list"),
        pytest.param("[]", (), id="none at all"),
        pytest.param("null", None, id="nothing"),
        pytest.param("reject", None, id="the word of the settings"),
    ],
)
def test_accounts_may_have_labels(tmp_path: Path, labels, expected):
    path = tmp_path / "accounts.yaml"
    path.write_text(f"[{ENTRY[:-1]}, labels: {labels}}}]")
    assert read_accounts(path)[ACCOUNT].labels == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"[{ENTRY[:-1]}, labels: [x]}}]", "account 1: labels must be a list of UUIDs"),
        (f"[{ENTRY[:-1]}, labels: 7}}]", "account 1: labels must be a list of UUIDs"),
        ("[", "not YAML"),
        ("{}", "must be a list"),
        ("[7]", "account 1 must be a mapping"),
        ("[{id: x, key_id: secret-k, api_key: secret-s}]", "account 1: id must be a UUID"),
        (f"[{{id: {ACCOUNT}, key_id: secret-k}}]", "account 1: api_key must be a text"),
    ],
)
def test_a_bad_accounts_file_is_named_without_its_secrets(tmp_path: Path, text, complaint):
    path = tmp_path / "accounts.yaml"
    path.write_text(text)
    with pytest.raises(OperatorError, match=complaint) as raised:
        read_accounts(path)
    assert "secret" not in str(raised.value)
