"""Streams read to their ends: what comes, what is asked the next time, what is kept."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from types import MappingProxyType
from typing import Any, BinaryIO

import anyio
import anyio.lowlevel
import pytest

from cdmd.connectors.formats.jsonl import Jsonl
from cdmd.connectors.rest.positions import Place
from cdmd.connectors.rest.records import Edge
from cdmd.errors import SourceUnavailable
from cdmd.models import Row
from tests.connectors.rest.api import BEGIN, Api, answer, moment
from tests.connectors.rest.driving import CONTACTS, Driven, mistakes

pytestmark = pytest.mark.anyio


async def test_a_stream_is_read_page_by_page_and_then_only_what_is_new() -> None:
    api = Api()
    api.add(7)
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert (look.records, look.new, look.requests, look.trouble) == (7, 7, 3, None)
    assert driven.ids == [f"c{number}:{moment(number)}" for number in range(7)]
    assert [one.query for one in api.log] == [{}, {"after": "3"}, {"after": "6"}]
    api.add(2, start=7)
    look = await driven.look()
    assert api.log[3].query == {"updated_since": moment(6)}
    assert (look.records, look.new) == (3, 2)
    assert len(driven.ids) == 9


async def test_the_whole_connector_looks_again_and_again() -> None:
    api = Api()
    api.add(7)
    driven = Driven(CONTACTS.replace('path = "/contacts"', 'path = "/contacts"\nfreshness = "5m"'), api)
    await driven.run(3600)
    assert len(driven.ids) == 7
    assert 20 <= len(api.log) <= 30


class Cut(Exception):
    """The process ended here."""


@pytest.mark.parametrize("durable", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("order", ["asc", "desc", "none"])
async def test_cut_off_before_or_after_any_commit_nothing_is_lost_and_nothing_comes_twice(order: str, *, durable: bool) -> None:
    """Seen to fail with the position written before the records of its page, and with every page in any order."""
    for at in range(8):
        api = Api(page=2)
        api.add(10)
        driven = Driven(CONTACTS.replace('"asc"', f'"{order}"'), api)
        emit, count = driven.source.emit, iter(range(100))

        async def cutting(
            records: Any, *, state: Any = MappingProxyType({}), emit: Any = emit, count: Any = count, at: int = at
        ) -> Any:
            cut = next(count) == at
            verdicts = [] if cut and not durable else await emit(records, state=state)
            if cut:
                raise Cut
            return verdicts

        driven.source.emit = cutting  # type: ignore[method-assign]
        for _ in range(3):
            with suppress(ExceptionGroup):
                await driven.look()
            driven.restart()
        assert {event.id for event in driven.source.events} == {f"c{n}:{moment(n)}" for n in range(10)}


# ---- ways ------------------------------------------------------------------------------------------------------------

SEARCH = """
base_url = "https://api.example"
[streams.contacts]
method = "POST"
path = "/search"
body = { limit = 3, after = "{cursor}", filter = { field = "updated", value = "{since}" } }
records = "{results[*]}"
page = { type = "cursor", from = "{paging.next.after}" }
since = { field = "{updated_at}", format = "unix_ms", order = "asc" }
event = { id = "{id}", type = "contact" }
"""
EVENTS = """
base_url = "https://api.example"
limits = "2/1h"
free_304 = true
[streams.events]
path = "/events"
records = "{data[*]}"
page = { type = "next_url", from = "{meta.next}" }
since = { field = "{at}", order = "desc", etag = true }
event = { id = "{id}", type = "event" }
"""


async def test_a_search_by_post_says_in_its_body_where_it_stands() -> None:
    api = Api()
    api.add(5)
    driven = Driven(SEARCH, api)
    assert (await driven.look()).new == 5
    assert [one.json for one in api.log] == [
        {"limit": 3, "filter": {"field": "updated"}},
        {"limit": 3, "after": "3", "filter": {"field": "updated"}},
    ]
    await driven.look()
    assert api.log[-1].json["filter"]["value"] == 1_767_225_604_000


async def test_newest_first_ends_where_what_is_known_begins() -> None:
    api = Api()
    api.events = [{"id": f"e{n}", "at": moment(n)} for n in range(10)]
    driven = Driven(EVENTS.replace("2/1h", "1000/1s"), api)
    assert (await driven.look("events")).new == 10
    assert len(api.log) == 4
    api.events += [{"id": f"e{n}", "at": moment(n)} for n in range(10, 12)]
    look = await driven.look("events")
    assert (look.new, look.requests, look.asked) == (2, 2, 60.0)
    assert len(driven.ids) == 12


async def test_nothing_new_is_304_which_costs_nothing_where_the_source_says_so() -> None:
    """Seen to fail with answers 304 counted: the third look waits an hour."""
    api = Api(limit=2, per=3600.0, page=5)
    api.events = [{"id": "e1", "at": moment(1)}]
    driven = Driven(EVENTS, api)
    began = driven.clock.monotonic()
    looks = [await driven.look("events") for _ in range(5)]
    assert [look.new for look in looks] == [1, 0, 0, 0, 0]
    assert [one.headers.get("if-none-match") for one in api.log] == [None, *['"1"'] * 4]
    assert driven.clock.monotonic() - began < 60


async def test_the_interval_that_the_source_asks_for_is_kept() -> None:
    api = Api()
    text = EVENTS.replace("2/1h", "1000/1s").replace('path = "/events"', 'path = "/events"\nevery = "1s"')
    await Driven(text, api).run(600)
    assert 8 <= len(api.log) <= 11


async def test_links_are_followed_and_children_are_asked_about_what_is_new() -> None:
    api = Api()
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(7)]
    api.items = {f"o{n}": [{"sku": "a"}] for n in range(7)}
    text = """
