"""A thin webhook against a source of the tests' own, in a time that leaps: what it fetches, and what becomes of it."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import httpx
import pytest

from cdmd.config.schema import ConnectorFrame, EventSettings
from cdmd.connectors.thin_keys import MARKS
from cdmd.connectors.thin_settings import FetchSettings, Removed, VersionAt
from cdmd.connectors.webhooks import Webhook
from cdmd.errors import ConfigInvalid, NotDurable, RequestFailed
from cdmd.kit.credentials import BearerAuth
from cdmd.kit.globs import Globs
from cdmd.kit.presets import presets
from cdmd.kit.quantities import Duration, Rate
from cdmd.kit.secret import Secret
from cdmd.models import Request
from cdmd.testing import RecordingSource
from tests.kit.virtual import VirtualClock

pytestmark = pytest.mark.anyio
presets()  # they are read when configurations are checked, before anything runs

EVENT = EventSettings(
    type="response.{status}",
    identifiers={"email": "{email}"},
    data={"n": "{n}", "stale": "{_fetch.stale}", "key": "{_fetch.key}"},
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Api:
    """The source's API: answers ``GET /responses/ID`` with what ``things`` holds, after ``slow`` seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.slow = clock, 0.05
        self.things: dict[str, Any] = {}
        self.answers: dict[str, list[Any]] = {}
        self.asked: list[tuple[float, str]] = []
        self.flying: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()

    async def request(
        self, method: str, url: str, *, headers: Any = None, params: Any = None, timeout: Any = None
    ) -> httpx.Response:
        assert url.startswith("https://api.example:443/responses/")
        key = url.rpartition("/")[2]
        self.asked.append((self.clock.elapsed, key))
        self.flying[key] += 1
        self.most_at_once[key] = max(self.most_at_once[key], self.flying[key])
        try:
            thing = self.things.get(key)
            await self.clock.sleep(self.slow)
        finally:
            self.flying[key] -= 1
        if self.answers.get(key):
            prepared = self.answers[key].pop(0)
            if isinstance(prepared, Exception):
                raise prepared
            return prepared
        return httpx.Response(404) if thing is None else httpx.Response(200, json=thing)

    async def post(self, url: str, **_: Any) -> httpx.Response:
        raise AssertionError("no token is needed")

    @property
    def fetches(self) -> list[str]:
        return [key for _, key in self.asked]


class Rig:
    """The connector, its source and the API, with time that leaps."""

    def __init__(
        self, *, state: dict[bytes, bytes] | None = None, at: float = 0.0, event: EventSettings = EVENT, **given: Any
    ) -> None:
        self.clock = VirtualClock(at)
        self.api = Api(self.clock)
        frame = ConnectorFrame(type="webhook", event=event)
        self.source = RecordingSource("survey", frame=frame, http=self.api, clock=self.clock)  # type: ignore[arg-type]
        self.source.state = {} if state is None else state
        self.webhook = Webhook("survey", settings(**given))

    async def tell(self, *bodies: Any) -> list[Any]:
        return [await self.tell_one(body) for body in bodies]

    async def tell_one(self, body: Any, kind: str = "application/json") -> Any:
        request = Request(
            method="POST", path="/hooks/survey", query="", headers=[("content-type", kind)],
            body=json.dumps(body).encode(), peer="", received=self.clock.now(),
        )  # fmt: skip
        answer = await self.webhook.answer(request, self.source)
        assert answer.status == 200
        return json.loads(answer.body)

    async def run(self, act: Callable[[], Awaitable[object]]) -> None:
        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(self.webhook.run, self.source)
                await act()
                group.cancel_scope.cancel()

        with anyio.fail_after(30):
            await self.clock.run(main)

    @property
    def marks(self) -> list[bytes]:
        return [key for key in self.source.state if key.startswith(MARKS)]

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(event.type, event.data.get("n")) for event in self.source.events]


def settings(**given: Any) -> Any:
    return Webhook.Settings(
        verify="none",
        **{name: given.pop(name) for name in ("records",) if name in given},
        fetch=FetchSettings(
            **{"url": "https://api.example/responses/{id}", "key": "{id}", "limits": Rate.parse("100/1s"), **given}
        ),
    )


def thing(n: int = 1, status: str = "done") -> dict[str, Any]:
    return {"status": status, "email": "joe@example.com", "n": n}


