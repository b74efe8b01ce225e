import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

import anyio
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from cdmd.kit.certificates import client_names
from cdmd.kit.secret import Secret
from cdmd.kit.serving import tls_context
from tests.connectors.doubles import Echo, MemorySource, listening

pytestmark = pytest.mark.anyio


class Authority:
    """Signs certificates into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key, self.own = self._made("authority", None)
        self.pem = self.own.public_bytes(Encoding.PEM)

    def issue(self, name: str, *others: x509.GeneralName) -> Path:
        """A file with key and certificate for the subject ``CN=name,O=Acme``."""
        key, certificate = self._made(name, self.key, *others)
        file = self.folder / f"{name}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return file

    def _made(
        self, name: str, signer: ec.EllipticCurvePrivateKey | None, *others: x509.GeneralName
    ) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")]
        )
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if signer is None else self.own.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        if signer is not None:
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            builder = builder.add_extension(issuer, critical=False)
        return key, builder.sign(signer or key, SHA256())


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
