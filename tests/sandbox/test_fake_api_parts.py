"""The fake's decisions without its server: limits, validation, faults, statuses, all on a clock that the test moves."""

import uuid
from collections import Counter

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sandbox.fake_api.api import Api, Call, Credentials, Reply
from streams.sandbox.fake_api.clock import Moment
from streams.sandbox.fake_api.faults import FAULTS, Burst, Dice, Effect, FaultPlan
from streams.sandbox.fake_api.limits import TokenBook
from streams.sandbox.fake_api.records import find_flaw

ACCOUNT = "91c173bb-28d8-4030-9722-8663ff9589f3"
OTHER = "0ca10281-11a0-4f86-bb27-7452da543cb6"
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


class Fake:
    """An :class:`Api` on a virtual clock."""

    def __init__(self, spec: str = "", **options) -> None:
        self.now_s = 1000.0
        self.api = Api(FaultPlan.parse(spec), self.moment, **options)

    @property
    def moment(self) -> Moment:
        return Moment(NOW_MS / 1000 + self.now_s - 1000, self.now_s)

    def call(self, method, path, body=b"", *, token=None, query=None, **headers) -> Reply:
        sent = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        return self.api.handle(Call(method, path, query or {}, sent, body, self.moment))

    def mint(self, account=ACCOUNT, key=ACCOUNT, secret=ACCOUNT, **headers) -> Reply:
        body = orjson.dumps({"key_id": key, "api_key": secret})
        return self.call("POST", f"/clients/{account}/token", body, **({"x_public_access": "allow"} | headers))

    def token(self, account=ACCOUNT) -> str:
        text: str = self.mint(account).body["token"]
        return text

    def post(self, token, records, *, version="", account=ACCOUNT) -> Reply:
        body = orjson.dumps({"call_records": records})
        return self.call("POST", f"{version}/clients/{account}/dynamic_call_records", body, token=token)

    def check(self, token, batch_id, *, version="/v2", account=ACCOUNT) -> Reply:
        path = f"{version}/clients/{account}/dynamic_call_records"
        return self.call("GET", path, token=token, query={"batchId": batch_id})


def record(**changes):
    whole = {
        "caller": "918012345678",
        "receiver": "919876543210",
        "label_id": OTHER,
        "label_name": "Bank",
        "call_reason": "About your card",
        "starts_at": NOW_MS,
        "ends_at": NOW_MS + HOUR_MS,
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def record_v2(**changes):
    names = {"caller": "caller_number", "receiver": "receiver_number"}
    names |= {"label_name": "dynamic_label_name", "call_reason": "dynamic_call_reason"}
    return {names.get(name, name): value for name, value in record(**changes).items()}


# --- Tokens and limits ----------------------------------------------------------------------------------------------


def test_ten_tokens_are_minted_in_half_an_hour_and_no_more():
    fake = Fake()
    assert [fake.mint().status for _ in range(11)] == [200] * 10 + [429]
    assert fake.mint(OTHER).status == 200
    fake.now_s += 1799.9
    assert fake.mint().status == 429
    fake.now_s += 0.1
    assert fake.mint().status == 200
    assert fake.api.stats.over_limit == 2


def test_a_token_lives_an_hour_and_outlives_its_successor():
    fake = Fake()
    token = fake.token()
    fake.token()
    fake.now_s += 3599.9
    assert fake.post(token, [record(ends_at=NOW_MS + 2 * HOUR_MS)]).status == 200
    fake.now_s += 0.1
    assert fake.post(token, [record()]).status == 401


def test_a_token_is_good_for_sixty_requests_of_any_kind_in_any_minute():
    fake = Fake("retry_after=5")
    token = fake.token()
    batch_id = fake.post(token, [record()], version="").entry["batch_id"]
    assert {fake.check(token, batch_id).status for _ in range(59)} == {200}
    refused = fake.post(token, [record()])
    assert (refused.status, refused.retry_after_s, refused.entry["over_limit"]) == (429, 5.0, True)
    fake.now_s += 60
    assert fake.check(token, batch_id).status == 200


@given(st.lists(st.floats(0, 5), max_size=200))
def test_no_minute_ever_holds_more_than_sixty(gaps_s):
    book = TokenBook(strict=True)
    token = book.mint(ACCOUNT, 0)
    assert token is not None
    now_s, taken = 0.0, list[float]()
    for gap_s in gaps_s:
        now_s += gap_s
        free = len([t for t in taken if t > now_s - 60]) < 60
        assert book.take(token, now_s) is free
        if free:
            taken.append(now_s)


def test_limits_off_lifts_them():
    fake = Fake(limits="off")
    token, *_ = [fake.token() for _ in range(30)]
    assert {fake.post(token, [record()]).status for _ in range(200)} == {200}


# --- Who may ask ----------------------------------------------------------------------------------------------------


def test_any_uuids_get_a_token_unless_accounts_are_given():
    assert Fake().mint().status == 200
    assert Fake().mint(key="key").body["message"] == "key_id must be a uuid"
    fake = Fake(accounts={ACCOUNT: Credentials("k", "s")})
    assert fake.mint(key="k", secret="s").status == 200
    assert fake.mint(key="k", secret="t").status == 401
    assert fake.mint(OTHER, key="k", secret="s").status == 401


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({}, b'{"key_id":"a","api_key":"b"}', 400, id="not-public"),
        pytest.param({"x_public_access": "allow"}, b'{"key_id":"a"}', 400, id="no-key"),
        pytest.param({"x_public_access": "allow"}, b"key", 400, id="not-json"),
        pytest.param({"x_public_access": "allow", "content_type": "text/plain"}, b"{}", 400, id="not-said-json"),
    ],
)
def test_a_token_request_must_be_whole(headers, body, status):
    reply = Fake().call("POST", f"/clients/{ACCOUNT}/token", body, **headers)
    assert (reply.status, reply.body["slug"]) == (status, "invalid-input")


