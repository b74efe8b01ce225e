"""Streams read to their ends: what comes, what is asked the next time, what is kept."""

import pytest

from tests.connectors.rest.api import Api, moment
from tests.connectors.rest.driving import CONTACTS, Driven

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


async def test_the_whole_connector_looks_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api()
    api.add(7)
    driven = Driven(CONTACTS.replace('path = "/contacts"', 'path = "/contacts"\nfreshness = "5m"'), api)
    await driven.run(3600)
    assert len(driven.ids) == 7
    assert 20 <= len(api.log) <= 30
