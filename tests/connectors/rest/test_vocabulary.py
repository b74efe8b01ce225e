"""The words are enough for the APIs that people have: each is declared as its documentation describes it, and asked."""

from typing import Any

import pytest

from tests.connectors.rest.api import Api, Asked, answer
from tests.connectors.rest.driving import Driven, mistakes

pytestmark = pytest.mark.anyio

APIS = {
    "a search by POST whose body pages (as HubSpot's)": (
        """
[streams.contacts]
method = "POST"
path = "/crm/v3/objects/contacts/search"
records = "{results[*]}"
page = { type = "cursor", from = "{paging.next.after}", max_pages = 100 }
since = { field = "{updatedAt}", format = "unix_ms", initial = "2024-01-01T00:00:00Z", order = "asc" }
event = { id = "{id}:{updatedAt}", type = "contact" }
[streams.contacts.body]
limit = 100
after = "{cursor}"
properties = ["email", "phone"]
sorts = [{ propertyName = "lastmodifieddate", direction = "ASCENDING" }]
filterGroups = [{ filters = [{ propertyName = "lastmodifieddate", operator = "GTE", value = "{since}" }] }]
""",
        [
            {"results": [{"id": "1", "updatedAt": "2026-01-01T00:00:00Z"}], "paging": {"next": {"after": "100"}}},
            {"results": [{"id": "2", "updatedAt": "2026-01-02T00:00:00Z"}]},
        ],
        2,
    ),
    "an id as the cursor (as Stripe's)": (
        """
[streams.events]
path = "/v1/events"
params = { limit = 100 }
records = "{data[*]}"
page = { type = "cursor", from = "{data[-1].id}", param = "starting_after", more = "{has_more}" }
since = { field = "{created}", param = "created[gte]", format = "unix", order = "desc" }
event = { id = "{id}", type = "stripe.{type}", time = "{created}" }
""",
        [
            {"data": [{"id": "evt_2", "type": "a", "created": 1767312000}], "has_more": True},
            {"data": [{"id": "evt_1", "type": "b", "created": 1767225600}], "has_more": False},
        ],
        2,
    ),
    "a cursor for good (as Zendesk's incremental exports)": (
        """
[streams.users]
path = "/api/v2/incremental/users/cursor.json"
records = "{users[*]}"
page = { type = "cursor", from = "{after_cursor}", param = "cursor", more = "{!end_of_stream}", keep = "{after_cursor}" }
since = { param = "start_time", format = "unix", initial = "2024-01-01T00:00:00Z", order = "asc" }
event = { id = "{id}:{updated_at}", type = "user" }
""",
        [
            {"users": [{"id": 1, "updated_at": "x"}], "after_cursor": "a", "end_of_stream": False},
            {"users": [{"id": 2, "updated_at": "x"}], "after_cursor": "b", "end_of_stream": True},
        ],
        2,
    ),
    "a search whose cursor stands in a table (as Intercom's)": (
        """
[streams.contacts]
method = "POST"
path = "/contacts/search"
records = "{data[*]}"
page = { type = "cursor", from = "{pages.next.starting_after}" }
since = { field = "{updated_at}", format = "unix", initial = "2024-01-01T00:00:00Z", inclusive = false }
event = { id = "{id}:{updated_at}", type = "contact" }
[streams.contacts.body]
query = { field = "updated_at", operator = ">", value = "{since}" }
pagination = { per_page = 150, starting_after = "{cursor}" }
""",
        [
            {"data": [{"id": "1", "updated_at": 1767225600}], "pages": {"next": {"starting_after": "abc"}}},
            {"data": [{"id": "2", "updated_at": 1767225601}], "pages": {"next": None}},
        ],
        2,
    ),
    "offsets with a total (as Mailchimp's)": (
        """
[streams.members]
path = "/3.0/lists/abc/members"
records = "{members[*]}"
page = { type = "offset", param = "offset", limit_param = "count", limit = 1, total = "{total_items}" }
since = { field = "{last_changed}", param = "since_last_changed" }
event = { id = "{id}:{last_changed}", type = "member" }
""",
        [
            {"members": [{"id": "1", "last_changed": "2026-01-01T00:00:00+00:00"}], "total_items": 2},
            {"members": [{"id": "2", "last_changed": "2026-01-01T00:00:01+00:00"}], "total_items": 2},
        ],
        2,
    ),
    "a query language and relative addresses (as Salesforce's)": (
        """
[streams.contacts]
path = "/services/data/v62.0/query"
params = { q = "SELECT Id, Email FROM Contact WHERE SystemModstamp >= {since} ORDER BY SystemModstamp" }
records = "{records[*]}"
page = { type = "next_url", from = "{nextRecordsUrl}" }
since = { field = "{SystemModstamp}", initial = "2024-01-01T00:00:00Z", format = "%Y-%m-%dT%H:%M:%SZ", order = "asc" }
event = { id = "{Id}:{SystemModstamp}", type = "contact" }
""",
        [
            {"records": [{"Id": "1", "SystemModstamp": "2026-01-01T00:00:00.000+0000"}], "nextRecordsUrl": "/services/q-20"},
            {"records": [{"Id": "2", "SystemModstamp": "2026-01-01T00:00:01.000+0000"}]},
        ],
        2,
    ),
    "OData (as SAP's)": (
        """
[streams.customers]
path = "/odata/Customers"
params = { "$filter" = "modifiedAt ge {since}", "$orderby" = "modifiedAt" }
records = "{value[*]}"
page = { type = "next_url", from = '{"@odata.nextLink"}', keep = '{"@odata.deltaLink"}' }
since = { field = "{modifiedAt}", order = "asc" }
event = { id = "{ID}:{modifiedAt}", type = "customer" }
""",
        [
            {"value": [{"ID": "1", "modifiedAt": "2026-01-01T00:00:00Z"}], "@odata.nextLink": "https://api.example/odata/x?$skip=1"},
            {"value": [{"ID": "2", "modifiedAt": "2026-01-01T00:00:01Z"}], "@odata.deltaLink": "/odata/Customers?$delta=x"},
        ],
        2,
    ),
    "a search by a form (as many older APIs')": (
        """
[streams.people]
method = "POST"
path = "/search"
body_as = "form"
body = { q = "changed after {since}", fields = ["id", "mail"], active = true, cursor = "{cursor}", limit = 2 }
records = "{people[*]}"
page = { type = "cursor", from = "{next}" }
since = { field = "{changed}", order = "asc" }
event = { id = "{id}:{changed}", type = "person" }
""",
        [
            {"people": [{"id": "1", "changed": "2026-01-01T00:00:00Z"}], "next": "a&b"},
            {"people": [{"id": "2", "changed": "2026-01-01T00:00:01Z"}]},
        ],
        2,
    ),
    "a cursor in a header": (
        """
[streams.things]
path = "/things"
records = "{@}"
page = { type = "cursor", from = "{_fetch.headers.x_next_cursor}", param = "cursor" }
event = { id = "{id}", type = "thing" }
""",
        [[{"id": "1"}], []],
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "pages", "new"), APIS.values(), ids=APIS)
async def test_an_api_is_declared_with_these_words_and_read(text: str, pages: list[Any], new: int) -> None:
    text = 'base_url = "https://api.example"\n' + text
    assert mistakes(text) == []
    api = Api()
    driven = Driven(text, api)
    (stream,) = driven.connector.declared

    answers = iter([answer(200, value, x_next_cursor=f"c{number}") for number, value in enumerate(pages)])
    api._prepared = lambda _: next(answers)  # type: ignore[method-assign]
    look = await driven.look(stream)
    assert (look.trouble, look.warning, look.new, look.requests) == (None, None, new, len(pages))