async def test_a_notification_becomes_the_event_of_what_is_fetched_after_it_settled() -> None:
    rig = Rig()
    rig.api.things["a"] = thing()

    async def act() -> None:
        assert await rig.tell({"id": "a"}) == [{"accepted": 1, "filtered": 0}]
        assert len(rig.marks) == 1, "on the disk before the answer"
        await rig.clock.sleep(1.9)
        assert rig.api.fetches == []
        await rig.clock.sleep(1)

    await rig.run(act)
    assert rig.events == [("response.done", 1)]
    assert rig.marks == []
    event = rig.source.events[0]
    assert event.identifiers == {"email": "joe@example.com"}
    assert event.data == {"n": 1, "stale": False, "key": "a"}
    assert (event.id[:2], event.id.count(":")) == ("a:", 1)


async def test_a_thousand_notifications_about_ten_keys_in_two_seconds_cost_at_most_twenty_fetches_and_the_last_state_wins() -> (
    None
):
    rig = Rig()

    async def act() -> None:
        for number in range(1000):
            key = f"k{number % 10}"
            rig.api.things[key] = thing(number)
            await rig.tell({"id": key})
            await rig.clock.sleep(0.002)
        await rig.clock.sleep(10)

    await rig.run(act)
    assert 10 <= len(rig.api.asked) <= 20
    last = {event.data["key"]: event.data["n"] for event in rig.source.events}
    assert last == {f"k{key}": 990 + key for key in range(10)}


async def test_the_hundredth_equal_notification_counts_like_the_first_and_writes_nothing() -> None:
    rig = Rig()
    rig.api.things["a"] = thing()

    async def act() -> None:
        for _ in range(100):
            assert await rig.tell({"id": "a"}) == [{"accepted": 1, "filtered": 0}]
        await rig.clock.sleep(5)
        rig.api.things["a"] = thing(2)
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)

    await rig.run(act)
    assert rig.events == [("response.done", 1), ("response.done", 2)]
    assert len(rig.api.asked) == 2


async def test_what_is_notified_during_a_fetch_is_fetched_again_and_never_twice_at_once() -> None:
    rig = Rig()
    rig.api.slow = 3.0
    rig.api.things["a"] = thing(1)

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(3)
        assert rig.api.flying["a"] == 1
        assert rig.webhook.to_fetch == 1, "what is under way is not there yet"
        rig.api.things["a"] = thing(2)
        await rig.tell({"id": "a"}, {"id": "a"})
        assert len(rig.marks) == 2
        await rig.clock.sleep(20)

    await rig.run(act)
    assert rig.events == [("response.done", 1), ("response.done", 2)]
    assert rig.api.fetches == ["a", "a"]
    assert rig.api.most_at_once["a"] == 1
    assert rig.marks == []


async def test_what_is_fetched_is_an_event_only_where_it_differs_from_the_last() -> None:
    rig = Rig()

    async def act() -> None:
        for number in (1, 1, 2, 1):
            rig.api.things["a"] = thing(number)
            await rig.tell({"id": "a"})
            await rig.clock.sleep(5)

    await rig.run(act)
    assert rig.events == [("response.done", 1), ("response.done", 2), ("response.done", 1)]
    assert len({event.id for event in rig.source.events}) == 3
    assert not any(b"joe" in value or b"done" in value for value in rig.source.state.values())


@pytest.mark.parametrize("status", [404, 410])
async def test_a_key_that_is_gone_is_an_event_once_and_may_come_back(status: int) -> None:
    rig = Rig()
    rig.api.things["a"] = thing()

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)
        for _ in range(2):
            rig.api.answers["a"] = [httpx.Response(status)]
            await rig.tell({"id": "a"})
            await rig.clock.sleep(5)
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)

    await rig.run(act)
    assert [event.type for event in rig.source.events] == ["response.done", "survey.removed", "response.done"]
    assert rig.source.events[1].data == {"key": "a"}


async def test_a_removal_says_whose_it_is_where_that_is_configured() -> None:
    rig = Rig(removed=Removed(type="contact.deleted", identifiers={"crm_id": "{key}", "nothing": "{other}"}))

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)

    await rig.run(act)
    (event,) = rig.source.events
    assert (event.type, event.identifiers) == ("contact.deleted", {"crm_id": "a"})


