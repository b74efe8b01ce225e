"""Deliveries written to an API of the tests' own over HTTP: one or several at once, with records that it refuses."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from cdmd.contracts import DeliveringTarget, Target
from cdmd.errors import ConfigInvalid
from cdmd.kit.addresses import hosts_in
from cdmd.kit.credentials import BearerAuth, LoginAuth, OAuth2ClientAuth
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.secret import Secret
from cdmd.models import Delivered, Delivery, DeliveryVerdict, Later, Never
from cdmd.targets.rest import RestTarget
from cdmd.targets.rest_settings import RefusedSettings, RestTargetSettings
from cdmd.testing import ManualClock
from tests.peers.api import Asked, served
from tests.targets.outlet import delivery, outlet_in

pytestmark = pytest.mark.anyio


class Crm:
    """An API for people: it takes those with an ``@`` in their mail, up to ``most`` at once. ``refuses`` says how."""

    def __init__(
        self, url: str, *, most: int = 1_000, refuses: str = "all", token: str | None = None, shut: bool = False
    ) -> None:
        self.shut = shut
        self.url, self.most, self.refuses, self.token = url, most, refuses, token
        self.asked: list[Asked] = []
        self.people: list[Any] = []
        self.tokens = 0

    def answer(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        if asked.path == "/token":
            self.tokens += 1
            self.token = f"t{self.tokens}"
            return 200, {"access_token": self.token, "expires_in": 3600}
        if self.shut:
            return 401, {}
        if self.token is not None and asked.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}
        records = asked.json if asked.body[:1] == b"[" else [asked.json] if asked.body[:1] == b"{" else []
        records = records[0]["people"] if records and "people" in records[0] else records
        bad = [place for place, one in enumerate(records) if "@" not in one.get("mail", "@")]
        if len(records) > self.most or (bad and self.refuses == "all"):
            return 422, {"error": "invalid"}
        self.people += [one for place, one in enumerate(records) if place not in bad]
        if self.refuses == "code":
            return 200, {
                "errors": [{"at": place, "code": "INVALID", "text": "this@is.private", "wait": False} for place in bad]
            }
        if self.refuses == "key":
            return 200, {"errors": [{"mail": records[place]["mail"], "wait": True} for place in bad]}
        return 200, "nothing to say"


@contextmanager
def crm(**given: Any) -> Iterator[Crm]:
    """The API on loopback."""
    with served(lambda asked: found.answer(asked)) as url:  # noqa: PLW0108 - there is no `found` yet
        found = Crm(url, **given)
        yield found


def person(n: int, mail: str | None, **more: Any) -> Delivery:
    identifiers = [] if mail is None else [{"kind": "email", "value": mail}]
    return delivery(n, profile={"id": f"p{n}", "identifiers": identifiers, **more})


async def sent(api: Crm, folder: Path, deliveries: list[Delivery], **keys: Any) -> list[DeliveryVerdict]:
    clock, timeout = keys.pop("clock", None), keys.pop("timeout", None)
    settings = RestTargetSettings(**{"base_url": api.url, "record": {"mail": "{profile.identifiers.email}"}, **keys})
    outlet = outlet_in(folder)
    outlet.clock, outlet.timeout = clock or outlet.clock, timeout or outlet.timeout
    async with GuardedHttp(hosts=hosts_in(settings), tls=ssl.create_default_context()) as http:
        outlet.client = http
        return list(await RestTarget("t", settings).deliver(deliveries, outlet))


def test_it_is_a_target_that_is_handed_its_deliveries() -> None:
    one = RestTarget("t", RestTargetSettings(base_url="https://crm.example", record={}, batch=7))
    assert isinstance(one, Target)
    assert isinstance(one, DeliveringTarget)
    assert one.batch == 7


async def test_one_delivery_is_one_request_made_of_templates(tmp_path: Path) -> None:
    with crm() as api:
        found = await sent(
            api, tmp_path, [person(1, "joe@example.com", traits={"city": "Lund & Malmö", "vip": True})],
            method="PUT", path="/people/{profile.id}", params={"list": "{profile.traits.city}", "vip": "{profile.traits.vip}"},
            headers={"Idempotency-Key": "{id}"}, record={"mail": "{profile.identifiers.email}", "zip": "{profile.traits.zip}"},
        )  # fmt: skip
    assert [type(one) for one in found] == [Delivered]
    (asked,) = api.asked
    assert (asked.method, asked.path, asked.query) == ("PUT", "/people/p1", {"list": ["Lund & Malmö"], "vip": ["true"]})
    assert asked.json == {"mail": "joe@example.com"}
    assert asked.headers["idempotency-key"] == "d1"
    assert asked.headers["content-type"] == "application/json"


async def test_several_are_one_request_and_the_body_may_be_more_than_their_list(tmp_path: Path) -> None:
    with crm() as api:
        people = [person(n, f"{n}@example.com") for n in range(1, 4)]
        await sent(api, tmp_path, people, batch=3)
        await sent(api, tmp_path, people, batch=3, body={"people": "{records}", "list": "a"})
        await sent(api, tmp_path, people, batch=3, body_as="jsonl")
    first, second, third = (asked.body for asked in api.asked)
    assert json.loads(first) == [{"mail": f"{n}@example.com"} for n in range(1, 4)]
    assert json.loads(second) == {"people": json.loads(first), "list": "a"}
    assert [json.loads(line) for line in third.splitlines()] == json.loads(first)


async def test_a_form_and_a_removal_without_a_body(tmp_path: Path) -> None:
    with crm() as api:
        await sent(api, tmp_path, [person(1, "a@x")], body_as="form", record={"mail": "{profile.identifiers.email}", "n": 1})
        await sent(api, tmp_path, [person(1, "a@x")], method="DELETE", path="/people/{profile.id}", record=None)
    assert api.asked[0].body == b"mail=a%40x&n=1"
    assert (api.asked[1].method, api.asked[1].path, api.asked[1].body) == ("DELETE", "/people/p1", b"")


async def test_one_that_spoils_the_request_for_all_is_found_and_the_others_are_taken(tmp_path: Path) -> None:
    with crm() as api:
        people = [person(n, f"{n}@example.com" if n != 6 else "nonsense") for n in range(1, 11)]
        found = await sent(api, tmp_path, people, batch=10)
    assert [type(one) for one in found] == [Delivered] * 5 + [Never] + [Delivered] * 4
    assert isinstance(found[5], Never)
    assert found[5].reason == "it does not take it (status 422)"
    assert len(api.people) == 9
    assert len(api.asked) <= 9


class Slow(ManualClock):
    """Each request takes four seconds."""

    def __init__(self, api: Crm) -> None:
        super().__init__()
        self._api = api

    def monotonic(self) -> float:
        return 4.0 * len(self._api.asked)


async def test_what_is_known_counts_where_the_time_for_the_rest_is_over(tmp_path: Path) -> None:
    with crm() as api:
        people = [person(n, f"{n}@example.com" if n != 6 else "nonsense") for n in range(1, 11)]
        found = await sent(api, tmp_path, people, clock=Slow(api), batch=10)
        late = Later(reason="it took longer than 15 seconds", counts=False)
        assert [*map(type, found[:5]), *found[5:]] == [*[Delivered] * 5, *[late] * 5]
        assert len(api.asked) == 4


async def test_where_nothing_is_known_in_time_the_target_is_let_alone(tmp_path: Path) -> None:
    with crm(most=1) as api:
        found = await sent(api, tmp_path, [person(n, f"{n}@example.com") for n in range(1, 65)], clock=Slow(api), batch=64)
        assert found == [Later(reason="it took longer than 15 seconds", holds=True)] * 64


class Exhausted(Crm):
    """Once it has taken somebody it refuses its token, and gives no other one until it is ``free``."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.free = threading.Event()

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.path == "/token" and self.tokens:
            self.free.wait(30)
        found = super().answer(asked)
        self.token = "another" if self.people else self.token
        return found


