"""The nine rules that other projects learned the hard way; each test is named for its rule."""

from typing import Any

import pytest

from cdmd.kit.secret import Secret
from tests.connectors.rest.api import Api, answer, moment
from tests.connectors.rest.driving import CONTACTS, Driven, mistakes

pytestmark = pytest.mark.anyio

OFFSET = """
base_url = "https://api.example"
limits = "1000/1s"
[streams.contacts]
path = "/offset"
records = "{list[*]}"
page = { type = "offset", param = "offset", limit_param = "limit", limit = 3, total = "{total}" }
event = { id = "{id}", type = "contact" }
"""
ORDERS = """
base_url = "https://api.example"
auth = { type = "bearer", token = "sesame" }
[streams.orders]
path = "/orders"
records = "{orders[*]}"
page = { type = "link" }
event = { id = "{id}", type = "order" }
[streams.items]
path = "/orders/{parent.order}/items"
records = "{items[*]}"
page = { type = "none" }
parent = { stream = "orders", fields = { order = "{id}" } }
event = { id = "{_parent.order}:{sku}", type = "item" }
"""


def test_rule_1_paging_is_inherited_from_the_connector_or_a_mistake_and_never_silently_a_single_page() -> None:
    bare = CONTACTS.replace('page = { type = "cursor", from = "{paging.next.after}", param = "after" }\n', "")
    assert mistakes(bare) == [
        'streams.contacts.page: is missing, here and in the connector; { type = "none" } says that there is one page'
    ]
    assert mistakes('page = { type = "link" }\n' + bare) == []


async def test_rule_1_what_the_connector_says_of_pages_holds_in_every_stream() -> None:
    page = 'page = { type = "cursor", from = "{paging.next.after}", param = "after" }\n'
    api = Api()
    api.add(7)
    driven = Driven(page + CONTACTS.replace(page, ""), api)
    assert (await driven.look()).new == 7


async def test_rule_2_a_cursor_that_comes_again_stops_the_walk_with_an_alarm() -> None:
    api = Api()
    value = {"results": [{"id": "a", "updated_at": moment(1)}], "paging": {"next": {"after": "x"}}}
    other = {"results": [{"id": "b", "updated_at": moment(2)}], "paging": {"next": {"after": "x"}}}
    api.prepare("/contacts", answer(200, value), answer(200, other))
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert look.trouble is not None
    assert "leads to a page that was read before" in look.trouble
    assert (len(api.log), len(driven.ids)) == (2, 2), "what came is kept"


async def test_rule_2_the_same_page_again_stops_the_walk_with_an_alarm() -> None:
    api = Api()
    api.add(9)
    same = answer(200, {"list": api.contacts[:3], "has_more": True})
    api.prepare("/numbered", same, lambda _: answer(200, {"list": api.contacts[:3], "has_more": True}))
    text = CONTACTS.replace("/contacts", "/numbered").replace("results", "list")
    text = text.replace('type = "cursor", from = "{paging.next.after}", param = "after"', 'type = "page", param = "page"')
    look = await Driven(text, api).look()
    assert look.trouble == "the source gives the same page again (page 2): the walk was ended"
    assert len(api.log) == 2


@pytest.mark.parametrize("order", ["asc", "desc", "none"])
async def test_rule_3_the_position_moves_with_every_page_only_in_ascending_order_else_at_the_end(order: str) -> None:
    api = Api()
    api.add(9)
    api.prepare("/contacts", api._contacts, answer(400, {}))
    text = CONTACTS.replace('order = "asc"', f'order = "{order}"')
    driven = Driven(text, api)
    look = await driven.look()
    assert look.trouble == "the source answers with status 400"
    moved = driven.place().position is not None
    assert moved is (order == "asc")
    look = await driven.look()
    assert look.trouble is None
    assert api.log[2].query == ({"updated_since": moment(2)} if order == "asc" else {})
    assert len(set(driven.ids)) == 9
    await driven.look()
    assert api.asked("/contacts")[-1].query["updated_since"] == moment(8)


async def test_rule_3_an_order_that_is_not_as_declared_lets_the_position_move_at_the_end_only() -> None:
    """Seen to lose what was on the last page with the position that the first pages allowed."""
    api = Api()

    def page(*numbers: int, after: str | None) -> Any:
        paging = {"next": {"after": after}} if after else {}
        return answer(200, {"results": [{"id": str(n), "updated_at": moment(n)} for n in numbers], "paging": paging})

    api.prepare("/contacts", page(1, 8, after="b"), page(3, 4, after="c"), answer(400, {}))
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert look.warning is not None
    assert 'set order = "none"' in look.warning
    assert driven.place().position is None, "an interrupted walk begins again"


async def test_rule_4_the_lookback_is_taken_from_the_position_and_not_from_the_beginning() -> None:
    api = Api()
    api.add(5, step=3600)
    text = CONTACTS.replace('order = "asc"', 'order = "asc", lookback = "5m", initial = "2026-01-01T00:00:00Z"')
    driven = Driven(text, api)
    await driven.look()
    assert api.log[0].query["updated_since"] == "2026-01-01T00:00:00Z"
    await driven.look()
    assert api.log[-1].query["updated_since"] == moment(4 * 3600 - 300)


