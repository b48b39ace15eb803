"""Servers that mean harm or know no better: the verdict stays on the safe side, and memory and time stay bounded."""

import asyncio
import gzip
import os
import resource
import socket
import ssl
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.lane.verdict import Accepted, Ambiguous, Reauthenticate, RetryLater, Split, Statuses
from tests.truecaller.conftest import answer, answering, content_length, read_request, reset, self_signed, serve

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
TOKEN = "Zq7" * 21 + "x"
BODY = b'{"call_records":[]}' + b" " * 100_000
ID = b'{"batch_id":"b-1"}'

# What one answer of at most 4 MiB may cost on top: buffers of two sockets, the pieces and their sum.
GROWTH_BYTES_MAX = 48 * 1024 * 1024

MEMORY = Path("/proc/self")


async def post(client, body=BODY):
    return await client.post(ACCOUNT, TOKEN, body)


@contextmanager
def little_memory():
    """The peak of this process's memory grows by little more than one answer may be long."""
    if not (MEMORY / "clear_refs").exists():
        yield
        return
    (MEMORY / "clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    yield
    assert memory("VmHWM") - before < GROWTH_BYTES_MAX


def memory(name):
    lines = (MEMORY / "status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


# --- A complete answer that nobody should have sent -------------------------------------------------------------------

STRANGE = [
    pytest.param(answer(200, b"{}"), Accepted(None), id="F55-no-id"),
    pytest.param(answer(200, b'{"status":"success"}'), Accepted(None), id="F55-success-without-id"),
    pytest.param(answer(200, b'{"batch_id":""}'), Accepted(None), id="F55-empty-id"),
    pytest.param(answer(200, b'{"batch_id":null}'), Accepted(None), id="F55-null-id"),
    pytest.param(answer(200, b'{"batch_id":["b"]}'), Accepted(None), id="F55-list-id"),
    pytest.param(answer(200, b'{"batch_id":"b 1"}'), Accepted(None), id="F55-unsafe-id"),
    pytest.param(answer(200, b"[]"), Ambiguous("answer_unreadable"), id="F55-list"),
    pytest.param(answer(200, b'"b-1"'), Ambiguous("answer_unreadable"), id="F55-text"),
    pytest.param(answer(200, b"7"), Ambiguous("answer_unreadable"), id="F55-number"),
    pytest.param(answer(200, b'{"batch_id":"b-1"'), Ambiguous("answer_unreadable"), id="F55-half-an-object"),
    pytest.param(answer(200, ID + ID), Ambiguous("answer_unreadable"), id="F55-two-objects"),
    pytest.param(answer(200, b'{"batch_id":"d76s5-dfg9d-o32442-837467854"}'), Accepted("d76s5-dfg9d-o32442-837467854"),
                 id="F55-opaque-id"),
    pytest.param(
        answer(200, b'{"status":"success","message":"Records Uploaded Successfully. BatchID: 6dabe53b-14a5"}'),
        Accepted("6dabe53b-14a5"),
        id="B72-prose",
    ),
    pytest.param(answer(200, b'{"batch_id":"a\\r\\nX: y"}'), Accepted(None), id="B73-crlf"),
    pytest.param(answer(200, b'{"batch_id":"a?batchId=b"}'), Accepted(None), id="B73-query"),
    pytest.param(answer(200, b'\xef\xbb\xbf{"batch_id":"b-1","x":NaN}'), Accepted("b-1"), id="B74-bom-and-nan"),
    pytest.param(answer(200, b'{"batch_id":"a","batch_id":"b"}'), Accepted("b"), id="B74-duplicate-key"),
    pytest.param(answer(200, ID, b"Content-Type: text/html"), Accepted("b-1"), id="B74-content-type"),
    pytest.param(answer(200, b'{"batch_id":"b-1","by":"Jos\xe9"}'), Accepted("b-1"), id="B74-latin-1"),
    pytest.param(answer(200, b'{"errors":["x"]}'), Ambiguous("error_in_2xx"), id="B78-errors"),
    pytest.param(answer(202, b'{"status":"error"}'), Split("error_in_2xx", None, None), id="F57-202-error"),
    pytest.param(answer(206, b"half"), Ambiguous("answer_unreadable"), id="F57-206-no-json"),
    pytest.param(answer(207, b"[]"), Ambiguous("answer_unreadable"), id="F57-207-list"),
    pytest.param(answer(299, b"{}"), Accepted(None), id="F57-299-no-id"),
    pytest.param(
        answer(200, gzip.compress(ID), b"Content-Encoding: gzip"), Ambiguous("answer_unreadable"), id="F66-gzip-unasked"
    ),
    pytest.param(
        answer(200, zlib.compress(ID), b"Content-Encoding: deflate"), Ambiguous("answer_unreadable"), id="F66-deflate"
    ),
    pytest.param(
        answer(200, b"12\r\n" + ID + b"\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", length=18),
        Ambiguous("answer_framing"),
        id="F68-length-and-chunked",
    ),
    pytest.param(answer(200, ID, b"Transfer-Encoding: gzip, chunked"), Ambiguous("no_answer"), id="F68-two-codings"),
    pytest.param(answer(200, ID, b"Content-Length: -1"), Ambiguous("no_answer"), id="F68-negative-length"),
    pytest.param(answer(200, ID) + answer(500), Accepted("b-1"), id="F68-an-answer-too-many"),
    pytest.param(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Ambiguous("answer_cut"), id="F68-no-chunk-size"
    ),
    pytest.param(answer(503, b'{"message":"Failed to parse token","status":"error"}'), Reauthenticate("http_503"),
                 id="F48-503-token"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "verdict"), STRANGE)
async def test_a_strange_answer_has_one_meaning(client_of, reply, verdict):
    async with serve(answering(reply)) as server:
        client = client_of(server.url, deadline_s=2)
        assert await post(client) == verdict
        assert await post(client) == verdict
        assert server.connections == 2, "nothing that is left of one answer can reach the next"


# --- Answers without an end, or nearly --------------------------------------------------------------------------------


async def flood(writer, begin, piece, count):
    writer.write(begin)
    for _ in range(count):
        writer.write(piece)
        await writer.drain()


KILOBYTE = 1024
MEGABYTE = 1024 * KILOBYTE
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b" " * (200 * MEGABYTE), compresslevel=1)

FLOODS = [
    pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"y" * MEGABYTE, 100, "no_answer", id="F66-one-header-of-100-MB"),
    pytest.param(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000, 100, "no_answer", id="F66-a-million-headers"),
    pytest.param(b"HTTP/1.1 ", b"2" * MEGABYTE, 100, "no_answer", id="F66-endless-status-line"),
    pytest.param(CHUNKED, b"400\r\n" + b" " * KILOBYTE + b"\r\n", 100_000, "answer_too_large", id="F66-many-chunks"),
    pytest.param(CHUNKED + b"1;", b"x" * MEGABYTE, 100, "answer_cut", id="F66-endless-chunk-extension"),
    pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000, 100, "answer_cut", id="F66-endless-trailers"),
    pytest.param(answer(200, b"", length=100 * MEGABYTE), b" " * MEGABYTE, 100, "answer_too_large", id="F55-100-MB"),
    pytest.param(
        answer(200, b"", b"Content-Encoding: gzip", length=len(BOMB)), BOMB, 1, "answer_unreadable", id="F66-gzip-bomb"
    ),
]