def test_only_the_accounts_own_token_opens_its_records():
    fake = Fake()
    mine, theirs = fake.token(), fake.token(OTHER)
    assert fake.post(theirs, [record()]).body["slug"] == "forbidden-error"
    assert fake.post("nobody", [record()]).body["slug"] == "authorization-error"
    batch_id = fake.post(mine, [record()]).entry["batch_id"]
    assert fake.check(theirs, batch_id, account=OTHER).status == 404
    assert fake.check(mine, batch_id).status == 200
    assert fake.check(mine, "").status == 400
    assert fake.call("GET", f"/clients/{ACCOUNT}/dynamic_call_records", token=None).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"/clients/{ACCOUNT}/dynamic_call_records"),
        ("GET", f"/clients/{ACCOUNT}/token"),
        ("POST", f"/v2/clients/{ACCOUNT}/token"),
        ("POST", f"/v4/clients/{ACCOUNT}/dynamic_call_records"),
        ("POST", "/"),
    ],
)
def test_nothing_else_is_there(method, path):
    assert Fake().call(method, path).status == 404


# --- Records --------------------------------------------------------------------------------------------------------

FLAWS = [
    pytest.param(record(caller=...), "caller", id="no-caller"),
    pytest.param(record(caller="+918012345678"), "caller", id="v1-plus"),
    pytest.param(record(caller="08012345678"), "caller", id="leading-zero"),
    pytest.param(record(caller="9180123"), "caller", id="short"),
    pytest.param(record(caller=918012345678), "caller", id="number"),
    pytest.param(record(receiver="91987654321x"), "receiver", id="letters"),
    pytest.param(record(receiver="9\u09679876543210"), "receiver", id="devanagari"),
    pytest.param(record(label_id=...), "label_id", id="no-label"),
    pytest.param(record(label_id=None), "label_id", id="null-label"),
    pytest.param(record(label_id="x"), "label_id", id="label-no-uuid"),
    pytest.param(record(label_name="ab"), "label_name", id="name-short"),
    pytest.param(record(label_name="x" * 41), "label_name", id="name-long"),
    pytest.param(record(label_name=None), "label_name", id="name-null"),
    pytest.param(record(call_reason="too short"), "call_reason", id="reason-short"),
    pytest.param(record(call_reason="x" * 101), "call_reason", id="reason-long"),
    pytest.param(record(starts_at=...), "starts_at", id="no-start"),
    pytest.param(record(starts_at=float(NOW_MS)), "starts_at", id="float-start"),
    pytest.param(record(starts_at=True), "starts_at", id="bool-start"),
    pytest.param(record(starts_at=NOW_MS // 1000), "starts_at", id="seconds"),
    pytest.param(record(ends_at=NOW_MS * 1000), "ends_at", id="microseconds"),
    pytest.param(record(starts_at=NOW_MS - HOUR_MS, ends_at=NOW_MS - 1), "ends_at", id="over"),
    pytest.param(record(starts_at=NOW_MS + 2, ends_at=NOW_MS + 1), "ends_at", id="backwards"),
    pytest.param(record(ends_at=NOW_MS + 24 * HOUR_MS + 1), "ends_at", id="more-than-a-day"),
    pytest.param(record_v2(), "call_records", id="v2-names"),
    pytest.param(record(extra=1), "call_records", id="unknown-field"),
    pytest.param("record", "call_records", id="not-an-object"),
]


@pytest.mark.parametrize(("bad", "field"), FLAWS)
def test_one_bad_record_refuses_the_whole_batch(bad, field):
    fake = Fake()
    reply = fake.post(fake.token(), [record(), bad, record()])
    assert (reply.status, reply.body["status"], reply.body["field"]) == (400, "error", field)
    assert fake.api.stats.batches == 0
    assert "applied" not in reply.entry


@pytest.mark.parametrize("count", [0, 501])
def test_a_batch_has_one_to_five_hundred_records(count):
    assert find_flaw("v1", [record()] * count, NOW_MS) is not None
    assert find_flaw("v1", [record()] * max(1, count - 1), NOW_MS) is None


@pytest.mark.parametrize(
    ("version", "good", "bad"),
    [
        ("v1", record(), record(caller="+918012345678")),
        ("v2", record_v2(caller="+918012345678", label_id=...), record()),
        ("v3", record_v2(caller="+918012345678", receiver="+919876543210"), record_v2()),
    ],
)
def test_each_generation_has_its_own_spelling(version, good, bad):
    assert find_flaw(version, [good], NOW_MS) is None
    assert find_flaw(version, [bad], NOW_MS) is not None


def test_the_optional_texts_may_be_absent():
    assert find_flaw("v1", [record(label_name=..., call_reason=...)], NOW_MS) is None


# --- Statuses -------------------------------------------------------------------------------------------------------


def states(reply) -> Counter[str]:
    return Counter(row["status_info"]["status"] for row in reply.body["data"])


def test_statuses_come_in_the_background_and_end_final():
    fake = Fake("failed=0.5", status_delay_s=10, seed=3)
    token = fake.token()
    batch_id = fake.post(token, [record(starts_at=NOW_MS + i) for i in range(100)]).entry["batch_id"]
    assert fake.check(token, batch_id).body["data"] == []
    fake.now_s += 7.5
    half = fake.check(token, batch_id)
    assert states(half)["pending"] == 50
    fake.now_s += 2.5
    whole = fake.check(token, batch_id)
    assert states(whole)["pending"] == 0
    assert 30 <= states(whole)["error"] <= 70
    assert whole.body == fake.check(token, batch_id).body
    final = {row["id"]: row["status_info"] for row in whole.body["data"]}
    assert all(row["status_info"]["status"] in ("pending", final[row["id"]]["status"]) for row in half.body["data"])
    order = [row["starts_at"] for row in whole.body["data"]]
    assert order != sorted(order)
    assert sorted(order) == [NOW_MS + i for i in range(100)]
    assert {row["caller_number"] for row in whole.body["data"]} == {"************"}


def test_the_same_seed_gives_the_same_statuses():
    def run(seed):
        fake = Fake("failed=0.3", status_delay_s=0, seed=seed)
        token = fake.token()
        batch_id = fake.post(token, [record(starts_at=NOW_MS + i) for i in range(50)]).entry["batch_id"]
        return [(row["starts_at"], row["status_info"]) for row in fake.check(token, batch_id).body["data"]]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_numbers_are_shown_where_the_plan_says_so():
    fake = Fake("masked=0", status_delay_s=0)
    token = fake.token()
    batch_id = fake.post(token, [record()]).entry["batch_id"]
    assert fake.check(token, batch_id, version="").body[0]["caller"] == "918012345678"
    assert fake.check(token, batch_id, version="/v3").body["data"][0]["caller_number"] == "+918012345678"


# --- Faults ---------------------------------------------------------------------------------------------------------


def test_a_plan_is_read_from_its_text():
    plan = FaultPlan.parse(" 429=0.05, post.hang=0.001 ,check.500=0.9,failed=0,masked=0.5,retry_after=5,burst429=20@30")
    assert plan.rates == {"post": {"429": 0.05, "hang": 0.001}, "check": {"429": 0.05, "500": 0.9}}
    assert (plan.failed, plan.masked, plan.retry_after_s, plan.burst) == (0.0, 0.5, 5.0, Burst(20, 30))
    assert FaultPlan.parse("") == FaultPlan()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        pytest.param("429", "not NAME=VALUE", id="no-value"),
        pytest.param("429=", "not NAME=VALUE", id="empty-value"),
        pytest.param("430=0.1", "unknown fault '430'; known: 400, 401", id="unknown"),
        pytest.param("get.429=0.1", "unknown fault 'get.429'", id="unknown-kind"),
        pytest.param("mint.untracked=0.1", "unknown fault", id="wrong-kind"),
        pytest.param("429=1.1", "share between 0 and 1", id="more-than-all"),
        pytest.param("429=-1", "share between 0 and 1", id="negative"),
        pytest.param("429=nan", "share between 0 and 1", id="nan"),
        pytest.param("429=0.1,429=0.2", "given twice", id="twice"),
        pytest.param("429=0.6,post.500=0.6", "add up to more than 1", id="too-much"),
        pytest.param("retry_after=soon", "number of seconds", id="seconds"),
        pytest.param("burst429=20", "SECONDS@START", id="burst"),
        pytest.param("burst429=20@30/", "SECONDS@START/ACCOUNT", id="burst of nobody"),
        pytest.param("drift=20", "drift=20: must be SECONDS@START", id="drift"),
        pytest.param("bad=x1", "must be digits", id="bad"),
    ],
)
def test_a_plan_that_is_not_understood_is_an_error(spec, complaint):
    with pytest.raises(ValueError, match=complaint):
        FaultPlan.parse(spec)


