"""The client of deliveries: connections kept and closed, answers cut short, certificates on both sides."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread
import pytest
from cryptography import x509

from cdmd.errors import AddressRefused, RequestFailed
from cdmd.kit.posting import Brief, Poster
from cdmd.kit.secret import Secret
from cdmd.kit.trusting import client_context
from tests.deliveries.receiving import endpoint, eventually
from tests.kit.authority import Authority

pytestmark = pytest.mark.anyio


async def connect(host: str, port: int, *, timeout: float) -> socket.socket:
    found = socket.socket()
    found.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(found, ("127.0.0.1", port))
    except OSError as error:
        found.close()
        raise RequestFailed("refused") from error
    return found


def poster(tls: ssl.SSLContext | None = None) -> Poster:
    return Poster(connect, tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), clock=monotonic)


async def post(one: Poster, url: str, *, timeout: float = 5.0, **given: Any) -> Brief:
    return await one.send(url, headers=given.pop("headers", {"x-a": "b"}), timeout=timeout, **given)


def raw(text: str) -> Callable[[asyncio.StreamWriter], Awaitable[bool]]:
    """An answer after which the connection is closed."""

    async def answer(writer: asyncio.StreamWriter) -> bool:
        writer.write(text.encode())
        await writer.drain()
        return False

    return answer


async def test_a_connection_is_used_again_and_a_new_one_is_made_where_it_was_closed_meanwhile() -> None:
    one = poster()
    async with endpoint(200, raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), 200) as there:
        assert (await post(one, there.url)).status_code == 200
        assert (await post(one, there.url)).content == b"ok"
        await eventually(lambda: not there.open)
        assert (await post(one, there.url, content=b"x", params={"a": "b c"})).status_code == 200
        assert there.most == 1
        assert (there.got[-1].path, there.got[-1].body) == ("/hooks/cdmd?a=b+c", b"x")
        assert there.got[-1].headers["host"] == f"127.0.0.1:{there.port}"
        one.close()


async def test_what_is_said_to_be_closed_is_not_used_again() -> None:
    one = poster()
    async with endpoint(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n") as there:
        await post(one, there.url)
        await post(one, there.url)
        assert len(there.got) == 2


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    async with endpoint(raw("HTTP/1.1 201 Created\r\nX-A: 1\r\nX-A: 2\r\n\r\nwhole")) as there:
        answer = await post(poster(), there.url)
        assert (answer.status_code, answer.content, answer.headers["x-a"]) == (201, b"whole", "1")


async def test_an_early_hint_is_no_answer() -> None:
    async with endpoint(
        raw("HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
    ) as there:
        answer = await post(poster(), there.url)
        assert (answer.status_code, dict(answer.headers)) == (202, {"content-length": "0"})


@pytest.mark.parametrize(
    "text",
    ["", "HTTP/1.1 200", "220 smtp ready\r\n", "HTTP/1.1 200 OK\r\nx: " + "y" * 70_000],
    ids=["nothing", "cut", "smtp", "large"],
)
async def test_what_is_no_answer_is_a_failure(text: str) -> None:
    async with endpoint(raw(text)) as there:
        with pytest.raises(RequestFailed, match=r"broke off|too large"):
            await post(poster(), there.url)


async def test_a_body_that_never_ends_is_left_at_the_deadline_and_its_status_counts() -> None:
    async def drip(writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
        await writer.drain()
        await asyncio.sleep(2)
        return False

    async with endpoint(drip) as there:
        answer = await post(poster(), there.url, timeout=0.1)
        assert (answer.status_code, answer.content) == (200, b"x")


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http://x:99999/", "http://joe:pw@x/", "//x"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        await post(poster(), url)


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x": "\N{SNOWMAN}"}, {"a\nb": "c"}])
async def test_what_cannot_stand_in_a_head_is_not_sent(headers: dict[str, str]) -> None:
    with pytest.raises(RequestFailed, match="cannot be sent"):
        await post(poster(), "http://127.0.0.1:9/", headers=headers)


async def test_certificates_are_checked_on_both_sides(tmp_path: Path) -> None:
    def made() -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
        authority = Authority(tmp_path)
        ours, theirs = authority.issue("cdmd"), authority.issue("there", x509.IPAddress(IPv4Address("127.0.0.1")))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(theirs)
        server.load_verify_locations(cadata=authority.pem.decode())
        server.verify_mode = ssl.CERT_REQUIRED
        secret = Secret(ours.read_bytes(), reference="file:x")
        shown = client_context(authorities=authority.pem, certificate=ours.read_bytes(), key=secret)
        return server, shown, client_context(authorities=None, certificate=None, key=None)

    server, shown, stranger = await anyio.to_thread.run_sync(made)
    async with endpoint() as there:
        listening = await asyncio.start_server(there.serve, "127.0.0.1", 0, ssl=server)
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x"
        one = poster(shown)
        assert (await post(one, url)).status_code == 204
        with pytest.raises(RequestFailed, match="certificate is not one that can be trusted"):
            await post(poster(stranger), url)
        one.close()
        listening.close()


async def test_nobody_there_and_no_tls_there_are_failures() -> None:
    with pytest.raises(RequestFailed, match="refused"):
        await post(poster(), "http://127.0.0.1:9/")
    async with endpoint() as there:
        with pytest.raises(RequestFailed, match="cannot be reached"):
            await post(poster(), there.url.replace("http:", "https:"), timeout=1.0)
