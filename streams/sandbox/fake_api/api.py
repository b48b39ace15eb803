"""What one request is answered: tokens, limits, faults, validation, batches. No I/O, no asyncio; the time comes along.

The order of checks is the one a gateway has: path, token, limit, then a fault if the dice say so, then the request
itself. What must stay true: every request ends in exactly one :class:`Reply`, whose ledger entry says what was applied.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import orjson

from streams.sandbox.fake_api.batches import BatchBook
from streams.sandbox.fake_api.clock import Moment
from streams.sandbox.fake_api.faults import Dice, Effect, Fault, FaultPlan, Kind
from streams.sandbox.fake_api.labels import LabelBook
from streams.sandbox.fake_api.limits import Token, TokenBook
from streams.sandbox.fake_api.records import Version, find_flaw, numbers_of

Limits = Literal["strict", "off"]

_PATH: Final = re.compile(r"(?:/(v2|v3))?/clients/([^/]+)/(dynamic_call_records|labels|token)")
_VERSIONS: Final[dict[str | None, Version]] = {None: "v1", "v2": "v2", "v3": "v3"}
_RECORD_KINDS: Final[dict[str, Kind]] = {"POST": "post", "GET": "check"}
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOGIN: Final = {"slug": "authorization-error", "message": "please login again"}
_FORBIDDEN: Final = {"slug": "forbidden-error", "message": "not authorized. please contact your admin."}
_TOKEN_UNREAD: Final = {"slug": "internal-server-error", "message": "500/50011 - Failed to parse token"}
_LIMITED: Final = {"slug": "rate-limit-error", "message": "too many requests"}
_NOT_FOUND: Final = {"slug": "not-found", "message": "not found"}
_BROKEN: Final = {"slug": "internal-server-error", "message": "something went wrong"}
_REFUSED: Final = {"status": "error", "field": "call_records", "message": "Request body is invalid: refused on purpose"}
_FAULT_BODIES: Final[dict[str, dict[str, str]]] = {
    **dict.fromkeys(("400", "413", "422"), _REFUSED),
    "401": _LOGIN,
    "403": _FORBIDDEN,
    "404": _NOT_FOUND,
    "429": _LIMITED,
    "token500": _TOKEN_UNREAD,
}


class Credentials(NamedTuple):
    """The key that an account must show to get a token, and its labels; ``None``: the one of the synthetic dialer."""

    key_id: str
    api_key: str
    labels: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in. ``headers`` has lower-case names or ignores case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    received: Moment


@dataclass(slots=True)
class Reply:
    """What to answer, and what to write down. ``effect`` tells what really becomes of the answer."""

    status: int
    body: Any
    entry: dict[str, Any]
    retry_after_s: float | None = None
    effect: Effect = Effect.ANSWER
    records: list[tuple[str, str, str | None, int, int]] | None = None


@dataclass(slots=True)
class FakeStats:
    """Counts since the start. ``requests`` by kind, ``faults`` by name; ``over_limit`` were beyond a limit."""

    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    over_limit: int = 0
    http_429: int = 0
    mints: int = 0
    batches: int = 0
    records: int = 0


class Api:
    """The fake without its server. ``accounts`` ``None`` lets any account in, with any key."""

    def __init__(
        self,
        plan: FaultPlan,
        started: Moment,
        *,
        seed: int = 0,
        limits: Limits = "strict",
        status_delay_s: float = 5.0,
        accounts: Mapping[str, Credentials] | None = None,
        strict_labels: bool = False,
    ) -> None:
        self.stats = FakeStats()
        self._plan = plan
        self._started = started
        self._accounts = accounts
        self._tokens = TokenBook(strict=limits == "strict")
        self._batches = BatchBook(plan, seed, status_delay_s)
        self._dice = Dice(plan, seed)
        labels = {account_id: each.labels for account_id, each in (accounts or {}).items() if each.labels is not None}
        self._labels = LabelBook(labels, strict=strict_labels)

    def handle(self, call: Call) -> Reply:
        """Answer one request."""
        match = _PATH.fullmatch(call.path)
        kind = _kind(call.method, match[3]) if match else None
        if match is None or kind is None or (kind in {"mint", "labels"} and match[1]):
            return self._done(_reply(404, _NOT_FOUND))
        version = _VERSIONS[match[1]]
        account_id = match[2].lower()
        self.stats.requests[kind] += 1
        if not _UUID.fullmatch(account_id):
            reply = _invalid("clientAccountId must be a uuid")
        elif call.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            reply = _invalid("Content-Type must be application/json")
        elif kind == "mint":
            reply = self._mint(call, account_id)
        else:
            reply = self._records(call, kind, version, account_id)
        reply.entry = {"kind": kind, "account": account_id, **reply.entry}
        return self._done(reply)

    def _mint(self, call: Call, account_id: str) -> Reply:
        fault = self._throw("mint", call, account_id)
        if fault and not fault.applied:
            return self._faulty(fault)
        flaw = self._credentials_flaw(call, account_id)
        if flaw is not None:
            return flaw
        token = self._tokens.mint(account_id, call.received.mono_s)
        if token is None:
            return self._limited()
        self.stats.mints += 1
        reply = _reply(200, {"token": token.text, "created_at": call.received.stamp})
        reply.entry |= {"token": token.ordinal, "applied": True}
        return self._faulty(fault, reply) if fault else reply

    def _credentials_flaw(self, call: Call, account_id: str) -> Reply | None:
        if call.headers.get("x-public-access", "").strip().lower() != "allow":
            return _invalid("X-Public-Access is required")
        wanted = _json_object(call.body)
        for name in ("key_id", "api_key"):
            if not isinstance(wanted.get(name), str) or not wanted[name]:
                return _invalid(f"{name} is required")
            if self._accounts is None and not _UUID.fullmatch(wanted[name].lower()):
                return _invalid(f"{name} must be a uuid")
        known = None if self._accounts is None else self._accounts.get(account_id, Credentials("", ""))
        if known is not None and (known.key_id, known.api_key) != (wanted["key_id"], wanted["api_key"]):
            return _reply(401, {"slug": "authorization-error", "message": "invalid credentials"})
        return None

    def _records(self, call: Call, kind: Kind, version: Version, account_id: str) -> Reply:
        bearer = call.headers.get("authorization", "")
        token = self._tokens.find(bearer.removeprefix("Bearer "), call.received.mono_s)
        if token is None or not bearer.startswith("Bearer "):
            return _reply(401, _LOGIN)
        reply = self._authorized(call, kind, version, account_id, token)
        reply.entry["token"] = token.ordinal
        return reply

    def _authorized(self, call: Call, kind: Kind, version: Version, account_id: str, token: Token) -> Reply:
        if token.account_id != account_id:
            return _reply(403, _FORBIDDEN)
        if not self._tokens.take(token, call.received.mono_s):
            return self._limited()
        fault = self._throw(kind, call, account_id)
        if fault and not fault.applied:
            return self._faulty(fault)
        answers = {"post": self._create, "check": self._check, "labels": self._list}
        reply = answers[kind](call, version, account_id)
        return self._faulty(fault, reply) if fault else reply

    def _create(self, call: Call, version: Version, account_id: str) -> Reply:
        records = _json_object(call.body).get("call_records")
        flaw = find_flaw(version, records, call.received.wall_ms, self._plan.bad)
        if flaw is None:
            assert isinstance(records, list)
            flaw = self._labels.flaw(account_id, records)
        if flaw is not None:
            message = f"Request body is invalid: {flaw.message}"
            return _reply(400, {"status": "error", "field": flaw.field, "message": message})
        assert isinstance(records, list)
        batch = self._batches.add(account_id, version, call.body, call.received)
        self.stats.batches += 1
        self.stats.records += len(records)
        message = f"Records Uploaded Successfully. BatchID: {batch.batch_id}"
        body = {"status": "success", "message": message} if version == "v1" else {"batch_id": batch.batch_id}
        reply = _reply(200, body)
        reply.entry |= {"applied": True, "batch_id": batch.batch_id, "count": len(records)}
        reply.records = numbers_of(version, records)
        return reply

    def _list(self, call: Call, _version: Version, account_id: str) -> Reply:
        page = self._labels.page(account_id, call.query, call.received.stamp)
        return _invalid("page and limit must be positive integers") if page is None else _reply(200, page)

    def _check(self, call: Call, version: Version, account_id: str) -> Reply:
        batch_id = call.query.get("batchId")
        if not batch_id:
            return _invalid("batchId is required")
        batch = self._batches.find(account_id, batch_id)
        if batch is None:
            return _reply(404, _NOT_FOUND)
        reply = _reply(200, self._batches.statuses(batch, version, call.received))
        reply.entry |= {"batch_id": batch_id}
        return reply

    def _throw(self, kind: Kind, call: Call, account_id: str) -> Fault | None:
        return self._dice.throw(kind, account_id, call.received.mono_s - self._started.mono_s)

    def _faulty(self, fault: Fault, reply: Reply | None = None) -> Reply:
        if fault.status is not None:
            entry = reply.entry if reply else {}
            records = reply.records if reply else None
            reply = _reply(fault.status, _FAULT_BODIES.get(fault.name, _BROKEN))
            reply.entry, reply.records = entry, records
        elif reply is None:
            reply = _reply(500, _BROKEN)
        reply.effect = fault.effect
        reply.entry["fault"] = fault.name
        self.stats.faults[fault.name] += 1
        return reply

    def _limited(self) -> Reply:
        self.stats.over_limit += 1
        reply = _reply(429, _LIMITED)
        reply.entry["over_limit"] = True
        return reply

    def _done(self, reply: Reply) -> Reply:
        if reply.status == 429:  # noqa: PLR2004 - the number is the name
            self.stats.http_429 += 1
            reply.retry_after_s = self._plan.retry_after_s
        return reply


def _kind(method: str, resource: str) -> Kind | None:
    if resource == "labels":
        return "labels" if method == "GET" else None
    if resource == "token":
        return "mint" if method == "POST" else None
    return _RECORD_KINDS.get(method)


def _reply(status: int, body: object) -> Reply:
    return Reply(status, body, {})


def _invalid(message: str) -> Reply:
    return _reply(400, {"slug": "invalid-input", "message": message})


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
