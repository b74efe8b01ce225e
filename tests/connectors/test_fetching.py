from types import MappingProxyType
from typing import Any

import anyio
import httpx
import pytest

from cdmd.connectors.fetching import (
    REFRESH_TOKEN,
    Ask,
    Denied,
    Failed,
    Fetched,
    Fetcher,
    Gone,
    Nonsense,
    Throttled,
    Unchanged,
    classify,
)
from cdmd.errors import AddressRefused, AnswerTooLarge, Closed, RequestFailed
from cdmd.kit.credentials import ApiKeyAuth, Auth, BearerAuth, NoAuth, OAuth2ClientAuth, OAuth2RefreshAuth
from cdmd.kit.quantities import Rate
from cdmd.kit.secret import Secret
from cdmd.testing import RecordingSource

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def answer(status: int = 200, body: bytes = b'{"id":1}', **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return httpx.Response(status, content=body, headers={**JSON, **named})


@pytest.mark.parametrize(
    ("got", "outcome"),
    [
        (answer(), Fetched({"id": 1}, {})),
        (answer(304), Unchanged()),
        (answer(404), Gone(404)),
        (answer(410), Gone(410)),
        (answer(401), Denied("")),
        (answer(403), Denied("")),
        (answer(429), Throttled("")),
        (answer(503, retry_after="5"), Throttled("")),
        (answer(503), Failed("")),
        (answer(500), Failed("")),
        (answer(408), Failed("")),
        (answer(599), Failed("")),
        (answer(302, location="https://evil.example/"), Nonsense("redirects")),
        (answer(204, b""), Nonsense("204")),
        (answer(400), Nonsense("400")),
        (answer(200, b""), Nonsense("invalid_json")),
        (answer(200, b'{"id":'), Nonsense("invalid_json")),
        (answer(200, b'{"id":"\xff"}'), Nonsense("invalid_utf8")),
        (answer(200, b"[" * 200 + b"]" * 200), Nonsense("too_deep")),
        (answer(200, b"<html>sign in</html>"), Nonsense("HTML")),
        (answer(200, b"  <!DOCTYPE html>x"), Nonsense("HTML")),
        (answer(200, b'{"a":1}', content_type="text/html; charset=utf-8"), Nonsense("HTML")),
        (answer(200, b'"' + b"x" * 2000 + b'"'), Nonsense("larger than 1000")),
    ],
)
def test_every_answer_is_a_value(got: httpx.Response, outcome: Any) -> None:
    found = classify(got, max_body=1000)
    assert type(found) is type(outcome)
    if isinstance(found, Fetched | Gone | Unchanged):
        assert getattr(found, "value", None) == getattr(outcome, "value", None)
        assert getattr(found, "status", None) == getattr(outcome, "status", None)
    elif isinstance(found, Nonsense):
        assert outcome.reason in found.reason


class Client:
    """Gives prepared answers and notes the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.tokens = 0

    async def request(
        self, method: str, url: str, *, headers: Any = None, params: Any = None, timeout: float | None = None
    ) -> httpx.Response:
        self.asked.append((f"{method} {url}", headers, params))
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    async def post(self, url: str, **_: Any) -> httpx.Response:
        self.tokens += 1
        return httpx.Response(200, json={"access_token": f"t{self.tokens}", "refresh_token": f"r{self.tokens}"})


def fetcher(client: Client, auth: Auth | None = None, *limits: str) -> Fetcher:
    source = RecordingSource(http=client)  # type: ignore[arg-type]
    rates = [Rate.parse(limit) for limit in limits]
    return Fetcher(source, origin="https://crm.example:443", auth=auth or NoAuth(), limits=rates, max_body=1000)


async def fetch(one: Fetcher, url: str = "https://crm.example/x") -> Any:
    return await one.fetch(Ask(url=url, params={"a": "b"}), asker="crm", priority=0)


async def test_a_request_is_signed_and_its_answer_classified() -> None:
    client = Client(answer(), answer())
    await fetch(fetcher(client, BearerAuth(token=Secret(b"t", reference="x"))))
    await fetch(fetcher(client, ApiKeyAuth(place="query", name="key", value=Secret(b"k", reference="x"))))
    assert client.asked == [
        ("GET https://crm.example/x", {"accept": "application/json", "authorization": "Bearer t"}, {"a": "b"}),
        ("GET https://crm.example/x", {"accept": "application/json"}, {"a": "b", "key": "k"}),
    ]


@pytest.mark.parametrize(
    "url", ["https://evil.example/x", "http://crm.example/x", "https://crm.example:444/x", "https://crm.example@evil.example/"]
)
async def test_a_credential_never_goes_to_another_origin(url: str) -> None:
    client = Client()
    one = fetcher(client, BearerAuth(token=Secret(b"t", reference="x")))
    assert isinstance(await fetch(one, url), Nonsense)
    assert client.asked == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(AnswerTooLarge("larger"), Nonsense), (RequestFailed("broke off"), Failed), (AddressRefused("private"), Failed)],
)
async def test_what_goes_wrong_on_the_way_is_a_value_too(error: Exception, outcome: type) -> None:
    assert isinstance(await fetch(fetcher(Client(error))), outcome)


def oauth(kind: type, **more: Any) -> Any:
    secret = Secret(b"s", reference="x")
    return kind(token_url="https://crm.example/token", client_id="c", client_secret=secret, **more)


async def test_a_token_that_ran_out_early_is_renewed_and_the_request_repeated_once() -> None:
    client = Client(answer(), answer(401), answer(), answer(401), answer(401))
    one = fetcher(client, oauth(OAuth2ClientAuth))
    assert isinstance(await fetch(one), Fetched)
    assert isinstance(await fetch(one), Fetched)
    assert [headers["authorization"] for _, headers, _ in client.asked] == ["Bearer t1", "Bearer t1", "Bearer t2"]
    assert isinstance(await fetch(one), Denied)
    assert client.tokens == 3


async def test_an_exchanged_refresh_token_is_in_the_connectors_state() -> None:
    client = Client(answer())
    auth = oauth(OAuth2RefreshAuth, refresh_token=Secret(b"r0", reference="x"))
    source = RecordingSource(http=client)  # type: ignore[arg-type]
    one = Fetcher(source, origin="https://crm.example:443", auth=auth, limits=[])
    assert isinstance(await fetch(one), Fetched)
    assert b"r1" in source.state[REFRESH_TOKEN]


async def test_what_cannot_be_kept_any_more_because_the_connector_was_stopped_is_not_tried_for_ever() -> None:
    """Seen to go on for as long as the daemon ran."""

    class Stopped(RecordingSource):
        async def emit(self, records: Any, *, state: Any = MappingProxyType({})) -> Any:
            raise Closed("stopped")

    one = Fetcher(
        Stopped(http=Client(answer())),  # type: ignore[arg-type]
        origin="https://crm.example:443",
        auth=oauth(OAuth2RefreshAuth, refresh_token=Secret(b"r0", reference="x")),
        limits=[],
    )
    with anyio.fail_after(5), pytest.raises(Closed):
        await fetch(one)
    assert not one.exchanging


async def test_every_request_has_its_turn_in_the_budget_a_repeated_one_too() -> None:
    client = Client(answer(), answer(404), answer(429, retry_after="600"))
    one = fetcher(client, NoAuth(), "3/1h")
    for outcome in (Fetched, Gone, Throttled):
        assert isinstance(await fetch(one), outcome)
    at, why = one.budget.next_at()
    assert at is not None
    assert "Retry-After" in why