async def test_what_is_known_counts_where_the_time_is_over_before_a_new_token_comes(tmp_path: Path) -> None:
    with served(lambda asked: api.answer(asked)) as url:  # noqa: PLW0108 - there is no `api` yet
        api = Exhausted(url)
        auth = OAuth2ClientAuth(token_url=f"{url}/token", client_id="cdmd", client_secret=Secret(b"s", reference="env:S"))
        try:
            with anyio.fail_after(10):
                found = await sent(api, tmp_path, [person(1, "a@x"), person(2, "none")], auth=auth, batch=2, timeout=1.0)
        finally:
            api.free.set()
    assert found == [Delivered(200, b'"nothing to say"'), Later(reason="it took longer than 1 seconds", counts=False)]


REFUSED = "it refused the record (status 200)"
BY_KEY = {"key": "{mail}", "is_key": "{profile.identifiers.email}", "again": "{wait}"}


@pytest.mark.parametrize(
    ("refuses", "keys", "verdict"),
    [
        ("code", {"index": "{at}", "reason": "{code}", "again": "{wait}"}, Never(reason=f"{REFUSED}: INVALID")),
        ("code", {"index": "{at}", "reason": "{text}"}, Never(reason=REFUSED)),
        ("key", BY_KEY, Later(reason=REFUSED)),
    ],
)
async def test_an_answer_may_refuse_some_of_the_records(
    tmp_path: Path, refuses: str, keys: dict[str, str], verdict: DeliveryVerdict
) -> None:
    with crm(refuses=refuses) as api:
        people = [person(n, f"{n}@example.com" if n != 2 else "nonsense") for n in range(1, 4)]
        found = await sent(api, tmp_path, people, batch=3, refused=RefusedSettings(records="{errors}", **keys))
    assert [type(one) for one in found] == [Delivered, type(verdict), Delivered]
    assert not isinstance(found[1], Delivered)
    assert not isinstance(verdict, Delivered)
    assert found[1].reason == verdict.reason


