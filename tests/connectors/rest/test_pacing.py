"""When the whole connector looks, in a time that leaps: what it learned, what its host allows, quiet hours, restarts."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from cdmd.kit.quiet import QuietHours
from tests.connectors.polling.arrivals import DAY, in_office_hours
from tests.connectors.rest.api import Api, Asked, answer, moment
from tests.connectors.rest.driving import CONTACTS, Driven, mistakes
from tests.connectors.rest.test_nine_rules import ORDERS
from tests.kit.virtual import VirtualClock
from tests.sizes import size

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]  # weeks and months go by in them

BEGIN = VirtualClock().now().timestamp()
HOUR = 3600.0
WARM = QuietHours.parse("22:00-06:00 Europe/Stockholm")
"""Zones are read where the configuration is; these tests read theirs in the loop."""


class Feed:
    """An API with one list of what happened when; it notes when it was asked, and what that was about."""

    def __init__(self, clock: VirtualClock, arrivals: Sequence[float], *, path: str = "/contacts") -> None:
        self.clock, self.arrivals, self.asked = clock, arrivals, list[float]()
        self.others: dict[str, Feed] = {}

    async def request(self, method: str, url: str, *, params: dict[str, str] | None = None, **named: Any) -> httpx.Response:
        parts = urlsplit(url)
        query = {**dict(parse_qsl(parts.query)), **(params or {})}
        return self.others.get(parts.path, self).answer(query)

    async def post(self, url: str, **named: Any) -> httpx.Response:
        raise AssertionError("nothing is sent there")

    get = post

    def answer(self, params: dict[str, str]) -> httpx.Response:
        now = self.clock.now().timestamp()
        self.asked.append(now)
        since = params.get("updated_since", "1970-01-01T00:00:00Z")
        first = bisect_left(self.arrivals, datetime.fromisoformat(since).timestamp())
        found = [
            {"id": str(place), "email": f"{place}@example.com", "updated_at": datetime.fromtimestamp(at, UTC).isoformat()}
            for place, at in enumerate(self.arrivals[first : bisect_right(self.arrivals, now)], first)
        ]
        return answer(200, {"results": found})

    def delay(self) -> float:
        """Seconds until what happened was seen, in the mean."""
        waits = [self.asked[seen] - at for at in self.arrivals if (seen := bisect_left(self.asked, at)) < len(self.asked)]
        return sum(waits) / len(waits)


def declared(extra: str = "", *, limits: str = "1000/1s", stream: str = "") -> str:
    return (
        extra
        + "\n"
        + CONTACTS.replace('"1000/1s"', f'"{limits}"').replace("[streams.contacts]", f"[streams.contacts]\n{stream}")
    )


def driven(text: str, arrivals: Sequence[float]) -> tuple[Driven, Feed]:
    clock = VirtualClock()
    feed = Feed(clock, arrivals)
    return Driven(text, Api(), clock=clock, http=feed), feed


def most_within(asked: Sequence[float], per: float) -> int:
    return max(bisect_left(asked, at + per) - place for place, at in enumerate(asked))


@pytest.mark.slow
@pytest.mark.no_cover
async def test_months_of_office_hours_are_followed_closely_with_few_requests() -> None:
    days = size("CDMD_DAYS", short=120, long=365)
    arrivals = in_office_hours(10, days=days, begin=BEGIN)
    one, feed = driven(declared(limits="20/1d"), arrivals)
    await one.run(days * DAY)
    assert len(one.source.events) >= len(arrivals) - 10
    assert most_within(feed.asked, DAY) <= 20
    assert 0.75 * 20 * days <= len(feed.asked) <= 0.85 * 20 * days, "a fifth is kept back"
    every = days * DAY / len(feed.asked)
    regular = sum(every - (at - BEGIN) % every for at in arrivals) / len(arrivals)
    assert feed.delay() / regular - 1 <= -0.30


@pytest.mark.no_cover
async def test_two_streams_share_what_the_host_allows_by_how_much_happens_there() -> None:
    second = CONTACTS[CONTACTS.index("[streams.contacts]") :].replace("contacts", "orders")
    text = declared(limits="12/1h") + second
    clock = VirtualClock()
    busy, calm = Feed(clock, in_office_hours(400, days=14, begin=BEGIN)), Feed(clock, [])
    busy.others["/orders"] = calm
    one = Driven(text, Api(), clock=clock, http=busy)
    await one.run(14 * DAY)
    every = sorted([*busy.asked, *calm.asked])
    assert most_within(every, HOUR) <= 12
    assert len(calm.asked) > 0.8 * 14 * 24
    assert len(busy.asked) > 2 * len(calm.asked)


async def test_in_quiet_hours_nothing_is_asked_and_at_their_end_there_is_one_look() -> None:
    one, feed = driven(declared('quiet = ["22:00-06:00 Europe/Stockholm"]'), in_office_hours(50, days=2, begin=BEGIN))
    await one.run(2 * DAY)
    hours = [datetime.fromtimestamp(at, UTC) for at in feed.asked]
    assert not [at for at in hours if at.hour >= 21 or at.hour < 5], "Stockholm is an hour ahead of UTC in January"
    ends = [at for at in hours if (at.hour, at.minute) == (5, 0)]
    assert len(ends) == 2
    assert one.source.trouble is None


async def test_a_try_after_a_failure_waits_for_the_end_of_quiet_hours_too() -> None:
    api, tried = Api(), list[float]()
    one = Driven(declared('quiet = ["06:00-22:00"]'), api)

    def fails(_: Asked) -> httpx.Response:
        tried.append(one.clock.elapsed)
        return answer(500, {})

    api.prepare("/contacts", *[fails] * 1000)
    await one.run(21.9 * HOUR)
    assert max(tried) < 6 * HOUR + 300, "a look that is under way is tried to its end"
    before = len(tried)
    await one.run(0.2 * HOUR)
    assert min(tried[before:]) >= 22 * HOUR


async def test_children_of_what_came_before_quiet_hours_wait_for_their_end() -> None:
    api, asked = Api(), list[float]()
    api.orders = [{"id": f"o{number}", "updated_at": moment(number)} for number in range(20)]
    one = Driven('limits = "10/1h"\nquiet = ["01:00-05:00"]\n' + ORDERS, api)

    def items(_: Asked) -> httpx.Response:
        asked.append(one.clock.elapsed)
        return answer(200, {"items": []})

    for number in range(20):
        api.prepare(f"/orders/o{number}/items", items)
    await one.run(8 * HOUR)
    assert len(asked) == 20
    assert not [at for at in asked if HOUR + 60 < at < 5 * HOUR]
    assert [at for at in asked if at < HOUR], "some came before"


async def test_what_the_answers_say_is_left_is_spread_over_the_time_until_there_is_more() -> None:
    one, feed = driven(declared(stream='freshness = "1m"'), [])
    answered, refused = feed.answer, list[float]()

    def limited(params: dict[str, str]) -> httpx.Response:
        """Twelve requests in every hour of the clock."""
        now = feed.clock.elapsed
        hour = now // HOUR
        left = 12 - sum((at - BEGIN) // HOUR == hour for at in feed.asked) - 1
        said = {
            "x_ratelimit_limit": "12",
            "x_ratelimit_remaining": str(max(0, left)),
            "x_ratelimit_reset": str(int((hour + 1) * HOUR - now) + 1),
        }
        if left < 0:
            refused.append(now)
        response = answered(params) if left >= 0 else answer(429, {}, retry_after="60")
        response.headers.update({name.replace("_", "-"): text for name, text in said.items()})
        return response

    feed.answer = limited
    await one.run(6 * HOUR)
    assert refused == []
    hours = [[at - BEGIN - hour * HOUR for at in feed.asked if (at - BEGIN) // HOUR == hour] for hour in range(6)]
    assert all(8 <= len(each) <= 12 for each in hours[1:])
    assert all(max(each) > 2400 for each in hours[1:]), "not all of them at the beginning of the hour"
    assert "that is what its limits allow" in str(one.connector.outlook[0].shortfall)


async def test_a_restart_neither_skips_nor_hastens_a_look() -> None:
    one, feed = driven(declared(stream='freshness = "2h"'), in_office_hours(30, days=4, begin=BEGIN))
    for _ in range(4 * 24 * 4):  # every quarter of an hour, for four days
        await one.run(900)
        one.restart()
    gaps = [later - before for before, later in pairwise(feed.asked)]
    assert min(gaps) >= 60
    assert max(gaps) <= 7200 + 900
    assert 4 * 24 * 0.7 <= len(feed.asked) <= 4 * 24 * 1.15


async def test_how_often_the_source_wants_to_be_asked_at_most_is_obeyed_over_restarts() -> None:
    api = Api()
    api.prepare("/contacts", *[answer(200, {"results": []}, x_poll_interval="600")] * 100)
    one = Driven(declared(stream='freshness = "1m"'), api)
    for _ in range(12):
        await one.run(300)
        one.restart()
    assert len(api.log) <= 7


async def test_a_clock_that_jumps_harms_nothing() -> None:
    class Jumping(VirtualClock):
        def now(self) -> datetime:
            jumped = -2 * DAY if self.elapsed > 6 * HOUR else 0.0
            return super().now() + timedelta(seconds=jumped + (5 * DAY if self.elapsed > 12 * HOUR else 0.0))

    clock = Jumping()
    feed, steady = Feed(clock, []), list[float]()
    answered = feed.answer

    def noting(params: dict[str, str]) -> httpx.Response:
        steady.append(clock.elapsed)
        return answered(params)

    feed.answer = noting
    one = Driven(declared(stream='freshness = "30m"'), Api(), clock=clock, http=feed)
    await one.run(18 * HOUR)
    gaps = [later - before for before, later in pairwise(steady)]
    assert min(gaps) >= 60
    assert max(gaps) <= 1801
    assert 18 * 4 * 0.9 <= len(steady) <= 18 * 4 * 1.1


async def test_every_stream_says_when_it_is_looked_at_why_then_and_what_it_will_not_reach() -> None:
    second = CONTACTS[CONTACTS.index("[streams.contacts]") :].replace("[streams.contacts]", '[streams.orders]\nevery = "1h"')
    one, _ = driven(declared(limits="6/1h", stream='freshness = "6m"') + second, [])
    await one.run(3 * HOUR)
    contacts, orders = one.connector.outlook
    now = one.clock.now()
    assert (contacts.name, contacts.freshness, orders.name, orders.freshness) == ("contacts", 360, "orders", 3600)
    for stream in (contacts, orders):
        assert stream.looked is not None
        assert stream.looked <= now
        assert stream.next is None or stream.next > now, "it waits for the budget, or for its time"
        assert stream.why
    assert contacts.next or orders.next
    assert "on the whole, 6m is wanted: that is what its limits allow" in str(contacts.shortfall)
    assert any("contacts: it is looked at every" in said for said in one.source.worked_on)


async def test_a_first_look_of_many_pages_is_no_reason_to_look_less_often_than_wanted() -> None:
    api = Api(page=1)
    api.add(5)
    one = Driven(declared(stream='freshness = "15m"', limits="6/1h"), api)
    await one.run(0.2 * HOUR)
    assert one.connector.outlook[0].shortfall is None


async def test_how_late_things_are_seen_is_measured_since_the_start() -> None:
    lately = [BEGIN + HOUR + 60 * number for number in range(300)]
    one, feed = driven(declared(stream='freshness = "10m"'), [BEGIN - 5 * DAY, *lately])
    await one.run(0.9 * HOUR)
    assert one.connector.outlook[0].measured is None, "what lay there before says nothing"
    await one.run(5.5 * HOUR)
    waits = sorted(feed.asked[bisect_left(feed.asked, at)] - at for at in lately[100:300])
    assert one.connector.outlook[0].measured == pytest.approx(waits[-11], abs=61)
    assert 60 < waits[-11] <= 600


def test_quiet_hours_and_intervals_that_make_no_sense_are_mistakes() -> None:
    assert "quiet.0: '22-06' are no quiet hours" in mistakes(declared('quiet = ["22-06"]'))[0]
    assert mistakes(declared('quiet = ["00:00-12:00", "12:00-00:00"]')) == ["quiet: leaves no time to look"]
    text = declared(stream='freshness = "1m"\nevery = "5m"')
    assert mistakes(text) == ["streams.contacts.every: a look every 5m cannot be as fresh as 1m"]
    assert mistakes(declared('quiet = ["22:00-06:00 Europe/Stockholm"]')) == []