async def test_rule_5_the_boundary_is_asked_for_again_and_what_is_known_of_it_is_not_brought_twice() -> None:
    api = Api(page=10)
    api.contacts = [{"id": "a", "updated_at": moment(5)}, {"id": "b", "updated_at": moment(5)}]
    driven = Driven(CONTACTS, api)
    await driven.look()
    api.contacts.append({"id": "c", "updated_at": moment(5)})
    look = await driven.look()
    assert (look.records, look.new) == (3, 1)
    assert driven.ids == [f"{name}:{moment(5)}" for name in "abc"]


async def test_rule_5_a_source_that_leaves_the_boundary_out_is_asked_a_moment_earlier() -> None:
    api = Api()
    api.add(3)
    driven = Driven(CONTACTS.replace('order = "asc"', 'order = "asc", inclusive = false'), api)
    await driven.look()
    await driven.look()
    assert api.log[-1].query["updated_since"] == moment(1)
    assert len(driven.ids) == 3


async def test_rule_6_offsets_begin_at_zero_and_the_total_is_compared_with_what_came() -> None:
    api = Api()
    api.add(7)
    driven = Driven(OFFSET, api)
    look = await driven.look()
    assert (look.trouble, look.new) == (None, 7)
    assert [one.query["offset"] for one in api.log] == ["0", "3", "6"]
    short = {"total": 7, "list": api.contacts[:3]}
    api.prepare("/offset", answer(200, short), answer(200, {"total": 7, "list": []}))
    look = await Driven(OFFSET, api).look()
    assert look.trouble == "the source says that there are 7 records, and only 3 came"


async def test_rule_6_a_source_that_gives_smaller_pages_than_asked_for_loses_nothing() -> None:
    """Seen to lose all but the first page with a short page taken for the last one."""
    api = Api(page=3)
    api.add(7)
    text = OFFSET.replace("limit = 3", "limit = 500").replace(', total = "{total}"', "")
    driven = Driven(text, api)
    assert (await driven.look()).new == 7


async def test_a_source_that_keeps_to_the_page_size_is_not_asked_for_an_empty_page() -> None:
    api = Api(page=3)
    api.add(7)
    driven = Driven(OFFSET.replace(', total = "{total}"', ""), api)
    await driven.look()
    assert [one.query["offset"] for one in api.log] == ["0", "3", "6"]


async def test_rule_7_a_child_that_is_not_there_is_nothing_and_harms_nobody() -> None:
    api = Api(token="sesame")
    api.orders = [{"id": f"o{n}", "updated_at": moment(n)} for n in range(5)]
    api.items = {"o1": [{"sku": "x"}], "o3": [{"sku": "y"}, {"sku": "z"}]}
    driven = Driven(ORDERS, api)
    await driven.run(30)
    assert sorted(driven.ids) == ["o0", "o1", "o1:x", "o2", "o3", "o3:y", "o3:z", "o4"]
    assert driven.source.trouble is None
    assert not [key for key in driven.source.state if b"/due/" in key]


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/orders?page=2",
        "https://api.example:444/orders",
        "https://u:p@api.example/orders",
        "//evil.example/x",
    ],
)
async def test_rule_8_a_next_page_at_another_host_is_refused_with_what_to_do(link: str) -> None:
    api = Api(token="sesame")
    api.prepare("/orders", answer(200, {"orders": [{"id": "o1"}]}, link=f'<{link}>; rel="next"'))
    driven = Driven(ORDERS, api)
    look = await driven.look("orders")
    assert look.trouble is not None
    assert "another host" in look.trouble
    assert "set base_url to it" in look.trouble
    assert (len(api.log), driven.http.elsewhere) == (1, [])


async def test_rule_8_a_redirect_is_not_followed() -> None:
    api = Api(token="sesame")
    api.prepare("/orders", answer(302, {}, location="https://evil.example/"))
    driven = Driven(ORDERS, api)
    look = await driven.look("orders")
    assert look.trouble == "the source redirects to another address (status 302), which is never followed"
    assert (len(api.log), driven.http.elsewhere) == (1, [])


async def test_an_address_that_a_server_behind_a_proxy_writes_is_asked_by_https_all_the_same() -> None:
    api = Api(token="sesame")
    link = {"link": '<http://api.example/orders?page=2>; rel="next"'}
    api.prepare("/orders", answer(200, {"orders": [{"id": "o1"}]}, **link), answer(200, {"orders": []}))
    assert (await Driven(ORDERS, api).look("orders")).trouble is None
    assert api.log[1].url == "https://api.example/orders?page=2"


def test_rule_9_secrets_are_references_and_nothing_shows_them() -> None:
    driven = Driven(ORDERS, Api())
    assert isinstance(driven.settings.auth.token, Secret)
    assert "sesame" not in repr(driven.settings)
