"""Whose request it is behind reverse proxies: the client's address and certificate, as far as the proxies can be believed.

Believed is only what a trusted proxy itself wrote. It appends the address it was called from to what it was sent, so the list
is read from its end, one entry for each hop, and never further than through trusted proxies. Pure.
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from cdmd.kit.addresses import Network, parse

_NAME: Final = re.compile(r"(?:[^,\\]|\\.?)+", re.DOTALL)

UNIX: Final = "unix"
"""The peer of a connection over a unix socket; trusted proxies may name it."""

Headers = Sequence[tuple[str, str]]


class Proxies(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies in front: ``networks`` (and ``unix``) that they call from, and how many stand behind each other (``hops``).

    ``header`` is the list that they append to. ``subject`` is the header in which they hand on a client certificate's subject,
    ``verdict`` the one that says ``SUCCESS`` when they have verified it.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False
    hops: int = 1
    header: str = "x-forwarded-for"
    subject: str | None = None
    verdict: str | None = None

    def trusts(self, peer: str) -> bool:
        """Whether ``peer`` is one of the proxies."""
        return self.unix if peer == UNIX else within(peer, self.networks)

    def client(self, peer: str, headers: Headers) -> str:
        """The address that the request came from; what cannot be read as one is given as it stands, and matches nothing."""
        if not self.trusts(peer):
            return peer
        said = [entry.strip() for name, value in headers if name == self.header for entry in value.split(",")]
        for _ in range(self.hops):
            if not said or not self.trusts(peer):
                break
            peer = _without_port(said.pop())
        return peer

    def certificate(self, peer: str, headers: Headers) -> tuple[str, ...]:
        """The names in a client certificate that the proxy ``peer`` has verified; none where it says no such thing."""
        if self.subject is None or self.verdict is None or not self.trusts(peer):
            return ()
        verdicts = [value for name, value in headers if name == self.verdict]
        subjects = [value for name, value in headers if name == self.subject]
        return tuple(_names(subjects[0])) if verdicts == ["SUCCESS"] and len(subjects) == 1 else ()


def within(address: str, networks: Sequence[Network]) -> bool:
    """Whether ``address`` lies in one of ``networks``; IPv4 addresses written as IPv6 are IPv4, anything else lies nowhere."""
    found = parse(address.partition("%")[0])
    return found is not None and any(found in network for network in networks)


def _without_port(text: str) -> str:
    """``1.2.3.4:5`` and ``[::1]:5`` without the port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.rpartition(":")
    return host if colon and ":" not in host and port.isdigit() else text


def _names(subject: str) -> list[str]:
    """``CN=sender,O=Acme`` (RFC 4514) as its single names; a comma behind a backslash belongs to a value."""
    return [name.strip() for name in _NAME.findall(subject) if name.strip()]
