"""How a webhook target proves who it is beside its signature: basic, and OAuth 2.0 at a token endpoint that looks closely."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
import standardwebhooks

from cdmd.contracts import AttemptFilter
from cdmd.errors import ConfigInvalid
from cdmd.kit.addresses import hosts_in
from cdmd.kit.credentials import BasicAuth, OAuth2ClientAuth, OAuth2RefreshAuth
from cdmd.kit.egress import GuardedHttp
from cdmd.kit.secret import Secret
from cdmd.models import Delivered, DeliveryVerdict, Later
from cdmd.targets.webhooks import WebhookSettings, WebhookTarget
from cdmd.testing import RecordingOutlet
from tests.deliveries.receiving import SECRET, Endpoint, endpoint, eventually, sending, webhook

pytestmark = pytest.mark.anyio


def secret(text: str) -> Secret:
    return Secret(text.encode(), reference="env:S")


def _answer(status: int, value: Any) -> bytes:
    content = msgspec.json.encode(value)
    return b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(content)) + content


class Guarded:
    """An endpoint that takes tokens of its own token endpoint alone, each for ``lasts`` seconds (as it says)."""

    def __init__(self, hook: Endpoint, tokens: Endpoint) -> None:
        self.hook, self.tokens = hook, tokens
        self.lasts, self.issued, self.live = 3600, 0, set[str]()
        hook.answers, tokens.answers = [self._hook], [self._token]
        self.password = "a pass%word"

    async def _token(self, writer: asyncio.StreamWriter) -> bool:
        got = self.tokens.got[-1]
        asked = {name: values[0] for name, values in parse_qs(got.body.decode()).items()}
        proof = base64.b64decode(got.headers.get("authorization", "").removeprefix("Basic ")).decode()
        known = proof == "cdmd:a+pass%25word" or asked.get("client_secret") == self.password
        if got.headers["content-type"] != "application/x-www-form-urlencoded" or not known:
            writer.write(_answer(401, {"error": "invalid_client"}))
        elif asked.get("grant_type") != "client_credentials":
            writer.write(_answer(400, {"error": "unsupported_grant_type"}))
        else:
            self.issued += 1
            self.live = {f"token-{self.issued}"}
            writer.write(
                _answer(200, {"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": self.lasts})
            )
        await writer.drain()
        return True

    async def _hook(self, writer: asyncio.StreamWriter) -> bool:
        shown = self.hook.got[-1].headers.get("authorization", "").removeprefix("Bearer ")
        writer.write(_answer(204 if shown in self.live else 401, {}))
        await writer.drain()
        return True

    def auth(self, **given: Any) -> OAuth2ClientAuth:
        keys = {"token_url": f"http://127.0.0.1:{self.tokens.port}/token", "client_id": "cdmd"}
        return OAuth2ClientAuth(**{**keys, "client_secret": secret(self.password), **given})


@asynccontextmanager
async def guarded() -> AsyncIterator[Guarded]:
    async with endpoint() as hook, endpoint() as tokens:
        yield Guarded(hook, tokens)


class Sending:
    """A webhook target by itself, over an outlet whose clock is moved by hand."""

    def __init__(self, url: str, auth: Any, http: GuardedHttp) -> None:
        self.outlet = RecordingOutlet("crm", client=http, now=datetime.now(UTC))
        self.target = WebhookTarget("crm", WebhookSettings(url=url, secret=secret(SECRET), auth=auth))

    async def send(self) -> DeliveryVerdict:
        (verdict,) = await self.target.deliver([self.outlet.add()], self.outlet)
        return verdict


@asynccontextmanager
async def sender(url: str, auth: Any) -> AsyncIterator[Sending]:
    hosts = hosts_in(WebhookSettings(url=url, auth=auth))
    async with GuardedHttp(hosts=hosts, tls=ssl.create_default_context()) as http:
        yield Sending(url, auth, http)


async def test_name_and_password_go_along_and_the_signature_stays() -> None:
    async with endpoint() as one, sender(one.url, BasicAuth(username="jo", password=secret("s:e crét"))) as it:
        assert await it.send() == Delivered(204)
        (got,) = one.got
        assert got.headers["authorization"] == "Basic " + base64.b64encode("jo:s:e crét".encode()).decode()
        standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)


async def test_a_wrong_password_is_a_failure_that_sets_nothing_aside(tmp_path: Path) -> None:
    async with endpoint(401) as one:
        targets = webhook("crm", one.url, auth=BasicAuth(username="jo", password=secret("wrong")))
        async with sending(tmp_path, **targets) as it:
            await it.put("crm", 3)
            await it.state("failing")
            found = await it.until(lambda total: total.attempts >= 5)
            assert (found.waiting, found.failed) == (3, 0)
            assert (await it.store.outbox.attempts(AttemptFilter()))[0].reason == "it answers with status 401"


async def test_a_token_is_fetched_once_for_all_and_renewed_before_it_runs_out() -> None:
    async with guarded() as api, sender(api.hook.url, api.auth()) as it:
        for _ in range(3):
            assert isinstance(await it.send(), Delivered)
        assert api.issued == 1
        assert {got.headers["authorization"] for got in api.hook.got} == {"Bearer token-1"}
        for got in api.hook.got:
            standardwebhooks.Webhook(SECRET).verify(got.body, got.headers)
        it.outlet.clock.advance(3600 - 30)  # it would still be taken: it is renewed ahead
        assert isinstance(await it.send(), Delivered)
        assert api.issued == 2
        assert len(api.hook.got) == 4, "none was refused on the way"


async def test_a_token_that_is_refused_before_its_time_is_exchanged_and_the_delivery_goes_at_once() -> None:
    async with guarded() as api, sender(api.hook.url, api.auth()) as it:
        assert isinstance(await it.send(), Delivered)
        api.live = set()  # withdrawn over there
        assert isinstance(await it.send(), Delivered)
        assert [got.headers["authorization"] for got in api.hook.got] == [f"Bearer token-{number}" for number in (1, 1, 2)]
        before, after = (got.headers["webhook-id"] for got in api.hook.got[1:])
        assert before == after


async def test_a_token_endpoint_that_refuses_is_said_holds_nobody_up_and_is_not_asked_again_and_again(tmp_path: Path) -> None:
    async with guarded() as api, endpoint() as good:
        wrong = api.auth(client_secret=secret("wrong"))
        targets = webhook("crm", api.hook.url, auth=wrong) | webhook("mail", good.url)
        async with sending(tmp_path, **targets) as it:
            await it.put("crm", 9)
            await it.put("mail", 9)
            await it.until(lambda total: total.delivered == 9, target="mail")
            await it.state("failing")
            found = await it.until(lambda total: True)
            assert (found.waiting, found.failed, api.hook.got) == (9, 0, [])
            (first, *_) = await it.store.outbox.attempts(AttemptFilter(target="crm"))
            assert "invalid_client" in first.reason
            assert "wrong" not in first.reason
            assert len(api.tokens.got) < 5


async def test_a_token_endpoint_that_is_down_is_a_failure_and_passes() -> None:
    async with guarded() as api, sender(api.hook.url, api.auth()) as it:
        healthy, api.tokens.answers = api.tokens.answers, [500]
        verdict = await it.send()
        assert isinstance(verdict, Later)
        assert api.hook.got == []
        api.tokens.answers = healthy
        it.outlet.clock.advance(600)
        assert isinstance(await it.send(), Delivered)


async def test_a_token_endpoint_is_reached_by_the_same_rules_as_everything_else(tmp_path: Path) -> None:
    async with endpoint() as one:
        auth = OAuth2ClientAuth(token_url="http://169.254.169.254/token", client_id="c", client_secret=secret("s"))
        async with sending(tmp_path, **webhook("crm", one.url, auth=auth)) as it:
            await it.put("crm")
            await eventually(lambda: it.dispatcher.note("crm").failures > 0)
            assert "link-local" in it.dispatcher.note("crm").reason
            assert one.got == []


def test_what_is_exchanged_with_each_use_is_no_proof_of_a_target() -> None:
    refresh = OAuth2RefreshAuth(
        token_url="https://x/token", client_id="c", client_secret=secret("s"), refresh_token=secret("r")
    )
    with pytest.raises(ConfigInvalid, match=r"auth.type: a target takes none, api_key, bearer, basic or oauth2_client"):
        WebhookTarget("crm", WebhookSettings(url="https://x/", secret=secret(SECRET), auth=refresh))
