"""Children of a REST stream: what still has to be asked about, whatever fails and whatever comes meanwhile."""

from typing import Any

import anyio
import httpx
import pytest

from tests.connectors.rest.api import Api, ApiHttp, answer, moment
from tests.connectors.rest.driving import Driven
from tests.kit.virtual import VirtualClock

pytestmark = pytest.mark.anyio

TEXT = (
    'base_url = "https://api.example"\npage = { type = "link" }\nevery = "10s"\nerrors = { tries = 1 }\n'
    '[streams.orders]\npath = "/orders"\n'
    'records = "{orders[*]}"\nsince = { field = "{updated_at}", param = "updated_at_min" }\n'
    'event = { id = "{id}:{updated_at}" }\n'
    '[streams.items]\npath = "/orders/{parent.order}/items"\nrecords = "{items[*]}"\n'
    'parent = { stream = "orders", fields = { order = "{id}" } }\nevent = { id = "{_parent.order}:{sku}" }\n'
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Slow(ApiHttp):
    """A child's answer is made at once, and is half a minute on its way."""

    clock: VirtualClock

    async def request(self, method: str, url: str, **named: Any) -> httpx.Response:
        made = await super().request(method, url, **named)
        if "/items" in url:
            await self.clock.sleep(30)
        return made


def orders(count: int) -> Api:
    api = Api()
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(count)]
    api.items = {f"o{n}": [{"sku": "a"}] for n in range(count + 5)}
    return api


async def test_a_parent_that_changes_while_it_is_asked_about_is_asked_about_again() -> None:
    api = orders(1)
    http = Slow(api)
    driven = Driven(TEXT, api, http=http)
    http.clock = driven.clock

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(driven.connector.run, driven.source)
            for second, sku in ((15, "b"), (47, "c")):  # on the way of the first answer, and of the second
                await driven.clock.sleep(second - driven.clock.elapsed)
                api.orders[0]["updated_at"] = moment(second)
                api.items["o0"].append({"sku": sku})
            await driven.clock.sleep(200)
            group.cancel_scope.cancel()

    await driven.clock.run(main)
    assert {"o0:a", "o0:b", "o0:c"} <= set(driven.ids)
    assert len(api.asked("/orders/o0/items")) == 3
    assert not [key for key in driven.source.state if b"/due/" in key]


async def test_rows_that_waited_for_one_parent_are_worked_off_by_one_request() -> None:
    api = orders(1)
    driven = Driven(TEXT, api)
    api.prepare("/orders/o0/items", answer(500, {}))
    await driven.run(1)
    (row,) = [key for key in driven.source.state if b"/due/" in key]
    driven.source.state[row + b"\0\0\0\1"] = driven.source.state[row]
    await driven.run(60)
    assert len(api.asked("/orders/o0/items")) == 2
    assert not [key for key in driven.source.state if b"/due/" in key]


@pytest.mark.parametrize("status", [403, 500])
async def test_a_parent_that_may_not_be_asked_about_or_fails_alone_holds_up_no_new_one(status: int) -> None:
    api = orders(2)
    api.prepare("/orders/o0/items", *[answer(status, {})] * 1000)
    driven = Driven(TEXT, api)
    waited = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(driven.connector.run, driven.source)
            await driven.clock.sleep(200)
            for n in (2, 3, 4):
                api.orders.append({"id": f"o{n}", "updated_at": moment(n)})
                began = driven.clock.elapsed
                while f"o{n}:a" not in driven.ids and driven.clock.elapsed < began + 2000:
                    await driven.clock.sleep(1)
                waited.append(driven.clock.elapsed - began)
                await driven.clock.sleep(300)
            await driven.clock.sleep(600)
            group.cancel_scope.cancel()

    await driven.clock.run(main)
    assert max(waited) < 30
    assert [fault.code for _, fault in driven.source.faults] == ["parent_failed"]
    assert driven.source.trouble is None


async def test_where_all_is_forbidden_a_few_are_asked_about_now_and_then_and_none_is_given_up() -> None:
    api = orders(20)
    for n in range(20):
        api.prepare(f"/orders/o{n}/items", *[answer(403, {})] * 100)
    driven = Driven(TEXT, api)
    await driven.run(3600)
    asked = [one for one in api.log if "/items" in one.path]
    assert 0 < len(asked) <= 3 * 5
    assert (driven.source.faults, "status 403" in str(driven.source.trouble)) == ([], True)
    assert len([key for key in driven.source.state if b"/due/" in key]) == 20


async def test_a_refused_credential_ends_a_round_at_once() -> None:
    api = orders(20)
    for n in range(20):
        api.prepare(f"/orders/o{n}/items", *[answer(401, {})] * 100)
    driven = Driven(TEXT, api)
    await driven.run(800)
    assert len([one for one in api.log if "/items" in one.path]) == 1