def test_faults_come_at_their_rate_and_by_the_seed():
    plan = FaultPlan.parse("429=0.1,post.500=0.2")
    dice, again = Dice(plan, 5), Dice(plan, 5)
    throws = [dice.throw("post", "an account", 0) for _ in range(2000)]
    assert throws == [again.throw("post", "an account", 0) for _ in range(2000)]
    counts = Counter(fault.name if fault else None for fault in throws)
    assert 150 <= counts["429"] <= 250
    assert 330 <= counts["500"] <= 470
    assert all(dice.throw("mint", "an account", 0) is None for _ in range(100))


def test_a_burst_hits_everything_but_tokens_while_it_lasts():
    fake = Fake("burst429=20@30")
    token = fake.token()
    seen = []
    for _ in range(6):
        seen.append(fake.post(token, [record()]).status)
        fake.now_s += 10
    assert seen == [200, 200, 200, 429, 429, 200]


def test_a_drift_refuses_every_batch_while_it_lasts():
    fake = Fake("drift=20@30")
    token = fake.token()
    seen = []
    for _ in range(6):
        seen.append(fake.post(token, [record()]).status)
        fake.now_s += 10
    assert seen == [200, 200, 200, 400, 400, 200]


def test_a_bad_receiver_refuses_the_whole_batch_whoever_is_in_it():
    fake = Fake("bad=0042")
    token = fake.token()
    good, bad = record(), record(receiver="919800000042")
    assert fake.post(token, [good, good]).status == 200
    reply = fake.post(token, [good, bad])
    assert (reply.status, reply.body["field"]) == (400, "receiver")
    assert fake.api.stats.batches == 1


@pytest.mark.parametrize(
    ("account_id", "hit"),
    [pytest.param("an-account", True, id="its own"), pytest.param("another", False, id="of another")],
)
def test_a_burst_may_hit_one_account_alone(account_id, hit):
    dice = Dice(FaultPlan.parse("burst429=20@30/An-Account"), 5)
    assert bool(dice.throw("post", account_id, 31)) is hit
    assert not dice.throw("post", account_id, 50)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if "post" in fault.kinds])
def test_a_fault_applies_the_batch_exactly_if_it_says_so(name):
    fault = FAULTS[name]
    fake = Fake(f"post.{name}=1")
    reply = fake.post(fake.token(), [record()])
    assert reply.effect is fault.effect
    assert reply.entry["fault"] == name
    assert reply.entry.get("applied", False) is fault.applied
    assert fake.api.stats.batches == int(fault.applied)
    assert (reply.records is not None) is fault.applied
    if fault.effect is Effect.ANSWER:
        assert reply.status == fault.status


def test_credentials_and_tokens_hide_themselves():
    secret = str(uuid.uuid4())
    assert secret not in repr(Credentials(secret, secret))
    token = TokenBook(strict=True).mint(ACCOUNT, 0)
    assert token is not None
    assert token.text not in repr(token)