base_url = "https://api.example"
page = { type = "link" }
[streams.orders]
path = "/orders"
records = "{orders[*]}"
since = { field = "{updated_at}", param = "updated_at_min", lookback = "10m" }
event = { id = "{id}", type = "order" }
[streams.items]
path = "/orders/{parent.order}/items"
page = { type = "none" }
records = "{items[*]}"
parent = { stream = "orders", fields = { order = "{id}" } }
event = { id = "{_parent.order}:{sku}", type = "item", data = { order = "{_parent.order}" } }
"""
    driven = Driven(text, api)
    await driven.run(600)
    assert sorted(driven.ids) == sorted([f"o{n}" for n in range(7)] + [f"o{n}:a" for n in range(7)])
    assert len(api.asked("/orders/o3/items")) == 1, "what every look brings again is no news"
    assert {event.source for event in driven.source.events} == {"crm.orders", "crm.items"}


async def test_children_that_wait_are_asked_for_after_a_restart() -> None:
    api = Api()
    api.orders = [{"id": "o1", "updated_at": moment(1)}]
    api.items = {"o1": [{"sku": "a"}]}
    text = (
        'base_url = "https://api.example"\npage = { type = "link" }\nerrors = { tries = 1 }\n'
        '[streams.orders]\npath = "/orders"\n'
        'records = "{orders[*]}"\nsince = { field = "{updated_at}", param = "updated_at_min" }\nevent = { id = "{id}" }\n'
        '[streams.items]\npath = "/orders/{parent.order}/items"\nrecords = "{items[*]}"\n'
        'parent = { stream = "orders", fields = { order = "{id}" } }\nevent = { id = "{_parent.order}:{sku}" }\n'
    )
    driven = Driven(text, api)
    api.prepare("/orders/o1/items", *[answer(500, {})] * 2)
    await driven.run(3)
    assert driven.ids == ["o1"]
    driven.restart()
    await driven.run(60)
    assert driven.ids == ["o1", "o1:a"]


async def test_a_numbered_page_says_whether_there_are_more() -> None:
    api = Api()
    api.add(7)
    text = """
