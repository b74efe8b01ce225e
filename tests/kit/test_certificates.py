import ssl
from ipaddress import ip_address
from pathlib import Path

import anyio
import httpx
import pytest
from cryptography import x509

from cdmd.kit.certificates import client_names
from cdmd.kit.secret import Secret
from cdmd.kit.serving import tls_context
from tests.connectors.doubles import Echo, MemorySource, listening
from tests.kit.authority import Authority

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def client(authority: Authority, file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    if file is not None:
        context.load_cert_chain(file)
    return context


async def test_the_names_of_a_verified_certificate_reach_the_connector(authority: Authority, tmp_path: Path) -> None:
    server = authority.issue("server", x509.IPAddress(ip_address("127.0.0.1")))
    sender = authority.issue("sender", x509.DNSName("hooks.example.com"), x509.IPAddress(ip_address("192.0.2.1")))
    stranger = Authority(tmp_path).issue("sender")
    pem = server.read_bytes()
    context = await anyio.to_thread.run_sync(
        lambda: tls_context(pem, Secret(pem, reference="credential:key"), client_ca=authority.pem)
    )
    echo = Echo()
    async with listening((echo, MemorySource()), tls=context) as edge:
        url = f"https://127.0.0.1:{edge.port}/hooks/shop"
        for file, names in ((sender, ("CN=sender", "O=Acme", "DNS:hooks.example.com", "IP:192.0.2.1")), (None, ())):
            async with httpx.AsyncClient(verify=client(authority, file)) as caller:
                assert (await caller.post(url, content=b"x")).status_code == 200
                assert (await caller.post(url, content=b"x")).status_code == 200
            assert [tuple(request.certificate) for request in echo.requests[-2:]] == [names] * 2
        async with httpx.AsyncClient(verify=client(authority, stranger)) as caller:
            with pytest.raises(httpx.TransportError):
                await caller.post(url, content=b"x")
    assert len(echo.requests) == 4


def test_authorities_that_are_none_are_told(authority: Authority) -> None:
    pem = authority.issue("server").read_bytes()
    with pytest.raises(ssl.SSLError):
        tls_context(pem, Secret(pem, reference="credential:key"), client_ca=b"no certificate")


class Plain:
    """A transport without TLS."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


def test_without_tls_there_are_no_names() -> None:
    assert client_names(Plain()) == ()
