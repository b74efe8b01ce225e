"""Which trace a request is part of, by its headers (W3C Trace Context, level 1: https://www.w3.org/TR/trace-context/). Pure.

What a sender says of its trace is checked, bounded and handed on, and trusted for nothing: no decision depends on it.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_PARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MEMBER: Final = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]", re.ASCII
)
_MOST_STATE: Final = 512
_MOST_MEMBERS: Final = 32
_SAMPLED: Final = 1


class SpanContext(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A span of somebody's trace: ``trace`` and ``span`` in hexadecimal; ``state`` is what vendors say beside them."""

    trace: str
    span: str
    sampled: bool = False
    state: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """How it is handed on."""
        parent = {"traceparent": f"00-{self.trace}-{self.span}-{int(self.sampled):02x}"}
        return {**parent, "tracestate": self.state} if self.state else parent


def span_of(headers: Mapping[str, str]) -> SpanContext | None:
    """What ``headers`` (names in lower case) say; None where they say nothing, or not in the form of the standard."""
    text = headers.get("traceparent")
    if text is None:
        return None
    found = _PARENT.fullmatch(text.strip())
    if found is None or (text.startswith("00") and found[4] is not None):
        return None
    return SpanContext(found[1], found[2], bool(int(found[3], 16) & _SAMPLED), _state(headers.get("tracestate", "")))


def _state(text: str) -> str:
    """The list without what is empty or could be somebody's address; nothing of it where it is not in the form.

    Vendors' values are opaque, and the standard forbids personal data in them: an e-mail address is told by its sign.
    """
    members = [one for part in text.split(",") if (one := part.strip(" \t"))]
    names = {one.partition("=")[0] for one in members}
    if len(text) > _MOST_STATE or len(members) > _MOST_MEMBERS or len(names) < len(members):
        return ""
    if not all(_MEMBER.fullmatch(one) for one in members):
        return ""
    return ",".join(one for one in members if "@" not in one.partition("=")[2])
