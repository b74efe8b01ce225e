"""What sources do that they should not: the stream says why it does not go on, and nothing is lost, doubled or exceeded."""

from typing import Any

import httpx
import msgspec
import pytest

from cdmd.connectors.rest.positions import Place
from cdmd.errors import AnswerTooLarge, RequestFailed
from tests.connectors.rest.api import BEGIN, Api, answer, moment
from tests.connectors.rest.driving import CONTACTS, Driven

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (answer(200, body=b"<!doctype html><title>Sign in</title>", content_type="text/html"), "a page (HTML) where records"),
        (answer(200, body=b"<html>maintenance</html>"), "a page (HTML) where records"),
        (answer(200, body=b'{"results": [{"id":'), "not JSON that can be taken (invalid_json)"),
        (answer(200, body=b"[" * 5000 + b"]" * 5000), "(too_deep)"),
        (answer(200, body=b'{"results":[{"n":' + b"9" * 40 + b"}]}"), "(number_out_of_range)"),
        (answer(200, body=b""), "(invalid_json)"),
        (answer(200, {"error": "no such view"}), "the answer holds nothing at {results[*]}"),
        (answer(200, {"results": "none"}), "the answer holds nothing at {results[*]}"),
        (answer(404, {}), "there is nothing at /contacts (status 404)"),
        (answer(400, {}), "status 400"),
        (answer(401, {}), "refuses the credential (status 401)"),
        (answer(403, {}), "refuses this to the credential (status 403)"),
        (AnswerTooLarge("the answer is larger than 10485760 bytes"), "larger than 10485760 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_told_and_the_next_good_one_goes_on(bad: Any, reason: str) -> None:
    api = Api()
    api.add(4)
    api.prepare("/contacts", bad)
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert look.trouble is not None
    assert reason in look.trouble
    assert driven.source.state == {}
    assert (await driven.look()).new == 4


@pytest.mark.parametrize("bad", [answer(500, {}), answer(503, {}), answer(408, {}), RequestFailed("no whole answer came")])
async def test_what_may_be_over_soon_is_tried_again_a_few_times_and_then_given_up(bad: Any) -> None:
    api = Api()
    api.add(4)
    api.prepare("/contacts", bad, bad, bad)
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert (look.trouble, look.new, look.requests) == (None, 4, 5)
    api.prepare("/contacts", *[bad] * 5)
    look = await driven.look()
    assert look.trouble is not None
    assert look.requests == 5


async def test_a_storm_of_429_is_waited_out_and_no_request_comes_before_its_pause_is_over() -> None:
    api = Api()
    api.add(4)
    api.prepare("/contacts", *[answer(429, {}, retry_after="300")] * 4)
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert (look.trouble, look.new) == (None, 4)
    assert api.early == 0
    assert (look.ended - look.began).total_seconds() >= 1200


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_the_limit_is_never_exceeded_by_any_of_its_streams(limit: int) -> None:
    api = Api(limit=limit, per=10.0)
    api.add(60)
    second = CONTACTS[CONTACTS.index("[streams.contacts]") :].replace("streams.contacts", "streams.other")
    driven = Driven(CONTACTS.replace("1000/1s", f"{limit}/10s") + second, api)
    await driven.run(3600)
    assert (api.violations, len(driven.ids)) == (0, 120)


async def test_a_limit_that_nobody_wrote_down_is_found_by_halving_and_kept_nearly_without_refusals() -> None:
    """Ten times as much is configured as the source allows, and its 429 does not say when it may be asked again."""
    api = Api(limit=20, per=10.0, page=1, says_when=False)
    api.add(500)
    driven = Driven(CONTACTS.replace('"1000/1s"', '"200/10s"\nerrors = { tries = 50 }'), api)
    await driven.run(600)
    assert len(driven.ids) == 500, "nothing is missing for it"
    assert 3 <= api.violations <= len(api.log) / 50
    assert len([at for at in api.refused if at < api.began + 60]) >= 3


async def test_one_stream_that_fails_leaves_the_others_unmoved_and_the_connector_says_which() -> None:
    api = Api()
    api.add(4)
    second = CONTACTS[CONTACTS.index("[streams.contacts]") :].replace("streams.contacts", "streams.other")
    driven = Driven('every = "1m"\n' + CONTACTS + second.replace("/contacts", "/missing"), api)
    await driven.run(600)
    assert len(driven.ids) == 4
    assert driven.source.trouble == "other: there is nothing at /missing (status 404)"
    assert len(api.asked("/missing")) < 6, "what fails is asked less and less"
    assert len(api.asked("/contacts")) >= 10


async def test_a_refused_credential_is_not_tried_again_and_again() -> None:
    api = Api(token="other")
    driven = Driven(CONTACTS, api)
    await driven.run(3600)
    assert len(api.log) <= 5
    assert "refuses the credential (status 401)" in (driven.source.trouble or "")


async def test_pages_without_end_end_with_an_alarm() -> None:
    api = Api()
    numbers = iter(range(10_000))

    def endless(_: Any) -> Any:
        number = next(numbers)
        return answer(200, {"results": [{"id": str(number)}], "paging": {"next": {"after": str(number)}}})

    api.prepare("/contacts", *[endless] * 200)
    text = CONTACTS.replace('param = "after"', 'param = "after", max_pages = 50').replace('"asc"', '"none"')
    look = await Driven(text, api).look()
    assert look.trouble == "there is no end after 50 pages (`page.max_pages`): the walk was ended"
    assert look.requests == 50


async def test_in_ascending_order_a_walk_of_many_pages_goes_on_where_it_ended() -> None:
    api = Api()
    api.add(20)
    driven = Driven(CONTACTS.replace('param = "after"', 'param = "after", max_pages = 2'), api)
    look = await driven.look()
    assert (look.trouble, look.more, look.new) == (None, True, 6)
    await driven.run(60)
    assert len(set(driven.ids)) == 20


async def test_a_walk_that_goes_on_at_the_same_place_for_ever_is_an_alarm() -> None:
    api = Api()
    api.contacts = [{"id": f"c{n}", "updated_at": moment(5)} for n in range(20)]
    driven = Driven(CONTACTS.replace('param = "after"', 'param = "after", max_pages = 2'), api)
    await driven.look()
    look = await driven.look()
    assert look.trouble is not None
    assert "there is no end after 2 pages" in look.trouble


async def test_a_record_from_the_future_moves_no_position() -> None:
    api = Api(page=10)
    api.add(3)
    api.contacts.append({"id": "future", "updated_at": "2099-01-01T00:00:00Z"})
    driven = Driven(CONTACTS, api)
    driven.clock.set(BEGIN)
    await driven.look()
    api.add(2, start=3)
    look = await driven.look()
    assert (look.new, api.log[-1].query) == (2, {"updated_since": moment(2)})
    assert len(driven.ids) == 6


async def test_a_source_whose_clock_is_ahead_is_believed_by_its_own_clock() -> None:
    api = Api(page=10)
    api.add(3, start=7200)
    api.ahead = 7300
    driven = Driven(CONTACTS, api)
    driven.clock.set(BEGIN)
    await driven.look()
    await driven.look()
    assert api.log[-1].query == {"updated_since": moment(7202)}


async def test_a_clock_that_is_set_back_moves_no_position_back() -> None:
    api = Api(page=10)
    api.add(3, start=7200)
    driven = Driven(CONTACTS, api)
    await driven.look()
    before = driven.place().position
    driven.clock.set(BEGIN)
    api.add(1, start=7210)
    await driven.look()
    assert driven.place().position == before, "what is ahead of every clock waits"
    assert len(driven.ids) == 4


async def test_records_without_ids_are_set_aside_one_by_one_and_the_others_come() -> None:
    api = Api(page=10)
    api.add(2)
    api.contacts += [{"updated_at": moment(3)}, "no object", None, [1]]
    api.contacts = [one if isinstance(one, dict) else {"x": one} for one in api.contacts]
    driven = Driven(CONTACTS, api)
    look = await driven.look()
    assert look.trouble is None
    assert (len(driven.ids), len(driven.source.faults)) == (2, 4)


async def test_records_that_are_no_objects_are_set_aside() -> None:
    api = Api()
    api.prepare("/contacts", answer(200, {"results": [1, "x", {"id": "a", "updated_at": moment(1)}]}))
    driven = Driven(CONTACTS, api)
    await driven.look()
    assert (len(driven.ids), len(driven.source.faults)) == (1, 2)


async def test_records_that_never_say_where_they_stand_are_told_of() -> None:
    api = Api()
    api.prepare("/contacts", answer(200, {"results": [{"id": "a"}, {"id": "b"}]}))
    look = await Driven(CONTACTS, api).look()
    assert look.warning == "no record has anything at {updated_at} that is a position: it cannot move"


async def test_an_empty_list_that_is_written_as_null_is_empty() -> None:
    api = Api()
    api.prepare("/contacts", answer(200, {"results": None}), answer(200, {}))
    driven = Driven(CONTACTS, api)
    assert (await driven.look()).trouble is None
    may = Driven(CONTACTS.replace("page =", "may_be_missing = true\npage ="), api)
    assert (await may.look()).trouble is None


@pytest.mark.parametrize("etag", [b'"\xe9"', b'"' + b"x" * 5_000 + b'"', b'"a\tb"'])
async def test_a_version_that_cannot_be_sent_back_is_not_asked_with(etag: bytes) -> None:
    api = Api()
    etags = CONTACTS.replace(
        'since = { field = "{updated_at}", param = "updated_since", order = "asc" }', 'since = { etag = true, order = "desc" }'
    )
    document = b'{"results": [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}], "paging": {"next": {"after": ""}}}'
    for value in (b'"good"', etag):
        api.prepare("/contacts", httpx.Response(200, content=document, headers={b"etag": value}))
    driven = Driven(etags, api)
    assert [(await driven.look()).trouble for _ in range(3)] == [None] * 3
    assert [one.headers.get("if-none-match") for one in api.asked("/contacts")] == [None, '"good"', None]


async def test_a_version_that_an_earlier_daemon_kept_and_that_cannot_be_sent_is_not_asked_with() -> None:
    api = Api()
    etags = CONTACTS.replace(
        'since = { field = "{updated_at}", param = "updated_since", order = "asc" }', 'since = { etag = true, order = "desc" }'
    )
    api.prepare("/contacts", answer(200, {"results": [], "paging": {"next": {"after": ""}}}, etag='"good"'))
    driven = Driven(etags, api)
    await driven.look()
    ((key, kept),) = driven.source.state.items()
    place = msgspec.structs.replace(msgspec.msgpack.decode(kept, type=Place), etag='"\xe9"', modified="a\tb")
    driven.source.state[key] = msgspec.msgpack.encode(place)
    assert (await driven.look()).trouble is None
    asked = api.asked("/contacts")[-1].headers
    assert ("if-none-match" in asked, "if-modified-since" in asked) == (False, False)