@pytest.mark.parametrize(("begin", "piece", "count", "cause"), FLOODS)
async def test_a_flood_costs_little_memory_and_is_ambiguous(client_of, begin, piece, count, cause):
    async def script(reader, writer):
        await read_request(reader)
        await flood(writer, begin, piece, count)

    async with serve(script) as server:
        client = client_of(server.url, deadline_s=10)
        with little_memory():
            assert await post(client) == Ambiguous(cause)


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"", id="F65-status-line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="F65-header"),
        pytest.param(answer(200, b"", length=10_000), id="F65-body"),
        pytest.param(CHUNKED + b"1;", id="F65-chunk-extension"),
    ],
)
async def test_a_drip_ends_with_the_deadline_whatever_it_drips(client_of, begin):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(begin)
        while not writer.is_closing():
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.01)  # the pace of the drip, not a wait

    async with serve(script) as server:
        assert await post(client_of(server.url)) == Ambiguous("deadline")


# --- Cuts of the request ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(lambda _length: 0, id="F52-after-the-head"),
        pytest.param(lambda _length: KILOBYTE, id="F52-after-1-kB"),
        pytest.param(lambda length: length // 2, id="F52-after-half"),
        pytest.param(lambda length: length - 1, id="F52-before-the-last-byte"),
    ],
)
async def test_a_cut_request_is_never_taken_for_an_answer(client_of, share, how):
    """Nobody has read the whole request, so nobody has applied it; we may say so only where we can know it."""

    async def script(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(share(content_length(head)))
        if how == "reset":
            reset(writer)

    async with serve(script) as server:
        verdict = await post(client_of(server.url), BODY * 40)
    assert verdict in (RetryLater("request_cut", left=True), Ambiguous("no_answer"))


@pytest.mark.faults("F52")
async def test_a_request_that_was_cut_for_certain_may_go_again(client_of):
    """More than the network between us can hold: what was not read was not written, and we saw that."""

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        reset(writer)

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=10), b" " * (16 * MEGABYTE)) == RetryLater(
            "request_cut", left=True
        )