@pytest.mark.parametrize(("status", "most"), [(401, 4), (403, 6)])
async def test_a_refused_credential_stops_all_fetching_keeps_the_keys_and_is_tried_again_when_asked(
    status: int, most: int
) -> None:
    rig = Rig(auth=BearerAuth(token=Secret(b"t", reference="env:T")))
    for key in "abcdefgh":
        rig.api.things[key] = thing()
        rig.api.answers[key] = [httpx.Response(status)] * 9
    poked = anyio.Event()

    async def idle(until: Any, reason: str) -> None:
        rig.said = reason  # type: ignore[attr-defined]
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await rig.clock.sleep((until - rig.clock.now()).total_seconds())
                group.cancel_scope.cancel()

            group.start_soon(sleep)
            await poked.wait()
            group.cancel_scope.cancel()

    rig.source.idle = idle  # type: ignore[method-assign]

    async def act() -> None:
        nonlocal poked
        await rig.tell(*({"id": key} for key in "abcdefgh"))
        await rig.clock.sleep(600)
        assert len(rig.api.asked) <= most
        assert rig.source.trouble is not None
        assert str(status) in rig.source.trouble
        assert str(status) in rig.said  # type: ignore[attr-defined]
        assert len(rig.marks) == 8
        await rig.clock.sleep(400)
        assert len(rig.api.asked) <= most + 1, "one probe after a quarter of an hour"
        rig.api.answers.clear()
        poked.set()
        poked = anyio.Event()
        await rig.clock.sleep(20)

    await rig.run(act)
    assert rig.source.trouble is None
    assert len(rig.source.events) == 8
    assert rig.marks == []


async def test_retry_after_is_obeyed_for_the_whole_host_and_costs_no_try() -> None:
    rig = Rig(tries=1)
    rig.api.things = {"a": thing(), "b": thing()}
    rig.api.answers["a"] = [httpx.Response(429, headers={"Retry-After": "120"})]

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)
        await rig.tell({"id": "b"})
        await rig.clock.sleep(200)

    await rig.run(act)
    assert sorted(rig.api.fetches) == ["a", "a", "b"]
    assert all(at >= 122 for at, _ in rig.api.asked[1:])
    assert len(rig.source.events) == 2
    assert rig.source.faults == []


@pytest.mark.parametrize(
    "broken",
    [
        httpx.Response(500),
        RequestFailed("no whole answer came within 30 seconds"),
        httpx.Response(200, text="<html>sign in</html>"),
        httpx.Response(302, headers={"location": "https://evil.example/"}),
        httpx.Response(200, content=b'"' + b"x" * 2**20 + b'"'),
        httpx.Response(200, content=b'{"status"'),
    ],
)
async def test_a_key_that_cannot_be_fetched_is_tried_less_and_less_and_others_go_on(broken: Any) -> None:
    rig = Rig(tries=4)
    rig.api.things = {"a": thing(), "b": thing()}
    rig.api.answers["a"] = [broken] * 3

    async def act() -> None:
        await rig.tell({"id": "a"}, {"id": "b"})
        await rig.clock.sleep(120)

    await rig.run(act)
    assert len(rig.source.events) == 2
    times = [at for at, key in rig.api.asked if key == "a"]
    waits = [later - one for one, later in pairwise(times)]
    assert len(times) == 4
    assert waits[0] < waits[1] < waits[2]


async def test_after_its_last_try_a_key_is_a_dead_letter_that_can_be_taken_back() -> None:
    rig = Rig(tries=3)
    rig.api.things["a"] = thing()
    rig.api.answers["a"] = [httpx.Response(500)] * 6

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(4)
        await rig.tell({"id": "z"})
        await rig.clock.sleep(116)
        assert rig.api.fetches.count("a") == 3
        assert rig.marks == []
        ((_, fault),) = rig.source.faults
        assert (fault.code, "status 500" in fault.message) == ("fetch_failed", True)
        assert fault.code in rig.webhook.retries
        letter = {"key": "a", "target": "/responses/a", "stamp": 1}
        assert await rig.webhook.take_back([letter, {"nothing": 1}, {"id": "b"}], rig.source) == [True, False, True]
        assert len(rig.marks) == 2
        await rig.clock.sleep(4)
        await rig.tell({"id": "z"})
        await rig.clock.sleep(116)
        rig.api.answers.clear()
        await rig.webhook.take_back([letter], rig.source)
        await rig.clock.sleep(20)

    await rig.run(act)
    assert [fault.code for _, fault in rig.source.faults] == ["fetch_failed", "fetch_failed"]
    assert ("response.done", 1) in rig.events


async def test_a_source_that_is_down_makes_no_dead_letters_and_is_told_of_until_it_is_up() -> None:
    """Seen to set every key aside within hours, while nothing was said of it."""
    rig = Rig(tries=2)
    for n in range(5):
        rig.api.things[f"k{n}"] = thing(n)
        rig.api.answers[f"k{n}"] = [httpx.Response(500)] * 50

    async def act() -> None:
        await rig.tell(*({"id": f"k{n}"} for n in range(5)))
        await rig.clock.sleep(3600)
        assert rig.source.trouble == "the last fetches all failed: the source answers with status 500"
        assert len(rig.marks) == 5
        rig.api.answers.clear()
        await rig.clock.sleep(3600)

    await rig.run(act)
    assert (rig.source.faults, rig.source.trouble, len(rig.source.events)) == ([], None, 5)