base_url = "https://api.example"
[streams.contacts]
path = "/numbered"
params = { kind = "all", flag = true, each = ["a", "b"] }
records = "{list[*]}"
page = { type = "page", param = "page", limit_param = "size", limit = 3, more = "{has_more}" }
event = { id = "{id}" }
"""
    driven = Driven(text, api)
    assert (await driven.look()).new == 7
    assert [one.query["page"] for one in api.log] == ["1", "2", "3"]
    assert api.log[0].every == {"kind": ["all"], "flag": ["true"], "each": ["a", "b"], "page": ["1"], "size": ["3"]}


async def test_a_record_without_an_id_of_its_own_is_an_event_only_where_its_content_differs() -> None:
    api = Api(page=10)
    api.add(3)
    text = CONTACTS.replace('event = { id = "{id}:{updated_at}",', 'key = "{id}"\nignore = ["seen"]\nevent = {')
    driven = Driven(text.replace('since = { field = "{updated_at}", param = "updated_since", order = "asc" }', ""), api)
    assert (await driven.look()).new == 3
    assert (await driven.look()).new == 0
    api.contacts[1] = {**api.contacts[1], "email": "new@example.com"}
    api.contacts[2] = {**api.contacts[2], "seen": "just now"}
    api.contacts.append({"email": "nobody"})
    look = await driven.look()
    assert (look.new, len(driven.source.faults)) == (2, 1)
    names = [name.partition(":") for name in driven.ids]
    assert [name for name, _, _ in names] == ["c0", "c1", "c2", "c1"]
    assert len({number for _, _, number in names}) == 4


async def test_a_feed_s_own_cursor_is_where_the_next_look_begins_and_one_that_is_lost_begins_all_over() -> None:
    api = Api()
    text = """