@pytest.mark.faults("F68")
@pytest.mark.parametrize(
    ("then", "verdicts"),
    [
        pytest.param("hangs", [Ambiguous("deadline")], id="then hangs"),
        pytest.param(
            "closes", [Ambiguous("answer_before_request"), RetryLater("request_cut", left=True)], id="then closes"
        ),
    ],
)
async def test_an_answer_before_the_request_was_read_is_not_believed(client_of, then, verdicts):
    """It cannot speak of records that nobody has read; whether the end of the connection overtakes it is chance."""

    async def script(reader, writer):
        writer.write(answer(200, ID))
        await reader.readuntil(b"\r\n\r\n")
        if then == "hangs":
            reader._transport.pause_reading()
            await asyncio.Event().wait()

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=0.5), b" " * (16 * MEGABYTE)) in verdicts


@pytest.mark.faults("F64")
async def test_what_is_applied_after_our_deadline_was_ambiguous_for_us(client_of):
    gave_up, applied = asyncio.Event(), asyncio.Event()

    async def script(reader, writer):
        _, body = await read_request(reader)
        await gave_up.wait()
        assert body == BODY
        applied.set()

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=0.1)) == Ambiguous("deadline")
        gave_up.set()
        await asyncio.wait_for(applied.wait(), 5)


# --- Not sent at all --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flaw",
    [
        pytest.param({"address": "127.0.0.2"}, id="F51-another-host"),
        pytest.param({"days": -1}, id="F51-expired"),
    ],
)
async def test_a_certificate_with_a_flaw_is_not_trusted_and_nothing_is_sent(client_of, tmp_path, flaw):
    certificate, context = self_signed(tmp_path, **flaw)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serve(answering(answer(200, ID)), ssl=context) as server:
        client = client_of(f"https://127.0.0.1:{server.port}", deadline_s=2, ssl_context=trusting)
        assert await post(client) == RetryLater("connect_failed")
        assert server.connections == 0, "the handshake was not finished"


@pytest.mark.faults("F50")
async def test_post_was_not_sent_when_nobody_takes_the_connection(client_of):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Nobody accepts: when the queue is full, the handshakes of further connections are not answered.
        queued = [socket.socket() for _ in range(4)]
        for each in queued:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        client = client_of(f"http://127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=0.1, deadline_s=5)
        assert await post(client) == RetryLater("connect_timeout")
        for each in queued:
            each.close()


@pytest.mark.faults("F90")
async def test_post_was_not_sent_when_there_is_no_file_descriptor_left(client_of):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve(answering(answer(200, ID))) as server:
        client = client_of(server.url, deadline_s=2)
        assert await post(client) == Accepted("b-1")
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            assert await post(client) == RetryLater("connect_failed")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert await post(client) == Accepted("b-1")
        assert server.connections == 2


# --- Checks keep their connections ------------------------------------------------------------------------------------


@pytest.mark.faults("F67")
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_connection_that_ends_at_its_reuse_costs_one_check(client_of, how):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(answer(200, b'{"data":[]}'))
        await read_request(reader)
        if how == "reset":
            reset(writer)

    async with serve(script) as server:
        client = client_of(server.url, deadline_s=2)
        assert await client.check(ACCOUNT, TOKEN, "b-1") == Statuses(())
        assert await client.check(ACCOUNT, TOKEN, "b-1") == Ambiguous("no_answer")
        assert await client.check(ACCOUNT, TOKEN, "b-1") == Statuses(())


STATUSES = [
    pytest.param(b'{"data":[]}', 0, id="B75-empty"),
    pytest.param(b'{"data":[%s]}' % b",".join([b'{"id":1,"status":"success"}'] * 501), 501, id="B75-501-items"),
    pytest.param(b'{"data":[{"id":1,"status":"teleported"}]}', 1, id="B75-unknown-word"),
    pytest.param(b'{"data":[{"id":1}]}', 1, id="B75-no-status"),
    pytest.param(b'{"data":[{"caller_number":"************","status":"success"}]}', 1, id="B75-masked"),
    pytest.param(
        b'{"data":[{"id":1,"created_at":"9999-12-31T23:59:60Z"},{"id":1}]}', 2, id="B76-odd-time-and-same-ids"
    ),
    pytest.param(b'{"data":[{"id":1},{"id":2,"batch_id":"b-2"}]}', 1, id="F80-a-stranger"),
]


@pytest.mark.parametrize(("body", "count"), STATUSES)
async def test_odd_statuses_are_read_and_never_believed_too_much(client_of, body, count):
    async with serve(answering(answer(200, body))) as server:
        verdict = await client_of(server.url, deadline_s=2).check(ACCOUNT, TOKEN, "b-1")
    assert isinstance(verdict, Statuses)
    assert len(verdict.records) == count
