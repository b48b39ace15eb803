"""The client: one request, one verdict. The only module that imports the HTTP library.

Three decisions live here.

* A POST gets a fresh connection: reusing one races the server's idle close, and losing that race is ambiguous. Status
  checks are harmless to repeat and keep their connections.
* We drive the transport of the HTTP library, not its client: no redirects, cookies, proxies, environment, decoders or
  retries can happen, and a request costs less. The body is read raw and capped, so a compressed bomb stays small.
* Whether the records were handed over is seen by the body itself: the transport asks for it after the head was written,
  and comes back for more after it was written. The kind of an exception does not tell.

What must stay true: nothing that the network or the API does raises, and no text of an exception leaves this module
(the HTTP library quotes header values in some, and ours hold the token).
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, Self

import httpx
import orjson

from streams import __version__, failpoint
from streams.contracts.urls import check_base_url
from streams.lane.verdict import Ambiguous, CheckVerdict, LabelsVerdict, PostVerdict, TokenVerdict
from streams.truecaller.answers import is_token
from streams.truecaller.classify import (
    Answer,
    Handed,
    NoAnswer,
    classify_check,
    classify_labels,
    classify_mint,
    classify_post,
    clock_ahead_s,
)
from streams.truecaller.rate_limit import read_exhausted
from streams.truecaller.wire import Version, labels_path, records_path, status_path, token_path

# A status answer of 500 records whose texts are all escaped Unicode is about 0.7 MB.
ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024

# Most servers and load balancers drop an idle connection after 60 s or more.
_KEEPALIVE_S: Final = 20.0
_URLS_MAX: Final = 4096

RequestKind = Literal["post", "check", "mint", "labels"]
Observe = Callable[[RequestKind, int | None, float], None]
ObserveClock = Callable[[float], None]
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where the API is and how long we wait for it.

    ``post_deadline_s`` bounds every request as a whole, from the look-up of the host to the last byte of the answer;
    ``connect_timeout_s`` the TCP and the TLS handshake, each, and is cut to half the deadline.
    ``ssl_context`` replaces the default one (certifi's authorities), for a private authority.

    Raises:
        ValueError: the base URL breaks a rule, with the rule as its text.
    """

    base_url: str
    insecure_http: bool = False
    submit_version: Version = "v1"
    status_version: Version = "v2"
    post_deadline_s: float = 30.0
    connect_timeout_s: float = 5.0
    answer_bytes_max: int = ANSWER_BYTES_MAX
    not_applied_statuses: frozenset[int] = frozenset({429})
    ssl_context: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        check_base_url(self.base_url, insecure_http=self.insecure_http)


