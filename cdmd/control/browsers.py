"""Whether a web browser may have been tricked into a request. Pure.

Everything on the control socket acts with the rights of whoever connects. Behind ``ssh -L`` or ``cdmctl console`` that may be a
browser, which strange pages can make ask (a forged form, a name that is rebound to loopback). Commands outside a browser send
neither ``Origin`` nor ``Sec-Fetch-Site`` and any name of one word as ``Host``.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from cdmd.errors import NotPermitted

_OURS: Final = frozenset({"none", "same-origin"})


def refuse_strange(headers: Mapping[str, str], *, changes: bool) -> None:
    """Raise ``NotPermitted`` where a request with these ``headers`` (lower-case names) must not be answered.

    Looking is refused only under a name that is not this machine's own; a request that ``changes`` something also where
    a page of another origin made it.
    """
    if why := _strange(headers, changes=changes):
        raise NotPermitted(why)


def _strange(headers: Mapping[str, str], *, changes: bool) -> str | None:
    host = headers.get("host", "")
    if not local(host):
        return "this is answered only under a name of this machine itself: localhost, 127.0.0.1 or [::1]"
    if not changes:
        return None
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return "a page of another origin may not change anything here: open the console and do it there"
    if headers.get("sec-fetch-site", "none") not in _OURS:
        return "another site may not change anything here: open the console and do it there"
    return None


def local(host: str) -> bool:
    """Whether a ``Host`` header names this machine: a loopback address, ``localhost``, or one word as commands write it.

    No page on the internet lies under any of these, so a browser that sends one was not sent here by a rebound name.
    """
    name = _name(host)
    if name is None:
        return False
    if name.startswith("[") or name[:1].isdigit():
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False
    return "." not in name.removesuffix(".localhost")


def addressed(host: str) -> bool:
    """Whether a ``Host`` header is an address and no name: such a one was not rebound, whoever sent it knew where to."""
    try:
        ipaddress.ip_address((_name(host) or "").strip("[]"))
    except ValueError:
        return False
    return True


def _name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.lower()}")
        _ = parts.port  # raises where it is none
    except ValueError:
        return None
    name = parts.netloc.rpartition(":")[0] if parts.port is not None else parts.netloc.removesuffix(":")
    return name if name and "@" not in name and parts.path == "" else None
