"""Ways to the next page and what answers hold, down to what hardly anybody does."""

from typing import Any

import msgspec
import pytest

from cdmd.connectors.rest.paging import Answer, At, Circle, End, Stuck, Way, link, within
from cdmd.connectors.rest.settings import Paging
from tests.connectors.rest.api import Api, answer, moment
from tests.connectors.rest.driving import CONTACTS, Driven

pytestmark = pytest.mark.anyio

ORIGIN = "https://api.example:443"


def way(**table: Any) -> Way:
    return Way(msgspec.convert(table, Paging), origin=ORIGIN)


def page(document: Any = None, *, length: int = 3, **headers: str) -> Answer:
    return Answer("https://api.example/x", document or {}, headers, length)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('<https://a/2>; rel="next"', "https://a/2"),
        ("<https://a/1>; rel=prev, <https://a/2>; rel=next", "https://a/2"),
        ('</2>; title="a, b"; rel="last next"', "/2"),
        ('<https://a/2>; REL="Next"', "https://a/2"),
        ("<https://a/2>", None),
        ('<https://a/2>; rel="nextish"', None),
        ("", None),
        ("<<<>>>;;;rel", None),
    ],
)
def test_the_next_page_is_found_in_a_header_link(header: str, found: str | None) -> None:
    assert link(header, "next") == found


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/y?a=1", "https://api.example/y?a=1"),
        ("?a=1", "https://api.example/x?a=1"),
        ("https://API.example/y#z", "https://API.example/y"),
        ("http://api.example/y", "https://api.example:443/y"),
        ("http://api.example:80/y", None),
        ("https://api.example.evil/y", None),
        ("https://u@api.example/y", None),
        ("https://[::1/y", None),
        ("https://api.example/\x00", None),
        ("ftp://api.example/y", None),
    ],
)
def test_an_address_stays_at_its_host_or_is_none(url: str, found: str | None) -> None:
    assert within(url, base="https://api.example/x", origin=ORIGIN) == found


@pytest.mark.parametrize(
    ("one", "at", "got", "step"),
    [
        (way(type="page", param="p", pages="{pages}"), At(number=1), page({"pages": 2}), At(number=2, came=3, pages=1)),
        (way(type="page", param="p", pages="{pages}"), At(number=2), page({"pages": 2}), End()),
        (way(type="page", param="p", start=0, pages="{pages}"), At(number=1), page({"pages": 2}), End()),
        (way(type="page", param="p", total="{n}"), At(number=1), page({"n": 3}), End()),
        (way(type="page", param="p", limit=3), At(number=1), page(length=2), At(number=2, came=2, pages=1)),
        (way(type="page", param="p"), At(number=1), page(length=0), End()),
        (way(type="offset", param="o", more="{more}"), At(), page({"more": True}, length=0), End()),
        (way(type="cursor", **{"from": "{c}"}), At(), page({"c": 7}), At(cursor=7, came=3, pages=1)),
        (way(type="cursor", **{"from": "{c}"}), At(), page({"c": True}), End()),
        (way(type="cursor", **{"from": "{c}"}), At(), page({"c": {}}), Stuck("the next page's cursor is object, not text")),
        (way(type="cursor", **{"from": "{c}"}), At(), page({"c": []}), Stuck("the next page's cursor is array, not text")),
        (
            way(type="cursor", **{"from": "{c}"}),
            At(),
            page({"c": "x" * 9000}),
            Stuck("the next page's cursor is too long to be one"),
        ),
        (
            way(type="cursor", **{"from": "{length(c)}"}),
            At(),
            page({"c": 1}),
            Stuck("the next page cannot be found: {length(c)}: length() does not take number (at c)"),
        ),
        (
            way(type="cursor", more="{more}", **{"from": "{c}"}),
            At(),
            page({"c": "x", "more": True}, length=0),
            At(cursor="x", came=0, pages=1),
        ),
        (
            way(type="next_url", **{"from": "{n}"}),
            At(),
            page({"n": "/y"}, length=0),
            At(url="https://api.example/y", came=0, pages=1),
        ),
        (way(type="next_url", **{"from": "{n}"}), At(), page({"n": 5}), Stuck("the next page's address is none")),
    ],
)
def test_what_comes_after_a_page(one: Way, at: At, got: Answer, step: Any) -> None:
    assert one.following(at, got, full=0) == step