class TruecallerClient:
    """Speaks to the API for all accounts of a worker.

    ``observe`` is told of every request that ended: its kind, the HTTP status (``None`` if none came) and the seconds
    it took. ``observe_clock`` is told how many seconds the API's clock is ahead of ours, by the ``Date`` of an answer.
    The client never cancels a request before its deadline; a caller that must not lose an answer shields it.
    """

    def __init__(
        self, options: ClientOptions, observe: Observe | None = None, observe_clock: ObserveClock | None = None
    ) -> None:
        self._options = options
        self._observe = observe
        self._observe_clock = observe_clock
        base = httpx.URL(check_base_url(options.base_url, insecure_http=options.insecure_http))
        tls = options.ssl_context or httpx.create_ssl_context(trust_env=False)
        # Two pools: a POST must not find the idle connection of a check. Its own ends with it ("Connection: close").
        self._once = _transport(tls)
        self._kept = _transport(tls)
        # It holds for TCP and for TLS, each. Half the deadline keeps the deadline from ending a handshake: cancelled
        # there, the HTTP library leaves the socket open.
        self._extensions = {"timeout": {"connect": min(options.connect_timeout_s, options.post_deadline_s / 2)}}
        self._headers: _Headers = [
            (b"Host", base.netloc),
            (b"User-Agent", f"callstream/{__version__}".encode()),
            (b"Accept", b"application/json"),
            # A compressed answer would have to be unpacked without a limit; refusing compression is simpler.
            (b"Accept-Encoding", b"identity"),
            (b"Content-Type", b"application/json"),
        ]
        self._url = lru_cache(_URLS_MAX)(base.join)

    async def post(self, account_id: str, token: str, body: bytes) -> PostVerdict:
        """Create a batch from ``body`` (see :func:`streams.truecaller.wire.encode_batch`)."""
        path = records_path(self._options.submit_version, account_id)
        reply, _ = await self._exchange("post", self._once, path, [_bearer(token), *_once_with(body)], body)
        return classify_post(reply, self._options.not_applied_statuses)

    async def check(self, account_id: str, token: str, batch_id: str) -> CheckVerdict:
        """Ask for the statuses of a batch."""
        path = status_path(self._options.status_version, account_id, batch_id)
        reply, response = await self._exchange("check", self._kept, path, [_bearer(token)], b"")
        verdict = classify_check(reply, batch_id)
        if isinstance(verdict, Ambiguous) and response is not None:
            # Somebody out of step on a kept connection would answer the next check with this one's answer.
            await response.extensions["network_stream"].aclose()
        return verdict

    async def labels(self, account_id: str, token: str, page: int) -> LabelsVerdict:
        """Ask for one page, counted from 1, of the account's labels."""
        reply, response = await self._exchange(
            "labels", self._kept, labels_path(account_id, page), [_bearer(token)], b""
        )
        verdict = classify_labels(reply)
        if isinstance(verdict, Ambiguous) and response is not None:
            await response.extensions["network_stream"].aclose()
        return verdict

    async def mint(self, account_id: str, key_id: str, api_key: str) -> TokenVerdict:
        """Fetch a new access token. Spends one of the account's few mints."""
        body = orjson.dumps({"key_id": key_id, "api_key": api_key})
        headers = [(b"X-Public-Access", b"allow"), *_once_with(body)]
        reply, _ = await self._exchange("mint", self._once, token_path(account_id), headers, body)
        return classify_mint(reply)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._once.aclose()
        await self._kept.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _exchange(
        self, kind: RequestKind, transport: httpx.AsyncHTTPTransport, path: str, headers: _Headers, body: bytes
    ) -> tuple[Answer | NoAnswer, httpx.Response | None]:
        began_s = time.perf_counter()
        content = _HalvedBody(body) if failpoint.hit is not None and kind == "post" else _Body(body)
        request = httpx.Request(
            "GET" if kind in {"check", "labels"} else "POST",
            self._url(path),
            headers=self._headers + headers,
            stream=content,
            extensions=self._extensions,
        )
        response: httpx.Response | None = None
        flaw: str | None = None
        answer = bytearray()
        try:
            async with asyncio.timeout(self._options.post_deadline_s):
                response = await transport.handle_async_request(request)
                flaw = await self._read_into(answer, response) or _framing(response)
        except TimeoutError:
            flaw = "deadline"
        except httpx.TransportError as error:
            flaw = _cause(error, content.handed) if response is None else "answer_cut"
        finally:
            if response is not None:
                await response.stream.aclose()  # type: ignore[union-attr]  # an async client's stream is async
            if self._observe is not None:
                status = None if response is None else response.status_code
                self._observe(kind, status, time.perf_counter() - began_s)
        if response is None:
            return NoAnswer(flaw or "no_answer", content.handed, timed_out=flaw == "deadline"), None
        reply = _answer(response, bytes(answer), flaw, content.handed)
        ahead_s = clock_ahead_s(reply.date, reply.received_at_s)
        if self._observe_clock is not None and ahead_s is not None:
            self._observe_clock(ahead_s)
        return reply, response

    async def _read_into(self, answer: bytearray, response: httpx.Response) -> str | None:
        async for piece in response.stream:  # type: ignore[union-attr]
            answer += piece
            if len(answer) > self._options.answer_bytes_max:
                del answer[self._options.answer_bytes_max :]
                return "answer_too_large"
        return None


class _Body(httpx.AsyncByteStream):
    """A body that knows how much of the request was written (see the module's text)."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.handed = Handed.NOTHING

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self.handed is Handed.NOTHING and self._body:
            self.handed = Handed.PARTLY
            return self._body
        self.handed = Handed.WHOLE
        raise StopAsyncIteration


class _HalvedBody(_Body):
    """A body in two pieces, with a failpoint behind each."""

    async def __anext__(self) -> bytes:
        half = len(self._body) // 2
        if self.handed is Handed.NOTHING:
            self.handed = Handed.PARTLY
            return self._body[:half]
        if self.handed is Handed.PARTLY and self._body:
            rest, self._body = self._body[half:], b""
            if failpoint.hit is not None:
                failpoint.hit("post_mid_body")
            return rest
        if failpoint.hit is not None:
            failpoint.hit("post_after_send")
        return await super().__anext__()


def _transport(tls: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    # How many requests are in flight is the lanes' decision: the pool never makes one wait.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEPALIVE_S)
    return httpx.AsyncHTTPTransport(verify=tls, limits=limits, retries=0)


def _bearer(token: str) -> tuple[bytes, bytes]:
    if not is_token(token):
        # The HTTP library would refuse it too, but it quotes the header in its error and in its debug log.
        raise ValueError("the access token has characters that must not enter a header")
    return b"Authorization", b"Bearer " + token.encode("ascii")


def _once_with(body: bytes) -> _Headers:
    return [(b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]


def _cause(error: httpx.TransportError, handed: Handed) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connect_timeout"
    if isinstance(error, httpx.ConnectError):
        return "connect_failed"
    return "not_sent" if handed is Handed.NOTHING else "no_answer"


def _framing(response: httpx.Response) -> str | None:
    """Name the flaw of an answer with two lengths: somebody on the way reads it differently (RFC 9112, 6.1)."""
    headers = response.headers
    return "answer_framing" if "content-length" in headers and "transfer-encoding" in headers else None


def _answer(response: httpx.Response, body: bytes, flaw: str | None, handed: Handed) -> Answer:
    headers = response.headers
    return Answer(
        response.status_code,
        body,
        flaw,
        retry_after=headers.get("retry-after"),
        exhausted=read_exhausted(headers),
        date=headers.get("date"),
        received_at_s=time.time(),
        handed=handed,
    )
