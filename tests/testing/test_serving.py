"""The servers that plugin authors test with, tried by a plain client."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from cdmd.errors import CdmdError
from cdmd.kit.outsigning import Signer
from cdmd.kit.secret import Secret
from cdmd.testing import FakeApi, FakeEndpoint

pytest_plugins = ["cdmd.testing.fixtures"]


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, dict(headers)), timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_an_api_answers_what_it_was_told_and_remembers_what_it_was_asked(fake_api: FakeApi) -> None:
    fake_api.answers("/a b", {"x": 1})
    fake_api.answers("/raw", b"<a/>", method="POST", status=201, headers={"content-type": "text/xml"})
    assert ask(f"{fake_api.url}/a%20b?q=1&empty=") == (200, b'{"x": 1}')
    assert ask(f"{fake_api.url}/raw", b"sent", {"X-Own": "y"}) == (201, b"<a/>")
    assert ask(f"{fake_api.url}/raw") == (404, b"")
    first, second, _ = fake_api.wait(3)
    assert (first.method, first.path, first.query) == ("GET", "/a b", {"q": "1", "empty": ""})
    assert (second.method, second.body, second.headers["x-own"]) == ("POST", b"sent", "y")


def test_an_api_fails_is_cut_off_and_is_silent_as_it_is_told(fake_api: FakeApi) -> None:
    fake_api.answers("/", None)
    fake_api.fails(503, 0)
    assert ask(fake_api.url)[0] == 503
    with pytest.raises(ConnectionError):
        ask(fake_api.url)
    assert ask(fake_api.url)[0] == 200
    found: list[Any] = []
    with fake_api.silent():
        asking = threading.Thread(target=lambda: found.append(ask(fake_api.url)))
        asking.start()
        fake_api.wait(4)
        assert found == []
    asking.join(5)
    assert found == [(200, b"null")]
    with pytest.raises(CdmdError, match="4 of 9 requests"):
        fake_api.wait(9, seconds=0.01)


def test_an_api_is_silent_also_where_nobody_says_until_when(fake_api: FakeApi) -> None:
    fake_api.silent()
    with socket.create_connection(("127.0.0.1", int(fake_api.url.rpartition(":")[2])), timeout=5) as asking:
        asking.sendall(b"GET / HTTP/1.0\r\n\r\n")
        fake_api.wait(1)
        asking.settimeout(0.1)
        with pytest.raises(TimeoutError):
            asking.recv(1)


def test_an_endpoint_takes_only_what_is_signed_with_its_secret(fake_endpoint: FakeEndpoint) -> None:
    body = json.dumps({"type": "order.paid"}).encode()
    for secret in (fake_endpoint.secret, "whsec_" + "A" * 44):
        signed = Signer([Secret(secret.encode(), reference="x")]).headers("m-1", body, datetime.now(UTC))
        assert ask(fake_endpoint.url, body, signed)[0] == (204 if secret == fake_endpoint.secret else 401)
    assert ask(fake_endpoint.url, body)[0] == 401
    assert (fake_endpoint.messages, fake_endpoint.refused) == ({"m-1": {"type": "order.paid"}}, 2)
