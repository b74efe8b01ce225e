import asyncio
import gzip
import socket
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from cdmd.errors import AddressRefused, RequestFailed
from cdmd.kit.addresses import hosts_in, parse_networks
from cdmd.kit.egress import GuardedHttp, read_bounded
from cdmd.kit.reaching import system_resolve

pytestmark = pytest.mark.anyio
TLS = ssl.create_default_context()

# How the attack arrives: what is configured, what is asked for, what the resolver answers.
NAMED = "http://partner.example/in"
REFUSED_ANSWERS = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "169.254.0.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.0.2.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::",
    "2001:0:7f00:1::", "fe80::1", "fe80::5efe:127.0.0.1", "2a00:1::5efe:7f00:1", "fc00::1", "fd00::1", "fd00:ec2::254",
    "fd20:ce::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "3fff::1", "4000::1",
]  # fmt: skip
REFUSED_URLS = [
    "http://127.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://017700000001/", "http://localhost/",
    "http://localhost./", "http://[::1]/", "http://[::ffff:7f00:1]/", "http://169.254.169.254/latest/meta-data",
    "http://metadata.google.internal/", "http://partner.example@127.0.0.1/", "http://127.0.0.1#@partner.example/",
    "http://user:pass@partner.example/", "http://partner.example:22/", "https://partner.example/",
    "http://partner.example.evil.example/", "http://evil.example/partner.example", "http://evil.example\\@partner.example/",
    "file:///etc/passwd", "gopher://partner.example/", "ftp://partner.example/", "unix:/run/x.sock", "//partner.example/",
    "http:///etc", "partner.example", "", "http://[", "http://partner.example\r\n.evil/", "http://①②⑦.0.0.1/",
]  # fmt: skip


class Server:
    """A real listener on loopback that counts connections and answers each request with the same bytes."""

    def __init__(self, answer: bytes, *, hang: bool = False) -> None:
        self.answer, self.hang, self.connections, self.heads = answer, hang, 0, list[bytes]()

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        self.connections += 1
        async with stream:
            self.heads.append(await stream.receive())
            try:
                await stream.send(self.answer)
                if self.hang:
                    await anyio.sleep_forever()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


@asynccontextmanager
async def serving(
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", **kw: bool
) -> AsyncIterator[tuple[Server, int]]:
    server = Server(answer, **kw)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.handle)
        yield server, listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()


