"""The client against a server that misbehaves in every way we know: one verdict, never an exception."""

import asyncio
import contextlib
import gzip
import logging
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streams.lane.verdict import (
    Accepted,
    Ambiguous,
    Minted,
    NotVisible,
    Reauthenticate,
    Refuse,
    RetryLater,
    Split,
    Statuses,
)
from tests.truecaller.conftest import answer, answering, content_length, read_request, reset, self_signed, serve

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
TOKEN = "Zq7" * 21 + "x"
NUMBER = "919876543210"
BODY = b'{"call_records":[{"caller":"%s"}]}' % NUMBER.encode() + b" " * 100_000
ID = b'{"batch_id":"b-1"}'


async def post(client, body=BODY):
    return await client.post(ACCOUNT, TOKEN, body)


# --- What one whole answer means ------------------------------------------------------------------------------------

ANSWERS = [
    pytest.param(answer(200, ID), Accepted("b-1"), id="200"),
    pytest.param(answer(202, ID), Accepted("b-1"), id="F57-202"),
    pytest.param(answer(206, ID), Accepted("b-1"), id="F57-206"),
    pytest.param(answer(207, ID), Accepted("b-1"), id="F57-207"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", Accepted(None), id="F57-204"),
    pytest.param(answer(200), Accepted(None), id="F55-200-empty"),
    pytest.param(answer(200, b'{"batch_id":"../../token"}'), Accepted(None), id="F55-B73-200-id-with-path"),
    pytest.param(answer(200, b'{"batch_id":"%s"}' % (b"a" * 129)), Accepted(None), id="F55-200-id-too-long"),
    pytest.param(answer(200, b"<html>login</html>"), Ambiguous("answer_unreadable"), id="F55-200-html"),
    pytest.param(answer(200, b"null"), Ambiguous("answer_unreadable"), id="F55-200-null"),
    pytest.param(answer(200, b"x" * 20_000), Ambiguous("answer_too_large"), id="F55-200-too-large"),
    pytest.param(answer(200, ID, length=500), Ambiguous("answer_cut"), id="F55-200-cut"),
    pytest.param(
        answer(200, b'{"status":"error","field":"ends_at","message":"no"}'),
        Split("error_in_2xx", "ends_at", "no"),
        id="B78-200-error",
    ),
    pytest.param(
        answer(200, b'{"slug":"authorization-error"}'), Reauthenticate("authorization-error"), id="B78-200-slug"
    ),
    pytest.param(
        answer(200, gzip.compress(b" " * 10_000_000), b"Content-Encoding: gzip"),
        Ambiguous("answer_unreadable"),
        id="F66-200-gzip-bomb",
    ),
    pytest.param(answer(200, ID, b"Content-Length: 3"), Ambiguous("no_answer"), id="F68-two-lengths"),
    pytest.param(answer(200, ID, b"X: " + b"y" * 300_000), Ambiguous("no_answer"), id="F66-huge-header"),
    pytest.param(answer(200, ID, *[b"X: y"] * 50_000), Ambiguous("no_answer"), id="F66-many-headers"),
    pytest.param(b"SSH-2.0-OpenSSH_9\r\n\r\n", Ambiguous("no_answer"), id="not-http"),
    *(
        pytest.param(answer(code, b"", b"Location: http://169.254.169.254/"), Ambiguous("redirect"), id=f"F58-{code}")
        for code in (301, 302, 303, 307, 308)
    ),
    pytest.param(answer(400), Split("http_400", None, None), id="F59-400"),
    pytest.param(answer(413), Split("http_413", None, None, too_large=True), id="F61-413"),
    pytest.param(answer(422, b"[]"), Split("http_422", None, None), id="F59-422"),
    pytest.param(answer(400, b"{", length=100), Split("http_400", None, None), id="400-cut"),
    pytest.param(answer(401, b"{", length=100), Reauthenticate("http_401"), id="401-cut"),
    pytest.param(answer(403), Refuse("http_403"), id="F47-403"),
    pytest.param(answer(404), Refuse("http_404"), id="404"),
    pytest.param(answer(451), Refuse("http_451"), id="unknown-4xx"),
    pytest.param(answer(408), Ambiguous("http_408"), id="408"),
    pytest.param(answer(429), RetryLater("http_429", throttled=True, left=True), id="F43-429"),
    pytest.param(
        answer(429, b"", b"Retry-After: 7"),
        RetryLater("http_429", throttled=True, retry_after_s=7.0, left=True),
        id="F42-429-later",
    ),
    pytest.param(
        answer(429, b"", b"X-RateLimit-Remaining: 0", b"X-RateLimit-Reset: 12"),
        RetryLater("http_429", throttled=True, retry_after_s=12.0, left=True),
        id="F42-429-reset",
    ),
    pytest.param(answer(500), Ambiguous("http_500"), id="F62-500"),
    pytest.param(answer(503, b"", b"Retry-After: 9"), Ambiguous("http_503", retry_after_s=9.0), id="F62-503-later"),
    pytest.param(answer(504), Ambiguous("http_504"), id="F62-504"),
    pytest.param(
        answer(500, b'{"slug":"internal-server-error","message":"500/50011 - Failed to parse token"}'),
        Reauthenticate("http_500"),
        id="F48-500-token",
    ),
]


@pytest.mark.parametrize(("reply", "verdict"), ANSWERS)
async def test_post_reads_an_answer(client_of, reply, verdict):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(reply)
        await writer.drain()

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=2, answer_bytes_max=16_384)) == verdict