@pytest.mark.parametrize("keys", [{"index": "{code}"}, {"index": "{wait}"}, {"key": "{code}", "is_key": "{id}"}])
async def test_refusals_that_name_no_record_are_no_delivery_of_any(tmp_path: Path, keys: dict[str, str]) -> None:
    with crm(refuses="code") as api:
        people = [person(1, "a@x"), person(2, "nonsense")]
        found = await sent(api, tmp_path, people, batch=2, refused=RefusedSettings(records="{errors}", **keys))
    assert [type(one) for one in found] == [Later, Later]


async def test_of_one_record_a_refusal_needs_no_name(tmp_path: Path) -> None:
    with crm(refuses="code") as api:
        found = await sent(api, tmp_path, [person(1, "nonsense")], refused=RefusedSettings(records="{errors}"))
        taken = await sent(api, tmp_path, [person(1, "a@x")], refused=RefusedSettings(records="{errors}"))
    assert [type(one) for one in (*found, *taken)] == [Never, Delivered]


async def test_what_no_request_can_be_made_of_is_set_aside_alone(tmp_path: Path) -> None:
    with crm() as api:
        record = {"mail": "{profile.identifiers.email}", "points": "{abs(profile.points || `1`)}"}
        found = await sent(api, tmp_path, [person(1, "a@x"), person(2, "b@x", points="many")], batch=2, record=record)
        where = await sent(api, tmp_path, [delivery(3, profile={"id": "../admin"})], path="/people/{profile.id}")
    assert [type(one) for one in found] == [Delivered, Never]
    assert [type(one) for one in where] == [Never]
    assert len(api.asked) == 1


async def test_what_is_called_as_the_identifiers_in_somebodys_data_is_sent_as_it_is(tmp_path: Path) -> None:
    with crm() as api:
        odd = delivery(
            2, event={"data": {"identifiers": ["a"]}}, profile={"id": "p2", "traits": {"identifiers": [{"kind": 1}]}}
        )
        record = {"event": "{event.data.identifiers}", "trait": "{profile.traits.identifiers}"}
        found = await sent(api, tmp_path, [person(1, "joe@example.com"), odd], batch=2, record=record)
    assert [type(one) for one in found] == [Delivered] * 2
    assert api.asked[0].json[1] == {"event": ["a"], "trait": [{"kind": 1}]}


async def test_statuses_mean_what_the_configuration_says(tmp_path: Path) -> None:
    with crm() as api:
        assert isinstance((await sent(api, tmp_path, [person(1, "no")], taken=(422,), never=()))[0], Delivered)
        assert isinstance((await sent(api, tmp_path, [person(1, "no")], never=()))[0], Later)
    (gone,) = await sent(api, tmp_path, [person(1, "a@x")])
    assert isinstance(gone, Later)