def answering(*answers: Sequence[str]):
    """A resolver that gives these answers in turn, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def client(*urls: str, allow: Sequence[str] = (), **kw) -> GuardedHttp:
    return GuardedHttp(hosts=hosts_in(list(urls)), allowed=parse_networks(allow), tls=TLS, **kw)


@pytest.mark.parametrize("address", REFUSED_ANSWERS)
async def test_a_configured_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    async with client(NAMED, resolve=answering([address])) as http:
        with pytest.raises(AddressRefused):
            await http.get(NAMED)


@pytest.mark.parametrize("url", REFUSED_URLS)
async def test_a_url_that_the_configuration_does_not_name_is_refused_before_anything_is_resolved(url: str) -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        pytest.fail("nothing may be resolved")

    async with client(NAMED, resolve=never) as http:
        with pytest.raises(AddressRefused):
            await http.get(url)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    async with client(NAMED, resolve=answering(["93.184.216.34", "10.0.0.1"])) as http:
        with pytest.raises(AddressRefused):
            await http.get(NAMED)


async def test_no_connection_reaches_a_listener_behind_a_refused_name() -> None:
    async with serving() as (server, port):
        url = f"http://partner.example:{port}/"
        async with client(url, resolve=answering(["127.0.0.1"])) as http:
            with pytest.raises(AddressRefused):
                await http.get(url)
        assert server.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    async with serving() as (server, port):
        url = f"http://partner.example:{port}/"
        # the first answer is allowed; a second look-up would lead to the metadata service
        async with client(url, allow=["127.0.0.0/8"], resolve=answering(["127.0.0.1"], ["169.254.169.254"])) as http:
            assert (await http.get(url)).text == "ok"
        assert server.heads[0].lower().count(f"host: partner.example:{port}".encode()) == 1


async def test_a_name_that_changes_to_a_private_address_is_refused_at_the_next_connection() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serving(closing) as (server, port):
        url = f"http://partner.example:{port}/"
        async with client(url, allow=["127.0.0.1/32"], resolve=answering(["127.0.0.1"], ["127.0.0.2"])) as http:
            await http.get(url)
            with pytest.raises(AddressRefused):
                await http.get(url)
        assert server.connections == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST."])
async def test_an_address_or_localhost_written_in_the_configuration_is_its_own_permission(host: str) -> None:
    async with serving() as (_, port):
        url = f"http://{host}:{port}/"
        async with client(url, resolve=answering(["127.0.0.1"])) as http:
            assert (await http.get(url)).content == b"ok"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"]
)
async def test_link_local_and_metadata_are_refused_even_when_written_out_or_listed_widely(host: str) -> None:
    url = f"http://{host}/"
    async with client(url, allow=["0.0.0.0/0", "::/0", "100.64.0.0/10", "fd00::/8"]) as http:
        with pytest.raises(AddressRefused):
            await http.get(url)


async def test_localhost_that_resolves_elsewhere_is_refused() -> None:
    async with client("http://localhost/", resolve=answering(["10.0.0.1"])) as http:
        with pytest.raises(AddressRefused):
            await http.get("http://localhost/")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with serving(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n") as (
        server,
        port,
    ):
        url = f"http://127.0.0.1:{port}/"
        async with client(url) as http:
            assert (await http.get(url)).status_code == 302
        assert server.connections == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with serving() as (_, port), client(f"http://127.0.0.1:{port}/") as http:
        assert (await http.get(f"http://127.0.0.1:{port}/")).status_code == 200


async def test_cookies_are_not_kept_between_requests() -> None:
    answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with serving(answer) as (server, port), client(f"http://127.0.0.1:{port}/") as http:
        await http.get(f"http://127.0.0.1:{port}/")
        await http.get(f"http://127.0.0.1:{port}/")
        assert b"cookie" not in server.heads[1].lower()


async def test_json_parameters_and_headers_arrive_and_a_gzip_answer_is_inflated() -> None:
    body = gzip.compress(b'{"term":5}')
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with serving(answer) as (server, port):
        url = f"http://127.0.0.1:{port}/c"
        async with client(url) as http:
            reply = await http.request("post", url, headers={"X-Key": "k"}, params={"q": "a b"}, json={"n": 1})
            posted = await http.post(url, content=b"raw")
    assert reply.json() == {"term": 5}
    assert posted.status_code == 200
    head = server.heads[0].lower()
    assert head.startswith(b"post /c?q=a+b http/1.1")
    assert b"x-key: k" in head
    assert b"accept-encoding: gzip\r\n" in head


async def test_an_answer_that_hangs_ends_at_the_deadline() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", hang=True) as (_, port):
        url = f"http://127.0.0.1:{port}/"
        async with client(url) as http:
            with pytest.raises(RequestFailed, match=r"within 0\.2 seconds"):
                await http.get(url, timeout=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 2 + b"0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\n" + b"x-more: y\r\n" * 20_000 + b"\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
    ],
    ids=["too large", "chunked too large", "unasked coding", "broken gzip", "headers without end", "no http", "cut"],
)  # fmt: skip
async def test_a_bad_answer_fails_with_our_own_error(answer: bytes) -> None:
    async with serving(answer) as (_, port):
        url = f"http://127.0.0.1:{port}/"
        async with client(url, max_body=1500, timeout=5.0) as http:
            with pytest.raises(RequestFailed):
                await http.get(url)


@pytest.mark.parametrize(
    "headers",
    [{"x": "a\r\nhost: evil"}, {"x\r\ny": "a"}, {"x": "a\0"}, {"Host": "evil.example"}, {"Content-Length": "0"}, {"": "a"},
     {"x": "é\u2028"}],
)  # fmt: skip
async def test_headers_that_would_split_or_redirect_the_request_are_refused(headers: dict[str, str]) -> None:
    async with serving() as (server, port):
        async with client(f"http://127.0.0.1:{port}/") as http:
            with pytest.raises(RequestFailed):
                await http.get(f"http://127.0.0.1:{port}/", headers=headers)
        assert server.connections == 0


async def test_a_method_that_is_no_word_is_refused() -> None:
    async with client(NAMED) as http:
        with pytest.raises(RequestFailed):
            await http.request("GET / HTTP/1.1\r\n", NAMED)


async def test_a_body_that_is_no_json_is_refused() -> None:
    async with client(NAMED) as http:
        with pytest.raises(RequestFailed):
            await http.post(NAMED, json={"a": object()})


async def test_nobody_listening_and_a_name_without_address_fail_with_our_own_error() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    url = f"http://localhost:{port}/"
    async with client(url, resolve=answering(["127.0.0.2", "127.0.0.1"])) as http:
        with pytest.raises(RequestFailed, match=r"^the other side cannot be reached: Connection refused$"):
            await http.get(url)
    async with client(NAMED, resolve=answering([])) as http:
        with pytest.raises(RequestFailed, match="no usable address"):
            await http.get(NAMED)


async def test_a_name_that_cannot_be_resolved_fails_with_our_own_error() -> None:
    async def failing(_host: str, _port: int) -> Sequence[str]:
        raise OSError

    async with client(NAMED, resolve=failing) as http:
        with pytest.raises(RequestFailed, match="cannot be resolved"):
            await http.get(NAMED)


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with serving() as (_, port):
        url = f"http://localhost:{port}/"
        async with client(url, resolve=answering(["127.0.0.9", "127.0.0.1"])) as http:
            assert (await http.get(url)).status_code == 200


async def test_the_machines_resolver_knows_localhost() -> None:
    assert set(await system_resolve("localhost", 80)) & {"127.0.0.1", "::1"}


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_gzip_bomb_is_stopped_at_the_limit_without_being_held() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(64)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(RequestFailed, match="larger"):
            await read_bounded(chunks(bomb), encoding="gzip", limit=2**20)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


async def test_an_announced_length_beyond_the_limit_is_refused_before_reading() -> None:
    async def never() -> AsyncIterator[bytes]:
        pytest.fail("nothing may be read")
        yield b""

    with pytest.raises(RequestFailed):
        await read_bounded(never(), encoding="", announced="9" * 400, limit=100)


@pytest.mark.parametrize("size", [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3 * 2**20])
async def test_gzip_of_any_size_in_any_pieces_and_members_comes_out_whole(size: int) -> None:
    plain = bytes(i % 7 for i in range(size))
    packed = gzip.compress(plain) + gzip.compress(b"end")
    parts = [packed[i : i + 1000] for i in range(0, len(packed), 1000)]
    assert await read_bounded(chunks(*parts), encoding="gzip", limit=2**23) == plain + b"end"


async def test_gzip_that_ends_too_early_is_no_answer() -> None:
    with pytest.raises(RequestFailed, match="too early"):
        await read_bounded(chunks(gzip.compress(b"x" * 1000)[:-9]), encoding="gzip", limit=2**20)


async def test_a_plain_connection_is_made_to_configured_hosts_at_checked_addresses_only() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener:
        http = GuardedHttp(hosts=hosts_in({"host": "127.0.0.1", "port": port}), tls=TLS)
        found = await http.connect("127.0.0.1", port, timeout=5)
        assert found.getpeername() == ("127.0.0.1", port)
        found.close()
        for host, other in (("127.0.0.1", port + 1 if port < 65535 else 1), ("localhost", port)):
            with pytest.raises(AddressRefused, match="does not name"):
                await http.connect(host, other, timeout=5)
    with pytest.raises(RequestFailed, match=r"127\.0\.0\.1 cannot be reached: "):
        await http.connect("127.0.0.1", port, timeout=5)


@pytest.mark.parametrize("answer", ["10.1.2.3", "169.254.169.254", "::1", "127.0.0.1"])
async def test_a_plain_connection_to_a_name_that_leads_inside_is_refused(answer: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [answer]

    http = GuardedHttp(hosts=hosts_in({"host": "sftp.example", "port": 22}), tls=TLS, resolve=resolve)
    with pytest.raises(AddressRefused):
        await http.connect("sftp.example", 22, timeout=5)


async def test_a_plain_connection_that_nobody_answers_ends_in_time() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    http = GuardedHttp(hosts=hosts_in({"host": "sftp.example", "port": 22}), tls=TLS, resolve=resolve)
    with pytest.raises(RequestFailed, match=r"sftp\.example cannot be reached within 0\.1 seconds"):
        await http.connect("sftp.example", 22, timeout=0.1)


async def test_a_plain_connection_leaves_time_for_the_next_address_where_one_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def silent(found: socket.socket, address: tuple[str, int]) -> None:
        await (anyio.sleep_forever() if address[0] == "127.0.0.9" else connect(found, address))

    monkeypatch.setattr(loop, "sock_connect", silent)
    async with serving() as (_, port):
        url = f"http://localhost:{port}/"
        async with client(url, resolve=answering(["127.0.0.9", "127.0.0.1"])) as http:
            found = await http.connect("localhost", port, timeout=0.4)
            assert found.getpeername() == ("127.0.0.1", port)
            found.close()
