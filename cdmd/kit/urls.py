"""A URL that a template makes of a record: only what the configuration wrote decides where a request goes. Pure.

Scheme, host and port come from the literal beginning. Every value that a record brings is one plain name in a path or a query:
text or a whole number, percent-encoded, without anything that could leave its place. Not here: connecting (``egress``).
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from cdmd.errors import TemplateFault, ValueRefused
from cdmd.kit.coercions import as_text
from cdmd.kit.templates import Template

LONGEST_VALUE: Final = 256
"""Characters that a record's value may have in a URL."""

_LONGEST_URL: Final = 4096
_ORIGIN: Final = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?(?=[/?])", re.IGNORECASE)
_FOREIGN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]|\.\.")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class UrlTemplate:
    """A template that renders URLs of one origin. ``parse`` raises ValueError for any other template."""

    def __init__(self, template: Template, origin: str) -> None:
        self._template, self.origin = template, origin

    @classmethod
    def parse(cls, text: str) -> "UrlTemplate":
        """Compile ``text``; its scheme, host and port must be written out, up to the first slash."""
        template = Template.parse(text)
        first = template.parts[0]
        origin = origin_of(first) if isinstance(first, str) and _ORIGIN.match(first) else None
        if origin is None:
            raise ValueError("must begin with http:// or https://, a host that is written out, and a slash")
        if "#" in "".join(part for part in template.parts if isinstance(part, str)):
            raise ValueError("must not have a fragment (#)")
        return cls(template, origin)

    def render(self, record: Any, context: Mapping[str, Any]) -> str:
        """The URL for this record. Raises ``TemplateFault``, and ``ValueRefused`` for a value that has no place in it."""
        joined = []
        for part in self._template.parts:
            if isinstance(part, str):
                joined.append(part)
                continue
            joined.append(quote(plain_value(part.look(record, context), f"{{{part.text}}}"), safe=""))
        url = "".join(joined)
        if len(url) > _LONGEST_URL:
            raise ValueRefused("the URL becomes too long")
        return url


def plain_value(value: Any, template: str) -> str:
    """``value`` as the text of one name: not empty, at most 256 characters, no slash, no ``..``, no control characters.

    ``template`` is what it was made by, for messages. Raises ``TemplateFault`` for what is no text, ``ValueRefused`` for what
    could mean more than a name.
    """
    if value is None:
        raise TemplateFault(f"{template} is null in this record", expression=template, kind="null")
    text = as_text(value, expression=template)
    if not 0 < len(text) <= LONGEST_VALUE:
        raise ValueRefused(f"{template} must have 1 to {LONGEST_VALUE} characters, has {len(text)}")
    if _FOREIGN.search(text) or text == ".":
        raise ValueRefused(f"{template} holds a slash, dots or a control character: that is no plain name")
    return text


def origin_of(url: str) -> str | None:
    """``https://host:port`` of an absolute URL with the port always written; None for anything else, credentials included."""
    found = _ORIGIN.match(url if "/" in url.partition("://")[2] or "?" in url else f"{url}/")
    if found is None:
        return None
    scheme, host, port = found[1].lower(), found[2].lower().removesuffix("."), found[3]
    return f"{scheme}://{host}:{int(port) if port else _DEFAULT_PORTS[scheme]}"