async def test_a_token_that_is_refused_is_exchanged_once(tmp_path: Path) -> None:
    with crm() as api:
        secret = Secret(b"s", reference="env:S")
        auth = OAuth2ClientAuth(token_url=f"{api.url}/token", client_id="cdmd", client_secret=secret)
        settings = RestTargetSettings(base_url=api.url, record={"mail": "{profile.identifiers.email}"}, auth=auth)
        outlet, target = outlet_in(tmp_path), RestTarget("t", settings)
        async with GuardedHttp(hosts=hosts_in(settings), tls=ssl.create_default_context()) as http:
            outlet.client = http
            found = list(await target.deliver([person(1, "a@x")], outlet))
            api.token = "another"
            found += await target.deliver([person(2, "b@x")], outlet)
        assert [type(one) for one in found] == [Delivered, Delivered]
        assert api.tokens == 2
        bearer = BearerAuth(token=Secret(b"wrong", reference="env:T"))
        (refused,) = await sent(api, tmp_path, [person(3, "c@x")], auth=bearer)
    assert isinstance(refused, Later)
    assert "401" in refused.reason or "refused" in refused.reason


async def test_new_tokens_that_are_refused_are_not_exchanged_with_every_attempt(tmp_path: Path) -> None:
    with crm(shut=True) as api:
        auth = OAuth2ClientAuth(token_url=f"{api.url}/token", client_id="cdmd", client_secret=Secret(b"s", reference="env:S"))
        settings = RestTargetSettings(base_url=api.url, record={"mail": "{profile.identifiers.email}"}, auth=auth)
        outlet, target = outlet_in(tmp_path), RestTarget("t", settings)
        async with GuardedHttp(hosts=hosts_in(settings), tls=ssl.create_default_context()) as http:
            outlet.client = http
            for number in range(4):
                (found,) = await target.deliver([person(number, "a@x")], outlet)
                assert isinstance(found, Later)
    assert api.tokens == 1


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"record": None}, "targets.t.record: is missing"),
        ({"base_url": "https://{host}/"}, "targets.t.base_url"),
        ({"base_url": "ftp://x"}, "targets.t.base_url: must begin with http"),
        ({"path": "/{a"}, "targets.t.base_url: column"),
        ({"params": {"a": "{b"}}, "targets.t.params.a: column"),
        ({"record": {"a": ["{b"]}}, "targets.t.record: column"),
        ({"batch": 2, "path": "/{id}"}, "targets.t.path: of several at once it cannot be a template"),
        ({"batch": 2, "headers": {"x": "{b"}}, "targets.t.headers.x"),
        ({"batch": 2, "method": "DELETE", "record": None}, "targets.t.batch: several are sent in a body"),
        ({"body_as": "form", "record": {"a": {"b": 1}}}, "targets.t.body_as: a form is of one delivery"),
        ({"body_as": "form", "body": "{records}"}, "targets.t.body_as: a form is of one delivery"),
        ({"body_as": "jsonl", "body": {}}, "targets.t.body: json lines"),
        ({"headers": {"Host": "x"}}, "targets.t.headers.Host: is set by the daemon"),
        ({"taken": (409,)}, "targets.t.taken: 409 is in never, too"),
        ({"taken": (200,)}, "targets.t.taken: 200 is no status"),
        ({"auth": LoginAuth(url="https://x/", username="u", password=Secret(b"p", reference="env:P"))}, "targets.t.auth.type"),
        ({"batch": 2, "refused": RefusedSettings(records="{errors}")}, "targets.t.refused.index: which record is it?"),
        ({"refused": RefusedSettings(records="{errors}", key="{a}")}, "targets.t.refused.key: key and is_key"),
        ({"refused": RefusedSettings(records="{errors")}, "targets.t.refused.records: column"),
    ],
)
def test_what_cannot_be_meant_is_a_mistake(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        RestTarget("t", RestTargetSettings(**{"base_url": "https://crm.example", "record": {"a": "{b}"}, **keys}))
    assert problem in str(refused.value)