def test_a_total_that_is_no_number_is_none() -> None:
    assert way(type="offset", total="{length(n)}").total(page({"n": 1})) is None
    assert way(type="offset", total="{n}").total(page({"n": True})) is None


def test_what_is_kept_for_the_next_look_stays_at_its_host_too() -> None:
    one = way(type="next_url", **{"from": "{n}", "keep": "{k}"})
    assert one.keep(page({"k": "/delta"})) == "https://api.example/delta"
    assert one.keep(page({"k": None})) is None
    elsewhere = one.keep(page({"k": "https://evil.example/"}))
    assert isinstance(elsewhere, Stuck)
    assert "(evil.example)" in elsewhere.reason
    broken = way(type="cursor", **{"from": "{n}", "keep": "{length(k)}"}).keep(page({"k": 1}))
    assert isinstance(broken, Stuck)


async def test_a_feed_whose_next_beginning_leads_away_keeps_nothing() -> None:
    api = Api()
    api.prepare("/x", answer(200, {"v": [{"id": "1"}], "k": "https://[evil/"}))
    text = """
base_url = "https://api.example"
[streams.x]
path = "/x"
records = "{v[*]}"
page = { type = "next_url", from = "{n}", keep = "{k}" }
event = { id = "{id}" }
"""
    driven = Driven(text, api)
    look = await driven.look("x")
    assert look.trouble is not None
    assert "another host, where credentials never go" in look.trouble
    assert (driven.source.state, driven.ids) == ({}, [])


def test_a_place_by_number_is_no_circle() -> None:
    circle = Circle()
    assert circle.step(At(number=1)) is None
    assert circle.step(At(number=1)) is None


@pytest.mark.parametrize(
    ("old", "new", "given", "reason"),
    [
        ("{results[*]}", "{length(results)}", answer(200, {"results": 5}), "the records cannot be found: "),
        ("{results[*]}", "{results}", answer(200, {"results": 5}), "is neither a list nor an object"),
        (
            'limits = "1000/1s"',
            'max_body = "1KiB"',
            answer(200, {"results": "x" * 2000}),
            "the answer is larger than 1024 bytes",
        ),
        (
            'path = "/contacts"',
            'path = "/contacts"\nformat = { type = "xml", record = "c" }',
            answer(200, body=b"<r><c>"),
            "the answer cannot be read: ",
        ),
        ('path = "/contacts"', 'path = "/contacts/{since}"', answer(200, {}), "the request cannot be made: {since} is null"),
        (
            'path = "/contacts"',
            'path = "/contacts"\nparams = { q = "{join(\'\', [`\\"' + "x" * 9000 + '\\"`])}" }',
            answer(200, {}),
            "the request's address becomes too long",
        ),
    ],
)
async def test_what_cannot_be_asked_or_read_is_told(old: str, new: str, given: Any, reason: str) -> None:
    api = Api()
    api.prepare("/contacts", given)
    assert old in CONTACTS
    look = await Driven(CONTACTS.replace(old, new), api).look()
    assert look.trouble is not None
    assert reason in look.trouble


async def test_one_object_is_one_record_and_a_large_answer_is_read_as_well() -> None:
    api = Api()
    api.prepare("/contacts", answer(200, {"results": {"id": "a", "updated_at": moment(1), "note": "x" * 300_000}}))
    driven = Driven(CONTACTS.replace("{results[*]}", "{results}"), api)
    assert (await driven.look()).new == 1


async def test_rules_in_the_body_of_what_is_no_json_hold_nothing() -> None:
    api = Api()
    api.prepare("/contacts", answer(200, body=b"<html>"), answer(200, {"error": 5}))
    driven = Driven('errors = { fatal_if = "{length(error) > `0`}" }\n' + CONTACTS, api)
    assert "a page (HTML)" in ((await driven.look()).trouble or "")
    assert "holds nothing" in ((await driven.look()).trouble or "")
