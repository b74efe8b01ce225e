"""Which hosts a configuration names, and which addresses nothing may connect to unless it says so. Pure.

Refused are all addresses that are not ordinary public ones, also when wrapped in IPv6. Link-local addresses and the cloud
metadata services are refused even when written out: only a listed network no wider than they are opens them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeAlias

import msgspec

from cdmd.kit.secret import Secret

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Hosts: TypeAlias = frozenset[tuple[str, int | None]]
"""Host names in normal form, each with its port, or None for any port."""

_METADATA: Final[tuple[Network, ...]] = (
    IPv4Network("100.100.100.200/32"),  # Alibaba Cloud
    IPv4Network("168.63.129.16/32"),  # Azure's wire server
    IPv4Network("192.0.0.192/32"),  # Oracle Cloud classic
    IPv6Network("fd00:ec2::254/128"),  # AWS
    IPv6Network("fd20:ce::254/128"),  # Google Cloud
)
_LINK_LOCAL: Final[tuple[Network, ...]] = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR: Final = IPv6Network("2002::/16")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE: Final = IPv6Network("::/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_PARTICULAR: Final[tuple[Network, ...]] = (
    IPv4Network("192.88.99.0/24"),  # 6to4 relays (RFC 7526)
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """``["10.0.0.0/8", "::1"]`` as networks; raises ValueError naming the text that is none."""
    return tuple(ip_network(text, strict=False) for text in texts)


def parse(text: str) -> Address | None:
    """The address that ``text`` writes in the usual form, IPv4-mapped ones as IPv4; None for everything else."""
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def normal_host(host: str) -> str:
    """A host as it is compared: lower case, no final dot, an address in its shortest form."""
    address = parse(host)
    return str(address) if address is not None else host.lower().removesuffix(".")


def is_configured(host: str, port: int, hosts: Hosts) -> bool:
    """True when the configuration names this host with this port, or with any."""
    name = normal_host(host)
    return (name, port) in hosts or (name, None) in hosts


def refusal(address: Address, *, host: str, allowed: Sequence[Network]) -> str | None:
    """Why nothing may connect to ``address`` on behalf of the configured ``host``; None when it may.

    An address that is the host itself, and loopback for ``localhost``, are written in the configuration and so permitted.
    """
    for candidate in (address, *_wrapped(address)):
        reason = _refusal(candidate, written=_is_written(address, host), allowed=allowed)
        if reason is not None:
            return reason
    return None


def hosts_in(settings: Any) -> Hosts:
    """Every host that ``settings`` (plain data, structs, secrets) name: in http and https URLs, and under a key ``host``.

    A URL without a port stands for its scheme's. A host that is a template, or holds a part of one, names nothing.
    """
    return frozenset(_hosts(settings))


def _hosts(value: Any) -> Iterator[tuple[str, int | None]]:
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, Secret):
        value = value.reveal().decode("utf-8", "replace")
    if isinstance(value, str):
        yield from _in_url(value)
    elif isinstance(value, Mapping):
        yield from _in_pair(value.get("host"), value.get("port"))
        for part in value.values():
            yield from _hosts(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _hosts(part)


def _in_url(text: str) -> Iterator[tuple[str, int | None]]:
    authority = text.strip().partition("://")[2].partition("/")[0].partition("?")[0]
    if not authority or set(authority) & set("{}\\"):
        return
    # Imported where an address is looked for: it brings a command line along that takes 7 MiB.
    httpx: Any = import_module("httpx")
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError):
        return
    if url.scheme in {"http", "https"} and url.host:
        yield normal_host(url.host), url.port or (443 if url.scheme == "https" else 80)


def _in_pair(host: Any, port: Any) -> Iterator[tuple[str, int | None]]:
    if isinstance(host, str) and host and not set(host) & set("{}/\\@ "):
        yield normal_host(host), port if isinstance(port, int) else None


def _is_written(address: Address, host: str) -> bool:
    name = normal_host(host)
    return name == str(address) or (address.is_loopback and (name == "localhost" or name.endswith(".localhost")))


def _refusal(address: Address, *, written: bool, allowed: Sequence[Network]) -> str | None:
    for kind, networks in (("a link-local address", _LINK_LOCAL), ("a metadata service", _METADATA)):
        for network in networks:
            if address in network and not _listed(address, [n for n in allowed if _within(n, network)]):
                return f"{kind}, which is refused unless listed in allow_addresses"
    if _is_ordinary(address) or written or _listed(address, allowed):
        return None
    return f"{_kind(address)}, which needs an entry in allow_addresses"


def _is_ordinary(address: Address) -> bool:
    if address in _NAT64 or address in _SIX_TO_FOUR:  # what they wrap is judged by itself
        return True
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return False
    return address.is_global and not address.is_multicast and not _listed(address, _PARTICULAR)


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "a loopback address"
    if address.is_multicast:
        return "a multicast address"
    return "a private or reserved address"


def _listed(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _wrapped(address: Address) -> Iterator[IPv4Address]:
    """IPv4 addresses that an IPv6 address leads to: 6to4, Teredo, NAT64, IPv4-compatible, ISATAP."""
    if not isinstance(address, IPv6Address):
        return
    low, interface = int(address) & 0xFFFF_FFFF, int(address) >> 32 & 0xFFFF_FFFF
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    compatible = address in _COMPATIBLE and low > 1  # :: and ::1 are addresses of their own
    if compatible or address in _NAT64 or address in _NAT64_LOCAL or interface in _ISATAP:
        yield IPv4Address(low)