async def test_a_key_that_is_refused_alone_stops_no_other_and_is_a_dead_letter_like_any_that_fails() -> None:
    """Seen to stop all others for a quarter of an hour, again and again, for good."""
    rig = Rig(tries=4)
    rig.api.answers["secret"] = [httpx.Response(403)] * 50

    async def act() -> None:
        await rig.tell({"id": "secret"})
        for n in range(6):
            rig.api.things[f"k{n}"] = thing(n)
            await rig.tell({"id": f"k{n}"})
            await rig.clock.sleep(20)
            assert rig.events[-1] == ("response.done", n)

    await rig.run(act)
    assert rig.api.fetches.count("secret") == 4
    assert [fault.code for _, fault in rig.source.faults] == ["fetch_failed"]
    assert (rig.source.trouble, rig.marks) == (None, [])


async def test_a_key_that_fails_with_nothing_else_to_fetch_is_told_of_and_kept() -> None:
    rig = Rig(tries=2)
    rig.api.answers["a"] = [httpx.Response(500)] * 50

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(7200)

    await rig.run(act)
    assert (rig.source.faults, len(rig.marks)) == ([], 1)
    assert "status 500" in str(rig.source.trouble)


async def test_a_key_that_is_notified_again_during_its_last_try_is_no_dead_letter_yet() -> None:
    rig = Rig(tries=1)
    rig.api.slow = 3.0
    rig.api.things["a"] = thing()
    rig.api.answers["a"] = [httpx.Response(500)]

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(3)
        await rig.tell({"id": "a"})
        await rig.clock.sleep(30)

    await rig.run(act)
    assert rig.source.faults == []
    assert rig.events == [("response.done", 1)]


async def test_an_answer_older_than_its_notification_is_asked_for_again_after_1_5_and_30_seconds_and_then_taken() -> None:
    rig = Rig(version=VersionAt(notice="{updated}", record="{updated}"))
    old = {**thing(1), "updated": "2027-01-01T10:00:00Z"}
    rig.api.things["a"] = rig.api.things["b"] = old

    async def act() -> None:
        await rig.tell({"id": "a", "updated": "2027-01-01T10:00:01Z"}, {"id": "b", "updated": "2027-01-01T10:00:01Z"})
        await rig.clock.sleep(5)
        rig.api.things["b"] = {**thing(2), "updated": "2027-01-01T10:00:01.5Z"}
        await rig.clock.sleep(60)

    await rig.run(act)
    times = [at for at, key in rig.api.asked if key == "a"]
    waits = [round(later - one) for one, later in pairwise(times)]
    assert waits == [1, 5, 30]
    flags = {event.data["key"]: (event.data["n"], event.data["stale"]) for event in rig.source.events}
    assert flags == {"a": (1, True), "b": (2, False)}


async def test_what_waits_survives_a_restart_with_its_failed_tries_and_the_newest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cdmd.connectors.thin.random.random", lambda: 0.0)
    rig = Rig(tries=3)
    rig.api.answers["bad"] = [httpx.Response(500)] * 9

    async def first() -> None:
        await rig.tell({"id": "bad"})
        await rig.clock.sleep(4.9)
        for number in range(8):
            await rig.tell({"id": f"k{number}"})
            await rig.clock.sleep(0.01)

    await rig.run(first)
    tried = len(rig.api.asked)
    assert tried == 2
    again = Rig(state=rig.source.state, at=rig.clock.elapsed + 3600, tries=3, limits=Rate.parse("1/10s"))
    again.api.things = {f"k{number}": thing(number) for number in range(8)}
    again.api.answers["bad"] = [httpx.Response(500)] * 9

    async def second() -> None:
        await again.clock.sleep(200)

    await again.run(second)
    assert [key for key in again.api.fetches if key != "bad"][:2] == ["k7", "k6"]
    assert again.api.fetches.count("bad") == 1, "two tries were made before"
    assert again.api.fetches[3] in {"k0", "bad"}, "every fourth is the oldest"
    assert len(again.source.events) == 8
    assert [fault.code for _, fault in again.source.faults] == ["fetch_failed"]


