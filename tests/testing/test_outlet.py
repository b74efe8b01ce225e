import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdmd.contracts import Outlet
from cdmd.errors import AddressRefused
from cdmd.kit.addresses import hosts_in
from cdmd.kit.egress import GuardedHttp
from cdmd.models import Delivered, Later
from cdmd.testing import RecordingOutlet
from tests.deliveries.receiving import endpoint

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Hourly:
    """Settles what waits every hour."""

    def __init__(self) -> None:
        self.woke: list[datetime] = []

    async def run(self, outlet: Outlet) -> None:
        while True:
            await outlet.idle(outlet.clock.now() + timedelta(hours=1), "waits for the hour")
            self.woke.append(outlet.clock.now())
            await outlet.settle(await outlet.waiting(limit=2), Delivered())


def test_what_waits_is_shaped_as_the_daemon_would() -> None:
    outlet = RecordingOutlet("crm")
    one, two = outlet.add("order.paid", profile={"id": "a"}), outlet.add()
    assert one.id < two.id
    assert (one.target, one.type, one.document["data"]) == ("crm", "order.paid", {"profile": {"id": "a"}})
    assert one.document["timestamp"].endswith("Z")


async def test_one_that_works_by_itself_has_its_time_moved_and_ends_with_it() -> None:
    outlet, target = RecordingOutlet(now=NOW, until=timedelta(hours=2, minutes=30)), Hourly()
    ids = [outlet.add().id for _ in range(3)]
    outlet.asked = 1
    await outlet.run(target)
    assert target.woke == [NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=2)]
    assert outlet.settled == [(one, Delivered()) for one in ids]
    assert set(outlet.slept) == {"waits for the hour"}
    assert await outlet.waiting(limit=9) == []


async def test_an_audience_is_told_in_pages_and_what_is_kept_is_there() -> None:
    outlet = RecordingOutlet()
    for key in (3, 1, 2):
        outlet.enter(key, id=f"p{key}")
    first, on = await outlet.members("vip", after=0, limit=2)
    assert ([one.profile["id"] for one in first], on) == (["p1", "p2"], 2)
    assert [one.key for one in (await outlet.members("vip", after=2, limit=2))[0]] == [3]
    await outlet.put("last", "7")
    assert (await outlet.get("last"), await outlet.get("first")) == ("7", None)


async def test_it_reaches_what_its_client_may_and_nothing_without_one(tmp_path: Path) -> None:
    async with endpoint(202) as one, GuardedHttp(hosts=hosts_in(one.url), tls=ssl.create_default_context()) as http:
        outlet: Any = RecordingOutlet(client=http, scratch=tmp_path)
        answer = await outlet.send(one.url, headers={"x-a": "b"}, content=b"hello")
        (got,) = one.got
        assert (answer.status_code, got.body, got.headers["x-a"]) == (202, b"hello", "b")
        (await outlet.connect("127.0.0.1", one.port, timeout=1.0)).close()
    bare = RecordingOutlet()
    with pytest.raises(AddressRefused):
        await bare.send(one.url, headers={})
    with pytest.raises(AddressRefused):
        _ = bare.http
    bare.unwell("it is shut")
    await bare.settle([bare.add()], Later(reason="shut"))
    assert (bare.problems, msgspec.to_builtins(bare.settled[0][1])["reason"]) == (["it is shut"], "shut")
