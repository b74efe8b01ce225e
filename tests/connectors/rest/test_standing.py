"""Where streams stand is shown to administrators, and moved by them while nothing runs."""

import pytest

from cdmd.errors import BadArguments, NotFound
from tests.connectors.rest.api import Api, moment
from tests.connectors.rest.driving import CONTACTS, Driven
from tests.connectors.rest.test_exports import EXPORT, Exports

pytestmark = pytest.mark.anyio

CHILD = """
[streams.items]
path = "/orders/{parent.order}/items"
page = { type = "none" }
parent = { stream = "contacts", fields = { order = "{id}" } }
event = { id = "{sku}", type = "item" }
[streams.events]
path = "/events"
records = "{data[*]}"
page = { type = "next_url", from = "{meta.next}" }
since = { etag = true, order = "desc" }
event = { id = "{id}", type = "event" }
"""


async def position(driven: Driven, stream: str = "contacts") -> dict[str, str]:
    rows = await driven.connector.rows("positions", driven.source, state=None, limit=10)
    return next(row for row in rows if row["name"] == stream)


async def test_a_stream_shows_where_it_stands_goes_on_where_it_is_set_and_begins_all_over() -> None:
    """Seen to fail with the position set beside what it makes known again, and with another kind of it."""
    api = Api()
    api.add(6)
    driven = Driven(CONTACTS.replace('order = "asc"', 'order = "asc", lookback = "1s"'), api)
    new = {"name": "contacts", "state": "new", "position": "nothing (every look begins at the beginning)", "asks_from": None}
    assert await position(driven) == new
    await driven.look()
    assert await position(driven) == {
        "name": "contacts", "state": "known", "position": moment(5), "asks_from": moment(4),
    }  # fmt: skip
    assert await driven.connector.command("positions", "set", driven.source, names=[f"contacts={moment(2)}"]) == 1
    assert (await position(driven))["asks_from"] == moment(1)
    look = await driven.look()
    assert look.new == 5, "what was known comes again"
    assert await driven.connector.command("positions", "reset", driven.source, names=["contacts"]) == 1
    assert await position(driven) == new
    assert (await driven.look()).new == 6
    assert await driven.connector.rows("positions", driven.source, state="new", limit=10) == []


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("contacts=soon", BadArguments, "contacts cannot stand at 'soon': this text is not a time"),
        ("contacts=2099-01-01T00:00:00Z", BadArguments, "that is in the future"),
        ("contact=2026-01-01T00:00:00Z", NotFound, "there is no stream 'contact'; there are: contacts, items, events"),
        ("items=2026-01-01T00:00:00Z", BadArguments, "items has no position: it asks about each new record of contacts"),
        ("events=2026-01-01T00:00:00Z", BadArguments, "events does not ask from a position on"),
    ],
)
async def test_a_position_that_cannot_be_changes_nothing(name: str, error: type[Exception], says: str) -> None:
    api = Api()
    api.add(3)
    driven = Driven(CONTACTS + CHILD, api)
    await driven.look()
    before = dict(driven.source.state)
    with pytest.raises(error, match=says):
        await driven.connector.command("positions", "set", driven.source, names=[f"contacts={moment(1)}", name])
    assert driven.source.state == before
    assert [row["name"] for row in await driven.connector.rows("positions", driven.source, state=None, limit=10)] == [
        "contacts", "events",
    ]  # fmt: skip


async def test_a_position_is_not_moved_while_its_connector_runs() -> None:
    """Seen to be written over by the reader that had the old one."""
    api = Api()
    api.add(3)
    driven = Driven(CONTACTS, api)

    async def tried() -> None:
        await driven.clock.sleep(5)
        with pytest.raises(BadArguments, match="cdmctl pause crm"):
            await driven.connector.command("positions", "reset", driven.source, names=["contacts"])

    import anyio

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(driven.connector.run, driven.source)
            await tried()
            group.cancel_scope.cancel()

    await driven.clock.run(main)
    assert await driven.connector.command("positions", "reset", driven.source, names=["contacts"]) == 1


async def test_an_export_that_is_waited_for_is_shown_and_dropped_where_the_position_moves() -> None:
    api = Exports(asks=10_000)
    driven = Driven(EXPORT, api)
    await driven.run(60)
    assert (await position(driven, "responses"))["state"] == "exports"
    await driven.connector.command("positions", "reset", driven.source, names=["responses"])
    assert (await position(driven, "responses"))["state"] == "new"
    api.asks = 1
    await driven.look("responses")
    assert api.jobs == 2