base_url = "https://api.example"
errors = { restart = [410] }
[streams.users]
path = "/feed"
records = "{users[*]}"
page = { type = "cursor", from = "{after}", param = "cursor", more = "{!end}", keep = "{after}" }
since = { param = "start_time", format = "unix", initial = "2026-01-01T00:00:00Z", order = "asc" }
event = { id = "{id}:{n}" }
"""

    def page(number: int, *, end: bool) -> Any:
        return answer(200, {"users": [{"id": "u", "n": number}], "after": f"at{number}", "end": end})

    api.prepare("/feed", page(1, end=False), page(2, end=True), page(3, end=True), answer(410, {}), page(4, end=True))
    driven = Driven(text, api)
    assert (await driven.look("users")).new == 2
    await driven.look("users")
    look = await driven.look("users")
    asked = [one.query for one in api.log]
    assert asked == [
        {"start_time": "1767225600"}, {"cursor": "at1", "start_time": "1767225600"}, {"cursor": "at2"}, {"cursor": "at3"},
        {"start_time": "1767225600"},
    ]  # fmt: skip
    assert (look.new, look.warning) == (1, "the source had lost the position: all was asked for again")
    assert driven.place("users").kept == "at4"


async def test_a_source_that_loses_the_position_again_and_again_is_told_of() -> None:
    api = Api()
    api.prepare("/contacts", answer(410, {}), answer(410, {}))
    look = await Driven('errors = { restart = ["410"] }\n' + CONTACTS, api).look()
    assert look.trouble == "the source does not know the position, although all was asked for again"


async def test_windows_follow_each_other_up_to_now_and_the_position_moves_with_each() -> None:
    api = Api(page=100)
    api.add(5, step=86_400)
    text = CONTACTS.replace('order = "asc"', 'until = "to", initial = "2026-01-01T00:00:00Z", window = "2d"')
    driven = Driven(text, api)
    driven.clock.set(BEGIN + timedelta(days=5))
    look = await driven.look()
    assert look.new == 5
    assert [(one.query["updated_since"][8:10], one.query["to"][8:10]) for one in api.log] == [
        ("01", "03"),
        ("03", "05"),
        ("05", "06"),
    ]
    assert driven.ids[-1] == f"c4:{moment(4 * 86_400)}"


async def test_rules_in_the_answer_s_body_decide_what_it_means() -> None:
    api = Api()
    api.add(2)
    rules = """errors = { retry_if = "{error.code == 'THROTTLED'}", ignore_if = "{error.code == 'NONE'}", \
fatal_if = "{error.code == 'CLOSED'}", restart_if = "{error.code == 'GONE'}", retry = ["4xx"], tries = 3 }
"""
    driven = Driven(rules + CONTACTS, api)
    code = {"THROTTLED": answer(200, {"error": {"code": "THROTTLED"}}), "NONE": answer(500, {"error": {"code": "NONE"}})}
    api.prepare("/contacts", code["THROTTLED"], answer(418, {}))
    assert (await driven.look()).new == 2
    api.prepare("/contacts", code["NONE"])
    look = await driven.look()
    assert (look.trouble, look.records) == (None, 0)
    api.prepare("/contacts", answer(200, {"error": {"code": "CLOSED"}}))
    look = await driven.look()
    assert look.denied
    api.prepare("/contacts", answer(200, {"error": {"code": "GONE"}}))
    look = await driven.look()
    assert look.warning is not None


@pytest.mark.parametrize(
    ("form", "body", "ids"),
    [
        ('{ type = "csv" }', b"id,updated_at\na,2026-01-01T00:00:00Z\nb,2026-01-01T00:00:01Z\n", ["a", "b"]),
        ('{ type = "jsonl" }', b'{"id":"a","updated_at":"2026-01-01T00:00:00Z"}\n{"id":\n', ["a"]),
        ('{ type = "jsonl" }', b'{"id":"a","updated_at":"2026-01-01T00:00:00Z"}\n{"id":"b","n":99999999999999999999}\n', ["a"]),
        ('{ type = "xml", record = "c" }', b"<r><c><id>a</id><updated_at>2026-01-01T00:00:00Z</updated_at></c></r>", ["a"]),
    ],
)
async def test_answers_come_in_other_formats_too(form: str, body: bytes, ids: list[str]) -> None:
    api = Api()
    api.prepare("/contacts", answer(200, body=body, content_type="text/plain"))
    text = CONTACTS.replace(
        'page = { type = "cursor", from = "{paging.next.after}", param = "after" }',
        f'format = {form}\npage = {{ type = "none" }}',
    )
    driven = Driven(text, api)
    look = await driven.look()
    assert look.trouble is None
    assert [event.id.partition(":")[0] for event in driven.source.events] == ids
    api.prepare("/contacts", answer(200, body=b"<r><c>", content_type="text/plain"))
    assert mistakes(text) == []


async def test_an_answer_that_cannot_be_read_for_trouble_of_ours_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, tried = Jsonl.rows, []

    def troubled(self: Jsonl, stream: BinaryIO) -> Iterator[Row]:
        tried.append(stream)
        if len(tried) == 1:
            raise SourceUnavailable("there is no memory")
        return rows(self, stream)

    monkeypatch.setattr(Jsonl, "rows", troubled)
    api = Api()
    api.prepare("/contacts", *[answer(200, body=b'{"id":"a"}\n', content_type="text/plain")] * 2)
    text = CONTACTS.replace(
        'page = { type = "cursor", from = "{paging.next.after}", param = "after" }',
        'format = { type = "jsonl" }\npage = { type = "none" }',
    )
    look = await Driven(text, api).look()
    assert (look.trouble, look.new, len(tried)) == (None, 1, 2)


async def test_a_page_without_content_is_empty() -> None:
    api = Api()
    api.prepare("/contacts", answer(204, body=b""))
    assert (await Driven(CONTACTS, api).look()).trouble is None


async def test_a_position_of_another_kind_than_is_configured_now_means_nothing() -> None:
    """Seen to find nothing ever again, because microseconds were taken for an id."""
    api = Api(page=10)
    api.add(4)
    driven = Driven(CONTACTS, api)
    await driven.look()
    numbered = Driven(CONTACTS.replace('order = "asc"', 'order = "asc", format = "number"').replace("{updated_at}", "{n}"), api)
    numbered.source.state = driven.source.state
    api.prepare("/contacts", lambda request: answer(200, {"results": [{"id": "x", "n": 7}], "asked": request.query}))
    assert (await numbered.look()).new == 1
    assert "updated_since" not in api.log[-1].query
    assert numbered.place().position == 7


async def test_a_parent_that_fails_holds_up_no_other_and_is_set_aside_while_others_succeed() -> None:
    """Seen to hold up all the others for as long as it failed."""
    api = Api()
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(3)]
    api.items = {f"o{n}": [{"sku": "a"}] for n in range(9)}
    api.prepare("/orders/o1/items", *[answer(400, {})] * 100)
    text = (
        'base_url = "https://api.example"\npage = { type = "link" }\nevery = "60s"\nerrors = { tries = 1 }\n'
        '[streams.orders]\npath = "/orders"\n'
        'records = "{orders[*]}"\nsince = { field = "{updated_at}", param = "updated_at_min" }\nevent = { id = "{id}" }\n'
        '[streams.items]\npath = "/orders/{parent.order}/items"\nrecords = "{items[*]}"\n'
        'parent = { stream = "orders", fields = { order = "{id}" } }\nevent = { id = "{_parent.order}:{sku}" }\n'
    )
    driven = Driven(text, api)
    await driven.run(100)
    assert sorted(driven.ids) == ["o0", "o0:a", "o1", "o2", "o2:a"]
    assert driven.source.trouble == "items: 1 of its parents cannot be asked about: the source answers with status 400"
    api.orders += [{"id": "o5", "updated_at": moment(50)}]
    await driven.run(100)
    assert "o5:a" in driven.ids, "while the other waits for its next try"
    api.prepare("/orders", lambda _: None, lambda _: api.orders.append({"id": "o7", "updated_at": moment(70)}))
    await driven.run(3600)
    assert [(fault.code, "status 400" in fault.message) for _, fault in driven.source.faults] == [("parent_failed", True)]
    assert driven.source.trouble is None
    assert not [key for key in driven.source.state if b"/due/" in key]


async def test_children_of_which_all_fail_wait_for_the_source_and_none_is_given_up() -> None:
    api = Api()
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(3)]
    api.items = {f"o{n}": [{"sku": "a"}] for n in range(3)}
    for n in range(3):
        api.prepare(f"/orders/o{n}/items", *[answer(500, {})] * 12)
    text = (
        'base_url = "https://api.example"\npage = { type = "link" }\nevery = "1h"\nerrors = { tries = 1 }\n'
        '[streams.orders]\npath = "/orders"\n'
        'records = "{orders[*]}"\nsince = { field = "{updated_at}", param = "updated_at_min" }\nevent = { id = "{id}" }\n'
        '[streams.items]\npath = "/orders/{parent.order}/items"\nrecords = "{items[*]}"\n'
        'parent = { stream = "orders", fields = { order = "{id}" } }\nevent = { id = "{_parent.order}:{sku}" }\n'
    )
    driven = Driven(text, api)
    await driven.run(6 * 3600)
    assert sorted(driven.ids) == ["o0", "o0:a", "o1", "o1:a", "o2", "o2:a"]
    assert (driven.source.faults, driven.source.trouble) == ([], None)


async def test_a_key_that_comes_twice_in_a_page_is_one_event_unless_it_differs() -> None:
    api = Api()
    many = [{"id": f"c{n}", "updated_at": moment(n)} for n in range(500)]
    api.prepare("/contacts", answer(200, {"results": [*many, many[0], {**many[1], "note": "y"}]}))
    text = CONTACTS.replace('event = { id = "{id}:{updated_at}",', 'key = "{id}"\nevent = {')
    driven = Driven(text.replace('order = "asc"', 'order = "none"'), api)
    look = await driven.look()
    assert (look.trouble, look.new) == (None, 501)


async def test_a_large_page_lets_others_have_their_turn_while_it_is_sorted() -> None:
    driven, turns = Driven(CONTACTS, Api()), 0
    records = [{"id": f"c{n}", "updated_at": moment(n)} for n in range(5000)]

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        found = await driven.connector.declared["contacts"].intake.fresh(records, Edge(Place()), driven.source)
        group.cancel_scope.cancel()
    assert len(found) == 5000
    assert turns >= 20
