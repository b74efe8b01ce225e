import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from cdmd.errors import CredentialRefused, NotDurable, RequestFailed
from cdmd.kit.credentials import (
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    LoginAuth,
    NoAuth,
    OAuth2ClientAuth,
    OAuth2RefreshAuth,
    Signed,
    identity,
    mistakes,
)
from cdmd.kit.secret import Secret
from cdmd.kit.tokens import TokenState, authorizer
from cdmd.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def secret(text: str) -> Secret:
    return Secret(text.encode(), reference="env:X")


class Server:
    """A token endpoint: gives numbered tokens, exchanges refresh tokens strictly, and notes what it was asked."""

    def __init__(self, *, refresh: str | None = None, lasts: Any = 3600) -> None:
        self.asked: list[tuple[dict[str, str], Mapping[str, str]]] = []
        self.refresh, self.lasts = refresh, lasts
        self.replies: list[httpx.Response | Exception] = []
        self.gate: anyio.Event | None = None

    async def post(self, url: str, *, headers: Any = None, content: bytes | None = None, timeout: Any = None) -> httpx.Response:
        assert url == "https://crm.example/token"
        fields = {name: values[0] for name, values in parse_qs((content or b"").decode()).items()}
        self.asked.append((fields, headers))
        if self.gate is not None:
            await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        if self.replies:
            reply = self.replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return reply
        answer: dict[str, Any] = {"access_token": f"token-{len(self.asked)}", "token_type": "bearer"}
        if self.lasts is not None:
            answer["expires_in"] = self.lasts
        if self.refresh is not None:
            if fields.get("refresh_token") != self.refresh:
                return httpx.Response(400, json={"error": "invalid_grant"})
            self.refresh = answer["refresh_token"] = f"refresh-{len(self.asked)}"
        return httpx.Response(200, json=answer)


class Kept:
    def __init__(self) -> None:
        self.value: bytes | None = None
        self.failing = False
        self.during: list[str] = []

    async def load(self) -> bytes | None:
        return self.value

    async def save(self, value: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self.failing:
            raise NotDurable("the disk is full")
        self.value = value

    @property
    def state(self) -> TokenState:
        return TokenState(self.load, self.save)


def client(**more: Any) -> OAuth2ClientAuth:
    url = "https://crm.example/token"
    return OAuth2ClientAuth(token_url=url, client_id="cdmd:1", client_secret=secret("p w"), **more)


def refreshing(first: str = "refresh-0") -> OAuth2RefreshAuth:
    url = "https://crm.example/token"
    return OAuth2RefreshAuth(token_url=url, client_id="cdmd", client_secret=secret("s"), refresh_token=secret(first))


def signer(auth: Auth, server: Server | None = None, kept: Kept | None = None, clock: ManualClock | None = None) -> Any:
    server, kept = server or Server(), kept or Kept()
    return authorizer(auth, post=server.post, clock=clock or ManualClock(), state=kept.state, chance=lambda: 0.5)


@pytest.mark.parametrize(
    ("auth", "signed"),
    [
        (NoAuth(), Signed()),
        (ApiKeyAuth(place="header", name="X-Access-Token", value=secret("k\n")), Signed({"X-Access-Token": "k"})),
        (ApiKeyAuth(place="query", name="api_key", value=secret("k")), Signed(params={"api_key": "k"})),
        (BearerAuth(token=secret("t")), Signed({"authorization": "Bearer t"})),
        (
            BasicAuth(username="joe", password=secret("pä:ss")),
            Signed({"authorization": "Basic " + base64.b64encode("joe:pä:ss".encode()).decode()}),
        ),
    ],
)
async def test_what_never_changes_is_signed_as_configured_and_not_renewed(auth: Auth, signed: Signed) -> None:
    one = signer(auth)
    assert await one.sign() == signed
    one.accepted(signed)
    assert not await one.refused(signed)


async def test_a_token_is_fetched_once_however_many_ask_at_once() -> None:
    server = Server()
    server.gate = anyio.Event()
    one, found = signer(client(), server), []

    async def ask() -> None:
        found.append(await one.sign())

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        server.gate.set()
    assert found == [Signed({"authorization": "Bearer token-1"})] * 20
    assert len(server.asked) == 1


async def test_id_and_secret_go_where_the_server_wants_them() -> None:
    server = Server()
    await signer(client(scopes=("a", "b"), audience="crm"), server).sign()
    await signer(client(client_auth="body"), server).sign()
    (header, first), (body, second) = server.asked
    assert header == {"grant_type": "client_credentials", "scope": "a b", "audience": "crm"}
    assert first["authorization"] == "Basic " + base64.b64encode(b"cdmd%3A1:p+w").decode()
    assert body == {"grant_type": "client_credentials", "client_id": "cdmd:1", "client_secret": "p w"}
    assert "authorization" not in second


async def test_a_token_is_renewed_before_it_runs_out() -> None:
    server, clock = Server(lasts="600"), ManualClock()
    one = signer(client(), server, clock=clock)
    await one.sign()
    clock.advance(539)
    assert (await one.sign()).headers["authorization"] == "Bearer token-1"
    clock.advance(2)
    assert (await one.sign()).headers["authorization"] == "Bearer token-2"


async def test_while_no_new_token_can_be_had_the_old_one_is_used_until_it_runs_out() -> None:
    server, clock = Server(lasts=600), ManualClock()
    one = signer(client(), server, clock=clock)
    await one.sign()
    server.replies = [RequestFailed("the other side cannot be reached"), httpx.Response(503)]
    clock.advance(590)
    assert (await one.sign()).headers["authorization"] == "Bearer token-1"
    clock.advance(11)
    with pytest.raises(RequestFailed, match="no token"):
        await one.sign()


async def test_after_a_failure_the_server_is_let_alone_for_a_while() -> None:
    server, clock = Server(), ManualClock()
    server.replies = [httpx.Response(500), httpx.Response(500)]
    one = signer(client(), server, clock=clock)
    for _ in range(5):
        with pytest.raises(RequestFailed):
            await one.sign()
    assert len(server.asked) == 1
    clock.advance(2)
    with pytest.raises(RequestFailed):
        await one.sign()
    clock.advance(3)
    await one.sign()
    assert len(server.asked) == 3


async def test_a_token_that_worked_and_is_refused_is_renewed_once() -> None:
    server = Server(lasts=None)
    one = signer(client(), server)
    first = await one.sign()
    one.accepted(first)
    assert await one.refused(first)
    second = await one.sign()
    assert second != first
    assert await one.refused(first), "somebody asks again with a token that was replaced meanwhile"
    assert not await one.refused(second), "a fresh token that is refused is no reason for another one"
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (httpx.Response(400, json={"error": "invalid_grant"}), CredentialRefused, "invalid_grant"),
        (httpx.Response(401, text="<html>"), CredentialRefused, "status 401"),
        (httpx.Response(400, json={"error": "joe@example.com"}), CredentialRefused, "status 400"),
        (httpx.Response(302, headers={"location": "https://evil.example"}), RequestFailed, "status 302"),
        (httpx.Response(200, text="<html>hello"), RequestFailed, "no access token"),
        (httpx.Response(200, json=["token"]), RequestFailed, "no token"),
        (httpx.Response(200, json={"access_token": "a\r\nX-Evil: 1"}), RequestFailed, "no access token"),
        (httpx.Response(200, json={"access_token": "a", "token_type": "mac"}), CredentialRefused, "another kind"),
    ],
)
async def test_what_is_no_token_is_said_without_quoting_it(reply: httpx.Response, error: type[Exception], says: str) -> None:
    server = Server()
    server.replies = [reply]
    with pytest.raises(error, match=says) as caught:
        await signer(client(), server).sign()
    assert "joe" not in str(caught.value)