async def test_the_second_look_asks_where_the_first_one_ended() -> None:
    """Bodies, parameters in templates, cursors for good: each as the API wants it."""
    asked: dict[str, Asked] = {}
    for name, (text, pages, _) in APIS.items():
        api = Api()
        driven = Driven('base_url = "https://api.example"\n' + text, api)
        (stream,) = driven.connector.declared
        answers = iter([*pages, pages[-1]])
        api._prepared = lambda _, answers=answers: answer(200, next(answers, {}))  # type: ignore[method-assign]
        first = await driven.look(stream)
        await driven.look(stream)
        asked[name.partition(" (as ")[2].rstrip(")") or name] = api.log[first.requests]
    assert asked["HubSpot's"].json["filterGroups"][0]["filters"][0]["value"] == 1_767_312_000_000
    assert asked["Stripe's"].query == {"limit": "100", "created[gte]": "1767312000"}
    assert asked["Zendesk's incremental exports"].query == {"cursor": "b"}
    assert asked["Intercom's"].json == {
        "query": {"field": "updated_at", "operator": ">", "value": 1_767_225_600},
        "pagination": {"per_page": 150},
    }
    assert asked["Mailchimp's"].query["since_last_changed"] == "2026-01-01T00:00:01Z"
    assert "SystemModstamp >= 2026-01-01T00:00:01Z ORDER" in asked["Salesforce's"].query["q"]
    form = asked["many older APIs'"]
    assert form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert form.body == b"q=changed+after+2026-01-01T00%3A00%3A01Z&fields=id&fields=mail&active=true&limit=2"
    assert asked["SAP's"].query == {"$delta": "x"}
