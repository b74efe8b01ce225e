"""The extension against a real contract service, without a daemon."""

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cdmd_warranty
import pytest
from cdmd_warranty import NotTerms, ServiceFailed, TokenRefused, serial_of, wait_of

import cdmd
from cdmd.testing import extension_context

from .contracts import ContractService, Reply, terms

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def runtime(**fields: Any) -> cdmd.Event:
    return cdmd.Event(id="1", source="tv", type="tv.runtime", received=NOW, **fields)


async def ask(service: ContractService, event: cdmd.Event, **settings: Any) -> Any:
    async with extension_context({"url": service.url, **settings}) as context:
        return await cdmd_warranty.warranty.function(event, context)


async def test_the_terms_land_in_the_event() -> None:
    with ContractService(terms(until="2027-01-31", kind="plus")) as service:
        event = await ask(service, runtime(identifiers={"serial": "TV-1"}, data={"hours": 10001}))
    assert event.data == {"hours": 10001, "warranty": {"covered": True, "until": "2027-01-31", "kind": "plus"}}
    assert [one.path for one in service.asked] == ["/contracts/TV-1"]
    assert "authorization" not in service.asked[0].headers


async def test_no_contract_is_an_answer_too() -> None:
    with ContractService(Reply(status=404)) as service:
        event = await ask(service, runtime(data={"serial": "TV-1"}))
    assert event.data["warranty"] == {"covered": False}


async def test_a_service_may_say_itself_that_a_contract_covers_nothing_any_more() -> None:
    with ContractService(terms(covered=False, until="2024-01-31")) as service:
        event = await ask(service, runtime(data={"serial": "TV-1"}))
    assert event.data["warranty"] == {"covered": False, "until": "2024-01-31"}


async def test_the_token_is_sent_and_the_address_keeps_its_path() -> None:
    with ContractService(terms()) as service:
        async with extension_context({"url": service.url + "/api/", "token": "t0ken"}) as context:
            await cdmd_warranty.warranty.function(runtime(data={"serial": "TV-1"}), context)
    assert service.asked[0].path == "/api/contracts/TV-1"
    assert service.asked[0].headers["authorization"] == "Bearer t0ken"


async def test_a_serial_number_cannot_lead_to_another_path() -> None:
    with ContractService(terms()) as service:
        await ask(service, runtime(data={"serial": "a/../b:c+d"}))
    assert service.asked[0].path == "/contracts/a%2F..%2Fb%3Ac%2Bd"


@pytest.mark.parametrize(
    "serial", [None, True, 1.5, "", "..", "a b", "å", "a" * 65, "a\n/b", "a?x=1", "a#b", "a%2f", ["a"], {}]
)
async def test_without_a_usable_serial_number_nothing_is_asked_and_nothing_changed(serial: Any) -> None:
    with ContractService(terms()) as service:
        assert await ask(service, runtime(data={"serial": serial})) is None
        assert await ask(service, runtime()) is None
    assert service.asked == []


def test_the_identifier_comes_before_the_data_and_a_number_is_a_serial_number() -> None:
    assert serial_of(runtime(identifiers={"serial": "A"}, data={"serial": "B"})) == "A"
    assert serial_of(runtime(data={"serial": 4711})) == "4711"
    assert serial_of(runtime(data={"serial": " TV-1 "})) == "TV-1"


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (Reply(status=500), ServiceFailed),
        (Reply(status=503), ServiceFailed),
        (Reply(status=503, headers={"Retry-After": "soon"}), ServiceFailed),
        (Reply(status=302, headers={"Location": "http://elsewhere.example/"}), ServiceFailed),
        (Reply(status=204, body=b""), ServiceFailed),
        (Reply(status=401), TokenRefused),
        (Reply(status=403), TokenRefused),
        (Reply(body=b""), NotTerms),
        (Reply(body=b"<html>"), NotTerms),
        (Reply(body=b"\xff{}"), NotTerms),
        (Reply(body=b"[]"), NotTerms),
        (Reply(body=b'{"covered":"yes"}'), NotTerms),
        (Reply(body=b'{"until":NaN}'), NotTerms),
        (Reply(body=b'{"a":' * 60_000), NotTerms),
        (Reply(body=b"[" * 60_000), NotTerms),
        (Reply(body=b'{"a":"' + b"x" * 70_000 + b'"}'), NotTerms),
    ],
)
async def test_an_answer_that_says_nothing_about_a_contract_is_a_failure(reply: Reply, raised: type[Exception]) -> None:
    with ContractService(reply) as service, pytest.raises(raised):
        await ask(service, runtime(data={"serial": "TV-1"}))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_that_names_a_time_is_asked_again_then(status: int) -> None:
    with (
        ContractService(Reply(status=status, headers={"Retry-After": "7"})) as service,
        pytest.raises(cdmd.RetryLater) as asked,
    ):
        await ask(service, runtime(data={"serial": "TV-1"}))
    assert asked.value.seconds == 7


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("99999999999999999999", 3600),
        ("Mon, 23 Nov 2026 10:01:00 GMT", 60),
        ("Mon, 23 Nov 2026 10:01:00", 60),
        ("Sun, 22 Nov 2026 10:00:00 GMT", 1),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert wait_of(text, now=NOW) == seconds


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "url: is missing"),
        ({"url": 1}, "url: is not an http or https address"),
        ({"url": "contracts.example"}, "url: is not an http or https address"),
        ({"url": "ftp://contracts.example"}, "url: is not an http or https address"),
        ({"url": "http://"}, "url: is not an http or https address"),
        ({"url": "http://[x"}, "url: is not an http or https address"),
        ({"url": "http://a:99999"}, "url: is not an http or https address"),
        ({"url": "http://user:pw@a"}, "url: is not an http or https address"),
        ({"url": "http://a/?b=c"}, "url: is not an http or https address"),
        ({"url": "http://a", "token": ""}, "token: is not printable text"),
        ({"url": "http://a", "token": "a\nb"}, "token: is not printable text"),
        ({"url": "http://a", "token": 1}, "token: is not printable text"),
        ({"url": "http://a", "tokn": "b"}, "tokn: unknown key"),
    ],
)
async def test_a_mistake_in_the_settings_is_a_sentence_without_values(settings: dict[str, Any], sentence: str) -> None:
    async with extension_context(settings) as context:
        with pytest.raises(cdmd.ConfigInvalid) as refused:
            cdmd_warranty.cdmd_startup(context)
    (problem,) = refused.value.problems
    assert problem.startswith(sentence)
    assert "pw" not in problem


def test_a_token_is_never_shown() -> None:
    assert "s3cret" not in repr(cdmd_warranty.Service.from_settings({"url": "http://a", "token": "s3cret"}))


def test_the_plugin_uses_only_what_cdmd_promises_to_plugins() -> None:
    text = Path(cdmd_warranty.__file__).read_text()
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or alias.name for node in imported for alias in node.names]
    assert [name for name in names if name.partition(".")[0] == "cdmd"] == ["cdmd"]
    assert set(re.findall(r"\bcdmd\.(\w+)", text)) <= set(cdmd.__all__)