async def test_an_exchanged_refresh_token_is_durable_before_its_access_token_is_used() -> None:
    server, kept = Server(refresh="refresh-0", lasts=100), Kept()
    kept.failing = True
    one = signer(refreshing(), server, kept)
    for _ in range(3):
        with pytest.raises(NotDurable):
            await one.sign()
    assert len(server.asked) == 1, "what could not be kept is kept later, not asked for again"
    kept.failing = False
    assert (await one.sign()).headers["authorization"] == "Bearer token-1"
    assert kept.value is not None
    assert b"refresh-1" in kept.value


async def test_exchanged_refresh_tokens_go_on_over_restarts() -> None:
    server, kept = Server(refresh="refresh-0"), Kept()
    for number in (1, 2, 3):
        signed = await signer(refreshing(), server, kept).sign()
        assert signed.headers["authorization"] == f"Bearer token-{number}"


async def test_a_new_refresh_token_in_the_configuration_replaces_what_was_exchanged() -> None:
    server, kept = Server(refresh="refresh-0"), Kept()
    await signer(refreshing(), server, kept).sign()
    server.refresh = "given-anew"
    await signer(refreshing("given-anew"), server, kept).sign()
    assert server.asked[-1][0]["refresh_token"] == "given-anew"


async def test_an_exchange_under_way_is_finished_when_the_asker_is_cancelled() -> None:
    server, kept = Server(refresh="refresh-0"), Kept()
    server.gate = anyio.Event()
    one = signer(refreshing(), server, kept)
    async with anyio.create_task_group() as group:
        group.start_soon(one.sign)
        await anyio.wait_all_tasks_blocked()
        assert one.exchanging
        group.cancel_scope.cancel()
        server.gate.set()
    assert kept.value is not None
    assert not one.exchanging


def test_credentials_are_told_apart_for_their_budgets() -> None:
    auths = [NoAuth(), BearerAuth(token=secret("a")), BearerAuth(token=secret("b")), client(), refreshing(),
             ApiKeyAuth(place="query", name="k", value=secret("a")), BasicAuth(username="a", password=secret("a"))]  # fmt: skip
    assert len({identity(auth) for auth in auths}) == len(auths)


@pytest.mark.parametrize(
    ("auth", "mistake"),
    [
        (OAuth2ClientAuth(token_url="crm.example/token", client_id="a", client_secret=secret("s")), "token_url"),
        (OAuth2ClientAuth(token_url="https://u@crm.example/", client_id="a", client_secret=secret("s")), "token_url"),
        (ApiKeyAuth(place="header", name="X: 1", value=secret("k")), "name"),
        (ApiKeyAuth(place="query", name="k", value=secret("a\nb")), "value"),
        (BearerAuth(token=Secret(b"\xff", reference="x")), "token"),
        (BasicAuth(username="a:b", password=secret("p")), "username"),
        (LoginAuth(url="https://a/", username="a", password=secret("p"), body={"a": {"b": "c"}}, body_as="form"), "body"),
    ],
)
def test_tables_that_cannot_work_are_mistakes(auth: Auth, mistake: str) -> None:
    assert [line.partition(":")[0] for line in mistakes(auth)] == [mistake]
    assert mistakes(client()) == mistakes(NoAuth()) == []
