"""Credentials of declared APIs: keys, sessions, tokens that run out, exchanged refresh tokens, token endpoints that fail."""

from types import MappingProxyType
from typing import Any

import pytest

from cdmd.connectors.fetching import REFRESH_TOKEN
from cdmd.errors import NotDurable, RequestFailed
from tests.connectors.rest.api import Api, answer
from tests.connectors.rest.driving import CONTACTS, Driven, mistakes

pytestmark = pytest.mark.anyio

CLIENT = 'auth = { type = "oauth2_client", token_url = "https://api.example/token", client_id = "c", client_secret = "s" }\n'
REFRESH = CLIENT.replace("oauth2_client", "oauth2_refresh").replace(" }\n", ', refresh_token = "refresh-0" }\n')
LOGIN = """auth = { type = "login", url = "https://api.example/login", username = "cdmd", password = "sesame", \
body = { user = "{username}", password = "{password}" }, token = "{session.id}" }
"""


def driven(auth: str, api: Api) -> Driven:
    api.add(4)
    return Driven(auth + CONTACTS, api)


async def test_a_key_goes_with_every_page_in_a_header_or_in_the_query() -> None:
    api = Api()
    one = driven('auth = { type = "api_key", in = "query", name = "key", value = "k" }\n', api)
    await one.look()
    assert [asked.query["key"] for asked in api.log] == ["k", "k"]
    api = Api()
    await driven('auth = { type = "api_key", in = "header", name = "X-Key", value = "k" }\n', api).look()
    assert [asked.headers["x-key"] for asked in api.log] == ["k", "k"]
    api = Api()
    await driven('auth = { type = "basic", username = "u", password = "p" }\n', api).look()
    assert api.log[0].headers["authorization"] == "Basic dTpw"


@pytest.mark.parametrize("auth", [CLIENT, REFRESH, LOGIN])
async def test_a_token_that_the_source_no_longer_takes_is_exchanged_once_in_the_middle_of_a_walk(auth: str) -> None:
    api = Api(token="nobody has it yet")
    one = driven(auth, api)
    assert (await one.look()).trouble is None
    api.token = "run out"
    api.add(3, start=10)
    look = await one.look()
    assert (look.trouble, look.new) == (None, 3)
    assert api.tokens == 2


async def test_a_session_token_may_go_into_the_query_and_lasts_as_long_as_is_said() -> None:
    api = Api()
    auth = LOGIN.replace("token =", 'in = "query", name = "sid", prefix = "", lasts = "10m", token =')
    one = driven(auth, api)
    await one.look()
    assert api.log[1].query == {"sid": "session-1"}
    one.clock.elapsed += 700
    await one.look()
    assert api.log[-1].query["sid"] == "session-2"
    assert api.tokens == 2


async def test_a_login_may_be_sent_as_a_form() -> None:
    api = Api(token="nobody has it yet")
    seen: list[bytes] = []

    def logged_in(request: Any) -> Any:
        seen.append(request.body)
        api.token = "session-9"
        return answer(200, {"session": {"id": "session-9"}})

    api.prepare("/login", logged_in)
    assert (await driven(LOGIN.replace("url =", 'body_as = "form", url ='), api).look()).trouble is None
    assert seen == [b"user=cdmd&password=sesame"]


async def test_an_exchanged_refresh_token_is_durable_before_its_access_token_is_used() -> None:
    """Seen to fail with the token used before it was written."""
    api = Api(token="nobody has it yet")
    one = driven(REFRESH, api)
    written: list[int] = []
    emit = one.source.emit

    async def noting(records: Any, *, state: Any = MappingProxyType({})) -> Any:
        if REFRESH_TOKEN in state:
            written.append(len([asked for asked in api.log if asked.path == "/contacts"]))
        return await emit(records, state=state)

    one.source.emit = noting  # type: ignore[method-assign]
    await one.look()
    assert written == [0], "no contact was asked for before"
    one.restart()
    api.token = "run out"
    assert (await one.look()).trouble is None, "the exchanged one is used after a restart"


async def test_a_disk_that_takes_no_refresh_token_lets_no_request_go_until_it_does() -> None:
    """Seen to lose the exchanged token for good when the look was given up instead."""
    api = Api(token="nobody has it yet")
    one, full = driven(REFRESH, api), [True, True]
    emit = one.source.emit

    async def sometimes(records: Any, *, state: Any = MappingProxyType({})) -> Any:
        if full:
            full.pop()
            assert api.asked("/contacts") == []
            raise NotDurable("the disk is full")
        return await emit(records, state=state)

    one.source.emit = sometimes  # type: ignore[method-assign]
    look = await one.look()
    assert (look.trouble, api.tokens) == (None, 1)


@pytest.mark.parametrize("auth", [CLIENT, LOGIN])
@pytest.mark.parametrize(
    ("bad", "reason", "denied"),
    [
        (answer(400, {"error": "invalid_client"}), "refuses the credential", True),
        (answer(401, {}), "refuses the credential (status 401)", True),
        (answer(500, {}), "gave no token (status 500)", False),
        (answer(200, body=b"<html>"), "holds no", False),
        (answer(200, {"session": {}, "other": 1}), "holds no", False),
        (RequestFailed("the other side cannot be reached"), "cannot be reached", False),
    ],
)
async def test_a_token_endpoint_that_fails_is_told_and_nothing_is_asked_without_a_token(
    auth: str, bad: Any, reason: str, denied: bool
) -> None:
    api = Api(token="x")
    api.prepare("/token", *[bad] * 9)
    api.prepare("/login", *[bad] * 9)
    look = await driven(auth, api).look()
    assert look.trouble is not None
    assert reason in look.trouble
    assert look.denied is denied
    assert api.asked("/contacts") == []


@pytest.mark.parametrize(
    ("auth", "problem"),
    [
        (LOGIN.replace("https://api.example/login", "login"), "auth.url: must be an http or https URL"),
        (LOGIN.replace("{session.id}", "{"), "auth.token: column 1: a closing } is missing"),
        (LOGIN.replace("{username}", "{user}"), "auth.body: a login knows no user, only username and password"),
        (LOGIN.replace("token =", 'name = "a b", token ='), "auth.name: is not a header's name"),
    ],
)
def test_a_login_that_cannot_be_is_a_mistake(auth: str, problem: str) -> None:
    assert mistakes(auth + CONTACTS) == [problem]