@pytest.mark.parametrize(
    "body", [{"id": "../x"}, {"id": "a/b"}, {"id": None}, {}, {"id": {"a": 1}}, {"id": "x" * 300}, {"id": "a\u0000"}]
)
async def test_a_notification_without_a_plain_key_is_a_dead_letter_and_its_neighbours_are_taken(body: Any) -> None:
    rig = Rig(records="{items}")
    answer = await rig.tell_one({"items": [{"id": "a"}, body, {"id": "b"}]})
    assert answer["accepted"] == 2
    assert [row["index"] for row in answer["rejected"]] == [1]
    assert answer["rejected"][0]["code"] == "key_refused"
    assert answer["rejected"][0]["message"].startswith("no key can be fetched: {id}")
    assert len(rig.marks) == 2
    assert len(rig.source.faults) == 1


async def test_cloudevents_notify_too_and_one_that_is_none_fetches_nothing() -> None:
    rig = Rig(url="https://api.example/responses/{data.id}", key="{data.id}")
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "changed", "data": {"id": "a"}}
    broken = {**event, "source": "", "data": {"id": "b"}}
    answer = await rig.tell_one([event, broken], "application/cloudevents-batch+json")
    assert answer["accepted"] == 1
    assert [(row["index"], row["code"] == "key_refused") for row in answer["rejected"]] == [(1, False)]
    assert len(rig.marks) == 1


async def test_what_the_disk_refuses_is_not_acknowledged_and_what_was_fetched_is_fetched_again() -> None:
    rig = Rig()
    rig.api.things["a"] = thing()
    emit, failing = rig.source.emit, [False]

    async def refusing(records: Any, *, state: Any = None) -> Any:
        if failing[0]:
            raise NotDurable("the disk is full", retry_after=7)
        return await emit(records, state=state or {})

    rig.source.emit = refusing  # type: ignore[method-assign]

    async def act() -> None:
        failing[0] = True
        with pytest.raises(NotDurable):
            await rig.tell({"id": "a"})
        failing[0] = False
        await rig.tell({"id": "a"})
        failing[0] = True
        await rig.clock.sleep(5)
        assert rig.events == []
        failing[0] = False
        await rig.clock.sleep(20)

    await rig.run(act)
    assert rig.events == [("response.done", 1)]
    assert len(rig.api.asked) == 2


async def test_a_record_may_stand_within_the_answer_and_be_several() -> None:
    rig = Rig(record="{result.items}")
    rig.api.things["a"] = {"result": {"items": [thing(1), thing(2)]}}
    rig.api.things["b"] = {"result": None}

    async def act() -> None:
        await rig.tell({"id": "a"}, {"id": "b"})
        await rig.clock.sleep(5)

    await rig.run(act)
    assert rig.events == [("response.done", 1), ("response.done", 2)]
    assert [event.id[-2:] for event in rig.source.events] == [":0", ":1"]
    assert len(rig.marks) == 1, "an answer without the record is tried again"


async def test_an_answer_that_is_a_list_is_one_record_unless_one_is_said_to_be_in_it() -> None:
    rig = Rig(event=EventSettings(type="list.seen", data={"n": "{[1].n}"}))
    rig.api.things["a"] = [thing(1), thing(2)]

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)

    await rig.run(act)
    assert rig.events == [("list.seen", 2)]


async def test_what_is_filtered_today_may_be_wanted_when_it_is_fetched_again() -> None:
    rig = Rig(event=EventSettings(type="{status}"))
    rig.source._mapper._accept = Globs(["else"])
    rig.api.things["a"] = thing()

    async def act() -> None:
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)
        rig.source._mapper._accept = Globs(["*"])
        await rig.tell({"id": "a"})
        await rig.clock.sleep(5)

    await rig.run(act)
    assert rig.events == [("done", None)]


def test_a_fetch_table_that_cannot_work_is_refused_with_every_mistake() -> None:
    with pytest.raises(ConfigInvalid) as refused:
        Webhook(
            "survey",
            settings(url="https://{host}/x", key="fixed", record="{", auth=BearerAuth(token=Secret(b"\xff", reference="x"))),
        )
    lines = [line.removeprefix("connectors.survey.").partition(":")[0] for line in refused.value.problems]
    assert sorted(lines) == ["fetch.auth.token", "fetch.key", "fetch.record", "fetch.url"]


def test_several_limits_hold_together() -> None:
    assert settings(limits=(Rate.parse("1/1s"), Rate.parse("5/1m"))).fetch.rates == (Rate.parse("1/1s"), Rate.parse("5/1m"))
    assert settings(settle=Duration.parse("5s")).fetch.settle.seconds == 5


def test_a_webhook_without_a_fetch_table_fetches_nothing() -> None:
    plain = Webhook("shop", Webhook.Settings(verify="none"))
    assert (plain.fetches, plain.waiting_since, plain.to_fetch, plain.retries) == (False, None, 0, frozenset())
