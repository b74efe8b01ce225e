from collections.abc import Mapping

import msgspec
import pytest

from cdmd.config.effective import plain
from cdmd.config.telemetry import OpenTelemetrySettings
from cdmd.kit.secret import Secret


class Stream(msgspec.Struct):
    path: str
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    aliases: Mapping[str, str] = {}
    key: str = ""


def test_constants_that_requests_send_as_secrets_are_hidden_and_nothing_else() -> None:
    shown = plain(
        Stream(
            path="/contacts",
            params={"token": "geheim", "page_token": "{next}", "limit": "100", "api_key": ""},
            headers={"Authorization": "Bearer geheim", "X-Api-Key": "geheim", "Accept": "text/csv", "Cookie": "{cookie}"},
            aliases={"old_key": "customer_no"},
            key="{id}",
        )
    )
    assert shown["params"] == {"token": "[secret]", "page_token": "{next}", "limit": "100", "api_key": ""}
    hidden = {"Authorization": "[secret]", "X-Api-Key": "[secret]"}
    assert shown["headers"] == hidden | {"Accept": "text/csv", "Cookie": "{cookie}"}
    assert (shown["aliases"], shown["key"]) == ({"old_key": "customer_no"}, "{id}")


def test_a_header_that_is_a_reference_is_shown_as_one() -> None:
    sent = {"authorization": Secret(b"geheim", reference="env:OTLP"), "x-token": Secret(b"geheim", reference="[secret]")}
    shown = plain(OpenTelemetrySettings(headers=sent))["headers"]
    assert shown == {"authorization": "env:OTLP", "x-token": "[secret]"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/contacts?limit=5&api_key=geheim&x=2#there", "/contacts?limit=5&api_key=[secret]&x=2#there"),
        ("https://h.example/hook?access_token=geheim", "https://h.example/hook?access_token=[secret]"),
        ("https://h.example/hook?token={token}&to=x", "https://h.example/hook?token={token}&to=x"),
        ("{properties[?key=='a'].value | [0]}", "{properties[?key=='a'].value | [0]}"),
        ("event.data.a==1&&event.data.token!='x'", "event.data.a==1&&event.data.token!='x'"),
        ("{rows[?token>='a'&&key<='b']}", "{rows[?token>='a'&&key<='b']}"),
    ],
)
def test_a_secret_in_an_address_is_hidden_and_a_comparison_is_none(text: str, shown: str) -> None:
    assert plain(text) == shown