# --- What becomes of a request when the network fails ---------------------------------------------------------------


async def reset_on_accept(reader, writer):
    reset(writer)


async def close_on_accept(reader, writer):
    writer.close()


async def reset_after_head(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    reset(writer)


async def reset_within_body(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(content_length(head) // 2)
    reset(writer)


async def reset_before_last_byte(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(content_length(head) - 1)
    reset(writer)


async def reset_after_body(reader, writer):
    await read_request(reader)
    reset(writer)


async def close_after_body(reader, writer):
    await read_request(reader)
    writer.close()


async def cut_the_status_line(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 O")
    writer.close()


async def hang_after_body(reader, writer):
    await read_request(reader)
    await reader.read()


async def hang_in_the_body(reader, writer):
    await read_request(reader)
    writer.write(answer(200, ID, length=100))
    await reader.read()


async def drip(reader, writer):
    await read_request(reader)
    writer.write(answer(200, b"", length=10_000))
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)  # the pace of the drip, not a wait


async def informational_for_ever(reader, writer):
    await read_request(reader)
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)  # the pace of the hints, not a wait


async def chunks_for_ever(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


DOUBT = [
    pytest.param(reset_after_body, "no_answer", id="F53-reset-after-body"),
    pytest.param(close_after_body, "no_answer", id="F53-close-after-body"),
    pytest.param(cut_the_status_line, "no_answer", id="F53-cut-status-line"),
    pytest.param(hang_after_body, "deadline", id="F53-hang-after-body"),
    pytest.param(hang_in_the_body, "deadline", id="F53-hang-within-answer"),
    pytest.param(drip, "deadline", id="F65-slow-drip"),
    pytest.param(informational_for_ever, "deadline", id="F65-endless-1xx"),
    pytest.param(chunks_for_ever, "answer_too_large", id="F66-endless-chunks"),
]


@pytest.mark.parametrize(("script", "cause"), DOUBT)
async def test_post_is_ambiguous_when_the_records_may_have_arrived(client_of, script, cause):
    async with serve(script) as server:
        assert await post(client_of(server.url)) == Ambiguous(cause)


@pytest.mark.parametrize(
    "script",
    [reset_on_accept, close_on_accept, reset_after_head, reset_within_body, reset_before_last_byte],
)
@pytest.mark.faults("F52")
async def test_post_never_claims_too_much_when_the_request_is_cut(client_of, script):
    """The kernel decides how far we see: a cut that we saw is proof, one that we did not is doubt."""
    async with serve(script) as server:
        verdict = await post(client_of(server.url))
    assert verdict in (
        RetryLater("request_cut", left=True),
        RetryLater("not_sent"),
        Ambiguous("no_answer"),
    )


@pytest.mark.faults("F61")
async def test_post_is_split_when_refused_before_its_body_was_read(client_of):
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b"", b"Connection: close"))
        await writer.drain()
        await reader.read()

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=2)) == Split("http_413", None, None, too_large=True)


@pytest.mark.faults("F50")
async def test_post_was_not_sent_when_nobody_listens(client_of):
    async with serve(reset_on_accept) as server:
        pass
    assert await post(client_of(server.url)) == RetryLater("connect_failed")


