"""The names in a client's certificate that a TLS listener has verified, as the configuration writes them.

``CN=...`` and the subject's other attributes in their short form, ``DNS:``, ``URI:``, ``email:`` and ``IP:`` for alternative
names. Not here: verifying (OpenSSL's), and what proxies say (``cdmd.kit.proxies``).
"""

from types import MappingProxyType
from typing import Any, Final, Protocol

_SHORT: Final = MappingProxyType(
    {
        "commonName": "CN",
        "organizationName": "O",
        "organizationalUnitName": "OU",
        "countryName": "C",
        "localityName": "L",
        "stateOrProvinceName": "ST",
    }
)


class Transport(Protocol):
    """The part of a transport that knows about TLS."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What it knows under that name."""
        ...


def client_names(transport: Transport) -> tuple[str, ...]:
    """The names in the certificate that the client has shown; none without TLS or a certificate."""
    encrypted = transport.get_extra_info("ssl_object")
    shown = None if encrypted is None else encrypted.getpeercert()
    if not shown:
        return ()
    subject = [f"{_SHORT.get(name, name)}={value}" for part in shown.get("subject", ()) for name, value in part]
    others = [f"{kind.removesuffix(' Address')}:{value}" for kind, value in shown.get("subjectAltName", ())]
    return (*subject, *others)