@pytest.mark.faults("F50")
async def test_post_was_not_sent_when_the_host_is_unknown(client_of):
    verdict = await post(client_of("https://nobody.invalid", deadline_s=2))
    assert isinstance(verdict, RetryLater)


@pytest.mark.faults("F51")
async def test_post_was_not_sent_when_the_server_speaks_no_tls(client_of):
    async def script(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serve(script) as server:
        assert await post(client_of(f"https://127.0.0.1:{server.port}")) == RetryLater("connect_failed")


@pytest.mark.faults("F51")
async def test_post_was_not_sent_when_the_handshake_hangs(client_of):
    async def script(reader, writer):
        await reader.read()

    async with serve(script) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert await post(client_of(url, connect_timeout_s=0.1)) == RetryLater("connect_timeout")
        assert await post(client_of(url, deadline_s=0.1)) == RetryLater("connect_timeout")


@pytest.mark.faults("F51")
async def test_post_goes_over_tls_only_to_a_trusted_server(client_of, tmp_path):
    certificate, context = self_signed(tmp_path)
    async with serve(answering(answer(200, ID)), ssl=context) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert await post(client_of(url, deadline_s=2)) == RetryLater("connect_failed")
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert await post(client_of(url, deadline_s=2, ssl_context=trusting)) == Accepted("b-1")


@pytest.mark.faults("F54")
async def test_post_meets_its_deadline_on_either_side(client_of):
    release = asyncio.Event()

    async def script(reader, writer):
        await read_request(reader)
        await release.wait()
        writer.write(answer(200, ID))
        await writer.drain()

    async with serve(script) as server:
        assert await post(client_of(server.url, deadline_s=0.1)) == Ambiguous("deadline")
        under = asyncio.create_task(post(client_of(server.url, deadline_s=5)))
        release.set()
        assert await under == Accepted("b-1")


@pytest.mark.faults("F62")
async def test_not_applied_statuses_are_the_operators_choice(client_of):
    async with serve(answering(answer(503, b"", b"Retry-After: 3"))) as server:
        client = client_of(server.url, not_applied_statuses=frozenset({503}))
        assert await post(client) == RetryLater("http_503", retry_after_s=3.0, left=True)
    async with serve(answering(answer(429, b"", b"Retry-After: 3"))) as server:
        client = client_of(server.url, not_applied_statuses=frozenset())
        assert await post(client) == Ambiguous("http_429", retry_after_s=3.0)


# --- What is sent ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "prefix"), [("v1", b""), ("v2", b"/v2"), ("v3", b"/v3")])
async def test_requests_carry_what_is_documented_and_nothing_else(client_of, version, prefix):
    heads: list[bytes] = []

    async def script(reader, writer):
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            writer.write(answer(200, b'{"token":"0123456789abcdef"}', b"Set-Cookie: a=b"))
            await writer.drain()

    async with serve(script) as server:
        client = client_of(server.url, submit_version=version, status_version=version)
        assert await client.mint(ACCOUNT, "key", "secret") == Minted("0123456789abcdef")
        await post(client)
        await client.check(ACCOUNT, TOKEN, "b-1")
    mint, create, check = [head.split(b"\r\n") for head in heads]
    account = ACCOUNT.encode()
    assert mint[0] == b"POST /clients/%s/token HTTP/1.1" % account
    assert create[0] == b"POST %s/clients/%s/dynamic_call_records HTTP/1.1" % (prefix, account)
    assert check[0] == b"GET %s/clients/%s/dynamic_call_records?batchId=b-1 HTTP/1.1" % (prefix, account)
    names = [{line.partition(b":")[0].lower() for line in lines[1:-2]} for lines in (mint, create, check)]
    common = {b"host", b"user-agent", b"accept", b"accept-encoding", b"content-type"}
    assert names[0] == common | {b"x-public-access", b"content-length", b"connection"}
    assert names[1] == common | {b"authorization", b"content-length", b"connection"}
    assert names[2] == common | {b"authorization"}
    assert b"Accept-Encoding: identity" in create
    assert b"Authorization: Bearer " + TOKEN.encode() in create


@pytest.mark.faults("F67")
async def test_a_post_takes_a_fresh_connection_and_checks_share_one(client_of):
    async with serve(answering(answer(200, b'{"batch_id":"b-1","data":[]}'))) as server:
        client = client_of(server.url)
        for expected in (2, 3, 4):
            assert await client.check(ACCOUNT, TOKEN, "b-1") == Statuses(())
            assert await post(client) == Accepted("b-1")
            assert server.connections == expected


async def test_the_environment_changes_nothing(client_of, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serve(answering(answer(200, ID))) as server:
        assert await post(client_of(server.url)) == Accepted("b-1")


@pytest.mark.faults("F58")
async def test_a_redirect_is_not_followed(client_of):
    async with serve(answering(answer(200, ID))) as other:
        reply = answer(307, b"", f"Location: {other.url}/".encode())
        async with serve(answering(reply)) as server:
            client = client_of(server.url)
            assert await post(client) == Ambiguous("redirect")
            assert await client.check(ACCOUNT, TOKEN, "b-1") == Refuse("redirect")
            assert await client.mint(ACCOUNT, "key", "secret") == Refuse("redirect")
        assert other.connections == 0


@pytest.mark.parametrize("account_id", ["", "..", "a/../../token", "a?b", "a#f", "//evil.example/", ACCOUNT.upper()])
async def test_only_a_canonical_account_id_reaches_a_url(client_of, account_id):
    client = client_of("http://127.0.0.1:1")
    for call in (
        client.post(account_id, TOKEN, BODY),
        client.check(account_id, TOKEN, "b-1"),
        client.mint(account_id, "key", "secret"),
    ):
        with pytest.raises(ValueError, match="canonical UUID"):
            await call


# --- Status checks and tokens ---------------------------------------------------------------------------------------

CHECKS = [
    pytest.param(answer(200, b'{"data":[]}'), Statuses(()), id="B75-no-records-yet"),
    pytest.param(answer(200), Statuses(()), id="empty"),
    pytest.param(answer(200, b"[]"), Statuses(()), id="bare-list"),
    pytest.param(answer(404), NotVisible("http_404"), id="F78-404"),
    pytest.param(answer(400), NotVisible("http_400"), id="F78-400"),
    pytest.param(answer(401), Reauthenticate("http_401"), id="401"),
    pytest.param(answer(403, b'{"slug":"forbidden-error"}'), Refuse("forbidden-error"), id="403"),
    pytest.param(answer(405), Refuse("http_405"), id="405"),
    pytest.param(answer(429), RetryLater("http_429", throttled=True, left=True), id="429"),
    pytest.param(answer(502), Ambiguous("http_502"), id="502"),
    pytest.param(answer(200, b"<html>"), Ambiguous("answer_unreadable"), id="html"),
    pytest.param(answer(200, b"{}"), Ambiguous("answer_unreadable"), id="no-list"),
    pytest.param(answer(200, b'{"batch_id":"b-2","data":[]}'), Ambiguous("answer_unreadable"), id="other-batch"),
    pytest.param(answer(200, b'{"status":"error","message":"x"}'), NotVisible("error_in_2xx"), id="B78-200-error"),
    pytest.param(answer(200, b"[", length=9), Ambiguous("answer_cut"), id="cut"),
]


@pytest.mark.parametrize(("reply", "verdict"), CHECKS)
async def test_check_reads_an_answer(client_of, reply, verdict):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(reply)
        await writer.drain()

    async with serve(script) as server:
        assert await client_of(server.url, deadline_s=2).check(ACCOUNT, TOKEN, "b-1") == verdict


@pytest.mark.faults("F68")
async def test_a_check_is_not_poisoned_by_an_answer_too_many(client_of):
    """One answer more than asked would stay on the connection and answer the next check."""

    async def script(reader, writer):
        while True:
            head, _ = await read_request(reader)
            batch_id = head.partition(b"batchId=")[2].partition(b" ")[0]
            body = b'{"batch_id":"%s","data":[]}' % batch_id
            writer.write(answer(200, body) * 2)
            await writer.drain()

    async with serve(script) as server:
        client = client_of(server.url)
        assert await client.check(ACCOUNT, TOKEN, "b-1") == Statuses(())
        verdicts = [await client.check(ACCOUNT, TOKEN, f"b-{number}") for number in (2, 3)]
    assert all(verdict in (Statuses(()), Ambiguous("answer_unreadable")) for verdict in verdicts)
    assert Statuses(()) in verdicts


MINTS = [
    pytest.param(answer(200, b'{"token":"0123456789abcdef"}'), Minted("0123456789abcdef"), id="token"),
    pytest.param(answer(200, b'{"access_token":"0123456789abcdef"}'), Minted("0123456789abcdef"), id="access-token"),
    pytest.param(answer(200, b'{"token":"a b\\r\\nX: y"}'), RetryLater("no_token_in_answer"), id="unsafe-token"),
    pytest.param(answer(200, b"{}"), RetryLater("no_token_in_answer"), id="no-token"),
    pytest.param(answer(200, b"{", length=9), RetryLater("answer_cut"), id="cut"),
    pytest.param(answer(200, b'{"status":"error"}'), Refuse("http_200"), id="200-error"),
    pytest.param(answer(400, b'{"slug":"invalid-input"}'), Refuse("invalid-input"), id="400"),
    pytest.param(answer(401), Refuse("http_401"), id="F47-401"),
    pytest.param(answer(403), Refuse("http_403"), id="403"),
    pytest.param(
        answer(429, b"", b"Retry-After: 60"),
        RetryLater("http_429", throttled=True, retry_after_s=60.0, left=True),
        id="F46-429",
    ),
    pytest.param(answer(500), RetryLater("http_500", left=True), id="F46-500"),
]


@pytest.mark.parametrize(("reply", "verdict"), MINTS)
async def test_mint_reads_an_answer(client_of, reply, verdict):
    async def script(reader, writer):
        await read_request(reader)
        writer.write(reply)
        await writer.drain()

    async with serve(script) as server:
        assert await client_of(server.url, deadline_s=2).mint(ACCOUNT, "key", "secret") == verdict


# --- What nobody may see, and what somebody must --------------------------------------------------------------------


@pytest.mark.faults("B77")
async def test_no_text_of_ours_shows_a_number_or_a_token(client_of, caplog):
    """The API may echo what we sent; the HTTP library quotes a header that it refuses, in its error and in its log."""
    caplog.set_level(logging.DEBUG)
    echo = b'{"status":"error","field":"%s","message":"bad +%s for\\n%s"}' % (
        NUMBER.encode(),
        NUMBER.encode(),
        TOKEN.encode(),
    )
    texts = []
    for status in (200, 400, 401, 403, 422, 500):
        async with serve(answering(answer(status, echo))) as server:
            client = client_of(server.url)
            texts += [repr(await post(client)), repr(await client.check(ACCOUNT, TOKEN, "b-1"))]
            texts.append(repr(await client.mint(ACCOUNT, "key", "secret")))
    with pytest.raises(ValueError, match="header") as refused:
        await client_of("http://127.0.0.1:1").post(ACCOUNT, TOKEN + "\n", BODY)
    texts.append(repr(refused.value))
    texts.append(repr(Minted(TOKEN)))
    everything = "\n".join(texts) + caplog.text
    assert TOKEN not in everything
    assert NUMBER not in everything
    assert "Split" in everything


async def test_every_request_is_observed(client_of):
    seen: list[tuple[str, int | None]] = []

    def observe(kind, status, seconds):
        assert 0 <= seconds < 5
        seen.append((kind, status))

    async with serve(answering(answer(401))) as server:
        client = client_of(server.url, observe=observe)
        await post(client)
        await client.check(ACCOUNT, TOKEN, "b-1")
        await client.mint(ACCOUNT, "key", "secret")
    await post(client)
    assert seen == [("post", 401), ("check", 401), ("mint", 401), ("post", None)]


@pytest.mark.faults("F96")
async def test_the_clock_of_the_api_is_observed_where_an_answer_tells_it(client_of):
    seen: list[float] = []
    for hours in (0, 1, -1):
        date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
        async with serve(answering(answer(429, b"", f"Date: {date}".encode()))) as server:
            await post(client_of(server.url, observe_clock=seen.append))
    async with serve(answering(answer(200, ID, b"Date: soon"))) as server:
        await post(client_of(server.url, observe_clock=seen.append))
    assert seen == [pytest.approx(ahead_s, abs=2) for ahead_s in (0, 3600, -3600)]


async def test_a_cancelled_request_lets_go_of_its_connection(client_of):
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def script(reader, writer):
        await read_request(reader)
        arrived.set()
        with contextlib.suppress(OSError):
            await reader.read()
        gone.set()

    async with serve(script) as server:
        task = asyncio.create_task(post(client_of(server.url, deadline_s=20)))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)
